"""Noise of interferometers that nobody told: its proportions by evidence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from calibration.inversion.prior import SCALES, Prior, smooth_kernels
from calibration.inversion.problem import LEAST_PIXELS, Interferograms
from hsitools.estimation.band_noise import unexplained

Array = NDArray[np.float64]
#: Pixels that choose, and how many of them an interferometer needs to be regressed on the others.
SAMPLE, ENOUGH = 512, 4


def likeliest_noise(case: Interferograms) -> Interferograms:
    """The case with noise in the likeliest proportions; its size is left to others.

    Those of the case (the capture's), equal ones, or what each interferometer keeps to itself beside all others. A
    capture's residuals are no scene's noise: where they are far too small for some interferometers, their noise would
    become spectra. Spectra are taken for smooth, what follows the mean interferogram is left out.
    """
    pixels = case.values.reshape(len(case.values), -1)[:, case.measured]
    count = pixels.shape[1]
    if count < LEAST_PIXELS:
        return case
    mean = pixels.mean(axis=1)
    own = pixels - np.outer(mean, mean @ pixels / max(float(mean @ mean), 1e-300))
    sample = own[:, :: max(1, count // SAMPLE)]
    proportions = [(case.noise_std, 0.0), (np.ones(len(mean)), 0.0)]
    if count >= ENOUGH * len(mean):
        # as many numbers as interferometers come from the pixels themselves: Schwarz's criterion
        price = 0.5 * len(mean) * float(np.log(sample.shape[1]))
        proportions.append((np.sqrt(np.maximum(unexplained(own @ own.T / count), 0)), price))
    best, chosen = -np.inf, case
    for noise, price in proportions:
        if not (np.isfinite(noise).all() and (noise > 0).all()):
            continue
        log = _evidence(replace(case, values=sample[:, None], noise_std=noise)) - price
        if log > best:
            best, chosen = log, replace(case, noise_std=noise)
    return chosen


def _evidence(case: Interferograms) -> float:
    """Logarithm of the evidence of all pixels, by the likeliest smooth process, its scale and the noise's size."""
    count = len(case.noise_std) * case.projected.shape[1]
    # whitened values have no density in common: in units of the values
    unit = case.projected.shape[1] * float(np.log(case.noise_std).sum())
    logs = []
    for name, kernel in smooth_kernels(case).items():
        prior = Prior(name=name, covariance=kernel, case=case)
        variances = 1 + SCALES[:, None] * prior.unit * prior.eigen[0]
        misfit = (1 / variances) @ (prior.coordinates() ** 2).sum(axis=1) + case.beyond.sum()
        # the likeliest size of the noise is in closed form, scales are in units of it
        log = -0.5 * count * np.log(np.maximum(misfit, 1e-300) / count)
        logs.append(float((log - 0.5 * case.projected.shape[1] * np.log(variances).sum(axis=1)).max()))
    return max(logs) - unit
