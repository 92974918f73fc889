"""Spectral filters: estimates that weight the singular vectors of the whitened matrix, and rules for the weights.

An estimate is ``V diag(φ / s) Uᵀ y`` with filter factors φ, one set per strength. For each pixel a rule picks the
strength: generalized cross-validation (Golub, Heath and Wahba, Technometrics 21(2), 1979) the least of
``‖residual‖² / (n − Σφ)²``, Morozov's discrepancy the strongest whose residual is what the noise makes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibration.inversion.problem import Interferograms, Spectra

Array = NDArray[np.float64]
RULES = ("gcv", "discrepancy")
#: What is told of the error bars: a filter's bias depends on the spectrum, which no residual shows.
NOISE_ALONE = "of the noise alone, without the bias of what the filter hides"


def choose(case: Interferograms, factors: Array, rule: str) -> tuple[NDArray[np.intp], Array]:
    """Strength of each pixel, and its residual's sum of squares.

    Parameters
    ----------
    case : Interferograms
    factors : array, shape (strength, k)
        Filter factors φ of each strength, the weakest first.
    rule : str
        One of `RULES`.

    Returns
    -------
    strength : array of int, shape (pixel,)
    squares : array, shape (strength, pixel)
    """
    squares = (1 - factors) ** 2 @ case.projected**2 + case.beyond
    freedom = len(case.whitened) - factors.sum(axis=1)
    if rule == "gcv":
        return np.argmin(squares / np.maximum(freedom, 1e-9)[:, None] ** 2, axis=0), squares
    expected = float(len(case.whitened))
    if not case.noise_known:
        # what lies outside the range, or is left by the weakest strength, tells the noise
        expected = expected * squares[0] / max(freedom[0], 1.0)
    fits = squares <= expected
    strongest = len(factors) - 1 - np.argmax(fits[::-1], axis=0)
    return np.where(fits.any(axis=0), strongest, 0), squares


def filtered(case: Interferograms, factors: Array, rule: str, strengths: Array) -> Spectra:
    """Spectra by the strengths that a rule picks; error bars are of the noise alone, not of what the filter hides."""
    _, values, right = case.svd
    strength, squares = choose(case, factors, rule)
    weights = factors / values
    estimate = right @ (weights[strength].T * case.projected)
    freedom = np.maximum(len(case.whitened) - factors.sum(axis=1), 1.0)
    noise = (
        np.ones(len(strength)) if case.noise_known else squares[strength, np.arange(len(strength))] / freedom[strength]
    )
    variance = (right**2) @ (weights**2).T
    return case.spectra(
        estimate, np.sqrt(variance[:, strength] * noise),
        parameters={"rule": rule, "std": NOISE_ALONE, "strength_median": float(np.median(strengths[strength]))},
    )  # fmt: skip
