"""Wavelengths and widths as files state them, in nanometres.

One place for all readers: units by any of their names, wavenumbers and frequencies, indices that are no wavelengths,
zeros that mean "no band", and declared units that cannot be.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.cube.labels import PLAUSIBLE_NM
from hsitools.errors import FormatError

Array = NDArray[np.float64]
log = logging.getLogger(__name__)

#: Factor to nanometres by unit, lower case.
NANOMETRES = {
    "nm": 1.0, "nanometer": 1.0, "nanometers": 1.0, "nanometre": 1.0, "nanometres": 1.0,
    "nms": 1.0, "millimicron": 1.0, "millimicrons": 1.0, "nanometer/s": 1.0, "nanometers/s": 1.0,
    "um": 1e3, "µm": 1e3, "μm": 1e3, "µ": 1e3, "mum": 1e3, "micro": 1e3,
    "micron": 1e3, "microns": 1e3, "micrometer": 1e3, "micrometers": 1e3,
    "micrometre": 1e3, "micrometres": 1e3, "mm": 1e6, "millimeter": 1e6, "millimeters": 1e6, "millimetre": 1e6,
    "millimetres": 1e6, "cm": 1e7, "centimeters": 1e7, "centimetres": 1e7, "m": 1e9, "meter": 1e9, "meters": 1e9,
    "metre": 1e9, "metres": 1e9, "angstrom": 0.1, "angstroms": 0.1, "ångström": 0.1, "ångstrom": 0.1,
    "angstroem": 0.1, "å": 0.1, "a": 0.1,
}  # fmt: skip
#: What divided by a value gives nanometres, by unit of wavenumber or frequency, lower case.
RECIPROCAL = {
    "wavenumber": 1e7, "wavenumbers": 1e7, "cm-1": 1e7, "cm^-1": 1e7, "1/cm": 1e7, "cm**-1": 1e7, "cm^{-1}": 1e7,
    "cm⁻¹": 1e7, "cm−1": 1e7, "kayser": 1e7,
    "um-1": 1e3, "um^-1": 1e3, "1/um": 1e3, "µm-1": 1e3, "1/µm": 1e3, "m-1": 1e9, "1/m": 1e9,
    "µm⁻¹": 1e3, "um⁻¹": 1e3, "nm-1": 1.0, "nm^-1": 1.0, "1/nm": 1.0, "nm⁻¹": 1.0,
    "thz": 299792.458, "ghz": 299792458.0, "mhz": 299792458e3, "hz": 299792458e9,
    "terahertz": 299792.458, "gigahertz": 299792458.0, "megahertz": 299792458e3, "hertz": 299792458e9,
}  # fmt: skip
#: Names of units that say that the numbers are no wavelengths.
NO_WAVELENGTH = ("index", "band", "bands", "band number", "channel", "none", "dn", "1", "unitless", "dimensionless")
UNKNOWN = ("", "unknown", "n/a", "na", "undefined")
#: Units as UDUNITS writes powers of a metre.
_POWERS = {"1e-9 m": "nm", "10-9 m": "nm", "10^-9 m": "nm", "1e-6 m": "um", "10-6 m": "um", "10^-6 m": "um",
           "1e-10 m": "angstrom"}  # fmt: skip
#: Width of a band in its wavelength: imagers resolve less than 20 000.
FINEST_SHARE = 5e-5
#: The units that a file without a unit, or with an impossible one, may have meant.
READINGS = ((1.0, "nm"), (1e3, "µm"), (1e9, "m"))
_NUMBER = r"\d+(?:[.,]\d+)?(?:[eE][-+]?\d+)?"
#: A wavelength with its unit, or the two ends of a band.
_IN_NAME = re.compile(
    rf"(?:({_NUMBER})\s*(?:-|–|to)\s*)?({_NUMBER})\s*_?-?\s*"
    r"(nanomet(?:er|re)s?|micromet(?:er|re)s?|microns?|[aå]ngstr[oö]ms?|nm|um|µm|μm|å)(?![A-Za-z])",
    re.IGNORECASE,
)
#: A number behind a word that says that it is a wavelength, or what was measured there ("wl_450", "Rrs_443").
_BEHIND_WORD = re.compile(
    r"^(?:wl|wvl|wave|wavelength|lambda|nm|rrs|rho[stw]|refl|reflectance|radiance)[\s_:=-]*"
    r"((?:[2-9]\d\d|1\d{3}|2[0-6]\d\d)(?:\.\d+)?)$", re.IGNORECASE,
)  # fmt: skip


def to_nm(values: Any, unit: str | None, where: str) -> Array | None:
    """Wavelengths in nm.

    Parameters
    ----------
    values : array-like, shape (band,)
        As stored. Zeros, negative and non-finite ones are bands of no wavelength and become NaN.
    unit : str or None
        As stored: a length, a wavenumber or a frequency by any usual name.
    where : str
        File and field, for messages.

    Returns
    -------
    array, shape (band,), or None
        None, said in the log, when the numbers are an index or the unit is of something else.

    Raises
    ------
    FormatError
        When the values are no numbers, or could be no optical wavelength in any unit.
    """
    conversion = Conversion.of(values, unit, where)
    return None if conversion is None else conversion.centres(values)


class Conversion:
    """How a file's spectral numbers turn into nm: a factor, or a reciprocal (wavenumbers, frequencies)."""

    def __init__(self, factor: float = 1.0, reciprocal: float = 0.0) -> None:
        self.factor, self.reciprocal = factor, reciprocal

    @classmethod
    def of(cls, values: Any, unit: str | None, where: str) -> Conversion | None:
        """What the unit, or failing that the numbers, say; see `to_nm`."""
        numbers = _numbers(values, where)
        usable = numbers[np.isfinite(numbers) & (numbers > 0)]
        name = _plain(unit)
        if name in NO_WAVELENGTH:
            log.warning("%s: unit %r is no length: wavelengths left out", where, unit)
            return None
        if name not in NANOMETRES and name not in RECIPROCAL and name not in UNKNOWN:
            log.warning("%s: unit %r is not known, expected a length: wavelengths left out", where, unit)
            return None
        if usable.size == 0:
            return cls(NANOMETRES.get(name, 1.0))
        if name in RECIPROCAL:
            return cls(reciprocal=RECIPROCAL[name])
        index = _is_index(numbers)
        if name in NANOMETRES:
            factor = NANOMETRES[name]
            if _plausible(usable * factor):
                return cls(factor)
            if index:
                log.warning("%s: found 1 to %g %s, an index of the bands: wavelengths left out", where, usable.max(),
                            unit)  # fmt: skip
                return None
            likely = next(((f, said) for f, said in READINGS if _plausible(usable * f)), None)
            if likely is None:
                raise FormatError(
                    f"{where}: found {usable.min():g} to {usable.max():g} {unit}, expected optical wavelengths "
                    "(100 nm to 100 µm)"
                )
            log.warning("%s: found %g to %g with unit %r, which no optical instrument sees: taken as %s", where,
                        usable.min(), usable.max(), unit, likely[1])  # fmt: skip
            return cls(likely[0])
        if index:
            log.warning("%s: found 1 to %g without a unit, an index of the bands: wavelengths left out", where,
                        usable.max())  # fmt: skip
            return None
        for factor, said in READINGS:
            if _plausible(usable * factor):
                log.info("%s: no unit given, taken as %s, the only optical reading", where, said)
                return cls(factor)
        raise FormatError(f"{where}: found {usable.min():g} to {usable.max():g} without a unit, expected nm or µm")

    def centres(self, values: Any) -> Array:
        """Wavelengths in nm; NaN where the stored number is none."""
        numbers = np.asarray(values, dtype=float)
        with np.errstate(divide="ignore", invalid="ignore"):
            out = self.reciprocal / numbers if self.reciprocal else numbers * self.factor
        return np.where(np.isfinite(numbers) & (numbers > 0), out, np.nan)

    def widths(self, widths: Any, centres: Any) -> Array:
        """Full widths in nm of bands at ``centres`` (both as stored); NaN where none is stated (zero or less)."""
        numbers = np.asarray(widths, dtype=float)
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.reciprocal:
                out = self.reciprocal * numbers / np.asarray(centres, dtype=float) ** 2
            else:
                out = numbers * self.factor
        return np.where(np.isfinite(numbers) & (numbers > 0) & np.isfinite(out), out, np.nan)


