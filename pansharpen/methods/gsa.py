"""GSA: Gram-Schmidt adaptive component substitution."""

from __future__ import annotations

from typing import Any

import torch

from pansharpen.case import Scene, Tile
from pansharpen.families.interpolated import interpolated_mix, interpolated_sums, with_details
from pansharpen.families.statistics import moments, per_band, regression
from pansharpen.registry import method


@method(
    "GSA", family="component substitution", held=3, images=20,
    paper="B. Aiazzi, S. Baronti, M. Selva, Improving component substitution pansharpening through multivariate "
    "regression of MS + Pan data, IEEE TGRS 45(10), 2007",
)  # fmt: skip
def gsa(scene: Scene) -> Any:
    """Intensity by regression of the coarse PAN on the bands; details injected by covariance with the intensity."""
    weights, bias = regression(
        scene.sum(lambda tile: moments(torch.cat([tile.coarse, tile.pan_coarse], 1), valid=tile.coarse_valid))
    )

    def intensity(tile: Tile) -> torch.Tensor:
        return interpolated_mix(tile, weights) + per_band(bias, tile.pan)

    gain = scene.sum(lambda tile: interpolated_sums(tile, intensity(tile))).slope
    return scene.map(lambda tile: with_details(tile, gain, tile.pan - intensity(tile)))
