"""Held-out error: how far a fit is from the measurement at lines that it was not given.

A fold holds some lines out from the very beginning. Scale, periodogram, OPD path, population prior, shared curves,
restarts and the OPDs of parasitic etalons are all found from the other lines, so that nothing of the held-out
intensities can reach the prediction of themselves. Within a fold a richer model may start from the fold's own fit of a
simpler one: that fit has not seen the held-out lines either.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.captures.capture import MonochromaticCapture
from calibration.fitting.etalons import find_etalons
from calibration.fitting.fit import fit_rounds, fit_rows
from calibration.fitting.fit_state import Fit
from calibration.fitting.options import Options
from calibration.fitting.population import shared_parameters
from calibration.fitting.refine import Prior
from calibration.fitting.scaled_rows import ScaledRows
from hsitools.errors import InputError, require_type
from hsitools.sensor.transmittance import SampledModel, TransmittanceModel
from hsitools.text import counted

Array = NDArray[np.float64]

#: Etalons nearer than this (µm) to one that is in the model already are the same one, told apart by noise.
SAME_ETALON_UM = 0.1
#: Tolerance of fits that are compared or searched for etalons: their held-out error is then that of the finished fit to
#: one part in a thousand.
ROUGHLY = 1e-3
#: Standard deviation of the first prior on a coefficient that the simpler model does not have: coefficients of gain,
#: reflectivity and phase beyond degree 0 are of some tenths.
ADDED_SIGMA = 0.3
#: Interferometers on which models are compared and etalons looked for: the lines, not the rows, limit what can be told.
ROWS = 96
#: They come in runs of so many neighbours, since the start follows the OPD from one interferometer to the next.
RUN = 16


def deal(n_lines: int, folds: int, seed: int) -> list[NDArray[np.intp]]:
    """Lines of each fold, dealt at random: every second line would halve the sampling limit and alias large OPDs.

    Raises
    ------
    InputError
        When there are fewer lines than folds, or fewer than two folds.
    """
    require_type(folds, (int, np.integer), "cv", "a whole number")
    if not 2 <= folds <= n_lines:
        raise InputError(f"cv: found {counted(folds, 'fold')}, expected 2 to {n_lines} (the number of lines)")
    order = np.random.default_rng(seed).permutation(n_lines)
    return [np.sort(order[number::folds]) for number in range(folds)]


@dataclass(frozen=True, kw_only=True)
class Fold:
    """A fit of all lines but the held-out ones."""

    capture: MonochromaticCapture
    held_out: NDArray[np.intp]
    data: ScaledRows
    fit: Fit
    options: Options
    tolerance: float | None = None  # of its refinements (`calibration.fitting.fit.fit_rounds`)

    @classmethod
    def start(
        cls, capture: MonochromaticCapture, held_out: NDArray[np.intp], model: TransmittanceModel, options: Options,
        tolerance: float | None = None,
    ) -> Fold:  # fmt: skip
        """Fit from nothing; as many etalons as the model has are looked for in these lines."""
        if model.etalons_um:
            model = find_device_etalons(capture, model, options, held_out)
        data = ScaledRows.of(capture, model, held_out)
        return cls(
            capture=capture, held_out=held_out, data=data, options=options,
            fit=fit_rows(data, model, options, tolerance), tolerance=tolerance,
        )  # fmt: skip

    @property
    def model(self) -> TransmittanceModel:
        """The model fitted; its etalons are those that these lines show."""
        return self.fit.sampled.model

    def grow(self, model: TransmittanceModel, options: Options) -> Fold:
        """Fit another model, starting from this fit."""
        data = ScaledRows.of(self.capture, model, self.held_out)
        sampled = data.sampled(model)
        warm = embed(self.fit, sampled)
        fit = fit_rounds(sampled, data, warm.theta, options, warm=warm, tolerance=self.tolerance)
        return replace(self, data=data, options=options, fit=fit)

    def next_etalon(self) -> float | None:
        """OPD (µm) of the strongest etalon that the residuals show and the model does not have; None without one."""
        etalons = self.model.etalons_um
        new = [o for o in find_etalons(self.data, self.fit) if all(abs(o - k) > SAME_ETALON_UM for k in etalons)]
        return new[0] if new else None

    def residual(self) -> Array:
        """Measured minus predicted at the held-out lines, in units of the row's mean intensity, ``(row, line)``.

        Zero where there is no measurement.
        """
        lines, mask = self.held_out, self.capture.mask
        predicted = self.fit.values(self.data)[:, lines] * self.data.level[:, None]
        count = np.maximum(mask.sum(axis=1, keepdims=True), 1)
        mean = np.abs((self.capture.intensity * mask).sum(axis=1, keepdims=True) / count)
        residual = (self.capture.intensity[:, lines] - predicted) * mask[:, lines]
        return np.asarray(residual / np.where(mean > 0, mean, 1))

    def rmse_in_sample(self) -> float:
        """RMSE at the lines that were fitted, mean over the rows."""
        data = self.data
        residual = (data.intensity - self.fit.values(data)) * (data.weight > 0)
        count = np.maximum((data.weight > 0).sum(axis=1), 1)
        return float(np.sqrt((residual**2).sum(axis=1) / count)[data.usable].mean())


def spread_rows(capture: MonochromaticCapture) -> MonochromaticCapture:
    """Interferometers on which models are compared: a few runs of neighbours spread over the device."""
    if capture.n_interferometers <= ROWS:
        return capture
    runs = np.linspace(0, capture.n_interferometers - RUN, ROWS // RUN).round().astype(np.int64)
    return capture.select(rows=np.unique((runs[:, None] + np.arange(RUN)).ravel()))


def find_device_etalons(
    capture: MonochromaticCapture,
    model: TransmittanceModel,
    options: Options,
    held_out: NDArray[np.intp] | None = None,
) -> TransmittanceModel:
    """The model with its etalons (as many as it has, or as many as there are) found anew in the lines not held out.

    One after the other, strongest first, on interferometers spread over the device: etalons belong to all of them.
    """
    if not model.etalons_um:
        return model
    held_out = np.zeros(0, dtype=np.intp) if held_out is None else held_out
    fold = Fold.start(spread_rows(capture), held_out, replace(model, etalons_um=()), options, ROUGHLY)
    for number in range(len(model.etalons_um)):
        opd = fold.next_etalon()
        if opd is None:
            break
        model_so_far = replace(model, etalons_um=(*fold.model.etalons_um, opd))
        if number + 1 == len(model.etalons_um):
            return model_so_far
        fold = fold.grow(model_so_far, options)
    return fold.model


def embed(fit: Fit, sampled: SampledModel) -> Fit:
    """A fit, its prior and its curve as the start of another model: coefficients that it lacks are zero.

    New coefficients get a prior of their own, wide (`ADDED_SIGMA`), so that they cannot run away in the
    first steps; the next round learns the right one.
    """
    old, new = fit.sampled.model, sampled.model
    source: list[int] = []
    target: list[int] = []
    for name, part in old.slices.items():
        if name in new.slices:
            size = min(part.stop - part.start, new.slices[name].stop - new.slices[name].start)
            source += range(part.start, part.start + size)
            target += range(new.slices[name].start, new.slices[name].start + size)
    theta = np.zeros((len(fit.theta), new.n_parameters))
    theta[:, target] = fit.theta[:, source]
    prior = None if fit.prior is None else _embed_prior(fit.prior, fit.variance, old, new, np.array(source), target)
    covariance = np.zeros((len(theta), new.n_parameters, new.n_parameters))
    return replace(fit, sampled=sampled, theta=theta, covariance=covariance, prior=prior, between=None, fitted=None)


def _embed_prior(
    prior: Prior, variance: Array, old: TransmittanceModel, new: TransmittanceModel, source: NDArray[np.int_],
    target: list[int],
) -> Prior:  # fmt: skip
    """The prior on the parameters ``source`` of a model as one on ``target`` of another, wide on all others."""
    size = new.n_parameters
    added = np.setdiff1d(np.arange(size), target)

    def placed(matrix: Array, rest: Array | float) -> Array:
        out = np.zeros((*matrix.shape[:-2], size, size))
        out[..., np.array(target)[:, None], target] = matrix[..., source[:, None], source]
        out[..., added, added] = rest
        return out

    mean = np.zeros((len(prior.mean), size))
    mean[:, target] = prior.mean[:, source]
    wide = 1 / ADDED_SIGMA**2
    force = prior.force
    if force is not None:
        force = placed(force, variance[:, None] ** 2 * wide)
    population = prior.population
    if population is not None:
        # of the parameters that rows share only
        before, after = shared_parameters(old), shared_parameters(new)
        centre, precision = np.zeros(old.n_parameters), np.zeros((old.n_parameters, old.n_parameters))
        centre[before], precision[before[:, None], before] = population
        middle = np.zeros(size)
        middle[target] = centre[source]
        population = middle[after], placed(precision, wide)[after[:, None], after]
    return Prior(
        mean=mean, precision=placed(prior.precision, variance[:, None] * wide), force=force, population=population
    )


def cross_validate(
    capture: MonochromaticCapture, model: TransmittanceModel, options: Options, folds: int = 10, seed: int = 0
) -> Array:
    """Held-out RMSE of each row in units of its mean intensity, over folds of lines, shape ``(row,)``.

    Each fold is fitted from nothing without its lines (see the module).

    Raises
    ------
    InputError
        As `deal`, or when a fold has fewer lines than the model has parameters.
    """
    squares = np.zeros((capture.n_interferometers, capture.n_lines))
    for held_out in deal(capture.n_lines, folds, seed):
        squares[:, held_out] = Fold.start(capture, held_out, model, options).residual() ** 2
    return row_rmse(squares, capture)


def row_rmse(squares: Array, capture: MonochromaticCapture) -> Array:
    """Root mean square of each row from squared residuals ``(row, line)`` that are zero where nothing was measured."""
    total: Any = squares.sum(axis=1)
    return np.asarray(np.sqrt(total / np.maximum(capture.mask.sum(axis=1), 1)))
