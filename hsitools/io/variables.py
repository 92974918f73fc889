"""Which of a file's arrays is the cube, which axis is which, and what its labels are.

HDF5, NetCDF (4 and classic), MATLAB and xarray name arrays, dimensions and attributes in their own ways; each reader
turns its file into `Variable`s, and the rules are here, once: names and attributes decide (CF conventions where a file
follows them), lengths only where they leave one reading, and what remains ambiguous is an error that lists the choices.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from hsitools.cube import Cube
from hsitools.errors import FormatError, InputError
from hsitools.io.grid import grid_of
from hsitools.io.labels import attribute, numbers_in, text
from hsitools.io.names import (
    BAD_NAMES,
    BAND_DIMENSIONS,
    CF_AXES,
    CF_NAMES,
    CUBE_NAMES,
    FWHM_NAMES,
    GOOD_NAMES,
    OTHER_DIMENSIONS,
    OTHERS,
    WAVELENGTH_NAMES,
    WAVELENGTH_UNITS,
    X_DIMENSIONS,
    Y_DIMENSIONS,
)
from hsitools.io.scales import decoded, units_of
from hsitools.io.wavelengths import PLAUSIBLE_NM, Conversion, from_names, width_to_nm
from hsitools.lazy import ArraySource, Source

log = logging.getLogger(__name__)

#: No instrument has more; labels are read whole, so that a file must not claim what it likes.
MAX_BANDS = 65_536
_CHOOSE = "choose with --variable"


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
    """

    name: str
    data: Any
    dims: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)

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
        """All of it, as float64, flat: for short vectors."""
        return np.ravel(np.asarray(self.data[()] if hasattr(self.data, "file") else self.data[...], dtype=float))


def read_variables(
    variables: Sequence[Variable], attributes: Mapping[str, Any], where: str, *, variable: str | None = None,
    axes: str | None = None, default_axes: tuple[int, int, int] | None = None, only: bool = False,
) -> Cube:  # fmt: skip
    """The cube among a file's variables, with its labels, lazily.

    Parameters
    ----------
    variables : sequence of Variable
    attributes : mapping
        Of the file as a whole.
    where : str
        The file, for messages.
    variable : str, optional
        Name of the cube, with or without its groups, instead of the rules.
    axes : str, optional
        Order of the cube's axes, as ``"y,x,band"``, instead of the rules.
    default_axes : (int, int, int), optional
        Axes of band, y and x where neither names nor wavelengths tell: the convention of the format.
    only : bool
        Take the only array of three axes whatever its name, where files of the format are made to hold one.

    Raises
    ------
    FormatError
        When there is no cube.
    InputError
        When several variables could be the cube, or its axes cannot be told.
    """
    variables = [_numbers_of_text(item) for item in variables]
    chosen = choose(variables, where, variable, only=only)
    shape, kept = _squeezed(chosen)
    dims = tuple(chosen.dims[axis] for axis in kept) if chosen.dims else ("",) * 3
    vectors = {
        v.name: v for v in variables
        if v.shape and max(v.shape) == int(np.prod(v.shape)) and not v.attributes.get("placeholder")
    }  # fmt: skip
    order = _axes(chosen, shape, dims, vectors, where, axes, attributes, default_axes)
    data = chosen.data if len(kept) == len(chosen.shape) else _Squeezed(chosen.data, kept)
    if text(chosen.attributes.get("_Unsigned", "")).lower() == "true" and np.dtype(data.dtype).kind == "i":
        data = _Unsigned(data)
        chosen = replace(chosen, attributes=_unsigned(chosen.attributes, np.dtype(data.dtype)))
    source: Source = ArraySource(data, order)
    if source.shape[0] > MAX_BANDS:
        raise InputError(f"{where}: {chosen.name}: found {source.shape[0]} bands, expected at most {MAX_BANDS}")
    return _labelled(source, chosen, dims, order, vectors, attributes, variables, where)


def likely_cubes(variables: Sequence[Variable]) -> list[Variable]:
    """Variables that have wavelengths or a band dimension; where there are none, those of a usual name."""
    variables = [_numbers_of_text(item) for item in variables]
    candidates = _three_axes(variables)
    lengths = {max(v.shape) for v in variables if _is_wavelength(v) and max(v.shape) > 1}
    return [v for v in candidates if _has_bands(v, lengths)] or [v for v in candidates if v.base in CUBE_NAMES]


