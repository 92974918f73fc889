"""Truncated singular value decomposition."""

from __future__ import annotations

import numpy as np

from calibration.inversion.filters import filtered
from calibration.inversion.problem import Interferograms, Spectra
from calibration.inversion.registry import method


def solve(case: Interferograms, rule: str) -> Spectra:
    """The largest singular values only; how many, of each pixel, by a rule of `calibration.inversion.filters`."""
    k = len(case.svd[1])
    kept = np.arange(k, 0, -1)
    return filtered(case, (np.arange(k) < kept[:, None]).astype(float), rule, kept.astype(float))


@method("truncated-svd", paper="Hansen, BIT 27, 1987; GCV", std=True)
def truncated_svd(case: Interferograms) -> Spectra:
    """Truncated SVD, number of values of each pixel by generalized cross-validation."""
    return solve(case, "gcv")


@method("truncated-svd-discrepancy", paper="Hansen, BIT 27, 1987; discrepancy", std=True)
def truncated_svd_discrepancy(case: Interferograms) -> Spectra:
    """Truncated SVD, number of values of each pixel by the discrepancy."""
    return solve(case, "discrepancy")
