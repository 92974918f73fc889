"""Functions and cubes as bytes that travel to other processes: what lies in a file goes as the file's name."""

from __future__ import annotations

import io
import platform
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hsitools.errors import FormatError

#: Unpacked objects that a process keeps, with their open files: a statistics pass and the next, of two jobs at a time.
KEPT = 4


def pack(thing: Any) -> bytes:
    """An object, functions in it included, as bytes for `unpack`; HDF5 data sets, memmaps and paths by name."""
    import cloudpickle
    import h5py
    from scipy.io import netcdf_file

    class Packer(cloudpickle.Pickler):
        """Pickles what no pickle holds."""

        def reducer_override(self, item: Any) -> Any:
            if isinstance(item, h5py.Dataset):
                return _dataset, (str(Path(item.file.filename).resolve()), item.name)
            if isinstance(item, h5py.File):
                return _file, (str(Path(item.filename).resolve()),)
            if isinstance(item, netcdf_file):
                return _classic, (str(Path(item.filename).resolve()),)
            if isinstance(item, np.memmap) and item.filename is not None:
                return _mapped, _place(item)
            if isinstance(item, Path) and not item.is_absolute():
                return Path, (str(item.resolve()),)
            return super().reducer_override(item)

    buffer = io.BytesIO()
    Packer(buffer).dump(thing)
    return buffer.getvalue()


@lru_cache(maxsize=KEPT)
def unpack(packed: bytes) -> Any:
    """What `pack` packed; the same object for the same bytes.

    Raises
    ------
    FormatError
        When a file is not there.
    """
    import pickle

    return pickle.loads(packed)


def required(path: str) -> Path:
    """A path; raises `FormatError` where this machine does not see it."""
    if not Path(path).exists():
        raise FormatError(
            f"{path}: found no such file at worker {platform.node()}, expected a path that all workers share"
        )
    return Path(path)


@lru_cache(maxsize=2 * KEPT)
def _file(path: str) -> Any:
    from hsitools.io.chunk_cache import opened

    # `hsitools.io.formats.hdf5.open_hdf5` has looked into it where it was opened first
    return opened(required(path))


def _dataset(path: str, name: str) -> Any:
    return _file(path)[name]


def _classic(path: str) -> Any:
    from scipy.io import netcdf_file

    return netcdf_file(required(path), "r", mmap=True, maskandscale=False)


def _place(array: np.memmap[Any, Any]) -> tuple[Any, ...]:
    """File, type, place, shape and strides of a memmap or of a view of one."""
    whole = array
    # a view's own offset is that of the array that it was taken from
    while isinstance(whole.base, np.memmap):
        whole = whole.base
    inside = array.__array_interface__["data"][0] - whole.__array_interface__["data"][0]
    return str(Path(array.filename or "").resolve()), array.dtype, whole.offset + inside, array.shape, array.strides


def _mapped(path: str, dtype: np.dtype[Any], offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> Any:
    import mmap

    with required(path).open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return np.ndarray(shape, dtype, content, offset, strides)
