"""R-PNN: one small net, adapted to each band after the other."""

from __future__ import annotations

import torch

from hsitools.progress import Progress
from pansharpen.case import FusionCase
from pansharpen.families.zero_shot import Balance, LocalCorrelation, propagate, structure_weight
from pansharpen.registry import method


@method(
    "R-PNN", family="zero-shot net", tiled=False, batched=False,
    paper="G. Guarino, M. Ciotola, G. Vivone, G. Scarpa, Band-wise hyperspectral image pansharpening using CNN model "
    "propagation, IEEE TGRS 62, 2024 (arXiv 2311.06510)",
)  # fmt: skip
def r_pnn(scene: FusionCase, *, seed: int = 0, progress: Progress | None = None, effort: float = 1.0) -> torch.Tensor:
    """A net that learns on the scene itself, one band at a time, its weights carried along the wavelengths.

    Parameters
    ----------
    scene : FusionCase
        Of one cube.
    seed : int
        Of the first weights.
    progress : callable, optional
        Called with (steps done, steps in all).
    effort : float
        Share of the full schedule.
    """

    def balance(band: int) -> Balance:
        weight = structure_weight(scene.optics, band)
        return lambda spectral: weight

    return propagate(scene, LocalCorrelation, balance, seed=seed, progress=progress, effort=effort)
