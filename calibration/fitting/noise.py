"""How the noise of a device's samples varies: from line to line, and with the intensity."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Samples that the noise of a line is averaged over, neighbouring lines included, at least: a variance from a hundred
#: is known to 14 %.
NOISE_SAMPLES = 100
#: Squared residuals, in units of their expected variance, beyond which they count as this: one wild row must not speak
#: for a line. Five standard deviations, which Gaussian noise does not reach.
WILD_SQUARE = 25.0
#: Bounds of the noise's variance beside that of the mean intensity, and passes in which it is found.
GROWTH, PASSES = (0.2, 50.0), 3
#: Share of the mean intensity below which residuals are no noise: of captures without any, as simulations make them,
#: they are rounding, and where fits came to rest.
ROUNDED = 1e-5


def noise_shape(psi: Array, weight: Array, variance: Array, residual_share: Array | float = 1.0) -> Array:
    """Noise variance of each line relative to that of the rows, of mean one, shape ``(line,)``.

    The mean, over the rows and over as many neighbouring lines as make it one of `NOISE_SAMPLES`, of squared residuals
    over the variance that their row's mean noise would give them. Of that variance the fit leaves ``residual_share``
    in the residual, since each sample pulls the fit towards itself.
    """
    expected = weight * variance[:, None] * residual_share
    measured = (expected > 0) & np.isfinite(psi)
    squares = psi**2 / np.where(measured, expected, 1)
    squares = np.where(measured, np.minimum(squares, WILD_SQUARE), 0)
    total, count = squares.sum(axis=0), measured.sum(axis=0).astype(float)
    used = count.copy()
    width = int(np.ceil(NOISE_SAMPLES / max(float(np.median(count)), 1.0)))
    if width > 1:
        box = np.ones(min(2 * (width // 2) + 1, 2 * ((len(total) - 1) // 2) + 1))
        total, count = np.convolve(total, box, mode="same"), np.convolve(count, box, mode="same")
    shape = np.where(count > 0, total / np.maximum(count, 1), 1.0)
    mean = float((shape * used).sum() / max(used.sum(), 1))
    return shape / mean if mean > 0 else np.ones_like(shape)


def growth_with_intensity(psi: Array, expected: Array, fitted: Array) -> Array:
    """Noise variance of each sample relative to ``expected``, as it grows with the fitted intensity, ``(row, line)``.

    Bright samples have more photons, and more noise: among the samples of one line a straight line in the intensity,
    the same for all lines. One where nothing can be told.
    """
    measured = (expected > 0) & np.isfinite(psi)
    squares = np.where(measured, psi**2 / np.where(measured, expected, 1), 0)
    count = np.maximum(measured.sum(axis=0), 1)
    away = (fitted - (fitted * measured).sum(axis=0) / count) * measured
    total = float((away * away).sum())
    growth = np.ones_like(away)
    for _ in range(PASSES if total > 0 else 0):
        # what is wild is so beside the noise of its own intensity: narrow peaks have many times the mean one
        ratio = np.minimum(squares, WILD_SQUARE * growth)
        rest = (ratio - ratio.sum(axis=0) / count) * measured
        growth = np.clip(1 + float((rest * away).sum()) / total * away, *GROWTH)
    return growth
