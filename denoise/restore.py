"""One restoration: prepared by `denoise.set_aside`, the method runs; large cubes go in `denoise.strips`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import denoise.methods as _methods  # noqa: F401  (registers them)
from denoise.above_zero import above_zero
from denoise.band_order import in_order_of_spectrum
from denoise.case import Known, NoiseModel, Observation, Restoration
from denoise.live_bands import among_all, in_cube_units, mask_of_all, noise_of_counts
from denoise.pedestal import noise_with
from denoise.registry import METHODS, Method, get, options_of
from denoise.rows import calibrating_rows
from denoise.said import missing, shares, striped_rows, warning_of
from denoise.separation.counts import keep_totals
from denoise.separation.floor import unclipped
from denoise.separation.known import known_by
from denoise.separation.structured_bands import structured
from denoise.separation.taken_back import taken_back
from denoise.set_aside import Prepared, prepare
from denoise.strips import STRIP_BYTES, STRIP_PIXELS, RestoredSource, strip_size
from hsitools.arrays import real_array
from hsitools.cube import Cube
from hsitools.cube.sources import detached
from hsitools.errors import InputError
from hsitools.estimation.common_stripes import common_stripes, sizes_of_bands
from hsitools.progress import Progress
from hsitools.sensor import Sensor

#: Unless another is asked for.
METHOD = "diffusion"


class Denoised(NamedTuple):
    """A restored cube, the standard deviation of its voxels (with samples only), where nothing was measured, and the
    pixels whose residual held structure (one band; of strips it is filled in with them, else None without such pixels).

    Examples
    --------
    >>> import numpy as np
    >>> from denoise import restore_cube
    >>> from hsitools import Cube
    >>> values = np.random.default_rng(0).uniform(1, 2, (6, 32, 32)).astype(np.float32)
    >>> restored = restore_cube(Cube(data=values), "column-median")
    >>> restored.estimate.shape, restored.std is None
    ((6, 32, 32), True)
    """

    estimate: Cube
    std: Cube | None
    mask: Cube | None
    structure: Cube | None = None


def list_methods() -> list[Method]:
    """Denoisers: each with its name, paper and whether it draws samples.

    Examples
    --------
    >>> [method.name for method in list_methods() if method.samples]
    ['diffusion']
    """
    return list(METHODS.values())


def denoise(cube: Cube, method: str = METHOD, sensor: Sensor | None = None, **options: Any) -> Cube:
    """Denoise a cube; labels are kept. The estimate of `restore_cube`, whose options it takes.

    Examples
    --------
    >>> import numpy as np
    >>> from hsitools import Cube
    >>> rng = np.random.default_rng(0)
    >>> y = np.linspace(1, 2, 40)[:, None] * np.linspace(1, 3, 40)
    >>> truth = y * np.linspace(0.5, 1, 12)[:, None, None] + np.sin(5 * y) * np.linspace(0, 0.3, 12)[:, None, None]
    >>> noisy = Cube(data=(truth + 0.1 * rng.standard_normal(truth.shape)).astype(np.float32))
    >>> clean = denoise(noisy, "lowrank")
    >>> bool(np.std(clean.read() - truth) < 0.5 * np.std(noisy.read() - truth))
    True
    """
    return restore_cube(cube, method, sensor, **options).estimate


def restore_cube(
    cube: Cube, method: str = METHOD, sensor: Sensor | None = None, *, samples: int = 0, seed: int = 0,
    weights: str | Path | None = None, scale: float | None = None, noise_std: NDArray[Any] | None = None,
    progress: Progress | None = None, strip_bytes: int = STRIP_BYTES, client: Any = None, kept: Path | None = None,
    device: str = "cpu",
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
    scale : float, optional
        Turns the cube's numbers into the sensor's units, instead of what its file says. The result stays in its own.
    noise_std : array, shape (band,), optional
        Standard deviation of each band's noise, cube units, as an inversion tells it; instead of a sensor.
    progress : callable, optional
        Called with (strips done, strips in all).
    strip_bytes : int
        Cubes beyond it are restored strip by strip, as the estimate is read: whole columns as far as possible, since a
        column is what a detector element sees. Each strip estimates its own noise, from all bands. Standard deviation
        and mask are there once the estimate was read.
    client : distributed.Client, optional
        Of workers that restore strips (`hsitools.scale`).
    kept : Path, optional
        Folder that they share, for strips that are restored; those of an earlier run there are taken.
    device : str
        Where a method's nets run: see `hsitools.devices.device_named`. Methods without nets stay on the processor.

    Returns
    -------
    Denoised
        Cubes in physical units; the estimate's ``meta`` says the method and what it found. Pixels without any
        measurement are NaN. The mask is 1 where a voxel's measurement was not used.

    Raises
    ------
    InputError
        When no band has a signal, the sensor is of other bands, columns or units, or the method draws no samples.

    Examples
    --------
    >>> import numpy as np
    >>> from hsitools import Cube
    >>> brightness = np.linspace(1, 2, 40)[:, None] * np.linspace(1, 3, 40)
    >>> scene = brightness * np.linspace(0.5, 1, 12)[:, None, None]
    >>> noise = 0.1 * np.random.default_rng(0).standard_normal(scene.shape)
    >>> noisy = Cube(data=(scene + noise).astype(np.float32))
    >>> restored = restore_cube(noisy, samples=2)
    >>> restored.estimate.shape == restored.std.shape == noisy.shape
    True
    """
    Cube.require(cube)
    Sensor.require(sensor)
    entry = get(method)
    said: dict[str, Any] = {"denoised_by": entry.name, "denoise_sensor": None if sensor is None else sensor.name}
    if sensor is not None and noise_std is not None:
        raise InputError(f"noise_std: found one beside the sensor {sensor.name}, expected one of them")
    known = None if noise_std is None else Known(sigma=np.asarray(noise_std, dtype=float))
    if sensor is not None:
        known, notes = known_by(cube, sensor, scale)
        said |= {"sensor_note": "; ".join(notes)} if notes else {}
    elif scale is not None:
        raise InputError("scale: found one without a sensor, expected a sensor whose units it leads to")
    seen = cube.physical()
    options = options_of(entry, samples, seed, weights, device)
    who = cube.who

    def restored(values: NDArray[Any], columns: slice) -> Restoration:
        own = None if known is None else known.of_columns(columns)
        return restore(
            values, entry, known=own, use=cube.good, wavelength_nm=cube.wavelength_nm, who=who, **options
        )  # fmt: skip

    if int(np.prod(cube.shape)) * 4 <= strip_bytes and cube.shape[1] * cube.shape[2] <= STRIP_PIXELS:
        found = restored(seen.read(), slice(None))
        if progress is not None:
            progress(1, 1)
        estimate = seen.replace(
            data=found.estimate, nodata=float("nan"), meta={**cube.meta, **said, **found.provenance}
        )
        mask = None if found.mask is None else _layer(seen, found.mask.astype(np.uint8))
        structure = None
        if found.structure is not None and found.structure.any():
            structure = _structure(seen, found.structure[None].astype(np.uint8))
        return Denoised(estimate, None if found.std is None else _layer(seen, found.std), mask, structure)
    strip = strip_size(cube.shape, strip_bytes)
    # strips of one image, whenever they are read
    seen = seen.replace(data=detached(seen.data))
    source = RestoredSource(seen, restored, strip, samples > 0, progress, client, kept)
    estimate = seen.replace(data=source, nodata=float("nan"), meta={**cube.meta, **said, "strips": len(source.windows)})
    layers = [None if values is None else _layer(seen, values) for values in (source.std, source.mask)]
    return Denoised(estimate, layers[0], layers[1], _structure(seen, source.structure))


