"""Where an image's pixels lie on a map."""

from __future__ import annotations

#: Affine map from (column, row) of a pixel's corner to map coordinates: x = a·c + b·r + c0, y = d·c + e·r + f0.
Transform = tuple[float, float, float, float, float, float]


def moved(transform: Transform, row: int, column: int) -> Transform:
    """The transform of an image that begins at a row and column of another one."""
    a, b, c, d, e, f = transform
    return (a, b, c + a * column + b * row, d, e, f + d * column + e * row)


def refined(transform: Transform, ratio: int) -> Transform:
    """The transform of the same image with every pixel cut into ``ratio`` by ``ratio``."""
    a, b, c, d, e, f = transform
    return (a / ratio, b / ratio, c, d / ratio, e / ratio, f)


def short_name(crs: str | None) -> str | None:
    """A coordinate system's name: the code, or the first name in its WKT."""
    quoted = (crs or "").split('"')
    return crs if crs is None or len(crs) < 40 or len(quoted) < 2 else quoted[1]
