"""Windows that cover an image, for work in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


def tiles(shape: tuple[int, int], pixels: int, chunk: tuple[int, int] = (1, 1)) -> Iterator[tuple[slice, slice]]:
    """Windows (rows, columns) of about ``pixels`` pixels that cover ``shape``, in whole chunks where these are smaller.

    Whole rows come first: a window is narrower than the image only when one row of chunks is too much.
    """
    height, width = shape
    columns = width
    if chunk[0] * width > pixels:
        columns = min(width, max(pixels // (chunk[0] * chunk[1]), 1) * chunk[1])
    rows = max(pixels // (chunk[0] * columns), 1) * chunk[0]
    for top in range(0, height, rows):
        for left in range(0, width, columns):
            yield slice(top, min(top + rows, height)), slice(left, min(left + columns, width))


@dataclass(frozen=True, kw_only=True)
class Window:
    """A part of an image and its surroundings, pixels.

    Attributes
    ----------
    rows, columns : slice
        The part itself; all parts together cover the image once.
    wide_rows, wide_columns : slice
        With surroundings, as far as the image goes.
    """

    rows: slice
    columns: slice
    wide_rows: slice
    wide_columns: slice

    @property
    def margin(self) -> tuple[int, int, int, int]:
        """Pixels of surroundings above, below, left and right."""
        return (
            self.rows.start - self.wide_rows.start, self.wide_rows.stop - self.rows.stop,
            self.columns.start - self.wide_columns.start, self.wide_columns.stop - self.columns.stop,
        )  # fmt: skip


def windows(shape: tuple[int, int], part: tuple[int, int], halo: int) -> list[Window]:
    """Parts of ``part`` (rows, columns) that cover ``shape``, each with ``halo`` pixels of surroundings."""

    def axis(size: int, side: int) -> list[tuple[slice, slice]]:
        return [
            (slice(start, min(start + side, size)), slice(max(start - halo, 0), min(start + side + halo, size)))
            for start in range(0, size, side)
        ]

    return [
        Window(rows=rows, columns=columns, wide_rows=wide_rows, wide_columns=wide_columns)
        for rows, wide_rows in axis(shape[0], part[0])
        for columns, wide_columns in axis(shape[1], part[1])
    ]
