"""What the interferometers of one device share: an empirical-Bayes prior on their parameters.

One mirror coating and one detector serve all interferometers, so their reflectivity, gain and dispersion polynomials
are draws from one population. Its mean and covariance are estimated from the rows themselves (expectation-maximisation
with each row's own uncertainty), and act as a prior: a row with many fringes hardly feels it, a row with too few to
identify its polynomials borrows from its neighbours. The same holds for the OPD, whose prior is the running median of
the neighbours. It replaces the choice of a low degree: held-out error no longer grows with degree.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from calibration.law import neighbour_median
from calibration.refine import Prior
from hsitools.sensor.polynomial import Band
from hsitools.sensor.transmittance import TransmittanceModel

Array = NDArray[np.float64]

#: Below this many usable rows nothing can be said of a population.
MIN_ROWS = 12


def estimate_prior(
    model: TransmittanceModel,
    band: Band,
    theta: Array,
    covariance: Array,
    variance: Array,
    index: NDArray[np.int64],
    usable: NDArray[np.bool_],
) -> Prior | None:
    """Prior of each row from the present estimates of all.

    Parameters
    ----------
    theta, covariance : array, shape (batch, parameter) and (batch, parameter, parameter)
        Estimates and their posterior covariance.
    variance : array, shape (batch,)
        Residual variance of each row; the noisiest twentieth teaches nothing.
    index : array of int, shape (batch,)
        Place in the device's order, for the OPD's neighbours.
    usable : array of bool, shape (batch,)

    Returns
    -------
    Prior or None
        None when fewer than `MIN_ROWS` rows are usable.
    """
    quiet = variance <= np.quantile(variance[usable], 0.95) if usable.any() else usable
    keep = usable & quiet & np.isfinite(theta).all(axis=1)
    if keep.sum() < MIN_ROWS:
        return None
    phase = model.slices["phase"]
    shared = np.array([j for j in range(model.n_parameters) if j not in (phase.start, phase.start + 1)])
    values, spread = theta[:, shared], covariance[:, shared[:, None], shared]
    members = keep
    for _ in range(3):
        mean = values[members].mean(axis=0)
        delta = values - mean
        sample = delta[members].T @ delta[members] / members.sum() + spread[members].mean(axis=0)
        # n rows tell no more than so much of p variances: shrink to the diagonal with the weight of p rows
        share = len(shared) / (members.sum() + len(shared))
        population = (1 - share) * sample + share * np.diag(np.diag(sample))
        population += 1e-9 * np.diag(np.diag(population)) + 1e-14 * np.eye(len(shared))
        precision = np.linalg.inv(population)
        # leave out rows that are no members of it (chi-square far beyond its expectation)
        distance = ((delta @ precision) * delta).sum(axis=1)
        members = keep & (distance < 3 * len(shared))
        if members.sum() < MIN_ROWS:
            members = keep
    means, precisions = np.zeros_like(theta), np.zeros_like(covariance)
    means[:, shared] = mean
    precisions[:, shared[:, None], shared] = precision
    fitted = usable & np.isfinite(theta).all(axis=1)
    _add_opd_prior(band, phase.start + 1, theta, covariance, index, fitted, means, precisions)
    return Prior(mean=means, precision=precisions * variance[:, None, None])


def _add_opd_prior(
    band: Band,
    column: int,
    theta: Array,
    covariance: Array,
    index: NDArray[np.int64],
    keep: NDArray[np.bool_],
    mean: Array,
    precision: Array,
) -> None:
    """Prior of each row's OPD: what its neighbours predict, as exactly as they predict the well-known rows.

    A Student t prior of four degrees of freedom, as the Gaussian of the same slope at the present estimate: a row that
    the data place elsewhere, as where the mosaic's order turns, is let go.
    """
    to_opd = 1 / (2 * math.pi * band.half_width)
    opd = theta[:, column] * to_opd
    order = np.flatnonzero(keep)[np.argsort(index[keep], kind="stable")]
    x, y = index[order].astype(float), opd[order]
    step = float(np.median(np.diff(y) / np.maximum(np.diff(x), 1)))
    predicted = neighbour_median(y, index[order], step)
    centre = step * index + np.interp(index, x, predicted - step * x)
    stderr = np.sqrt(np.maximum(covariance[:, column, column], 0)) * to_opd
    known = keep & (stderr < 0.1 / band.width)
    if known.sum() < MIN_ROWS:
        return
    away = opd - centre
    # the floor keeps rows on a perfectly regular device from being tied to it beyond what a fit can tell
    sigma = 1.4826 * float(np.median(np.abs(away[known]))) + 0.02 / band.width
    mean[:, column] = centre / to_opd
    precision[:, column, column] += (to_opd / sigma) ** 2 * 5 / (4 + (away / sigma) ** 2)
