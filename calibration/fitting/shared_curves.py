"""Smooth curves along the lines that all rows share: a correction of the gain, and of the wavelength scale."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibration.fitting.fit_state import Fit
from calibration.fitting.posterior import influence
from calibration.fitting.scaled_rows import ScaledRows
from calibration.fitting.smoothing import MIN_CURVE_LINES, smoothed

Array = NDArray[np.float64]

#: Bounds of the shared gain curve: a lamp that changes fivefold in a run is no drift but another lamp.
GAIN_RANGE = 0.2, 5.0


def line_factors(fit: Fit, data: ScaledRows) -> tuple[Array, Array]:
    """Factor that brings the fit of all rows closest to the measurement at each line, and its weight, ``(line,)``."""
    value = fit.values(data)
    pull, weight = _pulls(fit, data)
    bottom = (weight * value * value).sum(axis=0)
    top = (pull * value).sum(axis=0)
    return 1 + np.where(bottom > 0, top / np.where(bottom > 0, bottom, 1), 0.0), bottom


def line_shifts(fit: Fit, data: ScaledRows) -> tuple[Array, Array]:
    """As `line_factors`, the shift of each line's wavenumber, µm⁻¹, that fits all rows best, to first order."""
    flat = data.flat * fit.curve
    slope = fit.sampled.by_wavenumber(fit.theta, flat)
    pull, weight = _pulls(fit, data)
    bottom = (weight * slope * slope).sum(axis=0)
    top = (pull * slope).sum(axis=0)
    return np.where(bottom > 0, top / np.where(bottom > 0, bottom, 1), 0.0), bottom


def _pulls(fit: Fit, data: ScaledRows) -> tuple[Array, Array]:
    """How each sample ``(row, line)`` pulls at the fit, in units of its row's noise variance, and how it holds it."""
    residual = data.intensity - fit.values(data)
    psi, slope = influence(residual, data.weight, fit.loss, fit.cut_off)
    # a wild sample weighs as little as it did in the fit
    weight = np.divide(psi, residual, out=np.zeros_like(psi), where=residual != 0)
    if data.cut_off is not None:
        weight = np.where(data.cut_off, slope, weight)
    unit = np.maximum(fit.variance, 1e-300)[:, None]
    return psi / unit, weight / unit


def shared_gain_curve(fit: Fit, data: ScaledRows) -> Array:
    """Smooth factor, common to all rows, that brings the fit closest to the measured intensities, shape ``(line,)``.

    Lines that are held out get their value from it.
    """
    factor, weight = line_factors(fit, data)
    if (weight > 0).sum() < MIN_CURVE_LINES:
        return fit.curve
    return fit.curve * np.clip(smoothed(data.wavenumber, factor, weight), *GAIN_RANGE)


def shared_shift(fit: Fit, data: ScaledRows) -> Array:
    """Smooth error of the wavelength scale, common to all rows: what to add to the wavenumbers, ``(line,)`` µm⁻¹.

    Its mean and slope over the band act as other phases and OPDs do, cannot be told from them, and are set to zero.
    """
    shift, weight = line_shifts(fit, data)
    if (weight > 0).sum() < MIN_CURVE_LINES:
        return fit.shift
    curve = fit.shift + smoothed(data.wavenumber, shift, weight)
    ramp = np.stack([np.ones_like(curve), data.band.scale(data.wavenumber)], axis=1)
    root = np.sqrt(weight)[:, None]
    straight = np.linalg.lstsq(ramp * root, curve * root[:, 0], rcond=None)[0]
    return np.asarray(curve - ramp @ straight)
