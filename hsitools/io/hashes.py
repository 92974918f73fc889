"""Hashes of files and of plain data: whether one is still what it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hsitools.errors import FormatError
from hsitools.io.labels import strange


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, 64 hexadecimal digits."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def content_hash(path: str | Path) -> str:
    """Of a file's bytes, 16 digits; where its reader opens more than it (`hsitools.io.readers.source_files`), of all.

    An ENVI header's numbers are in another file; products and folders of weights are many.

    Raises
    ------
    FormatError
        When there is no such file.
    """
    from hsitools.io.readers import source_files

    path = Path(path)
    if not path.exists():
        raise FormatError(f"{path}: found {strange(path) or 'no such file or folder'}, expected one")
    if not path.is_file() and not path.is_dir():
        # reading a pipe waits for whoever writes into it
        raise FormatError(f"{path}: found {strange(path)}, expected a file or folder")
    return files_hash(source_files(path))


def files_hash(files: Iterable[Path]) -> str:
    """Of the bytes of files, in their order, 16 digits."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(bytes.fromhex(file_sha256(file)))
    return digest.hexdigest()[:16]


def short_hash(values: Any) -> str:
    """Of plain data, 16 digits."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
