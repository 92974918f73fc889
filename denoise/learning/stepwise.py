"""The denoiser's way of training: steps of AdamW, a rate that rises and falls by a cosine, averaged weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from hsitools.learning.trainer import Plan, Task, Trainer
from hsitools.learning.workers import Worker
from hsitools.progress import Progress

#: Steps between evaluations, which take about as long as ten steps.
EVALUATE_EVERY = 250
#: What AdamW takes from the weights themselves in each step, and most that a gradient's norm may be: the usual.
WEIGHT_DECAY, CLIP = 1e-4, 1.0
#: Share of the highest rate at which training ends: averaged weights change no more.
LAST_RATE = 0.02


class StepTask(Task, Protocol):
    """A task whose measures have names."""

    @property
    def measures(self) -> tuple[str, ...]:
        """Of these, what `Task.evaluate` returns."""


def train_by_steps(
    task: StepTask, name: str, settings: Mapping[str, Any], folder: Path, worker: Worker, *, steps: int, rate: float,
    warm: int, ema_decay: float, drawn: int = 0, resume: bool = True, progress: Progress | None = None,
) -> Trainer:  # fmt: skip
    """Train to the end; ``rate`` is the highest, reached after ``warm`` steps. See `hsitools.learning.trainer`."""

    def rate_of(step: int) -> float:
        falling = 0.5 * (1 + math.cos(math.pi * step / steps))
        return rate * min(1.0, (step + 1) / warm) * (LAST_RATE + (1 - LAST_RATE) * falling)

    plan = Plan(
        name=name, settings=settings, unit="step", rounds=steps, rate=rate_of, measures=task.measures, drawn=drawn,
        evaluate_every=EVALUATE_EVERY, ema_decay=ema_decay, clip=CLIP,
    )  # fmt: skip
    optimizer = torch.optim.AdamW(task.net.parameters(), lr=rate, weight_decay=WEIGHT_DECAY)
    trainer = Trainer(task, plan, optimizer, folder, worker)
    trainer.learn(resume=resume, progress=progress)
    return trainer
