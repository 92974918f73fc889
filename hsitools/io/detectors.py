"""Cubes of several detectors: their bands as one cube of ascending wavelengths, the overlap marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.cube.sources import Bands, Source, StackedSource, ViewSource
from hsitools.errors import InputError

OVERLAP = "all bands kept; where the detectors overlap, {} bands are marked bad"


@dataclass(frozen=True, kw_only=True)
class Detector:
    """One detector's bands: values, wavelengths and widths (nm; NaN where none is stated), and which can be used."""

    name: str
    source: Source
    wavelength_nm: NDArray[np.float64]
    fwhm_nm: NDArray[np.float64]
    good: NDArray[np.bool_] | None = None


class Refilled:
    """A detector's numbers, with another value for no measurement than its file has."""

    def __init__(self, source: Source, fill: float, nodata: float) -> None:
        self.source, self.fill, self.nodata = source, fill, nodata
        self.shape, self.dtype = source.shape, np.dtype(source.dtype)

    def read(self, bands: Bands, rows: slice, columns: slice) -> NDArray[Any]:
        """See `hsitools.cube.sources.Source`."""
        values = self.source.read(bands, rows, columns)
        nothing = values == np.asarray(self.fill).astype(self.dtype)
        return np.where(nothing, np.asarray(self.nodata).astype(self.dtype), values) if nothing.any() else values


def joined(detectors: Sequence[Detector], where: str) -> dict[str, Any]:
    """One cube's ``data``, ``wavelength_nm``, ``fwhm_nm`` and ``good`` from its detectors, first to last in wavelength.

    A band of a later detector at or below the last good wavelength of an earlier one is marked bad, so that each
    wavelength is counted once.

    Raises
    ------
    InputError
        When their images differ in size.
    """
    first = detectors[0]
    for other in detectors[1:]:
        if other.source.shape[1:] != first.source.shape[1:]:
            raise InputError(
                f"{where}: {other.name}: found {other.source.shape[1:]}, expected {first.source.shape[1:]} as "
                f"{first.name} (y, x)"
            )
    wavelength = np.concatenate([detector.wavelength_nm for detector in detectors])
    fwhm = np.concatenate([detector.fwhm_nm for detector in detectors])
    good, reached = [], -np.inf
    for detector in detectors:
        usable = np.ones(len(detector.wavelength_nm), dtype=bool) if detector.good is None else detector.good
        good.append(usable & (detector.wavelength_nm > reached))
        reached = max(reached, float(np.max(detector.wavelength_nm[usable], initial=-np.inf)))
    order = np.argsort(wavelength, kind="stable")
    stacked = StackedSource([detector.source for detector in detectors])
    _, height, width = stacked.shape
    return {
        "data": ViewSource(stacked, order, slice(0, height), slice(0, width)), "wavelength_nm": wavelength[order],
        "fwhm_nm": fwhm[order], "good": np.concatenate(good)[order],
    }  # fmt: skip
