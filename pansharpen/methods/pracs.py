"""PRACS: partial replacement adaptive component substitution."""

from __future__ import annotations

from typing import Any

import torch

from hsitools.estimation.rounding import above_rounding
from pansharpen.case import Scene, Tile
from pansharpen.families.interpolated import interpolated_mix
from pansharpen.families.statistics import moments, per_band, ratio_of, regression
from pansharpen.registry import method


@method(
    "PRACS", family="component substitution", held=14,
    paper="J. Choi, K. Yu, Y. Kim, A new adaptive component-substitution-based satellite image fusion by using partial "
    "replacement, IEEE TGRS 49(1), 2011",
)  # fmt: skip
def pracs(scene: Scene, *, beta: float = 0.95) -> Any:
    """PAN replaced in part by each band, as far as this correlates with the intensity; gains adapted to the pixel.

    The component of band k is r·PAN + (1 − r)·M, where r is the band's correlation with the intensity and M the band
    matched to PAN. Its low-resolution counterpart by regression on the bands is r·intensity + (1 − r)·M, as M lies in
    their span: one regression serves all bands. The local factor compares the matched band with that counterpart, for
    a hyperspectral band may be far below PAN's level, and is held to 0 … 1.

    Parameters
    ----------
    scene : Scene
    beta : float
        Strength of the details.
    """
    weights, bias = regression(
        scene.sum(lambda tile: moments(torch.cat([tile.coarse, tile.pan_coarse], 1), valid=tile.coarse_valid))
    )

    def intensity(tile: Tile) -> torch.Tensor:
        return interpolated_mix(tile, weights) + per_band(bias, tile.pan)

    def joint(tile: Tile) -> Any:
        bands, pair = tile.expanded.double(), torch.cat([intensity(tile), tile.pan], 1).double()
        return moments(torch.cat([bands, bands * bands, pair], 1), pair, tile.valid)

    found, n = scene.sum(joint), scene.n_bands
    mean, covariance = found.mean_x, found.covariance
    band_mean, pan_mean = mean[:, :n], mean[:, -1:]
    band_variance = above_rounding(mean[:, n : 2 * n] - band_mean**2, band_mean)
    variance = above_rounding(covariance[:, -2:-1, 0], mean[:, -2:-1])
    pan_variance = above_rounding(covariance[:, -1:, 1], pan_mean)
    common = covariance[:, :n, 0]
    share = ratio_of(common, (band_variance * variance).sqrt())
    slope = ratio_of(pan_variance.sqrt().expand_as(band_variance), band_variance.sqrt())
    offset = pan_mean - slope * band_mean
    # moments of the low-resolution component share·intensity + (1 − share)·(slope·band + offset)
    own = (1 - share) * slope
    with_band = share * common + own * band_variance
    low_variance = (share**2 * variance + 2 * share * own * common + own**2 * band_variance).clamp(min=0)
    likeness = ratio_of(with_band, (band_variance * low_variance).sqrt())
    gain = beta * ratio_of(with_band, low_variance) * share

    def fused(tile: Tile) -> torch.Tensor:
        low = intensity(tile)
        like, part = per_band(likeness, low), per_band(share, low)
        matched = tile.expanded * per_band(slope, low) + per_band(offset, low)
        component = torch.lerp(matched, low, part)
        # 1 − |1 − likeness·matched/component|, without the quotient's poles
        away = matched.mul_(like).sub_(component).abs_()
        local = away.div_(component.abs_().clamp_(min=torch.finfo(low.dtype).tiny)).neg_().add_(1).clamp_(0, 1)
        return torch.addcmul(tile.expanded, local, per_band(gain, low) * (tile.pan - low))

    return scene.map(fused)
