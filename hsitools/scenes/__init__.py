"""Procedural scenes: plausible reflectances, textures and edges at all scales, any size, read window by window."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.cube import Cube
from hsitools.cube.sources import Bands
from hsitools.errors import InputError
from hsitools.scenes.spectra import MATERIALS, NAMES, check_wavelength, library
from hsitools.scenes.terrain import SUPER, Ground, ground

__all__ = ["MATERIALS", "NAMES", "SceneSource", "abundances", "library", "procedural_scenes", "scene"]

#: Side of the tiles that are computed whole, so that no value depends on the window asked for.
TILE = 64
#: A sensor reads each tile several times: by bands, for its PAN, and to see what is blank. Kept are 24 MB of them.
KEPT_TILES = 16
#: Absorptions are deepened by this factor in the curve that carries their variation.
DEEPER = 1.5


class SceneSource:
    """The reflectance of a procedural scene, computed where it is read (see `hsitools.cube.sources.Source`)."""

    def __init__(self, shape: tuple[int, int], wavelength_nm: NDArray[Any], seed: int, illumination: bool) -> None:
        self.shape = (len(wavelength_nm), *shape)
        self.dtype = np.dtype(np.float32)
        self.seed, self.illumination = seed, illumination
        #: What decides the values; these differ in their last bits from machine to machine (`hsitools.identity`).
        self.declared = {"scene": "procedural", "shape": self.shape, "wavelength_nm": wavelength_nm, "seed": seed,
                         "illumination": illumination}  # fmt: skip
        plain = library(wavelength_nm)
        slope = plain * (wavelength_nm - 1200) / 1000
        depth = library(wavelength_nm, DEEPER) - plain
        # brightness, slope and depth of features each carry a set of endmembers
        self._endmembers = np.concatenate([plain, slope, depth])

    def read(self, bands: Bands, rows: slice, columns: slice) -> NDArray[Any]:
        """Reflectance ``(len(bands), y, x)`` of a window."""
        out = np.empty((len(bands), rows.stop - rows.start, columns.stop - columns.start), dtype=np.float32)
        for top in range(rows.start - rows.start % TILE, rows.stop, TILE):
            for left in range(columns.start - columns.start % TILE, columns.stop, TILE):
                y0, y1 = max(top, rows.start), min(top + TILE, rows.stop)
                x0, x1 = max(left, columns.start), min(left + TILE, columns.stop)
                tile = self._tile(top, left)
                out[:, y0 - rows.start : y1 - rows.start, x0 - columns.start : x1 - columns.start] = tile[
                    bands, y0 - top : y1 - top, x0 - left : x1 - left
                ]
        return out

    def _tile(self, top: int, left: int) -> NDArray[np.float32]:
        values = self._endmembers.T @ _mixed(top, left, self.seed, self.illumination)
        return np.clip(values, 0, 1.2).astype(np.float32).reshape(-1, TILE, TILE)


@functools.lru_cache(KEPT_TILES)
def _mixed(top: int, left: int, seed: int, illumination: bool) -> NDArray[np.float64]:
    """How much of each endmember the pixels of a tile hold, ``(endmember, pixel)``."""
    ground = _ground(top, left, seed, illumination)
    weight = _shares(ground) * (ground.brightness * ground.light)
    coefficients = [_pool(part) for part in (weight, weight * ground.slope, weight * ground.depth)]
    mixed = np.concatenate(coefficients).reshape(-1, TILE * TILE)
    mixed.flags.writeable = False
    return mixed


def _ground(top: int, left: int, seed: int, illumination: bool) -> Ground:
    step = (np.arange(TILE * SUPER) + 0.5) / SUPER
    return ground(top + step, left + step, seed, illumination)


def _shares(ground: Ground) -> NDArray[np.float64]:
    """Share of each material at each point, ``(material, y, x)``."""
    codes = np.arange(len(MATERIALS))[:, None, None]
    return (codes == ground.material) * (1 - ground.share) + (codes == ground.second) * ground.share


def _pool(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the points of each pixel."""
    count, height, width = values.shape
    return values.reshape(count, height // SUPER, SUPER, width // SUPER, SUPER).mean(axis=(2, 4))


def _check_shape(shape: tuple[int, int]) -> tuple[int, int]:
    if np.shape(shape) != (2,) or not all(size == int(size) >= 1 for size in shape):
        raise InputError(f"shape: found {shape}, expected whole positive numbers (y, x)")
    return int(shape[0]), int(shape[1])


def scene(
    shape: tuple[int, int] = (240, 240), *, wavelength_nm: Any = None, seed: int = 0, illumination: bool = True
) -> Cube:
    """A countryside with a town, in reflectance.

    Parameters
    ----------
    shape : (int, int)
        Pixels (y, x), of about 5 m; as large as you like: only what is read is computed.
    wavelength_nm : array, optional
        Default 211 wavelengths from 400 to 2500 nm.
    seed : int
        Same seed, same bytes; a larger scene of the same seed contains the smaller one.
    illumination : bool
        Slopes lit by the sun, and shadows of houses.

    Returns
    -------
    Cube
        Lazy, float32.

    Raises
    ------
    InputError
        When the shape is not positive, or wavelengths lie outside 350 to 2600 nm.

    Examples
    --------
    >>> import numpy as np
    >>> view = scene((10_000, 10_000), wavelength_nm=np.linspace(400, 1000, 5), seed=3)
    >>> view.select(window=(5000, 5002, 0, 3)).read().shape
    (5, 2, 3)
    """
    wavelength = np.linspace(400, 2500, 211) if wavelength_nm is None else check_wavelength(wavelength_nm)
    spacing, order = np.full(len(wavelength), 10.0), np.argsort(wavelength)
    if len(wavelength) > 1:
        spacing[order] = np.gradient(wavelength[order])
    return Cube(
        data=SceneSource(_check_shape(shape), wavelength, seed, illumination), wavelength_nm=wavelength,
        fwhm_nm=np.maximum(spacing, 1e-3), units="1", name=f"procedural scene {seed}", source="hsitools.scenes",
        meta={"seed": seed},
    )  # fmt: skip


def procedural_scenes(count: int, side: int, seed: int = 0) -> list[Cube]:
    """``count`` procedural scenes of ``side`` × ``side`` pixels, all different."""
    return [scene((side, side), seed=1000 * (seed + 1) + number) for number in range(count)]


def abundances(shape: tuple[int, int], *, seed: int = 0) -> NDArray[np.float32]:
    """True shares of `NAMES` in each pixel, ``(material, y, x)``; they sum to one."""
    height, width = _check_shape(shape)
    out = np.empty((len(MATERIALS), height, width), dtype=np.float32)
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            tile = _pool(_shares(_ground(top, left, seed, False)))
            y1, x1 = min(TILE, height - top), min(TILE, width - left)
            out[:, top : top + y1, left : left + x1] = tile[:, :y1, :x1]
    return out
