"""Guides where the cube says that it lies: each channel, on its own grid, moved by the shift that it showed.

Channels of one imager lie some tenths of a pixel apart, and a guide of another sensor elsewhere than the cube. What is
sharpened is the cube, so its own place is that of the result, unless PAN is there too: then all lie where PAN does.
"""

from __future__ import annotations

import dataclasses

import torch

from hsitools.sensor.interpolation import interpolate
from hsitools.sensor.separable import size_of
from pansharpen.case import Scene
from pansharpen.guide import Guide
from pansharpen.physics.changed_scene import ChangedScene
from pansharpen.tile import Tile

#: How much of a moved pixel may come of pixels without a measurement.
UNMEASURED = 0.05

#: Of each guide's channels, fine pixels (y, x) by which they must be moved back.
Shifts = dict[int, list[tuple[float, float]]]


def in_one_place(scene: Scene, shifts: Shifts) -> Scene:
    """The scene with its guides moved."""

    def moved(tile: Tile) -> Tile:
        return tile.with_guides(tuple(move(guide, shifts[number]) for number, guide in enumerate(tile.guides)))

    return ChangedScene(scene, moved) if shifts else scene


def move(guide: Guide, shifts: list[tuple[float, float]]) -> Guide:
    """A guide whose channels lie so many fine pixels (y, x) before the places that they had.

    Channels of a grid coarser than the fine one keep their values, and together get another place.
    """
    if guide.ratio > 1:
        y, x = (sum(axis) / len(shifts) for axis in zip(*shifts, strict=True))
        return dataclasses.replace(guide, offset=(guide.offset[0] - y, guide.offset[1] - x))
    valid = guide.valid
    if valid is not None:
        measured = [_moved(valid.to(guide.image), shift) for shift in shifts]
        valid = torch.stack([(weight - 1).abs() <= UNMEASURED for weight in measured]).all(0)
    image = torch.cat([_moved(guide.image[:, k : k + 1], shift) for k, shift in enumerate(shifts)], 1)
    return dataclasses.replace(guide, image=image, valid=valid)


def _moved(image: torch.Tensor, shift: tuple[float, float]) -> torch.Tensor:
    size = size_of(image)
    back = -shift[0], -shift[1]
    return interpolate(size, 1, method="polynomial", out_shape=size, shift=back)(image)
