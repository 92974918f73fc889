"""Windows that cover an image, for work in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator


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
