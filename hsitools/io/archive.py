"""Archives: named, never unpacked."""

from __future__ import annotations

import zipfile
from pathlib import Path

from hsitools.cube import Cube
from hsitools.errors import FormatError


def can_read(path: Path) -> bool:
    """A zip, gzip, bzip2, xz or tar file that is no NumPy archive."""
    return _kind(path) is not None


def _kind(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        start = file.read(265)
    for magic, kind in ((b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ\x00", "xz"), (b"7z\xbc\xaf", "7-zip"),
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
    raise FormatError(f"{path}: found a {_kind(path)} archive, expected what is in it: unpack it first")
