"""A fused cube that is computed where it is read, and what is computed beside it."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hsitools.cube.sources import Bands
from hsitools.cube.windows import Window
from hsitools.side_by_side import side_by_side
from pansharpen.handover import Handover
from pansharpen.in_memory import marked
from pansharpen.mixture import ByParts
from pansharpen.tile import Tile

#: Bytes of error bars that were computed with the fused cube and not read yet: those of one tile, or of several small
#: ones; others are computed again.
KEPT_BYTES = 448 * 2**20
#: Threads may read one source.
_LOCK = threading.Lock()


class FusedSource:
    """A fused cube, tile by tile as it is read (see `hsitools.cube.sources.Source`).

    Parameters
    ----------
    scene : pansharpen.tiled.LargeScene
    function : callable
        Of a tile: its own part of the cube, or what is quickly computed of it (`ByParts`).
    """

    def __init__(self, scene: Any, function: Callable[[Tile], torch.Tensor | ByParts]) -> None:
        self.scene, self.function = scene, function
        r = scene.optics.ratio
        band, height, width = scene.cube.shape
        self.shape = (band, r * height, r * width)
        self.dtype = np.dtype(np.float32)
        #: What is computed at a time: writers go by it.
        self.tile = scene.tile_size
        #: So many of these may be computed by threads at the same time.
        self.at_once = scene.at_once
        #: Whether bands that no method sees are interpolated; NaN otherwise.
        self.interpolates = True
        #: Another layer of the same tiles, which is computed with each and kept until it is read, as far as it fits.
        self.beside: FusedSource | None = None
        #: How this layer's tiles come to who writes it while another thread writes the one that it is beside.
        self.coming: Handover | None = None
        self._missing: dict[tuple[int, int], tuple[float, int]] = {}
        self._last: tuple[Window, FusedTile] | None = None
        self._ahead: dict[tuple[int, int], FusedTile] = {}
        self._kept: dict[tuple[int, int], FusedTile] = {}
        self._offered: set[tuple[int, int]] = set()

    def read(self, bands: Bands, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Values of a window; every tile that it touches is fused (the last one is remembered)."""
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        out: NDArray[np.float32] | None = None
        reached = self._reached(rows, columns)
        with closing(side_by_side(self._fused, [window for window, _ in reached], self.at_once)) as tiles:
            for tile, (_, (own, asked)) in zip(tiles, reached, strict=True):
                part = tile.read(bands, *own)
                if part.shape[1:] == shape:
                    return part
                if out is None:
                    out = np.empty((len(bands), *shape), dtype=np.float32)
                out[:, *asked] = part
        assert out is not None, "windows cover the image"
        return out

    def ahead(self, rows: slice, columns: slice, together: Sequence[FusedSource] = ()) -> None:
        """Fuse the tiles that a window touches, and keep them until they are `let_go`.

        ``together`` are other layers of the same tiles: each tile is computed of all at once, whose parts are all read.
        """
        place = rows.start, columns.start
        if together:
            for window, _ in self._reached(rows, columns):
                tile = self.scene.tile(window)
                for source in (self, *together):
                    layer = source._layer(window, tile)
                    with _LOCK:
                        source._ahead[_corner(window)] = layer
                tile.let_go()
            return
        if self.coming is not None and self.coming.waited(place):
            return
        given = None if self.beside is None else self.beside.coming
        if given is not None:
            given.begin(place)
        for window, _ in self._reached(rows, columns):
            fused = self._fused(window, remembered=False)
            with _LOCK:
                self._ahead[_corner(window)] = fused
        if given is not None:
            given.give(place)

    def let_go(self, rows: slice, columns: slice) -> None:
        """Forget them."""
        with _LOCK:
            for window, _ in self._reached(rows, columns):
                self._ahead.pop(_corner(window), None)
        if self.coming is not None:
            self.coming.done((rows.start, columns.start))

    def _reached(self, rows: slice, columns: slice) -> list[tuple[Window, Any]]:
        """Windows that some rows and columns touch, and where: see `Window.overlap`."""
        r = self.scene.optics.ratio
        return [(window, shared) for window in self.scene.windows if (shared := window.overlap(rows, columns, r))]

    @property
    def missing(self) -> float | None:
        """Share of the voxels of bands that the method sees without a measurement; None until all tiles were read."""
        if len(self._missing) < len(self.scene.windows):
            return None
        lost, total = np.sum(list(self._missing.values()), axis=0)
        return float(lost / total)

    def __getstate__(self) -> dict[str, Any]:
        """For workers, each of whose threads computes a tile: without tiles, and each layer by itself."""
        alone = {"beside": None, "coming": None, "at_once": 1}
        return self.__dict__ | alone | {"_last": None, "_kept": {}, "_ahead": {}}

    def _fused(self, window: Window, remembered: bool = True) -> FusedTile:
        with _LOCK:
            if self._last is not None and self._last[0] == window:
                return self._last[1]
            if (ahead := self._ahead.get(_corner(window))) is not None:
                return ahead
            self._last = None
            own = self._kept.pop(_corner(window), None)
        if own is None:
            tile = self.scene.tile(window)
            own = self._layer(window, tile)
            if self.beside is not None:
                self.beside._keep(window, tile)
            tile.let_go()
        if remembered:
            self._last = window, own
        return own

    def _keep(self, window: Window, tile: Tile) -> None:
        """Compute a tile of this layer ahead, once, if there is room for it or somebody waits for it."""
        if self.coming is not None:
            layer = self._layer(window, tile)
            with _LOCK:
                self._ahead[_corner(window)] = layer
            return
        pixels = math.prod(part.stop - part.start for part in (window.rows, window.columns))
        size = 4 * self.shape[0] * self.scene.optics.ratio**2 * pixels
        with _LOCK:
            held = sum(int(tile.fused.nbytes) for tile in self._kept.values())
            if _corner(window) in self._offered or held + size > KEPT_BYTES:
                return
            self._offered.add(_corner(window))
        layer = self._layer(window, tile)
        with _LOCK:
            self._kept[_corner(window)] = layer

    def _layer(self, window: Window, tile: Tile) -> FusedTile:
        with torch.no_grad():
            fused = self.function(tile)
        self._missing[_corner(window)] = _lost(tile, self.scene.n_bands)
        return FusedTile(self.scene, window, tile, fused, self.interpolates)


