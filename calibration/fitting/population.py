"""What the interferometers of one device share: an empirical-Bayes prior on their parameters.

One mirror coating and one detector serve all interferometers, so their reflectivity, gain and dispersion polynomials
are draws from one population. Its mean and covariance are estimated from the rows themselves (expectation-maximisation
with each row's own uncertainty), and act as a prior: a row with many fringes hardly feels it, a row with too few to
identify its polynomials borrows from its neighbours. How bright a row is they do not share: gains are compared relative
to their own band mean, which has a wide prior of its own. The OPD's prior is the median of the neighbours. All of it
replaces the choice of a low degree: held-out error no longer grows with degree.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from calibration.fitting.opd_law import neighbour_median
from calibration.fitting.posterior import inverse
from calibration.fitting.refine import Prior
from calibration.fitting.scaled_rows import MIN_ROWS
from hsitools.estimation.spread import robust_sigma
from hsitools.sensor.polynomial import Band
from hsitools.sensor.transmittance import TransmittanceModel

Array = NDArray[np.float64]

#: What is known of the population's mean at least, as if from so much of a row that tells everything: it is no farther
#: off than thirty standard deviations.
LEAST_KNOWN = 1e-3
#: Share of what is known of a row's OPD that is at least its own.
LEAST_OWN = 1e-3
#: Standard deviations of the population that its mean moves at most at once: beyond, rows are no straight lines in it.
FARTHEST = 1.0
#: Steps of expectation-maximisation between two fits of the rows; the fits themselves converge more slowly.
STEPS = 8


def shared_parameters(model: TransmittanceModel) -> NDArray[np.int_]:
    """Parameters that are draws from one population: all but a row's mean gain, its phase and its OPD."""
    phase = model.slices["phase"].start
    return np.setdiff1d(np.arange(model.n_parameters), (model.slices["gain"].start, phase, phase + 1))


def estimate_prior(
    model: TransmittanceModel,
    band: Band,
    theta: Array,
    covariance: Array,
    variance: Array,
    index: NDArray[np.int64],
    usable: NDArray[np.bool_],
    scale: Array,
    previous: Prior | None = None,
    at_once: bool = False,
) -> Prior | None:
    """Prior of each row from the present estimates of all.

    Parameters
    ----------
    theta, covariance : array, shape (batch, parameter) and (batch, parameter, parameter)
        Estimates and their posterior covariance.
    variance : array, shape (batch,)
        Residual variance of each row; the noisiest twentieth is left out of the population.
    index : array of int, shape (batch,)
        Place in the device's order, for the OPD's neighbours.
    usable : array of bool, shape (batch,)
    scale : array, shape (batch,)
        Turns the rows' gains, which are relative to their mean intensities, into gains that compare.
    previous : Prior, optional
        The prior that the estimates were made under.
    at_once : bool
        Whether the population's mean is taken for the likeliest at once: far from it rows on wrong fringes mislead it.

    Returns
    -------
    Prior or None
        None when fewer than `MIN_ROWS` rows are usable.
    """
    quiet = variance <= np.quantile(variance[usable], 0.95) if usable.any() else usable
    first = model.slices["gain"].start
    keep = usable & quiet & np.isfinite(theta).all(axis=1) & (theta[:, first] > 0)
    if keep.sum() < MIN_ROWS:
        return None
    shared = shared_parameters(model)
    level = np.where(theta[:, first] > 0, theta[:, first], 1.0)
    curved = np.arange(first + 1, model.slices["gain"].stop)
    values, alone = theta, covariance
    if previous is not None and at_once:
        values, alone = _alone(theta, covariance, variance, model, previous)
    relative, to_relative = _relative_gain(values, level, first, curved)
    spread = to_relative @ alone @ np.swapaxes(to_relative, 1, 2)
    spread = spread[:, shared[:, None], shared]
    before = None if previous is None else previous.population
    mean, precision, doubt = _population(relative[:, shared], spread, keep, before, at_once)
    centre = np.zeros(model.n_parameters)
    centre[shared] = mean
    means = np.broadcast_to(centre, theta.shape).copy()
    # gain coefficients less the population's curve times the row's own level: linear, and free along the level
    means[:, curved] *= level[:, None]
    means[:, first] = level
    scaling = np.broadcast_to(np.eye(model.n_parameters), covariance.shape).copy()
    scaling[:, curved, curved] /= level[:, None]
    scaling[:, curved, first] = -centre[curved] / level[:, None]
    own = scaling[:, shared]
    precisions = np.swapaxes(own, 1, 2) @ precision @ own
    fitted = usable & np.isfinite(theta).all(axis=1)
    # the inverse of a covariance estimated from n rows is too large by n / (n − p − 1): rows scatter by that much more
    n = float(keep.sum())
    force = precisions * (n / max(n - len(shared) - 1, 0.5 * n))
    # and the mean that they are drawn to is itself not known
    common = np.swapaxes(own, 1, 2) @ (precision @ _root(doubt))
    for column, value, sigma in (
        (first, *_level_prior(theta[:, first], scale, keep)),
        (model.opd_column, *_opd_prior(model, band, theta, covariance, index, fitted)),
    ):
        if value is None:
            continue
        if column == first:
            # the point on the free line that the level's own prior is centred on
            means[:, curved] *= (value / level)[:, None]
        means[:, column] = value
        # Student t of four degrees of freedom, as the Gaussian of the same slope at the present estimate
        weight = 5 / (4 + ((theta[:, column] - value) / sigma) ** 2) / sigma**2
        precisions[:, column, column] += weight
        force[:, column, column] += (weight * sigma) ** 2
    unit = variance[:, None, None]
    return Prior(
        mean=means, precision=precisions * unit, force=force * unit**2, common=common * unit,
        population=(mean, precision),
    )  # fmt: skip


