"""What a scene larger than memory is looked through for before anything is computed of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial, reduce
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from hsitools.cube import Cube
from hsitools.cube.windows import Window
from hsitools.estimation.heights import Levels
from pansharpen.case import sharp_name
from pansharpen.guide import Guide
from pansharpen.optics import Optics
from pansharpen.pair.clipped import (
    Clipped,
    Tops,
    at_full_scale,
    find_limits,
    learn_clipped,
    say_clipped,
    say_clipped_guides,
)
from pansharpen.pair.first_look import FirstLook, first_look
from pansharpen.pair.guide_files import PlacedGuide
from pansharpen.pair.holes import without
from pansharpen.pair.pedestal import say_rounded
from pansharpen.pair.unseen_guides import UnseenGuides, learn_unseen, say_unseen
from pansharpen.pair.wild import Pair, WildSamples, count_wild, levels_of, say_wild
from pansharpen.tile import Tile


class Measured(Protocol):
    """What is looked at: a scene as it lies on disk, with nothing in the place of any sample.

    Its attributes are those of `pansharpen.tiled.LargeScene`.
    """

    cube: Cube
    pan: Cube
    bands: NDArray[np.int64]
    windows: list[Window]
    optics: Optics
    placed: tuple[PlacedGuide, ...]
    guides: tuple[Guide, ...]
    pan_made: bool
    client: Any
    levels: list[Levels]
    findings: dict[str, Any]

    @property
    def name(self) -> str:
        """Of the scene, for messages."""
        ...

    @property
    def seen(self) -> tuple[WildSamples, tuple[Tops, Tops]]:
        """As `look_at` gives them."""
        ...

    def as_measured(self, window: Window) -> Tile:
        """One part with its surroundings, samples at full scale as they are."""
        ...

    def with_bounds(self, window: Window) -> Tile:
        """It, with what stands for these."""
        ...

    def guides_in(self, window: Window) -> tuple[Guide, ...]:
        """The guides over a part with its surroundings."""
        ...


def levels_as_stored(scene: Measured) -> list[Levels]:
    """Levels of cube, PAN and guides as they are stored: float32 may round a small contrast of theirs away."""
    return levels_of(_pair(scene, _stored))


def _pair(scene: Measured, read: Callable[..., NDArray[Any]]) -> Pair:
    return Pair(
        shape=scene.cube.shape[1:], optics=scene.optics, guides=scene.placed, pan_made=scene.pan_made,
        coarse=partial(read, scene.cube, scene.bands), pan=partial(read, scene.pan, None),
    )  # fmt: skip


def look_at(scene: Measured) -> tuple[WildSamples, tuple[Tops, Tops]]:
    """Wild samples of a scene, which are said, and the largest of the others.

    Raises
    ------
    InputError
        When no pixel is valid in both the cube and PAN, or PAN is the cube's scene in another order of rows or columns.
    """
    say_rounded(scene.levels[:2], scene.findings, scene.name, sharp_name(scene.pan_made))
    pair = _pair(scene, _values)
    look = first_look(pair, map if scene.client is None else partial(_by_workers, scene.client))
    look.require_one_scene(scene.name, sharp_name(scene.pan_made))
    count_wild(look.wild, scene.findings)
    say_wild(look.wild.said, scene.name)
    return look.wild, look.tops


def clipped_of(scene: Measured) -> Clipped | None:
    """What stands for samples of a scene that are cut off at full scale; None where none are, or nothing tells."""
    wild, tops = scene.seen

    def band(number: int) -> NDArray[Any]:
        own = as_tensor(scene.cube.read(scene.bands[[number]], *_whole(scene.cube)))
        places = wild.voxels[wild.voxels[:, 0] == number] * np.array([0, 1, 1])
        return without(own, places)[0, 0].numpy()

    def pan() -> NDArray[Any]:
        return wild.from_pan(as_tensor(scene.pan.read(None, *_whole(scene.pan))))[0, 0].numpy()

    def total(function: Callable[[Tile], Any]) -> Any:
        return reduce(added, (function(scene.as_measured(window)) for window in scene.windows))

    limits = find_limits(tops, scene.cube.shape[2], scene.optics, band, None if scene.pan_made else pan)
    with torch.no_grad():
        clipped, counts = learn_clipped(limits, total)
    say_clipped(counts, scene.findings, scene.name, told=clipped is not None)
    told = zip(scene.placed, wild.guides, strict=True)
    say_clipped_guides(
        {guide.template.name: at_full_scale(_channels(scene, guide, places)) for guide, places in told},
        scene.findings, scene.name,
    )  # fmt: skip
    return clipped


def _channels(scene: Measured, guide: PlacedGuide, wild: NDArray[np.int64]) -> Iterator[NDArray[Any]]:
    """Each channel ``(y, x)`` of a guide over the scene, one after another; NaN where it holds nothing."""
    fine = _whole(scene.pan)
    for number in range(guide.template.n_channels):
        alone = Guide(image=torch.zeros((1, 1, 0, 0)), ratio=guide.template.ratio, name=guide.template.name)
        one = replace(guide, cube=guide.cube.select(bands=[number]), template=alone)
        places = wild[wild[:, 0] == number] * np.array([0, 1, 1]) - np.array([0, *one.first(*fine)])
        yield without(one.as_measured(*fine).image, places)[0, 0].numpy()


def unseen_of(scene: Measured) -> UnseenGuides | None:
    """What stands for the guides of a scene where they hold nothing; None where they show all of it."""
    if all(guide.valid is None for window in scene.windows for guide in scene.guides_in(window)):
        return None

    def total(function: Callable[[Tile], Any]) -> Any:
        return reduce(added, (function(scene.with_bounds(window)) for window in scene.windows))

    with torch.no_grad():
        known, shares = learn_unseen(scene.guides, total)
    say_unseen(shares, scene.findings, scene.name)
    return known


def added(total: Any, part: Any) -> Any:
    """Sums of two parts: of tensors, or of (named) tuples of them."""
    if not isinstance(part, tuple):
        return total + part
    parts = [a + b for a, b in zip(total, part, strict=True)]
    return type(part)(*parts) if hasattr(part, "_fields") else tuple(parts)


def as_tensor(values: NDArray[Any]) -> torch.Tensor:
    """An image ``(band, y, x)`` as a batch of one, float32."""
    return torch.as_tensor(np.ascontiguousarray(values, dtype=np.float32))[None]


def _whole(cube: Cube) -> tuple[slice, slice]:
    return slice(0, cube.shape[1]), slice(0, cube.shape[2])


def _values(cube: Cube, bands: NDArray[np.int64] | None, rows: slice, columns: slice) -> NDArray[np.float32]:
    return np.asarray(_stored(cube, bands, rows, columns), dtype=np.float32)


def _stored(cube: Cube, bands: NDArray[np.int64] | None, rows: slice, columns: slice) -> NDArray[Any]:
    return np.asarray(cube.read(bands, rows, columns))


def _by_workers(
    client: Any, function: Callable[[Window], FirstLook], items: Sequence[Window]
) -> Iterable[FirstLook]:  # fmt: skip
    """`map`, at the workers."""
    from hsitools.scale.tasks import ordered

    return ordered(client, function, items)
