"""ENVI: a text header and raw data (bsq, bil, bip) on a memmap; ESRI's headers of the same images too.

Headers as instruments write them: empty values, comments, ``None``, D exponents, underscores in keys, Latin-1; data of
any extension beside them (Specim ``.dat`` and ``.raw``, HySpex ``.hyspex``, Hyperion ``.L1R``, Resonon ``.bil``).
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np

from hsitools.cube import Cube, Stored
from hsitools.cube.sources import ArraySource, Source
from hsitools.errors import FormatError, InputError
from hsitools.io.atomic import atomic_path
from hsitools.io.labels import well_known_text
from hsitools.io.map_info import exponent, grid_of, map_info_of
from hsitools.io.scales import scaled
from hsitools.io.wavelengths import Conversion, from_names, width_to_nm
from hsitools.progress import Progress

log = logging.getLogger(__name__)
SUFFIXES = (".hdr",)
#: Where several files could be the data: the usual extensions, the likeliest first.
DATA_SUFFIXES = ("", ".img", ".dat", ".raw", ".bsq", ".bil", ".bip", ".bin", ".hyspex", ".l1r", ".ref", ".cube")
#: Files that stand beside a cube and are none.
SIDECARS = (
    ".hdr", ".txt", ".xml", ".json", ".png", ".jpg", ".jpeg", ".bmp", ".enp", ".sta", ".ovr", ".prj", ".lut", ".log",
    ".md", ".kml", ".csv", ".pdf", ".aux", ".wld", ".met", ".zip", ".gz", ".h5", ".nc", ".mat", ".npz",
)  # fmt: skip
#: ENVI's data types.
TYPES = {1: "u1", 2: "i2", 3: "i4", 4: "f4", 5: "f8", 12: "u2", 13: "u4", 14: "i8", 15: "u8"}
#: Interleave: shape in the file, then its axes of band, y, x.
INTERLEAVES = {"bsq": ("bands lines samples", (0, 1, 2)), "bil": ("lines bands samples", (1, 0, 2)),
               "bip": ("lines samples bands", (2, 0, 1))}  # fmt: skip
MAX_HEADER = 16 * 2**20
_NO_CUBE = {"spectral library": "a spectral library (one spectrum a line)", "classification": "a classification map"}


def can_read(path: Path) -> bool:
    """An ENVI or ESRI header, or a data file with one beside it."""
    return _header_of(path) is not None


def _is_header(path: Path) -> bool:
    """ENVI's first word, or (by its name) the keys of ESRI's headers."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(4096)
    if start.removeprefix(b"\xef\xbb\xbf").lstrip()[:4] == b"ENVI":
        return True
    keys = {line.split()[0].upper() for line in start.decode("latin-1").splitlines() if line.split()}
    return path.suffix.lower() == ".hdr" and {"NROWS", "NCOLS"} <= keys


def _header_of(path: Path) -> Path | None:
    """The header that a path is, or that stands beside it, whatever the case of its name."""
    if not path.is_file():
        return None
    if _is_header(path):
        return path
    wanted = [name.lower() for name in (path.name + ".hdr", path.with_suffix(".hdr").name)]
    beside = [item for item in _siblings(path) if item.name.lower() in wanted and item != path and _is_header(item)]
    same_case = {path.name + ".hdr", path.with_suffix(".hdr").name, path.with_suffix(".HDR").name}
    return min(
        beside, key=lambda item: (wanted.index(item.name.lower()), item.name not in same_case, item.name), default=None
    )


def _siblings(path: Path) -> list[Path]:
    try:
        return sorted(path.parent.iterdir())
    except OSError:
        return []


def parse_header(path: Path) -> dict[str, str]:
    """Fields of a header, names in lower case with single spaces, values as written (braces removed); none empty."""
    if path.stat().st_size > MAX_HEADER:
        raise FormatError(f"{path}: header: found {path.stat().st_size} bytes, expected at most {MAX_HEADER}")
    raw = path.read_bytes()
    try:
        content = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        content = raw.decode("latin-1")
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
                    raise FormatError(f"{path}: {name.strip()}: found no closing brace")
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


