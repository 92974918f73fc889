"""One restoration: what no method should see is set aside, the method runs; large cubes go in strips."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import denoise.methods as _methods  # noqa: F401  (registers them)
from denoise.case import NoiseModel, Observation, Restoration
from denoise.estimate import MIN_PIXELS
from denoise.registry import Method, get
from hsitools.blocks import Window, tiles
from hsitools.cube import Cube
from hsitools.errors import InputError
from hsitools.lazy import Bands
from hsitools.sensor import Sensor

Progress = Callable[[int, int], None]
#: Values (float32) of a strip with its surroundings; methods hold about eight of these at a time.
STRIP_BYTES = 128 * 2**20
#: Columns and rows of surroundings of a strip.
HALO = 16


def denoise(
    cube: Cube, method: str = "lowrank", sensor: Sensor | None = None, *, progress: Progress | None = None,
    strip_bytes: int = STRIP_BYTES,
) -> Cube:  # fmt: skip
    """Denoise a cube; labels are kept.

    Parameters
    ----------
    cube : Cube
        Bad bands are passed through as they are.
    method : str
    sensor : Sensor, optional
        Its calibrated noise replaces estimates.
    progress : callable, optional
        Called with (strips done, strips in all).
    strip_bytes : int
        Cubes beyond it are restored strip by strip, as they are read: whole columns as far as possible, since a
        column is what a detector element sees.

    Returns
    -------
    Cube
        float32, in physical units; ``meta`` says the method and what it found. Pixels without any measurement are NaN.

    Raises
    ------
    InputError
        When no band has a signal, or the sensor is of other bands.
    """
    entry = get(method)
    sigma = None if sensor is None else sensor_noise(cube, sensor)
    seen = cube.physical()
    said: dict[str, Any] = {"denoised_by": entry.name, "denoise_sensor": None if sensor is None else sensor.name}
    if int(np.prod(cube.shape)) * 4 <= strip_bytes:
        found = restore(seen.read(), entry, sigma=sigma, use=cube.good, who=cube.source or cube.name or "cube")
        if progress is not None:
            progress(1, 1)
        return seen.replace(data=found.estimate, nodata=float("nan"), meta={**cube.meta, **said, **found.provenance})
    source = RestoredSource(seen, entry, sigma, strip_bytes, progress)
    return seen.replace(data=source, nodata=float("nan"), meta={**cube.meta, **said, "strips": len(source.windows)})


def restore(
    values: NDArray[Any], method: str | Method = "lowrank", *, sigma: NDArray[Any] | None = None,
    use: NDArray[np.bool_] | None = None, who: str = "cube",
) -> Restoration:  # fmt: skip
    """Restore an array.

    Parameters
    ----------
    values : array, shape (band, y, x)
        NaN stands for no measurement; any units.
    method : str or Method
    sigma : array, shape (band,), optional
        Known noise, units of the values.
    use : array of bool, shape (band,), optional
        Bands to restore. The others, and those without any signal (all zero or all NaN), come back as they are.
    who : str
        For errors.

    Raises
    ------
    InputError
        When values are not (band, y, x), or no band has a signal.
    FloatingPointError
        When the method's result is not finite.
    """
    entry = get(method) if isinstance(method, str) else method
    values = np.asarray(values, dtype=np.float32)
    if values.ndim != 3:
        raise InputError(f"{who}: found shape {values.shape}, expected (band, y, x)")
    valid = np.isfinite(values)
    live = (valid & (values != 0)).any(axis=(1, 2)) & (True if use is None else use)
    if not live.any():
        raise InputError(f"{who}: found no band with signal, expected some")
    nothing = ~valid[live].any(axis=0)
    estimate = values.copy()
    filled = _filled(values[live], valid[live])
    scale = float(np.std(filled))
    if values[0].size < MIN_PIXELS or not scale > 1e-6 * float(np.abs(filled).max()):
        note = f"fewer than {MIN_PIXELS} pixels" if scale else "no contrast"
        said = {"method": entry.name, "path": "unchanged", "note": note}
        return Restoration(estimate=estimate, mask=~valid, provenance=said)
    seen = Observation(
        values=filled / np.float32(scale), valid=valid[live],
        sigma=None if sigma is None else (np.asarray(sigma)[live] / scale).astype(np.float32),
    )  # fmt: skip
    found = entry.function(seen)
    if not np.isfinite(found.estimate).all():
        raise FloatingPointError(f"{entry.name}: {who}: found values that are not finite in the result")
    estimate[live] = found.estimate * np.float32(scale)
    estimate[:, nothing] = np.nan
    said = {"method": entry.name, "path": entry.name, **found.provenance}
    return dataclasses.replace(
        found, estimate=estimate, std=_spread(found.std, live, scale), mask=_mask(found.mask, live, valid),
        noise=_scaled(found.noise, scale, live), provenance=said,
    )  # fmt: skip


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
        dead=_whole(noise.dead, live, False), outlier=_whole(noise.outlier, live, False),
    )  # fmt: skip


def sensor_noise(cube: Cube, sensor: Sensor) -> NDArray[np.float64] | None:
    """Standard deviation of the sensor's noise at the mean of each band, physical units; None when it states none.

    Raises
    ------
    InputError
        When the sensor's bands are not the cube's.
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
    if sensor.noise is None:
        return None
    level = np.nan_to_num(cube.physical().statistics()["mean"])
    return np.asarray(np.sqrt(sensor.noise.variance(level[:, None, None])[:, 0, 0]))