def _three_axes(variables: Sequence[Variable]) -> list[Variable]:
    """Numbers on three axes (others of length one aside), none of them auxiliary; masks only where nothing else is."""
    fitting = [v for v in variables if v.numeric and len(_squeezed(v)[0]) == 3 and v.base not in OTHERS]
    return [v for v in fitting if np.dtype(v.data.dtype).kind != "b"] or fitting


def choose(variables: Sequence[Variable], where: str, wanted: str | None, *, only: bool = False) -> Variable:
    """The variable that is the cube.

    One of the usual names that fits the file's wavelengths, or the only one that does.
    """
    three = [v for v in variables if v.numeric and len(_squeezed(v)[0]) == 3]
    if wanted is not None:
        named = [v for v in three if v.name.strip("/").lower() == wanted.strip("/").lower()]
        named = named or [v for v in three if v.base == wanted.lower()]
        if len(named) == 1:
            return named[0]
        choices = _listed(v.name for v in three) or "none: no array has three axes"
        raise InputError(f"{where}: --variable: found {wanted!r}, expected one of {choices}")
    candidates = _three_axes(variables)
    if not candidates:
        raise FormatError(f"{where}: cube: missing, expected numbers (band, y, x); found {contents(variables)}")
    pool = likely_cubes(variables)
    if not pool and only and len(candidates) == 1:
        pool = candidates
    if not pool:
        raise FormatError(
            f"{where}: cube: found {_listed(v.name for v in candidates)}, none with wavelengths, a band dimension or a "
            f"usual name; {_CHOOSE}"
        )
    ranked = sorted(pool, key=lambda v: CUBE_NAMES.index(v.base) if v.base in CUBE_NAMES else len(CUBE_NAMES))
    if len(ranked) > 1:
        first, second = ranked[:2]
        if first.base not in CUBE_NAMES or first.base == second.base:
            alike = [v.name for v in ranked if first.base not in CUBE_NAMES or v.base == first.base]
            raise InputError(f"{where}: cube: found {_listed(alike)}, any of which could be it; {_CHOOSE}")
    return ranked[0]


def contents(variables: Sequence[Variable], most: int = 8) -> str:
    """The arrays of a file in a few words."""
    listed = [f"{v.name} {'×'.join(map(str, v.shape)) or 'scalar'}" for v in variables]
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return (", ".join(listed[:most]) + more) or "no array"


def _listed(names: Any, most: int = 8) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _is_wavelength(variable: Variable) -> bool:
    if not variable.shape or int(np.prod(variable.shape)) != max(variable.shape) or not variable.numeric:
        return False
    return (
        variable.base in WAVELENGTH_NAMES or CF_NAMES.get(text(variable.attributes.get("standard_name", ""))) == "band"
    )


def _has_bands(variable: Variable, lengths: set[int]) -> bool:
    """Whether an array has a band dimension, as long as the file's wavelengths where it has some, or wavelengths."""
    shape, kept = _squeezed(variable)
    if _own_list(variable, WAVELENGTH_NAMES) is not None:
        return True
    if variable.dims:
        named = [size for size, axis in zip(shape, kept, strict=True) if _dimension(variable.dims[axis]) == "band"]
        if named:
            return not lengths or bool(lengths & set(named))
    return bool(lengths & set(shape))