def width_to_nm(
    widths: Any, unit: str | None, conversion: Conversion | None, centres: Any, where: str
) -> Array | None:  # fmt: skip
    """Widths in nm: in their own unit where the file states one, else in that of the wavelengths.

    Where these are not known (None), a unit of length says all; None without one.
    """
    numbers = _numbers(widths, where)
    name = _plain(unit)
    if conversion is None:
        return Conversion(NANOMETRES[name]).widths(numbers, None) if name in NANOMETRES else None
    own = conversion
    if name in NANOMETRES:
        own = Conversion(NANOMETRES[name])
    elif name in RECIPROCAL:
        # a width in wavenumbers or frequencies, whatever the unit of its centre: Δλ = λ² Δν
        middle = conversion.centres(centres)
        out = numbers * middle**2 / RECIPROCAL[name]
        return np.where(np.isfinite(out) & (out > 0), out, np.nan)
    out = own.widths(numbers, centres)
    middle = conversion.centres(centres)
    usable = np.isfinite(out) & np.isfinite(middle)
    # a width beyond its own wavelength, or finer than any imager resolves, betrays a wrong unit
    if conversion.reciprocal or not usable.any() or _like_a_width(out, middle, usable):
        return out
    for factor, said in ((conversion.factor, "the wavelengths' unit"), (1.0, "nm"), (1e3, "µm")):
        other = Conversion(factor).widths(numbers, centres)
        if _like_a_width(other, middle, usable):
            log.warning("%s: found a median of %g nm (unit %s), no width of such bands: taken in %s", where,
                        np.median(out[usable]), unit or "not stated", said)  # fmt: skip
            return other
    return out


