"""What readers share: wavelengths with their units, which axis holds the bands, errors that name the file."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.errors import FormatError, InputError

Array = NDArray[np.float64]
log = logging.getLogger(__name__)

#: Factor to nanometres by unit, lower case.
NANOMETRES = {
    "nm": 1.0, "nanometer": 1.0, "nanometers": 1.0, "nanometre": 1.0, "nanometres": 1.0,
    "um": 1e3, "µm": 1e3, "μm": 1e3, "micron": 1e3, "microns": 1e3, "micrometer": 1e3, "micrometers": 1e3,
    "micrometre": 1e3, "micrometres": 1e3, "mm": 1e6, "millimeters": 1e6, "m": 1e9, "meters": 1e9, "metres": 1e9,
    "angstrom": 0.1, "angstroms": 0.1, "å": 0.1,
}  # fmt: skip
#: Optical wavelengths in nm lie between these: 100 nm to 100 µm.
PLAUSIBLE_NM = (100.0, 1e5)


def to_nm(values: Any, unit: str | None, where: str) -> Array | None:
    """Wavelengths (or widths, with ``scale_of``) in nm; None, said in the log, when the unit is of no length.

    Without a unit the only reading that is optical at all is taken (100 nm to 100 µm), and said.

    Raises
    ------
    FormatError
        When the values are no positive numbers, or could be no wavelength in any unit.
    """
    scale = nm_scale(values, unit, where)
    return None if scale is None else np.asarray(values, dtype=float) * scale


def nm_scale(values: Any, unit: str | None, where: str) -> float | None:
    """Factor that turns wavelengths into nm; None when the unit is of no length (an index, a wavenumber)."""
    try:
        numbers = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise FormatError(f"{where}: found {str(values)[:60]!r}, expected numbers") from None
    name = (unit or "").strip().lower()
    if name in NANOMETRES:
        return NANOMETRES[name]
    finite = numbers[np.isfinite(numbers)]
    if name not in ("", "unknown"):
        log.warning("%s: unit %r is no length: wavelengths left out", where, unit)
        return None
    if finite.size == 0:
        return 1.0
    low, high = PLAUSIBLE_NM
    for factor, said in ((1.0, "nm"), (1e3, "µm")):
        if finite.min() * factor >= low and finite.max() * factor <= high:
            log.info("%s: no unit given, taken as %s, the only optical reading", where, said)
            return factor
    raise FormatError(f"{where}: found {finite.min():g} to {finite.max():g} without a unit, expected nm or µm")


def text(value: Any) -> str:
    """An HDF5 or MATLAB attribute as a string."""
    if isinstance(value, np.ndarray):
        value = value.item() if value.size == 1 else " ".join(text(item) for item in value.ravel())
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def band_axis(shape: tuple[int, ...], n_bands: int | None, default: int, where: str) -> int:
    """Which of three axes holds the bands: the one as long as the wavelengths; ``default`` where that leaves a choice.

    Raises
    ------
    InputError
        When no axis is as long as the wavelengths.
    """
    if n_bands is None or shape[default] == n_bands:
        return default
    fitting = [axis for axis, size in enumerate(shape) if size == n_bands]
    if not fitting:
        raise InputError(f"{where}: found shape {shape}, expected one axis as long as the {n_bands} wavelengths")
    return fitting[-1] if default else fitting[0]


def axes_with_band(band: int) -> tuple[int, int, int]:
    """Axes (band, y, x) of an array whose other two axes come in the order y, x."""
    y, x = (axis for axis in range(3) if axis != band)
    return band, y, x


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
