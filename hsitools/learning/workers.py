"""Processes that train one net together, as torchrun starts them; a single process is the usual case."""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import distributed, nn

from hsitools.devices import device_named


@dataclass(frozen=True)
class Worker:
    """One of the processes that train together.

    Attributes
    ----------
    device : torch.device
    rank, world : int
        Its number, and how many there are.
    """

    device: torch.device
    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes files and reports progress."""
        return self.rank == 0

    def shared(self, net: nn.Module) -> nn.Module:
        """The net as all processes train it: gradients are averaged over them. With one process the net itself."""
        if self.world == 1:
            return net
        numbers = [self.device.index] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(net, device_ids=numbers)

    def total(self, value: torch.Tensor) -> float:
        """Sum of all processes' values."""
        if self.world > 1:
            distributed.all_reduce(value)
        return float(value)

    def wait(self) -> None:
        """Until all processes are here."""
        if self.world > 1:
            distributed.barrier(device_ids=[self.device.index] if self.device.type == "cuda" else None)


@contextlib.contextmanager
def join_workers(device: str | None) -> Iterator[Worker]:
    """Which of torchrun's processes this one is; alone, when torchrun did not start it.

    All processes leave the block together, so what one does alone, and slowly, belongs after it. No net of
    `Worker.shared` may live longer than the block.

    Parameters
    ----------
    device : str or None
        Default the GPU where there is one, each process its own.
    """
    place = device_named(device or "auto")
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Worker(place)
        return
    if place.type == "cuda":
        if place.index is None:
            place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(place)
    # DDP imports it later, and the group becomes the default argument of its functions and is never freed: its threads
    # are alive when the interpreter ends, which now and then aborts the process
    importlib.import_module("torch.distributed.nn")
    distributed.init_process_group("nccl" if place.type == "cuda" else "gloo")
    try:
        worker = Worker(place, distributed.get_rank(), world)
        yield worker
        worker.wait()
    finally:
        # shared nets are in reference cycles and hold the group
        gc.collect()
        distributed.destroy_process_group()
