"""Classic NetCDF (3): by SciPy, on a memmap."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hsitools.cube import Cube
from hsitools.errors import FormatError
from hsitools.io.formats.hdf5 import named
from hsitools.io.variable import Variable
from hsitools.io.variables import labelled_cube

PRIORITY = 41  # its first bytes are its own


def can_read(path: Path) -> bool:
    """The classic header, of any of its versions."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) in (b"CDF\x01", b"CDF\x02", b"CDF\x05")


class _Mapped:
    """A variable read by windows; it holds the file, and no array of it, so that the file closes with the last cube."""

    def __init__(self, file: Any, name: str) -> None:
        self._file, self._name = file, name
        self.shape, self.dtype = tuple(file.variables[name].shape), np.dtype(file.variables[name].data.dtype)

    def __getitem__(self, index: Any) -> Any:
        return np.array(self._file.variables[self._name].data[index])


def read(path: Path, *, variable: str | None = None, axes: str | None = None) -> Cube:
    """Open the cube, lazily."""
    from scipy.io import netcdf_file

    with path.open("rb") as file:
        if file.read(4)[3] == 5:
            raise FormatError(
                f"{path}: NetCDF: found CDF-5, expected NetCDF-4 or classic (`nccopy -k nc4` converts it)"
            )
    file = netcdf_file(path, "r", mmap=True, maskandscale=False)
    variables = [
        Variable(name=name, data=_Mapped(file, name), dims=tuple(item.dimensions), attributes=dict(item._attributes))
        for name, item in file.variables.items()
    ]
    attributes: dict[str, Any] = dict(file._attributes)
    return named(
        Cube(**labelled_cube(variables, attributes, str(path), variable=variable, axes=axes)), attributes, path
    )
