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


def same_crs(first: str | None, second: str | None) -> bool:
    """Whether two coordinate systems are one; one that is not known is taken for the other."""
    if first is None or second is None or first == second:
        return True
    try:
        from rasterio.crs import CRS
    except ImportError:
        return False
    try:
        return bool(CRS.from_user_input(first) == CRS.from_user_input(second))
    except Exception:  # texts that are no coordinate system fail in many ways
        return False


def side_of_pixel(transform: Transform) -> float:
    """Side of a square as large as a pixel, in the map's units."""
    a, b, _, d, e, _ = transform
    return abs(a * e - b * d) ** 0.5
