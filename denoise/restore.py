"""One restoration: what no method should see is set aside, the method runs; large cubes go in `denoise.strips`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import denoise.methods as _methods  # noqa: F401  (registers them)
from denoise.case import Known, NoiseModel, Observation, Restoration
from denoise.doubt import structured
from denoise.estimate import MIN_PIXELS, stuck_values
from denoise.registry import Method, get
from denoise.strips import STRIP_BYTES, STRIP_PIXELS, Progress, RestoredSource, strip_size
from hsitools.cube import Cube
from hsitools.errors import InputError
from hsitools.sensor import Sensor

#: Unless another is asked for.
METHOD = "diffusion"


class Denoised(NamedTuple):
    """A restored cube, the standard deviation of its voxels (with samples only), and where nothing was measured."""

    estimate: Cube
    std: Cube | None
    mask: Cube | None


def denoise(cube: Cube, method: str = METHOD, sensor: Sensor | None = None, **options: Any) -> Cube:
    """Denoise a cube; labels are kept. The estimate of `restore_cube`, whose options it takes."""
    return restore_cube(cube, method, sensor, **options).estimate


def restore_cube(
    cube: Cube, method: str = METHOD, sensor: Sensor | None = None, *, samples: int = 0, seed: int = 0,
    weights: str | Path | None = None, progress: Progress | None = None, strip_bytes: int = STRIP_BYTES,
) -> Denoised:  # fmt: skip
    """Restore a cube; labels are kept.

    Parameters
    ----------
    cube : Cube
        Bad bands are passed through as they are.
    method : str
    sensor : Sensor, optional
        Its calibrated noise, gains and offsets replace estimates.
    samples : int
        Posterior samples that the standard deviation is taken from, of methods that draw them; 0 for none.
    seed : int
        Of the samples.
    weights : path, optional
        Folder of trained weights; default those of the package.
    progress : callable, optional
        Called with (strips done, strips in all).
    strip_bytes : int
        Cubes beyond it are restored strip by strip, as the estimate is read: whole columns as far as possible, since a
        column is what a detector element sees. Each strip estimates its own noise, from all bands. Standard deviation
        and mask are there once the estimate was read.

    Returns
    -------
    Denoised
        Cubes in physical units; the estimate's ``meta`` says the method and what it found. Pixels without any
        measurement are NaN. The mask is 1 where a voxel's measurement was not used.

    Raises
    ------
    InputError
        When no band has a signal, the sensor is of other bands or columns, or the method draws no samples.
    """
    entry = get(method)
    known = None if sensor is None else known_by(cube, sensor)
    seen = cube.physical()
    said: dict[str, Any] = {"denoised_by": entry.name, "denoise_sensor": None if sensor is None else sensor.name}
    options = _options(entry, samples, seed, weights)
    who = cube.source or cube.name or "cube"

    def restored(values: NDArray[Any], columns: slice) -> Restoration:
        return restore(
            values, entry, known=_columns(known, columns), use=cube.good, wavelength_nm=cube.wavelength_nm, who=who,
            **options,
        )  # fmt: skip

    if int(np.prod(cube.shape)) * 4 <= strip_bytes and cube.shape[1] * cube.shape[2] <= STRIP_PIXELS:
        found = restored(seen.read(), slice(None))
        if progress is not None:
            progress(1, 1)
        estimate = seen.replace(
            data=found.estimate, nodata=float("nan"), meta={**cube.meta, **said, **found.provenance}
        )
        mask = None if found.mask is None else _layer(seen, found.mask.astype(np.uint8))
        return Denoised(estimate, None if found.std is None else _layer(seen, found.std), mask)
    source = RestoredSource(seen, restored, strip_size(cube.shape, strip_bytes), samples > 0, progress)
    estimate = seen.replace(data=source, nodata=float("nan"), meta={**cube.meta, **said, "strips": len(source.windows)})
    layers = [None if values is None else _layer(seen, values) for values in (source.std, source.mask)]
    return Denoised(estimate, *layers)


def _layer(cube: Cube, values: NDArray[Any]) -> Cube:
    """A cube beside another one, with its labels."""
    return cube.replace(data=values, nodata=None if values.dtype == np.uint8 else float("nan"))


def _options(entry: Method, samples: int, seed: int, weights: str | Path | None) -> dict[str, Any]:
    if samples < 0 or seed < 0:
        raise InputError(f"{entry.name}: samples: found {samples}, seed {seed}, expected at least 0")
    if entry.samples:
        return {"samples": samples, "seed": seed, "weights": weights}
    if samples or weights is not None:
        what = "samples" if samples else "weights"
        raise InputError(f"{entry.name}: {what}: found some, expected none: the method has no posterior")
    return {}


def restore(
    values: NDArray[Any], method: str | Method = METHOD, *, known: Known | None = None,
    use: NDArray[np.bool_] | None = None, wavelength_nm: NDArray[Any] | None = None, who: str = "cube",
    samples: int = 0, seed: int = 0, weights: str | Path | None = None,
) -> Restoration:  # fmt: skip
    """Restore an array.

    Parameters
    ----------
    values : array, shape (band, y, x)
        NaN stands for no measurement; any units.
    method : str or Method
    known : Known, optional
        What the sensor tells of the noise.
    use : array of bool, shape (band,), optional
        Bands to restore. The others, and those without any signal (all zero or all NaN), come back as they are.
    wavelength_nm : array, shape (band,), optional
    who : str
        For errors.
    samples, seed, weights
        As of `restore_cube`.

    Raises
    ------
    InputError
        When values are not (band, y, x), no band has a signal, or what is known is of another shape.
    FloatingPointError
        When the method's result is not finite.
    """
    entry = get(method) if isinstance(method, str) else method
    options = _options(entry, samples, seed, weights)
    values = np.asarray(values, dtype=np.float32)
    if values.ndim != 3:
        raise InputError(f"{who}: found shape {values.shape}, expected (band, y, x)")
    known = Known() if known is None else known
    known.check(values.shape, who)
    measured = np.isfinite(values)
    valid = measured if known.dead is None else measured & ~known.dead[:, None]
    live = (valid & (values != 0)).any(axis=(1, 2)) & (True if use is None else use)
    if not live.any():
        raise InputError(f"{who}: found no band with signal, expected some")
    nothing = ~measured[live].any(axis=0)
    estimate = values.copy()
    if known.gain is not None or known.offset is not None:
        # exact values give stuck elements and impulses away only as long as nothing is taken from them
        valid = valid.copy()
        valid[live] &= ~stuck_values(_filled(values[live], valid[live]))
    filled = _filled(_calibrated(values, known)[live], valid[live])
    scale = float(np.std(filled))
    if values[0].size < MIN_PIXELS or not scale > 1e-6 * float(np.abs(filled).max()):
        note = f"fewer than {MIN_PIXELS} pixels" if scale else "no contrast"
        said = {"method": entry.name, "path": "unchanged", "note": note}
        return Restoration(estimate=estimate, mask=~valid, provenance=said)

    def unit(value: NDArray[Any] | None) -> NDArray[np.float32] | None:
        return None if value is None else (np.asarray(value)[live] / scale).astype(np.float32)

    seen = Observation(
        values=filled / np.float32(scale), valid=valid[live], sigma=unit(known.sigma), slope=unit(known.slope),
        calibrated=known.gain is not None or known.offset is not None,
        wavelength_nm=None if wavelength_nm is None else np.asarray(wavelength_nm)[live],
    )  # fmt: skip
    found = entry.function(seen, **options)
    if not np.isfinite(found.estimate).all():
        raise FloatingPointError(f"{entry.name}: {who}: found values that are not finite in the result")
    estimate[live] = found.estimate * np.float32(scale)
    estimate[:, nothing] = np.nan
    said = {"method": entry.name, "path": entry.name, **found.provenance}
    if found.noise is not None:
        noise = found.noise
        left = (seen.values - noise.offset[:, None]) / noise.gain[:, None] - found.estimate
        said["doubtful_bands"] = np.flatnonzero(live)[structured(left, ~noise.outlier, found.estimate)].tolist()
    return dataclasses.replace(
        found, estimate=estimate, std=_spread(found.std, live, scale), mask=_mask(found.mask, live, valid),
        noise=_scaled(found.noise, scale, live), provenance=said,
    )  # fmt: skip


def _calibrated(values: NDArray[np.float32], known: Known) -> NDArray[np.float32]:
    """Values without the known gains and offsets of detector elements."""
    if known.offset is not None:
        values = (values - known.offset[:, None]).astype(np.float32)
    if known.gain is not None:
        gain = known.gain if known.dead is None else np.where(known.dead, 1, known.gain)
        values = (values / gain[:, None]).astype(np.float32)
    return values


def _filled(values: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Invalid voxels take their band's median."""
    if valid.all():
        return values
    middle = np.nanmedian(np.where(valid, values, np.nan).reshape(len(values), -1), axis=1)
    return np.where(valid, values, middle[:, None, None]).astype(np.float32)


