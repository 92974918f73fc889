"""What readers share: attributes as text and numbers, what kind of file a file is, coordinate systems as text."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def text(value: Any) -> str:
    """An HDF5 or MATLAB attribute as a string."""
    if isinstance(value, np.ndarray):
        value = value.item() if value.size == 1 else " ".join(text(item) for item in value.ravel())
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def attribute(mapping: Mapping[str, Any], *names: str) -> Any:
    """The first of these attributes of a mapping, in any case, with spaces or underscores between words; else None."""
    lower = {_key(key): value for key, value in mapping.items()}
    return next((lower[_key(name)] for name in names if _key(name) in lower), None)


def _key(name: Any) -> str:
    return str(name).lower().replace(" ", "_")


def numbers_in(value: Any) -> Any:
    """Numbers in an attribute: an array, or text as lists are written (``{1, 2}``, ``[1; 2]``); None when not all are.

    Returns
    -------
    array of float64, flat, or None
    """
    words: Any = value
    if isinstance(value, str | bytes):
        words = [word for word in re.split(r"[\s,;{}\[\]()]+", text(value)) if word]
    array = np.ravel(np.asarray(words))
    if array.dtype.kind in "SUO":
        array = np.array([text(word) for word in array])
    try:
        return array.astype(float) if array.size else None
    except (TypeError, ValueError):
        return None


def first_number(value: Any) -> float | None:
    """The first number in an attribute; None when it holds none ("None", an empty string)."""
    try:
        return float(np.ravel(value)[0]) if not isinstance(value, str | bytes) else float(text(value))
    except (TypeError, ValueError, IndexError):
        return None


def well_known_text(crs: str) -> str:
    """Well-known text of a coordinate system, where rasterio is there to know it."""
    if not crs.upper().startswith("EPSG:"):
        return crs
    try:
        from rasterio.crs import CRS
    except ImportError:
        return crs
    return str(CRS.from_user_input(crs).to_wkt())


def strange(path: Path) -> str | None:
    """What lies at a path that no reader can open, whatever it reads; None for folders and files with content.

    Examples
    --------
    >>> Path("nothing.h5").touch()
    >>> strange(Path("nothing.h5")), strange(Path("."))
    ('an empty file', None)
    """
    if path.is_symlink() and not path.exists():
        return f"a link to {os.readlink(path)}, which is not there"
    if path.is_dir() or not path.exists():
        return None
    if not path.is_file():
        return "a pipe or device"
    if path.stat().st_size == 0:
        return "an empty file"
    return None if os.access(path, os.R_OK) else "a file that you may not read"


def is_hdf5(path: Path) -> bool:
    """Whether a file is HDF5 (NetCDF-4, ``.he5`` and MATLAB v7.3 are)."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        if file.read(8) == b"\x89HDF\r\n\x1a\n":
            return True
    import h5py

    return bool(h5py.is_hdf5(path))
