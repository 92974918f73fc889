"""The classical path: instrument and scene told apart, the scene smooth in a subspace of adaptive rank."""

from __future__ import annotations

from typing import Any

from denoise.case import Observation, Restoration
from denoise.registry import method
from denoise.separation.estimate import Separation, separate
from denoise.separation.rare import Rare, find_rare


@method(
    "lowrank",
    paper="after L. Zhuang, J. M. Bioucas-Dias, Fast hyperspectral image denoising and inpainting based on low-rank "
    "and sparse representations, IEEE JSTARS 11(3), 2018; noise model, outliers and smoother are ours",
)  # fmt: skip
def lowrank(seen: Observation) -> Restoration:
    """Outliers masked, columns calibrated, whitened adaptive-rank subspace, non-local means and Wiener filter on it."""
    return restoration(separate(seen))


def restoration(found: Separation) -> Restoration:
    """A separation's scene, with the rare spectra that its residual holds."""
    rare = find_rare(found, found.scene, found.directions)
    return Restoration(
        estimate=found.scene + rare.added, mask=found.noise.outlier, noise=found.noise, structure=rare.pixels,
        provenance=findings(found, rare),
    )  # fmt: skip


def findings(found: Separation, rare: Rare) -> dict[str, Any]:
    """What is said of a separation."""
    noise = found.noise
    return ({} if found.shared is None else found.shared.said(noise.sigma)) | {
        **({"pixel_correlation": noise.pixels.beside} if noise.pixels.beside else {}),
        "rank": found.rank, "dead_elements": int(noise.dead.sum()),
        "rare_pixels": int(rare.pixels.sum()), "rare_groups": rare.groups, "error_left": rare.error,
    }  # fmt: skip