def read(path: Path) -> Cube:
    """Open the cube on a memmap."""
    header = _header_of(path)
    assert header is not None  # can_read said so
    fields = parse_header(header)
    kind = fields.get("file type", "").lower()
    for word, said in _NO_CUBE.items():
        if word in kind:
            raise FormatError(f"{header}: file type: found {fields['file type']!r}, {said}, expected a cube")
    if fields.get("file compression", "0") not in ("0", ""):
        raise FormatError(f"{header}: file compression: found a compressed data file, expected it unpacked")
    sizes = {name: _whole(fields, name, header) for name in ("samples", "lines", "bands")}
    if min(sizes.values()) == 0:
        raise FormatError(f"{header}: size: found {sizes}, expected none of them zero")
    raw = _source(fields, sizes, header, path)
    n_bands = sizes["bands"]
    gain, shift = _scales(fields, n_bands, header)
    nodata = _number(fields, "data ignore value", header)
    source, scale, nodata = scaled(
        raw, 1.0 if gain is None else gain, 0.0 if shift is None else shift, nodata, f"{header}: data gain values"
    )
    wavelength, fwhm, absent = _wavelengths(fields, n_bands, header)
    good = _numbers(fields, "bbl", n_bands, header)
    good = np.ones(n_bands, dtype=bool) if good is None else good != 0
    transform, crs = grid_of(fields, header)
    meta = {"interleave": fields.get("interleave", "bsq").lower()}
    if "sensor type" in fields and fields["sensor type"].lower() != "unknown":
        meta["sensor"] = fields["sensor type"]
    return Cube(
        data=source, wavelength_nm=wavelength, fwhm_nm=fwhm, good=good & ~absent, nodata=nodata, scale_factor=scale,
        units=fields.get("data units", ""), crs=crs, transform=transform,
        name=" ".join(fields.get("description", header.stem).split()), source=str(path), meta=meta,
    )  # fmt: skip


def labels(header: Path, count: int) -> dict[str, Any]:
    """What a header says of an image of ``count`` bands that is no raw data; empty when it is of another."""
    if not _is_header(header):
        return {}
    fields = parse_header(header)
    if fields.get("bands") != str(count):
        return {}
    wavelength, fwhm, absent = _wavelengths(fields, count, header)
    good = _numbers(fields, "bbl", count, header)
    gain, shift = _scales(fields, count, header)
    transform, crs = grid_of(fields, header)
    out = {
        "wavelength_nm": wavelength, "fwhm_nm": fwhm, "nodata": _number(fields, "data ignore value", header),
        "good": (np.ones(count, dtype=bool) if good is None else good != 0) & ~absent, "scales": gain, "offsets": shift,
        "units": fields.get("data units"), "crs": crs, "transform": transform,
    }  # fmt: skip
    return {name: value for name, value in out.items() if value is not None}


def _whole(fields: dict[str, str], name: str, header: Path, default: int | None = None) -> int:
    found = fields.get(name, default)
    try:
        value = int(str(found))
    except ValueError:
        value = -1
    if found is None or value < 0 or value > 2**31:
        raise FormatError(f"{header}: {name}: found {found!r}, expected a whole number")
    return value


def _source(fields: dict[str, str], sizes: dict[str, int], header: Path, path: Path) -> Source:
    """The data file's numbers."""
    code = _whole(fields, "data type", header)
    if code not in TYPES:
        raise FormatError(f"{header}: data type: found {code}, expected a real one: {', '.join(map(str, TYPES))}")
    interleave = fields.get("interleave", "bsq").lower()
    if interleave not in INTERLEAVES:
        raise FormatError(f"{header}: interleave: found {interleave!r}, expected bsq, bil or bip")
    order = _whole(fields, "byte order", header, 0)
    if order not in (0, 1):
        raise FormatError(f"{header}: byte order: found {order}, expected 0 or 1")
    dtype = np.dtype("<>"[order] + TYPES[code])
    offset = _whole(fields, "header offset", header, 0)
    names, axes = INTERLEAVES[interleave]
    shape = tuple(sizes[name] for name in names.split())
    needed = offset + sizes["samples"] * sizes["lines"] * sizes["bands"] * dtype.itemsize
    data_path = path if path != header else _data_of(header, needed)
    if data_path.suffix.lower() in (".tif", ".tiff"):
        from hsitools.io.formats.geotiff import RasterSource
        from hsitools.io.formats.geotiff import can_read as is_tiff

        if is_tiff(data_path):
            raster = RasterSource(data_path)
            if raster.shape != (sizes["bands"], sizes["lines"], sizes["samples"]):
                raise InputError(f"{data_path}: data: found {raster.shape}, expected {sizes} as {header.name} says")
            return raster
    found = data_path.stat().st_size
    if found < needed:
        raise FormatError(f"{data_path}: data: found {found} bytes, expected {needed} as its header says")
    return ArraySource(np.memmap(data_path, dtype=dtype, mode="r", offset=offset, shape=shape), axes)


