"""The front: frames or interferograms of a characterized instrument in, a spectral cube with error bars out."""

from __future__ import annotations

import logging
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.characterization import Characterization
from calibration.inversion import curves, registry, tiles
from calibration.inversion.calibration_error import interferogram_errors, smooth_spectrum
from calibration.inversion.clipped_cubes import without_clipped
from calibration.inversion.explained import say_far_off, say_unexplained
from calibration.inversion.grid import require_grid_memory
from calibration.inversion.halves import widened
from calibration.inversion.live_rows import live_rows
from calibration.inversion.measurement import AnyMeasurement, CubeMeasurement, Measurement, interferogram_cube
from calibration.inversion.prior import best_prior, candidates
from calibration.inversion.problem import (
    LAMP_UNITS,
    RADIANCE_UNITS,
    Interferograms,
    Spectra,
    noise_size,
    pixel_noise_size,
)
from calibration.inversion.scene_frames import open_scene
from calibration.inversion.untold_noise import likeliest_noise
from hsitools import __version__
from hsitools.arrays import real_array
from hsitools.cube import Cube
from hsitools.errors import InputError, require_type
from hsitools.identity import fingerprint
from hsitools.io.atomic import made_scratch
from hsitools.io.hashes import short_hash
from hsitools.io.readers import source_files
from hsitools.progress import Progress, silent
from hsitools.text import counted

Array = NDArray[np.float64]
#: Where wavelengths lie among others.
Places = slice | NDArray[np.intp]
log = logging.getLogger(__name__)
#: Of numbers in single precision, as cubes hold them, with some for arithmetic.
ROUNDING = 1e-6


@dataclass(frozen=True, kw_only=True, eq=False)
class Inversion:
    """A spectral cube, its standard deviations and its mask.

    Attributes
    ----------
    cube : Cube
        ``(wavelength, y, x)``; NaN where nothing was measured.
    std : Cube or None
        Standard deviation of each voxel; None of methods that do not tell.
    mask : Cube
        One band, 1 where there is a spectrum.
    spectra : Spectra
        The same as arrays, with factors of common errors.

    Examples
    --------
    >>> from calibration import Inversion  # what `calibration.invert` gives
    >>> sorted(Inversion.__dataclass_fields__)
    ['cube', 'mask', 'spectra', 'std']
    """

    cube: Cube
    std: Cube | None
    mask: Cube
    spectra: Spectra