def _squeezed(variable: Variable) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shape, and the axes kept, after axes of length one beyond three (a time, say) were set aside."""
    shape = variable.shape
    axes = list(range(len(shape)))
    for axis in range(len(shape)):
        if len(axes) > 3 and shape[axis] == 1:
            axes.remove(axis)
    return tuple(shape[axis] for axis in axes), tuple(axes)


class _Squeezed:
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


class _Unsigned:
    """Integers that a classic NetCDF file can only store as signed ones."""

    def __init__(self, data: Any) -> None:
        self._data, self.shape = data, tuple(data.shape)
        stored = np.dtype(data.dtype)
        self.dtype = np.dtype(f"{stored.byteorder}u{stored.itemsize}")
        self.chunks = getattr(data, "chunks", None)

    def __getitem__(self, index: Any) -> Any:
        return np.ascontiguousarray(self._data[index]).view(self.dtype)


def _unsigned(attributes: Mapping[str, Any], dtype: np.dtype[Any]) -> dict[str, Any]:
    """Attributes whose values of no measurement, stored signed like the numbers, are unsigned too."""
    out = dict(attributes)
    for name in ("_FillValue", "missing_value"):
        numbers = numbers_in(out.get(name))
        if numbers is not None and np.isfinite(numbers).all():
            out[name] = numbers % 2.0 ** (8 * dtype.itemsize)
    return out


def _numbers_of_text(item: Variable) -> Variable:
    """A list of words as numbers where it is one: wavelengths stored as text, or bands called "450 nm"."""
    if len(item.shape) != 1 or np.dtype(item.data.dtype).kind not in "SUOT" or not 0 < item.shape[0] <= MAX_BANDS:
        return item
    if item.base not in (*WAVELENGTH_NAMES, *FWHM_NAMES, *BAND_DIMENSIONS, "band_names", "band_name"):
        return item
    raw = item.data[()] if hasattr(item.data, "file") else item.data[...]
    if not all(isinstance(word, str | bytes | np.generic) for word in np.ravel(raw)):
        return item
    words = [text(word) for word in np.ravel(raw)]
    numbers = numbers_in(np.array(words))
    if numbers is not None and item.base not in ("band_names", "band_name"):
        return replace(item, data=numbers)
    named = from_names(words)
    if named is None or item.base in FWHM_NAMES:
        return item
    # numbers with their units: as the wavelengths that they are
    stem = item.name if item.base in (*WAVELENGTH_NAMES, *BAND_DIMENSIONS) else f"{item.group}/wavelength".lstrip("/")
    return replace(item, name=stem, data=named, attributes={**item.attributes, "units": "nm"})


def _dimension(name: str) -> str | None:
    """Which axis a dimension's name stands for: "band", "y" or "x"."""
    name = name.rpartition("/")[2].lower()
    for axis, names in (("band", BAND_DIMENSIONS), ("y", Y_DIMENSIONS), ("x", X_DIMENSIONS)):
        if name in names:
            return axis
    return None


def _axes(
    chosen: Variable, shape: tuple[int, ...], dims: tuple[str, ...], vectors: Mapping[str, Variable], where: str,
    asked: str | None, attributes: Mapping[str, Any], default: tuple[int, int, int] | None,
) -> tuple[int, int, int]:  # fmt: skip
    """Axes of band, y and x: as asked, as declared, by the dimensions' names and attributes, by the wavelengths."""
    if asked is not None:
        parts = [part.strip().lower() for part in asked.split(",")]
        if sorted(parts) != ["band", "x", "y"]:
            raise InputError(f"{where}: --axes: found {asked!r}, expected an order of band, y and x, as y,x,band")
        return parts.index("band"), parts.index("y"), parts.index("x")
    declared = [part.strip() for part in text(attributes.get("axes", "")).split(",")]
    if sorted(declared) == ["band", "x", "y"]:
        return declared.index("band"), declared.index("y"), declared.index("x")
    meaning = [_dimension(name) if name else None for name in dims]
    for axis, name in enumerate(dims):
        coordinate = next((v for v in vectors.values() if name and v.base == name.rpartition("/")[2].lower()), None)
        if coordinate is not None:
            standard = text(coordinate.attributes.get("standard_name", ""))
            cf = CF_AXES.get(text(coordinate.attributes.get("axis", "")).upper())
            meaning[axis] = CF_NAMES.get(standard) or cf or meaning[axis]
    if len({m for m in meaning if m}) < sum(m is not None for m in meaning):
        raise InputError(f"{where}: {chosen.name}: dimensions: found {dims}, two of one kind; choose with --axes")
    if "band" not in meaning:
        other = {name.rpartition("/")[2].lower() for name in dims} & set(OTHER_DIMENSIONS)
        if other:
            raise InputError(f"{where}: {chosen.name}: dims: found {dims}, expected band, y and x; choose with --axes")
        free = [axis for axis in range(3) if meaning[axis] is None]
        lengths = _band_lengths(chosen, vectors, dims)
        fitting = [axis for axis in free if shape[axis] in lengths]
        if len(free) == 1:
            fitting = free
        if default is not None and (not lengths or default[0] in fitting) and default[0] in free:
            # the format's own convention settles what lengths leave open
            fitting = [default[0]]
        if len(fitting) != 1:
            many = " or ".join(str(axis) for axis in fitting)
            said = f"axis {many} could hold the bands" if fitting else "no axis is as long as the wavelengths"
            if lengths and not fitting:
                raise InputError(
                    f"{where}: {chosen.name}: found shape {shape}, expected one axis as long as the "
                    f"{sorted(lengths)[0]} wavelengths"
                )
            raise InputError(f"{where}: {chosen.name}: found shape {shape}, {said}; choose with --axes, as y,x,band")
        meaning[fitting[0]] = "band"
    missing = [name for name in ("y", "x") if name not in meaning]
    for axis in range(3):
        if meaning[axis] is None:
            meaning[axis] = missing.pop(0)
    return meaning.index("band"), meaning.index("y"), meaning.index("x")


