"""Pixels of every sub-image under the monochromator, on disk."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.captures.capture import MonochromaticCapture
from calibration.captures.checks import ascending, check_wavenumber, stored_wavenumber
from calibration.captures.saturation import ceiling_of
from hsitools.errors import FormatError, InputError
from hsitools.io.formats.hdf5 import open_hdf5

Array = NDArray[np.float64]
#: Pixels fitted in one call: bounds the memory to some tens of megabytes per hundred lines.
BLOCK = 4096


class PixelStack:
    """Pixels of every sub-image under the monochromator, read lazily from HDF5.

    Members: ``pixels`` ``(interferometer, line, y, x)``, ``wavenumber`` ``(line,)`` µm⁻¹ or as its attribute
    ``units`` says, optionally ``flat`` of the shape of ``pixels``, ``(interferometer, line)`` or ``(line,)``, attribute
    ``opd_step_um`` and ``full_scale`` (found, too, where samples pile up), and the width of the monochromator's line
    (nm) as ``linewidth_nm``, attribute or ``(line,)``, with attribute ``line_shape``; what is passed goes before the
    file.

    Raises
    ------
    FormatError, InputError
        When the file or a member is missing or of a wrong shape.
    """

    def __init__(self, path: str | Path, *, linewidth_nm: Any = None, line_shape: str | None = None) -> None:
        import h5py

        self.path = Path(path)
        if not self.path.is_file() or not h5py.is_hdf5(self.path):
            raise FormatError(f"{path}: found no HDF5 file, expected a pixel stack")
        self.file = open_hdf5(self.path)
        for name in ("pixels", "wavenumber"):
            if name not in self.file:
                raise FormatError(f"{path}: {name}: missing, expected in a pixel stack")
        self.pixels = self.file["pixels"]
        stored = stored_wavenumber(self.file["wavenumber"], f"{path}: wavenumber")
        self._lines, stored = ascending(stored, f"{path}: wavenumber")
        self.wavenumber = check_wavenumber(stored, f"{path}: wavenumber")
        if self.pixels.ndim != 4 or self.pixels.shape[1] != len(self.wavenumber):
            raise InputError(
                f"{path}: pixels: found shape {self.pixels.shape}, expected (n, {len(self.wavenumber)}, y, x)"
            )
        self.flat = self.file.get("flat")
        shapes = (self.pixels.shape, self.pixels.shape[:2], self.wavenumber.shape)
        if self.flat is not None and self.flat.shape not in shapes:
            raise InputError(f"{path}: flat: found shape {self.flat.shape}, expected {', '.join(map(str, shapes))}")

        if linewidth_nm is None and "linewidth_nm" in self.file:
            linewidth_nm = self.file["linewidth_nm"][()]
            linewidth_nm = linewidth_nm[self._lines] if np.ndim(linewidth_nm) else linewidth_nm
        self.linewidth_nm = self.file.attrs.get("linewidth_nm") if linewidth_nm is None else linewidth_nm
        self.line_shape = line_shape or str(self.file.attrs.get("line_shape", "gaussian"))

    def __reduce__(self) -> Any:
        """Workers open the file themselves."""
        return _stack, (self.path.resolve(), self.linewidth_nm, self.line_shape)

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(interferometer, y, x)``."""
        n, _, height, width = self.pixels.shape
        return n, height, width

    @cached_property
    def limit(self) -> float:
        """Intensity at which samples were cut off, as declared or as pixels around the centres show; or infinite."""
        declared = float(self.file.attrs.get("full_scale", np.inf))
        rows = np.moveaxis(self._middle(self.pixels), 1, -1).reshape(-1, len(self.wavenumber))
        return min(declared, ceiling_of(rows, np.isfinite(rows)))

    def _middle(self, data: Any) -> Array:
        """5×5 pixels at the centre of every sub-image, ``(interferometer, line, y, x)``."""
        _, height, width = self.shape
        return np.asarray(data[:, :, _around(height), _around(width)], dtype=float)[:, self._lines]

    def centre(self) -> MonochromaticCapture:
        """Capture of the 5×5 mean at the centre of every sub-image, of pixels that have a value.

        Where any of an interferometer's is at the limit, of their median, which is known until half of them are.
        """
        pixels = self._middle(self.pixels)
        known = np.isfinite(pixels)
        if self.flat is None:
            flat = np.ones(pixels.shape[:2])
        elif self.flat.ndim == 4:
            lamp = self._middle(self.flat)
            # of the same pixels, or their ratio would be of none
            known &= np.isfinite(lamp)
            flat = _mean(lamp, known)
        else:
            flat = np.asarray(self.flat, dtype=float)[..., self._lines]
        intensity = _mean(pixels, known)
        full = (known & (pixels >= self.limit)).any(axis=(1, 2, 3))
        if full.any():
            middle = np.ma.median(
                np.ma.masked_array(pixels[full], ~known[full]).reshape(full.sum(), len(self.wavenumber), -1), axis=2
            )
            intensity[full] = np.minimum(middle.filled(np.nan), self.limit)
        saturated = intensity >= self.limit
        return MonochromaticCapture(
            intensity=intensity,
            flat=flat,
            wavenumber=self.wavenumber,
            mask=~saturated,
            saturated=saturated,
            index=np.arange(len(intensity)),
            opd_step_um=self.file.attrs.get("opd_step_um"),
            linewidth_nm=self.linewidth_nm,
            line_shape=self.line_shape,
            name=self.path.stem,
            source=str(self.path),
        )

    def blocks(self, number: int) -> Iterator[tuple[slice, Array, Array]]:
        """Rows of one interferometer's sub-image, a bounded number of pixels at a time.

        Yields ``(rows, intensity, flat)``, the arrays ``(pixel, line)`` float64.
        """
        n_lines = len(self.wavenumber)
        _, height, width = self.shape
        step = max(1, BLOCK // width)
        for start in range(0, height, step):
            rows = slice(start, min(start + step, height))
            pixels = np.asarray(self.pixels[number, :, rows], dtype=float)[self._lines].reshape(n_lines, -1).T
            if self.flat is None:
                flat = np.ones_like(pixels)
            elif self.flat.ndim == 4:
                flat = np.asarray(self.flat[number, :, rows], dtype=float)[self._lines].reshape(n_lines, -1).T
            else:
                one = self.flat[()] if self.flat.ndim == 1 else self.flat[number]
                flat = np.broadcast_to(np.asarray(one, dtype=float)[self._lines], pixels.shape)
            yield rows, pixels, flat


def _stack(path: Path, linewidth_nm: Any, line_shape: str) -> PixelStack:
    return PixelStack(path, linewidth_nm=linewidth_nm, line_shape=line_shape)


def _around(size: int) -> slice:
    return slice(max(0, size // 2 - 2), min(size, size // 2 + 3))


def _mean(pixels: Array, known: NDArray[np.bool_]) -> Array:
    """Mean ``(interferometer, line)`` over the known pixels of ``(interferometer, line, y, x)``; NaN without any."""
    count = known.sum(axis=(2, 3))
    total = np.where(known, pixels, 0).sum(axis=(2, 3))
    return np.asarray(np.where(count, total / np.maximum(count, 1), np.nan))