def _whole(part: NDArray[Any], live: NDArray[np.bool_], rest: Any) -> NDArray[Any]:
    """An array of the live bands among all bands."""
    out = np.full((len(live), *part.shape[1:]), rest, dtype=part.dtype)
    out[live] = part
    return out


def _spread(std: NDArray[np.float32] | None, live: NDArray[np.bool_], scale: float) -> NDArray[np.float32] | None:
    return None if std is None else _whole(std * np.float32(scale), live, np.nan)


def _mask(
    mask: NDArray[np.bool_] | None, live: NDArray[np.bool_], valid: NDArray[np.bool_]
) -> NDArray[np.bool_]:  # fmt: skip
    return ~valid if mask is None else ~valid | _whole(mask, live, False)


def _scaled(noise: NoiseModel | None, scale: float, live: NDArray[np.bool_]) -> NoiseModel | None:
    """A noise model of the live bands, in units of their spread, for all bands in the cube's units."""
    if noise is None:
        return None
    s = np.float32(scale)
    return NoiseModel(
        sigma=_whole(noise.sigma * s, live, np.nan), slope=_whole(noise.slope * s, live, 0),
        gain=_whole(noise.gain, live, 1), offset=_whole(noise.offset * s, live, 0),
        offset_std=_whole(noise.offset_std * s, live, 0),
        dead=_whole(noise.dead, live, False), outlier=_whole(noise.outlier, live, False),
    )  # fmt: skip