def _alone(
    theta: Array, covariance: Array, variance: Array, model: TransmittanceModel, previous: Prior
) -> tuple[Array, Array]:
    """Estimates and their covariance without what each row's neighbours said of its OPD.

    An error of what rows share moves the neighbours' OPDs as it moves the row's: to the population they are no witness.
    """
    column = model.opd_column
    weight = np.asarray(previous.precision[:, column, column]) / np.maximum(variance, 1e-300)
    along = covariance[:, :, column]
    freed = weight / np.maximum(1 - weight * along[:, column], LEAST_OWN)
    away = (theta - previous.mean)[:, column]
    return theta + (freed * away)[:, None] * along, covariance + freed[:, None, None] * (
        along[:, :, None] * along[:, None, :]
    )


def _root(covariance: Array) -> Array:
    """A root of a covariance that rounding may have left slightly indefinite."""
    strength, axes = np.linalg.eigh(0.5 * (covariance + covariance.T))
    return np.asarray(axes * np.sqrt(np.maximum(strength, 0)))


def _relative_gain(theta: Array, level: Array, first: int, curved: NDArray[np.int_]) -> tuple[Array, Array]:
    """Parameters with the gain relative to its band mean, and the derivatives ``(batch, parameter, parameter)``."""
    relative = theta.copy()
    relative[:, curved] /= level[:, None]
    derivative = np.broadcast_to(np.eye(theta.shape[1]), (*theta.shape, theta.shape[1])).copy()
    derivative[:, curved, curved] = 1 / level[:, None]
    derivative[:, curved, first] = -relative[:, curved] / level[:, None]
    return relative, derivative


