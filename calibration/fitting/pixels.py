"""Fits of the pixels of one interferometer, all at once, beginning at its centre's."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.fitting import initialize
from calibration.fitting.cut_off import CutOff
from calibration.fitting.posterior import posterior
from calibration.fitting.refine import Prior, refine
from calibration.fitting.restarts import FEW_FRINGES, HARMONIC
from calibration.fitting.wild_samples import MOST, ROUNDS, WILD, WILD_AMONG_MANY, of_count
from hsitools.estimation.spread import SIGMA_PER_MEDIAN
from hsitools.sensor.transmittance import SampledModel

Array = NDArray[np.float64]

#: OPDs searched around the centre's: a share of it (cos θ down to .95 is 18° off axis), and fringes over the band, less
#: than the one at which the next peak begins.
SEARCH_SHARE, SEARCH_FRINGES = 0.05, 0.75
#: Cosines under which an interferometer of few fringes is tried as a pixel's start.
COSINES = (1.0, 0.98, 0.96)
#: Times by which a start's residual variance may exceed the fit's, and the share of the pixels that may exceed it: more
#: than that of the population's weight is wrong.
NOISIER, FEW_PIXELS = 1.5, 0.05
#: Robust residuals of a pixel over those of the other pixels from which its fit is looked at again.
WORSE = 1.5
#: Refinements in which the noise beside a ceiling comes to rest.
NOISE_PASSES = 3
#: What is mapped, with its unit.
MAPS = {
    "opd_um": "um", "opd_stderr_um": "um", "phase_rad": "rad", "reflectivity": "1", "gain": "1", "rmse": "1",
}  # fmt: skip


def fit_pixels(
    sampled: SampledModel,
    intensity: Array,
    flat: Array,
    wavenumber: Array,
    centre: Array,
    prior: Prior | None,
    *,
    doubt: Array | None = None,
    loss: str = "linear",
    set_aside: bool = True,
    device: Any = None,
    limit: float = float("inf"),
) -> dict[str, Array]:
    """Fit the pixels of one interferometer.

    Parameters
    ----------
    sampled : SampledModel
    intensity, flat : array, shape (pixel, line)
    wavenumber : array, shape (line,)
    centre : array, shape (parameter,)
        Parameters at the sub-image's centre.
    prior : Prior or None
        Of one row: population of the polynomials; its residual variance is replaced by each pixel's own.
    doubt : array, shape (parameter, parameter), optional
        Covariance of ``centre``.
    loss : str
    set_aside : bool
        Whether a pixel's wild samples (`calibration.fitting.wild_samples`) are left out, where the loss is linear.
    device : optional
        torch device for the refinement; samples at a ceiling are refined by NumPy.
    limit : float
        Intensity at which samples were cut off: their light is at least so much.

    Returns
    -------
    dict of array
        One ``(pixel,)`` array for each of `MAPS`; NaN where a pixel has no signal.
    """
    constant = (wavenumber, centre, prior, doubt, limit)
    out, residual = _fit(sampled, intensity, flat, *constant, loss, device)
    if loss != "linear" or not set_aside:
        return out
    most, kept = MOST * np.isfinite(residual).sum(axis=1), intensity.copy()
    rows = np.flatnonzero(_doubtful(residual))
    for _ in range(ROUNDS):
        if not len(rows):
            break
        # what is wild shows beside a fit that it does not move
        residual = _fit(sampled, kept[rows], flat[rows], *constant, "huber", device)[1]
        wild = _far_off(residual, WILD)
        few = wild.any(axis=1) & ((wild | np.isnan(kept[rows])).sum(axis=1) <= most[rows])
        rows, wild = rows[few], wild[few]
        kept[rows] = np.where(wild, np.nan, kept[rows])
    rows = np.flatnonzero((np.isnan(kept) & ~np.isnan(intensity)).any(axis=1))
    if len(rows):
        again, _ = _fit(sampled, kept[rows], flat[rows], *constant, loss, device)
        for name in MAPS:
            out[name][rows] = again[name]
    return out


def _doubtful(residual: Array) -> NDArray[np.bool_]:
    """Pixels that may have wild samples: some are far off, or they fit worse than the others, as if drawn away."""
    spread = _spread(residual)
    typical = np.median(spread[spread > 0]) if (spread > 0).any() else 0.0
    return np.asarray(_far_off(residual, WILD_AMONG_MANY).any(axis=1) | (spread > WORSE * typical))


def _far_off(residual: Array, limit: float) -> NDArray[np.bool_]:
    """Samples ``(pixel, line)`` so many robust deviations off their pixel's fit."""
    count = np.isfinite(residual).sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.abs(residual) > of_count(limit, count) * _spread(residual)[:, None])


