"""Folders for work in progress: gone when their process ends, or, after a kill, when the next one makes a folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

#: Of the folders' names. They lie apart from a benchmark's own folder, which tells where the truth is.
PREFIX = "hsi-work-"
_LOCK = ".lock"


class Scratch:
    """A temporary folder whose lock the kernel lets go when this process ends, however it ends."""

    def __init__(self) -> None:
        remove_stale()
        # made beside its name and renamed with its lock held: nobody sees it without; Windows renames no folder in use
        hidden = "" if os.name == "nt" else "."
        made = Path(tempfile.mkdtemp(prefix=f"{hidden}{PREFIX}"))
        self._handle = os.open(made / _LOCK, os.O_RDWR | os.O_CREAT)
        _lock(self._handle)
        self.path = made.with_name(made.name.removeprefix(hidden))
        if self.path != made:
            made.rename(self.path)

    def close(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.path, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.close(self._handle)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self.close()


def remove_stale() -> None:
    """Remove folders whose process was killed: a lock that can be had has no owner."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            handle = os.open(folder / _LOCK, os.O_RDWR)
        except OSError:  # of another user, or going away this moment
            continue
        try:
            _lock(handle)
        except OSError:
            continue
        else:
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(handle)


def _lock(handle: int) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
