"""Destriping by the medians of columns."""

from __future__ import annotations

import numpy as np

from denoise.case import Observation, Restoration
from denoise.registry import method


@method("column-median", paper="common practice (as in ENVI's and SPy's destriping of pushbroom cubes)")
def column_median(seen: Observation) -> Restoration:
    """Column medians of each band, less their running median over 15 columns, are taken as offsets and removed."""
    from scipy.ndimage import median_filter

    with np.errstate(invalid="ignore"):
        medians = np.median(seen.values, axis=1)
    smooth = median_filter(medians, size=(1, 15), mode="nearest")
    return Restoration(estimate=seen.values - (medians - smooth)[:, None])
