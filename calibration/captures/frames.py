"""Raw frames: one detector image per monochromator line, with dark and flat frames, in one HDF5 file."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.captures.checks import check_wavenumber, in_wavenumbers, stored_wavenumber
from hsitools.errors import FormatError, InputError
from hsitools.io.atomic import atomic_path, require_room
from hsitools.io.formats.hdf5 import open_hdf5
from hsitools.io.labels import text
from hsitools.io.outputs import check_suffix
from hsitools.text import counted

Array = NDArray[np.float64]
#: What the file says it is.
FORMAT, VERSION = "hsitools-frames", 1
#: Fields that may tell the lines, and the unit that their names say; of the others their attribute ``units`` does, and
#: wavenumbers without one are in µm⁻¹.
LINES = {"wavenumber": None, "wavelength_nm": "nm", "wavelength_um": "um", "wavelength": None, "wavelengths": None}


class FrameStack:
    """Frames read lazily from HDF5, validated on opening.

    Members of the file: ``frames`` ``(line, y, x)``; ``wavenumber`` ``(line,)`` µm⁻¹, or as its attribute ``units``
    says, or ``wavelength_nm``, ``wavelength_um`` or ``wavelength`` with its attribute ``units``; optional ``dark``
    ``(n, y, x)`` or ``(y, x)`` and ``flat`` ``(line, y, x)`` or ``(y, x)``; attribute ``full_scale``.

    Raises
    ------
    FormatError
        When the file or a member is missing.
    InputError
        When a member has a wrong shape, or the lines no valid wavenumbers.

    Examples
    --------
    >>> import numpy as np
    >>> from calibration import simulated_bench
    >>> rng = np.random.default_rng(0)
    >>> instrument = simulated_bench.simulate_instrument(4, rng=rng, rows=2)
    >>> simulated_bench.write_frames("frames.h5", instrument, simulated_bench.lines(5), rng=rng)
    >>> FrameStack("frames.h5").mean().shape == instrument.layout.frame_shape
    True
    """

    def __init__(self, path: str | Path) -> None:

        self.path = Path(path)
        try:
            self.file = open_hdf5(self.path)
        except FileNotFoundError:
            raise FormatError(f"{path}: found no such file, expected raw frames (HDF5)") from None
        except OSError as error:
            raise FormatError(f"{path}: expected raw frames (HDF5); {error}") from None
        if "frames" not in self.file:
            raise FormatError(f"{path}: frames: missing, expected (line, y, x)")
        self.frames = self.file["frames"]
        if self.frames.ndim != 3 or self.frames.dtype.kind not in "uif":
            raise InputError(
                f"{path}: frames: found {self.frames.dtype} of shape {self.frames.shape}, expected numbers (line, y, x)"
            )
        self.n_lines, height, width = self.frames.shape
        self.shape = (height, width)
        field, wavenumber = self._lines()
        if wavenumber.shape != (self.n_lines,):
            raise InputError(
                f"{path}: {field}: found shape {wavenumber.shape}, expected ({self.n_lines},), one a frame"
            )
        # frames stay in the order of acquisition; `order` visits them by ascending wavenumber
        self.order = np.argsort(wavenumber)
        self.wavenumber = check_wavenumber(wavenumber[self.order], f"{path}: {field}")
        self.dark = self._optional("dark", (3, 2))
        self.flat = self._optional("flat", (3, 2))
        if self.flat is not None and self.flat.ndim == 3 and len(self.flat) != self.n_lines:
            raise InputError(
                f"{path}: flat: found {counted(len(self.flat), 'frame')}, expected {self.n_lines}, one a line"
            )
        full_scale = self.file.attrs.get("full_scale")
        self.full_scale = None if full_scale is None else float(full_scale)

    def _lines(self) -> tuple[str, Array]:
        """Name of the field that tells the monochromator's lines, and their wavenumbers, µm⁻¹."""
        field = next((name for name in LINES if name in self.file), None)
        if field is None:
            raise FormatError(f"{self.path}: wavenumber: missing, expected one of {', '.join(LINES)}")
        data = self.file[field]
        if data.dtype.kind not in "uif":
            raise InputError(f"{self.path}: {field}: found {data.dtype}, expected numbers")
        where = f"{self.path}: {field}"
        if field == "wavenumber":
            return field, stored_wavenumber(data, where)
        unit = LINES[field] or data.attrs.get("units")
        return field, in_wavenumbers(data[()], None if unit is None else text(unit), where)

    def _optional(self, name: str, dimensions: tuple[int, ...]) -> Any:
        data = self.file.get(name)
        if data is not None and (data.ndim not in dimensions or data.shape[-2:] != self.shape):
            raise InputError(
                f"{self.path}: {name}: found shape {data.shape}, expected (…, {self.shape[0]}, {self.shape[1]})"
            )
        return data

    def line(self, place: int) -> Array:
        """Frame of the line of ``place``-th wavenumber, ``(y, x)`` float64."""
        return np.asarray(self.frames[self.order[place]], dtype=float)

    def flat_line(self, place: int) -> Array | None:
        """Flat frame of that line, or the one flat frame there is."""
        if self.flat is None:
            return None
        return np.asarray(self.flat[self.order[place]] if self.flat.ndim == 3 else self.flat, dtype=float)

    def mean(self) -> Array:
        """Mean frame over the lines, one frame in memory at a time."""
        total = np.zeros(self.shape)
        for place in range(self.n_lines):
            total += self.line(place)
        return total / self.n_lines


