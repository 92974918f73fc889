"""Which of a file's arrays is the cube, which axis is which, and what its labels are.

HDF5, NetCDF (4 and classic), MATLAB and xarray name arrays, dimensions and attributes in their own ways; each reader
turns its file into `Variable` records, and the rules are here, once: names and attributes decide (CF conventions where
a file follows them), lengths only where they leave one reading, and what remains ambiguous is an error that lists the
choices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hsitools.cube.sources import ArraySource, Source
from hsitools.errors import FormatError, InputError
from hsitools.io.band_labels import band_labels, can_only_be_wavelengths, is_wavelength, own_list
from hsitools.io.beside import all_attributes, one_a_band, own_labels
from hsitools.io.grid import grid_of
from hsitools.io.labels import text
from hsitools.io.names import (
    BAND_DIMENSIONS,
    CF_AXES,
    CF_NAMES,
    CUBE_NAMES,
    OTHER_DIMENSIONS,
    OTHERS,
    UNSEEN,
    WAVELENGTH_NAMES,
    X_DIMENSIONS,
    Y_DIMENSIONS,
)
from hsitools.io.scales import decoded, units_of
from hsitools.io.valid_range import Seen
from hsitools.io.variable import MAX_BANDS, Squeezed, Unsigned, Variable, numbers_of_text, squeezed, unsigned_attributes
from hsitools.text import counted

_CHOOSE = "choose with --variable"


def labelled_cube(
    variables: Sequence[Variable], attributes: Mapping[str, Any], where: str, *, variable: str | None = None,
    axes: str | None = None, default_axes: tuple[int, int, int] | None = None, only: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Data (lazy) and labels of the cube among a file's variables, by the names of `hsitools.cube.Cube`'s attributes.

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
    variables = [numbers_of_text(item) for item in variables]
    chosen = choose(variables, where, variable, only=only)
    variables = [one_a_band(item, where) for item in variables]
    attributes = all_attributes(chosen, variables, attributes)
    shape, kept = squeezed(chosen)
    dims = tuple(chosen.dims[axis] for axis in kept) if chosen.dims else ("",) * 3
    vectors = {
        v.name: v for v in variables
        if v.shape and max(v.shape) == int(np.prod(v.shape)) and not v.attributes.get("placeholder")
    }  # fmt: skip
    vectors = own_labels(chosen, vectors, variables, where)
    maps: set[tuple[int, ...]] = {v.shape for v in variables if v.numeric and len(v.shape) == 2 and min(v.shape) > 1}
    order = _axes(chosen, shape, dims, vectors, maps, where, axes, attributes, default_axes)
    data = chosen.data if len(kept) == len(chosen.shape) else Squeezed(chosen.data, kept)
    if text(chosen.attributes.get("_Unsigned", "")).lower() == "true" and np.dtype(data.dtype).kind == "i":
        data = Unsigned(data)
        chosen = replace(chosen, attributes=unsigned_attributes(chosen.attributes, np.dtype(data.dtype)))
    source: Source = ArraySource(data, order)
    if source.shape[0] > MAX_BANDS:
        raise InputError(f"{where}: {chosen.name}: found {source.shape[0]} bands, expected at most {MAX_BANDS}")
    labels = band_labels(chosen, dims[order[0]], source.shape[0], vectors, attributes, where)
    source, scale, nodata = decoded(source, chosen.attributes, attributes, f"{where}: {chosen.name}")
    unseen = next((v.data for v in variables if v.base in UNSEEN and v.group == chosen.group and v.numeric
                   and v.shape == source.shape[1:]), None)  # fmt: skip
    if unseen is not None and (nodata is not None or np.dtype(source.dtype).kind == "f"):
        nodata = np.nan if nodata is None else nodata
        source = Seen(source, unseen, nodata)
    crs, transform = grid_of(chosen, (dims[order[1]], dims[order[2]]), variables, attributes, where)
    return {
        "data": source, "nodata": nodata, "scale_factor": scale, "units": units_of(chosen.attributes), "crs": crs,
        "transform": transform, "source": where, "meta": {"variable": chosen.name}, **labels,
    }  # fmt: skip


def likely_cubes(variables: Sequence[Variable]) -> list[Variable]:
    """Variables that have wavelengths or a band dimension; where there are none, those of a usual name."""
    variables = [numbers_of_text(item) for item in variables]
    candidates = _three_axes(variables)
    lengths = {max(v.shape) for v in variables if is_wavelength(v) and max(v.shape) > 1}
    return [v for v in candidates if _has_bands(v, lengths)] or [v for v in candidates if v.base in CUBE_NAMES]


def _three_axes(variables: Sequence[Variable]) -> list[Variable]:
    """Numbers on three axes (others of length one aside), none of them auxiliary; masks only where nothing else is."""
    fitting = [v for v in variables if v.numeric and len(squeezed(v)[0]) == 3 and v.base not in OTHERS]
    return [v for v in fitting if np.dtype(v.data.dtype).kind != "b"] or fitting


def choose(variables: Sequence[Variable], where: str, wanted: str | None, *, only: bool = False) -> Variable:
    """The variable that is the cube.

    One of the usual names that fits the file's wavelengths, or the only one that does.
    """
    three = [v for v in variables if v.numeric and len(squeezed(v)[0]) == 3]
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
    listed = [
        f"{v.name} {'×'.join(map(str, v.shape)) or 'scalar'}"
        + (f" ({np.dtype(v.data.dtype)})" if np.dtype(v.data.dtype).kind == "c" else "")
        for v in variables
    ]
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return (", ".join(listed[:most]) + more) or "no array"


def _listed(names: Any, most: int = 8) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _has_bands(variable: Variable, lengths: set[int]) -> bool:
    """Whether an array has a band dimension, as long as the file's wavelengths where it has some, or wavelengths."""
    shape, kept = squeezed(variable)
    if own_list(variable, WAVELENGTH_NAMES) is not None:
        return True
    if variable.dims:
        named = [size for size, axis in zip(shape, kept, strict=True) if _dimension(variable.dims[axis]) == "band"]
        if named:
            return not lengths or bool(lengths & set(named))
    return bool(lengths & set(shape))


