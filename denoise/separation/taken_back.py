"""Spikes that come back as they were measured: where what replaces them is worse."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from denoise.separation.estimate import regress

Array = NDArray[Any]
Mask = NDArray[np.bool_]
#: Pixels for each number that is fitted, from which on bands beside one tell it.
ENOUGH_TO_TELL = 10


def taken_back(estimate: Array, observed: Array, spike: Mask) -> Mask:
    """Spikes ``(band, y, x)`` that were less far from what the bands beside them make than what replaces them.

    In a pixel unlike all others the scene's directions may foretell a voxel worse than any defect would leave it.

    Parameters
    ----------
    estimate, observed : array, shape (band, y, x)
    spike : array of bool, shape (band, y, x)
        What was observed there took no part in the estimate.
    """
    out = np.zeros(spike.shape, dtype=bool)
    for band in np.flatnonzero(spike.any((1, 2))):
        beside = [other for other in (band - 1, band + 1) if 0 <= other < len(spike)]
        use = np.asarray(~spike[[band, *beside]].any(0))
        where = spike[band] & ~spike[beside].any(0)
        if where.any() and use.sum() >= ENOUGH_TO_TELL * (len(beside) + 1):
            near = regress(estimate[[band]], use[None], estimate[beside], absolute=False)[0]
            out[band] = where & (np.abs(estimate[band] - near) > np.abs(observed[band] - near))
    return out
