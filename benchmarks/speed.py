"""Speed: all interferometers of a device, start and refinement, against one fit at a time, in the same run.

Ours is batched, on one thread, with the model that ``--model auto`` chose. Beside it:

* the ``lmfit`` engine: the same pipeline, every refinement one `lmfit.Model` fit per interferometer;
* a loop of `scipy.optimize.least_squares` with finite differences, one call per interferometer from the same start and
  under the same prior, which is how the published code works (one pass, so it skips learning the prior).

The slow two are timed on three runs of neighbours of the device and scaled to all of it.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import least_squares

from benchmarks.captures import DEVICES, load
from calibration import initialize
from calibration.capture import MonochromaticCapture
from calibration.characterize import fit_capture, starting_opd
from calibration.fit import Fit
from calibration.problem import Options, Problem
from hsitools.sensor.transmittance import TransmittanceModel

SAMPLE = 24


def scipy_row(problem: Problem, fit: Fit, row: int, theta: Any) -> Any:
    """One interferometer by `least_squares` with finite differences, prior as extra residuals."""
    flat = (problem.flat[row] * fit.curve)[None]
    root_weight = np.sqrt(problem.weight[row])
    root, mean = None, None
    if fit.prior is not None:
        eigenvalues, vectors = np.linalg.eigh(fit.prior.precision[row])
        root, mean = np.sqrt(np.maximum(eigenvalues, 0))[:, None] * vectors.T, fit.prior.mean[row]

    def residual(x: Any) -> Any:
        value = (problem.intensity[row] - fit.sampled.values(x[None], flat)[0]) * root_weight
        return value if root is None else np.concatenate([value, root @ (x - mean)])

    return least_squares(residual, theta, x_scale="jac")


def compare(capture: MonochromaticCapture, model: TransmittanceModel, options: Options) -> dict[str, float]:
    """Seconds per device of the three ways, and how far their OPDs agree."""
    fit_capture(capture, model, options)  # warm: imports, caches
    times = []
    for _ in range(3):
        began = time.perf_counter()
        problem, _ = fit_capture(capture, model, options)
        times.append(time.perf_counter() - began)
    column = model.slices["phase"].start + 1
    to_opd = 1 / (2 * np.pi * problem.band.half_width)

    # three runs of neighbours: the start follows the OPD from one to the next
    starts = np.linspace(0, capture.n_interferometers - SAMPLE // 3, 3).astype(int)
    few = capture.select(rows=np.unique(starts[:, None] + np.arange(SAMPLE // 3)))
    scale = capture.n_interferometers / few.n_interferometers
    few_problem, few_fit = fit_capture(few, model, options)
    began = time.perf_counter()
    _, by_lmfit = fit_capture(few, model, replace(options, engine="lmfit"))
    lmfit_seconds = scale * (time.perf_counter() - began)

    opd, _ = starting_opd(few_problem)
    theta = initialize.starting_parameters(
        model,
        few_problem.band,
        few_problem.wavenumber,
        few_problem.intensity,
        few_problem.flat,
        few_problem.weight,
        opd,
    )
    began = time.perf_counter()
    by_scipy = [scipy_row(few_problem, few_fit, row, theta[row]).x[column] for row in range(len(theta))]
    scipy_seconds = scale * (time.perf_counter() - began)

    def away(theta_column: Any) -> float:
        return float(np.median(np.abs(np.array(theta_column) - few_fit.theta[:, column])) * to_opd)

    return {
        "ours": min(times),
        "lmfit": lmfit_seconds,
        "scipy": scipy_seconds,
        "away_lmfit": away(by_lmfit.theta[:, column]),
        "away_scipy": away(by_scipy),
    }


def main(models: dict[str, tuple[TransmittanceModel, dict[str, Any]]] | None = None) -> dict[str, dict[str, float]]:
    """Print the table for the three devices."""
    results = {}
    print("Speed, default model, start and refinement of a whole device (seconds; ratio to ours)")
    print(f"  {'':<14}{'ours':>8}{'lmfit engine':>22}{'scipy loop':>22}   median OPD difference (nm)")
    for device in DEVICES:
        capture = load(device)
        if models is None:
            from calibration.select import select_model

            model, options, _ = select_model(capture, Options())
        else:
            model, options = models[device][0], Options(**models[device][1])
        r = results[device] = compare(capture, model, options)
        print(
            f"  {device:<14}{r['ours']:>8.3f}{r['lmfit']:>12.1f} ({r['lmfit'] / r['ours']:>5.0f}×)"
            f"{r['scipy']:>13.1f} ({r['scipy'] / r['ours']:>5.0f}×)"
            f"   lmfit {1000 * r['away_lmfit']:.2f}, scipy {1000 * r['away_scipy']:.2f}"
        )
    return results


if __name__ == "__main__":
    main()
