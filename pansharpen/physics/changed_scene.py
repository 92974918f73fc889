"""A scene of which every tile is changed before a method sees it, read once all the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from pansharpen.case import Scene
from pansharpen.guide import Guide
from pansharpen.kept_tiles import LastTile
from pansharpen.mixture import ByParts
from pansharpen.optics import Optics
from pansharpen.tile import Tile


class ChangedScene:
    """A scene whose tiles go through a function (see `pansharpen.case.Scene`).

    Parameters
    ----------
    scene : Scene
    change : callable
        From a tile, surroundings included, to another one of the same places.
    optics : Optics, optional
        Of the changed scene, where they are others.
    """

    def __init__(self, scene: Scene, change: Callable[[Tile], Tile], optics: Optics | None = None) -> None:
        self.scene, self.change = scene, change
        self.optics = scene.optics if optics is None else optics
        self._last = LastTile()

    @property
    def n_bands(self) -> int:
        """Bands of the cube."""
        return self.scene.n_bands

    @property
    def guides(self) -> tuple[Guide, ...]:
        """Other sharp images, as they were."""
        return self.scene.guides

    @property
    def pan_made(self) -> bool:
        """See `pansharpen.case.Scene.pan_made`."""
        return self.scene.pan_made

    @property
    def findings(self) -> dict[str, Any]:
        """See `pansharpen.case.Scene.findings`."""
        return self.scene.findings

    def sum(self, function: Callable[[Tile], Any]) -> Any:
        """See `pansharpen.case.Scene.sum`."""
        return self.scene.sum(lambda tile: function(self._changed(tile)))

    def map(self, function: Callable[[Tile], torch.Tensor | ByParts]) -> Any:
        """See `pansharpen.case.Scene.map`."""
        return self.scene.map(lambda tile: function(self._changed(tile)))

    def _changed(self, tile: Tile) -> Tile:
        # a scene in memory is one tile, changed once
        return self._last.of(tile, self.change)


class AsPan(ChangedScene):
    """A scene with one channel of a guide in PAN's place.

    Parameters
    ----------
    scene : Scene
    guide, channel : int
    optics : Optics
        As of `pansharpen.guide.Guide.optics`.
    """

    def __init__(self, scene: Scene, guide: int, channel: int, optics: Optics) -> None:
        self._findings: dict[str, Any] = {}
        super().__init__(scene, lambda tile: tile.with_pan_of(guide, channel), optics)

    @property
    def guides(self) -> tuple[Guide, ...]:
        """None: there is one sharp image."""
        return ()

    @property
    def findings(self) -> dict[str, Any]:
        """Its own: what is found of the channel is not of PAN."""
        return self._findings

    @property
    def pan_made(self) -> bool:
        """The channel is an image of its own."""
        return False
