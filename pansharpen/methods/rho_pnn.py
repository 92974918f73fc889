"""rho-PNN: R-PNN whose structural loss is switched by the spectral one, with hysteresis."""

from __future__ import annotations

import torch

from hsitools.progress import Progress
from pansharpen.case import FusionCase
from pansharpen.families.zero_shot import LocalMultipleCorrelation, propagate, structure_weight
from pansharpen.registry import method

#: Spectral losses (the band's standard deviations) at which the structural loss comes on, and goes off again.
ON_BELOW, OFF_ABOVE = 0.02, 0.03


@method(
    "rho-PNN", family="zero-shot net", tiled=False, batched=False,
    paper="G. Guarino, M. Ciotola, G. Vivone, G. Poggi, G. Scarpa, Zero-shot hyperspectral pansharpening using "
    "hysteresis-based tuning for spectral quality control, 2025 (arXiv 2505.16658)",
)  # fmt: skip
def rho_pnn(scene: FusionCase, *, seed: int = 0, progress: Progress | None = None, effort: float = 1.0) -> torch.Tensor:
    """As R-PNN, but PAN's structure is sought only while the spectra are right, and need not be proportional to PAN's.

    Structure is likeness to a parabola of PAN in each window, so that a band may fall where PAN rises, or saturate. The
    paper's idea is kept; this form of its nonlinear loss, and both thresholds, are ours.

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
    return propagate(
        scene, LocalMultipleCorrelation, lambda band: Hysteresis(structure_weight(scene.optics, band)),
        seed=seed, progress=progress, effort=effort,
    )  # fmt: skip


class Hysteresis:
    """A weight that comes on when the spectral loss is low and goes off when it has become high.

    Parameters
    ----------
    weight : float
    """

    def __init__(self, weight: float) -> None:
        self.weight, self.on = weight, False

    def __call__(self, spectral: float) -> float:
        """The weight, or zero."""
        self.on = spectral < (OFF_ABOVE if self.on else ON_BELOW)
        return self.weight if self.on else 0.0
