"""What a calibrated sensor tells of a cube: MTF and PAN response of its bands, noise at its levels."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.cube import Cube
from hsitools.cube.units import powers
from hsitools.errors import InputError
from hsitools.sensor import Sensor
from hsitools.sensor.detector import Detector
from hsitools.sensor.own_bands import require_own_bands
from hsitools.sensor.spatial import mtf_sigma
from pansharpen.optics import Optics
from pansharpen.pair.alignment import placement

Array = NDArray[np.float64]


def require_fit(cube: Cube, sensor: Sensor | None) -> None:
    """Raise `InputError` unless the bands of a cube, bad ones included, and its PAN's ratio can be the sensor's.

    The ratio is a sensor's own where it has PAN. A cube of fewer bands must have them where the sensor has some.
    """
    if sensor is None:
        return
    who = cube.who
    if cube.pan is not None and sensor.pan is not None and sensor.ratio != (ratio := placement(cube).ratio):
        raise InputError(
            f"{who}: pan: found {ratio} of its pixels to one of the cube, expected {sensor.ratio} as of {sensor.name}"
        )
    require_own_bands(cube, sensor)


def with_sensor(optics: Optics, sensor: Sensor, n_bands: int, who: str, cube: Cube | None = None) -> Optics:
    """The optics with the MTF, PAN response and noise of a sensor whose bands are those of the cube.

    The cube's wavelengths decide which of the sensor's bands these are, when it has more.

    Parameters
    ----------
    optics : Optics
    sensor : Sensor
    n_bands : int
    who : str
        For messages.
    cube : Cube, optional
        With PAN; its mean levels (it is read once) are what the noise is told for. A cube in other units than the
        sensor's noise, or that does not say, is told none: see `tells_noise`.

    Raises
    ------
    InputError
        When the sensor's bands are not the cube's.
    """
    bands = np.arange(sensor.n_bands)
    centre = sensor.response.wavelength_nm
    if optics.wavelength_nm is not None and centre is not None:
        bands = np.abs(centre[:, None] - optics.wavelength_nm[None]).argmin(axis=0)
        width = np.asarray(sensor.response.fwhm_nm)[bands]
        off = np.abs(centre[bands] - optics.wavelength_nm)
        if np.any(off > width):
            worst = int(np.argmax(off / width))
            raise InputError(
                f"{who}: wavelength_nm: band {worst} at {optics.wavelength_nm[worst]:.1f} nm, expected a band of "
                f"{sensor.name} (the nearest is at {centre[bands[worst]]:.1f} nm)"
            )
    elif sensor.n_bands != n_bands:
        raise InputError(f"{who}: bands: found {n_bands}, expected {sensor.n_bands} as of {sensor.name}")
    changes: dict[str, Any] = {}
    if sensor.mtf is not None:
        changes["mtf"] = sensor.mtf[bands]
    if sensor.pan is not None:
        changes["pan_mtf"] = sensor.pan_mtf
    if sensor.pan is not None and centre is not None:
        changes["pan_response"] = pan_weights(sensor, centre[bands])
    if cube is not None and tells_noise(sensor, cube):
        changes |= noise_at(
            None if sensor.noise is None else sensor.noise.select(bands), sensor.pan_noise, mean_level(cube),
            None if cube.pan is None else mean_level(cube.pan),
        )  # fmt: skip
    return dataclasses.replace(optics, **changes)


def tells_noise(sensor: Sensor, cube: Cube) -> bool:
    """Whether the sensor's noise holds for the cube: it has some, in the cube's units."""
    if sensor.noise is None and sensor.pan_noise is None:
        return False
    return cube.units == sensor.units or (cube.units != "" and powers(cube.units) == powers(sensor.units))


def with_errors(optics: Optics, std: Any, bands: Any, cube: Cube, *, as_noise: bool = False) -> Optics:
    """Optics of a cube that was denoised, with the errors that it still has and without its sensor's noise.

    ``std`` (band,) is their standard deviation in all bands of the cube, None where it was not denoised; ``bands`` are
    those of the optics. ``as_noise``: the fusion believes the cube only as far as these let it.
    """
    if std is None:
        return optics
    if np.shape(std) != (cube.n_bands,):
        who = cube.who
        raise InputError(f"{who}: cube_std: found shape {np.shape(std)}, expected ({cube.n_bands},), one a band")
    variance = np.square(std)[bands]
    return dataclasses.replace(optics, error_variance=variance, noise_variance=variance if as_noise else None)


def noise_said(sensor: Sensor, cube: Cube) -> str:
    """Whose noise a fusion of the cube goes by, for whoever reads its result."""
    if sensor.noise is None and sensor.pan_noise is None:
        return "estimated: the sensor tells none"
    if tells_noise(sensor, cube):
        return "the sensor's"
    return f"estimated: the sensor's is for values in {sensor.units!r}, the cube's are in {cube.units or 'unknown'!r}"


def mean_level(cube: Cube) -> Array:
    """Mean of each band over what was measured, ``(band,)``; zero for a band without a measurement."""
    return np.nan_to_num(cube.physical().statistics()["mean"])


def noise_at(
    noise: Detector | None, pan_noise: Detector | None, level: Array, pan_level: Array | None
) -> dict[str, Any]:  # fmt: skip
    """What detectors tell of `Optics`: their noise at these mean levels, and from which values on they are full."""
    variance = pan_variance = full = pan_full = None
    if noise is not None:
        variance = np.ravel(noise.variance(np.asarray(level, dtype=float)[:, None, None])).astype(float)
        full = np.broadcast_to(noise.full_from, len(variance))
    if pan_noise is not None and pan_level is not None:
        pan_variance = float(np.ravel(pan_noise.variance(np.asarray(pan_level, dtype=float)[:, None, None]))[0])
        pan_full = float(np.ravel(pan_noise.full_from)[0])
    return {
        "noise_variance": variance, "pan_variance": pan_variance, "full_scale": full, "pan_full_scale": pan_full,
    }  # fmt: skip


def pan_weights(sensor: Sensor, wavelength_nm: Array) -> Array | None:
    """How the sensor's PAN is made up of bands at these wavelengths, ``(band,)``; None when they miss most of it."""
    if len(wavelength_nm) < 2:
        return None
    order = np.argsort(wavelength_nm, kind="stable")
    out = np.empty(len(order))
    try:
        out[order] = sensor.pan.matrix(wavelength_nm[order])[0]
    except InputError:
        return None
    return out


def averaged_noise(optics: Optics) -> dict[str, Any]:
    """What blur and decimation leave of the detector: of the noise the sum of the squared weights, no full scale."""

    def weight(gains: Any) -> Any:
        sigma = np.stack([mtf_sigma(axis, optics.ratio) for axis in np.atleast_2d(gains).T])
        return 1 / (4 * np.pi * sigma.prod(axis=0))

    mtf = np.asarray(optics.mtf, dtype=float)
    both = mtf if mtf.ndim == 2 else np.stack([np.atleast_1d(mtf)] * 2, axis=1)
    out: dict[str, Any] = {"full_scale": None, "pan_full_scale": None}
    if optics.noise_variance is not None:
        out["noise_variance"] = optics.noise_variance * weight(both)
    if optics.pan_variance is not None:
        out["pan_variance"] = optics.pan_variance * float(weight(optics.mean_gains())[0])
    return out
