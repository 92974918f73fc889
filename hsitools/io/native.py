"""Our own file: HDF5 that is a valid NetCDF-4 file (``cube`` (band, y, x), ``wavelength_nm``, ``fwhm_nm``, ``good``).

Cubes in other HDF5 files are found by `hsitools.io.hdf5`.
"""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools import __version__
from hsitools.blocks import tiles
from hsitools.cube import BLOCK_BYTES, Cube, Stored, computed_tile
from hsitools.errors import FormatError
from hsitools.io import Progress
from hsitools.io.atomic import atomic_path
from hsitools.io.hdf5 import named, open_hdf5, variables
from hsitools.io.labels import is_hdf5, text, well_known_text
from hsitools.io.variables import Variable, read_variables

log = logging.getLogger(__name__)
FORMAT, VERSION = "hsitools-cube", 1
SUFFIXES = (".h5", ".nc", ".hdf5")
#: Chunks (rows, columns): windows stay cheap, and a spectrum touches few of them.
CHUNK = (64, 64)
NO_VARIABLE = "This is a netCDF dimension but not a netCDF variable.%10d"


def can_read(path: Path) -> bool:
    """A file that says it is ours, or one of the same layout: an array ``cube`` of three axes at its root."""
    if not is_hdf5(path):
        return False
    import h5py

    with h5py.File(path, "r") as file:
        declared = file.attrs.get("format")
        if declared is not None:
            return text(declared) == FORMAT
        hard = isinstance(file.get("cube", getlink=True), h5py.HardLink)
        return hard and isinstance(file["cube"], h5py.Dataset) and file["cube"].ndim == 3


def read(path: Path, *, variable: str | None = None, axes: str | None = None) -> Cube:
    """Open the cube, lazily."""
    file = open_hdf5(path)
    attributes = {key: file.attrs[key] for key in file.attrs}
    members = variables(file)
    fine = [item for item in members if item.name.startswith("pan/")]
    coarse = [item for item in members if not item.name.startswith("pan/")]
    where = str(path)
    cube = _cube(coarse, attributes, where, variable, axes)
    if fine:
        inner = [replace(item, name=item.name[4:]) for item in fine]
        cube = cube.replace(pan=_cube(inner, {}, f"{where}: pan", None, None))
    cube = named(cube.replace(meta=_json(attributes.get("meta"), where)), attributes, path)
    return cube.replace(name=text(attributes.get("name", attributes.get("title", ""))))


def _cube(
    members: list[Variable], attributes: dict[str, Any], where: str, variable: str | None, axes: str | None
) -> Cube:
    """The cube of our layout: ``cube`` (band, y, x) unless its dimensions or wavelengths say otherwise."""
    if variable is None and any(item.name == "cube" for item in members):
        variable = "cube"
    # wavelengths all unknown (NaN) tell no axis; ours is (band, y, x)
    return read_variables(members, attributes, where, variable=variable, axes=axes, default_axes=(0, 1, 2))


