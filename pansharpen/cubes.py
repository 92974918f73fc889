"""The front door of this package: a cube and its panchromatic image become one sharp cube."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import NoneType
from typing import Literal, overload

import numpy as np

from hsitools.cube import Cube
from hsitools.cube.sources import detached
from hsitools.errors import InputError, require_type
from hsitools.sensor.sensor import Sensor
from pansharpen.in_memory import Progress
from pansharpen.noisy import cube_without_noise
from pansharpen.pair.alignment import paired
from pansharpen.registry import METHODS, Method, get, names
from pansharpen.tiled import Fused, fuse_pair


@overload
def fuse(
    cube: Cube, pan: Cube | None = None, method: str | Method = "physics", sensor: Sensor | None = None, *,
    reproject: bool = False, seed: int = 0, weights: str | Path | None = None, progress: Progress | None = None,
    device: str = "cpu", std: Literal[False] = False, guide: Cube | Sequence[Cube] = (),
    guide_sensor: str | Sensor | None = None, noise: str | None = None,
) -> Cube: ...  # fmt: skip


@overload
def fuse(
    cube: Cube, pan: Cube | None = None, method: str | Method = "physics", sensor: Sensor | None = None, *,
    reproject: bool = False, seed: int = 0, weights: str | Path | None = None, progress: Progress | None = None,
    device: str = "cpu", std: Literal[True], guide: Cube | Sequence[Cube] = (),
    guide_sensor: str | Sensor | None = None, noise: str | None = None,
) -> Fused: ...  # fmt: skip


def fuse(
    cube: Cube, pan: Cube | None = None, method: str | Method = "physics", sensor: Sensor | None = None, *,
    reproject: bool = False, seed: int = 0, weights: str | Path | None = None, progress: Progress | None = None,
    device: str = "cpu", std: bool = False, guide: Cube | Sequence[Cube] = (),
    guide_sensor: str | Sensor | None = None, noise: str | None = None,
) -> Cube | Fused:  # fmt: skip
    """Fuse a hyperspectral cube with a panchromatic image; wavelengths, bad bands and coordinates are kept.

    Parameters
    ----------
    cube : Cube, shape (band, y, x)
        Voxels that are NaN or nodata were not measured, nor are those that cannot be of the scene (far beyond all of
        their band, and shown by nothing beside them); bands marked bad come back interpolated and marked bad.
    pan : Cube, shape (1, ratio·y, ratio·x), optional
        Default: the one that came with the cube (``cube.pan``). Where both have a map, these say how they lie.
    method : str or Method
        See `list_methods`.
    sensor : Sensor, optional
        Its MTF, PAN response and, for a cube in its units, noise; default an MTF gain of 0.30 at Nyquist, an unknown
        response and noise estimated from the cube.
    reproject : bool
        Bring PAN onto the cube's grid and coordinate system first.
    seed : int
        Of methods that draw at random.
    weights : path, optional
        Folder or file of a trained net's weights; default those of the package.
    progress : callable, optional
        Called with (steps done, steps in all).
    device : str
        ``cpu``, ``cuda``, or ``auto``: a GPU where there is one.
    guide : Cube or sequence of Cube
        Bands of another sensor, finer than the cube, instead of PAN or beside it; each image of one pixel size. Pixels
        that cannot be of the scene are taken as not measured, as PAN's are.
        Methods that know PAN only are given the mean of the finest one's channels for it.
    guide_sensor : str or Sensor, optional
        Whose bands these are: ``sentinel-2``, ``landsat-8``, ``ali``, ``planetscope`` (or a sensor with the guide's
        bands); default what the guide's wavelengths tell, else responses are estimated.
    std : bool
        Give the standard deviation of every voxel too, of methods that know it (`Method.has_std`).
    noise : str, optional
        ``blind``: take noise, column offsets and outliers off the cube first, by help of PAN, and let ``std`` know
        what is left of them.

    Returns
    -------
    Cube, shape (band, ratio·y, ratio·x)
        Of methods that go by tiles it is computed where it is read or saved, in bounded memory. With ``std`` a `Fused`:
        ``estimate`` and ``std``, both such cubes.

    Raises
    ------
    InputError
        When there is no PAN, it does not fit the cube, or the method is unknown, needs more memory than there is
        or has no error bars that are asked for.

    Examples
    --------
    >>> import numpy as np
    >>> from hsitools import preset, scene
    >>> sensor = preset("prisma").select(range(0, 60, 6))
    >>> observed = sensor.observe(scene((96, 96), seed=1), np.random.default_rng(2))
    >>> observed.shape, observed.pan.shape
    ((10, 16, 16), (1, 96, 96))
    >>> fuse(observed, method="GSA", sensor=sensor).shape
    (10, 96, 96)
    >>> fused = fuse(observed, sensor=sensor, std=True)
    >>> fused.std.shape == fused.estimate.shape
    True
    """
    guides = list(guide) if isinstance(guide, Sequence) else [guide]
    for where, image in [("cube", cube), *(("guide", one) for one in guides)]:
        Cube.require(image, where)
    Sensor.require(sensor)
    require_type(guide_sensor, (str, Sensor, NoneType), "guide_sensor", "a name or a Sensor")
    if guide_sensor is not None and not guides:
        raise InputError("guide_sensor: found one without a guide, expected both (guide=…)")
    require_type(seed, (int, np.integer), "seed", "a whole number")
    entry = method if isinstance(method, Method) else get(method)
    entry.check(std=std, weights=weights)
    pair = cube if pan is None else cube.replace(pan=pan)
    pair, cube_std = paired(pair, reproject=reproject), None
    if entry.tiled:
        # fused where it is read, by what is learned of the images now
        pair, guides = _detached(pair), [_detached(image) for image in guides]
    if noise is not None:
        pair, cube_std = cube_without_noise(pair, noise, sensor, guides=guides, guide_sensor=guide_sensor)
    fused = fuse_pair(
        pair, entry, sensor, seed=seed, weights=weights, progress=progress, device=device, std=std, cube_std=cube_std,
        guides=guides, guide_sensor=guide_sensor, std_as_noise=noise is not None,
    )  # fmt: skip
    return fused if std else fused.estimate


def _detached(cube: Cube) -> Cube:
    return cube.replace(data=detached(cube.data), pan=None if cube.pan is None else _detached(cube.pan))


def list_methods(family: str | None = None) -> list[Method]:
    """Fusion methods, of one family or all: each with its name, family, paper and what it needs.

    Examples
    --------
    >>> [method.name for method in list_methods("component substitution")]
    ['BDSD-PC', 'Brovey', 'BT-H', 'GSA', 'PRACS']
    """
    return [METHODS[name] for name in names(family)]
