"""Bands that are clipped at their smallest value, as stored counts of a dark scene are: noise takes voxels there."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from denoise.separation.noise import MIN_PIXELS
from hsitools.estimation.spread import median, robust_sigma

Array = NDArray[Any]
Mask = NDArray[np.bool_]
#: Share of the noise's deviation that is left above a floor at the scene's level, and voxels at a floor by those that
#: predictions say noise takes there, at most.
LEFT_ABOVE, AT_FLOOR = 2 / 3, 2.0
#: Standard deviations of the noise by which a voxel at the floor may be predicted above it.
FAR = 4.0
#: The lowest scene that clipped values tell of, deviations of the noise from the floor: an eighth are above it there.
LOWEST = -1.0


def noise_at_floor(values: Array, predicted: Array) -> float:
    """Deviation of the noise of one band's values ``(voxel,)`` that is clipped at the smallest of them; zero where the
    voxels that have it are not of noise.

    What is left above a floor has two thirds of the noise's deviation where the scene is at the floor. Of a dark scene
    noise takes half of the voxels there at most, and predictions are raised by what was clipped: at most twice as many
    as they say. Impulses come on top of them.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> clipped = np.maximum(0.5 + rng.standard_normal(10_000), 0)
    >>> round(noise_at_floor(clipped, np.full(10_000, clipped.mean())), 1)
    1.1
    >>> noise_at_floor(np.where(rng.random(10_000) < 0.05, 0, 9 + clipped), np.full(10_000, 9.7))
    0.0
    """
    from scipy.special import ndtr

    least = values.min()
    pile = values == least
    if min(pile.sum(), (~pile).sum()) < MIN_PIXELS:
        return 0.0
    rest = (values - predicted)[~pile]
    noise = float(robust_sigma(rest - median(rest))) / LEFT_ABOVE
    return noise if noise > 0 and pile.sum() <= AT_FLOOR * ndtr((least - predicted) / noise).sum() else 0.0


def at_floor(values: Array, predicted: Array, keep: Mask) -> Mask:
    """Voxels ``(band, y, x)`` that noise has taken to their band's floor, of those to keep."""
    out = np.zeros(values.shape, dtype=bool)
    for band, (image, mean, use) in enumerate(zip(values, predicted, keep, strict=True)):
        if use.any() and (noise := noise_at_floor(image[use], mean[use])) > 0:
            out[band] = use & (image == image[use].min()) & (np.abs(image - mean) <= FAR * noise)
    return out


def unclipped(
    estimate: Array, std: Array | None, values: Array, keep: Mask, sigma: Array, slope: Array
) -> tuple[Array, Array | None]:  # fmt: skip
    """An estimate and its standard deviation ``(band, y, x)`` without what clipping raises the mean of values by.

    Of a scene m above the floor and noise of unit deviation it is φ(m) + m·Φ(m) (J. Tobin, Econometrica 26, 1958).

    Parameters
    ----------
    estimate, std, values : array, shape (band, y, x)
    keep : array of bool, shape (band, y, x)
        Where ``values`` are measurements.
    sigma, slope : array, shape (band,)
        Noise at the bands' means, and growth of its variance with the signal.
    """
    from scipy.special import ndtr

    scene = np.linspace(LOWEST, 6, 512)
    raised = np.exp(-0.5 * scene**2) / np.sqrt(2 * np.pi) + scene * ndtr(scene)

    def back(mean: Array) -> Array:
        return np.where(mean > raised[-1], mean, np.interp(mean, raised, scene))

    estimate, std = estimate.copy(), None if std is None else std.copy()
    for band, (image, mean, use) in enumerate(zip(values, estimate, keep, strict=True)):
        if not use.any() or not noise_at_floor(image[use], mean[use]) > 0:
            continue
        floor, variance = image[use].min(), float(sigma[band]) ** 2
        unit = np.sqrt(np.maximum(variance + slope[band] * (mean - mean.mean()), 0.1 * variance))
        height = (mean - floor) / unit
        estimate[band] = floor + unit * back(height)
        if std is not None:
            reach = std[band] / unit
            std[band] = np.maximum(std[band], unit * (back(height + reach) - back(height - reach)) / 2)
    return estimate, std
