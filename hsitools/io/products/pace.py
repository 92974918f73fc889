"""PACE OCI L1B (NetCDF-4): blue, red and short-wave infrared detectors, after NASA's OCI data format description.

``observation_data/rhot_{blue,red,SWIR}`` (band, scan, pixel) is reflectance at the top of the atmosphere,
``sensor_band_parameters/{blue,red,SWIR}_wavelength`` in nm. (L2 files are read as any NetCDF-4.)
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from hsitools.cube import Cube
from hsitools.cube.sources import ArraySource
from hsitools.errors import FormatError
from hsitools.io.detectors import OVERLAP, Detector, Refilled, joined
from hsitools.io.formats.hdf5 import open_hdf5
from hsitools.io.labels import first_number, is_hdf5, text
from hsitools.io.valid_range import only_valid
from hsitools.io.wavelengths import to_nm

PRIORITY = 22  # HDF5 of its own layout: before the general formats
DETECTORS = ("blue", "red", "SWIR")


def can_read(path: Path) -> bool:
    """NetCDF-4 with OCI's observations."""
    if not is_hdf5(path):
        return False
    import h5py

    with h5py.File(path, "r") as file:
        return isinstance(file.get("observation_data/rhot_blue"), h5py.Dataset)


def read(path: Path) -> Cube:
    """Open the granule in sensor geometry, lazily."""
    file = open_hdf5(path)
    detectors: list[Detector] = []
    fills: list[float | None] = []
    for name in DETECTORS:
        data = file.get(f"observation_data/rhot_{name}")
        if data is None:
            continue
        vector = f"sensor_band_parameters/{name}_wavelength"
        if vector not in file:
            raise FormatError(f"{path}: {vector}: missing, expected {data.shape[0]} values in nm")
        unit = text(file[vector].attrs.get("units", "nm"))
        wavelength = to_nm(file[vector][()], unit, f"{path}: {vector}")
        if wavelength is None or len(wavelength) != data.shape[0]:
            raise FormatError(f"{path}: {vector}: expected {data.shape[0]} wavelengths, one a band of rhot_{name}")
        width = np.full(len(wavelength), np.nan)
        bandpass = f"sensor_band_parameters/{name}_bandpass"
        if bandpass in file and file[bandpass].shape == wavelength.shape:
            width = np.asarray(file[bandpass][()], dtype=float)
        stated = first_number(data.attrs.get("_FillValue", -32767.0))
        source, fill = only_valid(ArraySource(data), data.attrs, None, None, stated, f"{path}: {data.name[1:]}")
        fills.append(fill)
        detectors.append(Detector(name=name, source=source, wavelength_nm=wavelength, fwhm_nm=width))
    # one cube has one value of no measurement: detectors that have others take the first one's
    nodata = next((fill for fill in fills if fill is not None), None)
    for place, (detector, fill) in enumerate(zip(detectors, fills, strict=True)):
        if fill is not None and nodata is not None and fill != nodata:
            detectors[place] = replace(detector, source=Refilled(detector.source, fill, nodata))
    return Cube(
        **joined(detectors, str(path)), nodata=nodata, units="1", name=text(file.attrs.get("title", path.stem)),
        source=str(path),
        meta={"product": "PACE OCI L1B", "geometry": "sensor (swath)",
              "overlap": OVERLAP.format("the later detector's")},
    )  # fmt: skip
