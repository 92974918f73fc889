"""EMIT L1B radiance, L2A reflectance, its uncertainty and its mask (NetCDF-4), after JPL's product guides.

``(downtrack, crosstrack, bands)`` in sensor geometry, wavelengths in the group ``sensor_band_parameters``; the mask has
eight bands, named in ``mask_bands``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hsitools.cube import Cube
from hsitools.cube.sources import ArraySource
from hsitools.errors import FormatError, InputError
from hsitools.io.formats.hdf5 import open_hdf5
from hsitools.io.labels import is_hdf5, text
from hsitools.io.valid_range import only_valid
from hsitools.io.wavelengths import Conversion, width_to_nm

PRIORITY = 21  # HDF5 of its own layout: before the general formats
VARIABLES = ("reflectance", "radiance", "reflectance_uncertainty", "mask")
GROUP = "sensor_band_parameters"


def can_read(path: Path) -> bool:
    """NetCDF-4 with a band-parameter group and one of the variables at the root."""
    if not is_hdf5(path):
        return False
    import h5py

    with h5py.File(path, "r") as file:
        return isinstance(file.get(GROUP), h5py.Group) and any(name in file for name in VARIABLES)


def read(path: Path) -> Cube:
    """Open the product in sensor geometry, lazily; the orthorectification table is left in the file, and said."""
    file = open_hdf5(path)
    name = next(name for name in VARIABLES if name in file)
    data, group = file[name], file[GROUP]
    if data.ndim != 3 or data.dtype.kind not in "uif":
        raise InputError(
            f"{path}: {name}: found {data.dtype} of shape {data.shape}, expected (downtrack, crosstrack, bands)"
        )
    n_bands = data.shape[2]
    labels: dict[str, Any] = {}
    meta: dict[str, Any] = {
        "product": "EMIT",
        "geometry": "sensor (swath); apply the file's location/glt_x, glt_y to map",
    }
    if name == "mask":
        names = [text(value) for value in np.ravel(group["mask_bands"][()])] if "mask_bands" in group else []
        meta["bands"] = "; ".join(names)
    else:
        centre = _vector(group, "wavelengths", n_bands, path)
        if centre is None:
            raise FormatError(f"{path}: {GROUP}/wavelengths: missing, expected {n_bands} values")
        where = f"{path}: {GROUP}/wavelengths"
        conversion = Conversion.of(centre, text(group["wavelengths"].attrs.get("units", "")), where)
        fwhm, good = _vector(group, "fwhm", n_bands, path), _vector(group, "good_wavelengths", n_bands, path)
        if conversion is not None:
            labels["wavelength_nm"] = conversion.centres(centre)
            if fwhm is not None:
                unit = text(group["fwhm"].attrs.get("units", ""))
                labels["fwhm_nm"] = width_to_nm(fwhm, unit, conversion, centre, f"{path}: {GROUP}/fwhm")
        if good is not None:
            labels["good"] = good != 0
    if "geotransform" in file.attrs:
        meta["glt_geotransform"] = [float(value) for value in np.ravel(file.attrs["geotransform"])]
    if "spatial_ref" in file.attrs:
        meta["glt_crs"] = text(file.attrs["spatial_ref"])
    units = text(data.attrs.get("units", ""))
    if name.startswith("reflectance") and units in ("", "unitless"):
        units = "1"
    fill = float(np.ravel(data.attrs.get("_FillValue", -9999.0))[0])
    source, nodata = only_valid(ArraySource(data, (2, 0, 1)), data.attrs, None, None, fill, f"{path}: {name}")
    return Cube(
        data=source, nodata=nodata, units=units,
        name=text(file.attrs.get("title", path.stem)), source=str(path), meta=meta, **labels,
    )  # fmt: skip


def _vector(group: Any, name: str, n_bands: int, path: Path) -> Any:
    if name not in group:
        return None
    values = np.asarray(group[name][()], dtype=float)
    if values.shape != (n_bands,):
        raise InputError(f"{path}: {GROUP}/{name}: found shape {values.shape}, expected ({n_bands},), one a band")
    return values
