"""ENVI's ``map info`` and its companions: grids and coordinate systems, read and written."""

from __future__ import annotations

import logging
import re
import tempfile
import warnings
from pathlib import Path

import numpy as np

from hsitools.cube import Cube, Transform
from hsitools.cube.labels import stated_affine
from hsitools.errors import FormatError, InputError
from hsitools.io.projections import identified

log = logging.getLogger(__name__)
#: EPSG's first code of UTM's northern and southern zones, by datum (letters and digits only, upper case).
UTM = {
    "WGS84": (32600, 32700), "WGS1984": (32600, 32700), "NAD83": (26900, None), "NORTHAMERICA1983": (26900, None),
    "NORTHAMERICAN1983": (26900, None), "NAD27": (26700, None), "NORTHAMERICA1927": (26700, None),
    "NORTHAMERICAN1927": (26700, None), "ETRS89": (25800, None), "ETRS1989": (25800, None),
    "EUROPEANTERRESTRIALREFERENCESYSTEM1989": (25800, None), "ED50": (23000, None), "EUROPEAN1950": (23000, None),
    "GDA94": (None, 28300), "GEOCENTRICDATUMOFAUSTRALIA1994": (None, 28300), "GDA2020": (None, 7800),
    "WGS72": (32200, 32300), "SIRGAS2000": (31954, 31960),
}  # fmt: skip
GEOGRAPHIC = {
    "WGS84": 4326, "WGS1984": 4326, "NAD83": 4269, "NORTHAMERICA1983": 4269, "NORTHAMERICAN1983": 4269, "NAD27": 4267,
    "NORTHAMERICA1927": 4267, "NORTHAMERICAN1927": 4267, "ETRS89": 4258, "ETRS1989": 4258, "ED50": 4230,
    "EUROPEAN1950": 4230, "GDA94": 4283, "GDA2020": 7844, "WGS72": 4322, "SIRGAS2000": 4674,
}  # fmt: skip
#: Units of angles in degrees, and of lengths that are metres.
ANGLES = {"degrees": 1.0, "degree": 1.0, "minutes": 1 / 60, "seconds": 1 / 3600, "radians": 180 / np.pi}
METRES = ("meters", "meter", "metres", "metre", "m", "")


def exponent(number: str) -> str:
    """Fortran's and IDL's D exponents as Python's."""
    return re.sub(r"(?<=[\d.])[dD](?=[-+]?\d)", "e", number)


def grid_of(fields: dict[str, str], header: Path) -> tuple[Transform | None, str | None]:
    """Transform and coordinate system that a header's fields state."""
    # a code of ours says more shortly what the text beside it says
    crs = fields.get("crs") or None
    if crs is None and "coordinate system string" in fields:
        crs = identified(fields["coordinate system string"], f"{header}: coordinate system string")
    info = [part.strip() for part in fields.get("map info", "").split(",")]
    if len(info) < 7:
        return None, crs
    try:
        column, row, x, y, width, height = (float(exponent(part)) for part in info[1:7])
    except ValueError:
        raise FormatError(f"{header}: map info: found {fields['map info'][:60]!r}, expected numbers") from None
    turns = (re.fullmatch(r"(?i)rotation\s*=\s*([-+]?\d*\.?\d+(?:e[-+]?\d+)?)", part) for part in info)
    rotation = next((float(turn[1]) for turn in turns if turn), 0.0)
    if _kind(info).startswith("geographic"):
        factor = ANGLES.get(_unit(info), 1.0)
        x, y, width, height = x * factor, y * factor, width * factor, height * factor
    if abs(rotation) == 180 and height > 0:
        # GDAL writes so, and reads so, what ENVI has no word for
        log.warning("%s: map info: rotation 180 is taken as rows from south to north, as GDAL does", header)
        rotation, height = 0.0, -height
    # ENVI counts pixels from 1, and its reference is the pixel's upper left corner
    cosine, sine = np.cos(np.radians(rotation)), np.sin(np.radians(rotation))
    a, b, d, e = width * cosine, height * sine, width * sine, -height * cosine
    c, f = x - (column - 1) * a - (row - 1) * b, y - (column - 1) * d - (row - 1) * e
    if crs is None:
        crs = _projection(fields, info, header)
    return stated_affine((a, b, c, d, e, f), f"{header}: map info"), crs


def _kind(info: list[str]) -> str:
    return re.sub(r"[^a-z]", "", info[0].lower())


def _unit(info: list[str]) -> str:
    units = (part.partition("=")[2].strip().lower() for part in info if part.lower().startswith("units"))
    return next(units, "")


