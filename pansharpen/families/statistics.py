"""Statistics that add up over tiles, and what is solved from them; float64, batched."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch

from hsitools.errors import InputError
from hsitools.estimation.rounding import above_rounding

#: Bytes of a block of bands that are gone through together on the processor: a larger temporary is faulted in anew at
#: each operation, which costs more than the operation.
BLOCK_BYTES = 4 * 2**20
#: Channels whose products with themselves and those behind them are one matrix product: the others are the same.
CHANNELS = 64


class Moments(NamedTuple):
    """Sums over pixels of two sets of channels; adding those of parts gives those of the whole.

    Shapes: ``n`` (batch, 1), ``x`` (batch, p), ``y`` (batch, q), ``xy`` (batch, p, q).
    """

    n: torch.Tensor
    x: torch.Tensor
    y: torch.Tensor
    xy: torch.Tensor

    @property
    def mean_x(self) -> torch.Tensor:
        """Mean of each channel of x, ``(batch, p)``."""
        return self.x / self.n.clamp(min=1)

    @property
    def mean_y(self) -> torch.Tensor:
        """Mean of each channel of y, ``(batch, q)``."""
        return self.y / self.n.clamp(min=1)

    @property
    def covariance(self) -> torch.Tensor:
        """Covariance of x and y, ``(batch, p, q)``."""
        return self.xy / self.n.clamp(min=1)[..., None] - self.mean_x[..., None] * self.mean_y[..., None, :]

    def require_some(self) -> Moments:
        """These, for methods that go nowhere without; raises `InputError` where no pixel counted."""
        if not self.n.all():
            raise InputError("statistics: found no pixel of the cube whose surroundings PAN holds, expected some")
        return self


def moments(
    x: torch.Tensor, y: torch.Tensor | None = None, valid: torch.Tensor | None = None, apart: int | None = None
) -> Moments:  # fmt: skip
    """Moments of the channels of ``x`` with those of ``y`` (default ``x``) over the valid pixels.

    Parameters
    ----------
    x, y : Tensor, shape (batch, channel, y, x)
    valid : Tensor of bool, shape (batch, 1, y, x), or None for all
        Or how much each pixel counts, from zero to one.
    apart : int, optional
        The most by which the numbers of two channels differ whose product is wanted; of others it may be left zero.
    """
    first = x.flatten(2).double()
    second = first if y is None or y is x else y.flatten(2).double()
    weighted = first
    if valid is None:
        n, total = first.new_full((len(x), 1), float(first.shape[-1])), second.sum(-1)
    else:
        weight = valid.flatten(2).double()
        n, total, weighted = weight.sum(-1), (second @ weight.mT)[..., 0], first * weight
    products = weighted @ second.mT if second is not first else _squares(weighted, first, apart)
    return Moments(n, weighted.sum(-1), total, products)


def _squares(weighted: torch.Tensor, images: torch.Tensor, apart: int | None) -> torch.Tensor:
    """Products ``(batch, p, p)`` of images, flat ``(batch, p, pixel)``, with themselves, weighted: each pair once."""
    count = images.shape[1]
    out = images.new_zeros(len(images), count, count)
    step = CHANNELS if apart is None else max(4 * apart, 1)
    for first in range(0, count, step):
        last = min(first + step, count)
        end = count if apart is None else min(last + apart, count)
        part = weighted[:, first:last] @ images[:, first:end].mT
        out[:, first:last, first:end] = part
        out[:, first:end, first:last] = part.mT
    return out


def band_blocks(cube: torch.Tensor) -> Iterator[slice]:
    """Bands of ``(batch, band, y, x)`` in runs of about `BLOCK_BYTES`; all at once elsewhere than on the processor."""
    bands = cube.shape[1]
    each = max(1, cube.numel() // max(1, bands) * cube.element_size())
    step = max(1, BLOCK_BYTES // each) if cube.device.type == "cpu" else bands
    for first in range(0, bands, step):
        yield slice(first, min(first + step, bands))


class BandSums(NamedTuple):
    """Sums over each band's own pixels, of the band and of one image beside it; adding parts gives the whole.

    All of shape (batch, band): a hole in one band takes nothing from the others.
    """

    n: torch.Tensor
    x: torch.Tensor
    y: torch.Tensor
    xy: torch.Tensor
    yy: torch.Tensor

    @property
    def mean_x(self) -> torch.Tensor:
        """Mean of each band."""
        return self.x / self.n.clamp(min=1)

    @property
    def mean_y(self) -> torch.Tensor:
        """Mean of the image beside each band, over that band's pixels."""
        return self.y / self.n.clamp(min=1)

    @property
    def covariance(self) -> torch.Tensor:
        """Covariance of each band with its image."""
        return self.xy / self.n.clamp(min=1) - self.mean_x * self.mean_y

    @property
    def variance_y(self) -> torch.Tensor:
        """Variance of the image over each band's pixels."""
        return (self.yy / self.n.clamp(min=1) - self.mean_y**2).clamp(min=0)

    @property
    def slope(self) -> torch.Tensor:
        """Regression coefficient of each band on its image, zero where that is flat."""
        return ratio_of(self.covariance, above_rounding(self.variance_y, self.mean_y))


