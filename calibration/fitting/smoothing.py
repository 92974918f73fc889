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
        h = np.diff(x)
        # second differences Qᵀy in three diagonals, and the Gram matrix of linear interpolation in two
        low, high = 1 / h[:-1], 1 / h[1:]
        middle = -(low + high)
        inverse = 1 / weight
        left, centre, right = inverse[:-2], inverse[1:-1], inverse[2:]
        diagonal = (h[:-1] + h[1:]) / 3 + smoothness * (low**2 * left + middle**2 * centre + high**2 * right)
        next_one = h[1:-1] / 6 + smoothness * (
            middle[:-1] * low[1:] * centre[:-1] + high[:-1] * middle[1:] * right[:-1]
        )
        next_two = smoothness * high[:-2] * low[2:] * right[:-2]
        inner = solve_pentadiagonal(diagonal, next_one, next_two, np.diff(np.diff(y) / h))
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


#: Smoothing parameters tried (lines a unit apart): from a curve of a few lines' width to a straight line, in steps that
#: change the width of what passes by three.
SMOOTHNESS = (1e0, 1e2, 1e4, 1e6)
#: Fewest lines that allow a curve: every second of them must still hold a spline.
MIN_CURVE_LINES = 12


def smoothed(wavenumber: Array, values: Array, weight: Array) -> Array:
    """Smoothing spline through ``values`` of weights ``weight``, all ``(line,)``; values without weight do not count.

    As smooth as makes it predict every second line best from the others. Constant beyond the lines of some weight,
    where a cubic would run away.
    """
    weighed = np.flatnonzero(weight > 0)
    # lines a unit apart, so that the smoothness does not depend on the device's units
    x = wavenumber / np.diff(wavenumber).mean()
    w = weight[weighed] / weight[weighed].mean()

    def spline(lines: NDArray[np.intp], smoothness: float) -> SmoothingSpline:
        return SmoothingSpline.through(x[weighed[lines]], values[weighed[lines]], w[lines], smoothness)

    even, odd = np.arange(0, len(weighed), 2), np.arange(1, len(weighed), 2)

    def error(smoothness: float) -> float:
        predicted = spline(even, smoothness)(x[weighed[odd]])
        return float((w[odd] * (values[weighed[odd]] - predicted) ** 2).sum())

    best = min(SMOOTHNESS, key=error)
    return spline(np.arange(len(weighed)), best)(x)


#: Rows of a block of `solve_pentadiagonal`: the cost of the blocks grows with it, that of joining them falls.
_BLOCK = 24


def solve_pentadiagonal(diagonal: Array, next_one: Array, next_two: Array, right: Array) -> Array:
    """Solve a symmetric positive system of five diagonals, ``(n,)``, by blocks that are all factored at once.

    Each block is solved by itself for its right-hand side and for the two values that it shares with either neighbour;
    a small dense system over the shared values joins them (Polizzi and Sameh, Parallel Computing 32, 2006). NumPy
    alone: importing SciPy's banded solver takes as long as a small calibration.
    """
    n, size = len(right), _BLOCK
    blocks = -(-n // size)
    bands = np.zeros((3, blocks * size + 2))
    bands[0] = 1
    for band, values in zip(bands, (diagonal, next_one, next_two), strict=True):
        band[: len(values)] = values
    matrix = np.zeros((blocks, size, size))
    for k in range(3):
        inside = np.arange(size - k)
        matrix[:, inside, inside + k] = bands[k, : blocks * size].reshape(blocks, size)[:, : size - k]
        matrix[:, inside + k, inside] = matrix[:, inside, inside + k]
    padded = np.zeros(blocks * size)
    padded[:n] = right
    # couplings of the last two rows of each block to the first two of the next: three entries
    ends = np.arange(1, blocks) * size
    corner = np.zeros((blocks - 1, 2, 2))
    corner[:, 0, 0], corner[:, 1, 0], corner[:, 1, 1] = bands[2, ends - 2], bands[1, ends - 1], bands[2, ends - 1]
    sides = np.zeros((blocks, size, 5))
    sides[:, :, 0] = padded.reshape(blocks, size)
    sides[1:, :2, 1:3] = np.swapaxes(corner, 1, 2)
    sides[:-1, -2:, 3:5] = corner
    solved = np.linalg.solve(matrix, sides)
    # shared values of block i: its first two, its last two
    shared = solved[:, [0, 1, -2, -1]]
    joint = np.eye(4 * blocks).reshape(blocks, 4, blocks, 4)
    i = np.arange(blocks - 1)
    joint[i + 1, :, i, 2:] = shared[1:, :, 1:3]
    joint[i, :, i + 1, :2] = shared[:-1, :, 3:5]
    values = np.linalg.solve(joint.reshape(4 * blocks, -1), shared[:, :, 0].ravel()).reshape(blocks, 4)
    out = solved[:, :, 0].copy()
    out[1:] -= (solved[1:, :, 1:3] @ values[:-1, 2:, None])[:, :, 0]
    out[:-1] -= (solved[:-1, :, 3:5] @ values[1:, :2, None])[:, :, 0]
    return np.asarray(out.ravel()[:n])
