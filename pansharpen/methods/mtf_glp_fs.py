"""MTF-GLP-FS: generalised Laplacian pyramid with injection gains estimated at full scale."""

from __future__ import annotations

from typing import Any

import torch

from pansharpen.case import Scene, Tile
from pansharpen.families.statistics import BandSums, band_sums, per_band, ratio_of
from pansharpen.registry import method


@method(
    "MTF-GLP-FS", family="multiresolution",
    paper="G. Vivone, R. Restaino, J. Chanussot, Full scale regression-based injection coefficients for panchromatic "
    "sharpening, IEEE TIP 27(7), 2018",
)  # fmt: skip
def mtf_glp_fs(scene: Scene) -> Any:
    """Details of PAN beyond the bands' MTF, with the gain cov(band, PAN)/cov(low-pass PAN, PAN)."""

    def joint(tile: Tile) -> tuple[torch.Tensor, torch.Tensor]:
        low = tile.pan_low_of_bands
        return (
            torch.stack(band_sums(tile.expanded, tile.pan, tile.measured)),
            torch.stack(band_sums(low, tile.pan, tile.measured)),
        )

    bands, low = (BandSums(*sums) for sums in scene.sum(joint))
    gain = ratio_of(bands.covariance, low.covariance)
    return scene.map(lambda tile: tile.expanded + per_band(gain, tile.pan) * (tile.pan - tile.pan_low_of_bands))
