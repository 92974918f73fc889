"""Noise of each band of a cube whose outliers are filled with what its scene predicts there."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.estimation.band_noise import FEW_BANDS, band_noise
from hsitools.estimation.spread import robust_sigma

Array = NDArray[Any]
Mask = NDArray[np.bool_]
#: Standard deviations of what the scene misses beyond which a pixel tells nothing of the noise, and the share of these
#: up to which they are left out: a line across the image is 2 % of fifty rows.
LONE, UNUSUAL = 20.0, 0.05
#: Share of outliers from which on a band does not explain others.
MOSTLY = 0.75
#: Share of a column that was not measured from which on its mean is not that of what was.
PARTLY = 0.1
#: Pixels below which scene and noise cannot be told apart.
MIN_PIXELS = 64


def along_track(values: Array, scene: Array, keep: Mask) -> Array:
    """Values with their columns' means replaced by the bands': what is left has no column offsets.

    Where a part of a column was not measured, what fills it has the scene's values without an offset: there the
    measured part is first brought to the scene's level, or an offset would be left as a step along the column, and one
    more of the scene's spectra.

    Parameters
    ----------
    values, scene : array, shape (band, y, x)
    keep : array of bool, shape (band, y, x)
        Where ``values`` were measured, and are not filled with the scene.
    """
    if values.shape[1] < 8:
        return values
    missing = 1 - keep.mean(1)
    partly = np.flatnonzero(((missing > PARTLY) & (missing < 1)).any(1))
    if len(partly):
        own, values = keep[partly], values.copy()
        offset = np.where(own, values[partly] - scene[partly], 0).sum(1, keepdims=True)
        values[partly] -= np.where(own, offset / np.maximum(own.sum(1, keepdims=True), 1), 0)
    return values - values.mean(1, keepdims=True) + values.mean((1, 2), keepdims=True)


def noise_of_bands(level: Array, rest: Array, outlier: Mask) -> Array:
    """Noise of each band ``(band,)`` where outliers are filled with the scene.

    Bands that are mostly filled are other bands' sums, and would explain these: they have no say, and their own noise
    is that of what was measured; without any, it is the others'.

    Parameters
    ----------
    level : array, shape (band, y, x)
        Values without column offsets, as `along_track` gives them.
    rest : array, shape (band, y, x)
        What the scene leaves of the values.
    outlier : array of bool, shape (band, y, x)
    """
    share = outlier.mean((1, 2))
    whole = share < MOSTLY
    if not whole.any():
        return band_noise(level)
    out = np.empty(len(level), dtype=np.float32)
    # filled voxels have no noise
    out[whole] = band_noise(usual_pixels(level[whole], rest[whole])) / np.sqrt(1 - share[whole])
    for band in np.flatnonzero(~whole):
        own = rest[band][~outlier[band]]
        out[band] = robust_sigma(own) if len(own) >= MIN_PIXELS else 0
        out[band] = out[band] or np.median(out[whole])
    return out


def usual_pixels(values: Array, rest: Array) -> Array:
    """Values ``(band, y, x)`` without pixels of which the scene misses far more than noise: ``(band, 1, pixel)`` then.

    A lone pixel's feature of a hundred standard deviations would make the noise of its bands seem twice as much.
    """
    if len(values) <= FEW_BANDS:
        return values
    spread = robust_sigma(rest, axis=(1, 2))[:, None, None]
    usual = ~(np.abs(rest) > LONE * np.maximum(spread, 1e-30)).any(0)
    enough = usual.mean() > 1 - UNUSUAL and usual.sum() >= 4 * len(values) and spread.all()
    return values[:, None, usual] if enough and not usual.all() else values
