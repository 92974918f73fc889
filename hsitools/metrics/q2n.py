"""Q2n: the quality index of hypercomplex numbers, by block moments.

The index of a block compares 2ⁿ-dimensional hypercomplex pixels. Their product is bilinear, with
``e_i e_j = S[i, j] · e_(i xor j)``, so that the mean product over a block is a signed gather of the block's covariance
matrix: one batched matrix product and one gather replace the recursion per pixel.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import torch

from hsitools.metrics.inputs import Pair
from hsitools.metrics.registry import Score, index, mean_of

#: Side of a block, pixels: the literature's.
BLOCK = 32
#: Values of a group of blocks that are worked on at once (float64).
GROUP = 2**24


@lru_cache(maxsize=4)
def sign_table(size: int) -> torch.Tensor:
    """Signs ``S[i, j]`` of the product of basis elements, int8 ``(size, size)``; ``size`` is a power of two.

    By doubling: with a, b (c, d) the halves of two numbers, the product is
    ``(a·c − d·b̃, ã·d + c·b)`` where b and d are conjugated first and ˜ conjugates.
    """
    if size == 1:
        return torch.ones((1, 1), dtype=torch.int8)
    half = sign_table(size // 2).to(torch.int64)
    # conjugation changes the sign of all elements but the first
    conjugate = -torch.ones(size // 2, dtype=torch.int64)
    conjugate[0] = 1
    table = torch.empty((size, size), dtype=torch.int64)
    rows, columns = conjugate[:, None], conjugate[None, :]
    halves = size // 2
    table[:halves, :halves] = half
    # second halves are conjugated on entry; in −d·b̃ the second conjugation of b undoes the first
    table[halves:, halves:] = -half.T * columns
    table[:halves, halves:] = half * rows * columns
    table[halves:, :halves] = half.T * rows
    return table.to(torch.int8)


@lru_cache(maxsize=8)
def _product_plan(bands: int, size: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Sign and component ``i xor j`` of every product of band i with the conjugate of band j, flattened."""
    place = torch.arange(bands)
    component = (place[:, None] ^ place[None, :]).flatten()
    signs = sign_table(size)[:bands, :bands].double()
    signs[:, 1:] *= -1
    return signs.flatten().to(device), component.to(device)