def _like_a_width(widths: Array, centres: Array, usable: NDArray[np.bool_]) -> bool:
    share = float(np.median(widths[usable] / centres[usable]))
    return FINEST_SHARE <= share <= 1


def is_length(unit: str) -> bool:
    """Whether a text is a unit of wavelengths and nothing else: of length (no single letter), wavenumber or frequency.

    Radiances are "W m-2 sr-1 um-1", which ends in one.
    """
    whole = unit.lower().strip(" [](){}.'\"")
    words = [word for word in re.split(r"[\s()\[\]]+", whole) if word]
    if whole in _POWERS or "".join(words) in NANOMETRES:
        return len(whole) > 1
    return bool(words) and all(len(word) > 1 and (word in NANOMETRES or word in RECIPROCAL) for word in words)


def from_names(names: Iterable[str | None]) -> Array | None:
    """Wavelengths in nm that stand in the bands' names: with a unit ("Band 1 (450.0 Nanometers)", "445-455 nm"), behind
    a word of theirs ("wl_450"), or as nothing but numbers that can only be wavelengths. None when they stand in none.
    """  # fmt: skip
    words = [(name or "").strip() for name in names]
    plain = _all_numbers([_BEHIND_WORD.sub(r"\1", word) for word in words])
    if plain is not None:
        return plain
    values = np.array([_in_name(word) for word in words])
    usable = values[np.isfinite(values)]
    return values if usable.size and _plausible(usable) else None


def without_wavelength(name: str) -> str | None:
    """A name with a star where it states a wavelength with its unit; None where it states none.

    Examples
    --------
    >>> without_wavelength("run2_0450nm"), without_wavelength("run2")
    ('run2_*', None)
    """
    match = _IN_NAME.search(name)
    return None if match is None else f"{name[: match.start()]}*{name[match.end() :]}"


def _in_name(name: str) -> float:
    """Wavelength in nm that a name states with its unit, the middle of a band of which it states the ends; else NaN."""
    match = _IN_NAME.search(name)
    if match is None:
        return float("nan")
    low, high = (float((number or match[2]).replace(",", ".")) for number in match.groups()[:2])
    factor = NANOMETRES[match[3].lower().replace("ö", "o").replace("ångstrom", "angstrom")]
    # another number before a hyphen is no end of a band that narrow
    return factor * ((low + high) / 2 if high / 1.5 < low < high else high)


def _all_numbers(names: list[str]) -> Array | None:
    try:
        values = np.array([float(name) for name in names])
    except ValueError:
        return None
    steps = np.diff(values)
    monotonic = len(steps) > 0 and bool(np.all(steps > 0) or np.all(steps < 0))
    if not monotonic or not np.isfinite(values).all() or values.min() <= 0 or _is_index(values):
        return None
    # numbers of bands may well be 101, 102, …: whole steps of one are no wavelengths
    if np.all(np.abs(steps) == 1):
        return None
    return next((values * factor for factor, _ in READINGS[:2] if _plausible(values * factor)), None)


def _plain(unit: str | None) -> str:
    """A unit's name as the tables have it: "Nanometers (nm)", "[um]", "1e-9 m" too."""
    whole = (unit or "").strip().lower()
    name = whole.strip("[](){}.'\"").strip()
    for part in (whole, name, *re.split(r"[\s()\[\]]+", name), name.replace(" ", "").replace("-", "")):
        if part in NANOMETRES or part in RECIPROCAL:
            return _POWERS.get(name, part)
    return _POWERS.get(name, name)


def _numbers(values: Any, where: str) -> Array:
    try:
        return np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise FormatError(f"{where}: found {str(values)[:60]!r}, expected numbers") from None


def _plausible(values: Array) -> bool:
    low, high = PLAUSIBLE_NM
    return bool(values.min() >= low and values.max() <= high)


def _is_index(numbers: Array) -> bool:
    """Whether the numbers count the bands, from 0 or 1."""
    first = numbers[0] if numbers.size else np.nan
    return bool(first in (0, 1) and np.array_equal(numbers, first + np.arange(len(numbers))))
