"""Where a cube lies: coordinate system and affine transform, from what a file's variables and attributes say."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hsitools.cube import Transform
from hsitools.errors import FormatError
from hsitools.io.labels import text

if TYPE_CHECKING:
    from hsitools.io.variables import Variable

log = logging.getLogger(__name__)
#: Longest coordinate that is read.
MAX_PIXELS = 10_000_000
#: Steps of a coordinate may differ by this share and still be one pixel size (coordinates are often float32).
UNEVEN = 1e-3
_LAST_CODE = re.compile(r'(?:AUTHORITY|ID)\s*\[\s*"EPSG"\s*,\s*"?(\d+)"?\s*\]\s*\]\s*$', re.IGNORECASE)


def grid_of(
    chosen: Variable, dims: tuple[str, str], variables: Sequence[Variable], attributes: Mapping[str, Any], where: str
) -> tuple[str | None, Transform | None]:
    """Coordinate system and transform of a variable whose y and x dimensions have these names.

    Coordinates beat a ``GeoTransform`` that contradicts them: cutting a scene moves coordinates along, an attribute
    stays as it was.
    """
    mapping = _mapping(chosen, variables)
    crs = crs_of(mapping)
    stated = _geotransform(mapping, where)
    y, x = (_coordinate(name, chosen, variables) for name in dims)
    geographic = {n.rpartition("/")[2].lower() for n in dims} & {"lat", "lon", "latitude", "longitude"}
    lengths = [chosen.shape[chosen.dims.index(name)] if name in chosen.dims else 0 for name in dims]
    transform = None
    if y is not None and x is not None and len(y) == lengths[0] and len(x) == lengths[1]:
        transform = from_coordinates(x, y, stated)
        if transform is None and (np.ptp(y) or np.ptp(x)):
            log.warning("%s: x, y: coordinates are not evenly spaced: no transform", where)
        elif transform is not None and stated is not None and not agree(transform, stated, (len(y), len(x))):
            log.warning("%s: GeoTransform: contradicts the coordinates, which are taken (a cut scene?)", where)
        elif stated is not None and (transform is not None or not (np.ptp(y) or np.ptp(x))):
            transform = stated
    elif stated is not None:
        transform = stated
    if crs is None and transform is not None and len(geographic) == 2:
        crs = "EPSG:4326"
    return crs, transform


def _mapping(chosen: Variable, variables: Sequence[Variable]) -> Mapping[str, Any]:
    name = text(chosen.attributes.get("grid_mapping", "")).split(":")[0].strip()
    names = [name.lower()] if name else []
    names += ["spatial_ref", "crs", "transverse_mercator", "projection"]
    for wanted in names:
        for item in variables:
            if item.base == wanted and (item.group == "" or chosen.group.startswith(item.group)):
                return item.attributes
    return {key: value for key, value in chosen.attributes.items()
            if key in ("crs", "crs_wkt", "spatial_ref", "GeoTransform", "proj4")}  # fmt: skip


def crs_of(mapping: Mapping[str, Any]) -> str | None:
    """Coordinate system of a CF grid mapping (or GDAL's attributes of it): ``EPSG:n`` or its text."""
    for name in ("crs", "crs_wkt", "spatial_ref", "esri_pe_string", "proj4", "proj4text"):
        if name in mapping and text(mapping[name]).strip():
            return short(text(mapping[name]).strip())
    for name in ("epsg_code", "epsg", "EPSG", "EPSG_code"):
        if name in mapping:
            digits = re.search(r"\d{4,6}", text(mapping[name]))
            if digits:
                return f"EPSG:{digits[0]}"
    return _conventions(mapping)


def short(crs: str) -> str:
    """``EPSG:n`` for well-known text that ends with its code, else the text itself."""
    code = re.fullmatch(r"(?i)epsg:(\d+)", crs)
    if code:
        return f"EPSG:{code[1]}"
    last = _LAST_CODE.search(crs)
    return f"EPSG:{last[1]}" if last and crs.upper().startswith(("PROJ", "GEOG")) else crs


def identified(crs: str) -> str:
    """``EPSG:n`` where the text ends with a code, or rasterio knows the system that it describes; else the text."""
    code = short(crs)
    if code.startswith("EPSG:"):
        return code
    try:
        from rasterio.crs import CRS
        from rasterio.errors import CRSError
    except ImportError:
        return crs
    try:
        number = CRS.from_wkt(crs, morph_from_esri_dialect=True).to_epsg(confidence_threshold=90)
    except (CRSError, ValueError):
        return crs
    return crs if number is None else f"EPSG:{number}"


def _conventions(mapping: Mapping[str, Any]) -> str | None:
    """CF's own parameters: geographic coordinates, and UTM among the transverse Mercator projections."""
    kind = text(mapping.get("grid_mapping_name", ""))
    if kind == "latitude_longitude":
        return "EPSG:4326"
    if kind != "transverse_mercator":
        return None
    try:
        meridian = float(np.ravel(mapping["longitude_of_central_meridian"])[0])
        factor = float(np.ravel(mapping["scale_factor_at_central_meridian"])[0])
        east, north = (float(np.ravel(mapping[name])[0]) for name in ("false_easting", "false_northing"))
    except (KeyError, ValueError, TypeError):
        return None
    zone = (meridian + 183) / 6
    if abs(factor - 0.9996) > 1e-9 or east != 500000 or north not in (0, 1e7) or zone != round(zone):
        return None
    return f"EPSG:{(32600 if north == 0 else 32700) + round(zone)}"


def _geotransform(mapping: Mapping[str, Any], where: str) -> Transform | None:
    if "GeoTransform" not in mapping:
        return None
    value = mapping["GeoTransform"]
    try:
        # GDAL's order: origin x, pixel width, row rotation, origin y, column rotation, pixel height
        parts = text(value).replace(",", " ").split() if isinstance(value, str | bytes) else np.ravel(value)
        c, a, b, f, d, e = (float(part) for part in parts)
    except (TypeError, ValueError):
        raise FormatError(f"{where}: GeoTransform: found {text(value)[:60]!r}, expected six numbers") from None
    return (a, b, c, d, e, f)


def _coordinate(name: str, chosen: Variable, variables: Sequence[Variable]) -> Any:
    """Values of the coordinate variable of a dimension; None when the file has none."""
    base = name.rpartition("/")[2].lower()
    if not base:
        return None
    fitting = [
        v for v in variables
        if v.base == base and len(v.shape) == 1 and v.numeric and not v.attributes.get("placeholder")
        and (v.group == "" or chosen.group.startswith(v.group))
    ]  # fmt: skip
    if not fitting or fitting[0].shape[0] > MAX_PIXELS:
        return None
    values = fitting[0].values()
    if text(fitting[0].attributes.get("units", "")).strip().lower() in ("km", "kilometer", "kilometers", "kilometre"):
        values = values * 1000
    return values if np.isfinite(values).all() else None


def from_coordinates(x: Any, y: Any, stated: Transform | None = None) -> Transform | None:
    """Transform of pixels whose centres have these coordinates; None when they are not evenly spaced.

    ``stated`` gives the pixel size of an axis with one pixel only.
    """
    steps = []
    for values, other in ((x, None if stated is None else stated[0]), (y, None if stated is None else stated[4])):
        if len(values) == 1:
            if other is None:
                return None
            steps.append(other)
            continue
        difference = np.diff(values)
        step = float(values[-1] - values[0]) / (len(values) - 1)
        if step == 0 or np.abs(difference - step).max() > UNEVEN * abs(step) + 4 * np.spacing(np.float32(
            np.abs(values).max())):  # fmt: skip
            return None
        steps.append(step)
    a, e = steps
    return (float(a), 0.0, float(x[0] - a / 2), 0.0, float(e), float(y[0] - e / 2))


def agree(one: Transform, other: Transform, shape: tuple[int, int]) -> bool:
    """Whether two transforms put the corners of an image within a hundredth of a pixel of one another."""
    pixel = max(abs(other[0]), abs(other[1]), 1e-300)
    for row, column in ((0, 0), (shape[0], shape[1])):
        for k in (0, 3):
            first = one[k] * column + one[k + 1] * row + one[k + 2]
            second = other[k] * column + other[k + 1] * row + other[k + 2]
            if abs(first - second) > 0.01 * pixel + 4 * np.spacing(np.float32(max(abs(first), abs(second)))):
                return False
    return True