def invert(
    measured: Cube | Array | Measurement | CubeMeasurement | str | Path,
    instrument: Characterization | str | Path,
    method: str = "joint",
    *,
    grid: Array | None = None,
    illumination: tuple[Array, Array] | str | Path | None = None,
    lamp: tuple[Array, Array] | str | Path | None = None,
    lamp_units: str | None = None,
    flat: str | Path | None = None,
    device: str = "auto",
    parts: str | Path | None = None,
    progress: Progress = silent,
    client: Any = None,
) -> Inversion:
    """Invert interferograms to spectra.

    Parameters
    ----------
    measured : Cube, array, Measurement or path
        Interferograms ``(interferometer, y, x)``, or a file of them or of raw frames with dark frames.
    instrument : Characterization or path
    method : str
        See ``hsi invert list``.
    grid : array, optional
        Wavelengths, nm, ascending, inside the calibrated band; default the calibrated lines. The rest of the band is
        inverted too, and left out of the result.
    illumination : (wavelengths in nm, values) or path of a table, optional
        Light on the scene in any units, over all of the calibrated band: what is left is smoother.
    lamp : (wavelengths in nm, values) or path of a table, optional
        The calibration lamp's radiance: spectra come out in its units instead of in units of the lamp.
    lamp_units : str, optional
        Units of the lamp's radiance; default those in brackets in the table's head.
    flat : path, optional
        Of raw frames: those of an even scene under the calibration lamp, see `scene_frames.open_scene`.
    device : str
        ``auto``, ``cpu``, ``cuda``: where the spatial part of ``joint`` is computed.
    parts : path, optional
        Folder where tiles of an image that is larger than `tiles.TILE_BYTES` are kept as they are done: a run that was
        stopped goes on there. Default a temporary one.
    progress : callable
        Called with (tiles done, tiles in all).
    client : distributed.Client, optional
        Of workers that invert tiles (`hsitools.scale.cluster`).

    Notes
    -----
    Of images with more than `tiles.SAMPLE_PIXELS` a method learns from as many, spread evenly over them.

    Raises
    ------
    InputError
        When file and instrument do not fit, frames are saturated or without dark, or a curve does not cover the grid.

    Examples
    --------
    >>> import numpy as np
    >>> from calibration import characterize, invert, simulated_bench
    >>> from hsitools.sensor.transmittance import TransmittanceModel
    >>> rng = np.random.default_rng(0)
    >>> instrument = simulated_bench.simulate_instrument(24, rng=rng, rows=4)
    >>> capture = simulated_bench.capture(instrument, simulated_bench.lines(121), rng=rng, noise=0.02)
    >>> device = characterize(capture, TransmittanceModel())
    >>> matrix = device.response.matrix(np.linspace(400, 900, 101))
    >>> interferograms = np.broadcast_to(matrix.sum(1)[:, None, None], (24, 4, 4)) + rng.normal(0, 1e-3, (24, 4, 4))
    >>> result = invert(interferograms, device, "gp", grid=np.linspace(400, 900, 51))
    >>> result.cube.shape, result.cube.units
    ((51, 4, 4), 'calibration lamp')
    """
    entry = registry.get(method)
    if device not in ("auto", "cpu"):
        from calibration.inversion.spatial import place

        # a wrong name is told now, and also to methods that need no device
        place(device)
    known = instrument if isinstance(instrument, Characterization) else Characterization.load(instrument)
    # what is wrong with grid and curves is told before anything is computed
    wavelength, asked = whole_band(known, grid)
    light = None if illumination is None else _on_grid(illumination, wavelength, "illumination")
    if light is not None:
        light = light / light.mean()
    radiance, units = None, LAMP_UNITS
    if lamp is None and lamp_units is not None:
        raise InputError(f"lamp_units: found {lamp_units!r} without a lamp, expected its radiance, too")
    if lamp is not None:
        told = curves.curve_units(lamp) if lamp_units is None and isinstance(lamp, str | Path) else lamp_units
        radiance, units = _on_grid(lamp, wavelength, "lamp", centred=True), told or RADIANCE_UNITS
        if light is not None:
            # what the scene sends is in units of the lamp
            light = light / radiance * radiance.mean()
    if isinstance(measured, np.ndarray):
        measured = Cube(data=measured, name="interferograms")
    scene: AnyMeasurement
    if isinstance(measured, Cube):
        scene = interferogram_cube(measured, known)
    elif isinstance(measured, Measurement | CubeMeasurement):
        scene = measured
    else:
        require_type(measured, (str, Path), "measured", "a Cube, an array or the path of a file")
        scene = open_scene(measured, known, flat).measurement
    if scene.shape[0] != len(known.opd_um):
        raise InputError(f"{scene.source}: interferometers: found {scene.shape[0]}, expected {len(known.opd_um)}")
    learnt_from = tiles.sample(scene)
    if isinstance(scene, CubeMeasurement):
        scene, learnt_from = without_clipped(scene, learnt_from)
    case = build_case(learnt_from, known, wavelength, light)
    if not case.measured.any():
        raise InputError(f"{scene.source}: found no pixel that all interferometers measured, expected some")
    say_unexplained(case, scene.source, known.name)
    learned = entry.learned(case, device)
    if learnt_from.alignment_std is not None:
        learned = widened(entry, case, learned, device)
    plan = tiles.tile_windows(scene.shape, len(wavelength), learned.reach)

    def finish(spectra: Spectra) -> Spectra:
        return replace(_in_units(spectra, radiance, asked), units=units)

    if len(plan) == 1 and learnt_from.shape == scene.shape:
        spectra = finish(learned(case))
    else:
        noise = _noise(known, scene.noise_std)
        fitted, _ = live_rows(known, learnt_from.values, noise, scene.source)
        folder = made_scratch(Path(tempfile.gettempdir()) / "hsi-invert") if parts is None else Path(parts)
        key = _key(learnt_from, case, entry.name, radiance, asked, units)
        try:
            kept = tiles.Kept(folder, key)
            spectra = tiles.invert_tiles(scene, fitted, case, learned, plan, finish, kept, progress, client)
        finally:
            if parts is None:
                # files that are mapped stay as long as the result
                shutil.rmtree(folder, ignore_errors=True)
    say_far_off(spectra.parameters.get("calibration_scale", 0.0), scene.source, known.name)
    return _labelled(spectra, entry.name, known, scene)