def _spread(residual: Array) -> Array:
    """Robust deviation of each pixel's residuals ``(pixel, line)``, NaN where not measured."""
    measured = np.isfinite(residual).any(axis=1)
    out = np.zeros(len(residual))
    out[measured] = SIGMA_PER_MEDIAN * np.nanmedian(np.abs(residual[measured]), axis=1)
    return out


def _fit(
    sampled: SampledModel, intensity: Array, flat: Array, wavenumber: Array, centre: Array, prior: Prior | None,
    doubt: Array | None, limit: float, loss: str, device: Any,
) -> tuple[dict[str, Array], Array]:  # fmt: skip
    """Maps of pixels, and their residuals relative to the mean ``(pixel, line)``, NaN where not measured."""
    model, band = sampled.model, sampled.band
    seen = np.isfinite(intensity) & np.isfinite(flat) & (flat > 0)
    full = seen & (intensity >= limit)
    good = seen & ~full
    weight = good.astype(float)
    count = weight.sum(axis=1)
    level = np.where(good, intensity, 0).sum(axis=1) / np.maximum(count, 1)
    flat_level = np.where(good, flat, 0).sum(axis=1) / np.maximum(count, 1)
    usable = (level > 0) & (count > model.free.sum())
    out = {name: np.full(len(intensity), np.nan) for name in MAPS}
    residuals = np.full(intensity.shape, np.nan)
    if not usable.any():
        return out, residuals
    y = np.where(seen, intensity, 0)[usable] / level[usable, None]
    f = np.where(seen, flat, 1)[usable] / flat_level[usable, None]
    # what was cut off holds the phase of a start, and weighs nothing in a fit
    w, start = weight[usable], seen[usable].astype(float)
    full = full[usable]
    column = model.opd_column
    expected = float(model.opd_um(centre, band))
    reach = SEARCH_SHARE * expected + SEARCH_FRINGES / band.width
    grid = np.arange(max(0.25 / band.width, expected - reach), expected + reach, 0.2 / band.width)
    # the centre's gain already divided out: only the fringe is left to search for
    smooth = (centre[model.slices["gain"]] @ sampled.basis[:, : model.degree_gain + 1].T).clip(1e-3)
    ratio = np.where(start > 0, y / f / smooth, 1.0)
    scan = initialize.periodogram(wavenumber, ratio, grid, model.etalons_um)
    peak = initialize.refine_peak(grid, scan.power, scan.power.argmax(axis=1))
    theta = initialize.starting_parameters(model, band, wavenumber, y, f, start, peak)
    shared = [j for j in range(model.n_parameters) if j not in (column - 1, column)]
    theta[:, shared] = centre[shared]
    if expected * band.width < FEW_FRINGES * HARMONIC:
        theta = _nearest(sampled, theta, centre, y, f, start)
    # of the measured lines alone: with most of them missing the median of all is nothing, and the prior with it
    variance = np.nanmedian(np.where(w > 0, y - sampled.values(theta, f), np.nan) ** 2, axis=1) / 0.455
    used = float(model.free.sum())
    cut_off = CutOff.of(full, y - sampled.values(theta, f), w, used) if full.any() else None
    pixel_prior = None
    held = np.zeros((1, model.n_parameters, model.n_parameters))
    if prior is not None:
        held = prior.precision.copy()
        held[:, column, :] = held[:, :, column] = 0
        held = _free_level(held, centre, model.slices["gain"])
    for again in (True, False):
        if prior is not None:
            # the residual variance is the weight of data against population: what a start leaves is too much
            mean = np.broadcast_to(centre, theta.shape)
            pixel_prior = Prior(mean=mean, precision=held * variance[:, None, None])
        refined = _refine_on(device, sampled, theta, y, f, w, pixel_prior, loss, cut_off)
        residual = y - sampled.values(refined.theta, f)
        for _ in range(NOISE_PASSES if cut_off is not None else 0):
            # from afar the noise looks larger than it is
            cut_off = CutOff.of(full, residual, w, used)
            refined = _refine_on(device, sampled, refined.theta, y, f, w, pixel_prior, loss, cut_off)
            residual = y - sampled.values(refined.theta, f)
        found, covariance = posterior(refined, residual, w, pixel_prior, model.free, loss, cut_off)
        if prior is None or not again or np.mean(variance > NOISIER * found) < FEW_PIXELS:
            break
        theta, variance = refined.theta, found
    if doubt is not None:
        # the centre that pixels are drawn to is itself not known, in one way for all of them
        pull = covariance @ held
        covariance = covariance + pull @ doubt @ np.swapaxes(pull, 1, 2)
    solution = refined.theta
    solution[solution[:, column] < 0, model.slices["phase"]] *= -1
    opd = model.opd_um(solution, band)
    phase = 2 * np.pi * band.centre * opd - solution[:, column - 1]
    values = {
        "opd_um": opd,
        "opd_stderr_um": np.sqrt(np.maximum(covariance[:, column, column], 0)) * band.opd_per_radian,
        "phase_rad": (phase + np.pi) % (2 * np.pi) - np.pi,
        "reflectivity": sampled.reflectivity(solution).mean(axis=1),
        "gain": solution[:, model.slices["gain"].start] * level[usable] / flat_level[usable],
        "rmse": np.sqrt((w * residual**2).sum(axis=1) / w.sum(axis=1)),
    }
    for name, value in values.items():
        out[name][usable] = value
    residuals[usable] = np.where(w > 0, residual, np.nan)
    return out, residuals


