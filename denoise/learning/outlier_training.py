"""Training of the learned outlier estimator on simulated instruments; the loss is that of outlier or not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from denoise.learning.denoiser_card import OUTLIERS, DenoiserCard
from denoise.learning.example_files import example_sets, held_out
from denoise.learning.outlier_examples import OutlierExample, load_example, make_example
from denoise.learning.outlier_net import features, make_net
from denoise.learning.residual_examples import clean_values
from denoise.learning.stepwise import train_by_steps
from hsitools.cube import Cube
from hsitools.errors import InputError
from hsitools.io.outputs import made_folder
from hsitools.learning.card import scene_names
from hsitools.learning.weights import save
from hsitools.learning.workers import Worker, join_workers
from hsitools.progress import Progress

Array = NDArray[Any]
#: Examples to learn from, a tenth as many to judge by; and steps: the weights of the package took as many.
EXAMPLES, STEPS = 240, 2000
#: Highest learning rate of AdamW; the net has some thousand weights and bears more than large ones do.
RATE = 4e-3
#: Steps over which the rate rises, so that the first moments of Adam, of few steps, move nothing far.
WARM = 50
#: Steps of which the average of the weights is made, as a decay.
EMA_DECAY = 0.99
#: Cubes of a step and bands of each, as many as a core learns from in a tenth of a second.
BATCH, CHOSEN = 3, 8
MEASURES = ("entropy", "f1", "f1_histogram", "auc", "false_alarms", "false_alarms_histogram")


@dataclass(frozen=True)
class _Part:
    """An example as the net takes it."""

    features: torch.Tensor
    keep: torch.Tensor
    truth: torch.Tensor
    prior: torch.Tensor

    @classmethod
    def of(cls, item: OutlierExample, device: torch.device) -> _Part:
        described, _ = features(item.values, item.predicted, item.sigma, item.keep, item.prior)
        arrays = (described.astype(np.float16), item.keep, item.truth, item.prior)
        return cls(*(torch.from_numpy(array).to(device) for array in arrays))


def train(
    scenes: Sequence[Cube], out: str | Path, *, seed: int = 0, steps: int = STEPS, count: int = EXAMPLES,
    resume: bool = True, device: str | None = None, command: str = "", progress: Progress | None = None,
) -> DenoiserCard:  # fmt: skip
    """Train the estimator; weights, card, curve (CSV, PNG), examples and a checkpoint go to ``out``.

    Parameters
    ----------
    scenes, out, seed, resume, command, progress
        As of `denoise.learning.latent_training.train`, and so are the errors.
    steps, count : int
        ``count`` examples are learned from, a tenth as many judged by.
    device : str, optional
        Default the GPU where there is one. Under ``torchrun`` each process takes cubes of its own for a step.
    """
    for name, value, least in (("steps", steps, 1), ("count", count, 1), ("scenes", len(scenes), 2)):
        if value < least:
            raise InputError(f"{name}: found {value}, expected at least {least}")
    out = Path(out)
    names = scene_names(scenes)
    cubes = [clean_values(cube)[0] for cube in scenes]
    with made_folder(out), join_workers(device) as worker:

        def make(part: Sequence[Array], rng: np.random.Generator) -> Mapping[str, Array]:
            return vars(make_example(part[int(rng.integers(len(part)))], rng))

        folders = out / "examples", out / "held-out"
        paths = example_sets(cubes, make, folders, (count, max(count // 10, 1)), seed, progress, worker)
        task = _Outliers(paths, seed, worker)
        settings = {"seed": seed, "steps": steps, "examples": count, "scenes": names, "rate": RATE}
        trainer = train_by_steps(
            task, OUTLIERS, settings, out, worker, steps=steps, rate=RATE, warm=WARM, ema_decay=EMA_DECAY,
            resume=resume, progress=progress, drawn=1,
        )  # fmt: skip
    card = DenoiserCard(
        method=OUTLIERS, data=names, held_out=tuple(names[number] for number in held_out(len(names))), seed=seed,
        steps=steps, examples=count, command=command,
        metrics={name: round(value, 5) for name, value in trainer.measured.items()},
    )  # fmt: skip
    return save(trainer.kept, card, out) if worker.first else card


class _Outliers:
    """What is learned; see `hsitools.learning.trainer.Task`."""

    measures = MEASURES

    def __init__(self, paths: Sequence[Sequence[Path]], seed: int, worker: Worker) -> None:
        self.seed, self.rank = seed, worker.rank
        self.learned, self.judged = ([_Part.of(load_example(path), worker.device) for path in part] for part in paths)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = make_net().to(worker.device)

    def losses(self, net: nn.Module, step: int) -> Iterator[tuple[torch.Tensor, float]]:
        rng = np.random.default_rng([self.seed, step, self.rank])
        total = torch.zeros((), device=self.learned[0].keep.device)
        for number in rng.integers(len(self.learned), size=BATCH):
            part = self.learned[int(number)]
            bands = len(part.keep)
            if rng.random() < 0.5:
                first = int(rng.integers(max(bands - CHOSEN, 0) + 1))
                chosen = torch.arange(first, min(first + CHOSEN, bands))
            else:
                chosen = torch.from_numpy(np.sort(rng.permutation(bands)[:CHOSEN]))
            predicted = net(part.features[:, chosen].float()[None])[0, 0]
            total = total + _entropy(predicted, part, chosen)
        yield total / BATCH, 1.0

    def evaluate(self, net: nn.Module) -> tuple[float, ...]:
        return measured(net, self.judged)


def _entropy(odds: torch.Tensor, part: _Part, chosen: torch.Tensor) -> torch.Tensor:
    """Cross entropy of the outliers."""
    keep, truth = part.keep[chosen], part.truth[chosen]
    entropy = nn.functional.binary_cross_entropy_with_logits(odds, truth.float(), reduction="none")
    return (entropy * keep).sum() / keep.sum().clamp(min=1)


@torch.no_grad()
def measured(net: nn.Module, judged: Sequence[_Part]) -> tuple[float, ...]:
    """`MEASURES`: cross entropy, F1 of the net and of the histogram alone, area under the ROC curve, false alarms."""
    odds, truth, prior, entropy = [], [], [], []
    for part in judged:
        predicted = net(part.features.float()[None])[0, 0]
        entropy.append(float(_entropy(predicted, part, torch.arange(len(part.keep)))))
        odds.append(predicted[part.keep])
        truth.append(part.truth[part.keep])
        prior.append(part.prior[part.keep])
    score, true, before = (torch.cat(item).cpu().numpy() for item in (odds, truth, prior))
    return (
        float(np.mean(entropy)), _f1(score > 0, true), _f1(before, true), _area(score, true),
        float((score > 0)[~true].mean()), float(before[~true].mean()),
    )  # fmt: skip


def _f1(said: Array, true: Array) -> float:
    return float(2 * (said & true).sum() / max(said.sum() + true.sum(), 1))


def _area(score: Array, true: Array) -> float:
    """Area under the ROC curve."""
    rank = np.empty(len(score))
    rank[np.argsort(score, kind="stable")] = np.arange(1, len(score) + 1)
    yes = int(true.sum())
    no = len(true) - yes
    return float((rank[true].sum() - yes * (yes + 1) / 2) / (yes * no)) if yes and no else 0.5
