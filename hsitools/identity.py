"""Short names of sensors and scenes, the same on every machine: checkpoints, cards and benchmarks go by them.

Numbers that a machine computes (a preset's Planck curve, say) differ in their last bits from processor to processor
and from one version of a library to the next. They are named by seven significant digits or so, which is more than any
instrument is known to, and 10⁹ times coarser than rounding errors. What is only moved, as a file's values, is named by
its bytes; what is computed by pixels, as a procedural scene, by what was asked for.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.cube import Cube
from hsitools.cube.sources import as_source
from hsitools.cube.windows import tiles

#: Cells between a number's powers of two, as a power of two: cells are 5e-7 to 1e-6 of the number wide.
BITS = 21
#: Where the cells' edges lie. Irrational, so that no number that people write down, and no power of two, lies on one.
SHIFT = (5**0.5 - 1) / 2
#: Below this share of an array's largest number, a number is what rounding left of zero.
NOTHING = 2.0**-50
#: Values of a cube that are read at a time.
PIXELS = 2**24
#: Prose: where numbers come from. Correcting it makes no other sensor.
PROSE = ("source", "assumptions")


def fingerprint(record: Any) -> str:
    """Name of a sensor, or of anything made of dataclasses, tuples, mappings, arrays, numbers and text.

    A relative change of 1e-6 in any number gives another name; one of 1e-12, almost surely none. What is 1e-15 of the
    largest number in its array counts as zero. Fields at their default are left out, so that a field that a later
    version adds changes no name; so is prose.

    Returns
    -------
    str
        Twelve hexadecimal digits.

    Raises
    ------
    TypeError
        For anything else, which might be written differently elsewhere.
    """
    return hashlib.sha256(json.dumps(_plain(record), sort_keys=True).encode()).hexdigest()[:12]


def cube_fingerprint(cube: Cube) -> str:
    """Name of a cube's values, labels that tell what they mean, and panchromatic image; see `fingerprint`.

    Sources that compute their values say by ``declared`` what they compute; other values are taken as stored, bit by
    bit. The cube's own name, its file's, and its place on Earth do not matter.
    """
    labels = (cube.wavelength_nm, cube.fwhm_nm, cube.good, cube.nodata, cube.scale_factor, cube.units)
    values = getattr(cube.data, "declared", None) or _stored(cube)
    return fingerprint((values, labels, None if cube.pan is None else cube_fingerprint(cube.pan)))


def _stored(cube: Cube) -> str:
    source, digest = as_source(cube.data), hashlib.sha256()
    little = source.dtype.newbyteorder("<")
    digest.update(f"{little.str} {source.shape}".encode())
    bands = np.arange(source.shape[0])
    for rows, columns in tiles(source.shape[1:], max(PIXELS // len(bands), 1)):
        digest.update(np.ascontiguousarray(source.read(bands, rows, columns), dtype=little).data)
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    """What JSON knows, and writes alike everywhere."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool | int | float | np.generic | np.ndarray):
        codes = number_codes(value)
        if codes.ndim == 0:
            return int(codes)
        return [*codes.shape, hashlib.sha256(codes.astype("<i8").tobytes()).hexdigest()]
    if dataclasses.is_dataclass(value):
        facts = {
            field.name: fact
            for field in dataclasses.fields(value)
            if field.name not in PROSE and (fact := _plain(getattr(value, field.name))) != _default(field)
        }
        return {"type": type(value).__name__, **facts}
    if isinstance(value, Mapping):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(entry) for entry in value]
    raise TypeError(f"{type(value).__name__} has no name that is the same on every machine")


def _default(field: dataclasses.Field[Any]) -> Any:
    """A field's default; for one without, what no field's value is."""
    if field.default is not dataclasses.MISSING:
        return _plain(field.default)
    return _plain(field.default_factory()) if field.default_factory is not dataclasses.MISSING else ...


def number_codes(values: Any) -> NDArray[np.int64]:
    """The cell that each number lies in, as a whole number; an array of the same shape.

    Parameters
    ----------
    values : array or number
        Of any kind; infinities and NaN have codes of their own.

    Notes
    -----
    Whatever the cells, numbers near an edge change theirs at the least error: unavoidable, but of rounding errors
    (1e-16) only one number in 10⁹ is as near as that. Splitting a number into fraction and exponent, scaling by a power
    of two and one addition are exact, or rounded alike, wherever IEEE 754 holds.
    """
    number = np.array(values, dtype=np.float64)
    known = np.isfinite(number)
    size = np.where(known, np.abs(number), 0.0)
    size[size < NOTHING * np.max(size, initial=0.0)] = 0.0
    fraction, exponent = np.frexp(size)
    # rounding up to the next power of two gives that power's own code
    code = np.floor(fraction * 2.0**BITS + SHIFT).astype(np.int64) + exponent.astype(np.int64) * 2 ** (BITS - 1)
    # above all exponents' codes, and so that no number's is zero but zero's
    code = np.where(size == 0, 0, code + 2 ** (BITS + 11))
    code = np.where(known, code, np.where(np.isnan(number), 1, 2))
    return np.where(number < 0, -code, code)