class FusedTile:
    """A tile that was fused, any part of which is quickly read.

    Parameters
    ----------
    scene : pansharpen.tiled.LargeScene
    window : Window
    tile : Tile
        As the scene gives it.
    fused : Tensor or ByParts
        Of the bands that methods see.
    interpolates : bool
        See `FusedSource`.
    """

    def __init__(
        self, scene: Any, window: Window, tile: Tile, fused: torch.Tensor | ByParts, interpolates: bool
    ) -> None:  # fmt: skip
        self.scene, self.window, self.tile, self.fused, self.interpolates = scene, window, tile, fused, interpolates

    def read(self, bands: Bands, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Values of some of the tile's own pixels."""
        values = self._as_fused(np.asarray(bands), rows, columns)
        power = self.scene.powers.cube
        return values if power == 1 else values / np.float32(power)

    def _as_fused(self, bands: Bands, rows: slice, columns: slice) -> NDArray[np.float32]:
        """It, in the size in which methods see values."""
        seen = np.isin(bands, self.scene.bands)
        if not seen.any():
            return self._others(bands, rows, columns)
        own = self._seen(self.scene.place[bands[seen]], rows, columns)
        if seen.all():
            return own
        out = np.empty((len(bands), *own.shape[1:]), dtype=np.float32)
        out[seen], out[~seen] = own, self._others(bands[~seen], rows, columns)
        return out

    def _seen(self, bands: Bands, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Of bands that methods see, by their numbers among these."""
        chosen: Any = slice(None) if np.array_equal(bands, np.arange(self.scene.n_bands)) else torch.as_tensor(bands)
        with torch.no_grad():
            if isinstance(self.fused, ByParts):
                own = self.fused.part(chosen, rows, columns)
            else:
                own = self.fused[..., rows, columns][:, chosen]
            measured = self.tile.measured_in(rows, columns)
            if measured is not None and measured.shape[1] > 1:
                measured = measured[:, chosen]
            if _not_finite(own, measured):
                place = self.window
                raise FloatingPointError(
                    f"{self.scene.cube.who}: found values that are not finite in the fused rows "
                    f"{place.rows.start}:{place.rows.stop}, columns {place.columns.start}:{place.columns.stop}"
                )
            values: NDArray[np.float32] = marked(own, measured)[0].cpu().numpy()
            return values

    def _others(self, bands: Bands, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Of the others."""
        if not self.interpolates:
            return np.full((len(bands), rows.stop - rows.start, columns.stop - columns.start), np.nan, np.float32)
        tile = self._unseen
        chosen = torch.as_tensor(self.scene.place[bands])
        measured = tile.measured_in(rows, columns)
        assert measured is not None, "told by the bands' own holes"
        fused = tile.interpolation.outputs(rows, columns)(tile.wide_coarse[:, chosen])
        values: NDArray[np.float32] = marked(fused, measured[:, chosen])[0].cpu().numpy()
        return values

    @cached_property
    def _unseen(self) -> Tile:
        """The bands that no method sees."""
        tile: Tile = self.scene.unseen(self.window)
        return tile


def _corner(window: Window) -> tuple[int, int]:
    return window.rows.start, window.columns.start


def _lost(tile: Tile, n_bands: int) -> tuple[float, int]:
    """Number of a tile's own fine voxels without a measurement, and of all."""
    size = n_bands * tile.pan[0].numel()
    if tile.wide_voxel_valid is None:
        return (0.0 if tile.valid is None else size * (1 - float(tile.valid.double().mean()))), size
    share = tile.crop_coarse(tile.wide_voxel_valid).double()
    if tile.wide_pan_valid is not None:
        share = share * torch.nn.functional.avg_pool2d(tile.crop(tile.wide_pan_valid).double(), tile.optics.ratio)
    return size * (1 - float(share.mean())), size


def _not_finite(fused: torch.Tensor, measured: torch.Tensor | None) -> bool:
    """Whether a value is not finite where there was a measurement."""
    if torch.isfinite(fused.sum()):  # as it is only when all are: one pass without a temporary
        return False
    return bool((~torch.isfinite(fused) & (True if measured is None else measured)).any())
