"""Metadata of products in XML: elements of bands, and the number that each of them holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from hsitools.errors import FormatError


def parse(path: Path) -> Any:
    """Root of an XML file.

    Raises
    ------
    FormatError
        When it is no XML.
    """
    try:
        return ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise FormatError(f"{path}: expected XML; {error}") from None


def column(bands: Sequence[Any], path: Path, name: str, default: float | None = None) -> Any:
    """The number of this name in each band's element, ``(band,)``; ``default`` where no band has one.

    Raises
    ------
    FormatError
        When a band's is missing or no number.
    """
    values = [band.findtext(name) for band in bands]
    if default is not None and all(value is None for value in values):
        return np.full(len(bands), default)
    try:
        return np.array([float(value) for value in values])
    except (TypeError, ValueError):
        raise FormatError(f"{path}: {name}: expected a number in every band") from None
