"""Numbers as a file holds them, and what turns them into physical values."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.cube.sources import ScaledSource, ViewSource, as_source, computed_at_once, computed_tile
from hsitools.cube.windows import tiles
from hsitools.errors import FormatError
from hsitools.progress import Progress, silent
from hsitools.side_by_side import side_by_side

Array = NDArray[np.float64]
#: Values read at a time when a cube is walked through, bytes: small beside any machine's memory, and large enough that
#: a disk reads at full speed.
BLOCK_BYTES = 64 * 2**20


@dataclass(frozen=True, kw_only=True, eq=False)
class Stored:
    """Numbers as a file holds them: ``offset + scale · number`` is physical, ``nodata`` stands for no measurement.

    ``data`` is an array or source ``(band, y, x)``; ``scale`` and ``offset`` are ``(band,)``.
    """

    data: Any
    scale: Array
    offset: Array
    nodata: float | None

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the numbers."""
        return np.dtype(self.data.dtype)

    @property
    def uniform(self) -> bool:
        """Whether one factor, without an offset, serves all bands."""
        return bool(np.all(self.scale == self.scale[0]) and not self.offset.any())

    def blocks(
        self, itemsize: int, chunk: tuple[int, int] = (1, 1), progress: Progress = silent
    ) -> Generator[tuple[slice, slice, NDArray[Any]], None, None]:
        """Windows (rows, columns) that cover the image, and their numbers, each of about `BLOCK_BYTES`: for writers.

        Tiles that are computed are so ahead, beside what the writer does: who may stop before the end closes it
        (`contextlib.closing`).

        Parameters
        ----------
        itemsize : int
            Bytes of a number as it is written.
        chunk : (int, int)
            Rows and columns that the file packs together; no window cuts them, unless the source computes tiles.
        progress : callable
            Called after each block was taken in.
        """
        bands, *shape = self.data.shape
        pixels = max(1, BLOCK_BYTES // (bands * itemsize))
        parts = list(tiles((shape[0], shape[1]), pixels, computed_tile(self.data) or chunk))
        with closing(side_by_side(lambda part: self.read(*part), parts, computed_at_once(self.data))) as blocks:
            for done, ((rows, columns), values) in enumerate(zip(parts, blocks, strict=True), 1):
                yield rows, columns, values
                progress(done, len(parts))

    def read(self, rows: slice, columns: slice) -> NDArray[Any]:
        """Numbers of all bands in a window.

        Raises
        ------
        FormatError
            When the file beneath cannot be read.
        """
        source = as_source(self.data)
        try:
            return source.read(np.arange(source.shape[0]), rows, columns)
        except OSError as error:
            raise FormatError(f"data: cannot be read; {' '.join(str(error).split())}") from None


def stored_numbers(data: Any, factor: float, nodata: float | None) -> Stored:
    """The numbers beneath a cube's values, its windows and choices of bands applied to them.

    Parameters
    ----------
    data : array or source, shape (band, y, x)
    factor : float
        What the cube multiplies its values by.
    nodata : float or None
        Of the values.
    """
    chain: list[ViewSource] = []
    source = data
    while isinstance(source, ViewSource):
        chain.append(source)
        source = source.source
    if not isinstance(source, ScaledSource):
        n_bands = int(data.shape[0])
        return Stored(data=data, scale=np.full(n_bands, factor), offset=np.zeros(n_bands), nodata=nodata)
    numbers, scale, offset = source.source, source.scale, source.offset
    for view in reversed(chain):
        numbers = ViewSource(numbers, view.bands, view.rows, view.columns)
        scale, offset = scale[view.bands], offset[view.bands]
    return Stored(data=numbers, scale=scale * factor, offset=offset * factor, nodata=source.nodata)
