"""Cubes to and from xarray (extra ``xarray``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from hsitools.cube import Cube
from hsitools.errors import InputError
from hsitools.io.labels import to_nm


def to_xarray(cube: Cube) -> Any:
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
        cube.read(), dims=("band", "y", "x"), coords=coordinates, name=cube.name or None, attrs=attributes
    )


def from_xarray(array: Any) -> Cube:
    """See `hsitools.cube.Cube.from_xarray`.

    Raises
    ------
    InputError
        When there is no band dimension, or not three in all.
    """
    dims = list(array.dims)
    band = next((name for name in ("band", "bands", "wavelength", "wavelengths") if name in dims), None)
    if band is None or len(dims) != 3:
        raise InputError(f"xarray: dims: found {tuple(dims)}, expected (band, y, x)")
    y, x = (name for name in dims if name != band)
    if y in ("x", "lon", "longitude", "easting"):
        y, x = x, y
    array = array.transpose(band, y, x)
    labels: dict[str, Any] = {}
    for label, names in (
        ("wavelength_nm", ("wavelength_nm", "wavelength", "wavelengths")),
        ("fwhm_nm", ("fwhm_nm", "fwhm")),
    ):
        name = next((name for name in names if name in array.coords), None)
        if name is not None:
            unit = "nm" if name.endswith("_nm") else array.coords[name].attrs.get("units")
            labels[label] = to_nm(array.coords[name].values, unit, f"xarray: {name}")
    good = next((name for name in ("good", "good_wavelengths") if name in array.coords), None)
    if good is not None:
        labels["good"] = array.coords[good].values.astype(bool)
    reference = array.coords["spatial_ref"].attrs if "spatial_ref" in array.coords else {}
    transform = None
    if "GeoTransform" in reference:
        c, a, b, f, d, e = (float(value) for value in str(reference["GeoTransform"]).split())
        transform = (a, b, c, d, e, f)
    nodata = array.attrs.get("nodata", array.encoding.get("_FillValue"))
    scale = array.attrs.get("scale_factor")
    return Cube(
        data=array.values, nodata=None if nodata is None else float(nodata), units=str(array.attrs.get("units", "")),
        scale_factor=None if scale is None else float(scale), crs=reference.get("crs_wkt"), transform=transform,
        name=str(array.name or ""), source=str(array.attrs.get("source", "")), **labels,
    )  # fmt: skip
