"""Memory and processors of containers and batch jobs, from files as Linux has them."""

import os

import pytest

from hsitools import control_groups
from hsitools.control_groups import allowed_memory, allowed_processors
from hsitools.cube import memory
from hsitools.processors import processors

#: What a process is told of its groups, and their files: a job of SLURM (second version), a container that sees itself
#: as the root (both), and groups of the first version within others.
JOB = {
    "own": "0::/slurm/job_7/step_0",
    "slurm/memory.max": "max", "slurm/job_7/memory.max": "8000", "slurm/job_7/memory.current": "3000",
    "slurm/job_7/step_0/memory.max": "max", "slurm/cpu.max": "max 100000", "slurm/job_7/cpu.max": "150000 100000",
}  # fmt: skip
CONTAINER = {"own": "0::/", "memory.max": "8000", "memory.current": "3000", "cpu.max": "150000 100000"}
FORMER_CONTAINER = {
    "own": "5:cpu,cpuacct:/docker/4f\n4:memory:/docker/4f\n1:name=systemd:/docker/4f",
    "memory/memory.limit_in_bytes": "8000", "memory/memory.usage_in_bytes": "3000",
    "cpu/cpu.cfs_quota_us": "150000", "cpu/cpu.cfs_period_us": "100000",
}  # fmt: skip
FORMER_JOB = {
    "own": "5:cpu:/job\n4:memory:/job/step\n0::/",
    "memory/memory.limit_in_bytes": "9223372036854771712", "memory/job/memory.limit_in_bytes": "8000",
    "memory/job/memory.usage_in_bytes": "3000", "memory/job/step/memory.limit_in_bytes": "9223372036854771712",
    "cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000",
    "cpu/job/cpu.cfs_quota_us": "15000", "cpu/job/cpu.cfs_period_us": "10000",
}  # fmt: skip


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Writes files of groups, that of what a process is told of its own among them."""
    monkeypatch.setattr(control_groups, "OWN", tmp_path / "own")
    monkeypatch.setattr(control_groups, "GROUPS", tmp_path)

    def write(files):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text + "\n")

    return write


@pytest.mark.parametrize("files", [JOB, CONTAINER, FORMER_CONTAINER, FORMER_JOB])
def test_the_group_that_allows_least_counts(written, files):
    written(files)
    assert allowed_memory() == (5000, 8000)
    assert allowed_processors() == 1.5


@pytest.mark.parametrize("files", [{}, {"own": "0::/"}, {"own": "0::/", "memory.max": "max", "cpu.max": "max 100000"}])
def test_nothing_is_limited(written, files):
    written(files)
    assert allowed_memory() is None
    assert allowed_processors() is None


def test_steps_and_threads_go_by_it(written, monkeypatch):
    monkeypatch.setattr(memory, "_LIMIT", [])
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: set(range(64)), raising=False)
    monkeypatch.setattr(os, "sysconf", lambda _name: 100_000, raising=False)
    assert memory._machine() == (10**10, 10**10)
    written(JOB)
    assert memory._machine() == (5000, 8000)
    # caches are given back
    assert memory.memory_limit() == 6400
    assert processors() == 2
    # one that counts more than its group allows is still one
    written({"slurm/job_7/cpu.max": "1000 100000"})
    assert processors() == 1
