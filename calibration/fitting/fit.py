"""Fit all rows of a device: refinement, population prior, restarts, shared gain curve."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from calibration.captures.capture import MonochromaticCapture
from calibration.fitting import initialize
from calibration.fitting.fit_state import Fit, Shared, modelled
from calibration.fitting.line_width import estimate_line_width
from calibration.fitting.opd_law import running_median
from calibration.fitting.options import Options
from calibration.fitting.population import estimate_prior
from calibration.fitting.posterior import posterior
from calibration.fitting.refine import Prior, Refinement, refine
from calibration.fitting.scaled_rows import ScaledRows
from calibration.fitting.shared_curves import shared_gain_curve, shared_shift
from calibration.fitting.starting_opd import starting_opd
from hsitools.errors import InputError
from hsitools.sensor.transmittance import SampledModel, TransmittanceModel

Array = NDArray[np.float64]

#: Rounds of learning from all rows before the last refinement: the first knows no prior, the second was made under one.
ROUNDS = 2
#: Most iterations of a refinement, and the share of the cost below which a step ends it: while learning, at the end,
#: and at the end without a prior, where rows of few fringes creep.
ROUGH, FINE, FINEST = (3, 1e-3), (60, 1e-6), (60, 1e-8)
#: Rows with fewer fringes in the band than this are started from several OPDs: their cost has several minima.
FEW_FRINGES = 3.0


def _minimise(
    sampled: SampledModel, theta: Array, intensity: Array, flat: Array, weight: Array, prior: Prior | None,
    options: Options, max_iterations: int, tolerance: float,
) -> Refinement:  # fmt: skip
    """The engine of the options at work; lmfit goes its own way to convergence each time."""
    if options.engine == "lmfit":
        from calibration.fitting.lmfit_engine import refine_rows

        return refine_rows(sampled, theta, intensity, flat, weight, prior=prior)
    return refine(
        sampled, theta, intensity, flat, weight,
        prior=prior, loss=options.loss, max_iterations=max_iterations, tolerance=tolerance,
    )  # fmt: skip


def _solve(
    sampled: SampledModel, data: ScaledRows, theta: Array, shared: Shared, prior: Prior | None, options: Options,
    max_iterations: int, tolerance: float,
) -> Fit:  # fmt: skip
    sampled, flat = shared.applied(sampled), data.flat * shared.curve
    refined = _minimise(sampled, theta, data.intensity, flat, data.weight, prior, options, max_iterations, tolerance)
    fitted = modelled(sampled, refined.theta, flat)
    residual = data.intensity - fitted
    variance, covariance = posterior(refined, residual, data.weight, prior, sampled.model.free, options.loss)
    return Fit(
        sampled=sampled, theta=refined.theta, covariance=covariance, variance=variance, converged=refined.converged,
        prior=prior, curve=shared.curve, shift=shared.shift, line_width=shared.line_width, loss=options.loss,
        iterations=refined.iterations, fitted=fitted,
    )  # fmt: skip


def fit_rounds(
    sampled: SampledModel, data: ScaledRows, theta: Array, options: Options, *,
    warm: Fit | None = None, tolerance: float | None = None,
) -> Fit:  # fmt: skip
    """Fit all rows, learn from them what they share, and fit them again under it, doubtful rows restarted.

    Expectation-maximisation, interleaved with the refinement: the first rounds are a few iterations each, only the last
    goes to the end.

    Parameters
    ----------
    theta : array, shape (row, parameter)
        Start.
    warm : Fit, optional
        A fit of the same rows and lines by a simpler model, ``theta`` being its values: its prior and what it found
        shared start the first round, one round is enough, and no row is restarted.
    tolerance : float, optional
        Share of the cost below which a step of the last refinement ends it.
    """
    none = np.zeros(len(data.wavenumber))
    shared = Shared(curve=1 + none, shift=none)
    if warm is not None:
        shared = replace(shared, curve=warm.curve, shift=warm.shift, line_width=warm.line_width)
    elif options.estimate_linewidth:
        shared = replace(shared, line_width=estimate_line_width(sampled, data, theta, options))
    learns = options.prior or options.shared_curve or options.shared_shift
    rounds = 0 if not learns else ROUNDS if warm is None else 1
    prior = warm.prior if warm is not None else None
    for number in range(rounds):
        fit = _solve(sampled, data, theta, shared, prior, options, *ROUGH)
        theta = fit.theta
        if options.prior:
            # the first covariance, without a prior, is no measure of what the rows know
            spread = fit.covariance if prior is not None else np.zeros_like(fit.covariance)
            prior = estimate_prior(
                sampled.model, data.band, theta, spread, fit.variance, data.index, data.usable, data.scale,
                previous=prior,
            )  # fmt: skip
        if number == rounds - 1:
            if options.shared_shift:
                shared = replace(shared, shift=shared_shift(fit, data))
                fit = replace(fit, sampled=shared.applied(sampled), shift=shared.shift, fitted=None)
            if options.shared_curve:
                shared = replace(shared, curve=shared_gain_curve(fit, data))
        if prior is not None and warm is None and number == 0:
            theta = restart_few_fringes(fit, data, prior, options)
    most, usual = FINE if options.prior else FINEST
    return _solve(sampled, data, theta, shared, prior, options, most, tolerance or usual)


def restart_few_fringes(fit: Fit, data: ScaledRows, prior: Prior, options: Options) -> Array:
    """Parameters with the rows of few fringes restarted from several OPDs and phases, the best kept.

    With less than a few fringes in the band, OPD, phase, gain and reflectivity trade off and the cost has several
    minima. Each such row (and each row off its neighbours' OPD) starts anew from OPDs within a fringe of
    its neighbours' running median, with the population's polynomials; the cost with the prior decides.
    """
    model, band = fit.sampled.model, data.band
    phase = model.slices["phase"]
    to_opd = band.opd_per_radian
    opd = fit.theta[:, phase.start + 1] * to_opd
    usable = data.usable
    expected = running_median(opd, data.index)
    away = np.abs(opd - expected) * band.width > 0.5
    rows = np.flatnonzero(usable & ((np.abs(expected) * band.width < FEW_FRINGES) | away | (opd < 0)))
    if not len(rows):
        return fit.theta
    steps = np.array([-1, -0.5, 0, 0.5, 1]) / band.width
    candidates = np.abs(expected[rows, None] + steps)
    many = np.repeat(rows, len(steps))
    start = initialize.starting_parameters(
        model, band, data.wavenumber, data.intensity[many], (data.flat * fit.curve)[many],
        data.weight[many], candidates.ravel(), line=fit.sampled.line,
    )  # fmt: skip
    shared = [j for j in range(model.n_parameters) if j not in (phase.start, phase.start + 1)]
    start[:, shared] = prior.mean[many][:, shared]
    start = np.concatenate([start, fit.theta[rows]])
    many = np.concatenate([many, rows])
    column, own = phase.start + 1, prior.take(many)
    # the OPD's prior is a Student t, here the Gaussian of its slope at the present OPD: a candidate is refined under
    # that of its centre, and judged by the t itself
    level = 5 * fit.variance[many]
    spread = level / np.maximum(own.precision[:, column, column], 1e-300)
    square = np.maximum(spread - (fit.theta[many, column] - own.mean[:, column]) ** 2, 1e-6 * spread) / 4
    precision = own.precision.copy()
    precision[:, column, column] = np.where(own.precision[:, column, column] > 0, level / (4 * square), 0)
    refined = _minimise(
        fit.sampled, start, data.intensity[many], (data.flat * fit.curve)[many], data.weight[many],
        replace(own, precision=precision), options, *ROUGH,
    )  # fmt: skip
    away = (refined.theta[:, column] - own.mean[:, column]) ** 2
    cost = refined.cost - precision[:, column, column] * away + level * np.log1p(away / (4 * square))
    theta = fit.theta.copy()
    for row in rows:
        choices = np.flatnonzero(many == row)
        theta[row] = refined.theta[choices[np.argmin(cost[choices])]]
    return theta


def fit_rows(data: ScaledRows, model: TransmittanceModel, options: Options, tolerance: float | None = None) -> Fit:
    """Start and refinement from the data's own lines: what `characterize`, held-out error and benchmarks share."""
    return fit_rounds(data.sampled(model), data, _start(data, model, options), options, tolerance=tolerance)


def _start(data: ScaledRows, model: TransmittanceModel, options: Options) -> Array:
    opd, reflectivity = starting_opd(data, options.start)
    return initialize.starting_parameters(
        model, data.band, data.wavenumber, data.intensity, data.flat, data.weight, opd, reflectivity, data.line
    )


def fit_again(data: ScaledRows, fit: Fit, before: ScaledRows, options: Options) -> Fit:
    """Fit of rows of which some have lost samples since ``fit`` was made of ``before``: these alone start anew.

    Their prior came in units of their noise and mean intensity, with what was lost: it is brought to the typical noise
    of the other rows, and to the mean of what is left.
    """
    changed = (data.weight != before.weight).any(axis=1)
    theta = np.where(changed[:, None], _start(data, fit.sampled.model, options), fit.theta)
    if fit.prior is not None:
        gain = fit.sampled.model.slices["gain"]
        unit, factor = np.ones(len(theta)), np.ones_like(theta)
        unit[changed] = np.median(fit.variance[data.usable]) / fit.variance[changed]
        factor[:, gain] = (before.scale / data.scale)[:, None]
        per = unit[:, None, None] / (factor[:, :, None] * factor[:, None, :])
        force = None if fit.prior.force is None else fit.prior.force * per * unit[:, None, None]
        scaled = replace(fit.prior, mean=fit.prior.mean * factor, precision=fit.prior.precision * per, force=force)
        fit = replace(fit, prior=scaled)
    return fit_rounds(data.sampled(fit.sampled.model), data, theta, options, warm=fit)


def fit_capture(
    capture: MonochromaticCapture, model: TransmittanceModel, options: Options,
    set_aside: NDArray[np.bool_] | None = None,
) -> tuple[ScaledRows, Fit]:  # fmt: skip
    """`fit_rows` of a capture, but for samples ``set_aside``, without the bookkeeping of `characterize`."""
    data = ScaledRows.of(capture, model, set_aside=set_aside)
    if not data.usable.any():
        raise InputError(f"{capture.source or capture.name}: intensity: found no interferometer with signal")
    return data, fit_rows(data, model, options)
