"""A fused cube that is computed where it is read, and what is computed beside it."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hsitools.cube.sources import Bands
from hsitools.cube.windows import Window
from hsitools.side_by_side import side_by_side
from pansharpen.in_memory import marked
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
        Of a tile.
    """

    def __init__(self, scene: Any, function: Callable[[Tile], torch.Tensor]) -> None:
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
        self._missing: dict[tuple[int, int], tuple[float, int]] = {}
        self._last: tuple[Window, NDArray[np.float32]] | None = None
        self._kept: dict[tuple[int, int], NDArray[np.float32]] = {}
        self._offered: set[tuple[int, int]] = set()

    def read(self, bands: Bands, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Values of a window; every tile that it touches is fused (the last one is remembered)."""
        r = self.scene.optics.ratio
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        everything = np.array_equal(bands, np.arange(self.shape[0]))
        out: NDArray[np.float32] | None = None
        reached = [(window, shared) for window in self.scene.windows if (shared := window.overlap(rows, columns, r))]
        with closing(side_by_side(self._fused, [window for window, _ in reached], self.at_once)) as tiles:
            for tile, (_, (own, asked)) in zip(tiles, reached, strict=True):
                part = tile[:, *own]
                if everything and part.shape[1:] == shape:
                    return part
                if out is None:
                    out = np.empty((len(bands), *shape), dtype=np.float32)
                out[:, *asked] = part if everything else part[bands]
        assert out is not None, "windows cover the image"
        return out

    @property
    def missing(self) -> float | None:
        """Share of the voxels of bands that the method sees without a measurement; None until all tiles were read."""
        if len(self._missing) < len(self.scene.windows):
            return None
        lost, total = np.sum(list(self._missing.values()), axis=0)
        return float(lost / total)

    def __getstate__(self) -> dict[str, Any]:
        """For workers, each of whose threads computes a tile: without tiles, and each layer by itself."""
        return self.__dict__ | {"_last": None, "beside": None, "_kept": {}, "at_once": 1}

    def _fused(self, window: Window) -> NDArray[np.float32]:
        with _LOCK:
            if self._last is not None and self._last[0] == window:
                return self._last[1]
            self._last = None
            own = self._kept.pop(_corner(window), None)
        if own is None:
            tile = self.scene.tile(window)
            own = self._layer(window, tile)
            if self.beside is not None:
                self.beside._keep(window, tile)
            tile.let_go()
        self._last = window, own
        return own

    def _keep(self, window: Window, tile: Tile) -> None:
        """Compute a tile of this layer ahead, once, if there is room for it."""
        pixels = math.prod(part.stop - part.start for part in (window.rows, window.columns))
        size = 4 * self.shape[0] * self.scene.optics.ratio**2 * pixels
        with _LOCK:
            held = sum(part.nbytes for part in self._kept.values())
            if _corner(window) in self._offered or held + size > KEPT_BYTES:
                return
            self._offered.add(_corner(window))
        layer = self._layer(window, tile)
        with _LOCK:
            self._kept[_corner(window)] = layer

    def _layer(self, window: Window, tile: Tile) -> NDArray[np.float32]:
        scene = self.scene
        with torch.no_grad():
            fused = self.function(tile)
            if _not_finite(fused, tile.measured):
                raise FloatingPointError(
                    f"{scene.cube.who}: found values that are not finite in the fused rows "
                    f"{window.rows.start}:{window.rows.stop}, columns {window.columns.start}:{window.columns.stop}"
                )
            own = marked(fused, tile)[0].cpu().numpy()
            lost = 0.0 if tile.measured is None else 1 - float(tile.measured.double().mean())
            self._missing[_corner(window)] = lost * own.size, own.size
            if scene.n_bands < scene.cube.n_bands:
                rest = np.setdiff1d(np.arange(scene.cube.n_bands), scene.bands)
                whole = np.full((scene.cube.n_bands, *own.shape[1:]), np.nan, dtype=np.float32)
                whole[scene.bands] = own
                if self.interpolates:
                    whole[rest] = scene.interpolated(window, rest)[0].cpu().numpy()
                own = whole
        return own


def _corner(window: Window) -> tuple[int, int]:
    return window.rows.start, window.columns.start


def _not_finite(fused: torch.Tensor, measured: torch.Tensor | None) -> bool:
    """Whether a value is not finite where there was a measurement."""
    if torch.isfinite(fused.sum()):  # as it is only when all are: one pass without a temporary
        return False
    return bool((~torch.isfinite(fused) & (True if measured is None else measured)).any())
