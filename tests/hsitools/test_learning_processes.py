"""Training by several processes: their gradients are averaged, and nothing of them stays."""

import os
import socket
import subprocess
import sys

import pytest
import torch
from torch import nn

from hsitools.learning.workers import join_workers


def make_net(width=4):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Linear(width, 1))


def test_one_process_needs_no_group():
    net = make_net()
    with join_workers("cpu") as worker:
        assert (worker.device.type, worker.rank, worker.world, worker.first) == ("cpu", 0, 1, True)
        assert worker.shared(net) is net
        assert worker.total(torch.tensor(2.5)) == 2.5
        worker.wait()
        assert not torch.distributed.is_initialized()


SCRIPT = """
import gc, sys
from pathlib import Path
import torch
from torch import nn
from hsitools.learning.workers import join_workers

def learn(worker):
    torch.manual_seed(0)
    net = nn.Linear(2, 1)
    both = worker.shared(net)
    both.itself = [both]  # only a collection frees it
    both(torch.full((1, 2), float(worker.rank))).sum().backward()
    return net.weight.grad

gc.disable()
with join_workers("cpu") as worker:
    grad = learn(worker)
    assert worker.total(torch.tensor(1.0 + worker.rank)) == 3
assert grad.tolist() == [[0.5, 0.5]], grad
left = [kind for kind in map(type, gc.get_objects()) if kind is nn.parallel.DistributedDataParallel]
assert not left, left
threads = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").glob("*")]
print(worker.rank, *threads, file=open(sys.argv[1] + str(worker.rank), "w"))
"""


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
def test_two_processes_average_and_leave_nothing_behind(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # what torchrun tells its processes; to load itself it takes as long as one of them
    told = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(tmp_path / "threads")], stderr=subprocess.PIPE, text=True,
            env=os.environ | told | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]  # fmt: skip
    said = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    for rank in range(2):
        # a thread of the group that outlives it aborts the interpreter's end, now and then
        assert "gloo" not in (tmp_path / f"threads{rank}").read_text()
