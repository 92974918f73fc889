"""One array of a file, as all readers of files with named arrays hand it on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from hsitools.io.labels import attribute, numbers_in, text
from hsitools.io.names import BAND_DIMENSIONS, BANDS_CALLED, FWHM_NAMES, WAVELENGTH_NAMES
from hsitools.io.wavelengths import from_names

#: No instrument has more; labels are read whole, so that a file must not claim what it likes.
MAX_BANDS = 65_536


@dataclass(frozen=True, kw_only=True)
class Variable:
    """One array of a file.

    Attributes
    ----------
    name : str
        With the groups that it stands in, ``/`` between them.
    data : array-like
        Has ``shape`` and ``dtype`` and is read by slices.
    dims : tuple of str
        Names of its dimensions; empty strings where the file does not name them.
    attributes : mapping
    around : mapping
        Attributes of the groups that it stands in, not of the file, the innermost counting most.
    """

    name: str
    data: Any
    dims: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    around: Mapping[str, Any] = field(default_factory=dict)

    @property
    def base(self) -> str:
        """Name without its groups, lower case."""
        return self.name.rpartition("/")[2].lower()

    @property
    def group(self) -> str:
        """The groups that it stands in."""
        return self.name.rpartition("/")[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        return tuple(int(size) for size in self.data.shape)

    @property
    def numeric(self) -> bool:
        """Whether it holds real numbers."""
        return np.dtype(self.data.dtype).kind in "uifb" and all(self.shape)

    def values(self) -> Any:
        """All of it, as physical float64 (scale and offset applied, NaN where nothing is), flat: for short vectors."""
        stored = np.ravel(np.asarray(self._raw(), dtype=float))
        names = ("scale_factor", "add_offset", "_FillValue")
        scale, offset, nothing = (numbers_in(attribute(self.attributes, name)) for name in names)
        if nothing is not None and len(nothing) == 1:
            stored = np.where(stored == nothing[0], np.nan, stored)
        return stored * (1 if scale is None else scale[0]) + (0 if offset is None else offset[0])

    def words(self) -> list[str]:
        """All of it as text: for short lists of words."""
        return [text(word) for word in np.ravel(self._raw())]

    def _raw(self) -> Any:
        return self.data[()] if hasattr(self.data, "file") else self.data[...]


def squeezed(variable: Variable) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shape, and the axes kept, after axes of length one beyond three (a time, say) were set aside."""
    shape = variable.shape
    axes = list(range(len(shape)))
    for axis in range(len(shape)):
        if len(axes) > 3 and shape[axis] == 1:
            axes.remove(axis)
    return tuple(shape[axis] for axis in axes), tuple(axes)


class Squeezed:
    """An array without some of its axes of length one."""

    def __init__(self, data: Any, kept: tuple[int, ...]) -> None:
        self._data, self._kept = data, kept
        self.shape = tuple(int(data.shape[axis]) for axis in kept)
        self.dtype = np.dtype(data.dtype)
        chunks = getattr(data, "chunks", None)
        self.chunks = None if chunks is None else tuple(chunks[axis] for axis in kept)

    def __getitem__(self, index: tuple[slice, ...]) -> Any:
        full: list[Any] = [0] * len(self._data.shape)
        for axis, part in zip(self._kept, index, strict=True):
            full[axis] = part
        return np.asarray(self._data[tuple(full)])


class Unsigned:
    """Integers that a classic NetCDF file can only store as signed ones."""

    def __init__(self, data: Any) -> None:
        self._data, self.shape = data, tuple(data.shape)
        stored = np.dtype(data.dtype)
        self.dtype = np.dtype(f"{stored.byteorder}u{stored.itemsize}")
        self.chunks = getattr(data, "chunks", None)

    def __getitem__(self, index: Any) -> Any:
        return np.ascontiguousarray(self._data[index]).view(self.dtype)


def unsigned_attributes(attributes: Mapping[str, Any], dtype: np.dtype[Any]) -> dict[str, Any]:
    """Attributes whose values of no measurement and bounds, stored signed like the numbers, are unsigned too."""
    out = dict(attributes)
    for name in ("_FillValue", "missing_value"):
        numbers = numbers_in(out.get(name))
        if numbers is not None and np.isfinite(numbers).all():
            out[name] = numbers % 2.0 ** (8 * dtype.itemsize)
    for name in ("valid_range", "valid_min", "valid_max"):
        if name in out and np.asarray(out[name]).dtype.kind == "i":
            out[name] = np.asarray(out[name]).astype(dtype)
    return out


def numbers_of_text(item: Variable) -> Variable:
    """A list of words as numbers where it is one: wavelengths stored as text, or bands called "450 nm"."""
    if len(item.shape) != 1 or np.dtype(item.data.dtype).kind not in "SUOT" or not 0 < item.shape[0] <= MAX_BANDS:
        return item
    if item.base not in (*WAVELENGTH_NAMES, *FWHM_NAMES, *BAND_DIMENSIONS, *BANDS_CALLED):
        return item
    raw = item.data[()] if hasattr(item.data, "file") else item.data[...]
    if not all(isinstance(word, str | bytes | np.generic) for word in np.ravel(raw)):
        return item
    words = [text(word) for word in np.ravel(raw)]
    numbers = numbers_in(np.array(words))
    if numbers is not None and item.base not in BANDS_CALLED:
        return replace(item, data=numbers)
    named = from_names(words)
    if named is None or item.base in FWHM_NAMES:
        return item
    # numbers with their units: as the wavelengths that they are
    stem = item.name if item.base in (*WAVELENGTH_NAMES, *BAND_DIMENSIONS) else f"{item.group}/wavelength".lstrip("/")
    return replace(item, name=stem, data=named, attributes={**item.attributes, "units": "nm"})
