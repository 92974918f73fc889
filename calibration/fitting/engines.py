"""The engine that refines rows: batched Levenberg-Marquardt, or lmfit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibration.fitting.cut_off import CutOff
from calibration.fitting.options import Options
from calibration.fitting.refine import Prior, Refinement, refine
from hsitools.sensor.transmittance import SampledModel

Array = NDArray[np.float64]


def minimise(
    sampled: SampledModel, theta: Array, intensity: Array, flat: Array, weight: Array, prior: Prior | None,
    options: Options, cut_off: CutOff | None, max_iterations: int, tolerance: float,
) -> Refinement:  # fmt: skip
    """The engine of the options at work; lmfit goes its own way to convergence each time."""
    if options.engine == "lmfit":
        from calibration.fitting.lmfit_engine import refine_rows

        return refine_rows(sampled, theta, intensity, flat, weight, prior=prior, cut_off=cut_off)
    return refine(
        sampled, theta, intensity, flat, weight,
        prior=prior, loss=options.loss, cut_off=cut_off, max_iterations=max_iterations, tolerance=tolerance,
    )  # fmt: skip
