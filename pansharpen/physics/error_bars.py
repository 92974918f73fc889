"""A tile's error bars that are computed where they are read: draws of its components are small beside its bands."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from hsitools.sensor.separable import Separable
from pansharpen.families.statistics import band_blocks, per_band
from pansharpen.mixture import ByParts
from pansharpen.physics.error_scale import ErrorScale
from pansharpen.physics.posterior import WINDOW, variance_of


@dataclass(frozen=True, kw_only=True, eq=False)
class ErrorBars(ByParts):
    """Standard deviation of each voxel of a tile, of a batch of one.

    Attributes
    ----------
    errors : list of Tensor, shape (1, k, y, x)
        Draws of the components' errors, with as many pixels around the tile as are needed.
    basis : Tensor, shape (1, band, k)
    scale : ErrorScale
    hidden : Tensor or None, shape (1, 1, y, x)
        What PAN's blur hides, of the same pixels.
    own : (slice, slice)
        Rows and columns of the tile among these.
    move : Separable, optional
        Of each band, from all of these to the tile's own pixels.
    beside : Tensor or None, shape (1, band, y, x)
        Variance that comes beside at the tile's own coarse pixels, and its ``ratio``.
    """

    errors: list[torch.Tensor]
    basis: torch.Tensor
    scale: ErrorScale
    hidden: torch.Tensor | None
    own: tuple[slice, slice]
    move: Separable | None
    beside: torch.Tensor | None = None
    ratio: int = 1

    @classmethod
    def of(
        cls, errors: Iterable[torch.Tensor], basis: torch.Tensor, scale: ErrorScale, *, hidden: torch.Tensor | None,
        own: tuple[slice, slice], move: Separable | None, beside: torch.Tensor | None = None, ratio: int = 1,
    ) -> ErrorBars:  # fmt: skip
        """Of images with all surroundings, in which ``own`` is the tile's part; what does not count is not kept."""
        if move is not None:
            return cls(
                errors=list(errors), basis=basis, scale=scale, hidden=hidden, own=own, move=move, beside=beside,
                ratio=ratio,
            )  # fmt: skip
        near, inside = _around(*own)
        return cls(
            errors=[error[..., *near].clone() for error in errors], basis=basis, scale=scale,
            hidden=None if hidden is None else hidden[..., *near].clone(), own=inside, move=None,
            beside=beside, ratio=ratio,
        )  # fmt: skip

    @property
    def nbytes(self) -> int:
        """Of what it holds."""
        return sum(int(error.nbytes) for error in self.errors)

    def part(self, bands: Any, rows: slice, columns: slice) -> torch.Tensor:
        """Some bands (an index) of some of the tile's own pixels, ``(1, band, y, x)``."""
        out = self._alone(bands, rows, columns)
        if self.beside is None:
            return out
        y, x = (torch.arange(part.start, part.stop, device=out.device) // self.ratio for part in (rows, columns))
        return (out.square() + self.beside[:, bands][..., y[:, None], x]).sqrt()

    def _alone(self, bands: Any, rows: slice, columns: slice) -> torch.Tensor:
        """Without what comes beside."""
        if self.move is None:
            inside = (
                slice(whole.start + part.start, whole.start + part.stop)
                for whole, part in zip(self.own, (rows, columns), strict=True)
            )
            return self._std(bands, next(inside), next(inside))
        # each band has a displacement of its own: all of them are moved
        move, y, x = self.move.part(rows, columns)
        out = move(self._std(slice(None), y, x))
        # beside a step, interpolation swings: as far as below zero
        return torch.maximum(out, per_band(self.scale.floor, out).sqrt())[:, bands]

    def whole(self) -> torch.Tensor:
        """All of the tile, ``(1, band, y, x)``."""
        height, width = (part.stop - part.start for part in self.own)
        return self.part(slice(None), slice(0, height), slice(0, width))

    def _std(self, bands: Any, rows: slice, columns: slice) -> torch.Tensor:
        """Before they move; a few bands at a time, which stay in cache for all operations."""
        basis, scale = self.basis[:, bands], self.scale.of_bands(bands)
        out = self.errors[0].new_empty(1, basis.shape[1], rows.stop - rows.start, columns.stop - columns.start)
        near, inside = _around(rows, columns)
        errors = [error[..., *near] for error in self.errors]
        hidden = None if self.hidden is None else self.hidden[..., rows, columns]
        for block in band_blocks(out):
            variance = variance_of(errors, basis[:, block])[..., *inside]
            out[:, block] = scale.of_bands(block).std(variance, hidden)
        return out


def _around(rows: slice, columns: slice) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """With the neighbours of which a variance is the mean, as far as there are any; and where among them these are."""
    half = WINDOW // 2
    y, x = (slice(max(part.start - half, 0), part.stop + half) for part in (rows, columns))
    inside = (
        slice(part.start - wide.start, part.stop - wide.start) for part, wide in ((rows, y), (columns, x))
    )  # fmt: skip
    return (y, x), (next(inside), next(inside))