def _data_of(header: Path, needed: int) -> Path:
    """The data beside a header: of its name and any extension, by size where several stand there."""
    stem = header.with_suffix("").name.lower()
    names = {stem: 0} | {Path(stem).stem: 1 for _ in range(Path(stem).suffix.lower() in DATA_SUFFIXES[1:])}
    candidates = []
    for item in _siblings(header):
        name = item.name.lower()
        fits = name in names or Path(name).stem in names
        if fits and item != header and item.is_file() and Path(name).suffix not in SIDECARS and not _is_header(item):
            candidates.append(item)

    def rank(item: Path) -> tuple[Any, ...]:
        suffix, size = item.suffix.lower(), item.stat().st_size
        usual = DATA_SUFFIXES.index(suffix) if suffix in DATA_SUFFIXES else len(DATA_SUFFIXES)
        exact = item.name.startswith(header.with_suffix("").name)
        return (size < needed, item.name.lower() not in names, not exact, size != needed, usual, item.name)

    if not candidates:
        raise FormatError(
            f"{header}: data: found no file beside it, expected {header.with_suffix('').name}.img, .dat, .bsq, …"
        )
    return min(candidates, key=rank)


def _scales(fields: dict[str, str], count: int, header: Path) -> tuple[Any, Any]:
    """Gains and offsets of the bands, None where none are stated; a reflectance scale factor divides."""
    gain, shift = (_numbers(fields, f"data {name} values", count, header, one=True) for name in ("gain", "offset"))
    factor = _number(fields, "reflectance scale factor", header)
    if factor is None or factor in (0, 1):
        return gain, shift
    if gain is None or np.all(gain == 1):
        return np.full(count, 1 / factor), shift
    if not np.allclose(gain * factor, 1, rtol=1e-6):
        log.warning("%s: data gain values: found %g beside reflectance scale factor %g, which say different things: "
                    "the gains are taken", header, gain[0], factor)  # fmt: skip
    return gain, shift


def _wavelengths(fields: dict[str, str], count: int, header: Path) -> tuple[Any, Any, Any]:
    """Wavelengths and widths in nm, and which bands are said to be none (wavelength zero)."""
    absent = np.zeros(count, dtype=bool)
    widths = _numbers(fields, "fwhm", count, header)
    unit = fields.get("wavelength units")
    words = [part.strip() for part in fields.get("wavelength", "").split(",")]
    with_units = from_names(words) if len(words) == count and re.search("[A-Za-z]{2}", words[0]) else None
    stored = with_units if with_units is not None else _numbers(fields, "wavelength", count, header)
    unit = "nm" if with_units is not None else unit
    if stored is None:
        names = [part.strip() for part in fields.get("band names", "").split(",")]
        wavelength = from_names(names) if len(names) == count else None
        if wavelength is None:
            return None, None, absent
        fwhm = None
        if widths is not None:
            fwhm = width_to_nm(widths, unit, Conversion(), wavelength, f"{header}: fwhm")
        return wavelength, fwhm, absent
    conversion = Conversion.of(stored, unit, f"{header}: wavelength")
    if conversion is None:
        return None, None, absent
    wavelength = conversion.centres(stored)
    if np.isfinite(wavelength).any():
        absent = stored == 0
    if widths is not None:
        widths = width_to_nm(widths, fields.get("fwhm units"), conversion, stored, f"{header}: fwhm")
    return wavelength, widths, absent


