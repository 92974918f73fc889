"""Full-reference indices of local windows: SSIM and UQI."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from hsitools.errors import InputError
from hsitools.metrics.inputs import Pair
from hsitools.metrics.registry import Score, index, mean_of, with_nan
from hsitools.sensor.separable import window_mean


@index(
    "SSIM", kind="full reference", unit="1", low=-1, high=1, best=1,
    paper="Z. Wang, A. C. Bovik, H. R. Sheikh, E. P. Simoncelli, Image quality assessment: from error visibility to "
    "structural similarity, IEEE Trans. Image Process. 13(4), 2004",
)  # fmt: skip
def ssim(pair: Pair) -> Score:
    """Structural similarity, mean over bands: Gaussian window 11×11, σ 1.5, population moments, whole windows only."""
    taps = tuple(math.exp(-(place**2) / (2 * 1.5**2)) for place in range(-5, 6))
    c1, c2 = ((k * pair.data_range[:, None, None, None]) ** 2 for k in (0.01, 0.03))

    def similarity(mx: Tensor, my: Tensor, xx: Tensor, yy: Tensor, xy: Tensor) -> Tensor:
        return (2 * mx * my + c1) * (2 * xy + c2) / ((mx * mx + my * my + c1) * (xx + yy + c2))

    return replace(_windowed(pair, "SSIM", taps, similarity, undefined=False), facts=pair.range_facts())


@index(
    "UQI", kind="full reference", unit="1", low=-1, high=1, best=1,
    paper="Z. Wang, A. C. Bovik, A universal image quality index, IEEE Signal Process. Lett. 9(3), 2002",
)  # fmt: skip
def uqi(pair: Pair) -> Score:
    """Universal quality index, mean over bands: sliding 8×8 windows; windows without contrast in both are left out."""

    def quality(mx: Tensor, my: Tensor, xx: Tensor, yy: Tensor, xy: Tensor) -> Tensor:
        return 4 * xy * mx * my / ((xx + yy) * (mx * mx + my * my))

    return _windowed(pair, "UQI", (1.0,) * 8, quality, undefined=True)


def _windowed(
    pair: Pair, name: str, taps: tuple[float, ...], formula: Callable[..., Tensor], *, undefined: bool
) -> Score:
    """Mean of ``formula`` of local moments over the windows without an invalid voxel."""
    size, (height, width) = len(taps), pair.reference.shape[-2:]
    if min(height, width) < size:
        raise InputError(f"{name}: found {height}×{width} pixels, expected at least {size}×{size}")
    window = window_mean((height, width), taps)
    means = pair.mean(pair.reference)[..., None, None]
    values, keeps, lost = [], [], 0
    for part in pair.slices():
        x, y = pair.estimate[:, part], pair.reference[:, part]
        # moments about each band's mean: no digits lost to a large constant
        centre = means[:, part]
        x0, y0 = x - centre, y - centre
        if pair.valid is not None:
            x0, y0 = x0 * pair.valid[:, part], y0 * pair.valid[:, part]
        mx, my = window(x0), window(y0)
        xx, yy, xy = window(x0 * x0), window(y0 * y0), window(x0 * y0) - mx * my
        # what rounding leaves of a variance that is none
        floor = 16 * torch.finfo(x.dtype).eps * (xx + yy)
        xx, yy = xx - mx * mx, yy - my * my
        flat = xx + yy <= floor
        if pair.valid is None:
            keep = torch.ones_like(mx, dtype=torch.bool)
        else:
            keep = window((~pair.valid[:, part]).to(x.dtype)) < 1e-6
        if undefined:
            lost += int((flat & keep).sum())
            keep = keep & ~flat
        score = formula(mx + centre, my + centre, xx, yy, xy)
        keep = keep & torch.isfinite(score)
        values.append(mean_of(torch.where(keep, score, 0).flatten(2), keep.flatten(2)))
        keeps.append(keep.flatten(2).any(2))
    per_band, keep = torch.cat(values, dim=1), torch.cat(keeps, dim=1)
    excluded = pair.excluded() | ({"bands": int((~keep).sum())} if not keep.all() else {})
    if lost:
        excluded["flat_windows"] = lost
    return Score(value=mean_of(per_band, keep), per_band=with_nan(per_band, keep), excluded=excluded)