def _nearest(sampled: SampledModel, theta: Array, centre: Array, y: Array, f: Array, w: Array) -> Array:
    """Of starts ``theta`` and the centre itself, seen under several angles, each pixel's nearest to its light.

    A periodogram says little of few fringes; the centre's OPD is a pixel's but for cos θ.
    """
    seen = [sampled.model.off_axis(np.broadcast_to(centre, theta.shape), sampled.band, cosine) for cosine in COSINES]
    starts = np.stack([theta, *seen])
    squares = np.stack([(w * (y - sampled.values(start, f)) ** 2).sum(axis=1) for start in starts])
    best = squares.argmin(axis=0)
    return np.asarray(starts[best, np.arange(len(y))])


def _free_level(precision: Array, centre: Array, gain: slice) -> Array:
    """The precision without what it says of a pixel's brightness, since vignetting is not known beforehand."""
    along = np.zeros_like(centre)
    along[gain] = centre[gain]
    held = precision @ along
    return np.asarray(precision - held[:, :, None] * held[:, None, :] / np.maximum(held @ along, 1e-300)[:, None, None])


def _refine_on(
    device: Any, sampled: SampledModel, theta: Array, y: Array, f: Array, w: Array, prior: Prior | None, loss: str,
    cut_off: CutOff | None,
) -> Any:  # fmt: skip
    if device is None or cut_off is not None:
        return refine(
            sampled, theta, y, f, w, prior=prior, loss=loss, cut_off=cut_off, max_iterations=30, tolerance=1e-6
        )
    import torch

    def there(array: Array) -> Any:
        return torch.as_tensor(np.require(array, requirements=["C", "W"]), device=device)

    moved = None if prior is None else Prior(mean=there(prior.mean), precision=there(prior.precision))
    refined = refine(
        SampledModel(sampled.model, sampled.band, sampled.wavenumber, device=device, line=sampled.line),
        there(theta), there(y), there(f), there(w), prior=moved, loss=loss, max_iterations=30, tolerance=1e-6,
    )  # fmt: skip
    arrays = {name: getattr(refined, name).cpu().numpy() for name in ("theta", "cost", "normal", "converged")}
    return type(refined)(**arrays, iterations=refined.iterations)
