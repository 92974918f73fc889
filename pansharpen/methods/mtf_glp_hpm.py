"""MTF-GLP-HPM: generalised Laplacian pyramid with high-pass modulation."""

from __future__ import annotations

from typing import Any

from pansharpen.case import Scene
from pansharpen.families.modulation import modulated
from pansharpen.registry import method


@method(
    "MTF-GLP-HPM", family="multiresolution", held=11,
    paper="B. Aiazzi et al., MTF-tailored multiscale fusion of high-resolution MS and Pan imagery, PE&RS 72(5), 2006",
)  # fmt: skip
def mtf_glp_hpm(scene: Scene) -> Any:
    """Bands times PAN over its MTF-matched low-pass image; the ratio is guarded."""
    return modulated(scene, lambda tile: (tile.pan_low_of_bands, tile.pan - tile.pan_low_of_bands))
