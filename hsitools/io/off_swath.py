"""Pixels beyond the swath of products that give them digital number zero in every band, and declare no nodata."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.cube.sources import Bands, Source

#: Bands that are looked at where the first one at hand is zero: one of them may be dark there.
PROBES = 5


class OffSwath:
    """Scaled values with NaN where the product has no data: digital number zero in all of the probed bands.

    A single dark band may well be zero; a pixel off the swath is zero in every band.

    Parameters
    ----------
    scaled : Source
        Physical values, floating point.
    numbers : Source
        The digital numbers, of the same shape.
    among : array of int, optional
        Bands that are not zero everywhere; default all.
    """

    def __init__(self, scaled: Source, numbers: Source, among: NDArray[np.int64] | None = None) -> None:
        self.source, self.numbers = scaled, numbers
        self.shape, self.dtype = scaled.shape, scaled.dtype
        among = np.arange(self.shape[0]) if among is None else among
        self._probes = np.unique(among[np.linspace(0, len(among) - 1, PROBES).astype(np.int64)])

    def read(self, bands: Bands, rows: slice, columns: slice) -> NDArray[Any]:
        """See `hsitools.cube.sources.Source`."""
        out = self.source.read(bands, rows, columns)
        # what is not zero in the bands at hand needs no probe
        suspect = (self.numbers.read(bands[:1], rows, columns) == 0).all(axis=0)
        if suspect.any():
            suspect &= (self.numbers.read(self._probes, rows, columns) == 0).all(axis=0)
            out[:, suspect] = np.nan
        return out
