"""Smooth curves through values at the lines: what all interferometers share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class SmoothingSpline:
    """Natural cubic spline that minimises ``Σ w·(y − f)² + smoothness·∫ f″²`` (Reinsch, Numer. Math. 10, 1967).

    ``x`` ``(knot,)`` ascending; ``values`` and ``curvature`` ``(knot,)`` of the spline there, curvature zero at both
    ends.
    """

    x: Array
    values: Array
    curvature: Array

    @classmethod
    def through(cls, x: Array, y: Array, weight: Array, smoothness: float) -> SmoothingSpline:
        """Spline of values ``y`` at four or more places ``x``, positive weights."""
        from scipy.linalg import solveh_banded

        h = np.diff(x)
        # second differences Qᵀy in three diagonals, and the Gram matrix of linear interpolation in two
        low, high = 1 / h[:-1], 1 / h[1:]
        middle = -(low + high)
        inverse = 1 / weight
        left, centre, right = inverse[:-2], inverse[1:-1], inverse[2:]
        n = len(middle)
        bands = np.zeros((3, n))
        bands[2] = (h[:-1] + h[1:]) / 3 + smoothness * (low**2 * left + middle**2 * centre + high**2 * right)
        bands[1, 1:] = h[1:-1] / 6 + smoothness * (
            middle[:-1] * low[1:] * centre[:-1] + high[:-1] * middle[1:] * right[:-1]
        )
        bands[0, 2:] = smoothness * high[:-2] * low[2:] * right[:-2]
        inner = solveh_banded(bands, np.diff(np.diff(y) / h), check_finite=False)
        curvature = np.concatenate([[0.0], inner, [0.0]])
        slopes = np.diff(curvature) / h
        force = np.diff(slopes, prepend=0.0, append=0.0)
        return cls(x=x, values=y - smoothness * inverse * force, curvature=curvature)

    def __call__(self, at: Array) -> Array:
        """Values at places within the knots; beyond them the value of the nearest."""
        at = np.clip(at, self.x[0], self.x[-1])
        k = np.clip(np.searchsorted(self.x, at, side="right") - 1, 0, len(self.x) - 2)
        h = self.x[k + 1] - self.x[k]
        b = (at - self.x[k]) / h
        a = 1 - b
        bend = ((a**3 - a) * self.curvature[k] + (b**3 - b) * self.curvature[k + 1]) * h**2 / 6
        return np.asarray(a * self.values[k] + b * self.values[k + 1] + bend)
