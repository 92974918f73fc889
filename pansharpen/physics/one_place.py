"""Guides where the cube says that it lies: each channel moved by what it showed of its place.

Channels of one imager lie some tenths of a pixel apart, and a guide of another sensor elsewhere than the cube, and bent
against it. What is sharpened is the cube, so its own place is that of the result, unless PAN is there too: then all lie
where PAN does.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import pad

from pansharpen.case import Scene
from pansharpen.guide import Guide
from pansharpen.physics.changed_scene import ChangedScene
from pansharpen.physics.displacement import Field
from pansharpen.tile import Tile

#: Pixels, relative to the one below a place, whose polynomial is read there: the interpolation of the rest of fusion.
#: Kernels that keep Nyquist's frequency (Lanczos', Fourier's) cost a percent: there is little but noise.
NODES = range(-5, 7)
#: How much of a moved pixel may come of pixels without a measurement.
UNMEASURED = 0.05


@dataclass(frozen=True, kw_only=True, eq=False)
class Place:
    """Where the cube lies on an image's grid: see `pansharpen.physics.registration.Registration`."""

    shift: tuple[float, float]
    field: Field | None = None

    def said(self) -> dict[str, Any]:
        """Shift, and the most by which it differs from place to place, fine pixels, as plain data."""
        bend = 0.0 if self.field is None else self.field.largest()
        return {"shift_pixels": [round(value, 4) for value in self.shift], "bend_pixels": round(bend, 4)}

    def beyond(self, other: Place, tile: Tile) -> torch.Tensor:
        """How far it lies from another place at each fine pixel of a tile, ``(2, y, x)``, fine pixels (y, x)."""
        out = torch.zeros(2, *tile.fine_size, dtype=torch.float64, device=tile.wide_coarse.device)
        for place, sign in ((self, 1), (other, -1)):
            out += sign * torch.as_tensor(place.shift, dtype=torch.float64).to(out)[:, None, None]
            if place.field is not None:
                out += sign * tile.up()(place.field.at(tile)[None])[0]
        return out


def in_one_place(scene: Scene, places: dict[int, list[Place]], target: Place) -> Scene:
    """The scene with its guides moved: of each guide's channels, from the places they have to the one of all."""

    def moved(tile: Tile) -> Tile:
        guides = tuple(_of_guide(guide, places[number], target, tile) for number, guide in enumerate(tile.guides))
        return tile.with_guides(guides)

    return ChangedScene(scene, moved) if places else scene


def _of_guide(guide: Guide, places: list[Place], target: Place, tile: Tile) -> Guide:
    if guide.ratio > 1:
        # its pixels keep their values, which are too coarse to interpolate, and lie elsewhere
        y, x = (
            offset + end - sum(place.shift[axis] for place in places) / len(places)
            for axis, (offset, end) in enumerate(zip(guide.offset, target.shift, strict=True))
        )
        return dataclasses.replace(guide, offset=(y, x))
    steps = [place.beyond(target, tile) for place in places]
    valid = guide.valid
    if valid is not None:
        each = valid.expand(-1, len(steps), -1, -1).to(guide.image)
        measured = torch.cat([move(each[:, k : k + 1], step) for k, step in enumerate(steps)], 1)
        valid = (measured - 1).abs() <= UNMEASURED
    image = torch.cat([move(guide.image[:, k : k + 1], step) for k, step in enumerate(steps)], 1)
    return dataclasses.replace(guide, image=image, valid=valid)


def move(image: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
    """What an image ``(batch, band, y, x)`` shows at each pixel's place plus ``step`` ``(2, y, x)``, pixels.

    Examples
    --------
    >>> ramp = torch.arange(40.0).expand(1, 1, 40, 40)
    >>> quarter = torch.tensor([0.0, 0.25])[:, None, None].expand(2, 40, 40)
    >>> round(float(move(ramp, quarter)[0, 0, 20, 20]), 2)
    20.25
    """
    return _along(_along(image, step[1], 1), step[0], 0)


def _along(image: torch.Tensor, step: torch.Tensor, axis: int) -> torch.Tensor:
    if not step.any():
        return image
    below = step.floor()
    weights = _lagrange(step - below).to(image)
    below = below.long()
    first, last = int(below.min()) + NODES[0], int(below.max()) + NODES[-1]
    farthest = max(-first, last)
    wide = pad(image, (farthest,) * 2 + (0, 0) if axis else (0, 0) + (farthest,) * 2, mode="replicate")
    out = torch.zeros_like(image)
    for tap in range(first, last + 1):
        node = tap - below - NODES[0]
        weight = weights.gather(0, node.clamp(0, len(NODES) - 1)[None])[0]
        weight = torch.where((node >= 0) & (node < len(NODES)), weight, 0)
        out += weight * wide.narrow(axis - 2, farthest + tap, image.shape[axis - 2])
    return out


def _lagrange(part: torch.Tensor) -> torch.Tensor:
    """Weights ``(node, …)`` of the polynomial through `NODES` at places between 0 and 1."""
    out = [torch.ones_like(part) for _ in NODES]
    for number, node in enumerate(NODES):
        for other in NODES:
            if other != node:
                out[number] = out[number] * (part - other) / (node - other)
    return torch.stack(out)