def _dimension(name: str) -> str | None:
    """Which axis a dimension's name stands for: "band", "y" or "x"."""
    name = name.rpartition("/")[2].lower()
    for axis, names in (("band", BAND_DIMENSIONS), ("y", Y_DIMENSIONS), ("x", X_DIMENSIONS)):
        if name in names:
            return axis
    return None


def _axes(
    chosen: Variable, shape: tuple[int, ...], dims: tuple[str, ...], vectors: Mapping[str, Variable],
    maps: set[tuple[int, ...]], where: str, asked: str | None, attributes: Mapping[str, Any],
    default: tuple[int, int, int] | None,
) -> tuple[int, int, int]:  # fmt: skip
    """Axes of band, y and x: as asked, as declared, by dimensions' names and attributes, by wavelengths, by maps."""
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
            meaning[axis] = _by_convention(coordinate) or meaning[axis]
        if meaning[axis] is None and name:
            # what lies along a dimension tells of it, whatever it is called
            along = (_by_convention(v) or _dimension(v.base) for v in vectors.values() if v.dims == (name,))
            kinds = {kind for kind in along if kind}
            meaning[axis] = kinds.pop() if len(kinds) == 1 else None
    if len({m for m in meaning if m}) < sum(m is not None for m in meaning):
        raise InputError(f"{where}: {chosen.name}: dimensions: found {dims}, two of one kind; choose with --axes")
    if "band" not in meaning:
        other = {name.rpartition("/")[2].lower() for name in dims} & set(OTHER_DIMENSIONS)
        if other:
            raise InputError(f"{where}: {chosen.name}: dims: found {dims}, expected band, y and x; choose with --axes")
        free = [axis for axis in range(3) if meaning[axis] is None]
        taken = _taken_for_wavelengths(chosen, vectors, attributes)
        lengths = {max(v.shape) for v in taken}
        fitting = [axis for axis in free if shape[axis] in lengths]
        of_bands = {name for v in taken for name in v.dims if name}
        fitting = [axis for axis in fitting if dims[axis] in of_bands] or fitting
        if len(free) == 1:
            fitting = free
        if not lengths:
            # a map of the same pixels (classes, a mask) has no bands
            beside = [axis for axis in free if (*shape[:axis], *shape[axis + 1 :]) in maps]
            fitting = beside if len(beside) == 1 else fitting
        if default is not None and default[0] in (fitting if fitting or lengths else free):
            # the format's own convention settles what lengths leave open
            fitting = [default[0]]
        if len(fitting) != 1:
            many = " or ".join(str(axis) for axis in fitting)
            said = f"axis {many} could hold the bands" if fitting else "nothing tells which axis holds the bands"
            if lengths and not fitting:
                raise InputError(
                    f"{where}: {chosen.name}: found shape {shape}, expected one axis as long as the "
                    f"{counted(sorted(lengths)[0], 'wavelength')}"
                )
            raise InputError(f"{where}: {chosen.name}: found shape {shape}, {said}; choose with --axes, as y,x,band")
        meaning[fitting[0]] = "band"
    missing = [name for name in ("y", "x") if name not in meaning]
    for axis in range(3):
        if meaning[axis] is None:
            meaning[axis] = missing.pop(0)
    return meaning.index("band"), meaning.index("y"), meaning.index("x")


def _by_convention(coordinate: Variable) -> str | None:
    """Which axis a coordinate's attributes say that it is of, after CF."""
    standard = CF_NAMES.get(text(coordinate.attributes.get("standard_name", "")))
    return standard or CF_AXES.get(text(coordinate.attributes.get("axis", "")).upper())


def _taken_for_wavelengths(
    chosen: Variable, vectors: Mapping[str, Variable], attributes: Mapping[str, Any]
) -> list[Variable]:
    """Whatever `band_labels` would take for the wavelengths, if it were as long as the bands."""
    own = own_list(chosen, WAVELENGTH_NAMES)
    if own is not None:
        return [Variable(name="", data=own)]
    near = [v for v in vectors.values() if is_wavelength(v) and max(v.shape) > 1]
    if near:
        return [v for v in near if v.group == chosen.group] or near
    of_file = own_list(Variable(name="", data=np.zeros(1), attributes=attributes), WAVELENGTH_NAMES)
    if of_file is not None:
        return [Variable(name="", data=of_file)]
    return [v for v in vectors.values() if can_only_be_wavelengths(v)]
