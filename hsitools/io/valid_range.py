"""Values outside the range that a file calls valid are no measurement (CF conventions, section 2.5.1)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.cube.sources import Bands, Source
from hsitools.io.labels import attribute, numbers_in, text

log = logging.getLogger(__name__)
Range = tuple[float, float]


class InRange:
    """Numbers of which those outside a range stand for no measurement."""

    def __init__(self, source: Source, valid: Range, nodata: float) -> None:
        self.source, self.valid, self.nodata = source, valid, nodata
        self.shape, self.dtype = source.shape, np.dtype(source.dtype)

    def read(self, bands: Bands, rows: slice, columns: slice) -> NDArray[Any]:
        """See `hsitools.cube.sources.Source`."""
        values = self.source.read(bands, rows, columns)
        low, high = self.valid
        outside = (values < low) | (values > high)
        return np.where(outside, np.asarray(self.nodata).astype(self.dtype), values) if outside.any() else values


class Seen:
    """Numbers with the value of no measurement where a map of the pixels says that nothing was seen."""

    def __init__(self, source: Source, unseen: Any, nodata: float) -> None:
        self.source, self.unseen, self.nodata = source, unseen, nodata
        self.shape, self.dtype = source.shape, np.dtype(source.dtype)

    def read(self, bands: Bands, rows: slice, columns: slice) -> NDArray[Any]:
        """See `hsitools.cube.sources.Source`."""
        values = self.source.read(bands, rows, columns)
        unseen = np.asarray(self.unseen[rows, columns]) != 0
        return np.where(unseen, np.asarray(self.nodata).astype(self.dtype), values) if unseen.any() else values


def only_valid(
    source: Source, own: Mapping[str, Any], scale: Any, offset: Any, nodata: float | None, where: str
) -> tuple[Source, float | None]:
    """A variable's numbers with those outside its ``valid_range`` (or min, max) set to the value of no measurement.

    Parameters
    ----------
    source : Source
        Numbers as stored, (band, y, x).
    own : mapping
        The variable's attributes.
    scale, offset : array or None
        As stated, one or one a band; None where none is.
    nodata : float or None
        The value of no measurement. Where none is stated, or none that such numbers can hold, integers get the
        lowest or highest number that their type has, which a range that leaves something out does not hold.

    Returns
    -------
    source, nodata
    """
    dtype = np.dtype(source.dtype)
    valid = stated_range(own, where)
    if valid is None or dtype.kind not in "uif":
        return source, nodata
    if dtype.kind in "ui" and is_unpacked(own, scale, offset):
        if np.size(scale) > 1 or np.size(offset) > 1:
            log.warning("%s: valid range: found physical values beside scales of each band: left out", where)
            return source, nodata
        valid = packed_range(valid, 1.0 if scale is None else float(np.ravel(scale)[0]),
                             0.0 if offset is None else float(np.ravel(offset)[0]))  # fmt: skip
    if dtype.kind == "f":
        return InRange(source, valid, np.nan if nodata is None else nodata), np.nan if nodata is None else nodata
    info = np.iinfo(dtype)
    if valid[0] <= info.min and valid[1] >= info.max:
        return source, nodata
    if nodata is None or not info.min <= nodata <= info.max:
        nodata = float(info.min if valid[0] > info.min else info.max)
    return InRange(source, valid, nodata), nodata


def stated_range(own: Mapping[str, Any], where: str) -> Range | None:
    """The range that a variable's attributes call valid, in their own units; None where they state none."""
    stated = attribute(own, "valid_range")
    if stated is not None:
        numbers = numbers_in(stated)
        if numbers is None or numbers.size != 2 or not numbers[0] <= numbers[1]:
            log.warning("%s: valid_range: found %s, expected two ascending numbers: left out", where, text(stated)[:40])
            return None
        return float(numbers[0]), float(numbers[1])
    low, high = (numbers_in(attribute(own, name)) for name in ("valid_min", "valid_max"))
    if low is None and high is None:
        return None
    valid = (-np.inf if low is None else float(low[0]), np.inf if high is None else float(high[0]))
    if not valid[0] <= valid[1]:
        log.warning("%s: valid_min: found %g, expected at most valid_max %g: both left out", where, *valid)
        return None
    return valid


def is_unpacked(own: Mapping[str, Any], scale: Any, offset: Any) -> bool:
    """Whether the range of packed integers is in physical units: where it is stated as floating-point numbers.

    CF asks for the type of the packed numbers; the NetCDF users' guide reads a range of the scale's own type as one of
    physical values, and files of both kinds exist.
    """
    stated = [np.asarray(attribute(own, name)) for name in ("valid_range", "valid_min", "valid_max")]
    return (scale is not None or offset is not None) and any(value.dtype.kind == "f" for value in stated)


def packed_range(valid: Range, scale: float, offset: float) -> Range:
    """Bounds of physical values as bounds of the integers they are packed in, half a step wider for rounding."""
    low, high = sorted((bound - offset) / scale for bound in valid)
    return low - 0.5, high + 0.5


def unpacked_range(valid: Range, scale: float, offset: float, *, physical: bool) -> Range:
    """Bounds of packed integers (or of physical values) as bounds of physical ones, half a step wider for rounding."""
    low, high = valid if physical else sorted(bound * scale + offset for bound in valid)
    return low - abs(scale) / 2, high + abs(scale) / 2
