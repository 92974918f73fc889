"""NumPy archives: ``cube`` (band, y, x) and ``wavelength_nm`` (band,), or arrays that are these by any usual name."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.cube import Cube
from hsitools.errors import FormatError
from hsitools.io.variable import MAX_BANDS, Variable, squeezed
from hsitools.io.variables import labelled_cube, likely_cubes

PRIORITY = 32  # an archive: after those that are told by their first bytes
#: What is documented of an array ``cube``, where no wavelengths say otherwise.
AXES = (0, 1, 2)


def can_read(path: Path) -> bool:
    """A zip archive of arrays, one of them called ``cube``, or a cube by another name or by wavelengths beside it."""
    return holds_arrays(path) and (_has(path, "cube") or bool(likely_cubes(variables(path))))


def holds_arrays(path: Path) -> bool:
    """Whether a file is a NumPy archive."""
    if not path.is_file() or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith(".npy") for name in archive.namelist())


def _has(path: Path, name: str) -> bool:
    with zipfile.ZipFile(path) as archive:
        return f"{name}.npy" in archive.namelist()


class Member:
    """One array of an archive, read as a stream: only the window is kept, never the whole."""

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path, name
        where = f"{path}: {name.removesuffix('.npy')}"
        with zipfile.ZipFile(path) as archive, archive.open(name) as stream:
            self.shape, self._fortran, self.dtype = _header(stream, where)
            self._offset = stream.tell()
            stored = archive.getinfo(name).file_size - self._offset
        expected = int(np.prod([int(size) for size in self.shape], dtype=object)) * self.dtype.itemsize
        # objects are known by their shape, and never unpickled
        if stored != expected and not self.dtype.hasobject:
            raise FormatError(f"{where}: found {stored} bytes, expected {expected} for shape {self.shape} {self.dtype}")
        # axes of length one beyond three do not change how the numbers lie
        self.shape = squeezed(Variable(name=name, data=self))[0]

    def values(self) -> NDArray[Any]:
        """All of a vector."""
        with zipfile.ZipFile(self._path) as archive:
            return np.frombuffer(archive.read(self._name)[self._offset :], dtype=self.dtype).reshape(self.shape)

    def __getitem__(self, index: tuple[slice, slice, slice]) -> NDArray[Any]:
        return self._planes(self.shape[::-1], index[::-1]).T if self._fortran else self._planes(self.shape, index)

    def _planes(self, shape: tuple[int, ...], index: tuple[slice, ...]) -> NDArray[Any]:
        """A window of an array whose last axis varies fastest."""
        (first, last, _), (start, stop, _) = (part.indices(size) for part, size in zip(index[:2], shape, strict=False))
        _, height, width = shape
        size, count = self.dtype.itemsize, (stop - start) * width
        planes = []
        with zipfile.ZipFile(self._path) as archive, archive.open(self._name) as stream:
            for plane in range(first, last):
                stream.seek(self._offset + (plane * height + start) * width * size)
                block = np.frombuffer(stream.read(count * size), dtype=self.dtype, count=count)
                planes.append(block.reshape(-1, width)[:, index[2]].copy())
        return np.stack(planes)


def _header(stream: Any, where: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = np.lib.format.read_magic(stream)
        reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = reader(stream)
    except (ValueError, EOFError) as error:
        raise FormatError(f"{where}: expected a NumPy array; {error}") from None
    return shape, fortran, dtype


def variables(path: Path) -> list[Variable]:
    """All arrays of an archive but those of objects, short vectors loaded."""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith(".npy")]
    out = []
    for name in names:
        member = Member(path, name)
        if not member.dtype.hasobject:
            short = len(member.shape) < 2 and int(np.prod(member.shape)) <= MAX_BANDS
            out.append(Variable(name=name.removesuffix(".npy"), data=member.values() if short else member))
    return out


def read(path: Path, *, variable: str | None = None, axes: str | None = None) -> Cube:
    """Open the archive, lazily; nothing is ever unpickled."""
    documented = variable in (None, "cube") and _has(path, "cube")
    cube = Cube(**labelled_cube(
        variables(path), {}, str(path), variable=variable, axes=axes, default_axes=AXES if documented else None,
        only=documented,
    ))  # fmt: skip
    return cube.replace(name=path.stem, meta={})
