"""Standard deviations that hold with nearly half of the samples wild."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Standard deviation of normal noise in units of the median of its magnitudes: 1 / Φ⁻¹(3/4).
SIGMA_PER_MEDIAN = 1.4826


def robust_sigma(deviations: NDArray[Any], axis: int | tuple[int, ...] | None = None) -> Any:
    """Standard deviation from deviations about their centre, along axes or of all.

    >>> float(robust_sigma(np.array([-1.0, 1.0, -1.0, 1.0, 99.0])))
    1.4826
    """
    return SIGMA_PER_MEDIAN * np.median(np.abs(deviations), axis=axis)
