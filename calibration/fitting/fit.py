"""Fit all rows of a problem: refinement, population prior, restarts, shared gain curve."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calibration.fitting import initialize
from calibration.fitting.common import shared_gain_curve, shared_shift
from calibration.fitting.line_width import LineWidth, estimate_line_width
from calibration.fitting.opd_law import running_median
from calibration.fitting.population import estimate_prior
from calibration.fitting.refine import CHUNK_SAMPLES, Prior, Refinement, refine
from calibration.fitting.rows import Options, Problem
from calibration.fitting.uncertainty import posterior
from hsitools.sensor.transmittance import SampledModel

Array = NDArray[np.float64]

#: Rounds of learning from all rows before the last refinement.
ROUNDS = 2
#: Most iterations of a refinement, and the share of the cost below which a step ends it.
ROUGH, FINE, FINEST = (3, 1e-3), (60, 1e-6), (60, 1e-8)
#: Rows with fewer fringes in the band than this are started from several OPDs.
FEW_FRINGES = 3.0


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What all rows share: gain correction and wavenumber correction (µm⁻¹), ``(line,)``, and an estimated line."""

    curve: Array
    shift: Array
    line_width: LineWidth | None = None

    def applied(self, sampled: SampledModel) -> SampledModel:
        """The model at the corrected wavenumbers, through the estimated line."""
        line = sampled.line
        if self.line_width is not None:
            line = self.line_width.line(sampled.wavenumber)
        if not self.shift.any() and line is sampled.line:
            return sampled
        return SampledModel(sampled.model, sampled.band, sampled.wavenumber + self.shift, line=line)


@dataclass(frozen=True, kw_only=True)
class Fit:
    """State of a fit: parameters, posterior covariance, residual variance, and what they came with.

    ``sampled`` is the model at the lines as corrected by the shared ``shift``, through the monochromator's line;
    ``curve`` and ``shift`` ``(line,)`` are the shared gain correction and wavenumber correction (µm⁻¹).
    """

    sampled: SampledModel
    theta: Array
    covariance: Array
    variance: Array
    converged: NDArray[np.bool_]
    prior: Prior | None
    curve: Array
    shift: Array
    iterations: int
    loss: str = "linear"
    line_width: LineWidth | None = None  # when it was estimated
    fitted: Array | None = None  # its values, when they are known already

    def values(self, problem: Problem) -> Array:
        """Fitted intensity, scaled as the problem is."""
        return self.fitted if self.fitted is not None else modelled(self.sampled, self.theta, problem.flat * self.curve)


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
        from calibration.fitting.lmfit_engine import refine_rows

        return refine_rows(sampled, theta, intensity, flat, weight, prior=prior)
    return refine(
        sampled, theta, intensity, flat, weight,
        prior=prior, loss=options.loss, max_iterations=max_iterations, tolerance=tolerance,
    )  # fmt: skip


def _solve(
    sampled: SampledModel, problem: Problem, theta: Array, shared: Shared, prior: Prior | None, options: Options,
    max_iterations: int, tolerance: float,
) -> Fit:  # fmt: skip
    sampled, flat = shared.applied(sampled), problem.flat * shared.curve
    found = _minimise(
        sampled, theta, problem.intensity, flat, problem.weight, prior, options, max_iterations, tolerance
    )
    fitted = modelled(sampled, found.theta, flat)
    residual = problem.intensity - fitted
    variance, covariance = posterior(found, residual, problem.weight, prior, sampled.model.free, options.loss)
    return Fit(
        sampled=sampled, theta=found.theta, covariance=covariance, variance=variance, converged=found.converged,
        prior=prior, curve=shared.curve, shift=shared.shift, line_width=shared.line_width, loss=options.loss,
        iterations=found.iterations, fitted=fitted,
    )  # fmt: skip


def fit_rounds(
    sampled: SampledModel, problem: Problem, theta: Array, options: Options, *,
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
    none = np.zeros(len(problem.wavenumber))
    shared = Shared(curve=1 + none, shift=none)
    if warm is not None:
        shared = replace(shared, curve=warm.curve, shift=warm.shift, line_width=warm.line_width)
    elif options.estimate_linewidth:
        shared = replace(shared, line_width=estimate_line_width(sampled, problem, theta, options))
    learns = options.prior or options.shared_curve or options.shared_shift
    rounds = 0 if not learns else ROUNDS if warm is None else 1
    prior = warm.prior if warm is not None else None
    for number in range(rounds):
        fit = _solve(sampled, problem, theta, shared, prior, options, *ROUGH)
        theta = fit.theta
        if options.prior:
            # the first covariance, without a prior, is no measure of what the rows know
            spread = fit.covariance if prior is not None else np.zeros_like(fit.covariance)
            prior = estimate_prior(
                sampled.model, problem.band, theta, spread, fit.variance, problem.index, problem.usable, problem.scale,
                previous=prior,
            )  # fmt: skip
        if number == rounds - 1:
            if options.shared_shift:
                shared = replace(shared, shift=shared_shift(fit, problem))
                fit = replace(fit, sampled=shared.applied(sampled), shift=shared.shift, fitted=None)
            if options.shared_curve:
                shared = replace(shared, curve=shared_gain_curve(fit, problem))
        if prior is not None and warm is None and number == 0:
            theta = restart_few_fringes(fit, problem, prior, options)
    most, usual = FINE if options.prior else FINEST
    return _solve(sampled, problem, theta, shared, prior, options, most, tolerance or usual)


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
        problem.weight[many], candidates.ravel(), line=fit.sampled.line,
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
    found = _minimise(
        fit.sampled, start, problem.intensity[many], (problem.flat * fit.curve)[many], problem.weight[many],
        replace(own, precision=precision), options, *ROUGH,
    )  # fmt: skip
    away = (found.theta[:, column] - own.mean[:, column]) ** 2
    cost = found.cost - precision[:, column, column] * away + level * np.log1p(away / (4 * square))
    theta = fit.theta.copy()
    for row in rows:
        choices = np.flatnonzero(many == row)
        theta[row] = found.theta[choices[np.argmin(cost[choices])]]
    return theta
