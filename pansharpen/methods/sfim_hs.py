"""SFIM-HS: smoothing-filter-based intensity modulation, with a sharp image synthesised for every band."""

from __future__ import annotations

from typing import Any

import torch

from pansharpen.case import Scene, Tile
from pansharpen.families.hypersharpening import synthesis
from pansharpen.families.modulation import modulated
from pansharpen.families.statistics import mix, per_band
from pansharpen.registry import method


@method(
    "SFIM-HS", family="multiresolution", held=11,
    paper="M. Selva, B. Aiazzi, F. Butera, L. Chiarantini, S. Baronti, Hyper-sharpening: a first approach on SIM-GA "
    "data, IEEE JSTARS 8(6), 2015; J. G. Liu, Smoothing filter-based intensity modulation, IJRS 21(18), 2000",
)  # fmt: skip
def sfim_hs(scene: Scene) -> Any:
    """Each band times its synthesised image over that image's local mean, where the ratio means something."""
    weights, offset = synthesis(scene)

    def view(tile: Tile) -> tuple[torch.Tensor, torch.Tensor]:
        image = mix(weights, tile.wide_sharp)
        level = _local_mean(image, tile.optics.ratio)
        return tile.crop(level) + per_band(offset, level), tile.crop(image - level)

    return modulated(scene, view)


def _local_mean(image: torch.Tensor, ratio: int) -> torch.Tensor:
    """Mean over a square of ``ratio`` pixels (one more where it is even, so that it has a centre)."""
    half = ratio // 2
    padded = torch.nn.functional.pad(image, (half,) * 4, mode="replicate")
    return torch.nn.functional.avg_pool2d(padded, 2 * half + 1, stride=1)
