"""What fits into memory: asked before the machine starts to swap."""

from __future__ import annotations

import os

from hsitools.errors import InputError

#: Caches are given back when memory is needed, but not all: the share of the machine's memory that one step may take
#: however little is free at the moment. A quarter more would leave nothing to the interpreter and its libraries.
SHARE = 0.8


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
        When more is needed than is free, and more than `SHARE` of what there is.
    """
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        free, total = os.sysconf("SC_AVPHYS_PAGES") * page, os.sysconf("SC_PHYS_PAGES") * page
    except (ValueError, OSError, AttributeError):
        return  # a system that does not tell
    if n_bytes > max(free, SHARE * total):
        why = f"{use}, about " if use else ""
        raise InputError(f"{who}: memory: {why}{n_bytes / 2**30:.1f} GiB needed, found {free / 2**30:.1f} GiB free; "
                         f"{advice}")  # fmt: skip
