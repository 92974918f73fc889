"""Training of the learned outlier estimator on simulated instruments: ``python -m denoise.outlier_training --out DIR``.

An example is a noisy cube as `denoise.estimate.separate` has it after some rounds: the errors of its predictions are
real. Examples are made once; the loss is that of outlier or not, and the likelihood of the others' deviations.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from denoise.case import Observation
from denoise.estimate import outliers, separate, stuck_values
from denoise.outlier_net import OUTLIERS, OutlierCard, features, make_net
from hsitools import weights
from hsitools.cube import Cube
from hsitools.errors import FormatError, InputError
from hsitools.io.atomic import atomic_path
from hsitools.learning import Ema, draw_curves, load_checkpoint, save_checkpoint, save_curve

Array = NDArray[Any]
Mask = NDArray[np.bool_]
Progress = Callable[[int, int], None]
#: Side in pixels and bands of an example.
SIDE, BANDS = 72, 40
#: Examples, of which every tenth comes from scenes held out; and steps of training.
EXAMPLES, STEPS = 240, 2000
RATE = 4e-3
#: Cubes of a step and bands of each.
BATCH, CHOSEN = 3, 8
EVERY = 250
CHECKPOINT_SECONDS = 30.0
#: Every so many-th scene is held out.
HELD_OUT = 5


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


def clean_values(cube: Cube) -> Array:
    """Values ``(band, y, x)`` in [0, 1] of a scene's good bands."""
    values = cube.physical().read().astype(np.float32)
    use = cube.good & np.isfinite(values).all(axis=(1, 2))
    mean = np.where(use, np.nan_to_num(values).mean(axis=(1, 2)), 0.0)
    use &= mean > 0.05 * np.median(mean[use]) if use.any() else False
    if use.sum() < 8:
        raise InputError(f"{cube.source or cube.name}: good: found {use.sum()} bands with signal, expected at least 8")
    return np.asarray(np.clip(values[use] / np.percentile(values[use], 99.9), 0, 1))


