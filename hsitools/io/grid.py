"""Where a cube lies: coordinate system and affine transform, from what a file's variables and attributes say."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hsitools.cube.geometry import Transform
from hsitools.cube.labels import stated_affine
from hsitools.errors import FormatError
from hsitools.io import hdfeos
from hsitools.io.labels import attribute, text
from hsitools.io.projections import CODES, TEXTS, crs_of
from hsitools.io.variable import Variable

log = logging.getLogger(__name__)
#: Longest coordinate that is read.
MAX_PIXELS = 10_000_000
#: Steps of a coordinate may differ by this share and still be one pixel size (coordinates are often float32).
UNEVEN = 1e-3


def grid_of(
    chosen: Variable, dims: tuple[str, str], variables: Sequence[Variable], attributes: Mapping[str, Any], where: str
) -> tuple[str | None, Transform | None]:
    """Coordinate system and transform of a variable whose y and x dimensions have these names.

    Coordinates beat a ``GeoTransform`` that contradicts them: cutting a scene moves coordinates along, an attribute
    stays as it was.
    """
    mapping = _mapping(chosen, variables, attributes)
    crs = crs_of(mapping, where)
    stated = _geotransform(mapping, where)
    items = [_coordinate_of(name, chosen, variables) for name in dims]
    y, x = (None if item is None else _values(item) for item in items)
    geographic = all(_is_angle(name, item) for name, item in zip(dims, items, strict=True))
    if y is not None and x is not None and not geographic and _counts(y) and _counts(x):
        # numbers of rows and columns are no map
        y = x = None
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
    if transform is None:
        told, transform = hdfeos.grid_of(chosen, variables)
        crs = crs or told
    if crs is None and transform is not None and geographic:
        crs = "EPSG:4326"
    return crs, stated_affine(transform, f"{where}: transform")


def _mapping(chosen: Variable, variables: Sequence[Variable], attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Attributes that say where the grid lies: the grid mapping's, else the variable's own, else the file's."""
    name = text(chosen.attributes.get("grid_mapping", "")).split(":")[0].strip()
    names = [name.lower()] if name else []
    names += ["spatial_ref", "crs", "transverse_mercator", "projection"]
    for wanted in names:
        for item in variables:
            if item.base == wanted and (item.group == "" or chosen.group.startswith(item.group)):
                return item.attributes
    wanted_keys = (*TEXTS, *CODES, "geotransform")
    for mapping in (chosen.attributes, attributes):
        own = {key: value for key, value in mapping.items() if str(key).lower() in wanted_keys}
        if own:
            return own
    return {}


def _geotransform(mapping: Mapping[str, Any], where: str) -> Transform | None:
    value = attribute(mapping, "GeoTransform")
    if value is None:
        return None
    try:
        # GDAL's order: origin x, pixel width, row rotation, origin y, column rotation, pixel height
        parts = text(value).replace(",", " ").split() if isinstance(value, str | bytes) else np.ravel(value)
        c, a, b, f, d, e = (float(part) for part in parts)
    except (TypeError, ValueError):
        raise FormatError(f"{where}: GeoTransform: found {text(value)[:60]!r}, expected six numbers") from None
    return (a, b, c, d, e, f)


def _coordinate_of(name: str, chosen: Variable, variables: Sequence[Variable]) -> Variable | None:
    """The coordinate variable of a dimension; None when the file has none."""
    base = name.rpartition("/")[2].lower()
    if not base:
        return None
    fitting = [
        v for v in variables
        if v.base == base and len(v.shape) == 1 and v.numeric and not v.attributes.get("placeholder")
        and (v.group == "" or chosen.group.startswith(v.group))
    ]  # fmt: skip
    return fitting[0] if fitting and fitting[0].shape[0] <= MAX_PIXELS else None


def _values(item: Variable) -> Any:
    values = item.values()
    if _unit(item) in ("km", "kilometer", "kilometers", "kilometre", "kilometres"):
        values = values * 1000
    return values if np.isfinite(values).all() else None


def _unit(item: Variable) -> str:
    return text(attribute(item.attributes, "units", "unit") or "").strip().lower()


def _is_angle(name: str, item: Variable | None) -> bool:
    """Whether a dimension is latitude or longitude, by its name or, after CF, by its unit or standard name."""
    if name.rpartition("/")[2].lower() in ("lat", "lon", "latitude", "longitude"):
        return True
    if item is None:
        return False
    standard = text(item.attributes.get("standard_name", ""))
    return standard in ("latitude", "longitude") or _unit(item) in (
        "degrees_north", "degree_north", "degrees_east", "degree_east", "degrees_n", "degrees_e",
    )  # fmt: skip


def _counts(values: Any) -> bool:
    """Whether a coordinate counts pixels, from 0 or 1."""
    return bool(values[0] in (0, 1) and np.array_equal(values, values[0] + np.arange(len(values))))


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
