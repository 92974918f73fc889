"""Sparse in cosines or in steps: the primal-dual iteration of Loris and Verhoeven."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct

from calibration.inversion.problem import Interferograms, Spectra
from calibration.inversion.registry import method

Array = NDArray[np.float64]
#: Strengths tried, as shares of the one that leaves nothing; iterations at each, started from the one before.
STRENGTHS, ITERATIONS = np.logspace(-0.5, -4, 8), 120


def solve(case: Interferograms, analysis: Array, norm: float, constant: bool) -> Spectra:
    """Least ``½‖y − A x‖² + λ ‖D x‖₁``; λ of each pixel by generalized cross-validation.

    Parameters
    ----------
    case : Interferograms
    analysis : array, shape (coefficient, wavelength)
        D.
    norm : float
        Bound of its squared norm.
    constant : bool
        Whether D leaves a constant free (one degree of freedom more).

    Notes
    -----
    The degrees of freedom of an ℓ1 estimate are the coefficients that are not zero (Tibshirani and Taylor 2012).
    """
    _, values, right = case.svd
    # along a scaled grid of the same spectra: one step size fits all
    gram = (right * values**2) @ right.T
    target = right @ (values[:, None] * case.projected)
    step = 1.8 / values[0] ** 2
    dual_step = 0.95 / norm / step
    limit = np.abs(analysis @ target).max(axis=0)
    x, u = np.zeros_like(target), np.zeros((len(analysis), target.shape[1]))
    best, chosen = np.full(target.shape[1], np.inf), np.zeros_like(target)
    picked = np.zeros(target.shape[1])
    for strength in STRENGTHS:
        bound = strength * limit
        for _ in range(ITERATIONS):
            forward = x + step * (target - gram @ x)
            u = np.clip(u + dual_step * (analysis @ (forward - step * (analysis.T @ u))), -bound, bound)
            x = forward - step * (analysis.T @ u)
        residual = ((case.projected - values[:, None] * (right.T @ x)) ** 2).sum(axis=0) + case.beyond
        freedom = (np.abs(u) < bound * (1 - 1e-9)).sum(axis=0)
        used = len(analysis) - freedom + constant
        score = residual / np.maximum(len(case.whitened) - used, 0.5) ** 2
        better = score < best
        best[better], picked[better] = score[better], strength
        chosen[:, better] = x[:, better]
    return case.spectra(chosen, None, parameters={"rule": "gcv", "strength_median": float(np.median(picked))})


PAPER = "Loris and Verhoeven, Inverse Problems 27(12), 2011; of interferograms arXiv 2310.01898"


@method("loris-verhoeven-dct", paper=PAPER, linear=False)
def loris_verhoeven_dct(case: Interferograms) -> Spectra:
    """Few cosines over the band (ℓ1 of the discrete cosine transform), strength by cross-validation."""
    size = len(case.wavelength_nm)
    return solve(case, dct(np.eye(size), axis=0, norm="ortho"), 1.0, constant=False)


@method("loris-verhoeven-tv", paper=PAPER, linear=False)
def loris_verhoeven_tv(case: Interferograms) -> Spectra:
    """Few steps along the band (total variation), strength by cross-validation."""
    size = len(case.wavelength_nm)
    return solve(case, np.diff(np.eye(size), axis=0), 4.0, constant=True)
