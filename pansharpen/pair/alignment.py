"""Where a panchromatic image lies on its cube: by their maps, where both have one, else by their sizes."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from hsitools.cube import Cube
from hsitools.cube.blank import without_blank
from hsitools.cube.geometry import refined, same_crs, short_name, side_of_pixel
from hsitools.errors import InputError

#: Fine pixels by which the grids may drift apart over the image, through rounded pixel sizes or a slight turn.
DRIFT = 0.5


class Placement(NamedTuple):
    """A cube's pixels on PAN's grid.

    ``ratio`` is fine pixels to a coarse one, ``origin`` PAN's row and column at which the cube's first pixel begins
    (may lie outside), ``shift`` what the true place has beside these whole numbers, fine pixels (y, x).
    """

    ratio: int
    origin: tuple[int, int]
    shift: tuple[float, float]


def paired(cube: Cube, *, reproject: bool = False) -> Cube:
    """The cube and its PAN, both cropped to what they share; the cube as it is when it has no PAN, or one has no map.

    Parameters
    ----------
    cube : Cube
        With ``pan``.
    reproject : bool
        Bring PAN onto the cube's grid (and coordinate system) first, by cubic convolution.

    Raises
    ------
    InputError
        When coordinate systems differ, grids are turned against each other or of no whole ratio (unless reprojected),
        or nothing is shared, or PAN has several bands or pixels as large as the cube's.
    """
    if cube.pan is None:
        if reproject:
            raise InputError(f"{cube.who}: reproject: found no PAN, expected one: guides lie where their maps say")
        return cube
    if cube.pan.n_bands != 1:
        raise InputError(f"{cube.pan.source or 'PAN'}: pan: found {cube.pan.n_bands} bands, expected one (or --guide)")
    if (pan := measured(cube.pan, "PAN")) is not cube.pan:
        cube = cube.replace(pan=pan)
    if reproject:
        cube = _reprojected(cube)
    ratio, origin, _ = placement(cube)
    assert cube.pan is not None
    require_finer(ratio, cube.pan.source or cube.who)
    if not _mapped(cube):
        return cube
    fine = cube.pan.shape[1:]
    if origin == (0, 0) and fine == (ratio * cube.shape[1], ratio * cube.shape[2]):
        return cube
    parts = []
    for at, coarse_size, fine_size in zip(origin, cube.shape[1:], fine, strict=True):
        # whole coarse pixels only
        first, last = max(0, -(at // ratio)), min(coarse_size, (fine_size - at) // ratio)
        if first >= last:
            raise InputError(
                f"{cube.who}: pan: found it at {_extent(cube.pan)}, expected it to cover some of the cube at "
                f"{_extent(cube)}"
            )
        parts.append((first, last, at + first * ratio, at + last * ratio))
    (y0, y1, top, bottom), (x0, x1, left, right) = parts
    pan = cube.pan.select(window=(top, bottom, left, right))
    return cube.replace(pan=None).select(window=(y0, y1, x0, x1)).replace(pan=pan)


def measured(image: Cube, name: str) -> Cube:
    """PAN or a guide, called ``name`` where it has no other, with NaN where it is no scene (`without_blank`)."""
    given = (image if image.source or image.name else image.replace(name=name)).physical()
    seen = without_blank(given)
    return image if seen is given else seen.replace(name=image.name)


def require_finer(ratio: int, who: str) -> None:
    """Raise `InputError` where an image is no finer than the cube: what would come out is the cube, at best."""
    if ratio < 2:
        raise InputError(
            f"{who}: pan: found pixels no smaller than the cube's, expected two or more along each side of one"
        )


def windowed(cube: Cube, window: Any) -> Cube:
    """A window of the cube, in the cube's own pixels; a PAN with a map stays whole, others follow by their sizes."""
    if not _mapped(cube):
        return cube.select(window=window)
    return cube.replace(pan=None).select(window=window).replace(pan=cube.pan)


def placement(cube: Cube) -> Placement:
    """Where the cube's pixels lie on its PAN.

    Raises
    ------
    InputError
        See `paired`; without maps, when the sizes are no whole multiples.
    """
    assert cube.pan is not None
    return _by_map(cube) if _mapped(cube) else _by_size(cube)


def pixels_to_one(cube: Cube, image: Cube) -> float:
    """Pixels of an image along a side of one of the cube's, by their maps where both have one, else by their sizes."""
    if cube.transform is None or image.transform is None:
        return image.shape[1] / cube.shape[1]
    return side_of_pixel(cube.transform) / side_of_pixel(image.transform)


def _mapped(cube: Cube) -> bool:
    return cube.pan is not None and cube.transform is not None and cube.pan.transform is not None


def _by_size(cube: Cube) -> Placement:
    assert cube.pan is not None
    height, width = cube.pan.shape[1:]
    ratio = height // cube.shape[1]
    if ratio < 1 or (height, width) != (ratio * cube.shape[1], ratio * cube.shape[2]):
        raise InputError(
            f"{cube.who}: pan: found {height}×{width} pixels, expected a whole multiple of "
            f"{cube.shape[1]}×{cube.shape[2]}, the same in both directions"
        )
    return Placement(ratio, (0, 0), (0.0, 0.0))


