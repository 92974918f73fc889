"""Speed: all interferometers of a device, start and refinement, against one fit at a time, in the same run.

Three ways to the same cost (model chosen by ``--model auto``, same start, same prior):

* ours, batched, one thread;
* the ``lmfit`` engine, one `lmfit.Model` fit per interferometer;
* a loop of `scipy.optimize.least_squares` with finite differences, one call per interferometer, which is how the
  published code works.

The one-at-a-time ways are timed on evenly spread interferometers and scaled to the device.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from scipy.optimize import least_squares

from benchmarks.captures import DEVICES, load
from calibration import initialize
from calibration.capture import MonochromaticCapture
from calibration.characterize import fit_capture, starting_opd
from calibration.fit import Fit
from calibration.lmfit_engine import fit_row
from calibration.problem import Options, Problem
from hsitools.sensor.transmittance import TransmittanceModel

SAMPLE = 12


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
        problem, fit = fit_capture(capture, model, options)
        times.append(time.perf_counter() - began)
    ours = min(times)
    began = time.perf_counter()
    opd, _ = starting_opd(problem)
    theta = initialize.starting_parameters(
        model, problem.band, problem.wavenumber, problem.intensity, problem.flat, problem.weight, opd
    )
    start = time.perf_counter() - began
    rows = np.linspace(0, len(theta) - 1, SAMPLE).round().astype(int).tolist()
    column = model.slices["phase"].start + 1
    to_opd = 1 / (2 * np.pi * problem.band.half_width)
    seconds, away = {}, {}
    for name in ("lmfit", "scipy"):
        began = time.perf_counter()
        found = []
        for row in rows:
            if name == "lmfit":
                found.append(fit_row(problem, fit, row, theta[row]).params["opd_um"].value)
            else:
                found.append(scipy_row(problem, fit, row, theta[row]).x[column] * to_opd)
        seconds[name] = start + (time.perf_counter() - began) / len(rows) * len(theta)
        away[name] = float(np.median(np.abs(np.array(found) - fit.theta[rows, column] * to_opd)))
    return {"ours": ours, **seconds, "away_lmfit": away["lmfit"], "away_scipy": away["scipy"]}


def main(models: dict[str, tuple[TransmittanceModel, Options]] | None = None) -> dict[str, dict[str, float]]:
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
            model, options = models[device]
        r = results[device] = compare(capture, model, options)
        print(
            f"  {device:<14}{r['ours']:>8.3f}{r['lmfit']:>12.1f} ({r['lmfit'] / r['ours']:>5.0f}×)"
            f"{r['scipy']:>13.1f} ({r['scipy'] / r['ours']:>5.0f}×)"
            f"   lmfit {1000 * r['away_lmfit']:.2f}, scipy {1000 * r['away_scipy']:.2f}"
        )
    return results


if __name__ == "__main__":
    main()
