"""How sure the parameters of a fit are: one covariance, from all that makes them uncertain.

To first order an estimate misses the truth by ``H⁻¹ (Σ_k ψ_k J_k + pull)`` with J the derivatives, ψ the residuals as
the loss counts them, H what the data and the prior hold the parameters with, and the pull what the population scatters
by. Its covariance is the sandwich ``H⁻¹ (Σ_k v_k J_k J_kᵀ + F) H⁻¹``: v_k is the noise of each sample as the rows'
residuals show it, F the covariance of the pull. Noise that hangs together over the lines (`line_correlation`) adds the
products of different samples. Errors that all rows have in common (a lamp's drift, the
monochromator's scale, the width of its line) pass through the same H⁻¹.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.fitting.fit_state import Fit
from calibration.fitting.line_correlation import MOST_ROWS, FittedRows, line_correlation
from calibration.fitting.noise import ROUNDED, growth_with_intensity, noise_shape
from calibration.fitting.opd_law import NEIGHBOURS
from calibration.fitting.options import Options
from calibration.fitting.posterior import influence, inverse
from calibration.fitting.refine import CHUNK_SAMPLES, NormalPlan, Prior
from calibration.fitting.scaled_rows import MIN_ROWS, ScaledRows
from calibration.fitting.shared_curves import line_factors, line_shifts
from calibration.fitting.smoothing import MIN_CURVE_LINES, smoothed
from hsitools.sensor.transmittance import SampledModel

Array = NDArray[np.float64]

#: Modes of a random walk along the lines: their variances fall as 1/k², the sixteenth is 1/256 of the first.
MODES = 16
#: Most that what neighbours say may hold a row's OPD, and passes after which what moves all of them is told.
MOST_HELD, PASSES = 0.999, 300


def parameter_covariance(fit: Fit, data: ScaledRows, options: Options, *, common: bool = True) -> Array:
    """Covariance of the parameters of each row, shape ``(row, parameter, parameter)`` (see the module).

    ``common`` False leaves out the errors that all rows share: what makes a row's own fringe doubtful.

    A gain that is held at its estimate (``refine_gain`` False) is as uncertain as that estimate, and what it costs the
    other parameters is in their covariance. With the noise estimated from ν degrees of freedom the parameters follow
    Student's t distribution, whose covariance is wider by ν / (ν − 2).
    """
    sampled, flat, weight = fit.sampled, data.flat * fit.curve, data.weight
    plan = NormalPlan.of(sampled)
    n_rows, n_lines = data.intensity.shape
    psi, slope = influence(data.intensity - fit.values(data), weight, options.loss, fit.cut_off)
    # samples at the ceiling have the noise of the others as far as they hold the fit
    held = weight if data.cut_off is None else np.where(data.cut_off, slope, weight)
    # per unit ψ′ the variance of a row's residuals, per sample that of ψ
    variance = np.maximum(fit.variance, ROUNDED**2) * slope.sum(axis=1) / np.maximum(held.sum(axis=1), 1e-300)
    step = max(1, 4 * CHUNK_SAMPLES // n_lines)
    chunks = [np.arange(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]

    def holding(rows: NDArray[np.intp]) -> tuple[list[Any], Array, Array, Prior | None]:
        _, fields = sampled.fields(fit.theta[rows], flat[rows])
        prior = None if fit.prior is None else fit.prior.take(rows)
        gain, pull_gain = _gains(plan.assemble(plan.moments(fields, slope[rows])), prior, sampled.model.free)
        return fields, gain, pull_gain, prior

    residual_share, freedom, own = np.ones_like(psi), np.zeros(n_rows), _own(fit, data, psi, slope)
    parts = [holding(rows) for rows in chunks]
    for rows, (fields, gain, _, _) in zip(chunks, parts, strict=True):
        # a sample that has a say in the fit has a residual smaller than its noise
        jacobian = plan.jacobian(fields)
        leverage = slope[rows] * ((jacobian @ gain) * jacobian).sum(axis=2)
        counted = weight[rows] > 0
        freedom[rows] = np.where(counted, 1, held[rows]).sum(axis=1) - leverage.sum(axis=1)
        residual_share[rows] = np.clip(1 - leverage, 0.1, 1)
        if not sampled.model.free.all():
            # as a fit of all parameters would leave it: a gain that is held leaves its own error, which is slow
            left = inverse(np.swapaxes(jacobian, 1, 2) @ (slope[rows, :, None] * jacobian))
            own[rows] -= slope[rows] * (jacobian @ left @ plan.gradient(fields, own[rows])[:, :, None])[:, :, 0]
    shape = noise_shape(psi, weight, variance, residual_share)
    noise = held * shape * variance[:, None]
    noise *= growth_with_intensity(psi, weight * shape * variance[:, None] * residual_share, fit.values(data))
    correlation = None
    if np.median(fit.variance[data.usable]) > ROUNDED**2:
        in_units = own / np.sqrt(np.where(noise > 0, noise, np.inf))
        correlation = line_correlation(in_units, weight > 0, _to_first_order(fit, data, plan, slope, noise))
    noise *= np.where(freedom > 4, freedom / np.maximum(freedom - 2, 1), 2.0)[:, None]
    shared = common_errors(fit, data, options) if common else []
    out = np.zeros((n_rows, sampled.model.n_parameters, sampled.model.n_parameters))
    together = _mean_error(fit, data, [part[2] for part in parts])
    for rows, (fields, gain, pull_gain, prior) in zip(chunks, parts, strict=True):
        if correlation is None:
            scatter = plan.assemble(plan.moments(fields, noise[rows]))
        else:
            moved_by = plan.jacobian(fields) * np.sqrt(noise[rows])[:, :, None]
            scatter = np.swapaxes(moved_by, 1, 2) @ correlation.applied(moved_by)
        covariance = gain @ scatter @ np.swapaxes(gain, 1, 2) + _pulled(pull_gain, prior, fit.variance[rows])
        if together is not None:
            covariance += together[rows] @ np.swapaxes(together[rows], 1, 2)
        for derivative, error in shared:
            moved = derivative(fit.theta[rows], flat[rows]) * slope[rows]
            sides = gain @ np.stack([plan.gradient(fields, moved * column) for column in error.T], axis=2)
            covariance += sides @ np.swapaxes(sides, 1, 2)
        out[rows] = covariance
    return out


def _own(fit: Fit, data: ScaledRows, psi: Array, slope: Array) -> Array:
    """Residuals ``psi`` as the loss counts them, without what all rows have in common at each line."""
    if data.usable.sum() < MIN_ROWS:
        return psi.copy()
    factor, _ = line_factors(fit, data)
    shift, _ = line_shifts(fit, data)
    by_shift = fit.sampled.by_wavenumber(fit.theta, data.flat * fit.curve)
    return np.asarray(psi - slope * (fit.values(data) * (factor - 1) + by_shift * shift))


def _to_first_order(fit: Fit, data: ScaledRows, plan: NormalPlan, slope: Array, noise: Array) -> FittedRows:
    """Some of the rows, whose samples hold the fit by ``slope``, with ``noise``, as `line_correlation` wants them."""
    usable = np.flatnonzero(data.usable)
    rows = usable[np.unique(np.linspace(0, len(usable) - 1, min(len(usable), MOST_ROWS)).round().astype(int))]
    _, fields = fit.sampled.fields(fit.theta[rows], (data.flat * fit.curve)[rows])
    bread = plan.assemble(plan.moments(fields, slope[rows]))
    # where gains are held, residuals are made those that a fit of all parameters leaves
    free = np.ones_like(fit.sampled.model.free)
    prior = None if fit.prior is None or not fit.sampled.model.free.all() else fit.prior.take(rows)
    gain, pull_gain = _gains(bread, prior, free)
    sigma, jacobian = np.sqrt(noise[rows])[:, :, None], plan.jacobian(fields)
    return FittedRows(
        follows=np.divide(slope[rows, :, None] * jacobian, sigma, out=np.zeros_like(jacobian), where=sigma > 0),
        held=sigma * jacobian, gain=gain, pulled=_pulled(pull_gain, prior, fit.variance[rows]), counted=noise[rows] > 0,
    )  # fmt: skip


def _pulled(pull_gain: Array, prior: Prior | None, variance: Array) -> Array:
    """Covariance of what the population's pull does to the parameters of rows of a residual ``variance``."""
    if prior is None:
        return np.zeros_like(pull_gain)
    force = prior.precision * variance[:, None, None] if prior.force is None else prior.force
    return np.asarray(pull_gain @ force @ np.swapaxes(pull_gain, 1, 2))


