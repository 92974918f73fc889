"""Noise that neighbouring bands share, as of a cube that was resampled or smoothed along its bands.

What other bands do not explain of a band is then a small part of its noise, and the noise takes up directions of its
own beside the scene's. It is told from a scene by space: a scene's directions have something that neighbouring pixels
share, those of noise have not (P. Switzer, A. A. Green, Stanford Univ. Tech. Rep. 6, 1984, min/max autocorrelation).

It is said, and not taken away: details as fine as pixels look the same. The real scene of the golden cases, which is
their truth, would lose 18 dB.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsitools.estimation.covariance import gram, largest_of_noise

Array = NDArray[Any]
#: Share of a direction's variance that neighbouring pixels share, up to which it is noise; and standard deviations of
#: what chance makes of none.
WHITE, CHANCE = 0.05, 4.0
#: Share of all bands, and number, of the directions beyond unit noise that must be noise: a few are of impulses, which
#: are white in space, too.
MANY, SOME = 0.1, 2
#: Bands on either side that share noise, and the correlation of the nearest from which on they do.
LAGS, ALIKE = 3, 0.2
#: Variance of the noise in that which other bands do not explain, from which on it is said. Less is beside what real
#: "clean" scenes have of their own.
WRONG = 2.0
#: Least eigenvalue of a correlation, of the mean.
LEAST = 0.01


class SharedNoise(NamedTuple):
    """Noise that neighbouring bands share.

    Attributes
    ----------
    sigma : array of float32, shape (band,)
        Standard deviation of all of it.
    correlation : array, shape (band, band)
        Between bands.
    """

    sigma: Array
    correlation: Array

    def said(self, sigma: Array) -> dict[str, float]:
        """Mean correlation of neighbouring bands, and how many times ``sigma``, which was told, the noise may be."""
        return {
            "noise_correlation": float(np.diag(self.correlation, 1).mean()),
            "noise_untold": float(np.median(self.sigma / sigma)),
        }


def shared_noise(values: Array, sigma: Array) -> SharedNoise | None:
    """The noise of bands ``(band, y, x)`` if neighbouring ones share it, else None.

    Half the mean square of the differences of neighbouring pixels is all of the noise and little of the scene; the
    scene's directions are left out. What remains is that of a correlation that depends on the distance of two bands.

    Parameters
    ----------
    values : array, shape (band, y, x)
    sigma : array, shape (band,)
        What other bands do not explain of each.
    """
    bands, height, width = values.shape
    if min(height, width) < 2 or bands <= 2 * LAGS:
        return None
    level = values.mean((1, 2), keepdims=True, dtype=float).astype(np.float32)
    unit = np.maximum(sigma, 1e-6 * np.sqrt(np.square(values - level).mean()) + 1e-30)
    images = (values - level) / unit[:, None, None].astype(np.float32)
    pixels = height * width
    covariance = gram(images) / pixels
    power, vectors = np.linalg.eigh(covariance)
    beyond = power > 1.05 * largest_of_noise(bands, pixels)
    if beyond.sum() < max(SOME, MANY * bands):
        return None
    rough = sum(gram(np.diff(images, axis=axis)) / np.diff(images[0], axis=axis - 1).size for axis in (1, 2)) / 4
    alike = 1 - np.einsum("bi,bc,ci->i", vectors, rough, vectors) / np.maximum(power, 1e-30)
    white = alike < max(WHITE, CHANCE / np.sqrt(2 * pixels))
    if (beyond & white).sum() < max(SOME, MANY * bands):
        return None
    scene = vectors[:, beyond & ~white]
    without = np.eye(bands) - scene @ scene.T
    rest = without @ rough @ without
    correlation, factor = _stationary(rest, without)
    if correlation[0, 1] < ALIKE or np.median(factor) < WRONG:
        return None
    return SharedNoise((unit * np.sqrt(np.maximum(factor, 1))).astype(np.float32), correlation)


def _stationary(rest: Array, without: Array) -> tuple[Array, Array]:
    """Correlation ``(band, band)`` that depends on bands' distance, and each band's variance ``(band,)``, of which a
    covariance is left without some directions.
    """
    bands = len(rest)
    lagged = [np.eye(bands, k=lag) + np.eye(bands, k=-lag) for lag in range(1, LAGS + 1)]
    parts = np.stack([without @ part @ without for part in (np.eye(bands), *lagged)]).reshape(LAGS + 1, -1)
    scale = np.ones(bands)
    correlation = np.eye(bands)
    for _ in range(3):
        unit = (rest / scale / scale[:, None]).ravel()
        weights = np.linalg.lstsq(parts @ parts.T, parts @ unit, rcond=1e-9)[0]
        if not weights[0] > 0:
            break
        own = np.eye(bands) + sum(weight / weights[0] * part for weight, part in zip(weights[1:], lagged, strict=True))
        power, vectors = np.linalg.eigh(own)
        own = (vectors * np.maximum(power, LEAST)) @ vectors.T
        unit_of = np.sqrt(np.diag(own))
        correlation = own / unit_of / unit_of[:, None]
        full = scale[:, None] * correlation * scale
        expected = np.diag(without @ full @ without)
        scale = scale * np.sqrt(np.diag(rest) / np.maximum(expected, 1e-12))
    return correlation, scale**2
