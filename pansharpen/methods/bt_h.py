"""BT-H: Brovey transform with haze correction."""

from __future__ import annotations

from typing import Any

import torch

from pansharpen.case import Scene, Tile
from pansharpen.families.interpolated import interpolated_mix
from pansharpen.families.modulation import modulated
from pansharpen.families.statistics import Moments, moments, per_band, regression
from pansharpen.registry import method

#: Part of the pixels taken as dark objects, whose level is the haze's.
DARK = 0.01
#: The histogram's bins, over SPAN standard deviations to either side of the mean.
BINS, SPAN = 1024, 4.0


@method(
    "BT-H", family="component substitution", held=8,
    paper="S. Lolli, L. Alparone, A. Garzelli, G. Vivone, Haze correction for contrast-based multispectral "
    "pansharpening, IEEE GRSL 14(12), 2017",
)  # fmt: skip
def bt_h(scene: Scene) -> Any:
    """Bands times PAN over the intensity, all without haze; the ratio is guarded."""

    def together(tile: Tile) -> torch.Tensor:
        return torch.cat([tile.coarse, tile.pan_coarse], 1)

    found = scene.sum(lambda tile: moments(together(tile), valid=tile.coarse_valid))
    weights, bias = regression(found)
    low, width = bin_edges(found)
    haze = dark_level(scene.sum(lambda tile: histogram(together(tile), low, width, tile.coarse_valid)), low, width)

    def view(tile: Tile) -> tuple[torch.Tensor, torch.Tensor]:
        intensity = interpolated_mix(tile, weights) + per_band(bias, tile.pan)
        return intensity, tile.pan - intensity

    return modulated(scene, view, haze=(haze[:, :-1], haze[:, -1:]))


def bin_edges(found: Moments) -> tuple[torch.Tensor, torch.Tensor]:
    """Lower end and width of the bins of each channel, ``(batch, channel)``, from its mean and variance."""
    deviation = found.covariance.diagonal(dim1=-2, dim2=-1).clamp(min=0).sqrt()
    return found.mean_x - SPAN * deviation, 2 * SPAN / BINS * deviation


def histogram(
    image: torch.Tensor, low: torch.Tensor, width: torch.Tensor, valid: torch.Tensor | None = None
) -> torch.Tensor:
    """Counts ``(batch, channel, bin)`` of ``(batch, channel, y, x)``; the end bins hold all beyond."""
    place = (image.flatten(2).double() - low[..., None]) / torch.where(width > 0, width, 1)[..., None]
    one = torch.ones_like(place) if valid is None else valid.flatten(2).double().expand_as(place)
    counts = place.new_zeros((*place.shape[:2], BINS))
    return counts.scatter_add_(2, place.long().clamp(0, BINS - 1), one)


def dark_level(counts: torch.Tensor, low: torch.Tensor, width: torch.Tensor) -> torch.Tensor:
    """Level below which the darkest pixels lie, ``(batch, channel)``."""
    total = counts.cumsum(-1)
    return low + width * (total < DARK * total[..., -1:]).sum(-1)
