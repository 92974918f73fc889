"""Pairs of pixels that are linked: where they lie, their Laplacian, products with it by parts that stay in cache."""

from __future__ import annotations

from typing import Any

import torch

from hsitools.estimation.chebyshev import cached

#: Steps (y, x) from a pixel to those that it is linked with, one of each pair of opposite ones.
Offsets = tuple[tuple[int, int], ...]

#: Of sums and an image with links, window by window: what is added to, the weights, and the pixels across.
Views = list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]

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

    A window of the weights serves both ends of its pairs while it is in cache. Windows are found once for all steps of
    an iteration, those of its images too (`views`): finding them takes as long as a third of the arithmetic on them.

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
                start, stop = rows.start, min(rows.stop, height - dy)
                if start < stop:
                    part = weight[..., start:stop, :]
                    first, second = (start, max(0, -dx)), (start + dy, max(0, dx))
                    self.windows += [(part, part.shape[2:], first, second), (part, part.shape[2:], second, first)]

    def views(self, out: torch.Tensor, image: torch.Tensor) -> Views:
        """Windows of sums and image, ``(batch, k, y, x)`` both."""
        strides, origin = out.stride(), out.storage_offset()
        image_strides, image_origin = image.stride(), image.storage_offset()
        row, column, image_row, image_column = *strides[2:], *image_strides[2:]
        # by strides: slicing would take three times as long
        leading = image.shape[:2]
        return [
            (
                out.as_strided(leading + size, strides, origin + top * row + left * column),
                weights,
                image.as_strided(
                    leading + size, image_strides, image_origin + above * image_row + beside * image_column
                ),
            )
            for weights, size, (top, left), (above, beside) in self.windows
        ]  # fmt: skip

    def add(self, out: torch.Tensor, image: torch.Tensor) -> None:
        """Add them to ``out`` in place; ``(batch, k, y, x)`` both."""
        for own, weights, across in self.views(out, image):
            own.addcmul_(weights, across)

    def add_steps(self, out: torch.Tensor, image: torch.Tensor, times: float = 1.0) -> None:
        """The same, so many times, of what the pixels across differ by: minus the Laplacian."""
        for weights, (height, width), (top, left), (above, beside) in self.windows:
            own = (..., slice(top, top + height), slice(left, left + width))
            across = (..., slice(above, above + height), slice(beside, beside + width))
            out[own].addcmul_(weights, image[across] - image[own], value=times)
