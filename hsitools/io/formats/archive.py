"""Archives, pictures and documents: named, never unpacked."""

from __future__ import annotations

import zipfile
from pathlib import Path

from hsitools.cube import Cube
from hsitools.errors import FormatError

#: None is ever read.
CUBES = False
PRIORITY = 0  # first, so that nobody else tries to open what can hold no cube
#: First bytes of files that hold no cube, and what they are.
PICTURES = ((b"\x89PNG\r\n", "PNG"), (b"\xff\xd8\xff", "JPEG"), (b"GIF8", "GIF"), (b"BM", "BMP"))
OTHERS = (
    (b"%PDF-", "a PDF document"), (b"SQLite format 3", "an SQLite database"),
    (b"\x93NUMPY", "a single NumPy array without wavelengths (.npz holds them: cube, wavelength_nm)"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 image (gdal_translate makes a GeoTIFF of it)"),
    (b"\x0e\x03\x13\x01", "an HDF4 file (h4toh5 makes HDF5 of it)"),
)  # fmt: skip


def can_read(path: Path) -> bool:
    """An archive that is not NumPy's, a picture, or another file that holds no cube."""
    return _kind(path) is not None or _other(path) is not None


def _other(path: Path) -> str | None:
    """What a file is by its first bytes, where it is no cube and no archive."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        start = file.read(16)
    for magic, name in PICTURES:
        if start.startswith(magic) and (name != "BMP" or path.suffix.lower() == ".bmp"):
            return f"a {name} picture" + (" (a folder of them, one a wavelength, is one)" if name == "PNG" else "")
    if any(path.with_name(name).is_file() for name in (path.name + ".hdr", path.stem + ".hdr", path.stem + ".HDR")):
        # an ENVI header says where the numbers lie in it (Hyperion L1R)
        return None
    return next((name for magic, name in OTHERS if start.startswith(magic)), None)


def _kind(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        start = file.read(265)
    for magic, kind in ((b"\x1f\x8b\x08", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ\x00", "xz"), (b"7z\xbc\xaf", "7-zip"),
                        (b"Rar!", "RAR"), (b"\x28\xb5\x2f\xfd", "zstd")):  # fmt: skip
        if start.startswith(magic):
            return kind
    if start[257:262] == b"ustar":
        return "tar"
    if start.startswith(b"PK\x03\x04") and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return None if any(name.endswith(".npy") for name in archive.namelist()) else "zip"
    return None


def read(path: Path) -> Cube:
    """Say what it is."""
    other = _other(path)
    if other is not None:
        raise FormatError(f"{path}: found {other}, expected a cube")
    raise FormatError(f"{path}: found a {_kind(path)} archive, expected what is in it: unpack it first")