def whole_band(device: Characterization, grid: Array | None) -> tuple[Array, Places]:
    """Wavelengths to invert on, and where those asked for lie in them.

    Light reaches the interferometers from all of the calibrated band: beside a narrower grid there are the lines. A
    spectrum is straight between its samples: where the instrument resolves more than the grid there are others between.
    """
    lines = 1000 / device.response.wavenumber[::-1]
    if grid is None:
        return lines, slice(None)
    grid = np.asarray(real_array(grid, "grid"), dtype=float)
    check_grid(grid, device.response.band_nm)
    step = np.diff(grid)
    middle = grid[:-1] + step / 2
    # half of what the largest path difference resolves, and no finer than the lines
    resolved = middle**2 / 1000 / (4 * float(np.nanmax(np.abs(device.opd_um))))
    finest = np.interp(middle, lines[:-1] + np.diff(lines) / 2, np.diff(lines))
    pieces = np.maximum(np.ceil(step / np.maximum(resolved, finest) - 1e-6), 1).astype(int)
    require_grid_memory(float(pieces.sum()))
    places = np.concatenate([[0], np.cumsum(pieces)])
    inner = np.interp(np.arange(places[-1] + 1), places, grid)
    # not nearer to the grid than half a step of it: two samples of one place would be one
    before = lines[lines < inner[0] - 0.5 * (inner[1] - inner[0])]
    after = lines[lines > inner[-1] + 0.5 * (inner[-1] - inner[-2])]
    # a view where there is none between them
    even = slice(len(before), len(before) + len(grid))
    asked = even if len(inner) == len(grid) else len(before) + places
    return np.concatenate([before, inner, after]), asked


def check_grid(grid: Array, band_nm: tuple[float, float]) -> None:
    """Raise `InputError` where wavelengths do not ascend, leave the calibrated band or are too many."""
    low, high = band_nm
    slack = 1e-6 * (high - low)
    if grid.ndim != 1 or len(grid) < 2 or not (np.diff(grid) > 0).all():
        raise InputError("grid: expected at least two ascending wavelengths, nm")
    require_grid_memory(len(grid))
    if grid[0] < low - slack or grid[-1] > high + slack:
        raise InputError(
            f"grid: found {grid[0]:g} to {grid[-1]:g}, expected inside the calibrated band {low:.2f} to {high:.2f} nm"
        )


def _noise(device: Characterization, noise_std: Array | None) -> Array:
    """Noise of each interferometer, ``(interferometer,)``: measured, or in the proportions of the capture's."""
    if noise_std is not None:
        return noise_std
    return np.ones(device.response.n_bands) if device.lines is None else device.lines.row_noise


def build_case(
    measured: Measurement, device: Characterization, wavelength_nm: Array, light: Array | None
) -> Interferograms:
    """The whitened problem: interferometers that were fitted and are lit, their noise, what calibration adds to it."""
    response = device.response
    noise = _noise(device, measured.noise_std)
    fitted, dead = live_rows(device, measured.values, noise, measured.source)
    if len(dead):
        text = "%s: %s left out, without light, like no light beside the others, or not measured in most pixels: %s"
        left_out = counted(len(dead), "interferometer")
        log.warning(text, measured.source, left_out, ", ".join(str(row) for row in dead))
    case = Interferograms(
        matrix=response.rows(fitted).matrix(wavelength_nm), values=measured.values[fitted], noise_std=noise[fitted],
        wavelength_nm=wavelength_nm, illumination=light, opd_um=response.opd_um[fitted],
    )  # fmt: skip
    if not case.measured.any():
        return case
    if measured.noise_std is None:
        case = likeliest_noise(case)
    # where sub-images are aligned pixels differ by more than frames that are repeated
    size = pixel_noise_size(case)
    least = _least_noise_size(case)
    if measured.noise_std is not None:
        size = max(1.0, size) if np.isfinite(size) else 1.0
    elif not size > least:
        # too few pixels, or all the same: they tell no noise
        size = max(noise_size(case), least)
    case = replace(case, noise_std=case.noise_std * size)
    if measured.alignment_std is not None:
        patterns = measured.alignment_std[fitted]
        case = replace(case, noise_std=np.hypot(case.noise_std, patterns), patterns_std=patterns)
    mean = np.nanmean(case.values.reshape(len(fitted), -1)[:, case.measured], axis=1)
    one = replace(case, values=mean[:, None, None], noise_known=False)
    prior = best_prior(candidates(one))
    likeliest = prior.log_evidence().argmax(axis=0)
    spectrum = prior.posterior(np.array([0]), likeliest)[0][:, 0]
    smooth = smooth_spectrum(case, mean, case.noise_std**2 / case.measured.sum())
    errors = interferogram_errors(device, wavelength_nm, spectrum, smooth)
    own = None if errors.own is None else errors.own[fitted]
    return replace(case, calibration_std=errors.std[fitted], own_errors=own, line_errors=errors.line_errors[fitted])


