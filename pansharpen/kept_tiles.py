"""Tiles that stay in memory from one pass over a scene to the next, as many as fit: what was read is not read again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

from hsitools.cube.memory import memory_limit
from hsitools.cube.windows import Window
from pansharpen.tile import Tile

Made = TypeVar("Made")

#: Bytes of a process's kept tiles: all of a strip of some hundred rows, or a fourth of a PRISMA product. A tile's
#: images are a thirtieth of what a method takes for it.
KEPT_BYTES = 256 * 2**20
#: Share of a process's memory that they may take at most; tiles are made smaller by as much.
KEPT_SHARE = 1 / 16


def kept_bytes(limit: float | None) -> float:
    """Bytes that kept tiles may take of a process with this limit of memory; None where nothing limits it."""
    return KEPT_BYTES if limit is None else min(KEPT_BYTES, KEPT_SHARE * limit)


class KeptTiles:
    """The tiles that this process keeps, of whatever scenes it goes through.

    A scene's first tiles are kept and stay: each pass begins with the first, so that keeping the latest would lose
    each before it is wanted again. Those of scenes that were not used for longest make room.
    """

    def __init__(self) -> None:
        self._scenes: OrderedDict[str, dict[tuple[int, int], Tile]] = OrderedDict()
        # workers may have several threads
        self._lock = threading.Lock()

    def get(self, scene: str, window: Window) -> Tile | None:
        """A tile of a scene, by the scene's key, if it is kept."""
        with self._lock:
            tiles = self._scenes.get(scene)
            if tiles is None:
                return None
            self._scenes.move_to_end(scene)
            return tiles.get(_corner(window))

    def offer(self, scene: str, window: Window, tile: Tile) -> None:
        """Keep a tile if there is room."""
        room = kept_bytes(memory_limit()) - size_of_images(tile)
        if room < 0:
            return
        with self._lock:
            while self._size() > room:
                oldest = next(iter(self._scenes))
                if oldest == scene:
                    return
                del self._scenes[oldest]
            self._scenes.setdefault(scene, {})[_corner(window)] = tile
            self._scenes.move_to_end(scene)

    def forget(self, scene: str) -> None:
        """Let go of the tiles of a scene."""
        with self._lock:
            self._scenes.pop(scene, None)

    def _size(self) -> int:
        return sum(size_of_images(tile) for tiles in self._scenes.values() for tile in tiles.values())


class LastTile:
    """What was made of the last tile that each thread saw, until it sees another one."""

    def __init__(self) -> None:
        # what is kept of a thread dies with it
        self._own = threading.local()

    def of(self, tile: Tile, make: Callable[[Tile], Made], *, at_last: bool = False) -> Made:
        """What ``make`` gives of a tile: made now, unless it was the last; ``at_last`` lets it go."""
        last = getattr(self._own, "last", None)
        if last is None or last[0] is not tile:
            # freed before the next is made
            self._own.last = last = None
            last = tile, make(tile)
        self._own.last = None if at_last else last
        return last[1]

    def __reduce__(self) -> tuple[type[LastTile], tuple[()]]:
        """For workers: without tiles."""
        return LastTile, ()


def size_of_images(tile: Tile) -> int:
    """Bytes of what a tile is made of, and of what it holds on to once it was used (`Tile.let_go`)."""
    images = [tile.wide_coarse, tile.wide_pan, tile.wide_voxel_valid, tile.wide_pan_valid]
    images += [tile.wide_doubt, tile.wide_pan_doubt]
    for guide in tile.guides:
        images += [guide.image, guide.valid]
    # PAN comes twice: without its details too
    return sum(image.nbytes for image in [*images, tile.wide_pan] if image is not None)


def _corner(window: Window) -> tuple[int, int]:
    return window.rows.start, window.columns.start


#: Of this process.
TILES = KeptTiles()
