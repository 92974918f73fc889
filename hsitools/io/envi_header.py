"""ENVI's text headers, and ESRI's of the same images, as instruments write them: what they say of an image's bands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from hsitools.errors import FormatError, InputError
from hsitools.io.map_info import exponent, grid_of
from hsitools.io.scales import with_reflectance_factor
from hsitools.io.wavelengths import Conversion, from_names, width_to_nm
from hsitools.text import decoded

#: ENVI's data types.
TYPES = {1: "u1", 2: "i2", 3: "i4", 4: "f4", 5: "f8", 12: "u2", 13: "u4", 14: "i8", 15: "u8"}
#: A header of more bytes is none: long ones hold a few numbers a band, of some thousand bands.
MAX_HEADER = 16 * 2**20


def is_header(path: Path) -> bool:
    """ENVI's first word, or (by its name) the keys of ESRI's headers."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        start = decoded(file.read(4096))
    if start.lstrip()[:4] == "ENVI":
        return True
    keys = {line.split()[0].upper() for line in start.splitlines() if line.split()}
    return path.suffix.lower() == ".hdr" and {"NROWS", "NCOLS"} <= keys


def parse_header(path: Path) -> dict[str, str]:
    """Fields of a header, names in lower case with single spaces, values as written (braces removed); none empty."""
    if path.stat().st_size > MAX_HEADER:
        raise FormatError(f"{path}: header: found {path.stat().st_size} bytes, expected at most {MAX_HEADER}")
    content = decoded(path.read_bytes())
    # a list may begin on the line below its name
    lines = iter(re.sub(r"=[ \t]*\r?\n[ \t]*\{", "= {", content).splitlines())
    first = next(lines, "")
    if not first.strip().upper().startswith("ENVI"):
        return _parse_esri(content)
    fields: dict[str, str] = {}
    for line in lines:
        name, mark, value = line.partition("=")
        if not mark or name.lstrip().startswith(";"):
            continue
        value = value.strip()
        if value.startswith("{"):
            parts = [value[1:]]
            while "}" not in parts[-1]:
                following = next(lines, None)
                if following is None:
                    raise FormatError(f"{path}: {name.strip()}: found the file's end, expected a closing brace")
                if not following.lstrip().startswith(";"):
                    parts.append(following)
            value = " ".join(parts).partition("}")[0].strip()
        key = " ".join(name.lower().replace("_", " ").split())
        if value and value.lower() not in ("none", "null", "{}"):
            fields[key] = value
    return fields


def _parse_esri(content: str) -> dict[str, str]:
    """ESRI's keys (LAYOUT, NROWS, …) as ENVI's fields."""
    keys: dict[str, str] = {}
    lists: dict[str, list[str]] = {}
    inside = ""
    for line in content.splitlines():
        words = line.split()
        if not words:
            continue
        key = words[0].upper()
        if inside:
            if key == f"{inside}_END":
                inside = ""
            else:
                lists[inside] += words
        elif len(words) == 1:
            inside = key
            lists[key] = []
        else:
            keys[key] = " ".join(words[1:])
    bits = keys.get("NBITS", "8")
    kind = {"SIGNEDINT": "i", "FLOAT": "f", "UNSIGNEDINT": "u"}.get(keys.get("PIXELTYPE", "").upper())
    kind = kind or ("f" if bits in ("32", "64") and "PIXELTYPE" not in keys and "float" in keys else "u")
    width = int(bits) // 8 if bits.isdigit() else 0
    code = next((code for code, name in TYPES.items() if name == f"{kind}{width}"), 0)
    fields = {
        "samples": keys.get("NCOLS", ""), "lines": keys.get("NROWS", ""), "bands": keys.get("NBANDS", "1"),
        "data type": str(code), "interleave": keys.get("LAYOUT", "bil").lower(),
        "header offset": keys.get("SKIPBYTES", "0"),
        "byte order": "1" if keys.get("BYTEORDER", "I").upper().startswith("M") else "0",
        "data ignore value": keys.get("NODATA", keys.get("NODATA_VALUE", "")),
    }  # fmt: skip
    for name, field in (("WAVELENGTHS", "wavelength"), ("FWHM", "fwhm")):
        if name in lists:
            fields[field] = ", ".join(lists[name])
    if {"ULXMAP", "ULYMAP", "XDIM", "YDIM"} <= keys.keys():
        # ESRI's reference is the first pixel's centre
        fields["map info"] = f"Arbitrary, 1.5, 1.5, {keys['ULXMAP']}, {keys['ULYMAP']}, {keys['XDIM']}, {keys['YDIM']}"
    return {name: value for name, value in fields.items() if value}


