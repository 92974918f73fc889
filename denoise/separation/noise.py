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
#: Pixels below which scene and noise cannot be told apart.
MIN_PIXELS = 64


def along_track(values: Array) -> Array:
    """Values with their columns' means replaced by the bands': what is left has no column offsets."""
    if values.shape[1] < 8:
        return values
    return values - values.mean(1, keepdims=True) + values.mean((1, 2), keepdims=True)


def noise_of_bands(filled: Array, scene: Array, outlier: Mask) -> Array:
    """Noise of each band ``(band,)`` where outliers are filled with the scene.

    Bands that are mostly filled are other bands' sums, and would explain these: they have no say, and their own noise
    is that of what was measured; without any, it is the others'.
    """
    share = outlier.mean((1, 2))
    whole = share < MOSTLY
    if not whole.any():
        return band_noise(along_track(filled))
    out = np.empty(len(filled), dtype=np.float32)
    level = along_track(filled[whole])
    # filled voxels have no noise
    out[whole] = band_noise(usual_pixels(level, (filled - scene)[whole])) / np.sqrt(1 - share[whole])
    for band in np.flatnonzero(~whole):
        rest = (filled[band] - scene[band])[~outlier[band]]
        out[band] = robust_sigma(rest) if len(rest) >= MIN_PIXELS else 0
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
