"""Samples far off what their interferometer's fringes say: cosmic rays, hot pixels, a lamp that flickered at one line.

Least squares follow them: two in a hundred, up to twenty times too bright, move an OPD by nine of its standard errors.
They are set aside before the fit that counts. What is far is told by robust deviations: of the row, of samples of about
that intensity (bright ones have more noise), and of the lines around, not the line's own, or a line at which all
interferometers are wrong would excuse itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calibration.captures.capture import MonochromaticCapture
from calibration.fitting.fit import fit_again, fit_capture
from calibration.fitting.fit_state import Fit
from calibration.fitting.noise import ROUNDED
from calibration.fitting.options import Options
from calibration.fitting.scaled_rows import MIN_ROWS, ScaledRows
from calibration.model_choice import general_model
from hsitools.estimation.spread import SIGMA_PER_MEDIAN
from hsitools.sensor.transmittance import TransmittanceModel

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: Robust standard deviations from which a sample is wild: normal noise never reaches six.
WILD = 6.0
#: The same in a capture that has many wild ones, of a fit that they do not move: there what passes 4.5, as normal noise
#: does once in 150 000 samples, is more likely wild too, and one-sided as they are together they would shift the gain.
WILD_AMONG_MANY = 4.5
#: What `WILD` grows by with few samples n in a row, in units of 1/√n: their median is uncertain, and so is the row's σ.
FEW_SAMPLES = 2.0
#: A line is wild for all interferometers when its σ is this many times that of the lines around. On real devices lines
#: differ by up to 1.5 from those around, and one (imspoc_uv_1, 20), whose wavelength is wrong, by five. Not at the
#: band's ends, where light fails and noise rises from line to line.
WILD_LINE = 3.0
#: Lines on each side whose median is the noise around a line: a run of four wild ones among nine does not show in it.
AROUND = 9
#: Classes of intensity whose noise is told apart, and the fewest samples of one.
CLASSES, CLASS_SAMPLES = 12, 50
#: Share of a row's samples above which none is set aside, and the row is flagged: it is the fit that is wrong there.
MOST = 0.2
#: Share of the samples below which wild ones leave the fit of the other rows as it is.
FEW = 1e-3
#: Most fits in search of wild samples. Each shows some that the last one's errors hid; the third rarely finds any.
ROUNDS = 4


@dataclass(frozen=True, kw_only=True)
class WildSamples:
    """Samples set aside, ``samples`` ``(row, line)``, and ``rows`` ``(row,)`` of so many that all of them were kept."""

    samples: Mask
    rows: Mask

    @classmethod
    def none(cls, capture: MonochromaticCapture) -> WildSamples:
        """No wild samples in a capture."""
        return cls(samples=np.zeros_like(capture.mask), rows=np.zeros(capture.n_interferometers, dtype=bool))

    def __bool__(self) -> bool:
        return bool(self.samples.any() or self.rows.any())

    def summary(self, capture: MonochromaticCapture) -> dict[str, object]:
        """Plain data: how many of how many, and the lines (nm) at which all interferometers were wrong."""
        lines = (self.samples | ~capture.mask).all(axis=0) & self.samples.any(axis=0)
        return {
            "samples": int(self.samples.sum()), "of": int(capture.mask.sum()),
            "lines_nm": [float(value) for value in capture.wavelength_nm[lines]],
        }  # fmt: skip


def fit_without_wild(
    capture: MonochromaticCapture, model: TransmittanceModel, options: Options, among: WildSamples | None = None
) -> tuple[ScaledRows, Fit, WildSamples]:
    """`fit_capture` of a capture's samples but the wild ones, which are looked for where the loss is linear.

    The Huber loss weighs wild samples down by itself; it serves here to find them. Wild are only those ``among`` what
    is wild beside a general model, which is fitted where they are not told: samples far off a model without
    dispersion may well be right.
    """
    if options.loss != "linear" or not options.set_aside or (among is not None and not among):
        return *fit_capture(capture, model, options), WildSamples.none(capture)
    data, fit, wild = _search(capture, model, options)
    if not wild.samples.any():
        return data, fit, wild
    if among is None:
        general = general_model(capture)
        among = wild if model == general else _search(capture, general, options)[2]
    certain = WildSamples(samples=wild.samples & among.samples, rows=wild.rows | among.rows)
    if np.array_equal(certain.samples, wild.samples):
        return data, fit, certain
    return *fit_capture(capture, model, options, certain.samples), certain


def _search(
    capture: MonochromaticCapture, model: TransmittanceModel, options: Options
) -> tuple[ScaledRows, Fit, WildSamples]:
    data, fit = fit_capture(capture, model, options)
    wild = far_off(capture, data, fit)
    robust = replace(options, loss="huber", engine="batched")
    for _ in range(ROUNDS):
        if not wild:
            return data, fit, wild
        if wild.samples.sum() < FEW * capture.mask.sum() and not wild.rows.any():
            before, data = data, ScaledRows.of(capture, model, set_aside=wild.samples)
            fit = fit_again(data, fit, before, options)
            more = far_off(capture, data, fit)
            more = replace(more, samples=more.samples | wild.samples)
            if np.array_equal(more.samples, wild.samples):
                return data, fit, wild
        else:
            more = far_off(capture, *fit_capture(capture, model, robust, wild.samples), WILD_AMONG_MANY)
            if np.array_equal(more.samples, wild.samples):
                break
        wild = more
    return *fit_capture(capture, model, options, wild.samples), wild


def far_off(capture: MonochromaticCapture, data: ScaledRows, fit: Fit, limit: float = WILD) -> WildSamples:
    """Usable samples of a capture that are wild beside a fit of (some of) them: ``limit`` robust deviations off."""
    fitted = fit.values(data)
    residual = capture.intensity / data.level[:, None] - fitted
    measured = capture.mask & data.usable[:, None] & np.isfinite(residual)
    deviation, line_noise, around = _in_robust_deviations(residual, fitted, measured)
    count = measured.sum(axis=1, keepdims=True)
    wild = np.abs(deviation) > of_count(limit, count)
    if data.usable.sum() >= MIN_ROWS:
        lines = line_noise > WILD_LINE * around
        lines[: AROUND // 2] = lines[len(lines) - AROUND // 2 :] = False
        wild |= lines
    wild &= measured & (np.abs(residual) > ROUNDED)
    if fit.cut_off is not None:
        # at a ceiling those are far off that should lie far below it
        sigma = _sigma(np.where(measured, residual, np.nan), axis=1)[:, None]
        wild |= fit.cut_off.samples & (residual > of_count(limit, count) * sigma)
    rows = wild.sum(axis=1) > MOST * count[:, 0]
    return WildSamples(samples=wild & ~rows[:, None], rows=rows)


def of_count(limit: float, count: NDArray[np.int64]) -> Array:
    """Robust deviations beyond which samples of rows with so many of them are wild."""
    return np.asarray(limit * (1 + FEW_SAMPLES / np.sqrt(np.maximum(count, 1))))


def _in_robust_deviations(residual: Array, fitted: Array, measured: Mask) -> tuple[Array, Array, Array]:
    """Residuals in units of their noise, and of that the part of each line, its own and that around, ``(line,)``."""
    deviation = np.where(measured, residual, np.nan)
    for _ in range(2):
        deviation = deviation / _sigma(deviation, axis=1)[:, None]
        deviation = deviation / _by_intensity(deviation, fitted, measured)
    own = _sigma(deviation, axis=0)
    around = _around(own)
    deviation = deviation / around
    deviation = deviation / _sigma(deviation, axis=1)[:, None]
    return np.where(measured, deviation, 0), own, around


def _sigma(deviation: Array, axis: int) -> Array:
    """Robust standard deviation of what is not NaN, one where that is nothing."""
    filled = np.where(np.isfinite(deviation).any(axis=axis, keepdims=True), np.abs(deviation), 1 / SIGMA_PER_MEDIAN)
    sigma = SIGMA_PER_MEDIAN * np.nanmedian(filled, axis=axis)
    return np.where(sigma > 0, sigma, 1.0)


def _by_intensity(deviation: Array, fitted: Array, measured: Mask) -> Array:
    """How the noise grows with the fitted intensity, the same for all rows and lines, ``(row, line)``."""
    level, size = fitted[measured], np.abs(deviation[measured])
    classes = min(CLASSES, len(level) // CLASS_SAMPLES)
    if classes < 2:
        return np.ones_like(fitted)
    parts = np.array_split(np.argsort(level, kind="stable"), classes)
    middle = np.array([np.median(level[part]) for part in parts])
    sigma = np.array([SIGMA_PER_MEDIAN * np.median(size[part]) for part in parts])
    return np.interp(fitted, middle, np.where(sigma > 0, sigma, 1.0))


def _around(sigma: Array) -> Array:
    """Largest of the medians of the `AROUND` lines before, about and after each: noise that steps is no wild line."""
    width = min(AROUND, len(sigma))
    medians = np.median(np.lib.stride_tricks.sliding_window_view(sigma, width), axis=1)
    last = len(medians) - 1
    starts = np.arange(len(sigma))[:, None] - np.array([0, width // 2, width - 1])
    return np.asarray(medians[np.clip(starts, 0, last)].max(axis=1))
