"""What turns stored numbers into physical values: scales, offsets, values of no measurement, units.

The one step of all readers: `decoded` for files whose attributes state it, `scaled` for numbers that a reader has found
itself, `physical` for products that are always read as physical values.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.cube.sources import Bands, ScaledSource, Source
from hsitools.errors import FormatError, InputError
from hsitools.io.labels import attribute, numbers_in, text
from hsitools.io.names import NODATA_NAMES, OFFSET_NAMES, SCALE_NAMES
from hsitools.io.valid_range import only_valid

log = logging.getLogger(__name__)
#: A scale above this that is no CF attribute is a divisor ("Scale_Factor" 10000).
DIVISOR = 1.0


def units_of(attributes: Mapping[str, Any]) -> str:
    """The values' units as an attribute states them, "1" for all words that mean none."""
    unit = text(attribute(attributes, "units", "unit") or "").strip()
    return "1" if unit.lower() in ("unitless", "dimensionless", "none", "reflectance", "1") else unit


def stated_nodata(*attributes: Mapping[str, Any]) -> tuple[float | None, list[float]]:
    """The value that stands for no measurement, by any of its usual names, the nearest mapping first; and all others.

    Returns
    -------
    nodata : float or None
        NaN where that is all that is stated.
    others : list of float
        Further values that mean the same (CF allows ``_FillValue`` and ``missing_value``, and several of the latter).
    """
    nothing = None
    for mapping in attributes:
        values: list[float] = []
        for name in NODATA_NAMES:
            numbers = numbers_in(attribute(mapping, name))
            for number in [] if numbers is None else numbers.tolist():
                if np.isfinite(number):
                    values += [number] if number not in values else []
                else:
                    # NaN stands for no measurement in any case: another name may say more
                    nothing = float("nan")
        if values:
            return values[0], values[1:]
    return nothing, []


class OneNodata:
    """Numbers in which all values of no measurement are one."""

    def __init__(self, source: Source, nodata: float, others: list[float]) -> None:
        self.source, self.nodata, self.others = source, nodata, others
        self.shape, self.dtype = source.shape, np.dtype(source.dtype)

    def read(self, bands: Bands, rows: slice, columns: slice) -> NDArray[Any]:
        """See `hsitools.cube.sources.Source`."""
        values = self.source.read(bands, rows, columns)
        missing = np.isin(values, np.asarray(self.others).astype(self.dtype))
        return np.where(missing, np.asarray(self.nodata).astype(self.dtype), values) if missing.any() else values


def decoded(
    source: Source, own: Mapping[str, Any], attributes: Mapping[str, Any], where: str
) -> tuple[Source, float | None, float | None]:
    """Scale, offset and nodata as attributes state them, for the whole or per band: source, scale factor, nodata.

    One factor for all bands stays beside the stored numbers; factors per band, or an offset, make a source that gives
    physical values (`Cube.stored` still tells the numbers).
    """
    nodata, others = stated_nodata(own, attributes)
    possible = [value for value in (nodata, *others) if value is not None and fits(value, np.dtype(source.dtype))]
    if others and possible:
        nodata, *others = possible
        source = OneNodata(source, nodata, others) if others else source
    scale = _stated(SCALE_NAMES, own, attributes, source.shape[0], where)
    offset = _stated(OFFSET_NAMES, own, attributes, source.shape[0], where)
    source, nodata = only_valid(source, own, scale, offset, nodata, where)
    return scaled(source, 1.0 if scale is None else scale, 0.0 if offset is None else offset, nodata, where)


def fits(value: float, dtype: np.dtype[Any]) -> bool:
    """Whether numbers of this type can hold a value exactly (of floating point ones: near enough)."""
    if dtype.kind not in "ui":
        return True
    info = np.iinfo(dtype)
    return bool(info.min <= value <= info.max and value == int(value))


def _stated(
    names: tuple[str, ...], own: Mapping[str, Any], attributes: Mapping[str, Any], count: int, where: str
) -> Any:
    """Numbers of an attribute by one of these names, one or one a band; of the file's only by the first name."""
    for name in names:
        for mapping in (own, attributes if name == names[0] else {}):
            value = attribute(mapping, name)
            if value is None:
                continue
            numbers = numbers_in(value)
            if numbers is None:
                raise FormatError(f"{where}: {name}: found {text(value)[:60]!r}, expected numbers")
            if numbers.size not in (1, count):
                raise InputError(f"{where}: {name}: found {numbers.size} values, expected 1 or {count}, one a band")
            if name == "scale_factor" and name not in mapping and np.all(numbers > DIVISOR):
                # CF multiplies; products that spell it in their own way (Scale_Factor 10000) divide
                log.warning("%s: scale factor: found %g, taken as a divisor", where, numbers[0])
                return 1 / numbers
            return numbers
    return None


def scaled(
    source: Source, scale: Any, offset: Any, nodata: float | None, where: str
) -> tuple[Source, float | None, float | None]:
    """See `decoded`; ``scale`` and ``offset`` are numbers, one or one a band."""
    scale, offset = _checked(scale, offset, where)
    if not offset.any() and np.all(scale == scale[0]):
        return source, None if scale[0] == 1 else float(scale[0]), nodata
    return ScaledSource(source, scale, offset, nodata), None, None if nodata is None else float("nan")


def physical(source: Source, scale: Any, offset: Any, nodata: float | None, where: str) -> Source:
    """Physical values ``offset + scale · number`` of a product, NaN for nodata, even where one factor serves all bands.

    Raises
    ------
    InputError
        When a scale or offset is not finite, or a scale is zero.
    """
    return ScaledSource(source, *_checked(scale, offset, where), nodata)


def with_reflectance_factor(gain: Any, factor: float | None, count: int, where: str) -> Any:
    """Gains of the bands beside a ``reflectance scale factor``, by which reflectance was multiplied: it divides.

    So ENVI defines it, for numbers of any type: float files of reflectance times 10000 are common. Gains that are
    stated and differ are taken, and said.
    """
    if factor is None or factor in (0, 1):
        return gain
    if gain is None or np.all(gain == 1):
        return np.full(count, 1 / factor)
    if not np.allclose(gain * factor, 1, rtol=1e-6):
        log.warning("%s: data gain values: found %g beside reflectance scale factor %g, which say different things: "
                    "the gains are taken", where, gain[0], factor)  # fmt: skip
    return gain


def _checked(scale: Any, offset: Any, where: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    scale, offset = np.ravel(np.asarray(scale, dtype=float)), np.ravel(np.asarray(offset, dtype=float))
    for name, values in (("scale", scale), ("offset", offset)):
        wrong = ~np.isfinite(values) | ((values == 0) & (name == "scale"))
        if wrong.any():
            raise InputError(f"{where}: {name}: found {values[wrong][0]:g}, expected finite numbers, and no scale of "
                             "zero")  # fmt: skip
    return scale, offset