def _band_lengths(chosen: Variable, vectors: Mapping[str, Variable], dims: tuple[str, ...]) -> set[int]:
    own = _own_list(chosen, WAVELENGTH_NAMES)
    if own is not None:
        return {len(own)}
    near = [v for v in vectors.values() if _is_wavelength(v)]
    beside = [v for v in near if v.group == chosen.group]
    return {max(v.shape) for v in beside or near if max(v.shape) > 1}


def _own_list(variable: Variable, names: Sequence[str]) -> Any:
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
    own = _own_list(chosen, names)
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
        if v.numeric and (v.base in names or (names is WAVELENGTH_NAMES and _is_wavelength(v)))
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
    whole = _own_list(Variable(name="", data=np.zeros(1), attributes=attributes), names)
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
            f"{where}: {item.name}: found {max(item.shape)} values, expected {count}, one a band of {chosen.name}"
        )
    return None


def _labelled(
    source: Source, chosen: Variable, dims: tuple[str, ...], order: tuple[int, int, int],
    vectors: Mapping[str, Variable], attributes: Mapping[str, Any], variables: Sequence[Variable], where: str,
) -> Cube:  # fmt: skip
    count = source.shape[0]
    labels: dict[str, Any] = {}
    found = _vector(WAVELENGTH_NAMES, chosen, dims[order[0]], count, vectors, attributes, where)
    if found is None:
        found = _guessed_wavelengths(chosen, count, vectors, where)
    good = np.ones(count, dtype=bool)
    if found is not None:
        values, unit, name = found
        conversion = Conversion.of(values, unit, f"{where}: {name}")
        if conversion is not None:
            labels["wavelength_nm"] = conversion.centres(values)
            # a wavelength of zero is how files say that a band is not there
            if np.isfinite(labels["wavelength_nm"]).any():
                good &= ~(np.asarray(values) == 0)
            width = _vector(FWHM_NAMES, chosen, dims[order[0]], count, vectors, attributes, where)
            if width is not None:
                labels["fwhm_nm"] = width_to_nm(width[0], width[1], conversion, values, f"{where}: {width[2]}")
    for names, sense in ((GOOD_NAMES, True), (BAD_NAMES, False)):
        marks = _vector(names, chosen, dims[order[0]], count, vectors, attributes, where)
        if marks is not None:
            good &= (marks[0] != 0) == sense
    source, scale, nodata = decoded(source, chosen.attributes, attributes, f"{where}: {chosen.name}")
    crs, transform = grid_of(chosen, (dims[order[1]], dims[order[2]]), variables, attributes, where)
    return Cube(
        data=source, good=good, nodata=nodata, scale_factor=scale, units=units_of(chosen.attributes), crs=crs,
        transform=transform, source=where, meta={"variable": chosen.name}, **labels,
    )  # fmt: skip


def _guessed_wavelengths(
    chosen: Variable, count: int, vectors: Mapping[str, Variable], where: str
) -> tuple[Any, str | None, str] | None:
    """A vector of any name as long as the bands whose numbers can only be wavelengths; said."""
    taken = {*FWHM_NAMES, *GOOD_NAMES, *BAD_NAMES}
    fitting = []
    for item in vectors.values():
        if not item.numeric or max(item.shape) != count or count < 2 or item.base in taken:
            continue
        values = item.values()
        steps = np.diff(values)
        monotonic = bool(np.all(steps > 0) or np.all(steps < 0))
        unit = text(item.attributes.get("units", "")) or None
        optical = values.min() >= PLAUSIBLE_NM[0] and values.max() <= 2e4
        if monotonic and (optical or (values.min() >= 0.2 and values.max() <= 20 and np.any(values % 1))):
            fitting.append((values, unit, item.name))
    fitting = [item for item in fitting if item[2].rpartition("/")[2].lower() not in (*X_DIMENSIONS, *Y_DIMENSIONS)]
    if len(fitting) != 1:
        return None
    log.warning(
        "%s: %s: taken as wavelengths: as many as bands, ascending or descending, optical", where, fitting[0][2]
    )
    return fitting[0]
