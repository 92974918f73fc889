"""What the lines of a capture sample."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Share of the mean spacing below which two lines are one, measured twice.
SAME_LINE = 1e-3


def sampling_limit(wavenumber: NDArray[np.float64]) -> float:
    """Largest OPD (µm) that the lines sample, ``1 / (2·Δσ)``.

    Δσ is the mean spacing of the lines, or the median where that is smaller: where some lines of a regular series are
    missing the others still tell the fringes that the whole series would.
    """
    spacing = np.diff(np.sort(wavenumber))
    # a line measured twice tells no more
    spacing = spacing[spacing > SAME_LINE * spacing.mean()]
    return 0.5 / float(min(spacing.mean(), np.median(spacing)))
