"""Noise of interferometers that nobody told: its proportions by evidence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from calibration.inversion.prior import SCALES, Prior, smooth_kernels
from calibration.inversion.problem import LEAST_PIXELS, Interferograms

Array = NDArray[np.float64]
#: Pixels that choose.
SAMPLE = 512


def likeliest_noise(case: Interferograms) -> Interferograms:
    """The case with noise in the likeliest proportions; its size is left to others.

    Those of the case (the capture's) or equal ones. A capture's residuals are no scene's noise: where they are far too
    small for some interferometers, their noise would become spectra. Spectra are taken for smooth, what follows the
    mean interferogram is left out.
    """
    pixels = case.values.reshape(len(case.values), -1)[:, case.measured]
    count = pixels.shape[1]
    if count < LEAST_PIXELS:
        return case
    mean = pixels.mean(axis=1)
    own = pixels - np.outer(mean, mean @ pixels / max(float(mean @ mean), 1e-300))
    sample = own[:, :: max(1, count // SAMPLE)]
    proportions = (case.noise_std, np.ones(len(mean)))
    logs = [_evidence(replace(case, values=sample[:, None], noise_std=noise)) for noise in proportions]
    return replace(case, noise_std=proportions[int(np.argmax(logs))])


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
