"""Who can say what a file is: functions ``describe(path) -> dict | None``, found by entry points."""

from __future__ import annotations

import logging
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from hsitools.errors import FormatError, HsiError

FORMATS = "hsitools.formats"
log = logging.getLogger(__name__)


def known_kind(path: Path) -> str:
    """What a file of no kind of ours holds, where that can be told."""
    if path.is_dir():
        return "a folder"
    if path.is_file() and path.stat().st_size == 0:
        return "an empty file"
    from hsitools.io.labels import is_hdf5

    if not is_hdf5(path):
        return ""
    from hsitools.io.formats.hdf5 import listing

    return f"HDF5 with {listing(path)}"


def describe(path: str | Path) -> dict[str, Any]:
    """What a file or folder is: its kind, sizes, units and quality.

    Raises
    ------
    FormatError
        When nothing is there, nobody knows it, or it cannot be read.
    """
    path = Path(path)
    if not path.exists():
        raise FormatError(f"{path}: found no such file or folder")
    kinds, first = [], None
    for point in sorted(entry_points(group=FORMATS)):
        kinds.append(point.name)
        try:
            reader = point.load()
        except Exception as error:
            # somebody's broken plug-in is no fault of this file
            log.warning("format %s: not available: %s", point.name, error)
            continue
        try:
            found: dict[str, Any] | None = reader(path)
        except OSError as error:
            raise FormatError(f"{path}: cannot be read; {' '.join(str(error).split())}") from None
        except HsiError as error:
            # another kind may know the file; if none does, this is what there is to say of it
            first = first or error
            continue
        if found is not None:
            return found
    if first is not None:
        raise first
    said = known_kind(path)
    if said:
        raise FormatError(f"{path}: kind: found {said}, expected one of: {', '.join(kinds)}")
    raise FormatError(f"{path}: kind: found nothing known, expected one of: {', '.join(kinds)}")
