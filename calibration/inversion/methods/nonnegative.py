"""Non-negative least squares."""

from __future__ import annotations

import numpy as np

from calibration.inversion.problem import Interferograms, Spectra
from calibration.inversion.registry import method

#: Sweeps over all wavelengths at most, and the change (of the largest value) at which they end.
SWEEPS, TOLERANCE = 200, 1e-4


@method("nonnegative", paper="Lawson and Hanson 1974; solved by coordinate descent", linear=False)
def nonnegative(case: Interferograms) -> Spectra:
    """Least squares under spectra that are nowhere negative, all pixels at once."""
    gram, right = case.whitened.T @ case.whitened, case.whitened.T @ case.pixels
    estimate = np.zeros_like(right)
    diagonal = np.diag(gram)
    for _ in range(SWEEPS):
        largest = 0.0
        for place in np.flatnonzero(diagonal > 0):
            step = (right[place] - gram[place] @ estimate) / diagonal[place]
            new = np.maximum(estimate[place] + step, 0)
            largest = max(largest, float(np.abs(new - estimate[place]).max(initial=0)))
            estimate[place] = new
        if largest <= TOLERANCE * estimate.max(initial=0):
            break
    return case.spectra(estimate, None)
