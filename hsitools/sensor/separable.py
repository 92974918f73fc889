"""Linear operators on images that are a matrix along y and one along x, with their adjoints.

`Separable` holds the two as dense blocks on the band of entries that is not zero, so that applying one is a few matrix
products whatever the image size, and its adjoint is exactly the transposed products. Tensors are ``(…, band, y, x)``.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hsitools.errors import InputError

Array = NDArray[np.float64]

#: Rows of an axis matrix that are multiplied at once, and inputs that their starts go on by at most; more waste zeros,
#: fewer waste calls. A decimation by 6 of 64 rows at once would be nine tenths of zeros.
BLOCK, BLOCK_INPUTS = 64, 96


class AxisMatrix:
    """A banded matrix ``(out, in)`` for each of ``k`` kinds, applied along one axis as dense blocks.

    Parameters
    ----------
    weights : array, shape (k, out, width)
        Row i acts on inputs ``start[i] … start[i] + width − 1``; k is 1 (all bands alike) or the number of bands.
    start : array of int, shape (out,)
    n_in : int
        Inputs outside 0 … n_in − 1 stand for others inside, by ``fold``.
    fold : array of int
        Input of each place from ``start.min()`` on: how the border goes on.
    """

    def __init__(self, weights: Array, start: NDArray[np.int64], n_in: int, fold: Any) -> None:
        kinds, n_out, width = weights.shape
        self.n_in, self.n_out, self.kinds = n_in, n_out, kinds
        self.blocks: list[tuple[slice, slice, Array]] = []
        for rows in _row_blocks(start):
            places = fold(start[rows, None] + np.arange(width))
            low, high = int(places.min()), int(places.max()) + 1
            dense = np.zeros((kinds, rows.stop - rows.start, high - low))
            row = np.arange(rows.stop - rows.start)[:, None]
            for kind in range(kinds):
                # several places may fold onto one
                np.add.at(dense[kind], (row, places - low), weights[kind, rows])
            self.blocks.append((rows, slice(low, high), dense))
        self._cache: dict[Any, list[torch.Tensor]] = {}
        self._transposed: AxisMatrix | None = None

    @property
    def transposed(self) -> AxisMatrix:
        """``Mᵀ``: blocks that cover its outputs once, so that each is written once too."""
        if self._transposed is None:
            out = self._blank()
            out.n_in, out.n_out = self.n_out, self.n_in
            for first in range(0, self.n_in, BLOCK):
                out.blocks.append(self._transposed_block(first, min(first + BLOCK, self.n_in)))
            self._transposed = out
        return self._transposed

    def _transposed_block(self, first: int, last: int) -> tuple[slice, slice, Array]:
        """Rows ``first … last − 1`` of the transposed matrix, on those of its inputs that they act on."""
        parts = []
        for rows, columns, dense in self.blocks:
            start, stop = max(columns.start, first), min(columns.stop, last)
            part = dense[:, :, start - columns.start : stop - columns.start]
            used = np.flatnonzero(part.any((0, 2))) if start < stop else np.arange(0)
            if len(used):
                inside = slice(int(used[0]), int(used[-1]) + 1)
                parts.append((rows.start + inside.start, slice(start - first, stop - first), part[:, inside]))
        low = min((row for row, *_ in parts), default=0)
        high = max((row + part.shape[1] for row, _, part in parts), default=1)
        out = np.zeros((self.kinds, last - first, high - low))
        for row, places, part in parts:
            out[:, places, row - low : row - low + part.shape[1]] = part.transpose(0, 2, 1)
        return slice(first, last), slice(low, high), out

    def _blank(self) -> AxisMatrix:
        """A copy without blocks."""
        out = copy.copy(self)
        out.blocks, out._cache, out._transposed = [], {}, None
        return out

    def outputs(self, part: slice) -> AxisMatrix:
        """The same matrix with some of its rows only."""
        out = self._blank()
        out.n_out = part.stop - part.start
        for rows, columns, dense in self.blocks:
            first, last = max(rows.start, part.start), min(rows.stop, part.stop)
            if first < last:
                kept = slice(first - part.start, last - part.start)
                out.blocks.append((kept, columns, dense[:, first - rows.start : last - rows.start]))
        return out

    def cut(self) -> tuple[AxisMatrix, slice]:
        """The same matrix of those inputs alone that it acts on, and which these are."""
        used = slice(min(part.start for _, part, _ in self.blocks), max(part.stop for _, part, _ in self.blocks))
        out = self._blank()
        out.n_in = used.stop - used.start
        out.blocks = [
            (rows, slice(part.start - used.start, part.stop - used.start), dense) for rows, part, dense in self.blocks
        ]
        return out, used

    def of_kinds(self, chosen: slice) -> AxisMatrix:
        """The same matrix of some kinds only; itself where all are alike."""
        if self.kinds == 1:
            return self
        out = self._blank()
        out.blocks = [(rows, columns, dense[chosen]) for rows, columns, dense in self.blocks]
        out.kinds = len(range(*chosen.indices(self.kinds)))
        return out

    def _tensors(self, like: torch.Tensor) -> list[torch.Tensor]:
        key = (like.dtype, like.device)
        if key not in self._cache:
            # operators outlive the caller's mode: tensors made in inference mode would bar later training
            with torch.inference_mode(False):
                self._cache[key] = [
                    torch.as_tensor(block, dtype=like.dtype, device=like.device) for *_, block in self.blocks
                ]
        return self._cache[key]

    def along_y(self, x: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """``M x`` along the axis before the last of ``(…, band, y, x)``; written to ``out``, contiguous, if given."""
        if out is None:
            out = x.new_empty((*x.shape[:-2], self.n_out, x.shape[-1]))
        if self.kinds == 1 and not x.requires_grad:
            images, results = x.reshape(-1, *x.shape[-2:]), out.view(-1, *out.shape[-2:])
            for (rows, columns, _), block in zip(self.blocks, self._tensors(x), strict=True):
                torch.bmm(block.expand(len(images), -1, -1), images[:, columns], out=results[:, rows])
            return out
        for (rows, columns, _), block in zip(self.blocks, self._tensors(x), strict=True):
            out[..., rows, :] = (block[0] if self.kinds == 1 else block) @ x[..., columns, :]
        return out

    def along_x(self, x: torch.Tensor) -> torch.Tensor:
        """``x Mᵀ`` along the last axis."""
        out = x.new_empty((*x.shape[:-1], self.n_out))
        if self.kinds == 1 and not x.requires_grad:
            # products go where they belong: to copy them there takes as long again
            lines, results = x.reshape(-1, x.shape[-1]), out.view(-1, self.n_out)
            for (rows, columns, _), block in zip(self.blocks, self._tensors(x), strict=True):
                torch.mm(lines[:, columns], block[0].mT, out=results[:, rows])
            return out
        for (rows, columns, _), block in zip(self.blocks, self._tensors(x), strict=True):
            out[..., rows] = x[..., columns] @ (block[0] if self.kinds == 1 else block).mT
        return out


def _row_blocks(start: NDArray[np.int64]) -> list[slice]:
    """Rows of an axis matrix that are multiplied at once, for the first input of each."""
    n_out = len(start)
    step = (int(start.max()) - int(start.min())) / max(1, n_out - 1)
    size = int(min(BLOCK, max(1, BLOCK_INPUTS // max(1.0, step))))
    return [slice(first, min(first + size, n_out)) for first in range(0, n_out, size)]


@dataclass(frozen=True)
class Separable:
    """A linear operator that is a matrix along y and one along x.

    Attributes
    ----------
    y, x : AxisMatrix
    """

    y: AxisMatrix
    x: AxisMatrix

    def _check(self, values: torch.Tensor, shape: tuple[int, int]) -> None:
        kinds = max(self.y.kinds, self.x.kinds)
        if tuple(values.shape[-2:]) != shape or (kinds > 1 and values.shape[-3] != kinds):
            band = kinds if kinds > 1 else "band"
            raise InputError(f"image: found shape {tuple(values.shape)}, expected (…, {band}, {shape[0]}, {shape[1]})")

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Apply to ``(…, band, y, x)``; raises `InputError` for another shape than the operator's."""
        self._check(values, (self.y.n_in, self.x.n_in))
        # the axis that shrinks the more goes first
        if self.y.n_out * self.x.n_in <= self.x.n_out * self.y.n_in:
            return self.x.along_x(self.y.along_y(values))
        return self.y.along_y(self.x.along_x(values))

    def outputs(self, rows: slice, columns: slice) -> Separable:
        """The same operator, of which only a window of what it gives is wanted."""
        return _window(self, rows.start, rows.stop, columns.start, columns.stop)

    def of_bands(self, bands: slice) -> Separable:
        """The same operator for some of the bands."""
        return Separable(self.y.of_kinds(bands), self.x.of_kinds(bands))

    def part(self, rows: slice, columns: slice) -> tuple[Separable, slice, slice]:
        """As `outputs`, of those inputs alone that it acts on; and which rows and columns these are."""
        y, used_rows = self.y.outputs(rows).cut()
        x, used_columns = self.x.outputs(columns).cut()
        return Separable(y, x), used_rows, used_columns

    def adjoint(self, values: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """Transposed operator: ``⟨forward(a), b⟩ = ⟨a, adjoint(b)⟩``; written to ``out``, contiguous, if given."""
        self._check(values, (self.y.n_out, self.x.n_out))
        return self.y.transposed.along_y(self.x.transposed.along_x(values), out)

    __call__ = forward


@lru_cache(maxsize=64)
def _window(whole: Separable, top: int, bottom: int, left: int, right: int) -> Separable:
    return Separable(whole.y.outputs(slice(top, bottom)), whole.x.outputs(slice(left, right)))


def size_of(image: torch.Tensor) -> tuple[int, int]:
    """(y, x) of a tensor ``(…, y, x)``."""
    return int(image.shape[-2]), int(image.shape[-1])


def replicate(n: int) -> Any:
    """Fold of a border that repeats the last of ``n`` pixels."""
    return lambda places: np.clip(places, 0, n - 1)


def symmetric(n: int) -> Any:
    """Fold of a border that mirrors the image, its last pixel twice."""

    def fold(places: NDArray[np.int64]) -> NDArray[np.int64]:
        places = np.mod(places, 2 * n)
        return np.minimum(places, 2 * n - 1 - places)

    return fold


def from_dense(matrix: Array) -> AxisMatrix:
    """The matrix ``(out, in)`` as a banded one."""
    n_in = matrix.shape[1]
    used = matrix != 0
    first = used.argmax(axis=1)
    width = int((n_in - used[:, ::-1].argmax(axis=1) - first).max())
    first = np.minimum(first, n_in - width)
    weights = np.take_along_axis(matrix, first[:, None] + np.arange(width), axis=1)
    return AxisMatrix(weights[None], first.astype(np.int64), n_in, replicate(n_in))


@lru_cache(maxsize=16)
def window_mean(shape: tuple[int, int], taps: tuple[float, ...]) -> Separable:
    """Weighted mean over every whole window with as many pixels a side as taps, whose outer product weights it."""
    weights = np.array(taps) / np.sum(taps)
    axes = []
    for n in shape:
        start = np.arange(n - len(taps) + 1)
        axes.append(AxisMatrix(np.broadcast_to(weights, (1, len(start), len(taps))), start, n, replicate(n)))
    return Separable(*axes)
