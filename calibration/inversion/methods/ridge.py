"""Ridge regression (Tikhonov)."""

from __future__ import annotations

import numpy as np

from calibration.inversion.filters import filtered
from calibration.inversion.problem import Interferograms, Spectra
from calibration.inversion.registry import method

#: Strengths tried, as shares of the largest singular value squared: from rounding to all but nothing.
STRENGTHS = np.logspace(-8, 1, 91)


def solve(case: Interferograms, rule: str) -> Spectra:
    """Least ``‖y − A x‖² + λ ‖x‖²``, λ of each pixel by a rule of `calibration.inversion.filters`."""
    squared = case.svd[1] ** 2
    strengths = STRENGTHS * squared[0]
    return filtered(case, squared / (squared + strengths[:, None]), rule, STRENGTHS)


@method("ridge", paper="Tikhonov; GCV by Golub, Heath and Wahba, Technometrics 21(2), 1979", std=True)
def ridge(case: Interferograms) -> Spectra:
    """Ridge regression, strength of each pixel by generalized cross-validation; error bars without its bias."""
    return solve(case, "gcv")


@method("ridge-discrepancy", paper="Tikhonov; Morozov's discrepancy principle, 1966", std=True)
def ridge_discrepancy(case: Interferograms) -> Spectra:
    """Ridge regression, strength of each pixel by the discrepancy; error bars without its bias."""
    return solve(case, "discrepancy")
