"""How well methods invert a known scene: simulated interferograms, an exact matrix or one of fewer lines."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.captures.capture import MonochromaticCapture
from calibration.characterization import Characterization
from calibration.inversion import registry
from calibration.inversion.invert import build_case
from calibration.inversion.kept import Kept, capture_name, instrument_name
from calibration.inversion.measurement import Measurement
from calibration.inversion.problem import Interferograms, Spectra
from calibration.inversion.registry import Method
from calibration.pipeline import characterize
from hsitools.cube import Cube
from hsitools.errors import InputError
from hsitools.identity import cube_fingerprint, fingerprint
from hsitools.progress import Progress, silent
from hsitools.text import counted

Array = NDArray[np.float64]


def scene_on_lines(instrument: Characterization, cube: Cube) -> tuple[Array, Array]:
    """The instrument's lines inside the scene's band, nm, ascending, and the spectra on them, see `spectra_on`.

    Raises
    ------
    InputError
        With fewer than two such lines.
    """
    known, values = _measured(cube)
    lines = 1000 / instrument.response.wavenumber[::-1]
    grid = lines[(lines >= known.min()) & (lines <= known.max())]
    if len(grid) < 2:
        raise InputError(
            f"{cube.who}: wavelength_nm: found {known.min():g} to {known.max():g}, expected some in "
            f"the instrument's band {lines[0]:g} to {lines[-1]:g} nm"
        )
    return grid, _on_grid(known, values, grid)


def _measured(cube: Cube) -> tuple[Array, Array]:
    """Wavelengths and values of the bands that were measured somewhere and are not marked bad."""
    if cube.wavelength_nm is None or not np.isfinite(cube.wavelength_nm).all():
        raise InputError(f"{cube.who}: wavelength_nm: found none, expected one for each band")
    values = cube.physical().read().astype(float)
    there = cube.good & np.isfinite(values).any(axis=(1, 2))
    if not there.any():
        raise InputError(f"{cube.who}: values: found no band that was measured, expected some")
    return cube.wavelength_nm[there], values[there]


def spectra_on(cube: Cube, wavelength_nm: Array) -> Array:
    """The scene's spectra of mean one on a grid, ``(wavelength, y, x)``, straight between its bands."""
    return _on_grid(*_measured(cube), wavelength_nm)


def _on_grid(known: Array, values: Array, wavelength_nm: Array) -> Array:
    order = np.argsort(known, kind="stable")
    known, values = known[order], values[order]
    # overlapping detectors measure a wavelength twice
    known, first = np.unique(known, return_index=True)
    values = values[first]
    right = np.clip(np.searchsorted(known, wavelength_nm), 1, len(known) - 1)
    share = ((wavelength_nm - known[right - 1]) / (known[right] - known[right - 1]))[:, None, None]
    out = (1 - share) * values[right - 1] + share * values[right]
    return np.asarray(out / np.nanmean(out))


def simulate(
    instrument: Characterization, spectra: Array, wavelength_nm: Array, snr: float, rng: np.random.Generator
) -> tuple[Array, float]:
    """Interferograms with white noise ``(interferometer, y, x)`` and its standard deviation.

    The signal-to-noise ratio is that of the mean interferogram (over interferometers and pixels). Interferometers
    without a fit are NaN.
    """
    matrix = instrument.response.matrix(wavelength_nm)
    clean = np.tensordot(matrix, spectra, axes=1)
    sigma = float(np.nanmean(clean)) / snr
    return clean + sigma * rng.standard_normal(clean.shape), sigma


def fewer_lines(
    instrument: Characterization, share: float, seed: int, capture: MonochromaticCapture | None = None
) -> Characterization:
    """The instrument characterized on a share of the lines, dealt at random.

    Of a capture, or without one of lines simulated from the instrument with its own noise.
    """
    if not 0 < share < 1:
        raise InputError(f"kept-lines: found {share:g}, expected a share between 0 and 1")
    rng = np.random.default_rng(seed)
    if capture is None:
        response = instrument.response
        clean = response.monochromatic(1000 / response.wavenumber)
        noise = np.zeros_like(clean)
        if instrument.lines is not None:
            noise = instrument.lines.row_noise[:, None] * instrument.lines.line_noise
        clean = clean + noise * rng.standard_normal(clean.shape)
        flat = np.where(response.flat > 0, response.flat, np.nan)
        capture = MonochromaticCapture(
            intensity=clean, flat=flat, wavenumber=response.wavenumber, index=instrument.index, name=instrument.name
        )
    mask = capture.mask.copy()
    left_out = round((1 - share) * capture.n_lines)
    mask[:, rng.permutation(capture.n_lines)[:left_out]] = False
    try:
        result = characterize(replace(capture, mask=mask), seed=seed)
    except InputError as error:
        kept = f"{capture.n_lines - left_out} of {counted(capture.n_lines, 'line')}"
        raise InputError(f"kept-lines: found {share:g}, {kept}, which characterize nothing ({error})") from None
    flat = np.where(result.response.flat > 0, result.response.flat, capture.flat)
    return replace(result, response=replace(result.response, flat=flat))


