"""AWLP: additive wavelet luminance proportional."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch

from hsitools.estimation.rounding import above_rounding
from hsitools.sensor.separable import AxisMatrix, Separable, size_of
from pansharpen.case import Scene, Tile
from pansharpen.families.interpolated import interpolated_mix
from pansharpen.families.modulation import modulated
from pansharpen.families.statistics import moments, per_band, ratio_of, regression
from pansharpen.registry import method


@method(
    "AWLP", family="multiresolution", held=8,
    paper="X. Otazu et al., Introduction of sensor spectral response into image fusion methods: application to "
    "wavelet-based methods, IEEE TGRS 43(10), 2005",
)  # fmt: skip
def awlp(scene: Scene) -> Any:
    """À trous wavelet planes of PAN, shared among the bands in proportion to their part of the luminance.

    The luminance is the intensity that regression finds in the bands, to which PAN is matched by regression too (L.
    Alparone et al., Remote Sensing 9(7), 2017); the ratio to it is guarded, see `pansharpen.families.modulation`.
    """
    weights, bias = regression(
        scene.sum(lambda tile: moments(torch.cat([tile.coarse, tile.pan_coarse], 1), valid=tile.coarse_valid))
    )

    def luminance(tile: Tile) -> torch.Tensor:
        return interpolated_mix(tile, weights) + per_band(bias, tile.pan)

    def smooth(tile: Tile) -> torch.Tensor:
        return tile.crop(spline_blur(size_of(tile.wide_pan), tile.optics.ratio)(tile.wide_pan))

    def joint(tile: Tile) -> Any:
        low = smooth(tile)
        return moments(torch.cat([luminance(tile), low], 1), low, tile.valid)

    found = scene.sum(joint)
    variance = above_rounding(found.covariance[:, 1:, 0], found.mean_y)
    match = ratio_of(found.covariance[:, :1, 0], variance)
    return modulated(scene, lambda tile: (luminance(tile), per_band(match, tile.pan) * (tile.pan - smooth(tile))))


@lru_cache(maxsize=16)
def spline_blur(shape: tuple[int, int], ratio: int) -> Separable:
    """Smoothing by the cubic spline of width ``ratio``, the border replicated.

    J à trous levels of (1, 4, 6, 4, 1)/16 are four running means over 2^J pixels, as 1 + z + … + z^(2^J − 1) is the
    product of the 1 + z^(2^j); written so, the ratio need not be a power of two.
    """
    mean = np.full(ratio, 1 / ratio)
    taps = np.convolve(np.convolve(mean, mean), np.convolve(mean, mean))
    axes = []
    for n in shape:
        start = np.arange(n) - len(taps) // 2
        weights = np.broadcast_to(taps, (1, n, len(taps)))
        axes.append(AxisMatrix(weights, start, n, lambda places, last=n - 1: np.clip(places, 0, last)))
    return Separable(*axes)
