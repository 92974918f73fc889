"""Training of the learned outlier estimator on simulated instruments.

``python -m denoise.learning.outlier_training --out DIR``

An example is a noisy cube as `estimate.separate` has it after some rounds: the errors of its predictions are
real. Examples are made once; the loss is that of outlier or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from denoise.case import Observation
from denoise.learning.examples import clean_values
from denoise.learning.outlier_net import features, make_net
from denoise.learning.steps import HELD_OUT, example_files, example_parts, learn
from denoise.learning.weights import OUTLIERS, Card
from denoise.separation.estimate import outliers, separate
from denoise.separation.saturation import stuck_values
from hsitools import weights
from hsitools.cube import Cube
from hsitools.errors import InputError
from hsitools.io.atomic import atomic_path
from hsitools.learning import Ema, draw_curves, save_curve
from hsitools.progress import Progress

Array = NDArray[Any]
Mask = NDArray[np.bool_]
#: Side in pixels and bands of an example.
SIDE, BANDS = 72, 40
#: Examples, of which every tenth comes from scenes held out; and steps of training.
EXAMPLES, STEPS = 240, 2000
RATE = 4e-3
#: Cubes of a step and bands of each.
BATCH, CHOSEN = 3, 8
#: Steps over which the rate rises.
WARM = 50
MEASURES = ("entropy", "f1", "f1_histogram", "auc", "false_alarms", "false_alarms_histogram")


@dataclass(frozen=True, kw_only=True)
class OutlierExample:
    """What the net is given and what is true; arrays ``(band, y, x)``, `sigma` ``(band,)``."""

    values: Array
    predicted: Array
    sigma: Array
    keep: Mask
    prior: Mask
    truth: Mask


def spoil(clean: Array, rng: np.random.Generator) -> tuple[NDArray[np.float32], Mask]:
    """A clean cube ``(band, y, x)`` as some instrument sees it, and which voxels carry no signal."""
    bands, height, width = clean.shape
    share: Array = np.asarray(rng.uniform(0.15, 1, bands) if rng.random() < 0.8 else np.ones(bands))
    level: Array = share * (rng.uniform(5, 70) / 255)
    variance = np.broadcast_to(level[:, None, None] ** 2, clean.shape)
    if rng.random() < 0.3:
        variance = variance * (0.3 + 0.7 * clean / max(float(clean.mean()), 1e-3))
    values = clean + np.sqrt(variance) * rng.standard_normal(clean.shape)
    if rng.random() < 0.5:
        columns = rng.random((bands, 1, width)) < rng.choice([0.1, 0.3, 1])
        striped = rng.random((bands, 1, 1)) < rng.choice([0.33, 1])
        values += columns * striped * rng.uniform(0, 0.25) * rng.uniform(-1, 1, (bands, 1, width))
    lost, false = np.zeros(clean.shape, dtype=bool), np.zeros(clean.shape)
    if rng.random() < 0.1:
        return values.astype(np.float32), lost
    exact = rng.random() < 0.3
    jitter = 0.0 if exact else rng.choice([0.01, 0.03, 0.1])
    order = rng.permutation(bands)
    third = max(bands // 3, 1)
    kinds = rng.choice(4, 3, p=[0.55, 0.15, 0.15, 0.15])
    thirds = (order[:third], order[third : 2 * third], order[2 * third :])
    for kind, chosen in zip(kinds, thirds, strict=True):
        for band in chosen if rng.random() < 0.6 else ():
            hit = _where(int(kind), (height, width), rng)
            lost[band] |= hit
            false[band][hit] = _what(int(kind), clean[band], hit, jitter, rng)[hit]
    return np.where(lost, false, values).astype(np.float32), lost


def _where(kind: int, shape: tuple[int, int], rng: np.random.Generator) -> Mask:
    """Impulses, whole columns, fragments of columns, or fragments of rows."""
    width = shape[1]
    if kind == 0:
        return np.asarray(rng.random(shape) < rng.choice([0.01, 0.05, 0.1, 0.3, 0.5, 0.7]))
    hit = np.zeros(shape, dtype=bool)
    if kind == 1:
        hit[:, rng.random(width) < rng.uniform(0, 0.15)] = True
        return hit
    across = hit if kind == 2 else hit.T
    for line in np.flatnonzero(rng.random(across.shape[1]) < rng.uniform(0.02, 0.15)):
        first, last = np.sort(rng.integers(0, across.shape[0] + 1, 2))
        across[first:last, line] = True
    return hit


def _what(kind: int, clean: Array, hit: Mask, jitter: float, rng: np.random.Generator) -> Array:
    """False values of one band."""
    draw = rng.random()
    if draw < 0.6:
        level = (rng.random(hit.shape) < rng.choice([0.5, 0.5, 0.0, 1.0])).astype(float)
        if kind:
            level[:] = level[:1] if kind < 3 else level[:, :1]
    elif draw < 0.8:
        # a level of each element, also within the scene's range
        level = np.broadcast_to(rng.random((1, hit.shape[1])) if kind < 3 else rng.random((hit.shape[0], 1)), hit.shape)
    else:
        level = rng.uniform(-0.1, 1.1, hit.shape)
    return np.asarray(level + jitter * rng.standard_normal(hit.shape))


def make_example(clean: Array, rng: np.random.Generator) -> OutlierExample:
    """Random bands and a random window of a clean cube, spoiled and taken apart."""
    bands, height, width = clean.shape
    chosen = np.sort(rng.permutation(bands)[:BANDS])
    top, left = (int(rng.integers(0, max(side - SIDE, 0) + 1)) for side in (height, width))
    values, lost = spoil(clean[chosen, top : top + SIDE, left : left + SIDE], rng)
    values = values / values.std()
    found = separate(
        Observation(values=values, valid=np.ones(values.shape, dtype=bool)), rounds=int(rng.choice([1, 2, 5]))
    )
    noise = found.noise
    predicted = (found.scene * noise.gain[:, None] + noise.offset[:, None]).astype(np.float32)
    keep = ~(stuck_values(values) | noise.dead[:, None])
    return OutlierExample(
        values=values, predicted=predicted, sigma=noise.sigma, keep=keep, prior=outliers(values, predicted, keep),
        truth=lost,
    )  # fmt: skip


def load_example(path: Path) -> OutlierExample:
    """Read an example; raises `FormatError` when it is none."""
    with example_parts(path) as parts:
        return OutlierExample(**parts)


@dataclass(frozen=True)
class _Part:
    """An example as the net takes it."""

    seen: torch.Tensor
    keep: torch.Tensor
    truth: torch.Tensor
    prior: torch.Tensor

    @classmethod
    def of(cls, item: OutlierExample) -> _Part:
        seen, _ = features(item.values, item.predicted, item.sigma, item.keep, item.prior)
        arrays = (seen.astype(np.float16), item.keep, item.truth, item.prior)
        return cls(*(torch.from_numpy(array) for array in arrays))


def train(
    scenes: Sequence[Cube], out: str | Path, *, seed: int = 0, steps: int = STEPS, count: int = EXAMPLES,
    resume: bool = True, command: str = "", progress: Progress | None = None,
) -> Card:  # fmt: skip
    """Train the estimator; weights, card, curve (CSV, PNG), examples and a checkpoint go to ``out``.

    Parameters
    ----------
    scenes : sequence of Cube
        Clean ones; every fifth is held out.
    out : path
    seed, steps, count : int
        ``count`` examples are learned from, a tenth as many judged by.
    resume : bool
        Go on from the checkpoint.
    command : str
        Noted on the card.
    progress : callable, optional
        Called with (done, in all), of examples first, then of steps.

    Returns
    -------
    Card

    Raises
    ------
    InputError
        For unfit scenes or numbers, or a checkpoint of other settings.
    FloatingPointError
        When the loss is not finite.
    """
    for name, value, least in (("steps", steps, 1), ("count", count, 1), ("scenes", len(scenes), 2)):
        if value < least:
            raise InputError(f"{name}: found {value}, expected at least {least}")
    out = Path(out)
    names = tuple(cube.name or Path(cube.source).name for cube in scenes)
    cubes = [clean_values(cube)[0] for cube in scenes]
    held = [number for number in range(len(cubes)) if number % HELD_OUT == HELD_OUT - 1] or [len(cubes) - 1]

    def files(chosen: Sequence[Array], number: int, seed: int, kind: str) -> list[Path]:
        def make(path: Path, rng: np.random.Generator) -> None:
            made = make_example(chosen[int(rng.integers(len(chosen)))], rng)
            with atomic_path(path) as temporary, open(temporary, "wb") as file:
                np.savez(file, **vars(made))

        return example_files(number, seed, out / kind, make, progress)

    learned = files([cube for number, cube in enumerate(cubes) if number not in held], count, seed, "examples")
    judged = files([cubes[number] for number in held], max(count // 10, 1), seed + 1, "held-out")
    task = _Outliers(learned, judged, seed)
    settings = {"seed": seed, "steps": steps, "examples": count, "scenes": names, "rate": RATE}
    state = learn(
        task, lambda step: np.random.default_rng([seed, step]), settings, out / f"{OUTLIERS}.checkpoint.safetensors",
        steps=steps, rate=RATE, warm=WARM, resume=resume, progress=progress,
    )  # fmt: skip
    columns = ("step", "training_loss", *MEASURES)
    save_curve(out / f"{OUTLIERS}.csv", columns, state.curve)
    draw_curves(out / f"{OUTLIERS}.png", columns[:3], [row[:3] for row in state.curve], steps, f"outliers, {seed}")
    metrics = {name: round(value, 5) for name, value in zip(MEASURES, state.curve[-1][2:], strict=True)}
    card = Card(
        method=OUTLIERS, data=names, held_out=tuple(names[number] for number in held), seed=seed, steps=steps,
        examples=count, metrics=metrics, command=command,
    )  # fmt: skip
    return weights.save(task.ema.module, card, out, OUTLIERS)


class _Outliers:
    """See `denoise.learning.steps.Task`."""

    def __init__(self, learned: Sequence[Path], judged: Sequence[Path], seed: int) -> None:
        self.learned, self.judged = ([_Part.of(load_example(path)) for path in paths] for paths in (learned, judged))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = make_net()
        self.ema = Ema(self.net, 0.99)

    def loss(self, rng: np.random.Generator) -> torch.Tensor:
        total = torch.zeros(())
        for number in rng.integers(len(self.learned), size=BATCH):
            part = self.learned[int(number)]
            bands = len(part.keep)
            if rng.random() < 0.5:
                first = int(rng.integers(max(bands - CHOSEN, 0) + 1))
                chosen = torch.arange(first, min(first + CHOSEN, bands))
            else:
                chosen = torch.from_numpy(np.sort(rng.permutation(bands)[:CHOSEN]))
            found = self.net(part.seen[:, chosen].float()[None])[0]
            total = total + _entropy(found[0], part, chosen)
        return total / BATCH

    def judge(self) -> tuple[float, ...]:
        return judge(self.ema.module, self.judged)


def _entropy(odds: torch.Tensor, part: _Part, chosen: torch.Tensor) -> torch.Tensor:
    """Cross entropy of the outliers."""
    keep, truth = part.keep[chosen], part.truth[chosen]
    entropy = nn.functional.binary_cross_entropy_with_logits(odds, truth.float(), reduction="none")
    return (entropy * keep).sum() / keep.sum().clamp(min=1)


@torch.no_grad()
def judge(net: nn.Module, judged: Sequence[_Part]) -> tuple[float, ...]:
    """`MEASURES`: cross entropy, F1 of the net and of the histogram alone, area under the ROC curve, false alarms."""
    odds, truth, prior, entropy = [], [], [], []
    for part in judged:
        found = net(part.seen.float()[None])[0]
        entropy.append(float(_entropy(found[0], part, torch.arange(len(part.keep)))))
        odds.append(found[0][part.keep])
        truth.append(part.truth[part.keep])
        prior.append(part.prior[part.keep])
    score, true, before = (torch.cat(item).numpy() for item in (odds, truth, prior))
    return (
        float(np.mean(entropy)), _f1(score > 0, true), _f1(before, true), _area(score, true),
        float((score > 0)[~true].mean()), float(before[~true].mean()),
    )  # fmt: skip


def _f1(found: Array, true: Array) -> float:
    return float(2 * (found & true).sum() / max(found.sum() + true.sum(), 1))


def _area(score: Array, true: Array) -> float:
    """Area under the ROC curve."""
    rank = np.empty(len(score))
    rank[np.argsort(score, kind="stable")] = np.arange(1, len(score) + 1)
    yes = int(true.sum())
    no = len(true) - yes
    return float((rank[true].sum() - yes * (yes + 1) / 2) / (yes * no)) if yes and no else 0.5


def main() -> None:
    """The command."""
    import argparse

    from hsitools.io import open_cube
    from hsitools.scenes import scene

    parser = argparse.ArgumentParser(prog="python -m denoise.learning.outlier_training", description=__doc__)
    parser.add_argument("scenes", nargs="*", help="clean cubes; procedural scenes are added")
    parser.add_argument("--out", required=True)
    parser.add_argument("--procedural", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--count", type=int, default=EXAMPLES)
    given = parser.parse_args()
    wavelength = np.linspace(400, 1000, 100)
    cubes = [open_cube(path) for path in given.scenes]
    cubes += [scene((128, 128), wavelength_nm=wavelength, seed=77 + number) for number in range(given.procedural)]
    command = (
        f"python -m denoise.learning.outlier_training --seed {given.seed} --steps {given.steps} --count {given.count}"
    )
    card = train(cubes, given.out, seed=given.seed, steps=given.steps, count=given.count, command=command)
    print(card.metrics)


if __name__ == "__main__":
    main()
