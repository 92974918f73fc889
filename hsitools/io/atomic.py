"""Output files that are whole or not there."""

from __future__ import annotations

import math
import os
import platform
import re
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hsitools.errors import InputError, no_room
from hsitools.io.outputs import check_file

if TYPE_CHECKING:
    import numpy as np

#: Hidden names that `unfinished` gives: of what, of which machine, of which process.
UNFINISHED = re.compile(r"\..+\.([0-9a-f]{8})-([0-9]+)-[0-9a-f]{8}\.part")


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` on success, remove it on failure.

    A run that is killed meanwhile leaves at most a hidden ``.name.*.part`` file, never a broken ``path``; the next one
    that writes into the folder removes it.

    Raises
    ------
    InputError
        When the folder of ``path`` does not exist or cannot be written, or the disk is full.
    """
    path = Path(path)
    check_file(path)
    temporary = unfinished(path)
    try:
        try:
            temporary.touch(exist_ok=False)
        except OSError as error:
            raise InputError(f"{path}: output: cannot write there ({error.strerror or error})") from None
        with full_disk_said(path):
            yield temporary
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def unfinished(path: Path) -> Path:
    """A hidden name beside ``path`` that nothing has, and that says which process it is of.

    Known before anything is made by it, so that whoever is interrupted while making it can clear it away; what those
    who were killed left in the folder goes now.
    """
    clear_left(path.parent)
    return path.with_name(f".{path.name}.{_machine()}-{os.getpid()}-{os.urandom(4).hex()}.part")


def made_scratch(near: Path) -> Path:
    """A new hidden folder for work in progress beside ``near``; its maker removes it, or whoever comes after a kill."""
    folder = unfinished(near)
    try:
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise InputError(f"{near}: output: cannot write there ({error.strerror or error})") from None
    return folder


@contextmanager
def scratch_folder(near: Path) -> Iterator[Path]:
    """The same, gone afterwards."""
    folder = made_scratch(near)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def clear_left(folder: Path) -> None:
    """Remove from a folder what processes of this machine left unfinished that are no more."""
    # there is no asking for a process there without ending it
    if os.name == "nt":
        return
    with suppress(OSError):
        for name in os.listdir(folder):
            found = UNFINISHED.fullmatch(name)
            if found and found[1] == _machine() and not _runs(int(found[2])):
                # what is another user's stays
                with suppress(OSError):
                    remove(folder / name)


def remove(path: Path) -> None:
    """Remove a file, a folder with all that is in it, or a link but not what it leads to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _machine() -> str:
    """Name of what the numbers of processes are of: a container has its own, though it may share a host's name."""
    try:
        space = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        space = 0
    return f"{zlib.crc32(f'{platform.node()} {space}'.encode()):08x}"


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        # of another user
        return True
    return True


@contextmanager
def full_disk_said(path: Path) -> Iterator[None]:
    """Raise `InputError` that names ``path`` for whatever a library says of a disk that is full."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        words = no_room(error)
        if words is None:
            raise
        raise InputError(f"{path}: output: cannot be written ({words})") from None


def require_room(path: str | Path, n_bytes: int) -> None:
    """Refuse what the disk of ``path`` has no room for, before anything is computed.

    Raises
    ------
    InputError
        When more is needed than is free there.
    """
    try:
        free = shutil.disk_usage(Path(path).absolute().parent).free
    except OSError:
        return
    if n_bytes > free:
        found, expected = (
            f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.2f} MiB" for size in (free, n_bytes)
        )
        raise InputError(f"{path}: output: found {found} free on the disk, expected at least {expected}")


def mapped(path: str | Path, dtype: Any, shape: tuple[int, ...]) -> np.memmap[Any, Any]:
    """A new file as an array, its room on the disk reserved: a mapped file that finds none ends the process."""
    import numpy as np

    with open(path, "wb") as file:
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if size and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)
    return np.memmap(path, dtype=dtype, mode="r+", shape=shape)
