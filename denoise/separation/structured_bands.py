"""Bands of a restoration whose residual has structure: what was taken from them is not noise alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from denoise.separation.estimate import BLUR, LENGTHS
from denoise.separation.pixel_noise import WHITE, PixelNoise
from hsitools.estimation.spread import robust_sigma

#: Blurred power of a residual, in that of white noise, from which on it has structure; simulated noise stays below 3.
STRUCTURED = 4.0
#: Share of a band's standard deviation.
SLIGHT = 0.02


def structured(
    residual: NDArray[np.float32], keep: NDArray[np.bool_], restored: NDArray[np.float32], pixels: PixelNoise = WHITE
) -> NDArray[np.bool_]:  # fmt: skip
    """Bands ``(band,)`` whose residual has structure.

    White noise as strong as the residual's finest grain has little power left after a blur. More is scene that was
    taken away or painted in, or a pattern that is neither scene nor noise (slanted lines).

    Parameters
    ----------
    residual : array, shape (band, y, x)
        What was observed, calibrated, less what was restored.
    keep : array of bool, shape (band, y, x)
        Voxels that were measured; others count as zero.
    restored : array, shape (band, y, x)
        Next to its spread, residuals below `SLIGHT` do not matter: bands without noise have such ones.
    pixels : PixelNoise
        What neighbouring pixels share of the noise.
    """
    from scipy.ndimage import gaussian_filter

    if min(residual.shape[1:]) < LENGTHS * BLUR:
        return np.zeros(len(residual), dtype=bool)
    out = np.zeros(len(residual), dtype=bool)
    residual, noise = pixels.whitened(residual), pixels.whitened_noise
    share = noise.left(BLUR) / noise.mixed
    for band, (rest, use) in enumerate(zip(residual, keep, strict=True)):
        mixed = np.diff(np.diff(rest, axis=0), axis=1)[use[1:, 1:]] / 2
        if mixed.size:
            grain = robust_sigma(mixed)
            power = np.mean(gaussian_filter(np.where(use, rest, 0), BLUR, truncate=3) ** 2)
            out[band] = power > max(STRUCTURED * share * grain**2, (SLIGHT * float(restored[band].std())) ** 2)
    return out
