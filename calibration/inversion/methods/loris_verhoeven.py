"""Sparse in cosines or in steps: the primal-dual iteration of Loris and Verhoeven."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct

from calibration.inversion.problem import Interferograms, Spectra
from calibration.inversion.registry import method

Array = NDArray[np.float64]
Linear = Callable[[Array], Array]
#: Strengths tried, as shares of the one that leaves nothing; iterations at each at most, started from the one before.
STRENGTHS, ITERATIONS = np.logspace(-0.5, -4, 8), 120
#: Iterations end where none of a pixel's values changes by more than this share of its largest; looked at every few.
TOLERANCE, LOOK = 1e-3, 10
#: Pixels at a time: arrays (wavelength, pixel) stay in the cache.
CHUNK = 512


def solve(case: Interferograms, analyse: Linear, adjoint: Linear, norm: float, constant: bool) -> Spectra:
    """Least ``½‖y − A x‖² + λ ‖D x‖₁``; λ of each pixel by generalized cross-validation.

    Parameters
    ----------
    case : Interferograms
    analyse, adjoint : callable
        D of spectra ``(wavelength, pixel)``, and its transpose.
    norm : float
        Bound of its squared norm.
    constant : bool
        Whether D leaves a constant free (one degree of freedom more).

    Notes
    -----
    The degrees of freedom of an ℓ1 estimate are the coefficients that are not zero (Tibshirani and Taylor 2012).
    """
    _, values, right = case.svd
    gram = (right * values**2) @ right.T
    parts = [
        _chunk(case, gram, slice(start, start + CHUNK), analyse, adjoint, norm, constant)
        for start in range(0, case.projected.shape[1], CHUNK)
    ]
    chosen, picked = (np.concatenate([part[side] for part in parts], axis=-1) for side in (0, 1))
    return case.spectra(chosen, None, parameters={"rule": "gcv", "strength_median": float(np.median(picked))})


def _chunk(
    case: Interferograms, gram: Array, pixels: slice, analyse: Linear, adjoint: Linear, norm: float, constant: bool
) -> tuple[Array, Array]:
    """Estimates ``(wavelength, pixel)`` and strengths ``(pixel,)`` of some pixels."""
    _, values, right = case.svd
    projected, beyond = case.projected[:, pixels], case.beyond[pixels]
    target = right @ (values[:, None] * projected)
    step = 1.8 / values[0] ** 2
    dual_step = 0.95 / norm / step
    limit = np.abs(analyse(target)).max(axis=0)
    x, u = np.zeros_like(target), np.zeros_like(analyse(target))
    best, chosen = np.full(target.shape[1], np.inf), np.zeros_like(target)
    picked = np.zeros(target.shape[1])
    for strength in STRENGTHS:
        bound = strength * limit
        for iteration in range(1, ITERATIONS + 1):
            forward = x + step * (target - gram @ x)
            u = np.clip(u + dual_step * (analyse(forward - step * adjoint(u))), -bound, bound)
            before, x = x, forward - step * adjoint(u)
            if iteration % LOOK == 0:
                change = np.abs(x - before).max(axis=0)
                if (LOOK * change <= TOLERANCE * np.abs(x).max(axis=0)).all():
                    break
        residual = ((projected - values[:, None] * (right.T @ x)) ** 2).sum(axis=0) + beyond
        freedom = (np.abs(u) < bound * (1 - 1e-9)).sum(axis=0)
        used = len(u) - freedom + constant
        score = residual / np.maximum(len(case.whitened) - used, 0.5) ** 2
        better = score < best
        best[better], picked[better] = score[better], strength
        chosen[:, better] = x[:, better]
    return chosen, picked


PAPER = "Loris and Verhoeven, Inverse Problems 27(12), 2011; of interferograms arXiv 2310.01898"


@method("loris-verhoeven-dct", paper=PAPER, linear=False)
def loris_verhoeven_dct(case: Interferograms) -> Spectra:
    """Few cosines over the band (ℓ1 of the discrete cosine transform), strength by cross-validation."""
    # a product is faster than a fast transform: few wavelengths, many pixels, any length
    basis = dct(np.eye(len(case.wavelength_nm)), axis=0, norm="ortho")
    return solve(case, basis.__matmul__, basis.T.__matmul__, norm=1.0, constant=False)


@method("loris-verhoeven-tv", paper=PAPER, linear=False)
def loris_verhoeven_tv(case: Interferograms) -> Spectra:
    """Few steps along the band (total variation), strength by cross-validation."""
    return solve(case, partial(np.diff, axis=0), _steps_back, norm=4.0, constant=True)


def _steps_back(steps: Array) -> Array:
    """Transpose of the differences along the first axis."""
    out = np.zeros((len(steps) + 1, *steps.shape[1:]))
    out[:-1] -= steps
    out[1:] += steps
    return out
