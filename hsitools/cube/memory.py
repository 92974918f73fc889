"""What fits into memory: asked before the machine starts to swap."""

from __future__ import annotations

import contextlib
import ctypes
import os

from hsitools.control_groups import allowed_memory
from hsitools.errors import InputError

#: Caches are given back when memory is needed, but not all: the share of the machine's memory that one step may take
#: however little is free at the moment. A quarter more would leave nothing to the interpreter and its libraries.
SHARE = 0.8

#: Of the C library: freed memory of up to this size is kept for the next arrays. An array that is mapped anew is
#: faulted in page by page: a tenth of fusion's time, a third of an interpolation's.
KEPT_BYTES = 2**30
#: `KEPT_BYTES`, as processes are told that are started: all arrays on one heap, none mapped by itself.
ALLOCATOR = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(KEPT_BYTES)}
#: The same as glibc's ``mallopt`` numbers them.
_MALLOPT = {-8: 1, -4: 0, -1: KEPT_BYTES}

_LIMIT: list[int] = []


def keep_freed() -> None:
    """Keep the memory of freed arrays in this process for the next ones, as `ALLOCATOR`; nothing where glibc is not."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in _MALLOPT.items():
            mallopt(parameter, value)


def limit_memory(n_bytes: int) -> None:
    """Take no more than ``n_bytes`` in this process, however much the machine has: its share among several."""
    _LIMIT[:] = [n_bytes]


def memory_limit() -> int | None:
    """Bytes that all steps of a process may take together; None on a system that does not tell.

    Workers of one machine divide it among themselves (`hsitools.scale.cluster`).
    """
    machine = _machine()
    limits = [*_LIMIT, *([] if machine is None else [max(machine[0], int(SHARE * machine[1]))])]
    return min(limits) if limits else None


def require_memory(n_bytes: int, who: str, *, use: str = "", advice: str = "choose a window or bands") -> None:
    """Refuse what would not fit.

    Parameters
    ----------
    n_bytes : int
        Memory that is needed.
    who : str
        The cube, for the message.
    use : str
        What needs it, as ``"gsa takes a scene as a whole"``.
    advice : str
        What would need less.

    Raises
    ------
    InputError
        When more is needed than is free, and more than `SHARE` of what there is; or than `limit_memory` said.
    """
    limit = memory_limit()
    if limit is not None and n_bytes > limit:
        why = f"{use}, about " if use else ""
        machine = _machine()
        free = limit if _LIMIT or machine is None else machine[0]
        raise InputError(f"{who}: memory: {why}{n_bytes / 2**30:.1f} GiB needed, found {free / 2**30:.1f} GiB free; "
                         f"{advice}")  # fmt: skip


def _machine() -> tuple[int, int] | None:
    """Free bytes, and bytes in all, of what this process may take; None on a system that does not tell."""
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        machine = os.sysconf("SC_AVPHYS_PAGES") * page, os.sysconf("SC_PHYS_PAGES") * page
    except (ValueError, OSError, AttributeError):
        # neither Windows nor macOS: Dask brings what asks them
        try:
            import psutil
        except ImportError:
            return None
        asked = psutil.virtual_memory()
        return int(asked.available), int(asked.total)
    group = allowed_memory()
    return machine if group is None else (min(machine[0], group[0]), min(machine[1], group[1]))
