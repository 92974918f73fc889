"""MATLAB files: v4 and v5 (by SciPy), v7.3 (HDF5, axes reversed); structs, cells, and matrices (band, pixel)."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hsitools.cube import Cube
from hsitools.errors import FormatError
from hsitools.io.formats.hdf5 import open_hdf5
from hsitools.io.formats.hdf5 import variables as hdf5_variables
from hsitools.io.labels import text
from hsitools.io.variable import Variable
from hsitools.io.variables import labelled_cube

PRIORITY = 30  # its newer files are HDF5, of its own conventions
#: MATLAB's convention for images, where nothing else tells: (y, x, band).
AXES = (2, 0, 1)
ROW_NAMES = ("lines", "nrow", "nrows", "rows", "row", "height", "n_rows", "nlines", "ny", "numrows", "nr", "h", "m")
COLUMN_NAMES = ("cols", "ncol", "ncols", "columns", "column", "col", "width", "n_cols", "samples", "nsamples", "nx",
                "numcols", "nc", "w", "n")  # fmt: skip
#: Deflate cannot pack more than this many bytes into one: a header that claims more lies.
MAX_EXPANSION = 1100
#: Variables of so many values at most are looked into before the cube is chosen.
SMALL = 100_000
_KINDS = {"double": "f8", "single": "f4", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4",
          "uint32": "u4", "int64": "i8", "uint64": "u8", "logical": "?"}  # fmt: skip


def can_read(path: Path) -> bool:
    """A MATLAB header of version 5 or 7.3, or the first matrix of version 4, which has no header."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(100)
    return start[:10] in (b"MATLAB 5.0", b"MATLAB 7.3") or _begins_version4(start)


def _begins_version4(start: bytes) -> bool:
    """Type (machine, 0, precision, full or text), rows, columns, real or complex, length of the name, and the name."""
    if len(start) < 22:
        return False
    for order, machine in (("<", 0), (">", 1)):
        kind, rows, columns, imaginary, length = struct.unpack(f"{order}5i", start[:20])
        name = start[20 : 20 + length] if 1 < length <= 80 else b""
        word = name[:-1].decode("latin-1")
        known = kind in {1000 * machine + 10 * precision + text for precision in range(6) for text in range(3)}
        if known and min(rows, columns) >= 0 and imaginary in (0, 1) and name[-1:] == b"\0" and word.isidentifier():
            return True
    return False


def read(path: Path, *, variable: str | None = None, axes: str | None = None) -> Cube:
    """Open the cube, wherever it stands in the file.

    A v7.3 file is read lazily; of older files, which are compressed by variables, the cube is loaded at once. MATLAB's
    order is (y, x, band) unless the wavelengths say otherwise.
    """
    with path.open("rb") as file:
        newer = file.read(10) == b"MATLAB 7.3"
    variables = _version73(path) if newer else _older(path)
    variables = [*variables, *_pixel_matrices(variables)]
    cube = Cube(**labelled_cube(
        variables, {}, str(path), variable=variable, axes=axes, default_axes=AXES, only=True
    ))  # fmt: skip
    return cube.replace(name=str(cube.meta["variable"]).rpartition("/")[2])


class _Late:
    """A variable of an older file, loaded when it is needed."""

    def __init__(self, path: Path, name: str, shape: tuple[int, ...], kind: str) -> None:
        self._path, self._name = path, name
        self._values: Any = None
        self.shape, self.dtype = shape, np.dtype(_KINDS[kind])

    def __getitem__(self, index: Any) -> Any:
        if self._values is None:
            from scipy.io import loadmat

            self._values = loadmat(self._path, variable_names=[self._name])[self._name].astype(self.dtype, copy=False)
        return self._values[index]


def _older(path: Path) -> list[Variable]:
    from scipy.io import loadmat, whosmat

    out = []
    for name, shape, kind in whosmat(path):
        size = int(np.prod([int(part) for part in shape], dtype=object))
        if size > path.stat().st_size * MAX_EXPANSION:
            raise FormatError(f"{path}: {name}: found shape {shape}, more than a file of this size can hold")
        if kind in _KINDS and size > SMALL:
            out.append(Variable(name=name, data=_Late(path, name, tuple(shape), kind)))
        elif kind in _KINDS or kind in ("struct", "cell", "char"):
            value = loadmat(path, variable_names=[name])[name]
            # SciPy gives logical arrays as bytes: a mask must be known as one
            out += _flattened(name, value.astype(bool) if kind == "logical" else value)
    return _joined_words(out)


def _flattened(name: str, value: Any) -> list[Variable]:
    """Arrays inside structs and cells, with the path to them."""
    if not isinstance(value, np.ndarray):
        return []
    if value.dtype.names is not None:
        if value.size != 1:
            return []
        return [item for field in value.dtype.names for item in _flattened(f"{name}/{field}", value.flat[0][field])]
    if value.dtype.kind == "O":
        if value.size == 1:
            return _flattened(name, value.flat[0])
        return [item for k, inner in enumerate(value.flat, 1) for item in _flattened(f"{name}/{k}", inner)][:SMALL]
    return [Variable(name=name, data=value)]


