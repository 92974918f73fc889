"""How the cube lies on PAN's grid from place to place, beyond one shift for all: a smooth field of low order.

Attitude, terrain and a lens bend one image against the other. What is left of PAN after `register` is regressed on
PAN's own derivatives times polynomials of the place, by the instruments that the global shift uses. How large such
fields are is chosen by evidence, and none is believed that chance would give: a pair that fits is left as it is.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from hsitools.sensor.separable import Separable
from pansharpen.tile import Tile

Array = NDArray[np.float64]
#: Polynomials of the place up to this order, along y and x together: more say more than a few hundred pixels can tell.
ORDER = 3
#: The farthest that a place may lie from where the global shift has it, fine pixels.
FARTHEST = 2.0
#: Shifts between which sampled images are interpolated, fine pixels: an optics' blur is smooth over that.
SPACING = 1.0


class Places(NamedTuple):
    """Sums over coarse pixels that tell where the image's middle is, and how wide it is; each (1,)."""

    n: torch.Tensor
    y: torch.Tensor
    x: torch.Tensor
    yy: torch.Tensor
    xx: torch.Tensor


def places(tile: Tile) -> Places:
    """The sums of a tile's own pixels."""
    y, x = (tile.crop_coarse(axis[None, None]).flatten() for axis in _grid(tile))
    return Places(torch.full((1,), float(y.numel()), dtype=y.dtype), y.sum()[None], x.sum()[None],
                  y.square().sum()[None], x.square().sum()[None])  # fmt: skip


def _grid(tile: Tile) -> tuple[torch.Tensor, torch.Tensor]:
    """Row and column of each coarse pixel in the whole image, surroundings included."""
    axes = (
        torch.arange(start, start + size, dtype=torch.float64)
        for start, size in zip(tile.corner, tile.wide_coarse.shape[-2:], strict=True)
    )
    y, x = torch.meshgrid(*axes, indexing="ij")
    return y, x


@dataclass(frozen=True, kw_only=True, eq=False)
class Field:
    """Displacements of the cube's samples, fine pixels.

    Attributes
    ----------
    centre, reach : array, shape (2,)
        Row and column of the image's middle, and from there to its edge, coarse pixels.
    coefficients : array, shape (2, term)
        Of Legendre polynomials' products (`terms`), along y and x.
    """

    centre: Array
    reach: Array
    coefficients: Array

    @classmethod
    def none(cls, sums: Places) -> Field:
        """No displacement, over an image of these places."""
        mean = torch.cat([sums.y, sums.x]) / sums.n
        spread = (torch.cat([sums.yy, sums.xx]) / sums.n - mean**2).clamp(min=1 / 3).sqrt()
        return cls(
            centre=mean.numpy(), reach=np.sqrt(3) * spread.numpy(), coefficients=np.zeros((2, len(terms())))
        )  # fmt: skip

    def polynomials(self, tile: Tile) -> torch.Tensor:
        """The terms at a tile's coarse pixels, surroundings included, ``(1, term, y, x)``."""
        place = [
            np.polynomial.legendre.legvander(((axis - middle) / width).clamp(-1.2, 1.2).numpy(), ORDER)
            for axis, middle, width in zip(_grid(tile), self.centre, self.reach, strict=True)
        ]
        out = np.stack([place[0][..., i] * place[1][..., j] for i, j in terms()])
        return torch.as_tensor(out, device=tile.wide_coarse.device)[None]

    def mean(self) -> tuple[float, float]:
        """Its constant part, along y and x."""
        return float(self.coefficients[0, 0]), float(self.coefficients[1, 0])

    def centred(self) -> Field:
        """Without that."""
        rest = np.array(self.coefficients)
        rest[:, 0] = 0
        return dataclasses.replace(self, coefficients=rest)

    def largest(self) -> float:
        """The farthest that it moves any sample of the image, fine pixels."""
        return float(np.hypot(*self._over_the_image().clip(-FARTHEST, FARTHEST)).max())

    def is_cut(self) -> bool:
        """Whether it asks somewhere for more than `FARTHEST`."""
        return bool(np.abs(self._over_the_image()).max() > FARTHEST)

    def _over_the_image(self) -> Array:
        """Displacements ``(2, 9, 9)`` from edge to edge, as asked for."""
        edge = np.polynomial.legendre.legvander(np.linspace(-1, 1, 9), ORDER)
        basis = np.stack([np.outer(edge[:, i], edge[:, j]) for i, j in terms()])
        return np.asarray(np.einsum("at,tyx->ayx", self.coefficients, basis))

    def at(self, tile: Tile) -> torch.Tensor:
        """Displacement (y, x) of a tile's coarse pixels, surroundings included, ``(2, y, x)``."""
        along = torch.as_tensor(self.coefficients, device=tile.wide_coarse.device)
        return torch.einsum("at,tyx->ayx", along, self.polynomials(tile)[0]).clamp(-FARTHEST, FARTHEST)


def terms() -> list[tuple[int, int]]:
    """Orders along y and x of the polynomials; the constant is the first."""
    pairs = itertools.product(range(ORDER + 1), repeat=2)
    return [(i, j) for i, j in pairs if i + j <= ORDER]


@dataclass(frozen=True)
class Displaced:
    """Blur and sampling at places that lie elsewhere, each by itself.

    Attributes
    ----------
    shifted : tuple of Separable
        Blur and sampling with all samples `SPACING` before, at and behind their place, along both axes.
    weights : Tensor, shape (2, 3, y, x)
        Of these three at each sample, along y and x: a parabola through them.
    """

    shifted: tuple[Separable, ...]
    weights: torch.Tensor

    @classmethod
    def by(cls, decimate: Callable[[float], Separable], displacement: torch.Tensor) -> Displaced:
        """From ``decimate(shift)``, whose shift is along both axes, and displacements ``(2, y, x)``."""
        t = displacement / SPACING
        return cls(
            tuple(decimate(step * SPACING) for step in (-1, 0, 1)),
            torch.stack([t * (t - 1) / 2, 1 - t * t, t * (t + 1) / 2], 1),
        )

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """Fine to coarse."""
        weights = self.weights.to(image)
        out: torch.Tensor | float = 0.0
        for row, along_y in zip(self.shifted, weights[0], strict=True):
            rows = row.y.along_y(image)
            for column, along_x in zip(self.shifted, weights[1], strict=True):
                out = out + along_y * along_x * column.x.along_x(rows)
        assert isinstance(out, torch.Tensor)
        return out
