"""Pairs for a comparison: a scene as a sensor sees it, a product as it is, or degraded once more after Wald."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hsitools.cube import Cube
from hsitools.cube.blank import without_blank
from hsitools.errors import InputError
from hsitools.sensor import Sensor
from hsitools.sensor.bands import known_bands, resample
from hsitools.sensor.multispectral import band_table
from hsitools.sensor.simulate import as_reflectance
from hsitools.sensor.spatial import mean_of_known, mtf_decimate
from pansharpen.case import FusionCase, guided
from pansharpen.optics import Optics
from pansharpen.pair.alignment import paired, placement
from pansharpen.pair.from_sensor import averaged_noise, mean_level, noise_at, pan_weights, require_fit, with_sensor
from pansharpen.pair.guides import noise_of, simulated_guides

#: A band of less than this share of the median band's mean (water vapour) says nothing, and would rule ERGAS.
MIN_LEVEL = 0.01


def simulated_case(
    scene: Cube, sensor: Sensor, *, ratio: int | None = None, noise: bool = True, seed: int = 0,
    scale: float | None = None, guide: str | None = None, snr_db: float | None = None,
) -> FusionCase:  # fmt: skip
    """What the sensor makes of a scene whose pixels are taken as PAN's, with the scene in its bands as reference.

    Parameters
    ----------
    scene : Cube
        Its bad bands are not used; it is cut to whole coarse pixels.
    sensor : Sensor
        With PAN. Bands that the scene does not cover, or in which it is dark (`MIN_LEVEL`), are left out.
    ratio : int, optional
        Instead of the sensor's own; the gain at Nyquist stays.
    noise : bool
    seed : int
    scale : float, optional
        Turns the scene's numbers into the sensor's units, instead of what its file says.
    guide : str, optional
        Imager (`hsitools.sensor.multispectral.band_table`) whose bands take PAN's place; the scene's pixels are those
        of its finest bands.
    snr_db : float, optional
        White noise of this signal-to-noise ratio in every band of the cube and of the sharp images, instead of the
        sensors'.

    Raises
    ------
    InputError
        When the sensor has no PAN and there is no guide, or the scene's wavelengths reach neither its bands nor PAN.

    Examples
    --------
    >>> from hsitools import preset, scene
    >>> case = simulated_case(scene((48, 48), seed=0), preset("prisma").select(range(0, 60, 20)), seed=1)
    >>> tuple(case.coarse.shape), tuple(case.pan.shape), tuple(case.reference.shape)
    ((1, 3, 8, 8), (1, 1, 48, 48), (1, 3, 48, 48))
    """
    table = None if guide is None else band_table(guide)
    if table is not None:
        sensor = sensor.replace(pan=None, pan_noise=None)
    elif sensor.pan is None:
        raise InputError(f"{sensor.name}: pan: missing, expected a sensor with a panchromatic response")
    sensor = sensor if ratio is None else sensor.replace(ratio=ratio, offset=None)
    scene = scene.drop_bad() if not scene.good.all() else scene
    covered = sensor.within(np.asarray(scene.wavelength_nm)[known_bands(scene)])
    notes: list[str] = []
    if scale is not None:
        scene = scene.rescaled(scale).replace(units=sensor.units)
    elif sensor.units == "1":
        scene, notes = as_reflectance(scene)
    r = int(covered.ratio)
    height, width = (size // r * r for size in scene.shape[1:])
    if min(height, width) < 1:
        raise InputError(f"{scene.name}: found {scene.shape[1]}×{scene.shape[2]} pixels, expected at least {r}")
    scene = without_blank(scene.physical()).select(window=(0, height, 0, width))
    truth = resample(scene, covered.response).read()
    level = np.abs(np.nanmean(truth, axis=(1, 2)))
    lit = np.flatnonzero(level > MIN_LEVEL * np.median(level))
    covered, truth = covered.select(lit), truth[lit]
    rng = np.random.default_rng(seed)
    observed = covered.observe(scene, rng, noise=noise and snr_db is None)
    wavelength = covered.response.wavelength_nm
    coarse, pan = observed.data, None if observed.pan is None else observed.pan.data
    told: dict[str, Any] = {}
    if snr_db is not None:
        coarse, variance = _noisy(coarse, snr_db, rng)
        told = {"noise_variance": variance}
        if pan is not None:
            pan, variance = _noisy(pan, snr_db, rng)
            told["pan_variance"] = float(variance[0])
    elif noise:
        level = None if observed.pan is None else mean_level(observed.pan)
        told = noise_at(covered.noise, covered.pan_noise, mean_level(observed), level)
    optics = Optics(
        ratio=r, offset=covered.offset, mtf=covered.mtf, wavelength_nm=wavelength, pan_mtf=covered.pan_mtf,
        pan_response=None if covered.pan is None else pan_weights(covered, wavelength), **told,
    )  # fmt: skip
    others: dict[str, Any] = {
        "reference": _tensor(truth), "name": scene.name or "scene", "notes": tuple(notes), "optics": optics,
    }  # fmt: skip
    if table is None:
        return FusionCase(coarse=_tensor(coarse), pan=_tensor(pan), **others)
    guides = simulated_guides(scene, table, r, wavelength, rng=rng, noise=noise, snr_db=snr_db)
    return guided(_tensor(coarse)[None], guides, **others)


def _noisy(image: Any, snr_db: float, rng: np.random.Generator) -> tuple[Any, Any]:
    """The image with white noise of that signal-to-noise ratio in each band, and its variance."""
    variance = noise_of(image, snr_db)
    return image + np.sqrt(variance)[:, None, None] * rng.standard_normal(np.shape(image)), variance


def real_case(cube: Cube, sensor: Sensor | None = None, *, reduced: bool = False) -> FusionCase:
    """A cube with its panchromatic image, as it is (full resolution) or degraded once more after Wald.

    Parameters
    ----------
    cube : Cube
        With ``pan``; bad bands are not used.
    sensor : Sensor, optional
        Its MTF, PAN response and noise; default the usual gain, an unknown response and noise.
    reduced : bool
        Degrade both by their ratio, so that the cube itself is the reference.

    Raises
    ------
    InputError
        When there is no PAN, or sizes are no whole multiple of one another.

    Examples
    --------
    >>> import numpy as np
    >>> from hsitools import preset, scene
    >>> sensor = preset("prisma").select(range(0, 60, 20))
    >>> observed = sensor.observe(scene((144, 144), seed=0), np.random.default_rng(1))
    >>> case = real_case(observed, sensor, reduced=True)
    >>> tuple(case.coarse.shape), tuple(case.reference.shape)
    ((1, 3, 4, 4), (1, 3, 24, 24))
    """
    require_fit(paired(cube), sensor)
    optics, cube = cube_optics(cube, sensor)
    assert cube.pan is not None
    coarse = _tensor(without_blank(cube.physical()).read())[None]
    pan = _tensor(cube.pan.physical().read())[None]
    case = FusionCase(coarse=coarse, pan=pan, optics=optics, name=cube.name or Path(cube.source).stem or "scene")
    return degraded(case) if reduced else case


def cube_optics(cube: Cube, sensor: Sensor | None) -> tuple[Optics, Cube]:
    """Optics of a cube with PAN, and the cube without its bad bands, cropped to what it shares with PAN.

    Nothing is read, unless the sensor's noise is to be told at the cube's levels. Maps, where both have one, say where
    the cube's pixels lie; else the sensor's offset does.
    """
    who = cube.who
    if cube.pan is None:
        raise InputError(f"{who}: pan: missing, expected a panchromatic image beside the cube")
    cube = paired(cube if cube.good.all() else cube.drop_bad())
    assert cube.pan is not None
    ratio, _, shift = placement(cube)
    optics = Optics(ratio=ratio, wavelength_nm=cube.wavelength_nm, shift=shift)
    if sensor is not None:
        mapped = cube.transform is not None and cube.pan.transform is not None
        if not mapped and sensor.offset is not None:
            optics = dataclasses.replace(optics, offset=sensor.offset)
        optics = with_sensor(optics, sensor, cube.n_bands, who, cube)
    return optics, cube


def degraded(case: FusionCase) -> FusionCase:
    """Wald's protocol: cube and PAN through the MTF and decimated by the ratio; the cube becomes the reference."""
    optics = case.optics
    r = optics.ratio
    height, width = (size // r * r for size in case.coarse.shape[-2:])
    if min(height, width) < r:
        raise InputError(f"{case.name}: found {tuple(case.coarse.shape[-2:])} pixels, expected at least {r}×{r}")
    truth, pan = case.coarse[..., :height, :width], case.pan[..., : height * r, : width * r]
    cube_down = mtf_decimate((height, width), optics.mtf, r, optics.offset)
    pan_down = mtf_decimate((height * r, width * r), optics.mean_gains(), r, optics.offset, shift=optics.shift)
    return FusionCase(
        coarse=mean_of_known(cube_down, truth), pan=mean_of_known(pan_down, pan), reference=truth,
        # the new reference and PAN have gone through the same optics: of the two, PAN has no blur of its own
        optics=dataclasses.replace(optics, shift=(0.0, 0.0), pan_mtf=None, **averaged_noise(optics)),
        name=f"{case.name}, reduced",
        notes=case.notes,
    )  # fmt: skip


def _tensor(values: Any) -> torch.Tensor:
    return torch.as_tensor(np.ascontiguousarray(values, dtype=np.float32))
