"""What a call costs: seconds, CPU seconds, memory; and a limit of memory."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: What a record says of it.
COST = ("seconds", "cpu_seconds", "peak_mib")


def memory() -> dict[str, float]:
    """MiB of this process by the kernel's names; empty where there is no ``/proc``."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in lines)
    return {name: int(value.split()[0]) / 1024 for name, value in pairs if value.strip().endswith(" kB")}


@contextlib.contextmanager
def measured(record: dict[str, Any], device: str = "cpu") -> Iterator[None]:
    """Write the cost of the body into the record (`COST`), also when it fails.

    ``peak_mib`` is the body's own: the most memory meanwhile beyond what was in use before, code pages of libraries not
    (on a GPU: allocated there); None where the system does not tell.
    """
    gpu = device if device.startswith("cuda") else None
    gc.collect()
    if gpu is not None:
        import torch

        torch.cuda.synchronize(gpu)
        torch.cuda.reset_peak_memory_stats(gpu)
        held = torch.cuda.memory_allocated(gpu)
    with contextlib.suppress(OSError, AttributeError):
        # memory that loading the case left free would hide what the method takes; then the peak starts anew
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    before = memory()
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        yield
    finally:
        if gpu is not None:
            torch.cuda.synchronize(gpu)
        record["seconds"], record["cpu_seconds"] = time.perf_counter() - wall, time.process_time() - cpu
        after = memory()
        record["peak_mib"] = None
        if gpu is not None:
            record["peak_mib"] = (torch.cuda.max_memory_allocated(gpu) - held) / 2**20
        elif "VmHWM" in after and "RssFile" in after:
            code = max(0.0, after["RssFile"] - before["RssFile"])
            record["peak_mib"] = max(0.0, after["VmHWM"] - before["VmRSS"] - code)


@contextlib.contextmanager
def memory_limit(limit_mib: float | None) -> Iterator[None]:
    """Allocations beyond the limit fail inside the body, where the system can do that (Linux)."""
    used = memory().get("VmData")
    if limit_mib is None or used is None:
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = int((used + limit_mib) * 2**20)
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
