"""All pixels together: what spectra of this image are like, and what neighbours share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from calibration.inversion.calibration_error import allow
from calibration.inversion.population import Population, learn
from calibration.inversion.problem import Interferograms, Spectra, noise_size
from calibration.inversion.registry import method

Array = NDArray[np.float64]
#: Factors of the errors that all pixels share.
COMMON = 16


@method(
    "joint", std=True, image=True, linear=False,
    paper="hsitools: mean and covariance of spectra learned from the image, edge-aware prior in their eigenbasis",
)  # fmt: skip
def joint(case: Interferograms) -> Spectra:
    """Spectra of the image as one population, learned under the noise, with an edge-aware spatial prior (default).

    A small image learns little, and the prior by evidence (smooth, or like procedural scenes) stays.
    """
    from calibration.inversion.spatial import restore

    if not case.noise_known:
        case = replace(case, noise_std=case.noise_std * noise_size(case), noise_known=True)
    allowed = allow(case, apart=True)
    case = allowed.case
    population = learn(allowed)
    data = population.components(case.projected)
    importance = (population.columns**2).sum(axis=0)
    z, deviation = restore(data, population.signal, importance, case.measured.reshape(case.shape))
    estimate = np.outer(population.mean, population.brightness) + population.columns @ z
    common = _common(case, population, allowed.factors)
    shared = population.mean_variance + (common**2).sum(axis=1)
    variance = population.rest[:, None] + np.outer(shared, population.brightness**2)
    variance += population.columns**2 @ deviation**2
    return case.spectra(
        estimate, np.sqrt(variance), common=common,
        parameters={
            "prior": population.prior, "rounds": population.rounds, "components": len(population.signal),
            "calibration_scale": allowed.scale,
        },
    )  # fmt: skip


def _common(case: Interferograms, population: Population, factors: Array) -> Array:
    """Root of the covariance of what a wrong calibration does to all pixels, ``(wavelength, k)``."""
    if not factors.size:
        return np.zeros((len(case.wavelength_nm), 0))
    gain = population.columns * (population.signal / (1 + population.signal)) @ population.analysis @ case.svd[0].T
    left, values, _ = np.linalg.svd(gain @ factors, full_matrices=False)
    return np.asarray(left[:, :COMMON] * values[:COMMON])