def strip_findings(cube: Cube) -> dict[str, Any]:
    """What the strips of a restored cube that were read so far have found, said once; nothing of one that is whole."""
    return cube.data.findings() if isinstance(cube.data, RestoredSource) else {}


def rare_findings(structure: Cube | None) -> dict[str, Any]:
    """Number of pixels that hold structure, of their connected groups, and first and last row and column (the last ones
    excluded) that hold them; nothing where there are none.
    """
    from scipy.ndimage import label

    pixels = None if structure is None else structure.read()[0]
    if pixels is None or not pixels.any():
        return {}
    return {
        "rare_pixels": int((pixels > 0).sum()), "rare_groups": int(label(pixels)[1]), "rare_extent": _extent(pixels)
    }  # fmt: skip


def _extent(pixels: NDArray[Any]) -> list[int]:
    rows, columns = np.nonzero(pixels)
    return [int(item) for item in (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1)]


def _structure(cube: Cube, values: NDArray[np.uint8]) -> Cube:
    """Pixels ``(1, y, x)`` that hold structure, on a cube's map."""
    return Cube(data=values, name="structure", crs=cube.crs, transform=cube.transform)


def _layer(cube: Cube, values: NDArray[Any]) -> Cube:
    """A cube beside another one, with its labels."""
    return cube.replace(data=values, nodata=None if values.dtype == np.uint8 else float("nan"))


