"""Speed: all interferometers of a device, start and refinement, against one fit at a time, in the same run.

Ours is batched, on one thread, with the model that ``--model auto`` chose. Beside it:

* the ``lmfit`` engine: the same pipeline, every refinement one `lmfit.Model` fit per interferometer (and one pass of
  such fits alone, from the same start under the same prior);
* a loop of `scipy.optimize.least_squares` with finite differences, one call per interferometer from the same start and
  under the same prior, which is how the published code works (one pass, so it skips learning the prior).

The slow ones are timed on three runs of neighbours of the device and scaled to all of it.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import least_squares

from benchmarks.captures import DEVICES, load
from calibration.captures.capture import MonochromaticCapture
from calibration.fitting import initialize
from calibration.fitting.fit import fit_capture
from calibration.fitting.lmfit_engine import fit_row
from calibration.fitting.options import Options
from calibration.fitting.refine import Prior
from calibration.fitting.starting_opd import starting_opd
from hsitools.sensor.transmittance import SampledModel, TransmittanceModel

SAMPLE = 18


def _lmfit_row(sampled: SampledModel, theta: Any, y: Any, flat: Any, weight: Any, prior: Prior | None) -> Any:
    result = fit_row(sampled, theta, y, flat, weight, prior)
    return result.model.theta(result.params)


def _scipy_row(sampled: SampledModel, theta: Any, y: Any, flat: Any, weight: Any, prior: Prior | None) -> Any:
    """`least_squares` with finite differences, prior as extra residuals."""
    root_weight = np.sqrt(weight)
    root, mean = None, None
    if prior is not None:
        eigenvalues, vectors = np.linalg.eigh(prior.precision[0])
        root, mean = np.sqrt(np.maximum(eigenvalues, 0))[:, None] * vectors.T, prior.mean[0]

    def residual(x: Any) -> Any:
        value = (y - sampled.values(x[None], flat[None])[0]) * root_weight
        return value if root is None else np.concatenate([value, root @ (x - mean)])

    return least_squares(residual, theta, x_scale="jac").x


def compare(capture: MonochromaticCapture, model: TransmittanceModel, options: Options) -> dict[str, float]:
    """Seconds per device of the three ways, and how far their OPDs agree."""
    fit_capture(capture, model, options)  # warm: imports, caches
    times = []
    for _ in range(3):
        began = time.perf_counter()
        data, _ = fit_capture(capture, model, options)
        times.append(time.perf_counter() - began)
    column = model.slices["phase"].start + 1
    to_opd = 1 / (2 * np.pi * data.band.half_width)

    # three runs of neighbours: the start follows the OPD from one to the next
    starts = np.linspace(0, capture.n_interferometers - SAMPLE // 3, 3).astype(int)
    few = capture.select(rows=np.unique(starts[:, None] + np.arange(SAMPLE // 3)))
    scale = capture.n_interferometers / few.n_interferometers
    few_data, few_fit = fit_capture(few, model, options)
    began = time.perf_counter()
    fit_capture(few, model, replace(options, engine="lmfit"))
    lmfit_seconds = scale * (time.perf_counter() - began)

    # one fit a row, all from the same start under the same prior: this must end at the same place
    opd, _ = starting_opd(few_data)
    f, model = few_data, few_fit.sampled.model
    theta = initialize.starting_parameters(model, f.band, f.wavenumber, f.intensity, f.flat, f.weight, opd)
    flat = f.flat * few_fit.curve
    rows = range(len(theta))
    once = {}
    for name, one in (("lmfit", _lmfit_row), ("scipy", _scipy_row)):
        began = time.perf_counter()
        solutions = [
            one(few_fit.sampled, theta[i], f.intensity[i], flat[i], f.weight[i],
                None if few_fit.prior is None else few_fit.prior.take([i]))
            for i in rows
        ]  # fmt: skip
        away = np.abs(np.array(solutions)[:, column] - few_fit.theta[:, column])
        once[name] = scale * (time.perf_counter() - began), float(np.median(away)) * to_opd
    return {
        "ours": min(times),
        "lmfit": lmfit_seconds,
        "lmfit_once": once["lmfit"][0],
        "scipy": once["scipy"][0],
        "away_lmfit": once["lmfit"][1],
        "away_scipy": once["scipy"][1],
    }


def main(models: dict[str, tuple[TransmittanceModel, dict[str, Any]]] | None = None) -> dict[str, dict[str, float]]:
    """Print the table for the three devices."""
    results = {}
    print("Speed, default model, start and refinement of a whole device (seconds; ratio to ours)")
    print(
        f"  {'':<14}{'ours':>8}{'lmfit engine':>18}{'lmfit, one pass':>18}{'scipy loop':>18}"
        "   median OPD difference of a pass (nm)"
    )
    for device in DEVICES:
        capture = load(device)
        if models is None:
            from calibration.model_choice import select_model

            selection = select_model(capture, Options())
            model, options = selection.model, selection.options
        else:
            model, options = models[device][0], Options(**models[device][1])
        r = results[device] = compare(capture, model, options)
        slow = "".join(f"{r[k]:>9.1f} ({r[k] / r['ours']:>5.0f}×)" for k in ("lmfit", "lmfit_once", "scipy"))
        apart = f"lmfit {1000 * r['away_lmfit']:.2f}, scipy {1000 * r['away_scipy']:.2f}"
        print(f"  {device:<14}{r['ours']:>8.3f}{slow}   {apart}")
    return results


if __name__ == "__main__":
    main()
