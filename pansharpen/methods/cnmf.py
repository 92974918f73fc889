"""CNMF: coupled nonnegative matrix factorisation of the cube and the sharp channels."""

from __future__ import annotations

import torch

from pansharpen.case import FusionCase
from pansharpen.families.variational import sharp_responses
from pansharpen.registry import method

#: Weight of "abundances sum to one", in units of the mean level.
SUM_TO_ONE = 1.0
#: Below float32's rounding of an image of mean one.
TINY = 1e-12
#: Mean of a channel beyond its offset, of its mean, that is no more than float32's rounding.
ROUNDING = 1e-6


@method(
    "CNMF", family="model-based", tiled=False, batched=False, consistent=True,
    paper="N. Yokoya, T. Yairi, A. Iwasaki, Coupled nonnegative matrix factorization unmixing for hyperspectral and "
    "multispectral data fusion, IEEE TGRS 50(2), 2012",
)  # fmt: skip
def cnmf(case: FusionCase, *, endmembers: int = 20, outer: int = 3, inner: int = 60) -> torch.Tensor:
    """Spectra from the cube and abundances from the sharp channels in turns; then what they leave of the cube.

    Endmembers start at the pixels farthest from the span of those before (the paper's VCA draws at random).
    """
    tile = case.tile
    cube = case.coarse[0].double().clamp(min=0)
    # cubes in any unit are alike
    level = cube.mean().clamp(min=1e-200)
    cube = cube / level
    response, offset, _ = sharp_responses(case)
    sharp = (tile.sharp[0].double() - offset[0][:, None, None]).clamp(min=0)
    # channels of any units weigh alike, but for those that are flat
    scale = sharp.mean((1, 2))
    tells = scale > ROUNDING * tile.sharp[0].double().abs().mean((1, 2))
    weight = torch.where(tells, 1 / torch.where(tells, scale, 1), 0)
    mixing, sharp = level * response[0] * weight[:, None], sharp * weight[:, None, None]
    size, coarse_size = sharp.shape[-2:], cube.shape[-2:]
    pixels, fine = cube.flatten(1), sharp.flatten(1)
    spectra = _extreme_spectra(pixels, min(endmembers, case.n_bands, pixels.shape[1]))
    down, up = tile.down(case.optics.mean_gains()), tile.up()
    shares = torch.full((spectra.shape[1], pixels.shape[1]), 1 / spectra.shape[1]).to(pixels)
    for turn in range(outer):
        for _ in range(inner):
            shares = _abundances(spectra, pixels, shares)
            if turn:
                spectra = spectra * (pixels @ shares.mT) / (spectra @ (shares @ shares.mT) + TINY)
        seen = mixing @ spectra
        wide = up(shares.unflatten(1, coarse_size)[None])[0].clamp(min=1e-6).flatten(1)
        for _ in range(inner):
            wide = _abundances(seen, fine, wide)
        shares = down(wide.unflatten(1, size)[None])[0].clamp(min=1e-9).flatten(1)
    fused = (level * spectra @ wide).unflatten(1, size)[None].to(case.coarse.dtype)
    return fused + up(case.coarse - tile.down()(fused))


def _abundances(spectra: torch.Tensor, pixels: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """One multiplicative step of the abundances ``(p, pixel)``, which should sum to one."""
    weight = (SUM_TO_ONE * pixels.mean()) ** 2
    top = spectra.mT @ pixels + weight
    bottom = (spectra.mT @ spectra) @ shares + weight * shares.sum(0, keepdim=True)
    return shares * top / (bottom + TINY)


def _extreme_spectra(pixels: torch.Tensor, count: int) -> torch.Tensor:
    """Spectra ``(band, count)`` of the pixels that are each farthest from the span of those chosen before."""
    rest, chosen = pixels.clone(), []
    for _ in range(count):
        number = int(rest.square().sum(0).argmax())
        chosen.append(number)
        direction = rest[:, number] / rest[:, number].norm().clamp(min=TINY)
        rest = rest - direction[:, None] * (direction @ rest)
    return pixels[:, chosen] + TINY