class RestoredSource:
    """A restored cube, strip by strip as it is read (see `hsitools.lazy.Source`)."""

    def __init__(
        self, cube: Cube, method: Method, sigma: NDArray[Any] | None, strip_bytes: int, progress: Progress | None
    ) -> None:
        self.cube, self.method, self.sigma, self.progress = cube, method, sigma, progress
        self.shape = cube.shape
        self.dtype = np.dtype(np.float32)
        band, height, width = cube.shape
        pixels = strip_bytes // (4 * band)
        columns = min(width, pixels // height - 2 * HALO)
        rows = height
        if columns < 2 * HALO:  # scenes longer than that: squares
            rows = columns = max(2 * HALO, int(np.sqrt(pixels)) - 2 * HALO)
        #: What is computed at a time: writers go by it.
        self.tile = (min(rows, height), min(columns, width))
        self.windows = [
            Window(rows=y, columns=x, wide_rows=_wider(y, height), wide_columns=_wider(x, width))
            for y, x in tiles((height, width), self.tile[0] * self.tile[1], self.tile)
        ]
        self._last: tuple[Window, NDArray[np.float32]] | None = None
        self._done = 0

    def read(self, bands: Bands, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Values of a window; every strip that it touches is restored (the last one is remembered)."""
        out = np.empty((len(bands), rows.stop - rows.start, columns.stop - columns.start), dtype=np.float32)
        for window in self.windows:
            y, x = _overlap(window.rows, rows), _overlap(window.columns, columns)
            if y.start < y.stop and x.start < x.stop:
                place = (_moved(y, rows.start), _moved(x, columns.start))
                part = (_moved(y, window.rows.start), _moved(x, window.columns.start))
                out[:, *place] = self._restored(window)[:, *part][bands]
        return out

    def _restored(self, window: Window) -> NDArray[np.float32]:
        if self._last is not None and self._last[0] == window:
            return self._last[1]
        self._last = None  # not two strips at a time
        values = self.cube.read(rows=window.wide_rows, columns=window.wide_columns)
        top, bottom, left, right = window.margin
        if _empty(values[self.cube.good]):
            wide = values.astype(np.float32)
        else:
            who = self.cube.source or self.cube.name or "cube"
            wide = restore(values, self.method, sigma=self.sigma, use=self.cube.good, who=who).estimate
        own = wide[:, top : wide.shape[1] - bottom, left : wide.shape[2] - right].copy()
        self._last = (window, own)
        self._done += 1
        if self.progress is not None:
            self.progress(min(self._done, len(self.windows)), len(self.windows))
        return own


def _empty(values: NDArray[Any]) -> bool:
    """Whether there is no signal at all, as beyond a scene's edge."""
    return not (np.isfinite(values) & (values != 0)).any()


def _wider(part: slice, size: int) -> slice:
    return slice(max(part.start - HALO, 0), min(part.stop + HALO, size))


def _overlap(a: slice, b: slice) -> slice:
    return slice(max(a.start, b.start), min(a.stop, b.stop))


def _moved(part: slice, origin: int) -> slice:
    return slice(part.start - origin, part.stop - origin)
