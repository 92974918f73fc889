"""Fit all rows of a problem: refinement, population prior, restarts, shared gain curve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration import initialize
from calibration.law import running_median
from calibration.population import estimate_prior
from calibration.problem import Options, Problem
from calibration.refine import CHUNK_SAMPLES, Prior, Refinement, refine
from calibration.smoothing import SmoothingSpline
from calibration.uncertainty import posterior
from hsitools.sensor.transmittance import SampledModel

Array = NDArray[np.float64]

#: Rounds of learning from all rows before the last refinement.
ROUNDS = 2
#: Smoothing parameters tried for the shared gain curve (lines a unit apart), and the fewest lines that allow one.
SMOOTHNESS, MIN_CURVE_LINES = (1e0, 1e2, 1e4, 1e6), 12
#: Most iterations of a refinement, and the share of the cost below which a step ends it.
ROUGH, FINE, FINEST = (3, 1e-3), (60, 1e-6), (60, 1e-8)
#: Rows with fewer fringes in the band than this are started from several OPDs.
FEW_FRINGES = 3.0


@dataclass(frozen=True, kw_only=True)
class Fit:
    """State of a fit: parameters, posterior covariance, residual variance, and the prior and curve they came with."""

    sampled: SampledModel
    theta: Array
    covariance: Array
    variance: Array
    converged: NDArray[np.bool_]
    prior: Prior | None
    curve: Array  # (line,) shared gain correction
    iterations: int

    def values(self, problem: Problem) -> Array:
        """Fitted intensity, scaled as the problem is."""
        return modelled(self.sampled, self.theta, problem.flat * self.curve)


def modelled(sampled: SampledModel, theta: Array, flat: Array) -> Array:
    """`SampledModel.values` in chunks that stay in the cache."""
    step = max(1, CHUNK_SAMPLES // flat.shape[1])
    starts = range(0, len(theta), step)
    return np.concatenate([sampled.values(theta[k : k + step], flat[k : k + step]) for k in starts])


def _minimise(
    sampled: SampledModel, theta: Array, intensity: Array, flat: Array, weight: Array, prior: Prior | None,
    options: Options, max_iterations: int, tolerance: float,
) -> Refinement:  # fmt: skip
    """The engine of the options at work; lmfit goes its own way to convergence each time."""
    if options.engine == "lmfit":
        from calibration.lmfit_engine import refine_rows

        return refine_rows(sampled, theta, intensity, flat, weight, prior=prior)
    return refine(
        sampled, theta, intensity, flat, weight,
        prior=prior, loss=options.loss, max_iterations=max_iterations, tolerance=tolerance,
    )  # fmt: skip


def _solve(
    sampled: SampledModel, problem: Problem, theta: Array, curve: Array, prior: Prior | None, options: Options,
    max_iterations: int, tolerance: float,
) -> Fit:  # fmt: skip
    flat = problem.flat * curve
    found = _minimise(
        sampled, theta, problem.intensity, flat, problem.weight, prior, options, max_iterations, tolerance
    )
    residual = problem.intensity - modelled(sampled, found.theta, flat)
    variance, covariance = posterior(found, residual, problem.weight, prior, sampled.model.free, options.loss)
    return Fit(
        sampled=sampled, theta=found.theta, covariance=covariance, variance=variance, converged=found.converged,
        prior=prior, curve=curve, iterations=found.iterations,
    )  # fmt: skip


def shared_gain_curve(fit: Fit, problem: Problem) -> Array:
    """Smooth factor, common to all rows, that brings the fit closest to the measured intensities, shape ``(line,)``.

    A smoothing spline through the factors of the lines, as smooth as makes it predict every second line best from the
    others. Lines that are held out get their value from it.
    """
    value = fit.values(problem)
    weight = problem.weight / np.maximum(fit.variance, 1e-300)[:, None]
    top, bottom = (weight * problem.intensity * value).sum(axis=0), (weight * value * value).sum(axis=0)
    seen = np.flatnonzero(bottom > 0)
    if len(seen) < MIN_CURVE_LINES:
        return fit.curve
    # lines a unit apart, so that the smoothness does not depend on the device's units
    x = problem.wavenumber / np.diff(problem.wavenumber).mean()
    factor, w = top[seen] / bottom[seen], bottom[seen] / bottom[seen].mean()

    def spline(lines: NDArray[np.intp], smoothness: float) -> SmoothingSpline:
        return SmoothingSpline.through(x[seen[lines]], factor[lines], w[lines], smoothness)

    even, odd = np.arange(0, len(seen), 2), np.arange(1, len(seen), 2)

    def error(smoothness: float) -> float:
        predicted = spline(even, smoothness)(x[seen[odd]])
        return float((w[odd] * (factor[odd] - predicted) ** 2).sum())

    best = min(SMOOTHNESS, key=error)
    return fit.curve * np.clip(spline(np.arange(len(seen)), best)(x), 0.2, 5.0)


def fit_rounds(
    sampled: SampledModel, problem: Problem, theta: Array, options: Options, *, warm: Fit | None = None
) -> Fit:
    """Fit all rows, learn from them what they share, and fit them again under it, doubtful rows restarted.

    Expectation-maximisation, interleaved with the refinement: the first rounds are a few iterations each, only the last
    goes to the end.

    Parameters
    ----------
    theta : array, shape (row, parameter)
        Start.
    warm : Fit, optional
        A fit of the same rows and lines by a simpler model, ``theta`` being its values: its prior and curve start the
        first round, one round is enough, and no row is restarted.
    """
    curve = np.ones(len(problem.wavenumber)) if warm is None else warm.curve
    learns = options.prior or options.shared_curve
    rounds = 0 if not learns else ROUNDS if warm is None else 1
    prior = warm.prior if warm is not None else None
    for number in range(rounds):
        fit = _solve(sampled, problem, theta, curve, prior, options, *ROUGH)
        theta = fit.theta
        if options.prior:
            # the first covariance, without a prior, is no measure of what the rows know
            spread = fit.covariance if prior is not None else np.zeros_like(fit.covariance)
            prior = estimate_prior(
                sampled.model, problem.band, theta, spread, fit.variance, problem.index, problem.usable,
                problem.scale,
            )
        if options.shared_curve and number == rounds - 1:
            curve = shared_gain_curve(fit, problem)
        if prior is not None and warm is None and number == 0:
            theta = restart_few_fringes(fit, problem, prior, options)
    return _solve(sampled, problem, theta, curve, prior, options, *(FINE if options.prior else FINEST))


def restart_few_fringes(fit: Fit, problem: Problem, prior: Prior, options: Options) -> Array:
    """Parameters with the rows of few fringes restarted from several OPDs and phases, the best kept.

    With less than a few fringes in the band, OPD, phase, gain and reflectivity trade off and the cost has several
    minima. Each such row (and each row off its neighbours' OPD) starts anew from OPDs within a fringe of
    its neighbours' running median, with the population's polynomials; the cost with the prior decides.
    """
    model, band = fit.sampled.model, problem.band
    phase = model.slices["phase"]
    to_opd = 1 / (2 * np.pi * band.half_width)
    opd = fit.theta[:, phase.start + 1] * to_opd
    usable = problem.usable
    expected = running_median(opd, problem.index)
    away = np.abs(opd - expected) * band.width > 0.5
    rows = np.flatnonzero(usable & ((np.abs(expected) * band.width < FEW_FRINGES) | away | (opd < 0)))
    if not len(rows):
        return fit.theta
    steps = np.array([-1, -0.5, 0, 0.5, 1]) / band.width
    candidates = np.abs(expected[rows, None] + steps)
    many = np.repeat(rows, len(steps))
    start = initialize.starting_parameters(
        model, band, problem.wavenumber, problem.intensity[many], (problem.flat * fit.curve)[many],
        problem.weight[many], candidates.ravel(),
    )  # fmt: skip
    shared = [j for j in range(model.n_parameters) if j not in (phase.start, phase.start + 1)]
    start[:, shared] = prior.mean[many][:, shared]
    start = np.concatenate([start, fit.theta[rows]])
    many = np.concatenate([many, rows])
    found = _minimise(
        fit.sampled, start, problem.intensity[many], (problem.flat * fit.curve)[many], problem.weight[many],
        prior.take(many), options, *ROUGH,
    )  # fmt: skip
    theta = fit.theta.copy()
    for row in rows:
        choices = np.flatnonzero(many == row)
        theta[row] = found.theta[choices[np.argmin(found.cost[choices])]]
    return theta