def _numbers(fields: dict[str, str], name: str, count: int, header: Path, *, one: bool = False) -> Any:
    """A list of a number a band (or one for all), None where the header has none."""
    if name not in fields:
        return None
    parts = [exponent(part) for part in re.split(r"[,;\s]+", fields[name]) if part]
    try:
        values = np.array([float(part) for part in parts])
    except ValueError:
        raise FormatError(f"{header}: {name}: found {fields[name][:40]!r}, expected numbers") from None
    if one and len(values) == 1:
        return np.full(count, values[0])
    if len(values) != count:
        raise InputError(f"{header}: {name}: found {len(values)} values, expected {count}, one a band")
    return values


def _number(fields: dict[str, str], name: str, header: Path) -> float | None:
    if name not in fields:
        return None
    word = fields[name].strip("{} ")
    if re.match(r"[-+]?1\.#(IND|QNAN|SNAN)", word, re.IGNORECASE):
        return float("nan")
    try:
        return float(exponent(word))
    except ValueError:
        raise FormatError(f"{header}: {name}: found {fields[name][:40]!r}, expected a number") from None


def write(cube: Cube, path: Path, progress: Progress) -> None:
    """Write ``path`` (header) and the data beside it as ``.img``, band sequential; a PAN is not kept, and said."""
    if cube.pan is not None:
        log.warning("%s: the ENVI format holds no panchromatic image: left out", path)
    stored = cube.stored()
    grid = None if cube.transform is None else map_info_of(cube, path)
    dtype = stored.dtype.newbyteorder("=")
    codes = {np.dtype(name): code for code, name in TYPES.items()}
    if dtype not in codes:
        dtype = np.dtype("u1") if dtype.kind == "b" else np.dtype("i2") if dtype == np.int8 else np.dtype("f4")
    with atomic_path(path.with_suffix(".img")) as temporary, atomic_path(path) as header:
        out = np.memmap(temporary, dtype=dtype.newbyteorder("<"), mode="w+", shape=cube.shape)
        for rows, columns, values in stored.blocks(dtype.itemsize, progress=progress):
            out[:, rows, columns] = values
        out.flush()
        header.write_text(_header(cube, stored, codes[dtype], grid), encoding="utf-8")


def _header(cube: Cube, stored: Stored, code: int, grid: str | None) -> str:
    def row(values: Any, form: str) -> str:
        return "{" + ", ".join(format(value, form) for value in values) + "}"

    bands, lines, samples = cube.shape
    fields: dict[str, Any] = {
        "description": "{" + cube.name.replace("}", ")").replace("\n", " ") + "}",
        "samples": samples, "lines": lines, "bands": bands, "header offset": 0, "file type": "ENVI Standard",
        "data type": code, "interleave": "bsq", "byte order": 0,
    }  # fmt: skip
    if cube.wavelength_nm is not None:
        fields["wavelength units"] = "Nanometers"
        fields["wavelength"] = row(cube.wavelength_nm, ".10g")
    if cube.fwhm_nm is not None:
        fields["wavelength units"] = "Nanometers"
        fields["fwhm"] = row(cube.fwhm_nm, ".10g")
    fields["bbl"] = row(cube.good.astype(int), "d")
    if stored.nodata is not None:
        fields["data ignore value"] = f"{stored.nodata:.17g}"
    inverse = f"{1 / stored.scale[0]:.17g}"
    if not stored.uniform or 1 / float(inverse) != stored.scale[0]:
        fields["data gain values"] = row(stored.scale, ".17g")
        fields["data offset values"] = row(stored.offset, ".17g")
    elif stored.scale[0] != 1:
        fields["reflectance scale factor"] = inverse
    if cube.units:
        fields["data units"] = cube.units
    if grid is not None:
        fields["map info"] = "{" + grid + "}"
    if cube.crs is not None and not fields.get("map info", "").startswith("{UTM"):
        text = well_known_text(cube.crs)
        if text != cube.crs:
            fields["crs"] = cube.crs
        fields["coordinate system string"] = "{" + text + "}"
    return "ENVI\n" + "".join(f"{name} = {value}\n" for name, value in fields.items())