def _mean_error(fit: Fit, data: ScaledRows, pull_gains: list[Array]) -> Array | None:
    """What the error of the population's mean does to the parameters of all rows, ``(row, parameter, k)``.

    It moves the OPDs of a row's neighbours as it moves the row's own: what they say of its OPD moves along, and holds
    it only as far as they know theirs.
    """
    if fit.prior is None or fit.prior.common is None:
        return None
    pull_gain, column = np.concatenate(pull_gains), fit.sampled.model.opd_column
    own = pull_gain @ fit.prior.common
    to_neighbours = pull_gain[:, :, column] * fit.prior.precision[:, column, column, None]
    rows = np.flatnonzero(data.usable)[np.argsort(data.index[data.usable], kind="stable")]
    around = np.r_[-(NEIGHBOURS // 2) : 0, 1 : NEIGHBOURS // 2 + 1]
    beside = np.clip(np.arange(len(rows))[:, None] + around, 0, len(rows) - 1)
    alone, hold = own[rows, column], np.clip(to_neighbours[rows, column, None], 0, MOST_HELD)
    moved = alone
    for _ in range(PASSES):
        centre = moved[beside].mean(axis=1)
        before, moved = moved, alone + hold * centre
        if np.abs(moved - before).max() <= 1e-3 * np.abs(moved).max():
            break
    own[rows] += to_neighbours[rows, :, None] * moved[beside].mean(axis=1)[:, None, :]
    return own


def _gains(bread: Array, prior: Prior | None, free: NDArray[np.bool_]) -> tuple[Array, Array]:
    """What the noise, and what the population's scatter, are multiplied by to give the error of the parameters."""
    held = bread if prior is None else bread + prior.precision
    if free.all():
        gain = inverse(held)
        return gain, gain
    kept, fixed = np.flatnonzero(free), np.flatnonzero(~free)
    size = bread.shape[1]
    pull = np.zeros_like(bread)
    pull[:, kept[:, None], kept] = inverse(held[:, kept[:, None], kept])
    # the fixed ones were estimated from the same data beforehand, without the prior
    alone = np.zeros_like(bread)
    alone[:, fixed] = inverse(bread)[:, fixed]
    gain = alone + pull @ (np.eye(size) - held @ alone)
    return gain, pull


def common_errors(fit: Fit, data: ScaledRows, options: Options) -> list[tuple[Any, Array]]:
    """Errors that all rows share: derivative of the intensities, and a root ``(line, k)`` of the error's covariance.

    A lamp's drift and an error of the wavelength scale are taken for random walks along the lines, about a mean of
    zero. The rows' own polynomials follow the slow part of a walk, which is then invisible in the residuals. How far it
    walks is told by the rest, and the covariance is that of the whole walk. An estimated line width adds its own error.
    """
    errors: list[tuple[Any, Array]] = []
    sampled = fit.sampled
    if data.usable.sum() >= MIN_ROWS:
        degree = sampled.model.degree_gain
        factor, weight = line_factors(fit, data)
        walk = _walk(data, fit.curve * factor - 1, weight, degree, options.shared_curve)
        if walk is not None:
            errors.append((sampled.values, walk))
        shift, weight = line_shifts(fit, data)
        walk = _walk(data, fit.shift + shift, weight, max(1, sampled.model.degree_phase), options.shared_shift)
        if walk is not None:
            errors.append((sampled.by_wavenumber, walk))
    if fit.line_width is not None:
        width = fit.line_width
        # a width of nothing is uncertain too: how it acts is seen at a small one
        square = max(width.square, 0.1 * width.stderr_square)
        line = replace(width, square=square).line(sampled.wavenumber)
        broadened = SampledModel(sampled.model, sampled.band, sampled.wavenumber, line=line)
        growths = np.stack([0.5 / square + 0 * sampled.wavenumber, -np.log(sampled.wavenumber / width.centre)], axis=1)
        values, vectors = np.linalg.eigh(width.covariance)
        errors.append((broadened.by_line_width, growths @ (vectors * np.sqrt(np.maximum(values, 0)))))
    return errors


def _walk(data: ScaledRows, values: Array, weight: Array, degree: int, removed: bool) -> Array | None:
    """Root of the covariance of a random walk that shows in ``values`` ``(line,)`` beside polynomials of a degree.

    Karhunen-Loève expansion of a walk about its mean. With ``removed`` the visible part was taken out of the fit, and
    the covariance is that of the rest. None when the walk is not visible.
    """
    measured = weight > 0
    if measured.sum() < max(MIN_CURVE_LINES, 2 * (degree + 1)):
        return None
    place = (data.band.scale(data.wavenumber) + 1) / 2
    orders = np.arange(1, MODES + 1)
    modes = np.sqrt(2) * np.cos(np.pi * place[:, None] * orders) / (np.pi * orders)
    root = np.sqrt(weight)[:, None]
    followed = np.linalg.qr(data.band.vander(data.wavenumber, degree) * root)[0]

    def visible(columns: Array) -> Array:
        columns = columns * root
        return np.asarray(columns - followed @ (followed.T @ columns))

    smooth = smoothed(data.wavenumber, values, weight)
    shown = visible(modes)
    size = float((visible(smooth[:, None]) ** 2).sum() / (shown**2).sum())
    # what a line's common error does beside the noise of one row: a hundredth of its variance is nothing
    information = float(weight.sum()) / max(int(data.usable.sum()), 1)
    if size * float((modes**2).sum(axis=1).mean()) * information < 0.01:
        return None
    if not removed:
        return np.asarray(np.sqrt(size) * modes)
    amplitudes = np.linalg.inv(np.eye(MODES) / size + shown.T @ shown)
    return np.asarray(modes @ np.linalg.cholesky(0.5 * (amplitudes + amplitudes.T)))
