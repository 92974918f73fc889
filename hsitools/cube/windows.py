"""Windows that cover an image, with or without surroundings, for work in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.errors import InputError


def window_slices(window: Any, shape: tuple[int, int], who: str) -> tuple[slice, slice]:
    """Rows and columns of a window, as slices that lie in the image.

    Parameters
    ----------
    window : (slice, slice), (y0, y1, x0, x1) or None
        Negative ends count from the image's end; None is the whole image.
    shape : (int, int)
    who : str
        The cube, for messages.

    Raises
    ------
    InputError
        When it is none of these, is empty, has steps, or lies outside.
    """
    if window is None:
        return slice(0, shape[0]), slice(0, shape[1])
    parts = list(window) if isinstance(window, Iterable) else []
    if len(parts) == 4:
        parts = [slice(*parts[:2]), slice(*parts[2:])]
    if len(parts) != 2 or not all(isinstance(part, slice) and _is_whole(part) for part in parts):
        raise InputError(f"{who}: window: found {window!r}, expected whole numbers (y0, y1, x0, x1), or two slices")
    out = []
    for part, size, name in zip(parts, shape, "yx", strict=True):
        if part.step not in (None, 1):
            raise InputError(f"{who}: window: found step {part.step} in {name}, expected 1")
        start, stop = part.start or 0, size if part.stop is None else part.stop
        start, stop = (value + size if value < 0 else value for value in (start, stop))
        if not 0 <= start < stop <= size:
            raise InputError(f"{who}: window: found {name} {part.start}:{part.stop}, expected inside 0:{size}")
        out.append(slice(int(start), int(stop)))
    return out[0], out[1]


def _is_whole(part: slice) -> bool:
    """Whether the ends that a slice has are whole numbers."""
    try:
        return all(int(end) == end for end in (part.start, part.stop) if end is not None)
    except (TypeError, ValueError, OverflowError):
        return False


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

    def reaches(self, rows: slice, columns: slice) -> bool:
        """Whether the part or its surroundings lie in some rows and columns."""
        return all(
            own.start < other.stop and other.start < own.stop
            for own, other in ((self.wide_rows, rows), (self.wide_columns, columns))
        )

    def overlap(
        self, rows: slice, columns: slice, ratio: int = 1
    ) -> tuple[tuple[slice, slice], tuple[slice, slice]] | None:
        """Where the part and some rows and columns meet: as (rows, columns) of the part, and of what is asked for.

        ``ratio`` is how many pixels of what is asked for lie along a pixel of the part. None where they do not meet.
        """
        pairs = []
        for own, other in ((self.rows, rows), (self.columns, columns)):
            first, last = ratio * own.start, ratio * own.stop
            start, stop = max(first, other.start), min(last, other.stop)
            if start >= stop:
                return None
            pairs.append((slice(start - first, stop - first), slice(start - other.start, stop - other.start)))
        (own_rows, other_rows), (own_columns, other_columns) = pairs
        return (own_rows, own_columns), (other_rows, other_columns)

    def weight(self, shape: tuple[int, int], halo: int) -> NDArray[np.float64]:
        """Weights of all pixels, surroundings included, with which neighbouring parts pass into one another.

        They fall off over the ``2 * halo`` pixels that two neighbours share; those of all parts of an image of this
        ``shape`` add up to one.
        """
        return np.outer(
            _fading(self.rows, self.wide_rows, shape[0], halo), _fading(self.columns, self.wide_columns, shape[1], halo)
        )


def _fading(part: slice, wide: slice, size: int, halo: int) -> NDArray[np.float64]:
    place = np.arange(wide.start, wide.stop) + 0.5
    out = np.ones(len(place))
    if part.start > 0:
        out = np.minimum(out, (place - part.start + halo) / (2 * halo))
    if part.stop < size:
        out = np.minimum(out, (part.stop + halo - place) / (2 * halo))
    return np.clip(out, 0, 1)


def windows(shape: tuple[int, int], part: tuple[int, int], halo: int, step: int = 1) -> list[Window]:
    """Parts of ``part`` (rows, columns) that cover ``shape``, each with ``halo`` pixels of surroundings.

    These begin at multiples of ``step``, so that blocks of so many pixels are those of the whole: up to ``step − 1``
    pixels sooner.
    """

    def axis(size: int, side: int) -> list[tuple[slice, slice]]:
        return [
            (
                slice(start, min(start + side, size)),
                slice(max(start - halo, 0) // step * step, min(start + side + halo, size)),
            )
            for start in range(0, size, side)
        ]

    return [
        Window(rows=rows, columns=columns, wide_rows=wide_rows, wide_columns=wide_columns)
        for rows, wide_rows in axis(shape[0], part[0])
        for columns, wide_columns in axis(shape[1], part[1])
    ]
