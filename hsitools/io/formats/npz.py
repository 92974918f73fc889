"""NumPy archives: ``cube`` (band, y, x) and ``wavelength_nm`` (band,), optional ``fwhm_nm`` and ``good``."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.cube import Cube
from hsitools.cube.sources import Bands
from hsitools.errors import FormatError, InputError
from hsitools.io.wavelengths import Conversion, width_to_nm

PRIORITY = 32  # an archive: after those that are told by their first bytes
VECTORS = ("wavelength_nm", "fwhm_nm", "good")
#: What others call wavelengths, in a unit that their values tell.
OTHER_NAMES = ("wavelength", "wavelengths", "wavelengths_nm", "wl")


def can_read(path: Path) -> bool:
    """A zip archive with a member ``cube.npy``."""
    if not path.is_file() or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return "cube.npy" in archive.namelist()


class MemberSource:
    """One array of an archive, read as a stream: only the window is kept, never the whole."""

    def __init__(self, path: Path, member: str) -> None:
        self.path, self.member = path, member
        with zipfile.ZipFile(path) as archive, archive.open(member) as stream:
            shape, fortran, self.dtype = _header(stream, f"{path}: {member}")
            self._offset = stream.tell()
            stored = archive.getinfo(member).file_size - self._offset
        if len(shape) != 3 or self.dtype.kind not in "uif":
            raise InputError(f"{path}: cube: found {self.dtype} of shape {shape}, expected numbers (band, y, x)")
        if fortran:
            raise FormatError(
                f"{path}: cube: found Fortran order, expected C order (save numpy.ascontiguousarray of it)"
            )
        expected = int(np.prod([int(size) for size in shape], dtype=object)) * self.dtype.itemsize
        if stored != expected:
            raise FormatError(f"{path}: cube: found {stored} bytes, expected {expected} for shape {shape} {self.dtype}")
        self.shape = (int(shape[0]), int(shape[1]), int(shape[2]))

    def read(self, bands: Bands, rows: slice, columns: slice) -> NDArray[Any]:
        """See `hsitools.cube.sources.Source`."""
        _, height, width = self.shape
        out = np.empty((len(bands), rows.stop - rows.start, columns.stop - columns.start), dtype=self.dtype)
        size = self.dtype.itemsize
        with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as stream:
            for band in np.unique(bands):
                start = self._offset + ((int(band) * height + rows.start) * width) * size
                stream.seek(start)
                count = (rows.stop - rows.start) * width
                block = np.frombuffer(stream.read(count * size), dtype=self.dtype, count=count)
                out[bands == band] = block.reshape(-1, width)[:, columns]
        return out


def _header(stream: Any, where: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = np.lib.format.read_magic(stream)
        reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = reader(stream)
    except (ValueError, EOFError) as error:
        raise FormatError(f"{where}: expected a NumPy array; {error}") from None
    return shape, fortran, dtype


def read(path: Path) -> Cube:
    """Open the archive, lazily; nothing is ever unpickled."""
    source = MemberSource(path, "cube.npy")
    labels: dict[str, Any] = {}
    with zipfile.ZipFile(path) as archive:
        members = archive.namelist()
        centre = next((n for n in (VECTORS[0], *OTHER_NAMES) if f"{n}.npy" in members), VECTORS[0])
        for name in (centre, *VECTORS[1:]):
            if f"{name}.npy" not in members:
                continue
            with archive.open(f"{name}.npy") as stream:
                shape, _, dtype = _header(stream, f"{path}: {name}")
                if shape != (source.shape[0],) or dtype.kind not in "uifb":
                    raise InputError(f"{path}: {name}: found {dtype} of shape {shape}, expected ({source.shape[0]},)")
                labels[name] = np.frombuffer(stream.read(shape[0] * dtype.itemsize), dtype=dtype)
    stored, conversion = None, None
    if centre in labels:
        # named for nm, and yet micrometres in some: said, as of any file
        stored = labels.pop(centre)
        conversion = Conversion.of(stored, "nm" if centre.endswith("_nm") else None, f"{path}: {centre}")
        if conversion is not None:
            labels["wavelength_nm"] = conversion.centres(stored)
    if "fwhm_nm" in labels:
        labels["fwhm_nm"] = width_to_nm(labels["fwhm_nm"], "nm", conversion, stored, f"{path}: fwhm_nm")
    return Cube(data=source, name=path.stem, source=str(path), **labels)
