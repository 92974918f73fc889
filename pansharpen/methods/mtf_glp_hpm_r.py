"""MTF-GLP-HPM-R: high-pass modulation with PAN matched to each band by regression."""

from __future__ import annotations

from typing import Any

from pansharpen.case import Scene
from pansharpen.families.modulation import modulated
from pansharpen.registry import method


@method(
    "MTF-GLP-HPM-R", family="multiresolution", held=11,
    paper="G. Vivone, R. Restaino, J. Chanussot, A regression-based high-pass modulation pansharpening approach, "
    "IEEE TGRS 56(2), 2018",
)  # fmt: skip
def mtf_glp_hpm_r(scene: Scene) -> Any:
    """High-pass modulation after linear regression of each band on the low-pass PAN; the ratio is guarded."""
    return modulated(scene, lambda tile: (tile.pan_low_of_bands, tile.pan - tile.pan_low_of_bands), matched=True)
