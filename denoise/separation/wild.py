"""Wild voxels: far beyond all of their band and of nothing beside them, so that no mean or variance may meet them.

A bad element, an overflowing code or a cosmic ray is alone; what is as far and real (a lamp, a fire) is seen by bands
or pixels beside it as well.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.estimation.heights import heights

Array = NDArray[Any]
Mask = NDArray[np.bool_]
#: Robust deviations of its band beyond which a voxel is looked at: scenes of few bright things reach some twenty.
FAR = 30.0
#: Bands in a row, and side of the square of pixels, that a real thing covers: wild ones at one place in two hundred lie
#: so in one of 10⁷ voxels.
ROW, SQUARE = 3, 2
#: Share of its height that those must have.
SHARED = 1 / 8


def wild(values: Array, valid: Mask) -> Mask:
    """Voxels ``(band, y, x)`` that are far from their band's median, and alone in it and among bands.

    Parameters
    ----------
    values : array, shape (band, y, x)
        Of any size that float32 holds.
    valid : array of bool, shape (band, y, x)
        What was measured.
    """
    height = heights(values, valid)
    out = np.abs(height) > FAR
    if not out.any():
        return out
    sides = (np.maximum(side, 0) for side in (height, -height))
    return np.asarray(out & (SHARED * np.abs(height) > np.add(*(_beside(side) for side in sides))))


def _beside(height: Array) -> Array:
    """Height ``(band, y, x)`` that a row of bands or a square of pixels has in common there; of one side."""
    from scipy.ndimage import grey_opening

    row = min(ROW, len(height))
    bands = grey_opening(height, size=(row, 1, 1), mode="constant") if row > 1 else np.zeros_like(height)
    return np.maximum(bands, grey_opening(height, size=(1, SQUARE, SQUARE), mode="constant"))
