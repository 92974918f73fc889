"""Numbers as a file holds them, and what turns them into physical values."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.cube.sources import (
    ScaledSource,
    ViewSource,
    as_source,
    computed_at_once,
    computed_tile,
    computing_source,
)
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

        Tiles that are computed are so ahead, beside what the writer does, as far as their parts can be read one by one:
        who may stop before the end closes it (`contextlib.closing`).

        Parameters
        ----------
        itemsize : int
            Bytes of a number as it is written.
        chunk : (int, int)
            Rows and columns that the file packs together; no window cuts them, unless the source computes tiles.
        progress : callable
            Called after each block, or tile that is computed, was taken in.
        """
        bands, *shape = self.data.shape
        pixels = max(1, BLOCK_BYTES // (bands * itemsize))
        parts = list(tiles((shape[0], shape[1]), pixels, computed_tile(self.data) or chunk))
        first = (lambda part: self._ahead(*part)) if self._by_parts else lambda part: self.read(*part)
        with closing(side_by_side(first, parts, computed_at_once(self.data))) as found:
            for done, ((rows, columns), values) in enumerate(zip(parts, found, strict=True), 1):
                if values is None:
                    yield from self._parts(rows, columns, itemsize, chunk)
                else:
                    yield rows, columns, values
                progress(done, len(parts))

    def tile_blocks(
        self, rows: slice, columns: slice, itemsize: int, chunk: tuple[int, int] = (1, 1)
    ) -> Generator[tuple[slice, slice, NDArray[Any]], None, None]:  # fmt: skip
        """The same of one tile that is computed, now: one block where its parts cannot be read one by one."""
        if not self._by_parts:
            yield rows, columns, self.read(rows, columns)
            return
        self._ahead(rows, columns)
        yield from self._parts(rows, columns, itemsize, chunk)

    @property
    def _by_parts(self) -> bool:
        """Whether parts of computed tiles are read one by one: not of a window, whose rows are others."""
        source = computing_source(self.data)
        return hasattr(source, "ahead") and source.shape[1:] == tuple(self.data.shape[1:])

    def _ahead(self, rows: slice, columns: slice) -> None:
        computing_source(self.data).ahead(rows, columns)

    def _parts(
        self, rows: slice, columns: slice, itemsize: int, chunk: tuple[int, int]
    ) -> Iterator[tuple[slice, slice, NDArray[Any]]]:  # fmt: skip
        """Blocks of a tile that is computed, which is let go then."""
        pixels = max(1, BLOCK_BYTES // (self.data.shape[0] * itemsize))
        for part in tiles((rows.stop - rows.start, columns.stop - columns.start), pixels, chunk):
            y, x = (
                slice(start + own.start, start + own.stop)
                for start, own in zip((rows.start, columns.start), part, strict=True)
            )
            yield y, x, self.read(y, x)
        computing_source(self.data).let_go(rows, columns)

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