def _projection(fields: dict[str, str], info: list[str], header: Path) -> str | None:
    """Coordinate system that ``map info`` names: geographic and UTM on the usual datums; others as GDAL knows them."""
    kind = _kind(info)
    if kind in ("arbitrary", "pixel", "none", "unknown", ""):
        return None
    rest = [re.sub(r"[^A-Z0-9]", "", part.upper()) for part in info[7:] if "=" not in part]
    if kind.startswith("geographic"):
        datum = rest[0] if rest else "WGS84"
        if datum in GEOGRAPHIC:
            return f"EPSG:{GEOGRAPHIC[datum]}"
    zone = re.fullmatch(r"(\d{1,2})([NS]?)", rest[0]) if kind == "utm" and rest else None
    if zone and 1 <= int(zone[1]) <= 60 and _unit(info) in METRES:
        if zone[2]:
            rest.insert(1, zone[2])
        south = len(rest) > 1 and rest[1].startswith("S")
        if len(rest) < 3:
            log.warning("%s: map info: no datum stated, taken as WGS-84", header)
        first = UTM.get(rest[2] if len(rest) > 2 else "WGS84", (None, None))[south]
        if first is not None:
            return f"EPSG:{first + int(zone[1])}"
    system = _as_gdal_knows(fields)
    if system is None:
        said = ", ".join([info[0], *info[7:]])
        log.warning("%s: map info: coordinate system %s is not known: left out", header, said)
    return system


def _as_gdal_knows(fields: dict[str, str]) -> str | None:
    """State Plane zones, and what ``projection info`` describes, from GDAL's tables; None where it knows nothing."""
    try:
        import rasterio
    except ImportError:
        return None
    lines = ["ENVI", "samples = 1", "lines = 1", "bands = 1", "header offset = 0", "file type = ENVI Standard",
             "data type = 1", "interleave = bsq", "byte order = 0"]  # fmt: skip
    lines += [f"{name} = {{{fields[name]}}}" for name in ("map info", "projection info") if name in fields]
    with warnings.catch_warnings(), tempfile.TemporaryDirectory(prefix="hsi-") as folder:
        warnings.simplefilter("ignore")
        image = Path(folder) / "x.img"
        # GDAL looks at no file of a single byte
        image.write_bytes(bytes(16))
        image.with_suffix(".hdr").write_text("\n".join(lines), encoding="utf-8")
        try:
            with rasterio.open(image, driver="ENVI") as file:
                system = file.crs
        except rasterio.errors.RasterioError:
            return None
    # what GDAL does not know it calls geographic, whatever the pixel
    if system is None or (system.is_geographic and not _kind(fields["map info"].split(",")).startswith("geographic")):
        return None
    code = system.to_epsg()
    return str(system.to_wkt()) if code is None else f"EPSG:{code}"


def map_info_of(cube: Cube, path: Path) -> str:
    """ENVI's words for a cube's grid, where all software reads them alike: north up, or square pixels rotated.

    Raises
    ------
    InputError
        When the grid is mirrored, skewed, turned by half, or rotated with oblong pixels.
    """
    assert cube.transform is not None
    a, b, c, d, e, f = cube.transform
    width, height = float(np.hypot(a, d)), float(np.hypot(b, e))
    rotation = float(np.degrees(np.arctan2(d, a)))
    wrong = ""
    if abs(a * b + d * e) > 1e-9 * width * height:
        wrong = "a skewed grid"
    elif a * e - b * d >= 0:
        wrong = "a mirrored grid"
    elif abs(rotation) == 180:
        wrong = "a grid turned by half"
    elif rotation and abs(width - height) > 1e-9 * width:
        wrong = "a rotated grid of oblong pixels"
    if wrong:
        raise InputError(
            f"{path}: transform: found {tuple(round(value, 6) for value in cube.transform)}, {wrong}, expected one "
            "that ENVI's map info can say (north up, or square pixels rotated); write .tif or .h5"
        )
    zone = re.fullmatch(r"EPSG:32([67])(\d\d)", cube.crs or "")
    kind = "UTM" if zone else "Geographic Lat/Lon" if cube.crs == "EPSG:4326" else "Arbitrary"
    parts = [kind, "1", "1", f"{c!r}", f"{f!r}", f"{width!r}", f"{height!r}"]
    if zone:
        parts += [str(int(zone[2])), "North" if zone[1] == "6" else "South", "WGS-84", "units=Meters"]
    elif kind.startswith("Geographic"):
        parts += ["WGS-84", "units=Degrees"]
    if rotation:
        parts.append(f"rotation={rotation!r}")
    return ", ".join(parts)