class FrameWriter:
    """Write a frame file one frame at a time; the file appears only when all is written.

    Used as a context manager: ``add_dark`` and ``add_line`` inside. Raises `InputError` where the disk has no room for
    frames and flat frames: HDF5 ends the process where it finds out by itself.
    """

    def __init__(self, path: str | Path, shape: tuple[int, int], wavenumber: Array, *, full_scale: int) -> None:
        check_suffix(path, "hdf5")
        require_room(path, 2 * len(wavenumber) * shape[0] * shape[1] * np.dtype("u2").itemsize)
        self._target = atomic_path(path)
        self._shape, self._wavenumber, self._full_scale = shape, wavenumber, full_scale

    def __enter__(self) -> FrameWriter:
        import h5py

        self._file = h5py.File(self._target.__enter__(), "w")
        self._file.attrs.update(format=FORMAT, version=VERSION, full_scale=self._full_scale)
        self._file.create_dataset("wavenumber", data=self._wavenumber).attrs["units"] = "um-1"
        height, width = self._shape
        for name in ("frames", "flat", "dark"):
            data = self._file.create_dataset(
                name, shape=(0, height, width), maxshape=(None, height, width), chunks=(1, height, width),
                dtype="u2", compression="lzf", shuffle=True,
            )  # fmt: skip
            data.attrs["units"] = "digital number"
        return self

    def _append(self, name: str, frame: NDArray[np.uint16]) -> None:
        data = self._file[name]
        data.resize(len(data) + 1, axis=0)
        data[-1] = frame

    def add_dark(self, frame: NDArray[np.uint16]) -> None:
        """Append a dark frame."""
        self._append("dark", frame)

    def add_line(self, frame: NDArray[np.uint16], flat: NDArray[np.uint16]) -> None:
        """Append the frame and the flat frame of the next line."""
        self._append("frames", frame)
        self._append("flat", flat)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._target.__exit__(kind, error, trace)


def describe(path: Path) -> dict[str, Any] | None:
    """What ``hsi info`` says of raw frames; None when the file is something else."""
    import h5py

    if not Path(path).is_file() or not h5py.is_hdf5(path):
        return None
    with h5py.File(path, "r") as file:
        if "frames" not in file or "response" in file:
            return None
        data = file["frames"]
        if isinstance(data, h5py.Dataset) and not any(name in file for name in LINES):
            dark = file.get("dark")
            limit = file.attrs.get("full_scale")
            return {
                "kind": "raw frames without wavelengths (of a scene, a flat or a detector)",
                "shape": list(data.shape),
                "dtype": str(data.dtype),
                "dark_frames": 0 if dark is None else 1 if dark.ndim == 2 else len(dark),
                "full_scale": None if limit is None else float(limit),
            }
    stack = FrameStack(path)
    return {
        "kind": "raw frames",
        "n_lines": stack.n_lines,
        "frame_shape": list(stack.shape),
        "dtype": str(stack.frames.dtype),
        "band_nm": [float(1000 / stack.wavenumber[-1]), float(1000 / stack.wavenumber[0])],
        "dark_frames": 0 if stack.dark is None else 1 if stack.dark.ndim == 2 else len(stack.dark),
        "flat_frames": 0 if stack.flat is None else 1 if stack.flat.ndim == 2 else len(stack.flat),
        "full_scale": stack.full_scale,
        "memory_mib": float(np.prod(stack.frames.shape) * stack.frames.dtype.itemsize / 2**20),
    }
