"""A scene on a sensor: blurred, sampled, read out by the detector, a few rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsitools.cube import Cube
from hsitools.cube.blank import without_blank
from hsitools.cube.units import powers
from hsitools.errors import InputError
from hsitools.sensor.bands import known_bands, resample
from hsitools.sensor.detector import read_out
from hsitools.sensor.parts import SensorParts
from hsitools.sensor.pattern import Pattern
from hsitools.sensor.spectral import FabryPerotResponse

if TYPE_CHECKING:
    import torch

#: Coarse rows that are simulated at a time. Part of the definition: the same seed gives the same bytes.
ROWS = 32


class Rows(NamedTuple):
    """Some coarse rows of an observation, and which of their values are saturated."""

    rows: slice
    values: NDArray[np.float32]
    pan: NDArray[np.float32] | None
    saturated: NDArray[np.bool_]
    pan_saturated: NDArray[np.bool_] | None


def frame_of(sensor: SensorParts, scene: Cube) -> Cube:
    """Labels and size of what a sensor sees of a scene, with no values in it."""
    height, width = scene.shape[1] // sensor.ratio, scene.shape[2] // sensor.ratio
    if min(height, width) < 1:
        raise InputError(f"scene: found {scene.shape[1]}×{scene.shape[2]} pixels, expected at least {sensor.ratio}")
    transform = None
    if scene.transform is not None:
        a, b, c, d, e, f = scene.transform
        r = sensor.ratio
        # the first pixel's centre lies at the offset; half a coarse pixel before it is its corner
        shift = 0.0 if sensor.offset is None else sensor.offset - (r - 1) / 2
        transform = (a * r, b * r, c + (a + b) * shift, d * r, e * r, f + (d + e) * shift)
    pan = None
    if sensor.pan is not None:
        shape = (1, height * sensor.ratio, width * sensor.ratio)
        pan = Cube(
            data=np.broadcast_to(np.float32(0), shape), wavelength_nm=sensor.pan.wavelength_nm,
            fwhm_nm=sensor.pan.fwhm_nm, units=scene.units, crs=scene.crs, transform=scene.transform,
            name="panchromatic", source=f"{sensor.name}: PAN",
        )  # fmt: skip
    return Cube(
        data=np.broadcast_to(np.float32(0), (sensor.n_bands, height, width)),
        wavelength_nm=sensor.response.wavelength_nm, fwhm_nm=sensor.response.fwhm_nm, units=scene.units, crs=scene.crs,
        transform=transform, pan=pan, name=f"{scene.name or 'scene'} as seen by {sensor.name}",
        source=scene.source, meta={"sensor": sensor.name, "sensor_hash": sensor.fingerprint()},
    )  # fmt: skip


def observe_rows(
    sensor: SensorParts, scene: Cube, rng: np.random.Generator | int | None = None, *, noise: bool = True,
    device: str = "cpu",
) -> Iterator[Rows]:  # fmt: skip
    """What a sensor sees of a scene, a few coarse rows at a time; see `hsitools.sensor.Sensor.observe`."""
    import torch

    from hsitools.sensor.spatial import mean_of_known

    frame = frame_of(sensor, scene)
    told = scene.units and sensor.units and not isinstance(sensor.response, FabryPerotResponse)
    if noise and told and powers(scene.units) != powers(sensor.units):
        # of percent, noise would be a hundredth of what it is
        raise InputError(f"{scene.who}: units: found {scene.units!r}, expected {sensor.units!r} as {sensor.name} sees")
    height, width = frame.shape[1:]
    r = sensor.ratio
    rng = np.random.default_rng(rng)
    pattern_rng, *streams = rng.spawn(1 + -(-height // ROWS))
    pattern = sensor.pattern(frame.shape, pattern_rng) if noise else None
    physical = without_blank(scene.physical())
    # a pixel off the sensor's whole pixels would never be seen
    physical = physical.select(window=(0, height * r, 0, width * r))
    spectral = resample(physical, sensor.response) if not isinstance(sensor.response, FabryPerotResponse) else physical
    usable, matrix = known_bands(physical), None
    if isinstance(sensor.response, FabryPerotResponse):
        assert physical.wavelength_nm is not None
        matrix = sensor.response.matrix(physical.wavelength_nm[usable])
    pan_view = None if sensor.pan is None else resample(physical, sensor.pan)
    brightest = None
    for number, start in enumerate(range(0, height, ROWS)):
        rows = slice(start, min(start + ROWS, height))
        halo = 0 if sensor.mtf is None else 8 * r
        top, bottom = max(rows.start * r - halo, 0), min(rows.stop * r + halo, height * r)
        if isinstance(sensor.response, FabryPerotResponse):
            assert matrix is not None
            light = physical.read(bands=usable, rows=slice(top, bottom)).astype(np.float64)
            values = torch.tensordot(torch.as_tensor(matrix).to(device), torch.as_tensor(light).to(device), dims=1)
        else:
            values = torch.as_tensor(np.ascontiguousarray(spectral.read(rows=slice(top, bottom)))).to(device)
        image = partial(_image, sensor, rows=rows, top=top)
        coarse = mean_of_known(image, values).cpu().numpy().astype(np.float32)
        saturated = np.zeros(coarse.shape, dtype=bool)
        if pattern is not None:
            if brightest is None:
                brightest = float(np.nanmax(np.abs(coarse), initial=0.0))
            coarse, saturated = _detect(sensor, coarse, rows, pattern, streams[number], brightest)
        fine = fine_saturated = None
        if pan_view is not None:
            fine, fine_saturated = _pan_rows(sensor, pan_view, rows, streams[number] if noise else None, device)
        yield Rows(rows, coarse, fine, saturated, fine_saturated)


def _image(sensor: SensorParts, values: torch.Tensor, rows: slice, top: int) -> torch.Tensor:
    """Blur, sample and distort the fine rows from ``top`` on: the coarse ``rows``."""
    from hsitools.sensor.coarse_grid import centred_offset
    from hsitools.sensor.separable import size_of
    from hsitools.sensor.spatial import mtf_decimate

    if sensor.mtf is None:
        return values if sensor.distortion is None else sensor.distortion.forward(values)
    offset = centred_offset(sensor.ratio) if sensor.offset is None else sensor.offset
    # rows before those asked for, whose samples are computed and dropped
    before = (rows.start * sensor.ratio - top) // sensor.ratio
    operator = mtf_decimate(size_of(values), sensor.mtf, sensor.ratio, offset)
    out = operator(values)[..., before : before + rows.stop - rows.start, : values.shape[-1] // sensor.ratio]
    return out if sensor.distortion is None else sensor.distortion.forward(out)


def _pan_rows(
    sensor: SensorParts, view: Cube, rows: slice, rng: np.random.Generator | None, device: str
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """PAN's image of ``rows`` from the scene as PAN's band sees it."""
    import torch

    from hsitools.sensor.separable import size_of
    from hsitools.sensor.spatial import mean_of_known, mtf_blur

    r, height = sensor.ratio, view.shape[1]
    first, last = rows.start * r, rows.stop * r
    top, bottom = max(first - 8, 0), min(last + 8, height)
    image = torch.as_tensor(view.read(rows=slice(top, bottom))).to(device)
    blur = mtf_blur(size_of(image), sensor.pan_mtf, 1)
    blurred = mean_of_known(blur, image)[:, first - top : last - top].cpu().numpy()
    if sensor.pan_noise is not None and rng is not None:
        return sensor.pan_noise.sample(blurred, rng)
    return blurred.astype(np.float32), np.zeros(blurred.shape, dtype=bool)


def _detect(
    sensor: SensorParts,
    clean: NDArray[np.float32],
    rows: slice,
    pattern: Pattern,
    rng: np.random.Generator,
    brightest: float,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Detector and fixed pattern, and the bits that flip on the way; where no saturation is known, hot elements
    and flipped bits read ``brightest``.
    """
    full: Any = np.inf if sensor.noise is None else sensor.noise.saturation
    saturates = bool(np.isfinite(full).all())
    values, saturated = read_out(sensor.noise, pattern, clean, rows, rng, hot=None if saturates else brightest)
    if sensor.defects is not None and sensor.defects.impulse:
        hit, high = rng.random(values.shape) < sensor.defects.impulse, rng.random(values.shape) < 0.5
        hit &= ~np.isnan(clean)
        top = np.reshape(full, (-1, 1, 1)) if saturates else brightest
        values = np.where(hit, np.where(high, top, 0.0), values).astype(np.float32)
        saturated &= ~hit
    return values, saturated