def _json(value: Any, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    try:
        found = json.loads(text(value))
    except ValueError:
        raise FormatError(f"{where}: meta: found {text(value)[:40]!r}, expected JSON") from None
    return found if isinstance(found, dict) else {}


def write(cube: Cube, path: Path, progress: Progress) -> None:
    """Write as NetCDF-4 / HDF5, block by block, compressed without loss."""
    import h5py

    with atomic_path(path) as temporary, h5py.File(temporary, "w", track_order=True) as file:
        file.attrs.update(
            Conventions="CF-1.8", format=FORMAT, version=VERSION, name=cube.name, title=cube.name,
            history=f"written by hsitools {__version__}", meta=json.dumps(cube.meta, default=str),
        )  # fmt: skip
        if cube.source:
            file.attrs["source"] = cube.source
        _write_group(file, cube, progress)
        if cube.pan is not None:
            _write_group(file.create_group("pan", track_order=True), cube.pan, progress)


def _write_group(group: Any, cube: Cube, progress: Progress) -> None:
    band, height, width = cube.shape
    stored = cube.stored()
    if len(set(zip(stored.scale, stored.offset, strict=True))) > 1:
        # CF knows one scale and offset for an array, and software that finds several would apply none
        log.warning("%s: scales differ from band to band: values are written as physical numbers", group.file.filename)
        values = cube.physical()
        stored = Stored(data=values.data, scale=np.ones(band), offset=np.zeros(band), nodata=values.nodata)
    dtype = stored.dtype if stored.dtype.kind != "b" else np.dtype(np.uint8)
    chunk = (min(band, 32), min(height, CHUNK[0]), min(width, CHUNK[1]))
    data = group.create_dataset(
        "cube", shape=cube.shape, dtype=dtype, chunks=chunk,
        compression="gzip", compression_opts=1, shuffle=True,
    )  # fmt: skip
    scaled = bool(stored.scale[0] != 1 or stored.offset[0])
    attributes: dict[str, Any] = {"units": (cube.units or "1") if scaled else cube.units}
    if stored.nodata is not None and _fits(stored.nodata, dtype):
        attributes["_FillValue"] = np.asarray(stored.nodata, dtype=dtype)
    elif stored.nodata is not None:
        log.warning("%s: nodata %g is no %s: left out", group.file.filename, stored.nodata, dtype)
    if scaled:
        attributes["scale_factor"] = float(stored.scale[0])
    if stored.offset[0]:
        attributes["add_offset"] = float(stored.offset[0])
    scales: dict[str, NDArray[Any]] = {"band": np.arange(band, dtype=np.int32)}
    if cube.transform is not None and cube.transform[1] == cube.transform[3] == 0:
        a, _, c, _, e, f = cube.transform
        scales["y"] = f + e * (np.arange(height) + 0.5)
        scales["x"] = c + a * (np.arange(width) + 0.5)
    for axis, (name, size) in enumerate(zip(("band", "y", "x"), cube.shape, strict=True)):
        if name in scales:
            scale = group.create_dataset(name, data=scales[name])
            scale.make_scale(name)
        else:
            scale = group.create_dataset(name, shape=(size,), dtype=">f4")
            scale.make_scale(NO_VARIABLE % size)
        data.dims[axis].attach_scale(scale)
    vectors = {"wavelength_nm": cube.wavelength_nm, "fwhm_nm": cube.fwhm_nm, "good": cube.good.astype(np.uint8)}
    standard = {"wavelength_nm": "radiation_wavelength"}
    present = []
    for name, values in vectors.items():
        if values is None:
            continue
        vector = group.create_dataset(name, data=values)
        vector.dims[0].attach_scale(group["band"])
        vector.attrs["units"] = "nm" if name.endswith("_nm") else "1"
        if name in standard:
            vector.attrs["standard_name"] = standard[name]
        present.append(name)
    attributes["coordinates"] = " ".join(present)
    if cube.crs is not None or cube.transform is not None:
        mapping = group.create_dataset("spatial_ref", data=np.int32(0))
        if cube.crs is not None:
            mapping.attrs["crs_wkt"] = mapping.attrs["spatial_ref"] = well_known_text(cube.crs)
            mapping.attrs["crs"] = cube.crs
        if cube.transform is not None:
            a, b, c, d, e, f = cube.transform
            mapping.attrs["GeoTransform"] = " ".join(repr(float(value)) for value in (c, a, b, f, d, e))
        attributes["grid_mapping"] = "spatial_ref"
        for name, standard_name in (("x", "projection_x_coordinate"), ("y", "projection_y_coordinate")):
            if name in scales:
                group[name].attrs["standard_name"] = standard_name
    data.attrs.update(attributes)
    parts = list(
        tiles((height, width), max(1, BLOCK_BYTES // (band * dtype.itemsize)), computed_tile(stored.data) or CHUNK)
    )
    for done, (rows, columns) in enumerate(parts, 1):
        data[:, rows, columns] = stored.read(rows, columns)
        progress(done, len(parts))


def _fits(value: float, dtype: np.dtype[Any]) -> bool:
    if dtype.kind == "f":
        return True
    info = np.iinfo(dtype if dtype.kind in "ui" else np.uint8)
    return bool(np.isfinite(value) and info.min <= value <= info.max)
