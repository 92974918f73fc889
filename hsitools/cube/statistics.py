"""Statistics of each band, gathered block by block."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class BandStatistics:
    """Number, extremes, mean and deviation of the valid values of each band, over any number of blocks."""

    def __init__(self, n_bands: int) -> None:
        self.count = np.zeros(n_bands, dtype=np.int64)
        self.mean, self.squares = np.zeros(n_bands), np.zeros(n_bands)
        self.low, self.high = np.full(n_bands, np.inf), np.full(n_bands, -np.inf)

    def add(self, values: NDArray[Any], valid: NDArray[np.bool_]) -> None:
        """Add a block ``(band, y, x)``.

        Chan, Golub and LeVeque's update (1983) of mean and sum of squares: no cancellation however large the mean.
        """
        n_bands = len(self.count)
        flat, keep = values.reshape(n_bands, -1), valid.reshape(n_bands, -1)
        n = keep.sum(axis=1)
        self.low = np.minimum(self.low, np.where(keep, flat, np.inf).min(axis=1))
        self.high = np.maximum(self.high, np.where(keep, flat, -np.inf).max(axis=1))
        block = np.where(keep, flat, 0)
        block_mean = block.sum(axis=1, dtype=float) / np.maximum(n, 1)
        deviation = np.where(keep, block - block_mean[:, None], 0)
        total = self.count + n
        step = block_mean - self.mean
        self.squares += (deviation**2).sum(axis=1) + step**2 * self.count * n / np.maximum(total, 1)
        self.mean += step * n / np.maximum(total, 1)
        self.count = total

    def scaled(self, factor: float) -> dict[str, NDArray[Any]]:
        """``n_valid``, ``min``, ``max``, ``mean``, ``std`` (ddof 0) of ``factor`` times the values; NaN without any."""
        empty = self.count == 0
        low, high = (self.low, self.high) if factor > 0 else (self.high, self.low)
        std = abs(factor) * np.sqrt(self.squares / np.maximum(self.count, 1))
        values = {"min": factor * low, "max": factor * high, "mean": factor * self.mean, "std": std}
        return {"n_valid": self.count} | {name: np.where(empty, np.nan, value) for name, value in values.items()}
