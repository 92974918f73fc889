"""MF: morphological half-gradient filters."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as functional

from hsitools.sensor.interpolation import interpolate
from hsitools.sensor.separable import size_of
from pansharpen.case import Scene, Tile
from pansharpen.families.modulation import modulated
from pansharpen.registry import method


@method(
    "MF", family="multiresolution", held=8,
    paper="R. Restaino, G. Vivone, M. Dalla Mura, J. Chanussot, Fusion of multispectral and panchromatic images based "
    "on morphological operators, IEEE TIP 25(6), 2016",
)  # fmt: skip
def mf(scene: Scene) -> Any:
    """High-pass modulation with a morphological pyramid's low-pass PAN; the ratio is guarded."""

    def view(tile: Tile) -> tuple[torch.Tensor, torch.Tensor]:
        low = tile.crop(morphological_low(tile.wide_pan, tile.optics.ratio))
        return low, tile.pan - low

    return modulated(scene, view)


def morphological_low(image: torch.Tensor, ratio: int) -> torch.Tensor:
    """Low-pass image by a morphological pyramid, ``(batch, 1, y, x)`` to the same.

    At each level half the difference of the inner and outer half-gradients is taken off, which leaves the mean of
    dilation and erosion; then the image shrinks. The levels are the prime factors of the ratio, for any ratio.
    """
    low = image
    for step in _prime_factors(ratio):
        radius = step // 2
        low = functional.avg_pool2d((_dilate(low, radius) - _dilate(-low, radius)) / 2, step)
    return interpolate(size_of(low), ratio)(low)


def _dilate(image: torch.Tensor, radius: int) -> torch.Tensor:
    """Largest value on a cross of that radius; nothing lies beyond the border."""
    size = 2 * radius + 1
    tall = functional.max_pool2d(image, (size, 1), 1, (radius, 0))
    return torch.maximum(tall, functional.max_pool2d(image, (1, size), 1, (0, radius)))


def _prime_factors(number: int) -> list[int]:
    for divisor in range(2, number + 1):
        if number % divisor == 0:
            return [divisor, *_prime_factors(number // divisor)]
    return []
