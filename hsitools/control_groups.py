"""What containers and batch systems allow a process, as Linux tells by control groups: less than the machine has."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path, PurePosixPath

#: Where a process's groups are told, and what they are allowed.
OWN, GROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def allowed_memory() -> tuple[int, int] | None:
    """Bytes that are free (caches count as used) and bytes in all, of the group that allows least; None without one."""
    limits = _values("memory", "memory.max", "memory.limit_in_bytes")
    used = _values("memory", "memory.current", "memory.usage_in_bytes")
    groups = [
        (int(limits[folder]) - int(used.get(folder, "0")), int(limits[folder]))
        for folder in limits
        if limits[folder].isdecimal()
    ]
    return min(groups, key=lambda group: group[1], default=None)


def allowed_processors() -> float | None:
    """Processors' time that this process may take in all; None where it is not limited."""
    pairs = [value.split() for value in _values("cpu", "cpu.max", "").values()]
    periods = _values("cpu", "", "cpu.cfs_period_us")
    pairs += [[quota, periods.get(folder, "")] for folder, quota in _values("cpu", "", "cpu.cfs_quota_us").items()]
    found = [int(quota) / int(period) for quota, period in pairs if quota.isdecimal() and period.isdecimal()]
    return min(found, default=None)


def _values(controller: str, name: str, former_name: str) -> dict[Path, str]:
    """What stands in a file of the group of this process, and of those around it, of either version of groups."""
    out: dict[Path, str] = {}
    with suppress(OSError):
        for line in OWN.read_text(encoding="utf-8").splitlines():
            _, controllers, group = line.split(":", 2)
            root, file = (GROUPS / controller, former_name) if controllers else (GROUPS, name)
            if not file or (controllers and controller not in controllers.split(",")):
                continue
            own = PurePosixPath(group.lstrip("/"))
            # a container may see its own group as the root
            for folder in (own, *own.parents):
                with suppress(OSError):
                    out[root / folder] = (root / folder / file).read_text(encoding="utf-8").strip()
    return out