def band_sums(x: torch.Tensor, y: torch.Tensor, valid: torch.Tensor | None = None) -> BandSums:
    """Sums of each band with one image.

    Parameters
    ----------
    x : Tensor, shape (batch, band, y, x)
    y : Tensor, shape (batch, band, y, x), or (batch, 1, y, x) for one that all bands share
    valid : Tensor of bool, shape (batch, band, y, x) or (batch, 1, y, x), or None for all
    """
    parts = [
        _sums(_bands(x, bands), _bands(y, bands), None if valid is None else _bands(valid, bands))
        for bands in band_blocks(x)
    ]
    return parts[0] if len(parts) == 1 else BandSums(*(torch.cat(sums, 1) for sums in zip(*parts, strict=True)))


def _bands(image: torch.Tensor, bands: slice) -> torch.Tensor:
    """Some bands of an image, or the one that all bands share."""
    return image if image.shape[1] == 1 else image[:, bands]


def _sums(x: torch.Tensor, y: torch.Tensor, valid: torch.Tensor | None) -> BandSums:
    first, second = x.double().flatten(2), y.double().flatten(2)
    if valid is None:
        n = first.new_full(first.shape[:2], float(first.shape[-1]))
    else:
        weight = valid.flatten(2).double()
        first, second = first * weight, second * weight
        n = weight.sum(-1).expand(first.shape[:2])
    total, power = second.sum(-1).expand(n.shape), second.square().sum(-1).expand(n.shape)
    # one image for all bands is a matrix product
    mixed = (first @ second.mT)[..., 0] if second.shape[1] == 1 else (first * second).sum(-1)
    return BandSums(n, first.sum(-1), total, mixed, power)


def solve(gram: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Least squares of smallest norm by the normal equations, ``(batch, p, p)`` and ``(batch, p, q)``.

    Channels that repeat one another share their weight instead of blowing up.
    """
    values, vectors = torch.linalg.eigh(gram)
    limit = values[..., -1:].clamp(min=0) * gram.shape[-1] * torch.finfo(gram.dtype).eps
    inverse = torch.where(values > limit, 1 / torch.where(values > limit, values, 1), 0)
    return vectors @ (inverse[..., None] * (vectors.mT @ right))


def regression(sums: Moments) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights and intercept of the last channel on all others, from the moments of all with themselves.

    Returns ``(batch, p)`` and ``(batch, 1)``.
    """
    mean = sums.mean_x
    covariance = without_flat(sums.covariance[:, :-1], mean[:, :-1])
    weights = solve(covariance[..., :-1], covariance[..., -1:])[..., 0]
    return weights, mean[:, -1:] - (weights * mean[:, :-1]).sum(1, keepdim=True)


def mix(weights: torch.Tensor, cube: torch.Tensor) -> torch.Tensor:
    """Weighted sum of bands: ``(batch, band)`` or ``(batch, k, band)`` with ``(batch, band, y, x)``."""
    weights = weights.to(cube.dtype)
    weights = weights[:, None] if weights.ndim == 2 else weights
    return (weights @ cube.flatten(2)).unflatten(-1, cube.shape[-2:])


def per_band(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """``(batch, band)`` as factors of ``(batch, band, y, x)``."""
    return values.to(like.dtype)[..., None, None]


def ratio_of(top: torch.Tensor, bottom: torch.Tensor) -> torch.Tensor:
    """``top / bottom``, zero where the denominator is zero but for rounding: no detail is injected there."""
    small = bottom.abs() <= torch.finfo(bottom.dtype).eps * bottom.abs().amax(-1, keepdim=True).clamp(min=1e-300)
    return torch.where(small, 0, top / torch.where(small, 1, bottom))


def without_flat(covariance: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    """Covariances ``(batch, p, q)`` of p channels, of that mean, with any others: none of channels that are flat.

    The first p of the others are the channels themselves.
    """
    contrast = above_rounding(covariance.diagonal(dim1=1, dim2=2), mean) > 0
    return covariance * contrast[..., None]
