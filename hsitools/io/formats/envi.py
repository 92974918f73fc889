"""ENVI: a text header and raw data (bsq, bil, bip) on a memmap; ESRI's headers of the same images too.

Headers as instruments write them: empty values, comments, ``None``, D exponents, underscores in keys, Latin-1; data of
any extension beside them (Specim ``.dat`` and ``.raw``, HySpex ``.hyspex``, Hyperion ``.L1R``, Resonon ``.bil``).
"""

from __future__ import annotations

import logging
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np

from hsitools.cube import Cube, Stored
from hsitools.cube.sources import ArraySource, Source
from hsitools.errors import FormatError, InputError
from hsitools.io import band_tables
from hsitools.io.atomic import atomic_path, mapped
from hsitools.io.conventions import meta_of, meta_text
from hsitools.io.envi_header import (
    TYPES,
    band_numbers,
    band_scales,
    band_wavelengths,
    is_header,
    number,
    parse_header,
    whole_number,
)
from hsitools.io.formats import geotiff
from hsitools.io.labels import numbers_in, well_known_text
from hsitools.io.map_info import grid_of, map_info_of
from hsitools.io.raster import RasterSource
from hsitools.io.scales import scaled
from hsitools.progress import Progress

log = logging.getLogger(__name__)
PRIORITY = 70  # last: other formats have ENVI headers beside them
SUFFIXES = (".hdr",)
#: Where several files could be the data: the usual extensions, the likeliest first.
DATA_SUFFIXES = ("", ".img", ".dat", ".raw", ".bsq", ".bil", ".bip", ".bin", ".hyspex", ".l1r", ".ref", ".cube")
#: Keys of a header whose values only we know to read.
META, NAME = "hsitools meta", "hsitools name"
#: Files that stand beside a cube and are none.
SIDECARS = (
    ".hdr", ".txt", ".xml", ".json", ".png", ".jpg", ".jpeg", ".bmp", ".enp", ".sta", ".ovr", ".prj", ".lut", ".log",
    ".md", ".kml", ".csv", ".pdf", ".aux", ".wld", ".met", ".zip", ".gz", ".h5", ".nc", ".mat", ".npz",
)  # fmt: skip
#: Interleave: shape in the file, then its axes of band, y, x.
INTERLEAVES = {"bsq": ("bands lines samples", (0, 1, 2)), "bil": ("lines bands samples", (1, 0, 2)),
               "bip": ("lines samples bands", (2, 0, 1))}  # fmt: skip
_NO_CUBE = {
    "spectral library": "a spectral library (one spectrum a line)", "classification": "a classification map",
    "meta file": "a list of other files", "virtual": "a list of other files",
}  # fmt: skip


def can_read(path: Path) -> bool:
    """An ENVI or ESRI header, or a data file with one beside it."""
    return _header_of(path) is not None


def _header_of(path: Path) -> Path | None:
    """The header that a path is, or that stands beside it, whatever the case of its name."""
    if not path.is_file():
        return None
    if is_header(path):
        return path
    wanted = [name.lower() for name in (path.name + ".hdr", path.with_suffix(".hdr").name)]
    beside = [item for item in _siblings(path) if item.name.lower() in wanted and item != path and is_header(item)]
    same_case = {path.name + ".hdr", path.with_suffix(".hdr").name, path.with_suffix(".HDR").name}
    return min(
        beside, key=lambda item: (wanted.index(item.name.lower()), item.name not in same_case, item.name), default=None
    )


def _siblings(path: Path) -> list[Path]:
    try:
        return sorted(path.parent.iterdir())
    except OSError:
        return []


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
    for name in ("major frame offsets", "minor frame offsets"):
        if np.any(np.array(numbers_in(fields.get(name, "0"))) != 0):
            raise FormatError(f"{header}: {name}: found {fields[name]}, expected zero: bytes between lines and bands "
                              "are not skipped")  # fmt: skip
    sizes = {name: whole_number(fields, name, header) for name in ("samples", "lines", "bands")}
    if min(sizes.values()) == 0:
        raise FormatError(f"{header}: size: found {sizes}, expected none of them zero")
    raw = _source(fields, sizes, header, path)
    n_bands = sizes["bands"]
    gain, shift = band_scales(fields, n_bands, header)
    nodata = number(fields, "data ignore value", header)
    source, scale, nodata = scaled(
        raw, 1.0 if gain is None else gain, 0.0 if shift is None else shift, nodata, f"{header}: data gain values"
    )
    wavelength, fwhm, absent = band_wavelengths(fields, n_bands, header)
    good = band_numbers(fields, "bbl", n_bands, header)
    good = np.ones(n_bands, dtype=bool) if good is None else good != 0
    table = band_tables.labels(header, n_bands) if wavelength is None and n_bands > 1 else {}
    if table:
        wavelength, fwhm, good = table["wavelength_nm"], table.get("fwhm_nm", fwhm), good & table["good"]
    transform, crs = grid_of(fields, header)
    # braces end a header's lists: our further facts are quoted as in an address
    meta = meta_of({"meta": unquote(fields[META])} if META in fields else {}, str(path))
    meta["interleave"] = fields.get("interleave", "bsq").lower()
    if "sensor type" in fields and fields["sensor type"].lower() != "unknown":
        meta["sensor"] = fields["sensor type"]
    return Cube(
        data=source, wavelength_nm=wavelength, fwhm_nm=fwhm, good=good & ~absent, nodata=nodata, scale_factor=scale,
        units=fields.get("data units", ""), crs=crs, transform=transform,
        name=unquote(fields[NAME]) if NAME in fields else " ".join(fields.get("description", header.stem).split()),
        source=str(path), meta=meta,
    )  # fmt: skip