def _population(
    values: Array, spread: Array, keep: NDArray[np.bool_], previous: tuple[Array, Array] | None, at_once: bool
) -> tuple[Array, Array, Array]:
    """Mean and inverse covariance of the population that ``values`` (with covariances ``spread``) are drawn from.

    ``previous`` are those under which the values were estimated. Expectation-maximisation: as the population narrows,
    what each row tells of itself (its estimate less the previous population's part) is weighed against it anew. Last
    comes the covariance of the mean (generalised least squares): rows that tell little of themselves tell little of it.
    """
    size = values.shape[1]
    members = keep
    own, own_spread, of_data = values, spread, None
    if previous is not None:
        told = np.linalg.inv(
            spread + 1e-12 * np.eye(size) * np.einsum("bii->b", spread)[:, None, None] + 1e-18 * np.eye(size)
        )
        strength, axes = np.linalg.eigh(told - previous[1])
        # where a row knows less than it was told it tells nothing of itself
        tells = axes * (strength > 0)[:, None, :]
        of_data = (tells * strength[:, None, :]) @ np.swapaxes(axes, 1, 2)
        pull = (told @ values[:, :, None])[:, :, 0] - previous[1] @ previous[0]
        pull = (tells @ (np.swapaxes(axes, 1, 2) @ pull[:, :, None]))[:, :, 0]
        own_spread = inverse(of_data + previous[1])
        precision = previous[1]
    for _ in range(STEPS):
        if previous is None or of_data is None or not at_once:
            mean = own[members].mean(axis=0)
        else:
            # the likeliest mean at once: by steps of expectation it creeps where rows tell little of themselves
            told_of_mean = (own_spread @ of_data)[members].sum(axis=0) + LEAST_KNOWN * np.eye(size)
            by_rows = np.einsum("bij,bj->i", own_spread[members], pull[members])
            step_of_mean = np.linalg.solve(told_of_mean, by_rows + LEAST_KNOWN * previous[0]) - previous[0]
            far = float(np.sqrt(step_of_mean @ previous[1] @ step_of_mean))
            mean = previous[0] + step_of_mean * min(1.0, FARTHEST / max(far, 1e-300))
            own = (own_spread @ (pull + precision @ mean)[:, :, None])[:, :, 0]
        delta = own - mean
        sample = delta[members].T @ delta[members] / members.sum() + own_spread[members].mean(axis=0)
        # n rows tell no more than so much of p variances: shrink to the diagonal with the weight of p rows
        share = size / (members.sum() + size)
        population = (1 - share) * sample + share * np.diag(np.diag(sample))
        population += 1e-9 * np.diag(np.diag(population)) + 1e-14 * np.eye(size)
        precision = np.linalg.inv(population)
        # leave out rows that are no members of it (chi-square far beyond its expectation)
        distance = ((delta @ precision) * delta).sum(axis=1)
        members = keep & (distance < 3 * size)
        if members.sum() < MIN_ROWS:
            members = keep
        if of_data is not None:
            own_spread = inverse(of_data + precision)
            if not at_once:
                own = (own_spread @ (pull + precision @ mean)[:, :, None])[:, :, 0]
    known = np.broadcast_to(np.eye(size), spread.shape) if of_data is None else own_spread @ of_data
    told_of_mean = precision @ known[members].sum(axis=0)
    return mean, precision, inverse(0.5 * (told_of_mean + told_of_mean.T)[None] + LEAST_KNOWN * precision)[0]


def _level_prior(level: Array, scale: Array, keep: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Centre and width of the prior of each row's mean gain: the gains of the device, as far as they differ."""
    gain = level * scale
    middle = float(np.median(gain[keep]))
    sigma = float(robust_sigma(gain[keep] - middle)) + 0.02 * middle
    safe = np.where(scale > 0, scale, 1.0)
    return middle / safe, sigma / safe


def _opd_prior(
    model: TransmittanceModel,
    band: Band,
    theta: Array,
    covariance: Array,
    index: NDArray[np.int64],
    keep: NDArray[np.bool_],
) -> tuple[Array | None, float]:
    """Centre and width of the prior of the OPD's coefficient: what its neighbours predict, as exactly as they do.

    None when too few rows know their OPD. A row that the data place elsewhere, as where the mosaic's order turns, is
    let go by the prior's wide tails.
    """
    column, to_opd = model.opd_column, band.opd_per_radian
    opd = model.opd_um(theta, band)
    order = np.flatnonzero(keep)[np.argsort(index[keep], kind="stable")]
    x, y = index[order].astype(float), opd[order]
    step = float(np.median(np.diff(y) / np.maximum(np.diff(x), 1)))
    predicted = neighbour_median(y, index[order], step)
    centre = step * index + np.interp(index, x, predicted - step * x)
    stderr = np.sqrt(np.maximum(covariance[:, column, column], 0)) * to_opd
    sure = keep & (stderr < 0.1 / band.width)
    if sure.sum() < MIN_ROWS:
        return None, 0.0
    # the rows' estimates lean on the prior, and scatter less than the rows by what they do not know; the floor keeps
    # rows on a perfectly regular device from being tied to it beyond what a fit can tell
    scatter = float(robust_sigma((opd - centre)[sure]))
    sigma = math.sqrt(scatter**2 + float(np.median(stderr[sure] ** 2)) + (0.02 / band.width) ** 2)
    return centre / to_opd, sigma / to_opd