def labels(header: Path, count: int) -> dict[str, Any]:
    """What a header says of an image of ``count`` bands that is no raw data; empty when it is of another."""
    if not is_header(header):
        return {}
    fields = parse_header(header)
    if fields.get("bands") != str(count):
        return {}
    wavelength, fwhm, absent = band_wavelengths(fields, count, header)
    good = band_numbers(fields, "bbl", count, header)
    gain, shift = band_scales(fields, count, header)
    transform, crs = grid_of(fields, header)
    out = {
        "wavelength_nm": wavelength, "fwhm_nm": fwhm, "nodata": number(fields, "data ignore value", header),
        "good": (np.ones(count, dtype=bool) if good is None else good != 0) & ~absent, "scales": gain, "offsets": shift,
        "units": fields.get("data units"), "crs": crs, "transform": transform,
    }  # fmt: skip
    return {name: value for name, value in out.items() if value is not None}


def whole_number(fields: dict[str, str], name: str, header: Path, default: int | None = None) -> int:
    """A count in a header; raises `FormatError` when it is none, or missing without a default."""
    found = fields.get(name, default)
    whole = re.fullmatch(r"(\d+)(?:\.0*)?", str(found))
    value = int(whole[1]) if whole else -1
    if found is None or value < 0 or value > 2**31:
        raise FormatError(f"{header}: {name}: found {found!r}, expected a whole number")
    return value


def band_scales(fields: dict[str, str], count: int, header: Path) -> tuple[Any, Any]:
    """Gains and offsets of the bands, None where none are stated; a reflectance scale factor divides."""
    gain, shift = (band_numbers(fields, f"data {name} values", count, header, one=True) for name in ("gain", "offset"))
    factor = number(fields, "reflectance scale factor", header)
    return with_reflectance_factor(gain, factor, count, str(header)), shift


def band_wavelengths(fields: dict[str, str], count: int, header: Path) -> tuple[Any, Any, Any]:
    """Wavelengths and widths in nm, and which bands are said to be none (wavelength zero)."""
    absent = np.zeros(count, dtype=bool)
    widths = band_numbers(fields, "fwhm", count, header)
    unit = fields.get("wavelength units")
    words = [part.strip() for part in fields.get("wavelength", "").split(",")]
    with_units = from_names(words) if len(words) == count and re.search("[A-Za-z]{2}", words[0]) else None
    stored = with_units if with_units is not None else band_numbers(fields, "wavelength", count, header)
    unit = "nm" if with_units is not None else unit
    if stored is None:
        names = [part.strip() for part in fields.get("band names", "").split(",")]
        wavelength = from_names(names) if len(names) == count else None
        conversion, stored = None if wavelength is None else Conversion(), wavelength
        width_unit = fields.get("fwhm units", unit)
    else:
        conversion = Conversion.of(stored, unit, f"{header}: wavelength")
        wavelength = None if conversion is None else conversion.centres(stored)
        width_unit = fields.get("fwhm units")
        if wavelength is not None and np.isfinite(wavelength).any():
            absent = stored == 0
    if widths is not None:
        widths = width_to_nm(widths, width_unit, conversion, stored, f"{header}: fwhm")
    return wavelength, widths, absent


def band_numbers(fields: dict[str, str], name: str, count: int, header: Path, *, one: bool = False) -> Any:
    """A list of a number a band (or one for all), None where the header has none."""
    if name not in fields:
        return None
    # where semicolons stand between numbers of a list, commas stand within them
    listed = fields[name].replace(",", ".") if fields[name].count(";") == count - 1 > 0 else fields[name]
    parts = [exponent(part) for part in re.split(r"[,;\s\"']+", listed) if part]
    try:
        values = np.array([float(part) for part in parts])
    except ValueError:
        raise FormatError(f"{header}: {name}: found {fields[name][:40]!r}, expected numbers") from None
    if one and len(values) == 1:
        return np.full(count, values[0])
    if len(values) != count:
        raise InputError(f"{header}: {name}: found {len(values)} values, expected {count}, one a band")
    return values


def number(fields: dict[str, str], name: str, header: Path) -> float | None:
    """A number in a header, None where the header has none; Microsoft's ways to write NaN too."""
    if name not in fields:
        return None
    word = fields[name].strip("{} ")
    if re.match(r"[-+]?1\.#(IND|QNAN|SNAN)", word, re.IGNORECASE):
        return float("nan")
    try:
        return float(exponent(word))
    except ValueError:
        raise FormatError(f"{header}: {name}: found {fields[name][:40]!r}, expected a number") from None