def blocks_of(
    *tensors: torch.Tensor, block: int, valid: torch.Tensor | None
) -> Iterator[tuple[list[torch.Tensor], torch.Tensor | None]]:
    """Groups of square blocks ``(blocks, band, pixels)`` of each tensor, mirrored at the border, float64.

    Tensors are ``(batch, band, y, x)`` and blocks come batch by batch, row by row; with ``valid`` (batch, y, x) the
    weights ``(blocks, 1, pixels)`` too.
    """
    height, width = tensors[0].shape[-2:]
    # a mirror cannot be longer than the image
    pad = -height % block, -width % block
    most = max(tensor.shape[1] for tensor in tensors)
    rows_at_once = max(1, GROUP // (most * block * (width + pad[1])))
    n_rows = (height + pad[0]) // block
    row = _mirror(torch.arange(height + pad[0]), height)
    column = _mirror(torch.arange(width + pad[1]), width).to(tensors[0].device)

    def cut(tensor: torch.Tensor, first: int, last: int) -> torch.Tensor:
        rows = row[first * block : last * block].to(tensor.device)
        part = tensor[:, rows][:, :, column]
        bands, down = len(tensor), last - first
        part = part.reshape(bands, down, block, -1, block).permute(1, 3, 0, 2, 4)
        return part.reshape(-1, bands, block * block)

    for number in range(len(tensors[0])):
        for first in range(0, n_rows, rows_at_once):
            last = min(first + rows_at_once, n_rows)
            parts = [cut(tensor[number], first, last).double() for tensor in tensors]
            weight = None if valid is None else cut(valid[number][None], first, last).double()
            yield parts, weight


def _mirror(places: torch.Tensor, size: int) -> torch.Tensor:
    places = places % (2 * size)
    return torch.minimum(places, 2 * size - 1 - places)


def moments(values: torch.Tensor, weight: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mean ``(blocks, band)``, centred values (zero where invalid) and number of pixels ``(blocks, 1)``."""
    if weight is None:
        count = values.new_full((len(values), 1), values.shape[2])
        mean = values.mean(2)
        return mean, values - mean[..., None], count
    count = weight.sum(2)
    mean = (values * weight).sum(2) / count.clamp(min=1)
    return mean, (values - mean[..., None]) * weight, count


@index(
    "Q2n", kind="full reference", unit="1", low=0, high=1, best=1,
    paper="A. Garzelli, F. Nencini, Hypercomplex quality assessment of multi/hyperspectral images, "
    "IEEE Geosci. Remote Sens. Lett. 6(4), 2009",
)  # fmt: skip
def q2n(pair: Pair) -> Score:
    """Hypercomplex quality index: mean over blocks of 32×32, mirrored at the border, sample moments (ddof 1).

    Bands are padded with constants to the next power of two, as in the literature. Bands that are constant in a block
    of the reference carry no contrast there and count as padding, instead of driving the block to zero.
    """
    scores, excluded = q2n_map(
        pair.estimate, pair.reference, pair.pixel_valid, dead=pair.dead_bands | pair.sparse_bands
    )
    flat = scores.flatten(1)
    return Score(
        value=mean_of(flat, torch.isfinite(flat)).to(pair.reference.dtype), excluded=pair.excluded() | excluded
    )


def q2n_map(
    estimate: torch.Tensor, reference: torch.Tensor, valid: torch.Tensor | None = None, *, block: int = BLOCK,
    dead: torch.Tensor | None = None,
) -> tuple[torch.Tensor, dict[str, int]]:  # fmt: skip
    """Q2n of every block, ``(batch, blocks down, blocks across)`` float64, and what was left out.

    Parameters
    ----------
    estimate, reference : Tensor, shape (batch, band, y, x)
    valid : Tensor of bool, shape (batch, y, x), optional
        Blocks with less than two valid pixels are NaN.
    block : int
    dead : Tensor of bool, shape (batch, band), optional
        Bands to leave out everywhere.
    """
    batch, bands, height, width = reference.shape
    size = 1 << (bands - 1).bit_length()
    signs, component = _product_plan(bands, size, reference.device)
    scores, constant, empty = [], 0, 0
    n_dead = 0 if dead is None else int(dead.sum())
    per_image = -(-height // block) * -(-width // block)
    done = 0
    for (y, x), weight in blocks_of(reference, estimate, block=block, valid=valid):
        mean_y, y, count = moments(y, weight)
        mean_x, x, _ = moments(x, weight)
        variance = y.square().sum(2) / (count - 1).clamp(min=1)
        # rounding gives a constant band a variance of the order of eps², not zero
        live = variance > (1e-12 * mean_y.abs()) ** 2
        if dead is not None:
            image = torch.arange(done, done + len(y), device=y.device) // per_image
            constant += int((~live & ~dead[image]).sum())
            live = live & ~dead[image]
        score, usable = _block_scores(mean_y, y, mean_x, x, count, variance, live, size, signs, component)
        done += len(y)
        empty += int((~usable).sum())
        scores.append(torch.where(usable, score, torch.nan))
    excluded = {"bands": n_dead, "constant_bands_in_blocks": constant, "blocks": empty}
    shape = (batch, -(-height // block), -(-width // block))
    return torch.cat(scores).reshape(shape), {key: value for key, value in excluded.items() if value}


def _block_scores(
    mean_y: torch.Tensor, y: torch.Tensor, mean_x: torch.Tensor, x: torch.Tensor, count: torch.Tensor,
    variance: torch.Tensor, live: torch.Tensor, size: int, signs: torch.Tensor, component: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Index of each block from centred values, and whether it is defined."""
    bands = y.shape[1]
    scale = torch.where(live, torch.where(live, variance, 1).sqrt().reciprocal(), 0)
    # reference normalised to mean 1 and deviation 1, the estimate by the same numbers; padding is 1 in both
    mean_x = torch.where(live, (mean_x - mean_y) * scale + 1, 1.0)
    power_y = mean_x.new_full((len(y),), float(size))
    power_x = (mean_x**2).sum(1) + (size - bands)
    n = (count[:, 0] - 1).clamp(min=1)
    spread = ((variance + x.square().sum(2) / n[:, None]) * scale**2).sum(1)
    covariance = (y @ x.mT * (scale / n[:, None])[:, :, None] * scale[:, None, :]).flatten(1) * signs
    # padding has no covariance: only products of real bands are summed, each into its component
    product = covariance.new_zeros(size, len(y)).index_add_(0, component, covariance.T.contiguous()).T
    bias = 2 * (power_y * power_x).sqrt() / (power_y + power_x)
    contrast = 2 * product.norm(dim=1) / torch.where(spread > 0, spread, 1)
    any_live = live.any(1)
    # no contrast in the reference: the published index is its luminance term when both are flat, zero otherwise
    flat = torch.where(~any_live, 1.0, contrast)
    return flat * bias, (count[:, 0] >= 2) & any_live


def band_quality(fused: torch.Tensor, other: torch.Tensor | None, block: int, valid: torch.Tensor | None) -> Any:
    """UQI of all pairs of bands (or of each band with one other image), mean over blocks.

    Returns ``(batch, band, band)`` or ``(batch, band)``; NaN where no block has contrast in both.
    """
    batch = len(fused)
    sums: list[Any] = [0.0] * batch
    counts: list[Any] = [0] * batch
    tensors = (fused,) if other is None else (fused, other)
    per_image = -(-fused.shape[-2] // block) * -(-fused.shape[-1] // block)
    done = 0
    for parts, weight in blocks_of(*tensors, block=block, valid=valid):
        mean, values, count = moments(parts[0], weight)
        n = (count - 1).clamp(min=1)
        own = (values**2).sum(2) / n
        if other is None:
            cross = values @ values.mT / n[:, :, None]
            top = 4 * cross * mean[:, :, None] * mean[:, None, :]
            below = (own[:, :, None] + own[:, None, :]) * (mean[:, :, None] ** 2 + mean[:, None, :] ** 2)
        else:
            mean2, values2, _ = moments(parts[1], weight)
            own2 = (values2**2).sum(2) / n
            cross = (values * values2).sum(2) / n
            top, below = 4 * cross * mean * mean2, (own + own2) * (mean**2 + mean2**2)
        keep = (below > 0) & (count.reshape(-1, *[1] * (below.ndim - 1)) >= 2)
        quality = torch.where(keep, top / torch.where(keep, below, 1), 0)
        image = done // per_image
        sums[image] = sums[image] + quality.sum(0)
        counts[image] = counts[image] + keep.sum(0)
        done += len(mean)
    total, number = torch.stack(sums), torch.stack(counts)
    return torch.where(number > 0, total / number.clamp(min=1), torch.nan)