def files(path: Path) -> list[Path]:
    """The header and the file of the numbers, with what stands beside that as a GeoTIFF."""
    header = _header_of(path)
    assert header is not None  # can_read said so
    if path == header:
        fields = parse_header(header)
        sizes = {name: whole_number(fields, name, header) for name in ("samples", "lines", "bands")}
        path = _data_of(header, _data_bytes(fields, sizes, header))
    return [header, *(geotiff.files(path) if _is_raster(path) else [path]), *band_tables.tables_of(header)]


def _is_raster(data: Path) -> bool:
    """Whether the numbers are in a GeoTIFF."""
    return data.suffix.lower() in (".tif", ".tiff") and geotiff.can_read(data)


def _data_type(fields: dict[str, str], header: Path) -> np.dtype[Any]:
    code = whole_number(fields, "data type", header)
    if code not in TYPES:
        raise FormatError(f"{header}: data type: found {code}, expected a real one: {', '.join(map(str, TYPES))}")
    order = whole_number(fields, "byte order", header, 0)
    if order not in (0, 1):
        raise FormatError(f"{header}: byte order: found {order}, expected 0 or 1")
    return np.dtype("<>"[order] + TYPES[code])


def _data_bytes(fields: dict[str, str], sizes: dict[str, int], header: Path) -> int:
    """Bytes that the data file must have."""
    count = sizes["samples"] * sizes["lines"] * sizes["bands"]
    return whole_number(fields, "header offset", header, 0) + count * _data_type(fields, header).itemsize


def _source(fields: dict[str, str], sizes: dict[str, int], header: Path, path: Path) -> Source:
    """The data file's numbers."""
    dtype = _data_type(fields, header)
    interleave = fields.get("interleave", "bsq").lower()
    if interleave not in INTERLEAVES:
        raise FormatError(f"{header}: interleave: found {interleave!r}, expected bsq, bil or bip")
    offset = whole_number(fields, "header offset", header, 0)
    names, axes = INTERLEAVES[interleave]
    shape = tuple(sizes[name] for name in names.split())
    needed = _data_bytes(fields, sizes, header)
    data_path = path if path != header else _data_of(header, needed)
    if _is_raster(data_path):
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
        if fits and item != header and item.is_file() and Path(name).suffix not in SIDECARS and not is_header(item):
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
    # the header gets its name last: it says that there are data
    with atomic_path(path) as header, atomic_path(path.with_suffix(".img")) as temporary:
        out = mapped(temporary, dtype.newbyteorder("<"), cube.shape)
        with closing(stored.blocks(dtype.itemsize, progress=progress)) as blocks:
            for rows, columns, values in blocks:
                out[:, rows, columns] = values
        out.flush()
        header.write_text(_header(cube, stored, codes[dtype], grid, meta_text(cube, str(path))), encoding="utf-8")


def _header(cube: Cube, stored: Stored, code: int, grid: str | None, further: str | None) -> str:
    def row(values: Any, form: str) -> str:
        return "{" + ", ".join(format(value, form) for value in values) + "}"

    bands, lines, samples = cube.shape
    description = " ".join(cube.name.replace("}", ")").split())
    fields: dict[str, Any] = {
        "description": "{" + description + "}",
        "samples": samples, "lines": lines, "bands": bands, "header offset": 0, "file type": "ENVI Standard",
        "data type": code, "interleave": "bsq", "byte order": 0,
    }  # fmt: skip
    if cube.wavelength_nm is not None:
        fields["wavelength units"] = "Nanometers"
        fields["wavelength"] = row(cube.wavelength_nm, "")
    if cube.fwhm_nm is not None:
        fields["wavelength units"] = "Nanometers"
        fields["fwhm"] = row(cube.fwhm_nm, "")
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
    if description != cube.name:
        fields[NAME] = quote(cube.name, safe="")
    if further is not None:
        fields[META] = quote(further, safe="")
    return "ENVI\n" + "".join(f"{name} = {value}\n" for name, value in fields.items())
