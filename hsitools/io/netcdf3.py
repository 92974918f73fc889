"""Classic NetCDF (3): by SciPy, on a memmap."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hsitools.cube import Cube
from hsitools.errors import FormatError
from hsitools.io.hdf5 import named
from hsitools.io.variables import Variable, read_variables


def can_read(path: Path) -> bool:
    """The classic header, of any of its versions."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) in (b"CDF\x01", b"CDF\x02", b"CDF\x05")


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
        Variable(name=name, data=item.data, dims=tuple(item.dimensions), attributes=dict(item._attributes))
        for name, item in file.variables.items()
    ]
    attributes: dict[str, Any] = dict(file._attributes)
    return named(read_variables(variables, attributes, str(path), variable=variable, axes=axes), attributes, path)
