"""How many processors and threads a process may use: containers and schedulers give it fewer than the machine has."""

from __future__ import annotations

import math
import os

from hsitools.control_groups import allowed_processors


def processors() -> int:
    """Processors that this process may use.

    Examples
    --------
    >>> processors() >= 1
    True
    """
    seen = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    allowed = allowed_processors()
    return seen if allowed is None else min(seen, max(1, math.ceil(allowed)))


def threads() -> int:
    """Threads of this process: one a processor, or fewer where ``OMP_NUM_THREADS`` says so, as in workers.

    Examples
    --------
    >>> 1 <= threads() <= processors()
    True
    """
    said = os.environ.get("OMP_NUM_THREADS", "")
    return min(processors(), max(1, int(said))) if said.isdecimal() else processors()
