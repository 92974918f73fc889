"""NEON AOP surface reflectance (HDF5), after NEON's algorithm documents DP1.30006 and DP3.30006.

``SITE/Reflectance/Reflectance_Data`` (y, x, band) with ``Scale_Factor`` (a divisor) and ``Data_Ignore_Value``;
wavelengths, widths and the map under ``SITE/Reflectance/Metadata``; two windows of water vapour are bad bands.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hsitools.cube import Cube
from hsitools.cube.sources import ArraySource
from hsitools.errors import FormatError
from hsitools.io.formats.hdf5 import open_hdf5
from hsitools.io.labels import first_number, is_hdf5, text
from hsitools.io.projections import identified
from hsitools.io.scales import scaled
from hsitools.io.wavelengths import Conversion, width_to_nm

PRIORITY = 23  # HDF5 of its own layout: before the general formats


def can_read(path: Path) -> bool:
    """HDF5 with a site's reflectance."""
    if not is_hdf5(path):
        return False
    import h5py

    with h5py.File(path, "r") as file:
        return _site(file) is not None


def _site(file: Any) -> str | None:
    import h5py

    return next(
        (name for name in file if isinstance(file.get(f"{name}/Reflectance/Reflectance_Data"), h5py.Dataset)), None
    )


def read(path: Path) -> Cube:
    """Open the tile or flight line, lazily."""
    file = open_hdf5(path)
    site = _site(file)
    group = file[f"{site}/Reflectance"]
    data = group["Reflectance_Data"]
    own = {key: data.attrs[key] for key in data.attrs} | {key: group.attrs[key] for key in group.attrs}
    place = "Metadata/Spectral_Data/Wavelength"
    if place not in group or data.ndim != 3 or group[place].shape != (data.shape[2],):
        raise FormatError(f"{path}: {site}/Reflectance/{place}: missing, expected one value a band of (y, x, band)")
    stored = group[place][()]
    conversion = Conversion.of(stored, text(group[place].attrs.get("Units", "nm")), f"{path}: {place}")
    labels: dict[str, Any] = {}
    if conversion is not None:
        centre = labels["wavelength_nm"] = conversion.centres(stored)
        width = group.get("Metadata/Spectral_Data/FWHM")
        if width is not None and width.shape == stored.shape:
            labels["fwhm_nm"] = width_to_nm(
                width[()], text(width.attrs.get("Units", "")), conversion, stored, str(path)
            )
        good = np.ones(len(stored), dtype=bool)
        for key, window in own.items():
            if key.lower().startswith("band_window") or key.lower().startswith("bad_band_window"):
                low, high = np.ravel(window).astype(float)[:2]
                good &= ~((centre >= low) & (centre <= high))
        labels["good"] = good
    divisor = first_number(own.get("Scale_Factor", 1.0)) or 1.0
    source, scale, nodata = scaled(
        ArraySource(data, (2, 0, 1)), 1 / divisor, 0.0, first_number(own.get("Data_Ignore_Value", -9999.0)), str(path)
    )
    crs, transform = _map(group, path)
    return Cube(
        data=source, nodata=nodata, scale_factor=scale, units="1", crs=crs, transform=transform, name=path.stem,
        source=str(path), meta={"product": "NEON AOP reflectance", "site": str(site)}, **labels,
    )  # fmt: skip


def _map(group: Any, path: Path) -> tuple[str | None, Any]:
    system = group.get("Metadata/Coordinate_System")
    if system is None:
        return None, None
    crs = None
    for name in ("EPSG Code", "Coordinate_System_String"):
        if name in system:
            words = text(system[name][()]).strip()
            crs = f"EPSG:{words}" if words.isdigit() else identified(words, f"{path}: {name}")
            break
    if "Map_Info" not in system:
        return crs, None
    info = [part.strip() for part in text(system["Map_Info"][()]).split(",")]
    try:
        column, row, x, y, width, height = (float(part) for part in info[1:7])
    except ValueError:
        raise FormatError(f"{path}: Map_Info: found {','.join(info)[:60]!r}, expected numbers") from None
    return crs, (width, 0.0, x - (column - 1) * width, 0.0, -height, y + (row - 1) * height)
