"""Cubes that stay on disk: sources that read one window of one set of bands at a time, as ``(band, y, x)``.

A source has ``shape``, ``dtype`` and ``read(bands, rows, columns)``. Sources wrap one another (axes put in order, bands
stacked, digital numbers scaled, a window taken), so a reader of a format says *where* things are and reads nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from hsitools.errors import InputError

Bands = NDArray[np.int64]


@runtime_checkable
class Source(Protocol):
    """Anything that can give a window of a cube."""

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]

    def read(self, bands: Bands, rows: slice, columns: slice) -> NDArray[Any]:
        """Values ``(len(bands), y, x)`` of the given bands, rows and columns (slices of step 1 inside the cube)."""
        ...


def read_all(source: Source) -> NDArray[Any]:
    """All values of a source."""
    bands, height, width = source.shape
    return source.read(np.arange(bands), slice(0, height), slice(0, width))


class ArraySource:
    """An array, memmap or HDF5 dataset whose axes may come in another order.

    Parameters
    ----------
    array : array-like
        Three axes; indexed by slices only, so that HDF5 reads just what is asked for.
    axes : (int, int, int)
        Which axis of ``array`` holds band, y and x.
    """

    def __init__(self, array: Any, axes: tuple[int, int, int] = (0, 1, 2)) -> None:
        self.array, self.axes = array, axes
        band, y, x = (int(array.shape[axis]) for axis in axes)
        self.shape = (band, y, x)
        self.dtype = np.dtype(array.dtype)

    def read(self, bands: Bands, rows: slice, columns: slice) -> NDArray[Any]:
        """See `Source`."""
        parts = [self._slab(slice(int(run[0]), int(run[-1]) + 1), rows, columns) for run in _runs(bands)]
        unique = np.unique(bands)
        slab = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return slab if np.array_equal(unique, bands) else slab[np.searchsorted(unique, bands)]

    def _slab(self, bands: slice, rows: slice, columns: slice) -> NDArray[Any]:
        index: list[slice] = [slice(None)] * 3
        for axis, part in zip(self.axes, (bands, rows, columns), strict=True):
            index[axis] = part
        return np.asarray(self.array[tuple(index)]).transpose(self.axes)


class StackedSource:
    """Bands of several sources of the same size, one after the other."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = list(sources)
        self._start = np.cumsum([0] + [source.shape[0] for source in self.sources])
        self.shape = (int(self._start[-1]), *self.sources[0].shape[1:])
        self.dtype = np.result_type(*(source.dtype for source in self.sources))

    def read(self, bands: Bands, rows: slice, columns: slice) -> NDArray[Any]:
        """See `Source`."""
        out = np.empty((len(bands), rows.stop - rows.start, columns.stop - columns.start), dtype=self.dtype)
        owner = np.searchsorted(self._start, bands, side="right") - 1
        for number, source in enumerate(self.sources):
            mine = owner == number
            if mine.any():
                out[mine] = source.read(bands[mine] - self._start[number], rows, columns)
        return out


class ScaledSource:
    """Digital numbers as physical values: ``offset + scale · DN`` per band, float32; nodata becomes NaN."""

    def __init__(self, source: Source, scale: Any, offset: Any = 0.0, nodata: float | None = None) -> None:
        self.source, self.nodata = source, nodata
        self.shape, self.dtype = source.shape, np.dtype(np.float32)
        self.scale = np.broadcast_to(np.asarray(scale, dtype=float), (source.shape[0],))
        self.offset = np.broadcast_to(np.asarray(offset, dtype=float), (source.shape[0],))

    def read(self, bands: Bands, rows: slice, columns: slice) -> NDArray[Any]:
        """See `Source`."""
        raw = self.source.read(bands, rows, columns)
        # in float64 until the end: an offset may cancel nearly all of the scaled number
        exact = raw.astype(np.float64)
        exact *= self.scale[bands, None, None]
        exact += self.offset[bands, None, None]
        out = exact.astype(np.float32)
        if self.nodata is not None and np.isfinite(self.nodata):
            out[raw == self.nodata] = np.nan
        return out


class PhysicalSource:
    """Another source, of which what lies in the file is no longer told: a copy holds these values."""

    def __init__(self, source: Source) -> None:
        self.source, self.shape, self.dtype = source, source.shape, source.dtype

    def read(self, bands: Bands, rows: slice, columns: slice) -> NDArray[Any]:
        """See `Source`."""
        return self.source.read(bands, rows, columns)


