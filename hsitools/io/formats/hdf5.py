"""HDF5 and NetCDF-4 files: opened without leaving them, and any cube in them, wherever it stands.

A file may point out of itself: external links, raw data in other files, virtual datasets. A file from a stranger could
so read any file of the user's into an output; `open_hdf5` refuses such files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hsitools.cube import Cube
from hsitools.errors import FormatError
from hsitools.io.chunk_cache import opened
from hsitools.io.labels import is_hdf5, text
from hsitools.io.variable import Variable
from hsitools.io.variables import contents, labelled_cube, likely_cubes

PRIORITY = 40  # after all that are HDF5 of their own conventions
#: Members of a file that are looked at; no product comes near it.
MAX_MEMBERS = 5_000
#: Names at the root of files that hold frames of a bench, not a cube.
FRAMES = ("frames", "dark", "flat")
_PLACEHOLDER = "This is a netCDF dimension but not a netCDF variable"


def open_hdf5(path: str | Path) -> Any:
    """An open file, every member of which lies in it.

    Raises
    ------
    FormatError
        When it is a folder, a member points out of the file, or there are more than `MAX_MEMBERS`.
    """
    if Path(path).is_dir():
        raise FormatError(f"{path}: found a folder, expected an HDF5 file")
    file = opened(path)
    try:
        for _ in members(file):
            pass
    except BaseException:
        file.close()
        raise
    return file


def members(group: Any) -> Iterator[Any]:
    """All data sets below an open group, each once, checked to lie in the file."""
    import h5py

    path = group.file.filename
    addresses: set[Any] = set()
    waiting = [group]
    count = 0
    while waiting:
        parent = waiting.pop()
        for name in parent:
            count += 1
            if count > MAX_MEMBERS:
                raise FormatError(f"{path}: members: found more than {MAX_MEMBERS}, expected a cube")
            link = parent.get(name, getlink=True)
            where = f"{path}: {parent.name.rstrip('/')}/{name}"
            if isinstance(link, h5py.ExternalLink):
                raise FormatError(f"{where}: found a link to another file ({link.filename}), expected data in this one")
            if isinstance(link, h5py.SoftLink):
                continue
            item = parent[name]
            key = h5py.h5o.get_info(item.id).addr
            if key in addresses:
                continue
            addresses.add(key)
            if isinstance(item, h5py.Group):
                waiting.append(item)
            elif isinstance(item, h5py.Dataset):
                if item.external:
                    raise FormatError(
                        f"{where}: found its values in another file ({item.external[0][0]}), expected them in this one"
                    )
                if item.is_virtual and any(part.file_name not in (".", path) for part in item.virtual_sources()):
                    raise FormatError(f"{where}: found a virtual data set of other files, expected data in this one")
                yield item


class Attributes(Mapping[str, Any]):
    """Attributes of one HDF5 object or several, of which the last count most; read when they are first asked for."""

    def __init__(self, *items: Any) -> None:
        self._items = items
        self._values: dict[str, Any] | None = None

    def _read(self) -> dict[str, Any]:
        if self._values is None:
            self._values = {}
            for item, key in ((one, key) for one in self._items for key in one.attrs):
                if key not in ("DIMENSION_LIST", "REFERENCE_LIST", "CLASS", "_Netcdf4Dimid", "_Netcdf4Coordinates"):
                    try:
                        self._values[key] = item.attrs[key]
                    except OSError:
                        continue  # an attribute of a type that h5py does not know says nothing to us
        return self._values

    def __getitem__(self, key: str) -> Any:
        return self._read()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())


def variables(group: Any) -> list[Variable]:
    """All arrays below an open group, with the names of their dimensions."""
    out = []
    root = group.name.rstrip("/")
    for item in members(group):
        if item.dtype.kind not in "uifcbSOV":
            continue
        attributes: dict[str, Any] | Attributes = Attributes(item)
        scale = text(_raw(item, "CLASS")) == "DIMENSION_SCALE"
        if scale and text(attributes.get("NAME", "")).startswith(_PLACEHOLDER):
            attributes = {**attributes, "placeholder": True}
        dims = (item.name,) * item.ndim if scale else _dimensions(item)
        name = item.name[len(root) :].lstrip("/") if item.name.startswith(root) else item.name.lstrip("/")
        groups = item.name.split("/")[1:-1]
        around = Attributes(*(group.file["/".join(groups[: depth + 1])] for depth in range(len(groups))))
        out.append(Variable(name=name, data=item, dims=dims, attributes=attributes, around=around))
    return out


def _raw(item: Any, name: str) -> Any:
    """An attribute, or an empty string where it is missing or of a type that h5py does not know."""
    try:
        return item.attrs.get(name, "")
    except OSError:
        return ""


def _dimensions(item: Any) -> tuple[str, ...]:
    """Names of an array's dimensions: of the scales attached to them, or their labels; empty where it has none.

    Read from the attributes that hold them: HDF5's own functions trust their types, and damaged files end the process.
    """
    import h5py

    out = []
    lists, labels = _raw(item, "DIMENSION_LIST"), _raw(item, "DIMENSION_LABELS")
    for axis in range(item.ndim):
        name = ""
        if len(np.shape(lists)) == 1 and len(lists) == item.ndim:
            first = next(iter(np.ravel(lists[axis])), None)
            if isinstance(first, h5py.Reference) and first:
                try:
                    name = (h5py.h5r.get_name(first, item.file.id) or b"").decode(errors="replace")
                except (ValueError, OSError, RuntimeError):
                    name = ""
        if (
            not name
            and len(np.shape(labels)) == 1
            and len(labels) == item.ndim
            and isinstance(labels[axis], str | bytes)
        ):
            name = text(labels[axis])
        out.append(name)
    return tuple(out)


def can_read(path: Path) -> bool:
    """HDF5 with an array of three axes that no other of our formats claims."""
    if not is_hdf5(path):
        return False
    import h5py

    with h5py.File(path, "r") as file:
        declared = file.attrs.get("format")
        if declared is not None and text(declared).startswith("hsitools-"):
            return False
        if any(isinstance(file.get(name), h5py.Dataset) for name in FRAMES):
            return False
        return bool(likely_cubes(variables(file)))


def read(path: Path, *, variable: str | None = None, axes: str | None = None) -> Cube:
    """Open the cube, lazily."""
    file = open_hdf5(path)
    attributes = {key: file.attrs[key] for key in file.attrs}
    cube = Cube(**labelled_cube(variables(file), attributes, str(path), variable=variable, axes=axes))
    return named(cube, attributes, path)


def named(cube: Cube, attributes: dict[str, Any], path: Path) -> Cube:
    """The cube with the file's own name and facts."""
    passed_over = {"name", "title", "source", "format", "version", "meta", "axes", "nodata", "scale_factor",
                   "Conventions", "history", "_NCProperties"}  # fmt: skip
    meta = dict(cube.meta)
    for key, value in attributes.items():
        if key not in passed_over and (isinstance(value, str | bytes) or np.ndim(value) == 0):
            plain = text(value) if isinstance(value, str | bytes) else np.asarray(value).item()
            meta.setdefault(key, plain if isinstance(plain, str | int | float) else text(plain))
    name = text(attributes.get("name", attributes.get("title", ""))) or path.stem
    return cube.replace(name=name, meta=meta)


def declared_kind(path: Path) -> str:
    """What a file of ours that is no cube says it is, or frames of a bench; empty for all others."""
    import h5py

    with h5py.File(path, "r") as file:
        declared = text(file.attrs.get("format", ""))
        if declared.startswith("hsitools-"):
            return f"a file of kind {declared}"
        return "frames of a bench" if any(isinstance(file.get(name), h5py.Dataset) for name in FRAMES) else ""


def listing(path: Path) -> str:
    """What arrays an HDF5 file holds, for messages."""
    import h5py

    with h5py.File(path, "r") as file:
        return contents(variables(file))
