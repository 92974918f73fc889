"""EMIT L1B radiance and L2A reflectance (NetCDF-4): (downtrack, crosstrack, bands), wavelengths in a group."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hsitools.cube import Cube
from hsitools.errors import FormatError, InputError
from hsitools.io.labels import is_hdf5, text, to_nm
from hsitools.lazy import ArraySource

VARIABLES = ("reflectance", "radiance")
GROUP = "sensor_band_parameters"


def can_read(path: Path) -> bool:
    """NetCDF-4 with a band-parameter group and a reflectance or radiance variable."""
    if not is_hdf5(path):
        return False
    import h5py

    with h5py.File(path, "r") as file:
        return GROUP in file and any(name in file for name in VARIABLES)


def read(path: Path) -> Cube:
    """Open the product in sensor geometry, lazily; the orthorectification table is left in the file, and said."""
    import h5py

    file = h5py.File(path, "r")
    name = next(name for name in VARIABLES if name in file)
    data, group = file[name], file[GROUP]
    if data.ndim != 3 or data.dtype.kind not in "uif":
        raise InputError(
            f"{path}: {name}: found {data.dtype} of shape {data.shape}, expected (downtrack, crosstrack, bands)"
        )
    n_bands = data.shape[2]
    centre = _vector(group, "wavelengths", n_bands, path)
    if centre is None:
        raise FormatError(f"{path}: {GROUP}/wavelengths: missing, expected {n_bands} values")
    fwhm, good = _vector(group, "fwhm", n_bands, path), _vector(group, "good_wavelengths", n_bands, path)
    fill = data.attrs.get("_FillValue", -9999.0)
    meta: dict[str, Any] = {
        "product": "EMIT",
        "geometry": "sensor (swath); apply the file's location/glt_x, glt_y to map",
    }
    if "geotransform" in file.attrs:
        meta["glt_geotransform"] = [float(value) for value in np.ravel(file.attrs["geotransform"])]
    if "spatial_ref" in file.attrs:
        meta["glt_crs"] = text(file.attrs["spatial_ref"])
    units = text(data.attrs.get("units", ""))
    if name == "reflectance" and units in ("", "unitless"):
        units = "1"
    unit = text(group["wavelengths"].attrs.get("units", ""))
    wavelength = to_nm(centre, unit, f"{path}: {GROUP}/wavelengths")
    scale = 1.0 if wavelength is None else float(np.nanmedian(wavelength / centre))
    return Cube(
        data=ArraySource(data, (2, 0, 1)),
        wavelength_nm=wavelength,
        fwhm_nm=None if fwhm is None or wavelength is None else fwhm * scale,
        good=None if good is None else good != 0,  # type: ignore[arg-type]
        nodata=float(np.ravel(fill)[0]),
        units=units,
        name=text(file.attrs.get("title", path.stem)),
        source=str(path),
        meta=meta,
    )


def _vector(group: Any, name: str, n_bands: int, path: Path) -> Any:
    if name not in group:
        return None
    values = np.asarray(group[name][()], dtype=float)
    if values.shape != (n_bands,):
        raise InputError(f"{path}: {GROUP}/{name}: found shape {values.shape}, expected ({n_bands},), one a band")
    return values
