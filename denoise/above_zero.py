"""No value below zero where none was measured: light is none, and noise takes dark values to both sides."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Mask = NDArray[np.bool_]
#: Standard deviations beyond which a normal posterior below zero is wrong itself, and says no more of how sure it is.
WRONG = 2.0


def above_zero(estimate: Array, std: Array | None, observed: Array, used: Mask) -> tuple[Array, Array | None]:
    """An estimate and its standard deviation ``(band, y, x)``, bound by zero in bands without a measurement below it.

    What is below zero becomes zero, which no scene above zero is farther from; the standard deviation is the root mean
    square distance from that of the normal posterior's part above zero.

    Parameters
    ----------
    estimate, std, observed : array, shape (band, y, x)
    used : array of bool, shape (band, y, x)
        Where ``observed`` is a measurement of the scene.

    Examples
    --------
    >>> seen = np.array([[[0.0, 0.5]], [[-0.1, 0.5]]])
    >>> bound, std = above_zero(np.full(seen.shape, -0.1), np.full(seen.shape, 0.1), seen, seen < 1)
    >>> bound.tolist(), std.round(3).tolist()
    ([[[0.0, 0.0]], [[-0.1, -0.1]]], [[[0.069, 0.069]], [[0.1, 0.1]]])
    """
    from scipy.special import ndtr

    bound = used.any((1, 2)) & (np.where(used, observed, 0).min((1, 2)) >= 0)
    if not bound.any():
        return estimate, std
    estimate, mean = estimate.copy(), estimate[bound]
    estimate[bound] = np.maximum(mean, 0)
    if std is not None:
        std, own = std.copy(), std[bound]
        height = np.clip(mean / np.maximum(own, np.finfo(np.float32).tiny), -WRONG, None)
        # the normal law's density at zero by its share above: the mean of that share is as much higher
        raised = np.exp(-0.5 * np.square(height)) / (np.sqrt(2 * np.pi) * ndtr(height))
        square = 1 + np.minimum(height, 0) ** 2 - np.abs(height) * raised
        std[bound] = own * np.sqrt(square)
    return estimate, std
