"""MTF-GLP-FS: generalised Laplacian pyramid with injection gains estimated at full scale."""

from __future__ import annotations

from typing import Any

import torch

from pansharpen.case import Scene, Tile
from pansharpen.families.interpolated import interpolated_sums, with_details
from pansharpen.families.statistics import BandSums, per_band, ratio_of
from pansharpen.registry import method


@method(
    "MTF-GLP-FS", family="multiresolution", held=4, images=20,
    paper="G. Vivone, R. Restaino, J. Chanussot, Full scale regression-based injection coefficients for panchromatic "
    "sharpening, IEEE TIP 27(7), 2018",
)  # fmt: skip
def mtf_glp_fs(scene: Scene) -> Any:
    """Details of PAN beyond the bands' MTF, with the gain cov(band, PAN)/cov(low-pass PAN, PAN)."""

    def joint(tile: Tile) -> tuple[torch.Tensor, torch.Tensor]:
        low = tile.wide_pan_of_bands
        return (
            torch.stack(interpolated_sums(tile, tile.pan)), torch.stack(interpolated_sums(tile, tile.pan, low))
        )  # fmt: skip

    bands, low = (BandSums(*sums) for sums in scene.sum(joint))
    gain = ratio_of(bands.covariance, low.covariance)

    def fused(tile: Tile) -> torch.Tensor:
        if tile.optics.same_mtf or not tile.interpolates:
            return with_details(tile, gain, tile.pan - tile.pan_low_of_bands)
        # PAN as each band lacks it is interpolated together with the band
        low = tile.wide_pan_of_bands
        return with_details(tile, gain, tile.pan, torch.addcmul(tile.wide_coarse, per_band(gain, low), low, value=-1))

    return scene.map(fused)
