"""MATLAB files: v5 (by SciPy) and v7.3 (HDF5, axes reversed)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hsitools.cube import Cube
from hsitools.errors import FormatError
from hsitools.io.labels import axes_with_band, band_axis, to_nm
from hsitools.lazy import ArraySource

WAVELENGTH = ("wavelength", "wavelengths", "wave", "wl", "lambda", "bands_nm", "wavelength_nm")
CUBES = ("cube", "data", "image", "hsi", "img")
#: Deflate cannot pack more than this many bytes into one: a header that claims more lies.
MAX_EXPANSION = 1100


def can_read(path: Path) -> bool:
    """A MATLAB header of version 5 or 7.3."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(10) in (b"MATLAB 5.0", b"MATLAB 7.3")


def read(path: Path) -> Cube:
    """Open the cube: the variable of three axes (the largest, or one of the usual names).

    A v7.3 file is read lazily; a v5 file is compressed as a whole, so that it is loaded at once. MATLAB's order is
    (y, x, band) unless the wavelengths say otherwise.
    """
    with path.open("rb") as file:
        old = file.read(10) == b"MATLAB 5.0"
    return _read_v5(path) if old else _read_v73(path)


def _read_v5(path: Path) -> Cube:
    from scipy.io import loadmat, whosmat

    listing = {name: (shape, kind) for name, shape, kind in whosmat(path)}
    for name, (shape, _) in listing.items():
        size = int(np.prod([int(part) for part in shape], dtype=object))
        if size > path.stat().st_size * MAX_EXPANSION:
            raise FormatError(f"{path}: {name}: found shape {shape}, more than a file of this size can hold")
    numeric = {"double", "single", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"}
    shapes = {name: shape for name, (shape, kind) in listing.items() if kind in numeric}
    name = _choose(shapes, path)
    wave = _wave_name(shapes)
    loaded = loadmat(path, variable_names=[name] + ([wave] if wave else []))
    return _cube(path, name, loaded[name], None if wave is None else loaded[wave], reverse=False)


def _read_v73(path: Path) -> Cube:
    import h5py

    file = h5py.File(path, "r")
    shapes = {
        name: item.shape[::-1]
        for name, item in file.items()
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "uif" and not item.attrs.get("MATLAB_empty", 0)
    }
    name, wave = _choose(shapes, path), _wave_name(shapes)
    return _cube(path, name, file[name], None if wave is None else file[wave][()], reverse=True)


def _choose(shapes: dict[str, tuple[int, ...]], path: Path) -> str:
    cubes = {name: int(np.prod(shape)) for name, shape in shapes.items() if len(shape) == 3 and min(shape) > 0}
    if not cubes:
        raise FormatError(f"{path}: found variables {', '.join(shapes) or 'none'}, expected one with three axes")
    for name in cubes:
        if name.lower() in CUBES:
            return name
    return max(cubes, key=lambda name: cubes[name])


def _wave_name(shapes: dict[str, tuple[int, ...]]) -> str | None:
    vectors = [name for name, shape in shapes.items() if int(np.prod(shape)) == max(shape, default=0) > 1]
    return next((name for name in vectors if name.lower() in WAVELENGTH), None)


def _cube(path: Path, name: str, data: Any, wave: Any, *, reverse: bool) -> Cube:
    wavelength = None if wave is None else to_nm(np.ravel(wave), None, f"{path}: wavelength")
    # as MATLAB sees the axes
    shape = data.shape[::-1] if reverse else data.shape
    axes = axes_with_band(band_axis(shape, None if wavelength is None else len(wavelength), 2, f"{path}: {name}"))
    band, y, x = (2 - axis for axis in axes) if reverse else axes
    return Cube(
        data=ArraySource(data, (band, y, x)), wavelength_nm=wavelength, name=name, source=str(path),
        meta={"axes": f"band axis {axes[0] + 1} of 3 in MATLAB"},
    )  # fmt: skip
