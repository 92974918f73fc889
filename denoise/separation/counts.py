"""Photon-limited cubes: counts are stabilised, restored as any cube, and brought back without bias.

A count's variance is its mean, so that zeros of a counting detector are data and the noise of no band is one number.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Mask = NDArray[np.bool_]
#: Photons of the usual voxel below which counts are stabilised: with more, their noise is Gaussian.
FEW_PHOTONS = 20.0
#: Least share of exact zeros of a counting detector's cube without much light.
ZEROS = 0.005
#: Side of the blocks in which variance and mean are compared, pixels, and the least number of blocks.
BLOCK, LEAST_BLOCKS = 8, 16
#: Exponents of the mean that the variance of counts may seem to have, and the least correlation of their logarithms.
EXPONENT, CORRELATION = (0.7, 1.35), 0.9
#: Variance per mean, in steps of the values, that counts of single photons seem to have.
SINGLE = (0.8, 1.5)
#: Share of a read-out's variance up to which photons rule.
READ_SHARE = 0.5


class Counts(NamedTuple):
    """How values come from photons: ``value = gain · photons + noise of the read-out``.

    Attributes
    ----------
    gain : array, shape (band,)
        Of one photon, in units of the values.
    read_variance : array, shape (band,)
        Of the read-out, in units of the values, squared.
    """

    gain: Array
    read_variance: Array

    def stabilised(self, values: Array) -> Array:
        """Values ``(band, y, x)`` of about unit variance.

        F. J. Anscombe, Biometrika 35, 1948; with a read-out F. Murtagh, J.-L. Starck, A. Bijaoui, Astronomy &
        Astrophysics Supplement 112, 1995.
        """
        gain, read = (item[:, None, None] for item in self)
        inside = gain * values + 0.375 * gain**2 + read
        return np.asarray(2 / gain * np.sqrt(np.maximum(inside, 0)), dtype=np.float32)

    def back(self, stabilised: Array) -> Array:
        """Mean values of which these are the means of `stabilised`.

        The closed form of M. Mäkitalo, A. Foi, IEEE TIP 22(1), 2013; the plain inverse is too low by a quarter count.
        """
        gain, read = (item[:, None, None] for item in self)
        d = np.maximum(stabilised.astype(float), self._of_none())
        root = np.sqrt(1.5)
        photons = d**2 / 4 + root / 4 / d - 11 / 8 / d**2 + 5 / 8 * root / d**3 - 1 / 8 - read / gain**2
        return np.asarray(gain * np.maximum(photons, 0))

    def spread(self, stabilised: Array, std: Array) -> Array:
        """Standard deviation of `back`, of that of what it is given: half the difference over both sides.

        What is less than no photons give tells that there are none, and no more surely than if it were just that.
        """
        above = np.maximum(stabilised, self._of_none()) + std
        return np.asarray((self.back(above) - self.back(stabilised - std)) / 2, dtype=np.float32)

    def _of_none(self) -> Array:
        """Stabilised value ``(band, 1, 1)`` of no photons."""
        gain, read = (item[:, None, None] for item in self)
        return np.asarray(2 * np.sqrt(0.375 + read / gain**2))


def counts_of(values: Array, valid: Mask, sigma: Array | None = None, slope: Array | None = None) -> Counts | None:
    """How a cube comes from photons, if it is photon-limited; None for all others.

    Parameters
    ----------
    values : array, shape (band, y, x)
    valid : array of bool, shape (band, y, x)
    sigma, slope : array, shape (band,), optional
        What a sensor says of the noise at the bands' means, and of its variance's growth with the signal.
    """
    if sigma is not None:
        return None if slope is None else _by_sensor(values, valid, np.asarray(sigma, float), np.asarray(slope, float))
    gain = _gain(values, valid)
    if gain is None or _usual(values, valid, np.full(len(values), gain)) > FEW_PHOTONS:
        return None
    return Counts(np.full(len(values), gain), np.zeros(len(values)))


def _usual(values: Array, valid: Mask, gain: Array) -> float:
    """Photons of the median voxel that has any."""
    photons = values / gain[:, None, None]
    lit = photons[valid & (photons > 0)]
    return float(np.median(lit)) if lit.size else 0.0


def _by_sensor(values: Array, valid: Mask, sigma: Array, slope: Array) -> Counts | None:
    if not (slope > 0).all() or _usual(values, valid, slope) > FEW_PHOTONS:
        return None
    level = np.where(valid, values, 0).sum((1, 2)) / np.maximum(valid.sum((1, 2)), 1)
    read = np.maximum(sigma**2 - slope * np.maximum(level, 0), 0)
    return Counts(slope, read) if np.median(read / np.maximum(sigma**2, 1e-30)) < READ_SHARE else None


def _gain(values: Array, valid: Mask) -> float | None:
    """Values of one photon, if values are multiples of one number, none negative, and vary as counts do."""
    used = values[valid]
    positive = used[used > 0]
    if not positive.size or used.min() < 0 or np.mean(used == 0) < ZEROS:
        return None
    steps = positive / positive.min()
    if steps.max() > 2**16 or np.abs(steps - np.rint(steps)).max() > 1e-3:
        return None
    bands, height, width = values.shape
    rows, columns = height // BLOCK, width // BLOCK
    if rows * columns == 0:
        return None

    def blocks(image: Array) -> Array:
        part = image[:, : rows * BLOCK, : columns * BLOCK]
        return part.reshape(bands, rows, BLOCK, columns, BLOCK).mean((2, 4))

    mixed = np.zeros(values.shape)
    mixed[:, 1:, 1:] = np.diff(np.diff(values.astype(float), axis=1), axis=2) ** 2 / 4
    mean, variance = blocks(np.where(valid, values, 0.0)), blocks(mixed)
    used_blocks = (blocks(valid.astype(float)) == 1) & (mean > 0) & (variance > 0)
    # the first row and column have no difference
    used_blocks[:, 0] = used_blocks[:, :, 0] = False
    if used_blocks.sum() < LEAST_BLOCKS:
        return None
    # blocks of one or two counts say nothing of the exponent, and sum up to the right gain all the same
    m, v = mean[used_blocks], variance[used_blocks]
    clear = m > np.median(m) / 4
    x, y = np.log(m[clear]), np.log(v[clear])
    photon, step = float(np.median(v[clear] / m[clear])), float(positive.min())
    # texture of the scene adds to the variance; most detectors count one by one
    single = SINGLE[0] < photon / step < SINGLE[1]
    if x.std() < 0.1:
        return step if single else None
    correlation = float(np.corrcoef(x, y)[0, 1])
    exponent = float(y.std() / x.std())
    if correlation < CORRELATION or not EXPONENT[0] < exponent < EXPONENT[1]:
        return None
    return step if single else photon


def keep_totals(estimate: Array, values: Array, valid: Mask) -> Array:
    """The estimate with the bands' sums of what was counted: these are known better than anything else."""
    counted, estimated = (np.where(valid, item, 0).sum((1, 2), dtype=float) for item in (values, estimate))
    sound = estimated > 0.5 * counted
    factor = np.where(sound, counted / np.where(sound, estimated, 1), 1)
    missing = np.where(sound, 0, counted - estimated) / np.maximum(valid.sum((1, 2)), 1)
    return np.asarray(estimate * factor[:, None, None] + missing[:, None, None])
