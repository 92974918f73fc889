"""Fit all rows of a device: refinement, population prior, restarts, shared gain curve."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from calibration.captures.capture import MonochromaticCapture
from calibration.fitting import initialize
from calibration.fitting.cut_off import CutOff
from calibration.fitting.engines import minimise
from calibration.fitting.fit_state import Fit, Shared, modelled
from calibration.fitting.line_width import estimate_line_width
from calibration.fitting.options import Options
from calibration.fitting.population import estimate_prior
from calibration.fitting.posterior import posterior
from calibration.fitting.refine import Prior, huber_scale
from calibration.fitting.restarts import least_dispersion, of_few_fringes, restart_few_fringes
from calibration.fitting.scaled_rows import ScaledRows
from calibration.fitting.shared_curves import shared_gain_curve, shared_shift
from calibration.fitting.starting_opd import starting_opd
from hsitools.errors import InputError
from hsitools.sensor.transmittance import SampledModel, TransmittanceModel

Array = NDArray[np.float64]

#: Rounds of learning from all rows before the last refinement: the first knows no prior, the second was made under one.
#: Rows of few fringes tell little of themselves, learn from one another, and until then some are on a wrong fringe.
#: Where most are such, or the second round moves four in five by more than `STILL` (standard deviations a parameter),
#: as sharp fringes, rounds go on, until one moves these by less (the second number after the second round), or have
#: crept for so many. From there the likeliest of what rows share is
#: taken at once, until a round moves them by less than `AT_REST`, at most so many rounds in all.
ROUNDS, CREEPING, MOST_ROUNDS, STILL, AT_REST = 2, 14, 24, (2.0, 0.2), 0.1
#: Most iterations of a refinement, and the share of the cost below which a step ends it: while learning, at the end,
#: and at the end without a prior, where rows of few fringes creep.
ROUGH, FINE, FINEST = (3, 1e-3), (60, 1e-6), (60, 1e-8)
#: While learning, passes of rough iterations follow each other as long as one lowers the squared residuals of the
#: device by this share, at most so many. Sharp fringes (R > .75) take three passes to be found at all.
REST, PASSES = 0.1, 10
#: Refinements that samples at a ceiling take until the noise that they are weighed by is the fit's: at most so many,
#: until it changes by less than this share.
NOISE_PASSES, SAME_NOISE = 8, 0.01


def _solve(
    sampled: SampledModel, data: ScaledRows, theta: Array, shared: Shared, prior: Prior | None, options: Options,
    max_iterations: int, tolerance: float,
) -> Fit:  # fmt: skip
    sampled, flat = shared.applied(sampled), data.flat * shared.curve
    cut_off = _at_ceiling(sampled, data, data.intensity - modelled(sampled, theta, flat), options)
    for _ in range(NOISE_PASSES):
        refined = minimise(
            sampled, theta, data.intensity, flat, data.weight, prior, options, cut_off, max_iterations, tolerance
        )
        theta = refined.theta
        fitted = modelled(sampled, theta, flat)
        residual = data.intensity - fitted
        # from afar the noise looks larger than it is
        before, cut_off = cut_off, _at_ceiling(sampled, data, residual, options)
        if before is None or cut_off is None:
            break
        if np.median(np.abs(cut_off.sigma / before.sigma - 1)[data.usable]) < SAME_NOISE:
            break
    variance, covariance = posterior(
        refined, residual, data.weight, prior, sampled.model.free, options.loss, cut_off
    )  # fmt: skip
    return Fit(
        sampled=sampled, theta=refined.theta, covariance=covariance, variance=variance, converged=refined.converged,
        prior=prior, curve=shared.curve, shift=shared.shift, line_width=shared.line_width, loss=options.loss,
        iterations=refined.iterations, cut_off=cut_off, fitted=fitted,
    )  # fmt: skip


def _at_ceiling(sampled: SampledModel, data: ScaledRows, residual: Array, options: Options) -> CutOff | None:
    """Samples at a ceiling, and the noise that the residuals of a fit show there; None without such samples."""
    if data.cut_off is None:
        return None
    if options.loss == "huber":
        limit = huber_scale(residual, data.weight)
        residual = np.where(data.weight > 0, np.maximum(residual, -limit), residual)
        residual = np.minimum(residual, limit)
    return CutOff.of(data.cut_off, residual, data.weight, float(sampled.model.free.sum()))


def _towards_rest(
    sampled: SampledModel, data: ScaledRows, theta: Array, shared: Shared, prior: Prior | None, options: Options
) -> Fit:
    """A few iterations, and as many more as the device's cost needs to come to rest: from afar nothing is learned."""
    fit = _solve(sampled, data, theta, shared, prior, options, *ROUGH)
    for _ in range(PASSES):
        if np.mean(fit.converged[data.usable]) > 0.5:
            break
        more = _solve(sampled, data, fit.theta, shared, prior, options, *ROUGH)
        if _squares(more, data) > (1 - REST) * _squares(fit, data):
            break
        fit = more
    return fit


