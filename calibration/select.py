"""``--model auto``: choose the model by held-out error, per device.

The residual in sample always prefers more parameters; the residual on lines that the fit has not seen does not. One
choice is varied at a time (gain reference, waves, phase dispersion, degrees, parasitic etalons, shared gain curve), and
the simpler candidate stays unless the richer one is better by more than one standard error of their paired difference.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.capture import MonochromaticCapture
from calibration.characterize import find_etalons, fit_capture
from calibration.fit import Fit, cross_validate
from calibration.problem import Options, Problem
from hsitools.errors import InputError
from hsitools.sensor.transmittance import TransmittanceModel

Array = NDArray[np.float64]
log = logging.getLogger(__name__)

#: Interferometers on which models are compared, in runs of neighbours evenly spread over the device.
ROWS, RUN = 96, 16
FOLDS = 10


class _Trials:
    """Fits candidates on the same rows and folds and remembers what they scored."""

    def __init__(self, capture: MonochromaticCapture, seed: int, progress: Callable[[str], None] | None = None) -> None:
        self.progress = progress
        self.capture, self.seed = capture, seed
        self.table: list[dict[str, Any]] = []
        self.best: tuple[TransmittanceModel, Options] | None = None
        self.best_score: Array | None = None
        self.best_fit: tuple[Problem, Fit] | None = None
        self._chosen: dict[str, Any] | None = None

    def offer(self, model: TransmittanceModel, options: Options) -> bool:
        """Score a candidate; True when it becomes the best."""
        if int(model.free.sum()) * 2 > self.capture.n_lines:
            return False
        problem, fit = fit_capture(self.capture, model, options)
        score = cross_validate(problem, fit, options, FOLDS, self.seed)[problem.usable]
        residual = (problem.intensity - fit.values(problem)) * (problem.weight > 0)
        rmse = np.sqrt((residual**2).sum(axis=1) / np.maximum((problem.weight > 0).sum(axis=1), 1))[problem.usable]
        label = model.label + (", shared gain curve" if options.shared_curve else "")
        row = {"label": label, "rmse_cv_mean": float(score.mean()), "rmse_mean": float(rmse.mean()), "chosen": False}
        self.table.append(row)
        if self.progress is not None:
            self.progress(label)
        log.info("auto: %s: held-out %.4f, in sample %.4f", label, row["rmse_cv_mean"], row["rmse_mean"])
        if self.best_score is not None:
            gain = self.best_score - score
            if not gain.mean() > gain.std() / np.sqrt(len(gain)):
                return False
        if self._chosen is not None:
            self._chosen["chosen"] = False
        row["chosen"] = True
        self.best, self.best_score, self.best_fit, self._chosen = (model, options), score, (problem, fit), row
        return True


def select_model(
    capture: MonochromaticCapture,
    options: Options,
    *,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> tuple[TransmittanceModel, Options, list[dict[str, Any]]]:
    """Model and options of smallest held-out error, with the table of all that was tried.

    Parameters
    ----------
    capture : MonochromaticCapture
    options : Options
        Loss, start and prior are kept; the shared curve is tried; the engine is batched while choosing.
    seed : int
        Deals the lines to folds.
    progress : callable, optional
        Called with the label of each candidate when it is scored.

    Raises
    ------
    InputError
        When the capture has too few lines even for the simplest candidate.
    """
    engine, options = options.engine, replace(options, engine="batched", shared_curve=False)
    trials = _Trials(_rows_for_selection(capture), seed, progress)
    for degree in (3, 1, 0):
        trials.offer(TransmittanceModel(degree_gain=degree, degree_reflectivity=degree), options)
        if trials.best is not None:
            break
    if trials.best is None:
        raise InputError(
            f"{capture.source or capture.name}: lines: found {capture.n_lines}, expected at least 8 to choose a model"
        )

    def vary(**changes: Any) -> bool:
        model, chosen = trials.best or (TransmittanceModel(), options)
        return trials.offer(replace(model, **changes), chosen)

    vary(gain_reference="none")
    vary(waves=2)
    for degree in (3, 5, 8):
        vary(degree_phase=degree)
    for degree in (5, 8):
        vary(degree_gain=degree, degree_reflectivity=degree)
    found: tuple[float, ...] = ()
    while len(found) < 3 and trials.best_fit is not None:
        more = [opd for opd in find_etalons(*trials.best_fit) if all(abs(opd - other) > 0.1 for other in found)]
        if not more or not vary(etalons_um=(*found, more[0])):
            break
        found = (*found, more[0])
    model, chosen = trials.best
    trials.offer(model, replace(chosen, shared_curve=True))
    model, chosen = trials.best
    return model, replace(chosen, engine=engine), trials.table


def _rows_for_selection(capture: MonochromaticCapture) -> MonochromaticCapture:
    if capture.n_interferometers <= ROWS:
        return capture
    # whole runs of neighbours, since the start follows the OPD from one interferometer to the next
    runs = np.linspace(0, capture.n_interferometers - RUN, ROWS // RUN).round().astype(np.int64)
    return capture.select(rows=np.unique((runs[:, None] + np.arange(RUN)).ravel()))
