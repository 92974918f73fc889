"""Zarr 3 (extra ``zarr``): a folder of chunks that many processes can write, in the layout of our HDF5 files.

Stores of xarray and others, Zarr 2 too, are read by the rules of `hsitools.io.variables`.
"""

from __future__ import annotations

import asyncio
import base64
import shutil
import struct
import warnings
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from hsitools.cube import Cube, Stored
from hsitools.errors import FormatError, InputError
from hsitools.io.atomic import remove, unfinished
from hsitools.io.conventions import DIMENSIONS, FORMAT, file_attributes, layout, meta_of
from hsitools.io.formats.hdf5 import named
from hsitools.io.labels import text
from hsitools.io.variable import Variable
from hsitools.io.variables import labelled_cube
from hsitools.progress import Progress

PRIORITY = 10  # a folder, which no product is that holds a store
SUFFIXES = (".zarr",)
#: Chunk (rows, columns) of all bands of up to `CHUNK_BANDS`: a window or a spectrum touches few files.
CHUNK, CHUNK_BANDS = (128, 128), 32


def can_read(path: Path) -> bool:
    """A folder with the metadata of a Zarr group, or of an array alone."""
    return path.is_dir() and any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zarray"))


def _module() -> Any:
    try:
        import zarr
    except ImportError:
        raise InputError("Zarr: zarr: not installed, expected `pip install hsitools[zarr]`") from None
    return zarr


def read(path: Path, *, variable: str | None = None, axes: str | None = None) -> Cube:
    """Open the cube, lazily."""
    zarr = _module()
    group = zarr.open(path, mode="r")
    attributes = dict(group.attrs)
    if hasattr(group, "shape"):
        members = [_variable("cube", group, group)]
    else:
        members = [_variable(name, item, group) for name, item in group.members(max_depth=8) if hasattr(item, "shape")]
    coarse = [item for item in members if not item.name.startswith("pan/")]
    own = text(attributes.get("format", "")) == FORMAT
    where = str(path)
    cube = Cube(**labelled_cube(
        coarse, attributes, where, variable="cube" if own and variable is None else variable, axes=axes,
        default_axes=(0, 1, 2) if own else None,
    ))  # fmt: skip
    if own and len(coarse) < len(members):
        fine = [
            Variable(name=item.name[4:], data=item.data, dims=item.dims, attributes=item.attributes)
            for item in members if item not in coarse
        ]  # fmt: skip
        cube = cube.replace(pan=Cube(**labelled_cube(fine, {}, f"{where}: pan", variable="cube")))
    cube = cube.replace(meta=meta_of(attributes, where)) if own else cube
    cube = named(cube, attributes, path)
    return cube.replace(name=text(attributes.get("name", ""))) if own else cube


def _variable(name: str, array: Any, root: Any) -> Variable:
    attributes = dict(array.attrs)
    groups = name.split("/")[:-1]
    around: dict[str, Any] = {}
    for depth in range(len(groups)):
        around |= dict(root["/".join(groups[: depth + 1])].attrs)
    dims = getattr(array.metadata, "dimension_names", None) or attributes.get("_ARRAY_DIMENSIONS")
    if array.ndim and dims is None:
        dims = ("",) * array.ndim
    older = getattr(array.metadata, "zarr_format", 3) == 2 and "_ARRAY_DIMENSIONS" in attributes
    if older and array.metadata.fill_value is not None:
        # xarray's way to store a value of no measurement in Zarr 2
        attributes.setdefault("_FillValue", array.metadata.fill_value)
    fill = attributes.get("_FillValue")
    if isinstance(fill, str) and array.dtype.kind == "f":
        # xarray's way to put any number into JSON
        try:
            attributes["_FillValue"] = struct.unpack("<d", base64.standard_b64decode(fill))[0]
        except (ValueError, struct.error):
            attributes.pop("_FillValue")
    return Variable(name=name, data=array, dims=tuple(dim or "" for dim in dims or ()), attributes=attributes,
                    around=around)  # fmt: skip


def check_place(path: Path) -> None:
    """Raise `InputError` when something else than a store lies where one is to be written."""
    if path.is_file() or (path.is_dir() and any(path.iterdir()) and not can_read(path)):
        raise InputError(f"{path}: output: found something that is no Zarr store, expected a new name")


