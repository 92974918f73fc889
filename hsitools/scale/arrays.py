"""Cubes as `dask.array`: nothing is read until it is computed, here or at workers."""

from __future__ import annotations

from typing import Any

import numpy as np

from hsitools.cube.sources import as_source, chunks, computed_tile
from hsitools.cube.stored import BLOCK_BYTES
from hsitools.cube.windows import tiles
from hsitools.errors import InputError
from hsitools.scale.sending import pack, unpack


class Lazy:
    """A cube's values as an array that is read by slices, and travels as the names of its files.

    Parameters
    ----------
    data : array or source, shape (band, y, x)
    """

    ndim = 3

    def __init__(self, data: Any) -> None:
        self.source = as_source(data)
        self.shape, self.dtype = self.source.shape, self.source.dtype

    def __getitem__(self, index: Any) -> Any:
        bands, rows, columns = index
        numbers = np.arange(self.shape[0])[bands]
        slices = [slice(*part.indices(size)[:2]) for part, size in zip((rows, columns), self.shape[1:], strict=True)]
        return self.source.read(numbers, slices[0], slices[1])[:, :: rows.step or 1, :: columns.step or 1]

    def __reduce__(self) -> Any:
        return _lazy, (pack(self.source),)


def _lazy(packed: bytes) -> Lazy:
    return Lazy(unpack(packed))


def to_dask(cube: Any, chunks_of: tuple[int, int, int] | None = None) -> Any:
    """Values of a cube, read when they are computed.

    Parameters
    ----------
    cube : Cube
        On disk, computed or in memory. Workers open its files themselves: they must see their paths.
    chunks_of : (int, int, int), optional
        Bands, rows and columns of a chunk; default all bands of whole chunks of the file, of about 64 MiB.

    Returns
    -------
    dask.array.Array, shape (band, y, x)

    Raises
    ------
    InputError
        When Dask is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from hsitools import Cube
    >>> cube = Cube(data=np.ones((3, 40, 50), np.float32))
    >>> float(cube.to_dask((3, 20, 50)).mean().compute(scheduler="synchronous"))
    1.0
    """
    try:
        import dask.array
    except ImportError:
        raise InputError("to_dask: dask: not installed, expected `pip install hsitools[scale]`") from None
    height, width = cube.shape[1:]
    if chunks_of is None:
        # whole chunks of the file, or what is computed at a time
        pixels = max(1, BLOCK_BYTES // (cube.n_bands * cube.dtype.itemsize))
        rows, columns = next(iter(tiles((height, width), pixels, computed_tile(cube.data) or chunks(cube.data))))
        chunks_of = cube.n_bands, rows.stop, columns.stop
    return dask.array.from_array(Lazy(cube.data), chunks=chunks_of, name=False, asarray=False, fancy=False)