def known_by(cube: Cube, sensor: Sensor) -> Known:
    """What a sensor tells of a cube's noise, in the cube's physical units.

    Raises
    ------
    InputError
        When the sensor's bands, or its calibration's columns, are not the cube's.
    """
    who = cube.source or cube.name or "cube"
    if sensor.n_bands != cube.n_bands:
        raise InputError(f"{who}: sensor {sensor.name}: found {sensor.n_bands} bands, expected {cube.n_bands}")
    own, its = cube.wavelength_nm, getattr(sensor.response, "wavelength_nm", None)
    if own is not None and its is not None and cube.n_bands > 1:
        distance = float(np.nanmax(np.abs(own - its)))
        spacing = float(np.nanmax(np.abs(np.diff(own))))
        if distance > spacing:
            raise InputError(
                f"{who}: sensor {sensor.name}: wavelength_nm: found bands {distance:.1f} nm off, expected those of the "
                f"cube within {spacing:.1f} nm"
            )
    sigma = slope = None
    if sensor.noise is not None:
        level = np.nan_to_num(cube.physical().statistics()["mean"])[:, None, None]
        variance = sensor.noise.variance(level)[:, 0, 0]
        # photon noise: the variance is a straight line above zero signal
        step = np.maximum(np.abs(level), 1e-6)
        slope = np.asarray((sensor.noise.variance(level + step)[:, 0, 0] - variance) / step[:, 0, 0])
        sigma = np.asarray(np.sqrt(variance))
    maps = sensor.calibration
    if maps is None:
        return Known(sigma=sigma, slope=slope)
    if maps.gain.shape[1] != cube.shape[2]:
        raise InputError(
            f"{who}: sensor {sensor.name}: calibration: found {maps.gain.shape[1]} columns, expected {cube.shape[2]}"
        )
    return Known(sigma=sigma, slope=slope, gain=maps.gain, offset=maps.offset, dead=maps.dead)


def _columns(known: Known | None, columns: slice) -> Known | None:
    """What is known of some columns."""
    if known is None:
        return None
    maps = {name: getattr(known, name) for name in ("gain", "offset", "dead")}
    cut = {name: None if value is None else value[:, columns] for name, value in maps.items()}
    return dataclasses.replace(known, **cut)