def write(cube: Cube, path: Path, progress: Progress) -> None:
    """Write a store, block by block; the folder appears when it is whole."""
    zarr = _module()
    check_place(path)
    if not path.parent.is_dir():
        raise InputError(f"{path}: output: cannot write there (no such folder)")
    scratch = unfinished(path)
    try:
        try:
            scratch.mkdir()
        except OSError as error:
            raise InputError(f"{path}: output: cannot write there ({error.strerror or error})") from None
        store = scratch / path.name
        # zarr writes in threads of its own, which an interrupt would leave writing: what was begun is waited for
        with warnings.catch_warnings(), ThreadPoolExecutor(1) as apart:
            # metadata in one place is no part of Zarr 3 yet, and every reader knows it
            warnings.filterwarnings("ignore", message="Consolidated metadata")
            _fill(*apart.submit(created, cube, store, str(path)).result(), progress, apart)
            if cube.pan is not None:
                group = apart.submit(zarr.open_group(store, mode="r+").create_group, "pan").result()
                parts = apart.submit(_members, group, cube.pan, f"{path}: pan", CHUNK).result()
                _fill(*parts, progress, apart)
            apart.submit(finished, store, path).result()
    except OSError as error:
        raise FormatError(f"{path}: output: cannot be written; {error.strerror or error}") from None
    finally:
        _settle()
        shutil.rmtree(scratch, ignore_errors=True)


def _settle() -> None:
    """Wait for what Zarr has begun: of chunks written together the first that fails ends the call, the others go on."""
    from zarr.core.sync import sync

    async def others() -> None:
        waiting = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*waiting, return_exceptions=True)

    sync(others())


def created(cube: Cube, store: Path, who: str, chunk: tuple[int, int] = CHUNK) -> tuple[Any, Stored]:
    """A store with a cube's labels (those of its PAN aside), whose values are still to be written.

    Parameters
    ----------
    cube : Cube
    store : Path
        Must not exist.
    who : str
        For messages.
    chunk : (int, int)
        Rows and columns that lie in one file.

    Returns
    -------
    array : zarr.Array, shape (band, y, x)
    stored : Stored
        The numbers that are to fill it.
    """
    group = _module().create_group(store, attributes=file_attributes(cube))
    return _members(group, cube, who, chunk)


def finished(store: Path, path: Path) -> None:
    """A store whose values are all written takes the place of ``path``."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        _module().consolidate_metadata(store)
    remove(path)
    store.replace(path)


def _fill(data: Any, stored: Stored, progress: Progress, apart: Executor) -> None:
    with closing(stored.blocks(data.dtype.itemsize, CHUNK, progress)) as blocks:
        for rows, columns, values in blocks:
            apart.submit(data.__setitem__, (slice(None), rows, columns), values).result()


def _members(group: Any, cube: Cube, who: str, chunk: tuple[int, int]) -> tuple[Any, Stored]:
    from zarr.codecs import BloscCodec

    plan = layout(cube, who)
    band, height, width = cube.shape
    attributes = dict(plan.attributes)
    if plan.nodata is not None and np.isfinite(plan.nodata):
        # JSON holds integers as they are; xarray expects a float's _FillValue packed, and masks missing_value alike
        name = "_FillValue" if plan.dtype.kind in "ui" else "missing_value"
        attributes[name] = int(plan.nodata) if plan.dtype.kind in "ui" else float(plan.nodata)
    chunks = (min(band, CHUNK_BANDS), min(height, chunk[0]), min(width, chunk[1]))
    data = group.create_array(
        "cube", shape=cube.shape, dtype=plan.dtype.newbyteorder("="), chunks=chunks, dimension_names=DIMENSIONS,
        attributes=attributes, compressors=BloscCodec(cname="zstd", clevel=3, shuffle="shuffle"), fill_value=0,
    )  # fmt: skip
    for name, label in plan.labels.items():
        values = np.asarray(label.values)
        array = group.create_array(
            name, shape=values.shape, dtype=values.dtype, dimension_names=label.dims, attributes=label.attributes,
        )  # fmt: skip
        array[...] = values
    return data, plan.stored
