"""BDSD-PC: band-dependent spatial details with physical constraints."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch

from hsitools.estimation.nonnegative import nonnegative
from hsitools.sensor.separable import AxisMatrix, Separable, size_of
from hsitools.sensor.spatial import mtf_sigma
from pansharpen.case import Scene, Tile
from pansharpen.families.interpolated import with_details
from pansharpen.families.statistics import mix, moments
from pansharpen.registry import method

#: Pixels beyond which the blur of the coarse cube is cut; a tile has that many around it.
REACH = 12


@method(
    "BDSD-PC", family="component substitution", held=3, images=20,
    paper="G. Vivone, Robust band-dependent spatial-detail approaches for panchromatic sharpening, "
    "IEEE TGRS 57(9), 2019",
)  # fmt: skip
def bdsd_pc(scene: Scene) -> Any:
    """Details of each band as a mixture of its own: PAN with a positive weight, all bands with negative ones.

    The mixture is fitted one scale down, where it has to give what the MTF takes off the coarse bands, from the blurred
    bands and the coarse PAN. One Gram matrix serves all bands.
    """
    n = scene.n_bands

    def joint(tile: Tile) -> Any:
        blur = coarse_blur(size_of(tile.wide_coarse), _gains(scene.optics.mtf), scene.optics.ratio)
        blurred = tile.crop_coarse(blur(tile.wide_coarse))
        known = torch.cat([blurred, tile.pan_coarse], 1)
        return moments(known, torch.cat([known, tile.coarse - blurred], 1), tile.coarse_valid)

    products = scene.sum(joint).xy
    sign = -torch.ones(n + 1, 1, dtype=products.dtype, device=products.device)
    sign[-1] = 1
    products = sign * products
    weights = sign * nonnegative(products[..., : n + 1] * sign.mT, products[..., n + 1 :])

    def fused(tile: Tile) -> torch.Tensor:
        if not tile.interpolates:
            return tile.expanded + mix(weights.mT, torch.cat([tile.expanded, tile.pan], 1))
        mixed = tile.wide_coarse + mix(weights[..., :-1, :].mT, tile.wide_coarse)
        return with_details(tile, weights[..., -1, :], tile.pan, mixed)

    return scene.map(fused)


def _gains(mtf: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Gains along y and along x, one number each where all bands are alike."""
    values = np.asarray(mtf, dtype=float)
    values = values.reshape(-1, 2) if values.ndim == 2 else np.repeat(values.reshape(-1, 1), 2, axis=1)
    values = values[:1] if np.all(values == values[0]) else values
    return tuple(values[:, 0].tolist()), tuple(values[:, 1].tolist())


@lru_cache(maxsize=16)
def coarse_blur(shape: tuple[int, int], gains: tuple[tuple[float, ...], tuple[float, ...]], ratio: int) -> Separable:
    """The bands' blur one scale down, cut at `REACH` so that it sees no more than a tile has; border replicated.

    Parameters
    ----------
    shape : (int, int)
        Size (y, x) of the coarse images.
    gains : (tuple of float, tuple of float)
        MTF at Nyquist along y and along x, of each band or one for all.
    ratio : int
    """
    axes = []
    for n, gain in zip(shape, gains, strict=True):
        distance = np.arange(-REACH, REACH + 1)
        taps = np.exp(-0.5 * (distance / mtf_sigma(gain, ratio)[:, None]) ** 2)
        taps /= taps.sum(1, keepdims=True)
        weights = np.broadcast_to(taps[:, None], (len(taps), n, taps.shape[1]))
        axes.append(AxisMatrix(weights, np.arange(n) - REACH, n, lambda places, last=n - 1: np.clip(places, 0, last)))
    return Separable(*axes)
