"""Gaussian process prior of each spectrum, pixel by pixel, in closed form."""

from __future__ import annotations

import numpy as np

from calibration.inversion.calibration_error import allow
from calibration.inversion.prior import SCALES, Prior, best_prior, candidates
from calibration.inversion.problem import Interferograms, Spectra
from calibration.inversion.registry import method


@method("gp", paper="Rasmussen and Williams, Gaussian Processes, MIT 2006, chapters 2 and 5", std=True)
def gp(case: Interferograms) -> Spectra:
    """Gaussian process over wavelength (× known illumination); kernel and scale by evidence, posterior error bars.

    An image shares its kernel; where the noise is not known, pixels are measurements by themselves, each with its own.
    """
    if case.noise_known:
        case = allow(case).case
    kernels = candidates(case)
    count = case.projected.shape[1]
    estimate, std, shaken = np.zeros((3, len(case.wavelength_nm), count))
    priors = [best_prior(case, kernels)] if case.noise_known else [
        Prior(name=name, covariance=kernel, case=case) for name, kernel in kernels.items()
    ]  # fmt: skip
    best, kernel = np.full(count, -np.inf), np.zeros(count, dtype=np.intp)
    scale = np.zeros(count, dtype=np.intp)
    for number, prior in enumerate(priors):
        log = prior.log_evidence(prior.coordinates() ** 2, case.beyond)
        top = log.argmax(axis=0)
        value = log[top, np.arange(count)]
        better = value > best
        best[better], kernel[better], scale[better] = value[better], number, top[better]
    for number, prior in enumerate(priors):
        pixels = np.flatnonzero(kernel == number)
        if len(pixels):
            estimate[:, pixels], std[:, pixels], shaken[:, pixels] = prior.posterior(pixels, scale[pixels])
    used = np.bincount(kernel, minlength=len(priors))
    return case.spectra(
        estimate, std, shaken,
        parameters={
            "rule": "evidence", "kernels": {prior.name: int(n) for prior, n in zip(priors, used, strict=True) if n},
            "scale_median": float(np.median(SCALES[scale])) if count else None,
        },
    )  # fmt: skip
