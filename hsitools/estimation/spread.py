"""Medians, and standard deviations that hold with nearly half of the samples wild."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Standard deviation of normal noise in units of the median of its magnitudes: 1 / Φ⁻¹(3/4).
SIGMA_PER_MEDIAN = 1.4826


def median(values: NDArray[Any], axis: int | tuple[int, ...] | None = None) -> Any:
    """The value of `numpy.median`, several times sooner: it selects two places at once, which no processor is made for.

    >>> float(median(np.array([4.0, 1.0, 3.0, 2.0])))
    2.5
    """
    values = np.asarray(values)
    axes = range(values.ndim) if axis is None else np.atleast_1d(axis)
    lines = np.moveaxis(values, tuple(axes), tuple(range(-len(axes), 0)))
    lines = lines.reshape(*lines.shape[: values.ndim - len(axes)], -1)
    count = lines.shape[-1]
    if not lines.size or not np.issubdtype(lines.dtype, np.floating):
        return np.median(values, axis=axis)
    ordered = np.partition(lines, count // 2, axis=-1)
    upper = ordered[..., count // 2]
    # values that are none are at the end
    upper = np.where(np.isnan(ordered[..., count // 2 :].max(-1)), ordered.dtype.type(np.nan), upper)
    out = upper if count % 2 else (ordered[..., : count // 2].max(-1) + upper) / 2
    return out[()]


def robust_sigma(deviations: NDArray[Any], axis: int | tuple[int, ...] | None = None) -> Any:
    """Standard deviation from deviations about their centre, along axes or of all.

    >>> float(robust_sigma(np.array([-1.0, 1.0, -1.0, 1.0, 99.0])))
    1.4826
    """
    return SIGMA_PER_MEDIAN * median(np.abs(deviations), axis=axis)
