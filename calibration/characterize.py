"""From a capture to a characterization: the whole of IRCA's three steps, with certainty.

`characterize` runs the default path: periodogram and OPD path, batched refinement under a population prior, restarts
for rows with few fringes, covariance, flags, and the device's OPD law.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.captures.capture import MonochromaticCapture
from calibration.characterization import Characterization, build
from calibration.fitting import initialize
from calibration.fitting.fit import Fit, fit_rounds
from calibration.fitting.rows import Options, Problem
from hsitools.errors import InputError
from hsitools.sensor.transmittance import TransmittanceModel

Array = NDArray[np.float64]
log = logging.getLogger(__name__)


def starting_opd(problem: Problem, method: str = "periodogram") -> tuple[Array, Array | None]:
    """OPD of each row (µm) and, for the exhaustive search, its reflectivity."""
    grid = initialize.opd_grid(problem.wavenumber)
    seen = (problem.weight > 0).any(axis=0)
    wavenumber, ratio = problem.wavenumber[seen], problem.filled_ratio[:, seen]
    if method == "exhaustive":
        coarse = np.arange(grid[0], grid[-1], 0.5 / problem.band.width)
        opd, reflectivity = initialize.exhaustive_search(wavenumber, ratio, coarse)
        return opd, reflectivity
    scan = initialize.periodogram(wavenumber, ratio, grid)
    scan.power[~problem.usable] = 0
    return initialize.track_opd(scan, problem.index, len(wavenumber), problem.opd_step_um), None


def find_etalons(problem: Problem, fit: Fit) -> tuple[float, ...]:
    """OPDs (µm) of parasitic etalons: fringes that the residuals of most rows share.

    What all rows share line by line, with one sign, is an error of the lamp or of the flat field and no etalon, whose
    wedge gives each interferometer another phase: it is taken out first.
    """
    rows = problem.usable
    if rows.sum() < 12:
        return ()
    seen = (problem.weight > 0).any(axis=0)
    value = fit.values(problem)
    floor = 0.2 * np.median(np.abs(value[:, seen]), axis=1, keepdims=True)
    relative = ((problem.intensity - value) * (problem.weight > 0) / np.maximum(value, floor))[rows][:, seen]
    relative -= np.median(relative, axis=0)
    grid = initialize.opd_grid(problem.wavenumber)
    scan = initialize.periodogram(problem.wavenumber[seen], 1 + relative, grid)
    return initialize.find_common_fringes(scan, int(seen.sum()))


def fit_problem(problem: Problem, model: TransmittanceModel, options: Options, tolerance: float | None = None) -> Fit:
    """Start and refinement from the problem's own lines: what `characterize`, held-out error and benchmarks share."""
    sampled = problem.sampled(model)
    opd, reflectivity = starting_opd(problem, options.start)
    theta = initialize.starting_parameters(
        model,
        problem.band,
        problem.wavenumber,
        problem.intensity,
        problem.flat,
        problem.weight,
        opd,
        reflectivity,
        problem.line,
    )
    return fit_rounds(sampled, problem, theta, options, tolerance=tolerance)


def fit_capture(capture: MonochromaticCapture, model: TransmittanceModel, options: Options) -> tuple[Problem, Fit]:
    """`fit_problem` of all lines of a capture, without the bookkeeping of `characterize`."""
    problem = Problem.of(capture, model)
    if not problem.usable.any():
        raise InputError(f"{capture.source or capture.name}: intensity: found no interferometer with signal")
    return problem, fit_problem(problem, model, options)


def characterize(
    capture: MonochromaticCapture,
    model: TransmittanceModel | None = None,
    *,
    options: Options | None = None,
    cv: int = 0,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Characterization:
    """Characterize all interferometers of a capture.

    Parameters
    ----------
    capture : MonochromaticCapture
    model : TransmittanceModel, optional
        None picks waves, degrees, dispersion and etalons by held-out error (`calibration.model_choice.select_model`).
    options : Options, optional
    cv : int
        Folds for the held-out error of the result; 0 for none.
    seed : int
        Deals the lines to folds.
    progress : callable, optional
        Called with the label of each model tried.

    Raises
    ------
    InputError
        When no row has signal or there are fewer lines than parameters.

    References
    ----------
    D. Picone et al., Optics Express 31(14) 23066, 2023.
    """
    began = time.perf_counter()
    trials: list[dict[str, Any]] = []
    spread = None
    options = options or Options()
    if model is None:
        from calibration.model_choice import choose

        selection = choose(capture, options, seed=seed, progress=progress)
        model, options, trials, spread = selection.model, selection.options, selection.table, selection.model_spread
    problem, fit = fit_capture(capture, model, options)
    log.info("%s: %s: %d iterations", capture.name, model.label, fit.iterations)
    rmse_cv = None
    if cv:
        from calibration.held_out import cross_validate

        rmse_cv = cross_validate(capture, model, options, cv, seed)
    return build(
        capture, problem, fit, rmse_cv=rmse_cv, selection=trials, seconds=time.perf_counter() - began, options=options,
        model_spread=spread,
    )  # fmt: skip
