"""Who can say what a file is: functions ``describe(path) -> dict | None``, found by entry points."""

from __future__ import annotations

import logging
import zipfile
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from hsitools.errors import FormatError, HsiError

FORMATS = "hsitools.formats"
#: Names in a folder, or arrays in an archive, that are said.
LISTED = 6
log = logging.getLogger(__name__)


def known_kind(path: Path) -> str:
    """What a file of no kind of ours holds, where that can be told."""
    if path.is_dir():
        return _listing(path)
    if path.is_file() and zipfile.is_zipfile(path):
        return _arrays(path)
    from hsitools.io.labels import is_hdf5

    if not is_hdf5(path):
        return ""
    from hsitools.io.formats.hdf5 import listing

    return f"HDF5 with {listing(path)}"


def _listing(folder: Path) -> str:
    """A folder with the first names in it, one of which is perhaps meant."""
    names = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir() if not entry.name.startswith("."))
    shown = ", ".join(names[:LISTED]) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")
    return f"a folder of {shown}; name one of them" if names else "an empty folder"


def _arrays(path: Path) -> str:
    """Arrays of a NumPy archive, by their heads alone."""
    from numpy.lib import format as npy

    shown = []
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist()[:LISTED]:
            with archive.open(name) as file:
                try:
                    version = npy.read_magic(file)
                    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
                    shape, _, dtype = read(file)
                except ValueError:
                    return ""
            shown.append(f"{name.removesuffix('.npy')} {'×'.join(map(str, shape))} {dtype}".replace("  ", " "))
    return f"a NumPy archive of {', '.join(shown)}; a cube is named cube (band, y, x), its wavelengths wavelength_nm"


def describe(path: str | Path) -> dict[str, Any]:
    """What a file or folder is: its kind, sizes, units and quality.

    Raises
    ------
    FormatError
        When nothing is there, nobody knows it, or it cannot be read.
    """
    path = Path(path)
    from hsitools.io.labels import strange

    points = sorted(entry_points(group=FORMATS))
    expected = f"expected one of: {', '.join(point.name for point in points)}"
    said = strange(path)
    if said is not None:
        raise FormatError(f"{path}: kind: found {said}, {expected}")
    if not path.exists():
        raise FormatError(f"{path}: found no such file or folder")
    first = None
    for point in points:
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
    raise FormatError(f"{path}: kind: found {known_kind(path) or 'nothing known'}, {expected}")
