"""Our own file: HDF5 that is a valid NetCDF-4 file (``cube`` (band, y, x), ``wavelength_nm``, ``fwhm_nm``, ``good``).

Cubes in other HDF5 files are found by `hsitools.io.formats.hdf5`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from io import RawIOBase
from pathlib import Path
from typing import Any

import numpy as np

from hsitools.cube import Cube, Stored
from hsitools.io.atomic import atomic_path
from hsitools.io.conventions import DIMENSIONS, FORMAT, file_attributes, layout, meta_of
from hsitools.io.formats.hdf5 import named, open_hdf5, variables
from hsitools.io.labels import is_hdf5, text
from hsitools.io.packing import FILTERS, ChunkWriter
from hsitools.io.variable import Variable
from hsitools.io.variables import labelled_cube
from hsitools.progress import Progress

PRIORITY = 31  # HDF5 of our own layout
#: NetCDF-4 is HDF5: the file is the same whatever its suffix.
SUFFIXES = (".h5", ".nc", ".hdf5")
#: Chunk (rows, columns) of all bands of up to `CHUNK_BANDS`: half a megabyte of float32, so that a window is cheap to
#: read and a spectrum unpacks few chunks.
CHUNK, CHUNK_BANDS = (64, 64), 32
#: What the NetCDF-4 library looks for in a dimension that has no coordinates.
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
    # an array beside the cube, as simpler writers leave it, is an image without labels of its own
    fine = fine or [
        replace(item, name="pan/cube", data=item.data[...].reshape(1, *item.data.shape[-2:]), dims=())
        for item in coarse
        if item.name == "pan" and variable != "pan" and np.prod(item.data.shape) == np.prod(item.data.shape[-2:]) > 0
    ]
    if fine:
        inner = [replace(item, name=item.name[4:]) for item in fine]
        cube = cube.replace(pan=_cube(inner, {}, f"{where}: pan", None, None))
    cube = named(cube.replace(meta=meta_of(attributes, where)), attributes, path)
    return cube.replace(name=text(attributes.get("name", attributes.get("title", ""))))


def _cube(
    members: list[Variable], attributes: dict[str, Any], where: str, variable: str | None, axes: str | None
) -> Cube:
    """The cube of our layout: ``cube`` (band, y, x) unless its dimensions or wavelengths say otherwise."""
    if variable is None and any(item.name == "cube" and item.numeric for item in members):
        variable = "cube"
    # wavelengths all unknown (NaN) tell no axis; ours is (band, y, x), and of arrays beside it nothing is known
    default = (0, 1, 2) if variable in (None, "cube") else None
    return Cube(**labelled_cube(members, attributes, where, variable=variable, axes=axes, default_axes=default))


def write(cube: Cube, path: Path, progress: Progress) -> None:
    """Write as NetCDF-4 / HDF5, block by block, compressed without loss."""

    def fill(data: Any, stored: Stored) -> None:
        blocks = stored.blocks(data.dtype.itemsize, CHUNK, progress)
        with closing(blocks), ChunkWriter(data) as writer:
            for rows, columns, values in blocks:
                writer.write((0, rows.start, columns.start), values)

    write_with(cube, path, fill)


def write_with(cube: Cube, path: Path, fill: Callable[[Any, Stored], None]) -> None:
    """Write a file whose numbers another function puts into its data set, chunks of `chunks_of` packed by `FILTERS`."""
    with atomic_path(path) as temporary:
        write_there(cube, temporary, str(path), fill)


def write_there(cube: Cube, there: Path | RawIOBase, who: str, fill: Callable[[Any, Stored], None]) -> None:
    """The same of a file that stays as far as it came when something goes wrong; ``who`` names it in messages.

    It may be open already, as a file of Python through which HDF5 writes.
    """
    import h5py

    with h5py.File(there, "w", track_order=True) as file:
        file.attrs.update(file_attributes(cube))
        _write_group(file, cube, who, fill)
        if cube.pan is not None:
            _write_group(file.create_group("pan", track_order=True), cube.pan, f"{who}: pan", fill)


def chunks_of(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Bands, rows and columns that a file of ours packs together, of a cube of this shape."""
    return min(shape[0], CHUNK_BANDS), min(shape[1], CHUNK[0]), min(shape[2], CHUNK[1])


def _write_group(group: Any, cube: Cube, who: str, fill: Callable[[Any, Stored], None]) -> None:
    plan = layout(cube, who)
    data = group.create_dataset("cube", shape=cube.shape, dtype=plan.dtype, chunks=chunks_of(cube.shape), **FILTERS)
    for axis, (name, size) in enumerate(zip(DIMENSIONS, cube.shape, strict=True)):
        if name in plan.labels:
            scale = group.create_dataset(name, data=plan.labels[name].values)
            scale.make_scale(name)
        else:
            scale = group.create_dataset(name, shape=(size,), dtype=">f4")
            scale.make_scale(NO_VARIABLE % size)
        data.dims[axis].attach_scale(scale)
    for name, label in plan.labels.items():
        if name not in DIMENSIONS:
            vector = group.create_dataset(name, data=label.values)
            for axis, dim in enumerate(label.dims):
                vector.dims[axis].attach_scale(group[dim])
        group[name].attrs.update(label.attributes)
    data.attrs.update(plan.attributes)
    if plan.nodata is not None:
        data.attrs["_FillValue"] = np.asarray(plan.nodata, dtype=plan.dtype)
    fill(data, plan.stored)
