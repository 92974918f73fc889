"""What the denoiser's trainings share: files of examples, and steps until the end, resumable and repeatable."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from hsitools.errors import FormatError
from hsitools.learning import Ema, load_checkpoint, save_checkpoint
from hsitools.progress import Progress

#: Steps between judgements; seconds between checkpoints.
EVERY, CHECKPOINT_SECONDS = 250, 30.0
#: Every so many-th scene is held out.
HELD_OUT = 5


# ---- examples --------------------------------------------------------------------------------------------------


def example_files(
    count: int, seed: int, folder: str | Path, make: Callable[[Path, np.random.Generator], None],
    progress: Progress | None = None, rank: int = 0, world: int = 1,
) -> list[Path]:  # fmt: skip
    """Files of ``count`` examples, made where missing; each from its own seed, so that any process can make any."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:05d}.npz" for number in range(count)]
    for number in range(rank, count, world):
        if not paths[number].is_file():
            make(paths[number], np.random.default_rng([seed, number]))
        if progress is not None and rank == 0:
            progress(number + 1, count)
    return paths


@contextlib.contextmanager
def example_parts(path: Path) -> Iterator[dict[str, NDArray[Any]]]:
    """Arrays of an example's file; what is wrong with them, here or in the block, is a `FormatError`."""
    try:
        with np.load(path) as file:
            yield {name: file[name] for name in file.files}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{path}: expected a training example; {' '.join(str(error).split())}") from None


# ---- steps -----------------------------------------------------------------------------------------------------


class Task(Protocol):
    """What is learned."""

    @property
    def net(self) -> nn.Module:
        """What is trained."""

    @property
    def ema(self) -> Ema:
        """Its average."""

    def loss(self, rng: np.random.Generator) -> torch.Tensor:
        """Of some examples."""

    def judge(self) -> tuple[float, ...]:
        """Numbers of the average on examples held out."""


@dataclass
class State:
    """Where a training stands. Randomness is drawn anew at each step, so it holds none."""

    step: int = 0
    losses: list[float] = field(default_factory=list)
    curve: list[tuple[float, ...]] = field(default_factory=list)


def learn(
    task: Task, rng_of: Callable[[int], np.random.Generator], settings: dict[str, Any], checkpoint: Path, *,
    steps: int, rate: float, warm: int, resume: bool = True, rank: int = 0, world: int = 1,
    progress: Progress | None = None,
) -> State:  # fmt: skip
    """Steps of AdamW until the end, the rate rising over ``warm`` steps and falling by a cosine.

    Parameters
    ----------
    task : Task
    rng_of : callable
        Random numbers of a step.
    settings : dict
        Which a checkpoint must share to go on.
    checkpoint : path
        Written now and then, and at the end.
    steps, rate, warm
    resume : bool
    rank, world : int
        Of processes.
    progress : callable, optional
        Called with (steps done, steps in all).

    Raises
    ------
    InputError, FormatError
        For a checkpoint of other settings, or of another net.
    FloatingPointError
        When the loss is not finite.
    """
    optimizer = torch.optim.AdamW(task.net.parameters(), lr=rate, weight_decay=1e-4)
    modules = {"net": task.net, "ema": task.ema}
    state = State()
    if resume and checkpoint.is_file():
        state = State(**load_checkpoint(checkpoint, modules, optimizer, "net", settings))
        state.curve = [tuple(row) for row in state.curve]
    saved = time.monotonic()

    def save() -> None:
        facts = {"settings": settings, "state": dataclasses.asdict(state)}
        save_checkpoint(checkpoint, modules, optimizer, "net", facts)

    while state.step < steps:
        rising = min(1.0, (state.step + 1) / warm)
        for group in optimizer.param_groups:
            group["lr"] = rate * rising * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * state.step / steps)))
        loss = task.loss(rng_of(state.step))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(task.net.parameters(), 1.0)
        optimizer.step()
        task.ema.update(task.net)
        value = loss.detach().clone()
        if world > 1:
            torch.distributed.all_reduce(value)
            value /= world
        state.losses.append(float(value))
        if not math.isfinite(state.losses[-1]):
            raise FloatingPointError(f"{checkpoint.name}: loss: found {state.losses[-1]} in step {state.step}")
        state.step += 1
        if state.step % EVERY == 0 or state.step == steps:
            state.curve.append((state.step, float(np.mean(state.losses)), *task.judge()))
            state.losses = []
        if rank == 0 and time.monotonic() - saved > CHECKPOINT_SECONDS:
            save()
            saved = time.monotonic()
        if rank == 0 and progress is not None:
            progress(state.step, steps)
    if rank == 0:
        save()
    return state
