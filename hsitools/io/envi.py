"""ENVI: a text header and raw data (bsq, bil, bip) on a memmap."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from hsitools.blocks import tiles
from hsitools.cube import BLOCK_BYTES, Cube, Transform, computed_tile
from hsitools.errors import FormatError, InputError
from hsitools.io import Progress
from hsitools.io.atomic import atomic_path
from hsitools.io.labels import NANOMETRES, nm_scale, well_known_text
from hsitools.lazy import ArraySource, ScaledSource, Source

SUFFIXES = (".hdr",)
DATA_SUFFIXES = ("", ".img", ".dat", ".raw", ".bsq", ".bil", ".bip", ".bin")
#: ENVI's data types.
TYPES = {1: "u1", 2: "i2", 3: "i4", 4: "f4", 5: "f8", 12: "u2", 13: "u4", 14: "i8", 15: "u8"}
#: Interleave: shape in the file, then its axes of band, y, x.
INTERLEAVES = {"bsq": ("bands lines samples", (0, 1, 2)), "bil": ("lines bands samples", (1, 0, 2)),
               "bip": ("lines samples bands", (2, 0, 1))}  # fmt: skip
MAX_HEADER = 16 * 2**20


def can_read(path: Path) -> bool:
    """An ENVI header, or a data file with one beside it."""
    header = _header_of(path)
    return header is not None


def _is_header(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == b"ENVI"


def _header_of(path: Path) -> Path | None:
    if not path.is_file():
        return None
    if _is_header(path):
        return path
    candidates = (path.with_suffix(".hdr"), path.with_name(path.name + ".hdr"))
    return next((name for name in candidates if name != path and _is_header(name)), None)


def parse_header(path: Path) -> dict[str, str]:
    """Fields of a header, names in lower case, values as written (braces removed)."""
    if path.stat().st_size > MAX_HEADER:
        raise FormatError(f"{path}: header: found {path.stat().st_size} bytes, expected at most {MAX_HEADER}")
    fields: dict[str, str] = {}
    lines = iter(path.read_text(encoding="utf-8", errors="replace").splitlines()[1:])
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
                parts.append(following)
            value = " ".join(parts).partition("}")[0].strip()
        fields[" ".join(name.lower().split())] = value
    return fields


def read(path: Path) -> Cube:
    """Open the cube on a memmap."""
    header = _header_of(path)
    assert header is not None  # can_read said so
    fields = parse_header(header)
    data_path = path if path != header else _data_of(header)

    def whole(name: str, default: int | None = None) -> int:
        found = fields.get(name, default)
        try:
            value = int(str(found))
        except ValueError:
            value = -1
        if found is None or value < 0 or value > 2**31:
            raise FormatError(f"{header}: {name}: found {found!r}, expected a whole number")
        return value

    sizes = {name: whole(name) for name in ("samples", "lines", "bands")}
    if min(sizes.values()) == 0:
        raise FormatError(f"{header}: size: found {sizes}, expected none of them zero")
    code = whole("data type")
    if code not in TYPES:
        raise FormatError(f"{header}: data type: found {code}, expected a real one: {', '.join(map(str, TYPES))}")
    interleave = fields.get("interleave", "bsq").lower()
    if interleave not in INTERLEAVES:
        raise FormatError(f"{header}: interleave: found {interleave!r}, expected bsq, bil or bip")
    order = whole("byte order", 0)
    if order not in (0, 1):
        raise FormatError(f"{header}: byte order: found {order}, expected 0 or 1")
    dtype = np.dtype("<>"[order] + TYPES[code])
    offset = whole("header offset", 0)
    names, axes = INTERLEAVES[interleave]
    shape = tuple(sizes[name] for name in names.split())
    needed = offset + sizes["samples"] * sizes["lines"] * sizes["bands"] * dtype.itemsize
    found = data_path.stat().st_size
    if found < needed:
        raise FormatError(f"{data_path}: data: found {found} bytes, expected {needed} as its header says")
    raw: Source = ArraySource(np.memmap(data_path, dtype=dtype, mode="r", offset=offset, shape=shape), axes)
    n_bands = sizes["bands"]
    gain, shift = (_numbers(fields, f"data {kind} values", n_bands, header) for kind in ("gain", "offset"))
    nodata = _number(fields, "data ignore value", header)
    if gain is not None or shift is not None:
        raw = ScaledSource(raw, 1.0 if gain is None else gain, 0.0 if shift is None else shift, nodata)
        nodata = None if nodata is None else float("nan")
    wavelength, fwhm = _numbers(fields, "wavelength", n_bands, header), _numbers(fields, "fwhm", n_bands, header)
    if wavelength is not None:
        scale = nm_scale(wavelength, fields.get("wavelength units"), f"{header}: wavelength")
        wavelength = None if scale is None else wavelength * scale
        fwhm = None if fwhm is None or scale is None else fwhm * scale
    elif fwhm is not None:
        scale = NANOMETRES.get(fields.get("wavelength units", "").lower())
        fwhm = None if scale is None else fwhm * scale
    good = _numbers(fields, "bbl", n_bands, header)
    factor = _number(fields, "reflectance scale factor", header)
    transform, crs = _grid(fields, header)
    return Cube(
        data=raw, wavelength_nm=wavelength, fwhm_nm=fwhm, good=None if good is None else good != 0,  # type: ignore[arg-type]
        nodata=nodata, scale_factor=None if not factor or factor == 1 else 1 / factor,
        units=fields.get("data units", ""), crs=crs, transform=transform,
        name=" ".join(fields.get("description", data_path.stem).split()), source=str(path),
        meta={"interleave": interleave} | ({"sensor": fields["sensor type"]} if "sensor type" in fields else {}),
    )  # fmt: skip


def _data_of(header: Path) -> Path:
    stems = [header.with_suffix("")]
    for stem in stems:
        for suffix in DATA_SUFFIXES:
            for name in (stem.with_name(stem.name + suffix), stem.with_name(stem.name + suffix.upper())):
                if name.is_file() and name != header:
                    return name
    raise FormatError(f"{header}: data: found no file beside it, expected {stems[0].name}.img, .dat, .bsq, …")


def _numbers(fields: dict[str, str], name: str, count: int, header: Path) -> Any:
    if name not in fields:
        return None
    parts = [part for part in re.split(r"[,\s]+", fields[name]) if part]
    try:
        values = np.array([float(part) for part in parts])
    except ValueError:
        raise FormatError(f"{header}: {name}: found {fields[name][:40]!r}, expected numbers") from None
    if len(values) != count:
        raise InputError(f"{header}: {name}: found {len(values)} values, expected {count}, one a band")
    return values


def _number(fields: dict[str, str], name: str, header: Path) -> float | None:
    if name not in fields:
        return None
    try:
        return float(fields[name])
    except ValueError:
        raise FormatError(f"{header}: {name}: found {fields[name][:40]!r}, expected a number") from None


def _grid(fields: dict[str, str], header: Path) -> tuple[Transform | None, str | None]:
    # a code of ours says more shortly what the text beside it says
    crs = fields.get("crs") or fields.get("coordinate system string") or None
    info = [part.strip() for part in fields.get("map info", "").split(",")]
    if len(info) < 7:
        return None, crs
    try:
        column, row, x, y, width, height = (float(part) for part in info[1:7])
    except ValueError:
        raise FormatError(f"{header}: map info: found {fields['map info'][:60]!r}, expected numbers") from None
    rotation = next((float(p.split("=")[1]) for p in info if re.fullmatch(r"rotation=[-+.\deE]+", p)), 0.0)
    # ENVI counts pixels from 1, and its reference is the pixel's upper left corner
    cosine, sine = np.cos(np.radians(rotation)), np.sin(np.radians(rotation))
    a, b, d, e = width * cosine, height * sine, width * sine, -height * cosine
    c, f = x - (column - 1) * a - (row - 1) * b, y - (column - 1) * d - (row - 1) * e
    if crs is None and info[0].upper() == "UTM" and len(info) > 8:
        north = info[8].lower().startswith("n")
        datum = info[9].replace("-", "").replace(" ", "").upper() if len(info) > 9 else ""
        if datum == "WGS84" and info[7].isdigit():
            crs = f"EPSG:{(32600 if north else 32700) + int(info[7])}"
    return (float(a), float(b), float(c), float(d), float(e), float(f)), crs


def write(cube: Cube, path: Path, progress: Progress) -> None:
    """Write ``path`` (header) and the data beside it as ``.img``, band sequential; a PAN is not kept, and said."""
    import logging

    if cube.pan is not None:
        logging.getLogger(__name__).warning("%s: the ENVI format holds no panchromatic image: left out", path)
    dtype = cube.dtype.newbyteorder("=")
    codes = {np.dtype(name): code for code, name in TYPES.items()}
    if dtype not in codes:
        dtype = np.dtype("u1") if dtype.kind == "b" else np.dtype("i2") if dtype == np.int8 else np.dtype("f4")
    with atomic_path(path.with_suffix(".img")) as temporary, atomic_path(path) as header:
        out = np.memmap(temporary, dtype=dtype.newbyteorder("<"), mode="w+", shape=cube.shape)
        parts = list(
            tiles(
                cube.shape[1:],
                max(1, BLOCK_BYTES // (cube.n_bands * dtype.itemsize)),
                computed_tile(cube.data) or (1, 1),
            )
        )
        for done, (rows, columns) in enumerate(parts, 1):
            out[:, rows, columns] = cube.read(rows=rows, columns=columns)
            progress(done, len(parts))
        out.flush()
        header.write_text(_header(cube, codes[dtype]), encoding="utf-8")


def _header(cube: Cube, code: int) -> str:
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
    if cube.nodata is not None:
        fields["data ignore value"] = f"{cube.nodata:.10g}"
    if cube.scale_factor is not None:
        fields["reflectance scale factor"] = f"{1 / cube.scale_factor:.10g}"
    if cube.units:
        fields["data units"] = cube.units
    if cube.transform is not None:
        a, b, c, d, e, f = cube.transform
        width, height = float(np.hypot(a, d)), float(np.hypot(b, e))
        rotation = float(np.degrees(np.arctan2(d, a)))
        zone = re.fullmatch(r"EPSG:32([67])(\d\d)", cube.crs or "")
        parts = ["UTM" if zone else "Arbitrary", "1", "1", f"{c!r}", f"{f!r}", f"{width!r}", f"{height!r}"]
        if zone:
            parts += [str(int(zone[2])), "North" if zone[1] == "6" else "South", "WGS-84", "units=Meters"]
        if rotation:
            parts.append(f"rotation={rotation!r}")
        fields["map info"] = "{" + ", ".join(parts) + "}"
    if cube.crs is not None and not fields.get("map info", "").startswith("{UTM"):
        text = well_known_text(cube.crs)
        if text != cube.crs:
            fields["crs"] = cube.crs
        fields["coordinate system string"] = "{" + text + "}"
    return "ENVI\n" + "".join(f"{name} = {value}\n" for name, value in fields.items())
