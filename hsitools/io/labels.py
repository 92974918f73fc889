"""What readers share: attributes as text and numbers, what kind of file a file is, coordinate systems as text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def text(value: Any) -> str:
    """An HDF5 or MATLAB attribute as a string."""
    if isinstance(value, np.ndarray):
        value = value.item() if value.size == 1 else " ".join(text(item) for item in value.ravel())
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


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


def is_hdf5(path: Path) -> bool:
    """Whether a file is HDF5 (NetCDF-4, ``.he5`` and MATLAB v7.3 are)."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        if file.read(8) == b"\x89HDF\r\n\x1a\n":
            return True
    import h5py

    return bool(h5py.is_hdf5(path))