def score(spectra: Spectra, truth: Array) -> dict[str, float]:
    """``nrmse``, ``nrmse_rms``, ``sam_deg``, ``coverage95``: errors over the truth's deviation and root mean square.

    The deviation is over all voxels, as in the published figures. The coverage is NaN without error bars.
    """
    good = spectra.mask
    estimate, true = spectra.estimate[:, good], truth[:, good]
    cosine = (estimate * true).sum(axis=0) / np.maximum(
        np.linalg.norm(estimate, axis=0) * np.linalg.norm(true, axis=0), 1e-300
    )
    coverage = float("nan")
    if spectra.std is not None:
        coverage = float((np.abs(estimate - true) <= 1.96 * spectra.std[:, good]).mean())
    rmse = float(np.sqrt(((estimate - true) ** 2).mean()))
    return {
        "nrmse": rmse / float(true.std()),
        "nrmse_rms": rmse / float(np.sqrt((true**2).mean())),
        "sam_deg": float(np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean()),
        "coverage95": coverage,
    }


def compare(
    cube: Cube,
    instrument: Characterization,
    methods: list[str],
    *,
    snrs: list[float],
    kept_lines: float | None = None,
    capture: MonochromaticCapture | None = None,
    fewer: Callable[[], Characterization] | None = None,
    illumination: Array | None = None,
    seed: int = 0,
    kept: Kept | None = None,
    progress: Progress = silent,
) -> list[dict[str, Any]]:
    """One record for each signal-to-noise ratio and method.

    Parameters
    ----------
    cube : Cube
        The scene: light, or reflectance under flat light.
    instrument : Characterization
        What measures it.
    methods : list of str
    snrs : list of float
    kept_lines : float, optional
        Invert with the instrument characterized on this share of its lines, not the one that measured.
    capture : MonochromaticCapture, optional
        Where those lines come from (`fewer_lines`).
    fewer : callable, optional
        Gives the instrument of those lines, where several scenes share it.
    illumination : array, shape (grid,), optional
        Known light, for methods that use it.
    seed : int
    kept : Kept, optional
        Records that are there already.
    progress : callable
        Called with (done, total).

    Raises
    ------
    InputError
        On an unknown method, or a scene that does not fit the instrument's band.
    """
    kept = Kept() if kept is None else kept
    entries = [registry.get(name) for name in methods]
    if kept_lines is not None and not 0 < kept_lines < 1:
        raise InputError(f"kept-lines: found {kept_lines:g}, expected a share between 0 and 1")
    grid, truth = scene_on_lines(instrument, cube)
    if not np.ptp(truth[np.isfinite(truth)]) > 0:
        raise InputError(f"{cube.who}: values: found one value throughout, expected a scene")
    # characterized when the first record asks for it, and not where all is kept
    inverted_with = cache(
        fewer or (lambda: instrument if kept_lines is None else fewer_lines(instrument, kept_lines, seed, capture))
    )
    what = {
        "scene": cube_fingerprint(cube), "instrument": instrument_name(instrument), "seed": seed,
        "kept_lines": kept_lines, "illumination": None if illumination is None else fingerprint(illumination),
        "capture": None if capture is None else capture_name(capture),
    }  # fmt: skip
    records = []
    for number, snr in enumerate(snrs):
        case = cache(partial(_case, instrument, inverted_with, truth, grid, snr, illumination, seed))
        for place, entry in enumerate(entries):
            result = kept.get({**what, "snr": snr, "method": entry.name}, partial(_record, entry, case, truth))
            records.append(
                {
                    "case": cube.name or cube.source, "instrument": instrument.name, "snr": snr,
                    "kept_lines": 1.0 if kept_lines is None else kept_lines, "method": entry.name, **result,
                }
            )  # fmt: skip
            progress(number * len(entries) + place + 1, len(snrs) * len(entries))
    return records


def _case(
    instrument: Characterization, inverted_with: Callable[[], Characterization], truth: Array, grid: Array, snr: float,
    illumination: Array | None, seed: int,
) -> Interferograms:  # fmt: skip
    """What a scene's interferograms look like to who has one instrument and inverts with another."""
    other = inverted_with()
    values, sigma = simulate(instrument, truth, grid, snr, np.random.default_rng(seed))
    noise = np.full(len(values), sigma)
    measured = Measurement(values=values, noise_std=noise, source="simulated")
    case = build_case(measured, other, grid, illumination)
    # an exact matrix is said to be exact
    return replace(case, calibration_std=None, own_errors=None, line_errors=None) if other is instrument else case


def _record(entry: Method, case: Callable[[], Interferograms], truth: Array) -> dict[str, float]:
    interferograms = case()
    began = time.perf_counter()
    spectra = entry(interferograms)
    return {**score(spectra, truth), "seconds": time.perf_counter() - began}