@in_order_of_spectrum
@calibrating_rows
def restore(
    values: NDArray[Any], method: str | Method = METHOD, *, known: Known | None = None,
    use: NDArray[np.bool_] | None = None, wavelength_nm: NDArray[Any] | None = None, who: str = "cube",
    samples: int = 0, seed: int = 0, weights: str | Path | None = None, device: str = "cpu", spiked: bool = True,
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
        What tells which bands are neighbours; else their order does.
    who : str
        For errors.
    samples, seed, weights, device
        As of `restore_cube`.
    spiked : bool
        Whether single impulses may be among the values, and are to be looked for (`separation.spikes`).

    Raises
    ------
    InputError
        When values are not (band, y, x), no band has a signal, or what is known is of another shape.
    FloatingPointError
        When the method's result is not finite.
    """
    entry = method if isinstance(method, Method) else get(method)
    options = options_of(entry, samples, seed, weights, device)
    given = real_array(values, who)
    if given.ndim != 3:
        raise InputError(f"{who}: found shape {given.shape}, expected (band, y, x)")
    (known := known or Known()).check(given.shape, who)
    seen = prepare(given, known, use, who, spiked)
    # float64 only where float32 would round the contrast of what it was
    estimate = given.astype(np.result_type(np.float32, given) if seen.level.any() else np.float32)
    if note := seen.too_little():
        unchanged = {"method": entry.name, "path": "unchanged", "note": note}
        return Restoration(estimate=estimate, mask=~seen.valid, provenance=unchanged)
    observed = seen.observation(known, wavelength_nm)
    found = entry.function(observed, **options)
    if not np.isfinite(found.estimate).all():
        raise FloatingPointError(f"{entry.name}: {who}: found values that are not finite in the result")
    said: dict[str, Any] = {"method": entry.name, "path": entry.name, **found.provenance}
    said |= _of_residual(observed, found, seen.live)
    part, std, noise, back = _in_cube_units(found, seen)
    said |= _of_elements(noise, seen)
    live, full, level = seen.live, seen.full, seen.level[seen.live, None, None]
    # the scene is at least as bright as what the detector read at its full scale
    estimate[live] = np.where(full, np.maximum(part, seen.filled), part) + level.astype(estimate.dtype)
    estimate[:, seen.nothing] = np.nan
    mask = mask_of_all(found.mask, live, seen.valid)
    mask[live] = mask[live] & ~back | full
    estimate[live], std = above_zero(estimate[live], std, seen.values[live] + level, ~mask[live])
    estimate[:, seen.beyond] = given[:, seen.beyond]
    measured = seen.valid | seen.lone
    said |= shares(mask[live], measured[live], full)
    used = np.broadcast_to(True if use is None else use, live.shape)
    said |= missing(measured & seen.signal[:, None, None], used, live)
    for name, across in (("common_stripes", (0, 1, 2)), ("common_rows", (0, 2, 1))):
        images = estimate[live].transpose(across)
        if stripes := common_stripes(images):
            said[name] = stripes
            # no band tells them from the scene, so that they are in the estimate
            std = None if std is None else np.hypot(std, sizes_of_bands(images)[:, None, None].astype(std.dtype))
    said |= warning_of(said)
    if found.structure is not None and found.structure.any():
        said["rare_extent"] = _extent(found.structure)
    if std is not None:
        std = among_all(std, live, np.nan)
        std[:, seen.nothing | seen.beyond] = np.nan
    return dataclasses.replace(found, estimate=estimate, std=std, mask=mask, noise=noise, provenance=said)


def _of_residual(observed: Observation, found: Restoration, live: NDArray[np.bool_]) -> dict[str, Any]:
    """What is left beyond noise, by the bands' numbers, and rows that have offsets of their own."""
    if (noise := found.noise) is None:
        return {}
    left = (observed.values - noise.offset[:, None]) / noise.gain[:, None] - found.estimate
    doubtful = structured(left, ~noise.outlier, found.estimate, noise.pixels)
    return {"doubtful_bands": np.flatnonzero(live)[doubtful].tolist(), **striped_rows(left, ~noise.outlier)}


def _in_cube_units(
    found: Restoration, seen: Prepared
) -> tuple[NDArray[Any], NDArray[Any] | None, NoiseModel | None, NDArray[np.bool_]]:
    """What a method found of the live bands: estimate, standard deviation, noise of all bands, all in the cube's units;
    and which voxels come back as they were measured.
    """
    live, counts, values = seen.live, seen.counts, seen.values[seen.live]
    unit = np.float32(seen.scale)
    part, std = found.estimate * unit, None if found.std is None else found.std * unit
    back = np.zeros(part.shape, dtype=bool) if counts is not None else taken_back(part, values, seen.lone[live])
    part[back] = values[back]
    if (noise := found.noise) is None:
        model = None
    else:
        if std is not None:
            std = np.where(back, np.maximum(std, unit * noise.sigma[:, None, None]), std)
        if counts is None:
            sigma, slope = noise.sigma * seen.scale, noise.slope * seen.scale
            part, std = unclipped(part, std, values, ~noise.outlier, sigma, slope)
        model = noise_with(in_cube_units(noise, seen.scale, live), seen.level)
    if counts is not None:
        std = None if std is None else counts.spread(part, std)
        part = keep_totals(counts.back(part), seen.filled, seen.valid[live]).astype(np.float32)
        model = None if model is None else noise_of_counts(model, counts, part, live)
    return part, std, model, back


def _of_elements(noise: NoiseModel | None, seen: Prepared) -> dict[str, Any]:
    """What a photon is worth; else how far elements differ, in the cube's units, which no method knows."""
    if seen.counts is not None:
        return {"photon_gain": float(np.median(seen.counts.gain))}
    if noise is None:
        return {}
    return {"offset_rms": float(noise.offset[seen.live].std()), "gain_rms": float(noise.gain[seen.live].std())}
