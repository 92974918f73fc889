"""What all rows of a capture share beside their population: a gain curve, a shift of the wavelengths, a line width."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from calibration.fitting.smoothing import SmoothingSpline

if TYPE_CHECKING:
    from calibration.fitting.fit import Fit
    from calibration.fitting.rows import Problem

Array = NDArray[np.float64]

#: Smoothing parameters tried for shared curves (lines a unit apart), and the fewest lines that allow one.
SMOOTHNESS, MIN_CURVE_LINES = (1e0, 1e2, 1e4, 1e6), 12
#: Bounds of the shared gain curve.
GAIN_RANGE = 0.2, 5.0


def smoothed(wavenumber: Array, values: Array, weight: Array) -> Array:
    """Smoothing spline through ``values`` of weights ``weight``, all ``(line,)``; values without weight do not count.

    As smooth as makes it predict every second line best from the others. Constant beyond the lines of some weight,
    where a cubic would run away.
    """
    seen = np.flatnonzero(weight > 0)
    # lines a unit apart, so that the smoothness does not depend on the device's units
    x = wavenumber / np.diff(wavenumber).mean()
    w = weight[seen] / weight[seen].mean()

    def spline(lines: NDArray[np.intp], smoothness: float) -> SmoothingSpline:
        return SmoothingSpline.through(x[seen[lines]], values[seen[lines]], w[lines], smoothness)

    even, odd = np.arange(0, len(seen), 2), np.arange(1, len(seen), 2)

    def error(smoothness: float) -> float:
        predicted = spline(even, smoothness)(x[seen[odd]])
        return float((w[odd] * (values[seen[odd]] - predicted) ** 2).sum())

    best = min(SMOOTHNESS, key=error)
    return spline(np.arange(len(seen)), best)(x)


def line_factors(fit: Fit, problem: Problem) -> tuple[Array, Array]:
    """Factor that brings the fit of all rows closest to the measurement at each line, and its weight, ``(line,)``."""
    value = fit.values(problem)
    weight = _row_weights(fit, problem)
    bottom = (weight * value * value).sum(axis=0)
    top = (weight * problem.intensity * value).sum(axis=0)
    return np.where(bottom > 0, top / np.where(bottom > 0, bottom, 1), 1.0), bottom


def line_shifts(fit: Fit, problem: Problem) -> tuple[Array, Array]:
    """As `line_factors`, the shift of each line's wavenumber, µm⁻¹, that fits all rows best, to first order."""
    flat = problem.flat * fit.curve
    slope = fit.sampled.by_wavenumber(fit.theta, flat)
    weight = _row_weights(fit, problem)
    bottom = (weight * slope * slope).sum(axis=0)
    top = (weight * (problem.intensity - fit.values(problem)) * slope).sum(axis=0)
    return np.where(bottom > 0, top / np.where(bottom > 0, bottom, 1), 0.0), bottom


def _row_weights(fit: Fit, problem: Problem) -> Array:
    from calibration.fitting.uncertainty import influence

    residual = problem.intensity - fit.values(problem)
    psi, _ = influence(residual, problem.weight, fit.loss)
    # a wild sample weighs as little as it did in the fit
    weight = np.divide(psi, residual, out=np.zeros_like(psi), where=residual != 0)
    return np.asarray(weight / np.maximum(fit.variance, 1e-300)[:, None])


def shared_gain_curve(fit: Fit, problem: Problem) -> Array:
    """Smooth factor, common to all rows, that brings the fit closest to the measured intensities, shape ``(line,)``.

    Lines that are held out get their value from it.
    """
    factor, weight = line_factors(fit, problem)
    if (weight > 0).sum() < MIN_CURVE_LINES:
        return fit.curve
    return fit.curve * np.clip(smoothed(problem.wavenumber, factor, weight), *GAIN_RANGE)


def shared_shift(fit: Fit, problem: Problem) -> Array:
    """Smooth error of the wavelength scale, common to all rows: what to add to the wavenumbers, ``(line,)`` µm⁻¹.

    Its mean and slope over the band are no one's to know: they are the same as other phases and OPDs, and left out.
    """
    shift, weight = line_shifts(fit, problem)
    if (weight > 0).sum() < MIN_CURVE_LINES:
        return fit.shift
    curve = fit.shift + smoothed(problem.wavenumber, shift, weight)
    ramp = np.stack([np.ones_like(curve), problem.band.scale(problem.wavenumber)], axis=1)
    root = np.sqrt(weight)[:, None]
    straight = np.linalg.lstsq(ramp * root, curve * root[:, 0], rcond=None)[0]
    return np.asarray(curve - ramp @ straight)
