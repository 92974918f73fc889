"""How fine a grid of wavelengths may be."""

from __future__ import annotations

import math

from hsitools.cube.memory import require_memory
from hsitools.errors import InputError

#: Covariances of each two wavelengths that are in memory together: those of the priors tried, and of their spectra.
MATRICES = 16


def require_grid_memory(count: float) -> None:
    """Refuse a grid of so many wavelengths that their covariances would not fit into memory.

    Raises
    ------
    InputError
        When more is needed than the machine has.
    """
    if not math.isfinite(count):
        raise InputError("grid: found a step too small for any grid, expected a larger one")
    require_memory(8 * MATRICES * int(count) ** 2, "grid", use=f"{count:.0f} wavelengths and covariances of each two",
                   advice="choose a larger step")  # fmt: skip