class ViewSource:
    """A window and a choice of bands of another source."""

    def __init__(self, source: Source, bands: Bands, rows: slice, columns: slice) -> None:
        self.source: Source = source
        self.bands: Bands = bands
        self.rows: slice = rows
        self.columns: slice = columns
        self.shape = (len(bands), rows.stop - rows.start, columns.stop - columns.start)
        self.dtype = source.dtype

    def read(self, bands: Bands, rows: slice, columns: slice) -> NDArray[Any]:
        """See `Source`."""
        return self.source.read(
            self.bands[bands],
            slice(self.rows.start + rows.start, self.rows.start + rows.stop),
            slice(self.columns.start + columns.start, self.columns.start + columns.stop),
        )


class MaskedSource:
    """Another source with whole bands set to NaN, float32 at least."""

    def __init__(self, source: Source, masked: NDArray[np.bool_]) -> None:
        self.source, self.masked = source, masked
        self.shape, self.dtype = source.shape, np.result_type(source.dtype, np.float32)

    def read(self, bands: Bands, rows: slice, columns: slice) -> NDArray[Any]:
        """See `Source`."""
        out = self.source.read(bands, rows, columns).astype(self.dtype)
        out[self.masked[bands]] = np.nan
        return out


def as_source(data: Any) -> Source:
    """``data`` itself when it is a source, else the array in it."""
    return data if isinstance(data, Source) else ArraySource(data)


def detached(data: Any) -> Any:
    """The same values, whatever is written later into arrays in memory that they come from: these are copied.

    What is learned from an image now and applied to it when it is read must not meet another one in between. Files stay
    where they are.
    """
    if isinstance(data, np.ndarray):
        return data if _of_file(data) else data.copy()
    if isinstance(data, StackedSource):
        return StackedSource([detached(source) for source in data.sources])
    for name in ("array", "source"):
        inner = getattr(data, name, None)
        own = None if inner is None else detached(inner)
        if own is not inner:
            data = copy.copy(data)
            setattr(data, name, own)
    return data


def _of_file(array: NDArray[Any]) -> bool:
    """Whether an array's memory is that of a mapped file."""
    base: Any = array
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap):
            return True
        base = base.base
    return False


def _runs(bands: Bands) -> list[Bands]:
    """Contiguous runs of the distinct bands, ascending."""
    unique = np.unique(bands)
    return np.split(unique, np.flatnonzero(np.diff(unique) > 1) + 1)


def computed_tile(data: Any) -> tuple[int, int] | None:
    """Size (rows, columns) of what a source computes at a time; None for one that only reads.

    Reading less than a whole tile of such a source computes it all the same.
    """
    computing = computing_source(data)
    return None if computing is None else tuple(computing.tile)


def computed_at_once(data: Any) -> int:
    """Windows that may be read from a source at the same time, by threads: of one that computes tiles, so many."""
    return getattr(computing_source(data), "at_once", 1)


def computing_source(data: Any) -> Any:
    """The source beneath that computes tiles; None where there is none.

    One that has ``ahead`` and ``let_go``, both of rows and columns, computes what a window follows from and keeps it
    in between: any part of the window is quickly read then.
    """
    while data is not None and not hasattr(data, "tile"):
        data = getattr(data, "source", None)
    return data


def chunks(data: Any) -> tuple[int, int]:
    """Chunk (rows, columns) of the dataset beneath, ones when there is none."""
    tile = computed_tile(data)
    if tile is not None:
        return tile
    while isinstance(data, Source) and not isinstance(data, ArraySource):
        data = data.sources[0] if isinstance(data, StackedSource) else getattr(data, "source", None)
    axes = data.axes if isinstance(data, ArraySource) else (0, 1, 2)
    sizes = getattr(data.array if isinstance(data, ArraySource) else data, "chunks", None)
    return (int(sizes[axes[1]]), int(sizes[axes[2]])) if sizes else (1, 1)


def band_numbers(bands: Any, n_bands: int, who: str) -> Bands:
    """Band numbers from 0, of numbers (negative ones count from the end), a slice or a mask of all bands.

    Raises
    ------
    InputError
        When they are no numbers, none, or beyond the cube's.
    """
    chosen = np.arange(n_bands)[bands] if isinstance(bands, slice) else np.asarray(bands)
    if chosen.dtype == bool:
        if chosen.shape != (n_bands,):
            raise InputError(f"{who}: bands: found mask of shape {chosen.shape}, expected ({n_bands},)")
        chosen = np.flatnonzero(chosen)
    if chosen.ndim != 1 or chosen.size == 0 or chosen.dtype.kind not in "ui":
        raise InputError(f"{who}: bands: found {bands!r}, expected band numbers")
    chosen = chosen.astype(np.int64)
    if chosen.min() < -n_bands or chosen.max() >= n_bands:
        raise InputError(f"{who}: bands: found {chosen.min()} to {chosen.max()}, expected below {n_bands}")
    return np.where(chosen < 0, chosen + n_bands, chosen)
