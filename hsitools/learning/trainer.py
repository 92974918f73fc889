"""One training loop for all nets: resumable, repeatable, on one device or shared among processes.

A training is so many rounds, each an epoch (all examples once) or a single step; now and then the net is judged on
examples held out. Random numbers are drawn anew from the seed and the round's number, so a checkpoint holds none.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import torch
from torch import nn

from hsitools.learning.averaging import Ema
from hsitools.learning.checkpoint import load_checkpoint, save_checkpoint
from hsitools.learning.curves import draw_curves, save_curve
from hsitools.learning.workers import Worker
from hsitools.progress import Progress

#: Seconds between checkpoints: the most that a kill costs. Twice as often would cost 1 % of the time for the largest
#: net (16 MB with its moments).
CHECKPOINT_SECONDS = 10.0


class Task(Protocol):
    """What is learned: a net, and examples to learn from and to judge by."""

    @property
    def net(self) -> nn.Module:
        """What is trained, on its device."""

    def losses(self, net: nn.Module, number: int) -> Iterator[tuple[torch.Tensor, float]]:
        """Losses of a round's batches, each with its share of the round's mean; weights are updated after each.

        ``net`` is the one above as all processes share it.
        """

    def evaluate(self, net: nn.Module) -> tuple[float, ...]:
        """The plan's measures of a net on the examples held out, the same in all processes."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a net is trained.

    Attributes
    ----------
    name : str
        Stem of the files.
    settings : mapping
        What decides the outcome; a checkpoint goes on with equal ones only. Of what JSON can hold.
    unit : str
        What a round is: ``"epoch"`` or ``"step"``.
    rounds : int
    rate : callable
        Learning rate of a round.
    measures : tuple of str
        What `Task.evaluate` returns; the first ``drawn`` are losses, and drawn.
    drawn : int
    evaluate_every : int
        Rounds.
    ema_decay : float, optional
        Keep the average of the weights; default those with the least first measure.
    patience : int, optional
        Rounds without a lower first measure after which training stops.
    clip : float, optional
        Most that a gradient's norm may be.
    """

    name: str
    settings: Mapping[str, Any]
    unit: str
    rounds: int
    rate: Callable[[int], float]
    measures: tuple[str, ...]
    drawn: int = 0
    evaluate_every: int = 1
    ema_decay: float | None = None
    patience: int | None = None
    clip: float | None = None


@dataclass
class State:
    """Where a training stands: rounds and updates done, losses since the last evaluation, rows of the curve."""

    round: int = 0
    updates: int = 0
    losses: list[float] = field(default_factory=list)
    curve: list[tuple[float, ...]] = field(default_factory=list)
    best_loss: float = math.inf
    best_round: int = 0

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> State:
        """The state that a checkpoint holds, also by 0.1.0's words."""
        former = {"epoch": "round", "step": "round", "steps": "updates", "best_epoch": "best_round"}
        state = cls(**{former.get(name, name): value for name, value in facts.items()})
        state.curve = [tuple(row) for row in state.curve]
        return state


