"""Cubes to and from xarray (extra ``xarray``), as labels by name: what `hsitools.cube.Cube` is made of."""

from __future__ import annotations

from typing import Any

import numpy as np

from hsitools.cube.sources import read_all
from hsitools.errors import InputError
from hsitools.io.labels import text
from hsitools.io.valid_range import is_unpacked, stated_range, unpacked_range
from hsitools.io.variable import Variable
from hsitools.io.variables import labelled_cube


def to_xarray(cube: Any, *, dask: bool = False) -> Any:
    """See `hsitools.cube.Cube.to_xarray`."""
    try:
        import xarray
    except ImportError:
        raise InputError("to_xarray: xarray: not installed, expected `pip install hsitools[xarray]`") from None
    coordinates: dict[str, Any] = {"good": ("band", cube.good)}
    for name, values in (("wavelength_nm", cube.wavelength_nm), ("fwhm_nm", cube.fwhm_nm)):
        if values is not None:
            coordinates[name] = ("band", values, {"units": "nm"})
    if cube.transform is not None and cube.transform[1] == cube.transform[3] == 0:
        a, _, c, _, e, f = cube.transform
        coordinates["y"], coordinates["x"] = (
            f + e * (np.arange(cube.shape[1]) + 0.5),
            c + a * (np.arange(cube.shape[2]) + 0.5),
        )
    attributes: dict[str, Any] = {"units": cube.units, "source": cube.source}
    if cube.nodata is not None:
        attributes["nodata"] = cube.nodata
    if cube.scale_factor is not None:
        attributes["scale_factor"] = cube.scale_factor
    reference: dict[str, Any] = {}
    if cube.crs is not None:
        reference["crs_wkt"] = reference["spatial_ref"] = cube.crs
    if cube.transform is not None:
        a, b, c, d, e, f = cube.transform
        reference["GeoTransform"] = " ".join(repr(float(value)) for value in (c, a, b, f, d, e))
    if reference:
        coordinates["spatial_ref"] = ((), 0, reference)
    return xarray.DataArray(
        cube.to_dask() if dask else cube.read(),
        dims=("band", "y", "x"),
        coords=coordinates,
        name=cube.name or None,
        attrs=attributes,
    )


def from_xarray(array: Any) -> dict[str, Any]:
    """Data and labels of the cube in an array, by the names of `hsitools.cube.Cube`'s attributes.

    Parameters
    ----------
    array : xarray.DataArray or xarray.Dataset
        Of a Dataset, the variable that is the cube is chosen as in a file (`hsitools.io.variables`).

    Raises
    ------
    InputError
        When no variable, or more than one, could be the cube, or its axes cannot be told.
    """
    if hasattr(array, "data_vars"):
        variables = [_variable(name, array[name]) for name in (*array.data_vars, *array.coords)]
        name = text(array.attrs.get("title", ""))
        labels = labelled_cube(variables, array.attrs, f"xarray: {name or 'Dataset'}")
        return labels | {"name": name, "source": text(array.attrs.get("source", "")), "meta": {}}
    if not array.ndim >= 3:
        raise InputError(f"xarray: dims: found {tuple(array.dims)}, expected (band, y, x)")
    own = _variable("cube", array)
    variables = [own, *(_variable(name, array.coords[name]) for name in array.coords)]
    try:
        labels = labelled_cube(variables, {}, f"xarray: {array.name or 'DataArray'}", variable="cube")
    except InputError as error:
        said = str(error).replace("choose with --axes", "name the dimensions band, y and x")
        raise InputError(f"{said} (xarray: dims: found {tuple(array.dims)})") from None
    if array.chunks is None:
        labels["data"] = read_all(labels["data"])
    return labels | {"name": str(array.name or ""), "source": text(array.attrs.get("source", "")), "meta": {}}


class _Lazy:
    """A variable of xarray that is computed (Dask) or read by windows."""

    def __init__(self, array: Any) -> None:
        self._array = array
        self.shape, self.dtype = tuple(array.shape), np.dtype(array.dtype)

    def __getitem__(self, index: Any) -> Any:
        return np.asarray(self._array[index].values)


def _unpack_range(attributes: dict[str, Any], array: Any) -> None:
    """State the valid range, which xarray leaves as the file has it, in the values that xarray has decoded."""
    scale, offset = (array.encoding.get(name) for name in ("scale_factor", "add_offset"))
    valid = stated_range(attributes, f"xarray: {array.name}")
    for name in ("valid_range", "valid_min", "valid_max"):
        attributes.pop(name, None)
    if valid is not None and np.size(scale) == np.size(offset) == 1:
        scale, offset = (1.0 if scale is None else float(scale)), (0.0 if offset is None else float(offset))
        integers = np.dtype(array.encoding.get("dtype", "f8")).kind in "ui"
        physical = integers and is_unpacked(array.attrs, scale, offset)
        attributes["valid_range"] = unpacked_range(valid, scale, offset, physical=physical)


def _variable(name: Any, array: Any) -> Any:
    attributes = dict(array.attrs)
    if "grid_mapping" in array.encoding:
        attributes.setdefault("grid_mapping", array.encoding["grid_mapping"])
    stated = {"_FillValue", "missing_value"} & set(array.encoding)
    if stated and array.dtype.kind == "f" and not stated & set(attributes):
        # xarray has decoded the values: what is missing is NaN now
        attributes["_FillValue"] = np.nan
    if {"scale_factor", "add_offset"} & set(array.encoding):
        _unpack_range(attributes, array)
    data: Any = array.values if array.chunks is None and array.ndim < 2 else _Lazy(array)
    if array.ndim == 1 and array.dtype.kind in "UO":
        try:
            data = np.array([float(value) for value in array.values])
        except (TypeError, ValueError):
            data = array.values
    return Variable(name=str(name), data=data, dims=tuple(str(dim) for dim in array.dims), attributes=attributes)