def _by_map(cube: Cube) -> Placement:
    assert cube.pan is not None
    if not same_crs(cube.crs, cube.pan.crs):
        raise InputError(
            f"{cube.who}: pan: crs: found {_named(cube.pan.crs)}, expected {_named(cube.crs)} as the cube has; "
            "--reproject brings PAN onto the cube's grid"
        )
    # from the cube's columns and rows to PAN's
    (xx, xy, x0), (yx, yy, y0), _ = np.linalg.inv(_matrix(cube.pan.transform)) @ _matrix(cube.transform)
    _, height, width = cube.shape
    turned = max(abs(xy) * height, abs(yx) * width)
    if turned > DRIFT or xx <= 0 or yy <= 0:
        raise InputError(
            f"{cube.who}: pan: transform: found a grid turned or mirrored against the cube's, expected the same "
            "directions; --reproject brings PAN onto the cube's grid"
        )
    ratio = round(xx)
    if ratio < 1 or abs(xx - ratio) * width > DRIFT or abs(yy - ratio) * height > DRIFT:
        raise InputError(
            f"{cube.who}: pan: transform: found {yy:.6g}×{xx:.6g} of its pixels to one of the cube, expected the "
            "same whole number in both directions; --reproject brings PAN onto the cube's grid"
        )
    # in the middle of the image, where rounded pixel sizes do least
    at = (y0 + (yy - ratio) * height / 2, x0 + (xx - ratio) * width / 2)
    fits = cube.pan.shape[1:] == (ratio * height, ratio * width)
    if fits and max(map(abs, at)) <= ratio / 2:
        # sizes agree and less than half a coarse pixel is between them: no pixel is lost for that
        origin = (0, 0)
    else:
        origin = (int(np.floor(at[0] + 0.5)), int(np.floor(at[1] + 0.5)))
    shift = tuple(0.0 if abs(value) < 1e-6 else float(value) for value in (at[0] - origin[0], at[1] - origin[1]))
    return Placement(ratio, origin, (shift[0], shift[1]))


def _matrix(transform: Any) -> np.ndarray:
    matrix = np.vstack([np.reshape(transform, (2, 3)), [0.0, 0.0, 1.0]])
    if abs(np.linalg.det(matrix)) < 1e-300:
        raise InputError(f"transform: found {tuple(transform)}, expected pixels with an area")
    return matrix


def _named(crs: str | None) -> str:
    return short_name(crs) or "none"


def _extent(cube: Cube) -> str:
    """Where a cube lies: x and y from … to …"""
    _, height, width = cube.shape
    corners = _matrix(cube.transform) @ np.array([[0, width, 0, width], [0, 0, height, height], [1, 1, 1, 1]])
    (left, bottom, _), (right, top, _) = corners.min(axis=1), corners.max(axis=1)
    return f"x {left:.10g} to {right:.10g}, y {bottom:.10g} to {top:.10g}"


def _reprojected(cube: Cube) -> Cube:
    """PAN on the cube's grid, finer by a whole ratio; both cropped to the coarse pixels that it reaches."""
    from hsitools.io.raster import rasterio_module

    rasterio_module()
    from rasterio import Affine
    from rasterio.warp import Resampling, reproject
    from rasterio.warp import transform as transform_points

    assert cube.pan is not None
    pan = cube.pan.physical()
    lacking = [
        f"{what}: {name}: missing"
        for what, part in (("cube", cube), ("pan", cube.pan))
        for name in ("crs", "transform")
        if getattr(part, name) is None
    ]
    if lacking:
        raise InputError(f"{cube.who}: {lacking[0]}, expected a map of both to reproject PAN by")
    # area of a PAN pixel in the cube's coordinates, at PAN's centre
    _, height, width = pan.shape
    x, y, _ = _matrix(pan.transform) @ np.array(
        [[width / 2, width / 2 + 1, width / 2], [height / 2, height / 2, height / 2 + 1], [1, 1, 1]]
    )
    (x, y) = map(np.asarray, transform_points(pan.crs, cube.crs, x, y))
    area = abs((x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0]))
    ratio = round(float((abs(np.linalg.det(_matrix(cube.transform))) / area) ** 0.5))
    require_finer(ratio, cube.pan.source or cube.who)
    fine = np.full((ratio * cube.shape[1], ratio * cube.shape[2]), np.nan, dtype=np.float32)
    assert cube.transform is not None
    assert pan.transform is not None
    target = refined(cube.transform, ratio)
    reproject(
        pan.read()[0].astype(np.float32), fine, src_transform=Affine(*pan.transform), src_crs=pan.crs,
        src_nodata=np.nan, dst_transform=Affine(*target), dst_crs=cube.crs, dst_nodata=np.nan,
        resampling=Resampling.cubic,
    )  # fmt: skip
    reached: Any = np.isfinite(fine).reshape(cube.shape[1], ratio, cube.shape[2], ratio).any(axis=(1, 3))
    if not reached.any():
        raise InputError(
            f"{cube.who}: pan: found it at {_extent(cube.pan)} in {_named(pan.crs)}, expected it to cover some of "
            f"the cube at {_extent(cube)} in {_named(cube.crs)}"
        )
    rows, columns = np.flatnonzero(reached.any(axis=1)), np.flatnonzero(reached.any(axis=0))
    placed = dataclasses.replace(pan, data=fine[None], crs=cube.crs, transform=target, nodata=float("nan"))
    together = cube.replace(pan=placed)
    return together.select(window=(int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1))
