"""Brovey: every band times PAN over the weighted sum of the bands."""

from __future__ import annotations

from typing import Any

import torch

from hsitools.estimation.nonnegative import nonnegative
from hsitools.estimation.rounding import above_rounding
from pansharpen.case import Scene, Tile
from pansharpen.families.interpolated import interpolated_mix
from pansharpen.families.statistics import moments, per_band, ratio_of
from pansharpen.registry import method


@method(
    "Brovey", family="component substitution", held=4, images=20,
    paper="A. R. Gillespie, A. B. Kahle, R. E. Walker, Color enhancement of highly correlated images II, Remote "
    "Sensing of Environment 22(3), 1987; weighted as in GDAL's gdal_pansharpen",
)  # fmt: skip
def brovey(scene: Scene) -> Any:
    """Bands times PAN over the pseudo-panchromatic image that the bands' known (or fitted) weights make.

    Without a known response the weights are the non-negative regression of the coarse PAN on the bands. The ratio is
    as certain as the weighted sum is: its mean squared error at the coarse pixels holds the ratio at one in the dark. A
    PAN of one value says nothing.
    """
    found = scene.sum(lambda tile: moments(torch.cat([tile.coarse, tile.pan_coarse], 1), valid=tile.coarse_valid))
    gram, right = found.xy[:, :-1, :-1], found.xy[:, :-1, -1:]
    response = scene.optics.pan_response
    if response is not None and response.sum() > 0:
        weights = torch.as_tensor(response / response.sum(), dtype=gram.dtype, device=gram.device).expand(len(gram), -1)
    else:
        weights = nonnegative(gram, right)[..., 0]
    scale = ratio_of((weights * found.x[:, :-1]).sum(1, keepdim=True), found.x[:, -1:])
    misfit = torch.cat([weights, -scale], 1)[:, None]
    error = ((misfit @ found.xy @ misfit.mT)[..., 0] / found.n.clamp(min=1)).clamp(min=0)
    varies = above_rounding(found.covariance[:, -1:, -1], found.mean_x[:, -1:]) > 0

    def fused(tile: Tile) -> torch.Tensor:
        intensity = interpolated_mix(tile, weights)
        below = intensity**2 + per_band(error, intensity)
        change = intensity * (per_band(scale, intensity) * tile.pan - intensity) * per_band(varies, intensity)
        return tile.expanded * (1 + torch.where(below > 0, change / torch.where(below > 0, below, 1), 0))

    return scene.map(fused)
