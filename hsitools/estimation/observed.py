"""A cube as a noise model sees it: what rooms that know noise offer to those that use cubes.

Offered through the entry-point group ``hsitools.noise``, so that neither room imports the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.lookup import lookup

NOISE = "hsitools.noise"


@dataclass(frozen=True, kw_only=True, eq=False)
class Observed:
    """What is believed of a noisy cube.

    Attributes
    ----------
    values : array of float32, shape (band, y, x)
        Posterior mean: fixed patterns and noise taken off, outliers predicted; NaN where no band was measured.
    variance : array, shape (band,)
        Of the errors that it still has, cube units².
    mask : array of bool, shape (band, y, x)
        Voxels whose measurement was not used.

    Examples
    --------
    >>> import numpy as np
    >>> clean = np.ones((3, 4, 4), np.float32)
    >>> Observed(values=clean, variance=np.full(3, 0.01), mask=np.zeros(clean.shape, bool)).variance.shape
    (3,)
    """

    values: NDArray[np.float32]
    variance: NDArray[Any]
    mask: NDArray[np.bool_]


#: Takes a cube ``(band, y, x)``, NaN for no measurement, and images ``(m, y, x)`` of its scene with hardly any noise.
Observer = Callable[[NDArray[Any], NDArray[Any]], Observed]


def require_noise_model(name: str) -> None:
    """Raise `InputError`, as `observer` does, unless an installed room offers that noise model; loads none."""
    lookup(name, {point.name: point for point in entry_points(group=NOISE)}, "noise")


def observer(name: str) -> Observer:
    """The noise model of that name that an installed room offers.

    Raises
    ------
    InputError
        When there is none, with the nearest name.

    Examples
    --------
    >>> callable(observer("blind"))
    True
    """
    loaded: Observer = lookup(name, {point.name: point for point in entry_points(group=NOISE)}, "noise").load()
    return loaded