class Trainer:
    """A training in a folder: ``<name>.checkpoint.safetensors``, ``<name>.csv`` and ``<name>.png``.

    Parameters
    ----------
    task : Task
    plan : Plan
    optimizer : Optimizer
        Adam or AdamW, of the task's net.
    folder : path
    worker : Worker
    """

    def __init__(
        self, task: Task, plan: Plan, optimizer: torch.optim.Optimizer, folder: str | Path, worker: Worker
    ) -> None:  # fmt: skip
        self.task, self.plan, self.optimizer, self.folder, self.worker = task, plan, optimizer, Path(folder), worker
        self.state = State()
        self.average = None if plan.ema_decay is None else Ema(task.net, plan.ema_decay)
        #: The net whose weights are kept.
        self.kept: nn.Module = copy.deepcopy(task.net) if self.average is None else self.average.module
        self.columns = (plan.unit, "training_loss", *plan.measures)

    @property
    def modules(self) -> dict[str, nn.Module]:
        """What a checkpoint holds."""
        return {"net": self.task.net} | ({"best": self.kept} if self.average is None else {"ema": self.average})

    @property
    def checkpoint(self) -> Path:
        """File of the checkpoint."""
        return self.folder / f"{self.plan.name}.checkpoint.safetensors"

    def learn(
        self, *, resume: bool = True, former: Mapping[str, Collection[Any]] = MappingProxyType({}),
        progress: Progress | None = None,
    ) -> State:  # fmt: skip
        """Rounds until the end, or until nothing has improved for too long.

        Parameters
        ----------
        resume : bool
            Go on from the checkpoint in the folder, if there is one.
        former : mapping
            See `hsitools.learning.checkpoint.load_checkpoint`.
        progress : callable, optional
            Called with (rounds done, rounds in all).

        Raises
        ------
        InputError, FormatError
            For a checkpoint of other settings, or of another net.
        FloatingPointError
            When a loss is not finite.
        """
        plan, worker = self.plan, self.worker
        if resume and self.checkpoint.is_file():
            facts = load_checkpoint(self.checkpoint, self.modules, self.optimizer, "net", plan.settings, former)
            self.state = State.of(facts)
        state, saved = self.state, time.monotonic()
        net = worker.shared(self.task.net)
        with torch.backends.cudnn.flags(deterministic=True, benchmark=False):
            while state.round < plan.rounds and not self._exhausted():
                state.losses.append(self._round(net))
                state.round += 1
                self._must_be_finite(state.losses[-1])
                if state.round % plan.evaluate_every == 0 or state.round == plan.rounds:
                    self._evaluate()
                if worker.first and time.monotonic() - saved >= CHECKPOINT_SECONDS:
                    self._save()
                    saved = time.monotonic()
                if worker.first and progress is not None:
                    progress(state.round, plan.rounds)
        if worker.first:
            self._save()
            kept = state.best_round if self.average is None else state.round
            rows = [row[: 2 + plan.drawn] for row in state.curve]
            title = f"{plan.name}, seed {plan.settings['seed']}"
            draw_curves(self.folder / f"{plan.name}.png", self.columns[: 2 + plan.drawn], rows, kept, title)
        return state

    @property
    def measured(self) -> dict[str, float]:
        """Measures of the last evaluation."""
        return dict(zip(self.plan.measures, self.state.curve[-1][2:], strict=True))

    def _exhausted(self) -> bool:
        return self.plan.patience is not None and self.state.round - self.state.best_round >= self.plan.patience

    def _round(self, net: nn.Module) -> float:
        """Learn from a round's batches; their mean loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.rate(self.state.round)
        total = torch.zeros((), dtype=torch.float64, device=self.worker.device)
        for loss, share in self.task.losses(net, self.state.round):
            self.optimizer.zero_grad()
            loss.backward()
            if self.plan.clip is not None:
                nn.utils.clip_grad_norm_(self.task.net.parameters(), self.plan.clip)
            self.optimizer.step()
            if self.average is not None:
                self.average.update(self.task.net)
            self.state.updates += 1
            total += share * loss.detach().double()
        return self.worker.total(total) / self.worker.world

    def _evaluate(self) -> None:
        state = self.state
        measured = self.task.evaluate(self.task.net if self.average is None else self.kept)
        state.curve.append((state.round, math.fsum(state.losses) / len(state.losses), *measured))
        state.losses = []
        if self.average is not None:
            return
        self._must_be_finite(measured[0])
        if measured[0] < state.best_loss:
            state.best_loss, state.best_round = measured[0], state.round
            self.kept.load_state_dict(self.task.net.state_dict())

    def _must_be_finite(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"{self.plan.name}: loss: found {loss} in {self.plan.unit} {self.state.round}, expected a finite number"
            )

    def _save(self) -> None:
        facts = {"settings": dict(self.plan.settings), "state": dataclasses.asdict(self.state)}
        save_checkpoint(self.checkpoint, self.modules, self.optimizer, "net", facts)
        save_curve(self.folder / f"{self.plan.name}.csv", self.columns, self.state.curve)
