"""Hyper-sharpening: every band gets a sharp image of its own, the best combination of all sharp channels.

M. Selva, B. Aiazzi, F. Butera, L. Chiarantini, S. Baronti, Hyper-sharpening: a first approach on SIM-GA data, IEEE
JSTARS 8(6), 2015: the "synthesized band", by regression at the coarse scale.
"""

from __future__ import annotations

import torch

from pansharpen.case import Scene
from pansharpen.families.statistics import moments, solve, without_flat


def synthesis(scene: Scene) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights ``(batch, band, m)`` and offset ``(batch, band)`` of each band's regression on the sharp channels."""
    sums = scene.sum(
        lambda tile: moments(
            torch.cat([tile.crop_coarse(tile.wide_sharp_coarse), tile.coarse], 1), valid=tile.coarse_valid
        )
    )
    m = sums.xy.shape[-1] - scene.n_bands
    mean = sums.mean_x
    covariance = without_flat(sums.covariance[:, :m], mean[:, :m])
    weights = solve(covariance[:, :, :m], covariance[:, :, m:]).mT
    return weights, mean[:, m:] - (weights @ mean[:, :m, None])[..., 0]
