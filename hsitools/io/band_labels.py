"""Labels of a cube's bands among a file's arrays: wavelengths, widths, which bands are good."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hsitools.errors import InputError
from hsitools.io.labels import attribute, numbers_in, text
from hsitools.io.names import (
    BAD_NAMES,
    CF_NAMES,
    FWHM_NAMES,
    GOOD_NAMES,
    WAVELENGTH_NAMES,
    WAVELENGTH_UNITS,
    X_DIMENSIONS,
    Y_DIMENSIONS,
)
from hsitools.io.variable import MAX_BANDS, Variable
from hsitools.io.wavelengths import PLAUSIBLE_NM, Conversion, width_to_nm
from hsitools.text import counted

log = logging.getLogger(__name__)


def band_labels(
    chosen: Variable, dim: str, count: int, vectors: Mapping[str, Variable], attributes: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """``wavelength_nm``, ``fwhm_nm`` (where they are stated) and ``good`` of the ``count`` bands of a variable."""
    labels: dict[str, Any] = {}
    stated = _vector(WAVELENGTH_NAMES, chosen, dim, count, vectors, attributes, where)
    if stated is None:
        stated = _guessed_wavelengths(chosen, count, vectors, where)
    good = np.ones(count, dtype=bool)
    values, conversion = None, None
    if stated is not None:
        values, unit, name = stated
        conversion = Conversion.of(values, unit, f"{where}: {name}")
        if conversion is not None:
            labels["wavelength_nm"] = conversion.centres(values)
            # a wavelength of zero is how files say that a band is not there
            if np.isfinite(labels["wavelength_nm"]).any():
                good &= ~(np.asarray(values) == 0)
    if conversion is None:
        # a vector of another length may be of anything then
        vectors = {key: item for key, item in vectors.items() if max(item.shape) == count}
    width = _vector(FWHM_NAMES, chosen, dim, count, vectors, attributes, where)
    if width is not None:
        labels["fwhm_nm"] = width_to_nm(width[0], width[1], conversion, values, f"{where}: {width[2]}")
    for names, sense in ((GOOD_NAMES, True), (BAD_NAMES, False)):
        marks = _vector(names, chosen, dim, count, vectors, attributes, where)
        if marks is not None:
            good &= (marks[0] != 0) == sense
    return labels | {"good": good}


def is_wavelength(variable: Variable) -> bool:
    """Whether a vector holds wavelengths, by its name or, after CF, its standard name."""
    if not variable.shape or int(np.prod(variable.shape)) != max(variable.shape) or not variable.numeric:
        return False
    return (
        variable.base in WAVELENGTH_NAMES or CF_NAMES.get(text(variable.attributes.get("standard_name", ""))) == "band"
    )


def own_list(variable: Variable, names: Sequence[str]) -> Any:
    """Numbers that stand in an attribute of the variable; None when in none."""
    lower = {str(key).lower(): value for key, value in variable.attributes.items()}
    for name in names:
        if name not in lower:
            continue
        value = lower[name]
        numbers = numbers_in(value)
        if numbers is not None and (isinstance(value, str | bytes) or numbers.size > 1):
            return numbers
    return None


def _vector(
    names: Sequence[str], chosen: Variable, dim: str, count: int, vectors: Mapping[str, Variable],
    attributes: Mapping[str, Any], where: str,
) -> tuple[Any, str | None, str] | None:  # fmt: skip
    """The vector of one of these names that belongs to the bands: values, unit, name.

    The band dimension's own coordinate first, then the nearest by group, then attributes of the variable and the file.
    """
    own = own_list(chosen, names)
    if own is not None and len(own) == count:
        unit = attribute(chosen.attributes, *WAVELENGTH_UNITS)
        return own, None if unit is None else text(unit), f"{chosen.name} ({names[0]})"
    dim = dim.rpartition("/")[2].lower()

    def distance(item: Variable) -> tuple[int, int, int]:
        standard = CF_NAMES.get(text(item.attributes.get("standard_name", ""))) == "band"
        rank = names.index(item.base) if item.base in names else len(names)
        near = 0 if item.group == chosen.group else 1 if chosen.group.startswith(item.group) else 2
        return (0 if item.base == dim and dim else 1, near, rank - (len(names) + 1) * standard)

    named = [
        v for v in vectors.values()
        if v.numeric and (v.base in names or (names is WAVELENGTH_NAMES and is_wavelength(v)))
    ]  # fmt: skip
    right = [v for v in named if max(v.shape) == count]
    if right:
        item = min(right, key=distance)
        unit = "nm" if item.base.endswith("_nm") else attribute(item.attributes, "units", "unit")
        if unit is None and names is WAVELENGTH_NAMES:
            beside = (attribute(mapping, *WAVELENGTH_UNITS) for mapping in (chosen.attributes, attributes))
            unit = next((value for value in beside if value is not None), None)
        if unit is None and item.base.startswith("wavenumber"):
            unit = "cm-1"
        return item.values(), None if unit is None else text(unit), item.name
    whole = own_list(Variable(name="", data=np.zeros(1), attributes=attributes), names)
    if whole is not None and len(whole) == count:
        return whole, text(attribute(attributes, *WAVELENGTH_UNITS) or "") or None, names[0]
    if named and names is BAD_NAMES:
        # numbers of the bad bands, counted from 0 or from 1: the file does not say
        log.warning("%s: %s: found %d values, expected %d, one a band: left out", where, named[0].name,
                    max(named[0].shape), count)  # fmt: skip
        return None
    if named:
        item = min(named, key=distance)
        raise InputError(
            f"{where}: {item.name}: found {counted(max(item.shape), 'value')}, expected {count}, "
            f"one a band of {chosen.name}"
        )
    return None


def can_only_be_wavelengths(item: Variable) -> bool:
    """Whether a vector ascends or descends through optical numbers, and is by its name nothing else."""
    no_wavelengths = (*FWHM_NAMES, *GOOD_NAMES, *BAD_NAMES, *X_DIMENSIONS, *Y_DIMENSIONS)
    if not item.numeric or not 2 <= max(item.shape) <= MAX_BANDS or item.base in no_wavelengths:
        return False
    values = item.values()
    steps = np.diff(values)
    monotonic = bool(np.all(steps > 0) or np.all(steps < 0))
    optical = values.min() >= PLAUSIBLE_NM[0] and values.max() <= 2e4
    return monotonic and bool(optical or (values.min() >= 0.2 and values.max() <= 20 and np.any(values % 1)))


def _guessed_wavelengths(
    chosen: Variable, count: int, vectors: Mapping[str, Variable], where: str
) -> tuple[Any, str | None, str] | None:
    """A vector of any name as long as the bands whose numbers can only be wavelengths; said."""
    fitting = [item for item in vectors.values() if max(item.shape) == count and can_only_be_wavelengths(item)]
    if len(fitting) != 1:
        return None
    name = fitting[0].name
    log.warning("%s: %s: taken as wavelengths: as many as bands, ascending or descending, optical", where, name)
    return fitting[0].values(), text(fitting[0].attributes.get("units", "")) or None, name
