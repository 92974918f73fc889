"""Pairs of coarse cube and reference, as a sensor makes them: for training and validation, without a shared pixel."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hsitools.cube import Cube
from hsitools.errors import InputError
from hsitools.learning.card import scene_names
from hsitools.progress import Progress
from hsitools.sensor import Sensor
from hsitools.sensor.spatial import TAIL, mtf_sigma
from pansharpen.case import FusionCase
from pansharpen.pair.wald import real_case, simulated_case

#: Coarse pixels on a side below which a piece of a scene is refused: nets look several of them around.
MIN_SIDE = 4
#: Share that is held out, and the number of scenes from which on it is whole ones: with fewer a fifth is none.
HELD_OUT, WHOLE_SCENES = 0.2, 5
Window = tuple[int, int, int, int]


# ---- split -----------------------------------------------------------------------------------------------------


def psf_reach(sensor: Sensor) -> int:
    """Coarse pixels from whose surroundings the PSF of a coarse pixel takes its light, on each side."""
    if sensor.mtf is None:
        return 0
    return math.ceil(TAIL * float(mtf_sigma(np.min(sensor.mtf), sensor.ratio)[0]) / sensor.ratio)


def split(
    shape: tuple[int, int], *, share: float = HELD_OUT, gap: int = 0, step: int = 1, at_end: bool = True
) -> tuple[Window, Window]:
    """Cut an image across its longer side into a part for training and one for validation.

    Parameters
    ----------
    shape : (int, int)
        Pixels (y, x).
    share : float
        That is held out.
    gap : int
        Pixels between the parts that belong to neither: twice a PSF's reach keeps any light from being in both.
    step : int
        Cuts are at multiples of it.
    at_end : bool
        Hold out the end rather than the beginning.

    Returns
    -------
    (y0, y1, x0, x1), (y0, y1, x0, x1)
        Windows for training and for validation.

    Raises
    ------
    InputError
        When nothing is left of either.
    """
    along = 0 if shape[0] >= shape[1] else 1
    size = shape[along] // step * step
    gap = -(-gap // step) * step
    held = max(round(share * size / step), 1) * step
    if size - held - gap < step:
        raise InputError(f"scene: found {shape[0]}×{shape[1]} pixels, expected more than {held + gap} to split")
    spans = ((0, size - held - gap), (size - held, size)) if at_end else ((held + gap, size), (0, held))

    def window(span: tuple[int, int]) -> Window:
        return (*span, 0, shape[1]) if along == 0 else (0, shape[0], *span)

    return window(spans[0]), window(spans[1])


# ---- pairs -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, eq=False)
class Pairs:
    """Cases with references for training and for validation, each with those of the sensor's bands that it has.

    Attributes
    ----------
    training, validation : list of FusionCase
    bands : array, shape (band,)
        Numbers, in the sensor, of the bands that any of them has.
    wavelength_nm : array, shape (band,)
        Of these.
    held_out : tuple of str
        Names of the scenes for validation; none when all were cut in two.
    """

    training: list[FusionCase]
    validation: list[FusionCase]
    bands: NDArray[np.int64]
    wavelength_nm: NDArray[np.float64]
    held_out: tuple[str, ...] = ()

    def former_name(self) -> str:
        """What 0.1.0's checkpoints call these data: a hash of all values, which is the same on one machine only."""
        digest = hashlib.sha256(self.bands.tobytes())
        for case in (*self.training, None, *self.validation):
            digest.update(b"|" if case is None else case.coarse.numpy().tobytes() + case.pan.numpy().tobytes())
        return digest.hexdigest()[:12]


def make_pairs(scenes: Sequence[Cube], sensor: Sensor, *, seed: int = 0, progress: Progress | None = None) -> Pairs:
    """Pairs by the sensor: plain scenes are observed with its noise, products with PAN are degraded after Wald.

    From five scenes on whole ones are held out; fewer are each cut in two (see `split`), and simulated apart.

    Parameters
    ----------
    scenes : sequence of Cube
    sensor : Sensor
        With PAN.
    seed : int
        Of the noise, and of what is held out.
    progress : callable, optional
        Called with (scenes done, scenes in all).

    Raises
    ------
    InputError
        When scenes are too small, or not in the sensor's bands or ratio.
    """
    if not scenes:
        raise InputError("data: found no scene, expected at least one")
    rng = np.random.default_rng(seed)
    count = len(scenes)
    pieces: list[tuple[Cube, bool]] = []
    names: tuple[str, ...] = ()
    if count >= WHOLE_SCENES:
        held = set(rng.permutation(count)[: max(round(HELD_OUT * count), 1)].tolist())
        pieces = [(cube, number in held) for number, cube in enumerate(scenes)]
        names = scene_names([cube for cube, held_out in pieces if held_out])
    else:
        for cube in scenes:
            product = cube.pan is not None
            step = 1 if product else int(sensor.ratio)
            windows = split(
                cube.shape[1:], gap=2 * psf_reach(sensor) if product else 0, step=step, at_end=bool(rng.integers(2))
            )
            pieces += [(cube.select(window=window), held) for window, held in zip(windows, (False, True), strict=True)]
    made: list[tuple[FusionCase, bool]] = []
    for number, (cube, held_out) in enumerate(pieces):
        if cube.pan is not None:
            case = real_case(cube, sensor, reduced=True)
        else:
            case = simulated_case(cube, sensor, seed=seed + number)
        if min(case.coarse.shape[-2:]) < MIN_SIDE:
            raise InputError(
                f"{case.name}: found {case.coarse.shape[-2]}×{case.coarse.shape[-1]} coarse pixels"
                f"{'' if count >= WHOLE_SCENES else ' after the split'}, expected at least {MIN_SIDE}×{MIN_SIDE}"
            )
        if case.optics.ratio != sensor.ratio:
            raise InputError(f"{case.name}: ratio: found {case.optics.ratio}, expected {sensor.ratio} of {sensor.name}")
        made.append((case, held_out))
        if progress is not None:
            progress(number + 1, len(pieces))
    bands = np.unique(np.concatenate([sensor_bands(case, sensor) for case, _ in made]))
    return Pairs(
        training=[case for case, held in made if not held], validation=[case for case, held in made if held],
        bands=bands, wavelength_nm=np.asarray(sensor.response.wavelength_nm)[bands],
        held_out=names,
    )  # fmt: skip


def sensor_bands(case: FusionCase, sensor: Sensor) -> NDArray[np.int64]:
    """Which of the sensor's bands those of the case are."""
    own = case.optics.wavelength_nm
    if own is None:
        return np.arange(case.n_bands)
    return np.abs(np.asarray(sensor.response.wavelength_nm)[:, None] - own[None]).argmin(axis=0)