class _Reversed:
    """An HDF5 data set as MATLAB sees it: axes in reverse order."""

    def __init__(self, data: Any, *, logical: bool) -> None:
        self._data, self.dtype = data, np.dtype(bool) if logical else data.dtype
        self.shape = tuple(int(size) for size in data.shape[::-1])
        self.chunks = None if data.chunks is None else tuple(data.chunks[::-1])

    def __getitem__(self, index: Any) -> Any:
        if index is Ellipsis:
            return np.asarray(self._data[...]).astype(self.dtype, copy=False).T
        return np.asarray(self._data[tuple(index)[::-1]]).astype(self.dtype, copy=False).T


def _version73(path: Path) -> list[Variable]:
    import h5py

    file = open_hdf5(path)
    named: dict[str, str] = {}
    # a cell holds references to members of the group #refs#: these bear the cell's name
    for item in hdf5_variables(file):
        if item.data.dtype.kind == "O" and not item.name.startswith("#refs#"):
            for number, reference in enumerate(np.ravel(item.data[()]), 1):
                if isinstance(reference, h5py.Reference) and reference:
                    named[file[reference].name.lstrip("/")] = f"{item.name}/{number}"
    out = []
    for item in hdf5_variables(file):
        if item.data.dtype.kind not in "uifb" or item.attributes.get("MATLAB_empty", 0):
            continue
        name = named.get(item.name, item.name)
        if name.startswith("#"):
            continue
        kind = text(item.attributes.get("MATLAB_class", ""))
        if kind == "char" and int(np.prod(item.shape)) <= SMALL:
            # codes of characters, a word a row
            rows = np.atleast_2d(np.asarray(item.data[()]).T)
            words = np.array(["".join(map(chr, row)).strip() for row in rows.astype(int)])
            out.append(Variable(name=name, data=words))
            continue
        out.append(replace(item, name=name, data=_Reversed(item.data, logical=kind == "logical"), dims=()))
    return _joined_words(out)


def _joined_words(variables: list[Variable]) -> list[Variable]:
    """Cells of words (``name/1``, ``name/2``, …) as one list of words beside what else there is."""
    lists: dict[str, dict[int, str]] = {}
    for item in variables:
        group, _, number = item.name.rpartition("/")
        if group and number.isdigit() and np.dtype(item.data.dtype).kind == "U" and int(np.prod(item.shape)) == 1:
            lists.setdefault(group, {})[int(number)] = item.words()[0]
    whole = {group: words for group, words in lists.items() if sorted(words) == list(range(1, len(words) + 1))}
    kept = [item for item in variables if item.group not in whole]
    return kept + [
        Variable(name=group, data=np.array([words[k] for k in sorted(words)])) for group, words in whole.items()
    ]


class _PixelMatrix:
    """A matrix (band, pixel) as (band, y, x), pixels column by column as MATLAB's reshape has them."""

    def __init__(self, matrix: Any, rows: int, columns: int, *, pixels_first: bool) -> None:
        self._matrix, self._first = matrix, pixels_first
        count = matrix.shape[1 if pixels_first else 0]
        self.shape, self.dtype = (int(count), rows, columns), np.dtype(matrix.dtype)

    def __getitem__(self, index: tuple[slice, slice, slice]) -> Any:
        bands, rows, columns = index
        _, height, width = self.shape
        first, last, _ = columns.indices(width)
        pixels = slice(first * height, last * height)
        part = self._matrix[(pixels, bands) if self._first else (bands, pixels)]
        part = np.asarray(part).T if self._first else np.asarray(part)
        return part.reshape(len(part), last - first, height).transpose(0, 2, 1)[:, rows]


def _pixel_matrices(variables: list[Variable]) -> list[Variable]:
    """Matrices of pixels whose rows and columns the file states, as cubes."""
    out = []
    for item in variables:
        if len(item.shape) != 2 or not item.numeric or min(item.shape) < 2:
            continue
        rows, columns = (_scalar(variables, item.group, names) for names in (ROW_NAMES, COLUMN_NAMES))
        if rows is None or columns is None:
            continue
        pixels = [axis for axis in (0, 1) if item.shape[axis] == rows * columns]
        if len(pixels) == 1:
            matrix = _PixelMatrix(item.data, rows, columns, pixels_first=pixels[0] == 0)
            out.append(Variable(name=item.name, data=matrix, dims=("band", "y", "x"), attributes=item.attributes))
    return out


def _scalar(variables: list[Variable], group: str, names: tuple[str, ...]) -> int | None:
    for name in names:
        for item in variables:
            if item.base == name and item.group == group and item.numeric and int(np.prod(item.shape)) == 1:
                value = float(item.values()[0])
                if value >= 1 and value == int(value):
                    return int(value)
    return None
