"""How much of estimated displacements is more than chance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
#: Deviations of a field's slope that are tried, fine pixels from the middle to the edge; higher orders are smaller.
SIZES = (0.05, 0.1, 0.2, 0.4, 0.8)
#: Gain in log evidence from which on a field is believed; a chance of e to the minus that, were there none.
EVIDENCE = 6.0


def believed(estimate: Array, covariance: Array, orders: Sequence[int]) -> Array:
    """Coefficients ``(2, term)`` of those orders as far as they are more than chance; zeros where they are not.

    Each term's own deviation beforehand falls with its order; all of them share one size, of `SIZES` that with the
    largest evidence, which must be `EVIDENCE` above that of no field.
    """
    relative = np.tile([1 / max(order, 1) ** 2 for order in orders], 2)
    flat = estimate.ravel()

    def evidence(size: float) -> float:
        total = covariance + np.diag(size**2 * relative)
        _, logarithm = np.linalg.slogdet(total)
        return float(-0.5 * (logarithm + flat @ np.linalg.solve(total, flat)))

    values = [evidence(size) for size in SIZES]
    best = int(np.argmax(values))
    if values[best] < evidence(0.0) + EVIDENCE:
        return np.zeros_like(estimate)
    prior = SIZES[best] ** 2 * relative
    kept = prior[:, None] * np.linalg.solve(covariance + np.diag(prior), flat[:, None])
    return kept[:, 0].reshape(estimate.shape)
