"""What else in a file speaks of its cube: single values beside it, attributes of its groups, labels of its own name."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hsitools.io.names import (
    FWHM_NAMES,
    GOOD_NAMES,
    NODATA_NAMES,
    OFFSET_NAMES,
    SCALE_NAMES,
    WAVELENGTH_NAMES,
    WAVELENGTH_UNITS,
)
from hsitools.io.variable import Variable, squeezed
from hsitools.io.wavelengths import is_length

log = logging.getLogger(__name__)
#: Labels of bands that may bear the name of the array they belong to (``ms_wavelength_nm``, ``fwhm_vnir``).
KINDS = (WAVELENGTH_NAMES, FWHM_NAMES, GOOD_NAMES)
#: Wavelengths of the detector's columns (smile) that differ by less than this share are one band's.
SMILE = 0.05


def all_attributes(chosen: Variable, variables: Sequence[Variable], attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes of the file, of the groups that the cube stands in, and what variables of one value say, nearest last.

    Such variables say scale, offset, nodata and the wavelengths' unit: in the cube's group, one around it, or one
    inside it that holds no other cube.
    """
    names = (SCALE_NAMES[0], OFFSET_NAMES[0], *(name.lower() for name in NODATA_NAMES))
    others = {v.group for v in variables if v is not chosen and v.numeric and len(squeezed(v)[0]) == 3}
    out = {**attributes, **chosen.around}
    for item in sorted(variables, key=lambda v: len(v.group)):
        around = f"{chosen.group}/".startswith(f"{item.group}/") or item.group == ""
        inside = chosen.group == "" or f"{item.group}/".startswith(f"{chosen.group}/")
        if int(np.prod(item.shape)) != 1 or not (around or (inside and item.group not in others)):
            continue
        kind = np.dtype(item.data.dtype).kind
        if item.numeric and item.base in names:
            out[item.base] = float(item.values()[0])
        elif kind in "SUOT" and item.base in (*WAVELENGTH_UNITS, "units", "unit"):
            word = item.words()[0]
            # "units" alone may be those of the values: a length is none
            if item.base in WAVELENGTH_UNITS or is_length(word):
                out[WAVELENGTH_UNITS[0]] = word
    return out


def own_labels(
    chosen: Variable, vectors: Mapping[str, Variable], variables: Sequence[Variable], where: str
) -> dict[str, Variable]:
    """The vectors of a file as they concern one array: its own labels called as usual, others' of that kind left out.

    A file with several arrays calls their labels after them: ``ms_wavelength_nm`` beside ``ms``, ``wavelength_vnir``
    beside ``vnir_cube``. Labels that are as long as an axis of another array and none of this one's are the other's.
    """
    out = dict(vectors)
    others = [v for v in variables if v is not chosen and v.numeric and len(squeezed(v)[0]) == 3]
    for names in KINDS:
        own: dict[str, Variable] = {}
        for key, item in vectors.items():
            called = next((name for name in names if _is_of(item.base, name, chosen.base)), None)
            if called is not None and item.group == chosen.group:
                own[key] = replace(item, name=f"{item.group}/{called}".lstrip("/"))
        foreign = {
            key: next((v.name for v in others if max(item.shape) in v.shape), "")
            for key, item in out.items()
            if item.base in names and (own or (item.group == chosen.group and max(item.shape) not in chosen.shape))
        }
        out = {key: item for key, item in out.items() if not (key in foreign and (own or foreign[key]))} | own
        for key, other in foreign.items() if not own else ():
            if other:
                log.warning("%s: %s: belongs to %s, not to %s: left out", where, key, other, chosen.name)
    return out


def _is_of(called: str, label: str, array: str) -> bool:
    """Whether a name is a label's with words of an array's name before or behind it."""
    before, found, behind = f"_{called}_".partition(f"_{label}_")
    words = [word for word in (*before.split("_"), *behind.split("_")) if word]
    return bool(found and words) and set(words) <= set(array.split("_"))


def one_a_band(item: Variable, where: str) -> Variable:
    """Wavelengths or widths of every band and column (smile) as one a band, in the mean over columns, which is said.

    Of two axes that of the bands is the one along which the numbers differ more.
    """
    if len(item.shape) != 2 or min(item.shape) < 2 or item.base not in WAVELENGTH_NAMES or not item.numeric:
        return item
    table = item.values().reshape(item.shape)
    with np.errstate(invalid="ignore"):
        spread = [float(np.nanmedian(np.ptp(table, axis=axis))) for axis in (0, 1)]
        axis = int(np.argmax(spread))
        uneven = spread[1 - axis] / max(float(np.nanmedian(table)), 1e-300)
    if not np.isfinite(uneven) or uneven > SMILE:
        return item
    if spread[1 - axis] > 0:
        log.warning("%s: %s: found wavelengths of each column, which differ by up to %.3g: taken in the mean", where,
                    item.name, spread[1 - axis])  # fmt: skip
    attributes = {key: value for key, value in item.attributes.items() if key not in ("scale_factor", "add_offset")}
    return replace(item, data=np.nanmean(table, axis=1 - axis), dims=item.dims[axis : axis + 1], attributes=attributes)