def _least_noise_size(case: Interferograms) -> float:
    """Below this noise is rounding: computed interferograms have none."""
    return ROUNDING * float(np.sqrt((case.pixels**2).mean()))


def _on_grid(
    curve: tuple[Array, Array] | str | Path, wavelength_nm: Array, what: str, *, centred: bool = False
) -> Array:  # fmt: skip
    if isinstance(curve, str | Path):
        return curves.curve(curve, wavelength_nm, what, centred=centred)
    if not (isinstance(curve, tuple | list) and len(curve) == 2 and np.ndim(curve[0]) == 1):
        raise InputError(f"{what}: found {type(curve).__name__}, expected wavelengths and values, or a table's path")
    known, values = (real_array(part, what).astype(float) for part in curve)
    if known.shape != values.shape:
        raise InputError(
            f"{what}: found {counted(len(known), 'wavelength')} and {values.shape} values, expected one each"
        )
    if len(known) < 2 or not (np.isfinite(known).all() and np.isfinite(values).all()):
        raise InputError(
            f"{what}: found {counted(len(known), 'wavelength')} and values, expected at least two, all finite"
        )
    order = np.argsort(known)
    known, values = known[order], values[order]
    return curves.on_grid(known, values, wavelength_nm, what, centred=centred)


def _in_units(spectra: Spectra, radiance: Array | None, asked: Places) -> Spectra:
    """Spectra of the wavelengths that were asked for, in the lamp's units where these are known."""
    scale = None if radiance is None else radiance[asked, None, None]

    def scaled(values: Array | None) -> Array | None:
        return values if values is None or scale is None else values * scale.reshape(-1, *(1,) * (values.ndim - 1))

    layers = {name: getattr(spectra, name) for name in ("estimate", "std", "noise_std", "common")}
    chosen: dict[str, Any] = {name: scaled(None if layer is None else layer[asked]) for name, layer in layers.items()}
    return replace(spectra, wavelength_nm=spectra.wavelength_nm[asked], **chosen)


def _labelled(spectra: Spectra, method: str, device: Characterization, measured: AnyMeasurement) -> Inversion:
    meta = {
        "inverted_by": method, "instrument": device.name, "measurement": measured.source, "units_of": spectra.units,
        "inversion": spectra.parameters,
    }  # fmt: skip

    # spectra lie where the interferograms do
    place: dict[str, Any] = {"source": measured.source}
    if isinstance(measured, CubeMeasurement):
        place |= {"crs": measured.cube.crs, "transform": measured.cube.transform}

    def labelled(data: Array, name: str) -> Cube:
        return Cube(
            data=data.astype(np.float32, copy=False), wavelength_nm=spectra.wavelength_nm, nodata=float("nan"),
            name=name, units=spectra.units, meta=meta, **place,
        )  # fmt: skip

    return Inversion(
        cube=labelled(spectra.estimate, "spectra"),
        std=None if spectra.std is None else labelled(spectra.std, "standard deviation of the spectra"),
        mask=Cube(data=spectra.mask[None].view(np.uint8), name="where there is a spectrum", **place),
        spectra=spectra,
    )


def _key(
    measured: Measurement, case: Interferograms, method: str, radiance: Array | None, asked: Places, units: str
) -> str:  # fmt: skip
    """What spectra depend on, of files by their sizes and times: reading them would take as long as inverting them."""
    path = Path(measured.source)
    files = source_files(path) if path.exists() else []
    stamp = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    # the instrument acts by its matrix, and by how sure that is
    arrays = [
        np.nanmean(case.values, axis=(1, 2)), case.matrix, case.noise_std, case.calibration_std, case.own_errors,
        case.line_errors, case.patterns_std, case.wavelength_nm, case.illumination, radiance,
    ]  # fmt: skip
    return short_hash(
        {"stamp": stamp, "arrays": [None if a is None else fingerprint(a) for a in arrays], "method": method,
         "asked": fingerprint(case.wavelength_nm[asked]), "units": units, "version": __version__,
         "tile": tiles.TILE_BYTES, "sample": tiles.SAMPLE_PIXELS}
    )  # fmt: skip
