"""What a sensor tells of a cube's noise, in the cube's own units."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from denoise.case import Known
from denoise.separation.wild import wild
from hsitools.cube import Cube
from hsitools.cube.units import PERCENT, REFLECTANCE, powers
from hsitools.errors import InputError
from hsitools.sensor import Sensor
from hsitools.sensor.own_bands import require_own_bands
from hsitools.sensor.simulate import as_reflectance
from hsitools.text import counted


def known_by(cube: Cube, sensor: Sensor, scale: float | None = None) -> tuple[Known, list[str]]:
    """What a sensor tells of a cube's noise, in the cube's physical units, and what was assumed.

    Parameters
    ----------
    cube : Cube
    sensor : Sensor
    scale : float, optional
        Turns the cube's stored numbers into the sensor's units, instead of what its file says.

    Raises
    ------
    InputError
        When the sensor's bands, or its calibration's columns, are not the cube's, or nothing says how the cube's units
        become the sensor's.
    """
    who = cube.who
    if sensor.n_bands >= cube.n_bands:
        require_own_bands(cube, sensor)
    own, its = cube.wavelength_nm, getattr(sensor.response, "wavelength_nm", None)
    if sensor.n_bands >= cube.n_bands and own is not None and its is not None and np.isfinite(own).all():
        # a cube without some of its bands, or in another order: which are where, its wavelengths tell
        nearest = np.abs(np.asarray(its)[:, None] - own).argmin(axis=0)
        if len(set(nearest.tolist())) == cube.n_bands and not np.array_equal(nearest, np.arange(sensor.n_bands)):
            sensor, its = sensor.select(nearest), np.asarray(its)[nearest]
    if sensor.n_bands != cube.n_bands:
        raise InputError(
            f"{who}: sensor {sensor.name}: found {counted(sensor.n_bands, 'band')}, expected {cube.n_bands} "
            "(`hsi sensor make --like CUBE` makes one of a cube's bands)"
        )
    if own is not None and its is not None and cube.n_bands > 1:
        # in the same order, too
        distance = float(np.nanmax(np.abs(own - its)))
        spacing = float(np.nanmax(np.diff(np.sort(own))))
        if distance > spacing:
            raise InputError(
                f"{who}: sensor {sensor.name}: wavelength_nm: found bands {distance:.1f} nm off, expected those of the "
                f"cube within {spacing:.1f} nm"
            )
    unit, notes = units_of(cube, sensor, scale)
    sigma = slope = full = None
    if sensor.noise is not None:
        level = unit * _means(cube.physical())[:, None, None]
        variance = sensor.noise.variance(level)[:, 0, 0]
        # photon noise: the variance is a straight line above zero signal
        step = np.maximum(np.abs(level), 1e-6)
        slope = np.asarray((sensor.noise.variance(level + step)[:, 0, 0] - variance) / step[:, 0, 0]) / unit
        sigma = np.asarray(np.sqrt(variance)) / unit
        if np.isfinite(sensor.noise.saturation).all():
            full = np.broadcast_to(sensor.noise.full_from / unit, cube.n_bands)
    maps = sensor.calibration
    if maps is None:
        return Known(sigma=sigma, slope=slope, full_scale=full), notes
    if maps.gain.shape[1] != cube.shape[2]:
        raise InputError(
            f"{who}: sensor {sensor.name}: calibration: found {maps.gain.shape[1]} columns, expected {cube.shape[2]}"
        )
    return Known(
        sigma=sigma, slope=slope, gain=maps.gain, offset=maps.offset / unit, dead=maps.dead, full_scale=full
    ), notes


def _means(cube: Cube) -> NDArray[np.float64]:
    """Mean ``(band,)`` of a cube's values but for wild ones, tile by tile; zero where nothing was measured."""
    total, count = np.zeros(cube.n_bands), np.zeros(cube.n_bands)
    for rows, columns in cube.tiles():
        values = cube.read(rows=rows, columns=columns)
        valid = cube.valid(values)
        valid = valid & ~wild(values, valid)
        total += np.where(valid, values, 0).sum((1, 2), dtype=float)
        count += valid.sum((1, 2))
    return total / np.maximum(count, 1)


def units_of(cube: Cube, sensor: Sensor, scale: float | None) -> tuple[float, list[str]]:
    """Value in the sensor's units of a physical one of the cube, and what was assumed for it.

    Raises
    ------
    InputError
        When the units are others and no scale is given, or the numbers can not be of the sensor's.
    """
    if scale is not None:
        if not (np.isfinite(scale) and scale > 0):
            raise InputError(f"scale: found {scale}, expected a positive number")
        return scale / (cube.scale_factor or 1.0), []
    if sensor.noise is None and sensor.calibration is None:
        return 1.0, []
    who, its, wanted = cube.who, cube.units.strip(), sensor.units.strip()
    if "sensor_hash" in cube.meta and its == wanted:
        # as `hsi simulate` wrote it: bands of little light may be full, and far beyond what reflectance can be
        return 1.0, []
    if wanted in REFLECTANCE:
        if its.lower() in PERCENT:
            return 0.01, []
        if its and its.lower() not in REFLECTANCE and not _plain_reflectance(cube):
            raise _other_units(who, its, "1 (reflectance)", sensor)
        scene, notes = as_reflectance(cube)
        return (scene.scale_factor or 1.0) / (cube.scale_factor or 1.0), notes
    if its and powers(its) == powers(wanted):
        return 1.0, []
    if its or float(np.nanmax(np.abs(cube.physical().statistics()["max"]), initial=0.0)) <= 10:
        raise _other_units(who, its or "unknown", wanted or "unknown", sensor)
    return 1.0, [f"units not stated: values taken as {wanted or 'the sensor`s'}"]


def _plain_reflectance(cube: Cube) -> bool:
    """Whether a product calls its dimensionless numbers by another name (``reflectance × 10⁴``)."""
    return "reflectance" in cube.units.lower()


def _other_units(who: str, found: str, expected: str, sensor: Sensor) -> InputError:
    return InputError(
        f"{who}: units: found {found!r}, expected {expected!r} as the noise of {sensor.name}; a scale (--scale, which "
        "turns the cube's numbers into the sensor's) makes it so"
    )
