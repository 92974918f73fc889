"""GLP-HS: generalised Laplacian pyramid, with a sharp image synthesised for every band."""

from __future__ import annotations

from typing import Any

from pansharpen.case import Scene
from pansharpen.families.hypersharpening import synthesis
from pansharpen.families.statistics import mix
from pansharpen.registry import method


@method(
    "GLP-HS", family="multiresolution", held=5,
    paper="M. Selva, B. Aiazzi, F. Butera, L. Chiarantini, S. Baronti, Hyper-sharpening: a first approach on SIM-GA "
    "data, IEEE JSTARS 8(6), 2015",
)  # fmt: skip
def glp_hs(scene: Scene) -> Any:
    """Details beyond the MTF of each band's best combination of the sharp channels, which has the band's own scale."""
    weights, _ = synthesis(scene)
    return scene.map(lambda tile: tile.expanded + mix(weights, tile.sharp - tile.sharp_low))
