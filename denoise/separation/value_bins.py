"""Bins of a band's values, in which outliers are an excess."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

#: Bins from the smallest value to the largest.
BINS = 96


class ValueBins(NamedTuple):
    """Lower edge and width of `BINS` bins, and the levels that each holds of numbers of few digits; else zero."""

    low: float
    step: float
    levels: int


def value_bins(values: NDArray[Any]) -> ValueBins:
    """Bins of some values; of numbers of few digits each holds as many levels, or the histogram would be a comb."""
    low, high = float(values.min()), float(values.max())
    step = (high - low) / BINS
    many = 8 * BINS
    if len(np.unique(values[: 2 * many])) > many:
        return ValueBins(low, step, 0)
    levels = np.unique(values)
    if len(levels) > many or len(levels) < 2:
        return ValueBins(low, step, 0)
    quantum = float(np.median(np.diff(levels)))
    each = max(1, int(np.ceil((high - low + quantum) / quantum / BINS)))
    return ValueBins(low - quantum / 2, each * quantum, each)
