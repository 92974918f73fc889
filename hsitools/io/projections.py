"""Coordinate systems as files write them: codes, well-known text of all dialects, PROJ strings, CF's parameters.

Texts of any dialect become ``EPSG:n`` where they are a system of that register; rasterio (extra ``geo``) is asked where
the text itself does not end with its code.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from hsitools.io.labels import attribute, text

log = logging.getLogger(__name__)
_LAST_CODE = re.compile(r'(?:AUTHORITY|ID)\s*\[\s*"EPSG"\s*,\s*"?(\d+)"?\s*\]\s*\]\s*$', re.IGNORECASE)
#: ``EPSG:n``, a URN or an address of the register.
_CODE = re.compile(r"(?i)(?:epsg:|urn:(?:x-)?ogc:def:crs:epsg:[\d.]*:|https?://\S*/epsg/[\d.]+/)?(\d{4,6})")
#: Attributes that hold a system as a code or text, the shortest first.
TEXTS = ("crs", "crs_wkt", "spatial_ref", "esri_pe_string", "proj4", "proj4text", "proj4_params", "proj4_string",
         "proj_string", "srs", "projection_wkt", "wkt")  # fmt: skip
CODES = ("epsg_code", "epsg", "spatial_epsg", "srid")
#: PROJ's name of CF's projections, and what a standard parallel is to it.
_PROJECTIONS = {
    "albers_conical_equal_area": ("aea", "lat_1"), "azimuthal_equidistant": ("aeqd", ""),
    "lambert_azimuthal_equal_area": ("laea", ""), "lambert_conformal_conic": ("lcc", "lat_1"),
    "lambert_cylindrical_equal_area": ("cea", "lat_ts"), "mercator": ("merc", "lat_ts"),
    "orthographic": ("ortho", ""), "polar_stereographic": ("stere", "lat_ts"), "sinusoidal": ("sinu", ""),
    "stereographic": ("stere", ""), "transverse_mercator": ("tmerc", ""), "latitude_longitude": ("longlat", ""),
}  # fmt: skip
_PARAMETERS = {
    "latitude_of_projection_origin": "lat_0", "longitude_of_projection_origin": "lon_0",
    "longitude_of_central_meridian": "lon_0", "straight_vertical_longitude_from_pole": "lon_0",
    "scale_factor_at_central_meridian": "k_0", "scale_factor_at_projection_origin": "k_0",
    "false_easting": "x_0", "false_northing": "y_0",
}  # fmt: skip
#: Geographic system, and first zone of UTM north, of the datums that CF files name.
_DATUMS = {"WGS84": (4326, 32600), "WGS1984": (4326, 32600), "ETRS89": (4258, 25800), "ETRS1989": (4258, 25800),
           "EUROPEANTERRESTRIALREFERENCESYSTEM1989": (4258, 25800), "NAD83": (4269, 26900),
           "NORTHAMERICANDATUM1983": (4269, 26900), "NORTHAMERICAN1983": (4269, 26900)}  # fmt: skip
#: Inverse flattening of the ellipsoids, which tells datums that are not named.
_WGS84, _GRS80 = 298.257223563, 298.257222101


def crs_of(mapping: Mapping[str, Any], where: str = "") -> str | None:
    """Coordinate system of a CF grid mapping (or GDAL's attributes of it): ``EPSG:n`` or its text."""
    for name in TEXTS:
        value = attribute(mapping, name)
        if value is not None and text(value).strip():
            system = identified(text(value), f"{where}: {name}")
            if system is not None:
                return system
    for name in CODES:
        digits = re.search(r"\d{4,6}", text(attribute(mapping, name) or ""))
        if digits:
            return f"EPSG:{digits[0]}"
    return _conventions(mapping, where)


def short(crs: str) -> str:
    """``EPSG:n`` for a code in any spelling and for well-known text that ends with its code, else the text itself."""
    code = _CODE.fullmatch(crs.strip())
    if code:
        return f"EPSG:{code[1]}"
    last = _LAST_CODE.search(crs)
    return f"EPSG:{last[1]}" if last and crs.lstrip().upper().startswith(("PROJ", "GEOG")) else crs


def identified(crs: str, where: str) -> str | None:
    """``EPSG:n`` where the text ends with a code, or rasterio knows the system that it describes; else the text.

    None, said in the log, when it is no coordinate system.
    """
    code = short(crs.strip())
    if code.startswith("EPSG:"):
        return code
    try:
        from rasterio.crs import CRS
        from rasterio.errors import CRSError
    except ImportError:
        return code
    try:
        system = CRS.from_user_input(code, morph_from_esri_dialect=True)
        number = system.to_epsg()
    except (CRSError, ValueError):
        log.warning("%s: found %r, expected a coordinate system: left out", where, code[:60])
        return None
    if number is not None:
        return f"EPSG:{number}"
    return code if "[" in code else str(system.to_wkt())


def _number(mapping: Mapping[str, Any], name: str) -> float | None:
    try:
        return float(np.ravel(mapping[name])[0])
    except (KeyError, ValueError, TypeError, IndexError):
        return None


def _conventions(mapping: Mapping[str, Any], where: str) -> str | None:
    """CF's own parameters of a projection."""
    kind = text(mapping.get("grid_mapping_name", "")).strip()
    if kind not in _PROJECTIONS:
        if kind:
            log.warning("%s: grid_mapping_name: %s is not known: coordinate system left out", where, kind)
        return None
    named = (re.sub(r"[^A-Z0-9]", "", text(mapping.get(name, "")).upper().removeprefix("D_"))
             for name in ("horizontal_datum_name", "geographic_crs_name"))  # fmt: skip
    datum = next((_DATUMS[name] for name in named if name in _DATUMS), None)
    flattening, axis = _number(mapping, "inverse_flattening"), _number(mapping, "semi_major_axis")
    radius = _number(mapping, "earth_radius")
    usual = radius is None and (axis is None or abs(axis - 6378137) < 1e-3)
    if datum is None and usual and (flattening is None or abs(flattening - _WGS84) < 1e-7):
        datum = _DATUMS["WGS84"]
    if datum is not None:
        code = datum[0] if kind == "latitude_longitude" else _utm(mapping, kind, datum[1])
        if code is not None:
            return f"EPSG:{code}"
    name, parallel = _PROJECTIONS[kind]
    words = [f"+proj={name}"]
    words += [f"+{key}={value!r}" for long, key in _PARAMETERS.items() if (value := _number(mapping, long)) is not None]
    parallels = np.ravel(mapping.get("standard_parallel", []))
    if parallel and parallels.size and parallels.dtype.kind in "uif":
        words += [f"+{parallel}={float(parallels[0])!r}"]
        words += [f"+lat_2={float(parallels[-1])!r}"] if parallel == "lat_1" else []
    if datum == _DATUMS["WGS84"]:
        words.append("+datum=WGS84")
    elif datum is not None or (usual and flattening is not None and abs(flattening - _GRS80) < 1e-7):
        words.append("+datum=NAD83" if datum == _DATUMS["NAD83"] else "+ellps=GRS80")
    elif radius is not None:
        words.append(f"+R={radius!r}")
    else:
        words += [f"+a={axis!r}"] if axis is not None else []
        minor = _number(mapping, "semi_minor_axis")
        words += [f"+rf={flattening!r}"] if flattening else [f"+b={minor!r}"] if minor is not None else []
    try:
        import rasterio.crs  # noqa: F401
    except ImportError:
        log.warning("%s: grid_mapping_name: %s needs `pip install hsitools[geo]`: left out", where, kind)
        return None
    return identified(" ".join([*words, "+no_defs"]), f"{where}: grid_mapping")


def _utm(mapping: Mapping[str, Any], kind: str, north_first: int) -> int | None:
    """Code of the UTM zone that the parameters of a transverse Mercator projection are."""
    if kind != "transverse_mercator":
        return None
    names = ("longitude_of_central_meridian", "scale_factor_at_central_meridian", "false_easting", "false_northing")
    meridian, factor, east, north = (_number(mapping, name) for name in names)
    if meridian is None or factor is None or abs(factor - 0.9996) > 1e-9 or east != 500000 or north not in (0, 1e7):
        return None
    zone = (meridian + 183) / 6
    if zone != round(zone) or (_number(mapping, "latitude_of_projection_origin") or 0) != 0:
        return None
    if north:
        return 32700 + round(zone) if north_first == 32600 else None
    return north_first + round(zone)
