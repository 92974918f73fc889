"""Thin lines across columns that one band sees: a road or a shore, whose pixels stay together or not at all."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.estimation.spread import median, robust_sigma

Array = NDArray[Any]
Mask = NDArray[np.bool_]
#: Robust standard deviations of a band's residual beyond which a voxel may be of a line.
FAR = 3.0
#: Columns that a line crosses at least: what a detector breaks lies along columns, and is a few of them wide.
LONG = 8
#: Share of such voxels in a band up to which lines are looked for. Of one in ten at random places, so many meet in a
#: row of columns about once in a large image.
MOST = 0.1


def lines(residual: Array, keep: Mask) -> Mask:
    """Voxels ``(band, y, x)`` of lines of one side, at most a row up or down from column to column.

    Parameters
    ----------
    residual : array, shape (band, y, x)
        What was observed less what was predicted; offsets of columns are no lines.
    keep : array of bool, shape (band, y, x)
        Voxels that hold a measurement of the scene.
    """
    out = np.zeros(residual.shape, dtype=bool)
    if residual.shape[2] < LONG:
        return out
    rest = np.where(keep, residual, 0)
    rest = np.where(keep, rest - median(rest, axis=1)[:, None], 0)
    far = np.abs(rest) > FAR * np.maximum(robust_sigma(rest, axis=(1, 2))[:, None, None], 1e-30)
    some = np.flatnonzero(far.any(1).sum(1) >= LONG)
    some = some[far[some].mean((1, 2)) <= MOST]
    for side in (rest[some] > 0, rest[some] < 0):
        mine = far[some] & side
        out[some] |= _chained(mine) + _chained(mine[..., ::-1])[..., ::-1] > LONG
    return out


def _chained(where: Mask) -> NDArray[np.int32]:
    """Columns of the longest chain that ends at each of some voxels ``(band, y, x)``, from its left; elsewhere zero."""
    length = np.zeros((where.shape[0], where.shape[1] + 2, where.shape[2]), dtype=np.int32)
    length[:, 1:-1] = where
    for column in range(1, where.shape[2]):
        before = length[..., column - 1]
        longest = np.maximum(np.maximum(before[:, :-2], before[:, 2:]), before[:, 1:-1])
        length[:, 1:-1, column] += np.where(where[..., column], longest, 0)
    return length[:, 1:-1]
