"""A cube's labels as users state them, checked and in one form."""

from __future__ import annotations

import logging
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.arrays import real_array
from hsitools.cube.geometry import Transform
from hsitools.errors import InputError

log = logging.getLogger(__name__)
#: Optical wavelengths in nm lie between these: 100 nm to 100 µm.
PLAUSIBLE_NM = (100.0, 1e5)
#: No map's pixels are this much longer than they are wide, but those of numbers in another order are.
LONGEST_PIXEL = 1000.0


def one_a_band(values: Any, bands: int, where: str) -> NDArray[np.float64] | None:
    """Positive numbers ``(band,)``, NaN where not known; None where none is."""
    if values is None:
        return None
    if isinstance(values, np.ma.MaskedArray) or np.iscomplexobj(values):
        values = real_array(values, where)
    try:
        numbers = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise InputError(f"{where}: found {values!r:.60}, expected numbers, one a band") from None
    if numbers.shape != (bands,):
        raise InputError(f"{where}: found shape {numbers.shape}, expected ({bands},), one a band")
    wrong = numbers[(numbers <= 0) | np.isinf(numbers)]
    if wrong.size:
        raise InputError(f"{where}: found {wrong.min():g}, expected positive numbers in nm")
    return None if np.isnan(numbers).all() else numbers


def wavelengths(values: Any, bands: int, where: str) -> NDArray[np.float64] | None:
    """Wavelengths ``(band,)`` that can be nm."""
    numbers = one_a_band(values, bands, where)
    if numbers is not None and not PLAUSIBLE_NM[0] <= np.nanmax(numbers) <= PLAUSIBLE_NM[1]:
        unit = " (are they in µm?)" if np.nanmax(numbers) < PLAUSIBLE_NM[0] else ""
        low, high = PLAUSIBLE_NM
        raise InputError(
            f"{where}: found up to {np.nanmax(numbers):g}, expected nm, between {low:g} and {high:g}{unit}"
        )
    return numbers


def flags(values: Any, bands: int, where: str) -> NDArray[np.bool_]:
    """True or false ``(band,)``; all true where nothing is said."""
    if values is None:
        return np.ones(bands, dtype=bool)
    told = np.asarray(values)
    if told.shape != (bands,):
        raise InputError(f"{where}: found shape {told.shape}, expected ({bands},), one a band")
    if told.dtype.kind not in "biuf" or not np.isin(told, (0, 1)).all():
        raise InputError(f"{where}: found {told.ravel()[:4].tolist()}, expected true or false, one a band")
    return told.astype(bool)


def number(value: Any, where: str) -> float | None:
    """A number, or None."""
    if value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        raise InputError(f"{where}: found {value!r}, expected a number") from None


def factor(value: Any, where: str) -> float | None:
    """A finite factor that is not zero, or None."""
    told = number(value, where)
    if told is not None and not (math.isfinite(told) and told != 0):
        raise InputError(f"{where}: found {told:g}, expected a finite number other than zero")
    return told


def text(value: Any, where: str) -> str:
    """A text, empty where nothing is said."""
    if value is not None and not isinstance(value, str):
        raise InputError(f"{where}: found {value!r}, expected text")
    return value or ""


def coordinate_system(value: Any, where: str) -> str | None:
    """``EPSG:n`` or WKT of a text, a number, or what rasterio and pyproj call a CRS."""
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, int | np.integer):
        return f"EPSG:{value}"
    if not hasattr(value, "to_wkt"):
        raise InputError(f"{where}: found {value!r:.60}, expected EPSG:n or well-known text")
    code = value.to_epsg()
    return str(value.to_wkt()) if code is None else f"EPSG:{code}"


def affine(value: Any, where: str) -> Transform | None:
    """Six numbers of a map whose pixels have an area; rasterio's Affine has three more, which are constant."""
    if value is None:
        return None
    numbers = [number(part, where) for part in value]
    if len(numbers) == 9 and numbers[6:] == [0, 0, 1]:
        numbers = numbers[:6]
    if len(numbers) != 6:
        raise InputError(f"{where}: found {len(numbers)} numbers, expected 6")
    a, b, c, d, e, f = (math.nan if part is None else part for part in numbers)
    area, sides = abs(a * e - b * d), (math.hypot(a, d), math.hypot(b, e))
    if not (math.isfinite(area + c + f) and area > 0):
        raise InputError(f"{where}: found {(a, b, c, d, e, f)}, expected finite numbers and pixels with an area")
    if max(sides) > LONGEST_PIXEL * min(sides):
        raise InputError(
            f"{where}: found pixels of {sides[0]:.4g} by {sides[1]:.4g}, expected (a, b, c, d, e, f) with the corner "
            "at (c, f); GDAL's order is (c, a, b, f, d, e)"
        )
    return a, b, c, d, e, f


def stated_affine(value: Any, where: str) -> Transform | None:
    """`affine` of what a file states: one that can be none is said, and no reason not to open the file."""
    try:
        return affine(value, where)
    except InputError as error:
        log.warning("%s: taken as no map", error)
        return None
