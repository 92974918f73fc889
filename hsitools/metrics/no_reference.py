"""Indices of one cube alone: how noisy and how striped it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from hsitools.errors import InputError
from hsitools.estimation.band_noise import block_noise
from hsitools.metrics.inputs import as_batch, cropped
from hsitools.metrics.registry import Score, index, mean_of, with_nan

KIND = "no reference"
#: Pieces of a column whose steps are compared.
PIECES = 8


@dataclass(frozen=True, kw_only=True)
class Single:
    """One cube.

    Attributes
    ----------
    values : Tensor, shape (batch, band, y, x)
        Invalid voxels are zero.
    valid : Tensor of bool, same shape, or None
    """

    values: torch.Tensor
    valid: torch.Tensor | None = None

    @classmethod
    def of(cls, cube: Any, *, border: int = 0) -> Single:
        """Check the shape and set NaN aside; raises `InputError` where nothing else is there."""
        values = cropped(as_batch(cube, "cube"), border, "cube")
        valid = torch.isfinite(values)
        if not valid.flatten(1).any(1).all():
            raise InputError("cube: found no valid voxel, expected some")
        if valid.all():
            return cls(values=values)
        return cls(values=torch.where(valid, values, 0), valid=valid)


@index(
    "noise", kind=KIND, unit="of the cube", low=0, high=float("inf"), best=0,
    paper="R. E. Roger, J. F. Arnold, Reliably estimating the noise in AVIRIS hyperspectral images, Int. J. Remote "
    "Sensing 17(10), 1996",
)  # fmt: skip
def noise(single: Single) -> Score:
    """Standard deviation of each band's noise: residual of the regression on both neighbouring bands and one pixel.

    Done in blocks of 8×8, median of the blocks' variances; the noise that the regressors themselves bring in is taken
    off. The value is the mean over bands; blocks with invalid voxels are left out.
    """
    sigma, keep, excluded = block_noise(single.values, single.valid)
    return Score(value=mean_of(sigma, keep), per_band=with_nan(sigma, keep), excluded=excluded)


@index(
    "stripes", kind=KIND, unit="1", low=0, high=float("inf"), best=1,
    paper="hsitools: analysis of variance of column steps, between columns against between pieces of a column",
)  # fmt: skip
def stripes(single: Single) -> Score:
    """Column stripe ratio: about 1 without stripes, 1 + n² with stripes of n times what a column's median varies by.

    The step between neighbouring columns is taken in every row, and its median in pieces of each column. A stripe steps
    the same way in all pieces, a scene's edge in some: the variance over columns of the pieces' mean is compared with
    the variance between pieces over their number. The value is the median over bands.
    """
    values = single.values.double()
    height, width = values.shape[-2:]
    if min(height, width) < 8:
        raise InputError(f"stripes: found {height}×{width} pixels, expected at least 8×8")
    step = values[..., 1:] - values[..., :-1]
    if single.valid is not None:
        step = with_nan(step, single.valid[..., 1:] & single.valid[..., :-1])
    pieces = min(PIECES, height // 4)
    rows = height // pieces
    medians = step[..., : pieces * rows, :].unflatten(-2, (pieces, rows)).nanmedian(-2).values
    finite = torch.isfinite(medians)
    usable = finite.all(-2)
    medians = torch.where(finite, medians, 0)
    column = medians.mean(-2)
    within = ((medians - column[..., None, :]) ** 2).sum(-2) / (pieces - 1)
    chance = mean_of(within / pieces, usable)
    observed = mean_of((column - mean_of(column, usable)[..., None]) ** 2, usable)
    keep = usable.any(-1) & (chance > 0)
    ratio = with_nan(observed / torch.where(keep, chance, 1), keep)
    excluded = {"bands": int((~keep).sum())} if not keep.all() else {}
    return Score(value=ratio.nanmedian(1).values, per_band=ratio, excluded=excluded)