def _moved(before: Fit, fit: Fit, data: ScaledRows) -> float:
    """How far what they learned from one another moved the rows in a round: standard deviations a parameter."""
    spread = np.sqrt(np.maximum(np.einsum("bii->bi", fit.covariance), 1e-300))[:, fit.sampled.model.free]
    moved = (fit.theta - before.theta)[:, fit.sampled.model.free] / spread
    size = np.sqrt((moved**2).mean(axis=1))[data.usable]
    return float(np.quantile(size, 0.8))


def _squares(fit: Fit, data: ScaledRows) -> float:
    return float((data.weight * (data.intensity - fit.values(data)) ** 2)[data.usable].sum())


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
    most_rounds = MOST_ROUNDS if rounds == ROUNDS and options.prior else rounds
    prior = warm.prior if warm is not None else None
    before: Fit | None = None
    slow = settled = False
    for number in range(most_rounds):
        fit = _towards_rest(sampled, data, theta, shared, prior, options)
        theta = fit.theta
        last = number + 1 == most_rounds
        if before is not None and not last:
            opd = sampled.model.opd_um(theta, data.band)
            moved = _moved(before, fit, data)
            # narrow peaks are found slowly: learned from on the way, what rows share holds them there
            slow |= (
                of_few_fringes(opd, data.usable, data.band.width)
                or len(data.rival_distances) > 0
                or data.cut_off is not None
                or moved > STILL[0]
            )
            last = not slow or (settled and moved < AT_REST)
            settled |= moved < STILL[number + 1 > ROUNDS] or number + 1 >= CREEPING
        before = fit
        if options.prior:
            # the first covariance, without a prior, is no measure of what the rows know
            spread = fit.covariance if prior is not None else np.zeros_like(fit.covariance)
            prior = estimate_prior(
                sampled.model, data.band, theta, spread, fit.variance, data.index, data.usable, data.scale,
                previous=prior, at_once=settled,
            )  # fmt: skip
        if last:
            if options.shared_shift:
                shared = replace(shared, shift=shared_shift(fit, data))
                fit = replace(fit, sampled=shared.applied(sampled), shift=shared.shift, fitted=None)
            if options.shared_curve:
                shared = replace(shared, curve=shared_gain_curve(fit, data))
            break
        if prior is not None and warm is None:
            theta = restart_few_fringes(fit, data, prior, options, few_only=number > 0).theta
    most, usual = FINE if options.prior else FINEST
    fit = _solve(sampled, data, theta, shared, prior, options, most, tolerance or usual)
    if warm is not None:
        return replace(fit, between=warm.between)
    if prior is None and not len(data.rival_distances):
        return fit
    restarted = restart_few_fringes(fit, data, prior or least_dispersion(fit), options, few_only=True)
    if restarted.moved.any():
        prior = None if prior is None else restarted.prior
        fit = _solve(sampled, data, restarted.theta, shared, prior, options, most, tolerance or usual)
    return replace(fit, between=restarted.between)


def fit_rows(data: ScaledRows, model: TransmittanceModel, options: Options, tolerance: float | None = None) -> Fit:
    """Start and refinement from the data's own lines: what `characterize`, held-out error and benchmarks share."""
    return fit_rounds(data.sampled(model), data, _start(data, model, options), options, tolerance=tolerance)


def _start(data: ScaledRows, model: TransmittanceModel, options: Options) -> Array:
    opd, reflectivity = starting_opd(data, options.start)
    return initialize.starting_parameters(
        model, data.band, data.wavenumber, data.intensity, data.flat, data.seen, opd, reflectivity, data.line
    )


def fit_again(data: ScaledRows, fit: Fit, before: ScaledRows, options: Options) -> Fit:
    """Fit of rows of which some have lost samples since ``fit`` was made of ``before``: these alone start anew.

    Their prior came in units of their noise and mean intensity, with what was lost: it is brought to the typical noise
    of the other rows, and to the mean of what is left.
    """
    changed = (data.seen != before.seen).any(axis=1)
    theta = np.where(changed[:, None], _start(data, fit.sampled.model, options), fit.theta)
    if fit.prior is not None:
        gain = fit.sampled.model.slices["gain"]
        unit, factor = np.ones(len(theta)), np.ones_like(theta)
        unit[changed] = np.median(fit.variance[data.usable]) / fit.variance[changed]
        factor[:, gain] = (before.scale / data.scale)[:, None]
        per = unit[:, None, None] / (factor[:, :, None] * factor[:, None, :])
        force = None if fit.prior.force is None else fit.prior.force * per * unit[:, None, None]
        common = None if fit.prior.common is None else fit.prior.common * (unit[:, None] / factor)[:, :, None]
        scaled = replace(
            fit.prior, mean=fit.prior.mean * factor, precision=fit.prior.precision * per, force=force, common=common
        )
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
