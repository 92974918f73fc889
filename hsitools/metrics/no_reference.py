"""Indices of one cube alone: how noisy and how striped it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from hsitools.errors import InputError
from hsitools.metrics.inputs import as_batch, cropped
from hsitools.metrics.registry import Score, index, mean_of, with_nan

KIND = "no reference"
#: Side of the blocks in which the noise is regressed, pixels.
BLOCK = 8
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
        """Check the shape and set NaN aside."""
        values = cropped(as_batch(cube, "cube"), border, "cube")
        valid = torch.isfinite(values)
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
    variance, gains, excluded = _regression_residuals(single)
    bands = variance.shape[1]
    keep = torch.isfinite(variance)
    # v_k = s_k (1 + c²) + a² s_(k−1) + b² s_(k+1): solve for the s
    filled, gains = torch.where(keep, variance, 0), torch.where(keep[..., None], gains, 0)
    system = torch.diag_embed(1 + gains[..., 2] ** 2)
    place = torch.arange(bands)
    left, right = _neighbours(bands)
    system[:, place, left] += gains[..., 0] ** 2
    system[:, place, right] += gains[..., 1] ** 2
    # signal that the regression did not remove must not become negative noise elsewhere
    solved = torch.linalg.solve(system, filled[..., None])[..., 0]
    floor = filled / (1 + (gains**2).sum(-1)) * 0.25
    sigma = torch.maximum(solved, floor).clamp(min=0).sqrt()
    excluded |= {"bands": int((~keep).sum())} if not keep.all() else {}
    return Score(value=mean_of(sigma, keep), per_band=with_nan(sigma, keep), excluded=excluded)


def _neighbours(bands: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Bands that each band is regressed on: those beside it, the next two on one side at the ends."""
    place = torch.arange(bands)
    left, right = place - 1, place + 1
    left[0], right[0] = 1, 2
    left[-1], right[-1] = bands - 2, bands - 3
    return left, right


def _regression_residuals(single: Single) -> tuple[torch.Tensor, torch.Tensor, dict[str, int]]:
    batch, bands, height, width = single.values.shape
    if bands < 3 or min(height, width) < BLOCK:
        raise InputError(f"noise: found {bands}×{height}×{width}, expected 3 bands and {BLOCK}×{BLOCK} pixels at least")
    down, across = height // BLOCK, width // BLOCK

    def cut(values: torch.Tensor) -> torch.Tensor:
        values = values[..., : down * BLOCK, : across * BLOCK].reshape(batch, bands, down, BLOCK, across, BLOCK)
        return values.permute(0, 1, 2, 4, 3, 5).reshape(batch, bands, down * across, BLOCK, BLOCK)

    blocks = cut(single.values).double()
    blocks = blocks - blocks.mean((-2, -1), keepdim=True)
    target = blocks[..., 1:].flatten(3)
    beside = blocks[..., :-1].flatten(3)
    left, right = _neighbours(bands)
    regressors = torch.stack([target[:, left], target[:, right], beside, torch.ones_like(target)], dim=-2)
    gram = regressors @ regressors.mT
    scale = gram.diagonal(dim1=-2, dim2=-1).amax(-1)[..., None, None]
    # a flat neighbour would make it singular
    gram = gram + 1e-10 * torch.where(scale > 0, scale, 1) * torch.eye(4, dtype=gram.dtype, device=gram.device)
    cross = regressors @ target[..., None]
    weights = torch.linalg.solve(gram, cross)
    residual = target - (weights.mT @ regressors)[..., 0, :]
    variance = (residual**2).sum(-1) / (target.shape[-1] - 4)
    keep = torch.ones_like(variance, dtype=torch.bool)
    if single.valid is not None:
        whole = cut(single.valid.to(torch.uint8)).flatten(3).bool().all(-1)
        keep = whole & whole[:, left] & whole[:, right]
    # dead bands have no noise to tell of
    keep = keep & (target.abs().amax(-1) > 0)
    middle = with_nan(variance, keep).nanmedian(2).values
    gains = torch.where(keep[..., None], weights[..., :3, 0], torch.nan).nanmedian(2).values
    lost = int((~keep).sum())
    return middle, gains, {"blocks": lost} if lost else {}


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
    known = torch.isfinite(medians)
    usable = known.all(-2)
    medians = torch.where(known, medians, 0)
    column = medians.mean(-2)
    within = ((medians - column[..., None, :]) ** 2).sum(-2) / (pieces - 1)
    chance = mean_of(within / pieces, usable)
    observed = mean_of((column - mean_of(column, usable)[..., None]) ** 2, usable)
    keep = usable.any(-1) & (chance > 0)
    ratio = with_nan(observed / torch.where(keep, chance, 1), keep)
    excluded = {"bands": int((~keep).sum())} if not keep.all() else {}
    return Score(value=ratio.nanmedian(1).values, per_band=ratio, excluded=excluded)
