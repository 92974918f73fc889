"""What follows from the interpolated cube without interpolating more than is needed.

Interpolation is linear. A mixture of bands is interpolated once it is mixed, and sums over fine pixels of the bands
with one image are sums over coarse pixels with what the transpose of the interpolation makes of that image: one channel
is carried to the coarse grid instead of all bands to the fine one. Where the case brings its own interpolation, or each
band has holes of its own, the fine pixels themselves are gone through.
"""

from __future__ import annotations

import torch

from pansharpen.case import Tile
from pansharpen.families.statistics import BandSums, band_blocks, band_sums, mix, per_band


def interpolated_sums(tile: Tile, image: torch.Tensor, coarse: torch.Tensor | None = None) -> BandSums:
    """`band_sums` of a coarse cube, interpolated, with one fine image over the tile's measured pixels.

    Parameters
    ----------
    tile : Tile
    image : Tensor, shape (batch, 1, y, x)
        Of the tile's own fine pixels.
    coarse : Tensor, shape (batch, band, y, x), optional
        With surroundings; default the tile's cube.
    """
    valid = tile.measured
    own = coarse is None and not tile.interpolates
    if own or image.shape[1] > 1 or (valid is not None and valid.shape[1] > 1):
        return band_sums(tile.expanded if coarse is None else tile.interpolated(coarse), image, valid)
    values = (tile.wide_coarse if coarse is None else coarse).flatten(2).double()
    second = image.double()
    weight = torch.ones_like(second) if valid is None else valid.double()
    weighted = weight * second
    seen = tile.interpolation.adjoint(torch.cat([weight, weighted], 1)).flatten(2)
    x, xy = (values @ seen.mT).unbind(-1)
    n, y, yy = (sums.flatten(2).sum(-1).expand_as(x) for sums in (weight, weighted, weighted * second))
    return BandSums(n, x, y, xy, yy)


def interpolated_mix(tile: Tile, weights: torch.Tensor) -> torch.Tensor:
    """Weighted sum of the interpolated bands: `mix` of them, on the tile's own fine pixels."""
    if tile.interpolates:
        return tile.interpolated(mix(weights, tile.wide_coarse))
    return mix(weights, tile.expanded)


def with_details(
    tile: Tile, gain: torch.Tensor, details: torch.Tensor, coarse: torch.Tensor | None = None
) -> torch.Tensor:  # fmt: skip
    """The interpolated bands plus, in each, its gain times an image; a few bands at a time, as caches are small.

    Parameters
    ----------
    tile : Tile
    gain : Tensor, shape (batch, band)
    details : Tensor, shape (batch, 1, y, x)
    coarse : Tensor, shape (batch, band, y, x), optional
        With surroundings, interpolated instead of the tile's cube.
    """
    factor = per_band(gain, details)
    if coarse is None and not tile.interpolates:
        return torch.addcmul(tile.expanded, factor, details)
    values = tile.wide_coarse if coarse is None else coarse
    out = values.new_empty((*values.shape[:2], *details.shape[-2:]))
    for bands in band_blocks(out):
        torch.addcmul(tile.interpolated(values[:, bands]), factor[:, bands], details, out=out[:, bands])
    return out
