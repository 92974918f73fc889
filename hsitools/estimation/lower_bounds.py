"""Values of which only a lower bound is known: what the other bands say of them, and that they are at least so much.

Bands are a few common factors and what each keeps to itself. The factors of a pixel follow from the bands that were
measured in it; what they make of the others is a normal distribution, cut off below the bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
#: Factors at most, and pixels for each at least.
FACTORS, PIXELS_EACH = 16, 8
#: Share of its variance that each band keeps to itself at least.
OWN = 1e-6
#: Pixels times pairs of factors that are gone through at once.
AT_ONCE = 2**22


@dataclass(frozen=True, kw_only=True, eq=False)
class Factors:
    """Bands as common factors of unit variance and what each keeps to itself.

    Attributes
    ----------
    mean : array, shape (band,)
    loadings : array, shape (band, k)
    own : array, shape (band,)
        Variance of what each band keeps to itself.
    n : float
        Of how many pixels this was learned.
    """

    mean: Array
    loadings: Array
    own: Array
    n: float

    @classmethod
    def of(cls, mean: Array, covariance: Array, n: float) -> Factors:
        """The largest principal components of the bands in units of their deviations, as far as ``n`` pixels tell them.

        >>> told = Factors.of(np.zeros(2), np.array([[1.0, 1.0], [1.0, 1.0]]), 1000)
        >>> value, variance = told.predict(np.array([[3.0], [0.0]]), np.array([[True], [False]]))
        >>> value.round(3).ravel().tolist(), bool(variance[1, 0] < 1e-3)
        ([3.0, 3.0], True)
        """
        variance = np.diag(covariance)
        deviation = np.sqrt(np.where(variance > 0, variance, 1))
        values, vectors = np.linalg.eigh(covariance / deviation[:, None] / deviation)
        k = int(np.clip(n // PIXELS_EACH, 1, min(FACTORS, len(mean))))
        values, vectors = np.maximum(values[::-1][:k], 0), vectors[:, ::-1][:, :k]
        loadings = deviation[:, None] * vectors * np.sqrt(values)
        left = variance - (loadings**2).sum(1)
        # so much of it the components have taken up by chance
        own = np.maximum(left * n / max(n - k, 1), OWN * deviation**2)
        return cls(mean=np.asarray(mean, dtype=float), loadings=loadings, own=own, n=n)

    def predict(self, values: Array, known: Mask) -> tuple[Array, Array]:
        """Mean and variance of all bands ``(band, n)`` of some pixels, of values where they are known.

        Parameters
        ----------
        values : array, shape (band, n)
        known : array of bool, shape (band, n)
        """
        k = self.loadings.shape[1]
        row, column = np.triu_indices(k)
        pairs = self.loadings[:, row] * self.loadings[:, column]
        mean, variance = np.empty((2, *values.shape))
        for first in range(0, values.shape[1], max(AT_ONCE // len(row), 1)):
            part = slice(first, first + max(AT_ONCE // len(row), 1))
            weight = known[:, part] / self.own[:, None]
            normal = np.empty((weight.shape[1], k, k))
            normal[:, row, column] = normal[:, column, row] = weight.T @ pairs
            normal += np.eye(k)
            right = (weight * np.where(known[:, part], values[:, part] - self.mean[:, None], 0)).T @ self.loadings
            inverse = np.linalg.inv(normal)
            found = (inverse @ right[..., None])[..., 0].T
            mean[:, part] = self.mean[:, None] + self.loadings @ found
            spread = (self.loadings @ inverse * self.loadings).sum(-1).T
            # the farther a pixel is from those that taught them, the less sure are loadings
            variance[:, part] = spread + self.own[:, None] * (1 + (1 + (found**2).sum(0)) / self.n)
        return mean, variance


def at_least(mean: Any, variance: Any, bound: Any) -> tuple[Array, Array]:
    """Mean and variance of normal numbers of which it is known that they are at least ``bound``.

    >>> value, variance = at_least(0.0, 1.0, 0.0)
    >>> round(float(value), 4), round(float(variance), 4)
    (0.7979, 0.3634)
    """
    from scipy.special import log_ndtr

    sigma = np.sqrt(variance)
    # far below the bound the number lies a small part of a deviation above it
    a = np.minimum((bound - mean) / sigma, 30.0)
    hazard = np.exp(-0.5 * a**2 - 0.5 * np.log(2 * np.pi) - log_ndtr(-a))
    value = np.maximum(mean + sigma * hazard, bound)
    return np.asarray(value), np.asarray(variance * np.clip(1 - hazard * (hazard - a), 1e-3, 1))
