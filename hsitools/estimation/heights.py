"""How far values lie from all others of their band, in deviations that a few wild values do not move."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsitools.estimation.spread import SIGMA_PER_MEDIAN, median

Array = NDArray[Any]
Mask = NDArray[np.bool_]
#: Share of a band's voxels, the farthest, that have no say in its deviation, and the normal deviate of that share.
FARTHEST, DEVIATE = 0.02, 2.33


class Levels(NamedTuple):
    """Of each band: its median, and its robust deviation; 0 where nothing was measured or hardly more than one value.

    Attributes
    ----------
    centre, deviation : array, shape (band,)
    """

    centre: NDArray[np.float64]
    deviation: NDArray[np.float64]


def levels(values: Array, valid: Mask) -> Levels:
    """The levels of some bands.

    Parameters
    ----------
    values : array, shape (band, y, x)
        Of any size that float32 holds.
    valid : array of bool, shape (band, y, x)
        What was measured.
    """
    out = Levels(np.zeros(len(values)), np.zeros(len(values)))
    for band, (image, use) in enumerate(zip(values, valid, strict=True)):
        if use.any():
            out.centre[band] = median(image[use])
            out.deviation[band] = deviation(np.abs(image[use].astype(float) - out.centre[band]))
    return out


def heights(values: Array, valid: Mask, of: Levels | None = None) -> NDArray[np.float64]:
    """Distance ``(band, y, x)`` from the band's median in robust deviations of the band; 0 where nothing was measured.

    A band of hardly more than one value has none; the widest of the others stands in.

    Parameters
    ----------
    values, valid
        See `levels`.
    of : Levels, optional
        Of the image that the values are a part of; default their own.

    Examples
    --------
    >>> values = np.arange(-50.0, 51.0).reshape(1, 1, 101)
    >>> float(heights(values, np.isfinite(values))[0, 0, 50])
    0.0
    """
    centre, deviations = levels(values, valid) if of is None else of
    if not deviations.any():
        return np.zeros(values.shape)
    out = np.where(valid, values, 0).astype(float)
    out -= centre[:, None, None]
    out /= np.where(deviations > 0, deviations, deviations.max())[:, None, None]
    out[~valid] = 0
    return out


def deviation(distances: Array) -> float:
    """Standard deviation that the middle one of some distances ``(n,)`` tells, or if it is more, the largest of the
    share that has a say: many equal values have none in the middle.

    >>> round(deviation(np.abs(np.random.default_rng(0).normal(0, 3, 10000))), 1)
    3.0
    """
    middle, most = (int(share * (len(distances) - 1)) for share in (0.5, 1 - FARTHEST))
    # one by one: two places at once take several times as long
    half = np.partition(distances, middle)
    usual, farthest = float(half[middle]), np.partition(half[middle:], most - middle)[most - middle]
    return max(SIGMA_PER_MEDIAN * usual, float(farthest) / DEVIATE)