def examples(cubes: Sequence[Array], count: int, seed: int, folder: Path, progress: Progress | None) -> list[Path]:
    """Files of examples, made where missing, each from its own seed."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:05d}.npz" for number in range(count)]
    for number, path in enumerate(paths):
        if not path.is_file():
            rng = np.random.default_rng([seed, number])
            made = make_example(cubes[int(rng.integers(len(cubes)))], rng)
            with atomic_path(path) as temporary, open(temporary, "wb") as file:
                np.savez(file, **vars(made))
        if progress is not None:
            progress(number + 1, count)
    return paths


def load_example(path: Path) -> OutlierExample:
    """Read an example; raises `FormatError` when it is none."""
    try:
        with np.load(path) as file:
            return OutlierExample(**{name: file[name] for name in file.files})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{path}: expected a training example; {' '.join(str(error).split())}") from None


@dataclass(frozen=True)
class _Part:
    """An example as the net takes it."""

    seen: torch.Tensor
    keep: torch.Tensor
    truth: torch.Tensor
    unit: torch.Tensor
    prior: torch.Tensor

    @classmethod
    def of(cls, item: OutlierExample) -> _Part:
        seen, scale = features(item.values, item.predicted, item.sigma, item.keep, item.prior)
        unit = np.where(item.keep, item.values - item.predicted, 0) / scale[:, None, None]
        arrays = (seen.astype(np.float16), item.keep, item.truth, np.clip(unit, -30, 30).astype(np.float16), item.prior)
        return cls(*(torch.from_numpy(array) for array in arrays))


def train(
    scenes: Sequence[Cube], out: str | Path, *, seed: int = 0, steps: int = STEPS, count: int = EXAMPLES,
    resume: bool = True, command: str = "", progress: Progress | None = None,
) -> OutlierCard:  # fmt: skip
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
    OutlierCard

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
    cubes = [clean_values(cube) for cube in scenes]
    held = [number for number in range(len(cubes)) if number % HELD_OUT == HELD_OUT - 1] or [len(cubes) - 1]
    judged_count = max(count // 10, 1)
    learned_paths = examples(
        [cube for number, cube in enumerate(cubes) if number not in held], count, seed, out / "examples", progress
    )
    judged_paths = examples([cubes[number] for number in held], judged_count, seed + 1, out / "held-out", progress)
    del cubes
    learned, judged = ([_Part.of(load_example(path)) for path in paths] for paths in (learned_paths, judged_paths))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = make_net()
    ema = Ema(net, 0.99)
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=1e-4)
    settings = {"seed": seed, "steps": steps, "examples": count, "scenes": names, "rate": RATE}
    checkpoint, modules = out / f"{OUTLIERS}.checkpoint.safetensors", {"net": net, "ema": ema}
    state: dict[str, Any] = {"step": 0, "losses": [], "curve": []}
    if resume and checkpoint.is_file():
        state = load_checkpoint(checkpoint, modules, optimizer, "net", settings)

    def save() -> None:
        save_checkpoint(checkpoint, modules, optimizer, "net", {"settings": settings, "state": state})

    saved = time.monotonic()
    while state["step"] < steps:
        step = state["step"]
        rate = RATE * min(1, (step + 1) / 50) * (0.02 + 0.49 * (1 + math.cos(math.pi * step / steps)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = _loss(net, learned, np.random.default_rng([seed, step]))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        ema.update(net)
        state["losses"].append(float(loss.detach()))
        if not math.isfinite(state["losses"][-1]):
            raise FloatingPointError(f"loss: found {state['losses'][-1]} in step {step}")
        state["step"] += 1
        if state["step"] % EVERY == 0 or state["step"] == steps:
            state["curve"].append([state["step"], float(np.mean(state["losses"])), *judge(ema.module, judged).values()])
            state["losses"] = []
        if time.monotonic() - saved > CHECKPOINT_SECONDS:
            save()
            saved = time.monotonic()
        if progress is not None:
            progress(state["step"], steps)
    save()
    metrics = judge(ema.module, judged)
    columns = ("step", "training_loss", *metrics)
    save_curve(out / f"{OUTLIERS}.csv", columns, state["curve"])
    draw_curves(out / f"{OUTLIERS}.png", columns[:3], [row[:3] for row in state["curve"]], steps, f"outliers, {seed}")
    card = OutlierCard(
        method=OUTLIERS, data=names, held_out=tuple(names[number] for number in held), seed=seed, steps=steps,
        examples=count, metrics={name: round(value, 5) for name, value in metrics.items()}, command=command,
    )  # fmt: skip
    return weights.save(ema.module, card, out, OUTLIERS)


def _loss(net: nn.Module, learned: Sequence[_Part], rng: np.random.Generator) -> torch.Tensor:
    total = torch.zeros(())
    for number in rng.integers(len(learned), size=BATCH):
        part = learned[int(number)]
        bands = len(part.keep)
        if rng.random() < 0.5:
            first = int(rng.integers(max(bands - CHOSEN, 0) + 1))
            chosen = torch.arange(first, min(first + CHOSEN, bands))
        else:
            chosen = torch.from_numpy(np.sort(rng.permutation(bands)[:CHOSEN]))
        found = net(part.seen[:, chosen].float()[None])[0]
        total = total + sum(_parts(found, part, chosen))
    return total / BATCH


def _parts(found: torch.Tensor, part: _Part, chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross entropy of the outliers, and a tenth of the negative log likelihood of the others' deviations."""
    keep, truth = part.keep[chosen], part.truth[chosen]
    entropy = nn.functional.binary_cross_entropy_with_logits(found[0], truth.float(), reduction="none")
    size = keep.sum().clamp(min=1)
    likelihood = found[1] + 0.5 * (part.unit[chosen].float() * torch.exp(-found[1])) ** 2
    inlier = keep & ~truth
    return (entropy * keep).sum() / size, 0.1 * (likelihood * inlier).sum() / inlier.sum().clamp(min=1)


@torch.no_grad()
def judge(net: nn.Module, judged: Sequence[_Part]) -> dict[str, float]:
    """Cross entropy, F1 of the net and of the histogram alone, area under the ROC curve, and false alarms."""
    odds, truth, prior, entropy = [], [], [], []
    for part in judged:
        found = net(part.seen.float()[None])[0]
        entropy.append(float(_parts(found, part, torch.arange(len(part.keep)))[0]))
        odds.append(found[0][part.keep])
        truth.append(part.truth[part.keep])
        prior.append(part.prior[part.keep])
    score, true, before = (torch.cat(item).numpy() for item in (odds, truth, prior))
    return {
        "entropy": float(np.mean(entropy)), "f1": _f1(score > 0, true), "f1_histogram": _f1(before, true),
        "auc": _area(score, true), "false_alarms": float((score > 0)[~true].mean()),
        "false_alarms_histogram": float(before[~true].mean()),
    }  # fmt: skip


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

    parser = argparse.ArgumentParser(prog="python -m denoise.outlier_training", description=__doc__)
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
    command = f"python -m denoise.outlier_training --seed {given.seed} --steps {given.steps} --count {given.count}"
    card = train(cubes, given.out, seed=given.seed, steps=given.steps, count=given.count, command=command)
    print(card.metrics)


if __name__ == "__main__":
    main()
