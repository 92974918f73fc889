"""A tile's fused bands that are computed where they are read: what they follow from is small beside them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch

from hsitools.estimation.chebyshev import cached
from hsitools.sensor.separable import Separable
from pansharpen.families.statistics import band_blocks


class ByParts(ABC):
    """What a tile's bands follow from, any part of which is quickly computed."""

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Of what it holds."""

    @abstractmethod
    def part(self, bands: Any, rows: slice, columns: slice) -> torch.Tensor:
        """Some bands (an index) of some of the tile's own pixels, ``(1, band, y, x)``."""

    @abstractmethod
    def whole(self) -> torch.Tensor:
        """All of the tile, ``(1, band, y, x)``."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Mixture(ByParts):
    """Bands ``basis · images + up(coarse)`` of a tile, of a batch of one.

    Attributes
    ----------
    basis : Tensor, shape (1, band, k)
    images : Tensor, shape (1, k, y, x)
        Fine, of the pixels that ``up`` gives.
    coarse : Tensor, shape (1, band, y, x)
    up : Separable
        Interpolation: to the tile's own pixels, or where bands move to those of its surroundings too.
    move : Separable, optional
        Of each band, from its surroundings to the tile's own pixels.
    bounded : bool
        Whether no value is below zero.
    """

    basis: torch.Tensor
    images: torch.Tensor
    coarse: torch.Tensor
    up: Separable
    move: Separable | None = None
    bounded: bool = False

    @property
    def nbytes(self) -> int:
        """Of what it holds."""
        return int(self.images.nbytes + self.coarse.nbytes)

    def part(self, bands: Any, rows: slice, columns: slice) -> torch.Tensor:
        """Some bands (an index) of some of the tile's own pixels, ``(1, band, y, x)``."""
        if self.move is None:
            return self._mixed(bands, rows, columns, self.bounded)
        # each band has a displacement of its own: all of them are moved
        move, y, x = self.move.part(rows, columns)
        out = move(self._mixed(slice(None), y, x, False))[:, bands]
        return out.clamp_(min=0) if self.bounded else out

    def whole(self) -> torch.Tensor:
        """All of the tile, ``(1, band, y, x)``."""
        last = self.up if self.move is None else self.move
        return self.part(slice(None), slice(0, last.y.n_out), slice(0, last.x.n_out))

    def _mixed(self, bands: Any, rows: slice, columns: slice, bounded: bool) -> torch.Tensor:
        """Before they move; a few rows of a few bands at a time, which stay in cache for all operations."""
        basis, coarse, across = self.basis[:, bands], self.coarse[:, bands], self.up.x.outputs(columns)
        out = self.images.new_empty(1, coarse.shape[1], rows.stop - rows.start, columns.stop - columns.start)
        for some in cached(out.shape[2], out, each=self.images.shape[1] * out.shape[3]):
            inside = slice(rows.start + some.start, rows.start + min(some.stop, out.shape[2]))
            images = self.images[..., inside, columns].flatten(2)
            up = Separable(self.up.y.outputs(inside), across)
            for block in band_blocks(out[:, :, some]):
                values, target = up(coarse[:, block]), out[:, block, some]
                values.flatten(2).baddbmm_(basis[:, block], images)
                torch.clamp(values, min=0, out=target) if bounded else target.copy_(values)
        return out
