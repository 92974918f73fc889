"""What the few bands of a cube leave of one another: PAN is one band more, of which they leave as much."""

from __future__ import annotations

import numpy as np

from hsitools.estimation.band_noise import unexplained
from pansharpen.case import Scene
from pansharpen.families.statistics import moments
from pansharpen.physics.subspace import FEW_BANDS, Cube


def left_of_bands(scene: Scene, coarse: Cube) -> float:
    """Share of its variance that the others leave of the median band of few; zero of many, which foretell any image.

    PAN is one band more: what is beyond that is not for want of bands.

    Parameters
    ----------
    scene : Scene
    coarse : callable
        The coarse cube of a tile with its surroundings.
    """
    if not 1 < scene.n_bands < FEW_BANDS:
        return 0.0 if scene.n_bands > 1 else 1.0
    sums = scene.sum(lambda tile: moments(tile.crop_coarse(coarse(tile)), valid=tile.coarse_valid))
    covariance = sums.covariance[0].cpu().numpy()
    power = np.diag(covariance)
    return float(np.median(unexplained(covariance) / np.maximum(power, np.finfo(float).tiny)))
