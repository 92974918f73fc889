"""Examples of the outlier estimator: scenes spoiled by simulated instruments and taken apart, so with real errors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from denoise.case import Observation
from denoise.learning.example_files import example_arrays
from denoise.separation.estimate import outliers, separate
from denoise.separation.stuck import stuck_values

Array = NDArray[Any]
Mask = NDArray[np.bool_]
#: Side in pixels and bands of an example: enough that columns, rows and a band's histogram show what is usual in them.
SIDE, BANDS = 72, 40


@dataclass(frozen=True, kw_only=True)
class OutlierExample:
    """What the net takes and what is true; arrays ``(band, y, x)``, `sigma` ``(band,)``."""

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
    y0, x0 = (int(rng.integers(0, max(side - SIDE, 0) + 1)) for side in (height, width))
    values, lost = spoil(clean[chosen, y0 : y0 + SIDE, x0 : x0 + SIDE], rng)
    values = values / values.std()
    observation = Observation(values=values, valid=np.ones(values.shape, dtype=bool))
    separation = separate(observation, rounds=int(rng.choice([1, 2, 5])))
    noise = separation.noise
    predicted = (separation.scene * noise.gain[:, None] + noise.offset[:, None]).astype(np.float32)
    keep = ~(stuck_values(values, observation.valid) | noise.dead[:, None])
    return OutlierExample(
        values=values, predicted=predicted, sigma=noise.sigma, keep=keep, prior=outliers(values, predicted, keep),
        truth=lost,
    )  # fmt: skip


def load_example(path: Path) -> OutlierExample:
    """Read an example; raises `FormatError` when it is none."""
    with example_arrays(path) as arrays:
        return OutlierExample(**arrays)
