"""Rows of few fringes have several minima: they start from several OPDs, and minima that are alike widen their errors.

With less than a few fringes in the band, OPD, phase, gain and reflectivity trade off. Each such row (and, at first,
each row off its neighbours' OPD) starts anew, with the population's polynomials, from OPDs within a fringe of its
neighbours' running median, and from all OPDs of few fringes: neighbours may have gone wrong together. The cost with the
prior decides.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calibration.fitting import initialize
from calibration.fitting.engines import minimise
from calibration.fitting.fit_state import Fit
from calibration.fitting.opd_law import NEIGHBOURS, running_median
from calibration.fitting.options import Options
from calibration.fitting.refine import Prior
from calibration.fitting.scaled_rows import ScaledRows

Array = NDArray[np.float64]

#: Rows with fewer fringes in the band than this are started from several OPDs: their cost has several minima.
FEW_FRINGES = 3.0
#: Up to twice as many may be the second harmonic of a fringe that gain polynomials took for their own: on devices most
#: of whose rows have fewer those start from half their OPD, too.
HARMONIC = 2
#: Where they start: fringes from what their neighbours say, and fringes from nothing.
FROM_NEIGHBOURS = np.array([-1, -0.5, 0, 0.5, 1])
FROM_ZERO = np.array([0.25, 0.5, 1, 1.5, 2, 2.5, 3])
#: Fringes over the band by which two minima differ at least: less is one minimum, reached from two sides.
SAME_FRINGES = 0.1
#: Dispersion to be expected, rad: coefficients of the phase beyond its slope are of some tenths.
DISPERSION = 0.3
#: Iterations after which the most promising starts are told, and how many of them go on to the end. Three iterations
#: do not tell: the starts' other parameters are the population's.
FIRST_ITERATIONS, FINALISTS = 8, 4
#: Most iterations of those that go on, and the share of the cost below which a step ends them: half of a noise variance
#: in 500 lines, which is no odds between minima.
ITERATIONS, TOLERANCE = 30, 1e-3
#: Iterations of rows of many fringes: taken to the end, what no model explains draws them to another fringe (wfai_1).
ITERATIONS_AWAY = 3


@dataclass(frozen=True, kw_only=True)
class Restarted:
    """Parameters ``theta`` ``(row, parameter)`` of the least cost, and the covariance between minima that are alike.

    ``between`` ``(row, parameter, parameter)`` is about ``theta``, each minimum weighted by its likelihood; ``moved``
    ``(row,)`` rows that have a better minimum than before; ``prior`` with the slope of the OPD's part where they are.
    """

    theta: Array
    between: Array
    moved: NDArray[np.bool_]
    prior: Prior


def of_few_fringes(opd_um: Array, usable: NDArray[np.bool_], width: float) -> bool:
    """Whether most rows of a device have too few fringes in a band of a ``width`` (µm⁻¹) to tell what rows share."""
    return bool(np.median(np.abs(opd_um[usable])) * width < HARMONIC * FEW_FRINGES)


def rows_in_doubt(fit: Fit, data: ScaledRows, expected: Array, few_only: bool) -> NDArray[np.intp]:
    """Rows of few fringes and, unless ``few_only``, of negative OPD, or off what neighbours make ``expected`` (µm)."""
    opd = fit.sampled.model.opd_um(fit.theta, data.band)
    away = np.abs(opd - expected) * data.band.width > 0.5
    few = np.abs(expected) * data.band.width < _limit(expected, data)
    return np.flatnonzero(data.usable & (few if few_only else few | away | (opd < 0)))


def _limit(expected: Array, data: ScaledRows) -> float:
    """Fringes below which a row may be on another."""
    return FEW_FRINGES * (HARMONIC if of_few_fringes(expected, data.usable, data.band.width) else 1)


def least_dispersion(fit: Fit) -> Prior:
    """Prior that only asks for little dispersion, where no population says how much there is.

    Over a gap between lines another whole turn is another dispersion, and no residual tells them apart.
    """
    phase = fit.sampled.model.slices["phase"]
    mean, precision = fit.theta.copy(), np.zeros_like(fit.covariance)
    mean[:, phase.start + 2 : phase.stop] = 0
    for column in range(phase.start + 2, phase.stop):
        precision[:, column, column] = fit.variance / DISPERSION**2
    return Prior(mean=mean, precision=precision)


def restart_few_fringes(
    fit: Fit, data: ScaledRows, prior: Prior, options: Options, *, few_only: bool = False
) -> Restarted:
    """Restart the rows in doubt from several OPDs; keep the best, and what the others say of its certainty.

    ``few_only`` leaves out rows of many fringes off their neighbours: at the end their own data have the last word.
    """
    model, band = fit.sampled.model, data.band
    phase = model.slices["phase"]
    column = model.opd_column
    opd = model.opd_um(fit.theta, band)
    expected = running_median(opd, data.index)
    # lines with a gap do not count the turns over it, however many fringes there are
    rivals = data.rival_distances
    rows = np.flatnonzero(data.usable) if len(rivals) else rows_in_doubt(fit, data, expected, few_only)
    size = model.n_parameters
    result = Restarted(
        theta=fit.theta.copy(), between=np.zeros((len(opd), size, size)), moved=np.zeros(len(opd), dtype=bool),
        prior=prior,
    )  # fmt: skip
    if not len(rows):
        return result
    near = np.abs(expected[rows, None] + FROM_NEIGHBOURS / band.width)
    other = np.abs(opd[rows, None] + np.concatenate([-rivals, rivals]))
    half = np.abs(expected[rows, None]) / HARMONIC
    zero = np.broadcast_to(FROM_ZERO / band.width, (len(rows), len(FROM_ZERO)))
    candidates = np.concatenate([near, zero, other, half], axis=1)
    many = np.repeat(rows, candidates.shape[1])
    # a row of many fringes has no business near zero, and one without a fringe would find one in its noise
    fringes = np.abs(expected[rows]) * band.width
    tried = np.ones(candidates.shape, dtype=bool)
    tried[:, len(FROM_NEIGHBOURS) : len(FROM_NEIGHBOURS) + len(FROM_ZERO)] = (fringes < FEW_FRINGES)[:, None]
    harmonic = (fringes >= FEW_FRINGES) & (fringes < _limit(expected, data))
    tried[:, -1] = harmonic
    if few_only:
        tried[:, : len(FROM_NEIGHBOURS)] = ~harmonic[:, None]
    many, candidates = many[tried.ravel()], candidates[tried]
    flat = data.flat * fit.curve
    start = initialize.starting_parameters(
        model, band, data.wavenumber, data.intensity[many], flat[many],
        data.seen[many], candidates, line=fit.sampled.line,
    )  # fmt: skip
    shared = [j for j in range(size) if j not in (phase.start, column)]
    start[:, shared] = prior.mean[many][:, shared]
    start = np.concatenate([start, fit.theta[rows]])
    many = np.concatenate([many, rows])
    own = prior.take(many)
    # the OPD's prior is a Student t: a candidate is refined under the Gaussian of its slope where it starts, which
    # hardly draws one that starts far off, and judged by the t itself
    level = 5 * fit.variance[many]
    spread = level / np.maximum(own.precision[:, column, column], 1e-300)
    square = np.maximum(spread - (fit.theta[many, column] - own.mean[:, column]) ** 2, 1e-6 * spread) / 4
    precision = own.precision.copy()
    few = (np.abs(expected[many]) * band.width < _limit(expected, data)) | (len(rivals) > 0)
    wide = 4 * square + np.where(few, (start[:, column] - own.mean[:, column]) ** 2, 0)
    precision[:, column, column] = np.where(own.precision[:, column, column] > 0, level / wide, 0)
    own = replace(own, precision=precision)

    def refined(theta: Array, which: NDArray[np.intp], iterations: int) -> tuple[Array, Array]:
        """Parameters and squared residuals plus prior but the OPD's."""
        many_rows = many[which]
        after = minimise(
            fit.sampled, theta, data.intensity[many_rows], flat[many_rows], data.weight[many_rows],
            own.take(which), options, None if fit.cut_off is None else fit.cut_off.take(many_rows), iterations,
            TOLERANCE,
        )  # fmt: skip
        away = (after.theta[:, column] - own.mean[which, column]) ** 2
        cost = after.cost - precision[which, column, column] * away
        return after.theta, np.where(np.isfinite(cost), cost, np.inf)

    def told(theta: Array, which: NDArray[np.intp]) -> Array:
        """The OPD's prior in units of the noise variance: that of a Student t of four degrees of freedom."""
        away = (theta[:, column] - own.mean[which, column]) ** 2
        return np.asarray(5 * np.log1p(away / (4 * square[which])))

    every = np.arange(len(many))
    theta, cost = start.copy(), np.zeros(len(many))
    for which, iterations in ((every[few], FIRST_ITERATIONS), (every[~few], ITERATIONS_AWAY)):
        if len(which):
            theta[which], cost[which] = refined(start[which], which, iterations)
    deviance = cost / fit.variance[many] + told(theta, every)
    # the last candidate of each row is where it was; of the others the most promising go on
    finalists = np.concatenate([
        np.append(choices[_apart(theta[choices[:-1], column], deviance[choices[:-1]])[:FINALISTS]], choices[-1])
        if few[choices[0]]
        else choices
        for choices in (np.flatnonzero(many == row) for row in rows)
    ])  # fmt: skip
    theta, cost, on = theta[finalists], cost[finalists], few[finalists]
    if on.any():
        theta[on], cost[on] = refined(theta[on], finalists[on], ITERATIONS)
    alone, predicted = cost / fit.variance[many[finalists]], told(theta, finalists)
    groups = [np.flatnonzero(many[finalists] == row) for row in rows]
    ambiguous = np.zeros(len(opd), dtype=bool)
    for row, group in zip(rows, groups, strict=True):
        best = int(np.argmin(alone[group]))
        spread_of_opd = np.sqrt(_between(theta[group], alone[group], phase, best)[column, column])
        ambiguous[row] = few[finalists[group[0]]] and spread_of_opd > SAME_FRINGES * np.pi
    order = np.argsort(data.index, kind="stable")
    crowd, ratio = np.empty(len(opd)), np.ones(len(opd))
    crowd[order] = np.convolve(np.pad(ambiguous[order], NEIGHBOURS // 2, mode="reflect"), np.ones(NEIGHBOURS), "valid")
    for row, group in zip(rows, groups, strict=True):
        # neighbours that are in doubt themselves predict nothing
        doubtful = ambiguous[row] and crowd[row] > NEIGHBOURS / 2
        of_row = alone[group] + (0 if doubtful else predicted[group])
        best = int(np.argmin(of_row))
        result.theta[row] = theta[group[best]]
        result.moved[row] = of_row[best] < of_row[-1] - 1
        result.between[row] = _between(theta[group], of_row, phase, best)
        if result.moved[row]:
            first = finalists[group[0]]
            ratio[row] = (4 * square[first] + (fit.theta[row, column] - prior.mean[row, column]) ** 2) / (
                4 * square[first] + (result.theta[row, column] - prior.mean[row, column]) ** 2
            )
    precision = prior.precision.copy()
    precision[:, column, column] *= ratio
    force = None if prior.force is None else prior.force.copy()
    if force is not None:
        force[:, column, column] *= ratio**2
    return replace(result, prior=replace(prior, precision=precision, force=force))


def _between(theta: Array, deviance: Array, phase: slice, best: int) -> Array:
    """Covariance of the minima ``theta`` ``(candidate, parameter)`` about the best, by their likelihood.

    ``deviance`` is their cost in units of the noise variance. Starts that led to the same OPD count once. φ and −φ are
    the same fringe, and so are phases that differ by whole turns.
    """
    column = phase.start + 1
    theta = theta.copy()
    theta[theta[:, column] * theta[best, column] < 0, phase] *= -1
    minima = _apart(theta[:, column], deviance)
    away = theta[minima] - theta[best]
    away[:, phase.start] = (away[:, phase.start] + np.pi) % (2 * np.pi) - np.pi
    weight = np.exp(-0.5 * (deviance[minima] - deviance[best]))
    return np.asarray((away * (weight / weight.sum())[:, None]).T @ away)


def _apart(radian: Array, deviance: Array) -> list[int]:
    """Of candidates whose OPD's coefficient is ``radian`` those of distinct OPDs, the likeliest of each, best first."""
    chosen: list[int] = []
    for candidate in np.argsort(deviance, kind="stable"):
        # the coefficient is half the phase over the band: π a fringe
        if all(abs(abs(radian[candidate]) - abs(radian[other])) > SAME_FRINGES * np.pi for other in chosen):
            chosen.append(int(candidate))
    return chosen
