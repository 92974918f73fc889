"""Pairs of pixels that are linked: where they lie, their Laplacian, products with it by parts that stay in cache."""

from __future__ import annotations

from typing import Any

import torch

from hsitools.estimation.chebyshev import cached

#: Steps (y, x) from a pixel to those that it is linked with, one of each pair of opposite ones.
Offsets = tuple[tuple[int, int], ...]

#: Offsets (y, x) to half of the eight neighbours: each pair of pixels is linked once.
NEIGHBOURS: Offsets = ((0, 1), (1, 0), (1, 1), (1, -1))


def neighbours_at(shape: torch.Size, offset: tuple[int, int]) -> tuple[Any, Any]:
    """Index of every pixel that has a neighbour at ``offset``, and of that neighbour."""
    height, width = shape[-2:]
    dy, dx = offset
    first = (..., slice(0, height - dy), slice(max(0, -dx), width - max(0, dx)))
    second = (..., slice(dy, height), slice(max(0, dx), width + min(0, dx)))
    return first, second


def laplacian(image: torch.Tensor, weights: list[torch.Tensor], offsets: Offsets = NEIGHBOURS) -> torch.Tensor:
    """Gradient of ½ Σ w_ij (z_i − z_j)²."""
    out = torch.zeros_like(image)
    for weight, offset in zip(weights, offsets, strict=True):
        first, second = neighbours_at(image.shape, offset)
        flow = weight * (image[second] - image[first])
        out[second] += flow
        out[first] -= flow
    return out


def degree(weights: list[torch.Tensor], like: torch.Tensor, offsets: Offsets = NEIGHBOURS) -> torch.Tensor:
    """Sum of the weights at each pixel, of the shape of ``like``."""
    out = torch.zeros_like(like)
    for weight, offset in zip(weights, offsets, strict=True):
        first, second = neighbours_at(like.shape, offset)
        out[first] += weight
        out[second] += weight
    return out


class Across:
    """What the links of each pixel weigh of the pixels across; some rows at a time, as caches are small.

    Windows of the weights, and where those of the images begin, are found once for all steps of an iteration: finding
    them takes as long as a third of the arithmetic on them.

    Parameters
    ----------
    weights : list of Tensor
        One of each offset, cut as by `neighbours_at`.
    offsets
    like : Tensor, shape (batch, k, y, x)
        Of the images' shape, whatever their batch, and type.
    """

    def __init__(self, weights: list[torch.Tensor], offsets: Offsets, like: torch.Tensor) -> None:
        height, width = like.shape[-2:]
        #: Weights of each window, their rows and columns, and its first pixel (y, x) in the sums and in the image.
        self.windows: list[tuple[torch.Tensor, torch.Size, tuple[int, int], tuple[int, int]]] = []
        # rows of both images
        for rows in cached(height, like, each=2 * width * like.shape[1]):
            for weight, (dy, dx) in zip(weights, offsets, strict=True):
                first, second = max(0, -dx), max(0, dx)
                start, stop = rows.start, min(rows.stop, height - dy)
                if start < stop:
                    below = weight[..., start:stop, :]
                    self.windows.append((below, below.shape[2:], (start, first), (start + dy, second)))
                start, stop = max(rows.start, dy), rows.stop
                if start < stop:
                    above = weight[..., start - dy : stop - dy, :]
                    self.windows.append((above, above.shape[2:], (start, second), (start - dy, first)))

    def add(self, out: torch.Tensor, image: torch.Tensor) -> None:
        """Add them to ``out`` in place; ``(batch, k, y, x)`` both."""
        strides, origin = out.stride(), out.storage_offset()
        image_strides, image_origin = image.stride(), image.storage_offset()
        row, column, image_row, image_column = *strides[2:], *image_strides[2:]
        # by strides: slicing would take three times as long
        leading = image.shape[:2]
        for weights, size, (top, left), (above, beside) in self.windows:
            window = leading + size
            own = out.as_strided(window, strides, origin + top * row + left * column)
            own.addcmul_(
                weights,
                image.as_strided(window, image_strides, image_origin + above * image_row + beside * image_column),
            )

    def add_steps(self, out: torch.Tensor, image: torch.Tensor) -> None:
        """The same of what the pixels across differ by: minus the Laplacian."""
        for weights, (height, width), (top, left), (above, beside) in self.windows:
            own = (..., slice(top, top + height), slice(left, left + width))
            across = (..., slice(above, above + height), slice(beside, beside + width))
            out[own].addcmul_(weights, image[across] - image[own])
