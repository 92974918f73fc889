"""Whether a sharp image is the cube's scene, in the cube's order of rows and columns.

A file read in another order of its rows or columns fits the cube in size and has its statistics, and nearly nothing at
its place; one of another scene may fit in size. Few pixels of PAN are regressed on the cube's components in each order.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hsitools.errors import InputError

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Order = Callable[[Array], Array]
log = logging.getLogger(__name__)
#: Orders of an image ``(y, x)`` that keep its size, and those that only square ones have.
ORDERS: dict[str, Order] = {
    "mirrored left to right": lambda image: image[:, ::-1],
    "turned upside down (its rows in the other order)": lambda image: image[::-1],
    "turned by 180 degrees": lambda image: image[::-1, ::-1],
}
OF_SQUARES: dict[str, Order] = {
    "transposed (rows for columns)": lambda image: image.T,
    "turned by 90 degrees": lambda image: image.T[::-1],
    "turned by 90 degrees, the other way": lambda image: image.T[:, ::-1],
    "transposed and turned by 180 degrees": lambda image: image[::-1, ::-1].T,
}
#: Side of the images that are compared, pixels at most.
SIDE = 96
#: Components of the cube that explain PAN, and pixels for each at least.
COMPONENTS, PIXELS_EACH = 16, 8
#: Share of the variance that another order explains at least, and what it leaves of what the image as it is leaves,
#: where that is doubtful: right pairs of 17 scenes leave less than that, or no order explains them.
EXPLAINED, LEFT, DOUBTFUL = 0.5, 0.5, 0.1
#: Share of PAN's variance that the cube does not explain, from which on it looks like another scene, and pixels that
#: can tell. Right pairs leave less than .1, a pixel beside one another up to .75; infrared bands alone and other scenes
#: more than .5.
FOREIGN, TELLING = 0.5, 64
#: Roundings of float32 that the contrast of an image must have.
FLAT = 8.0


@dataclass(frozen=True, eq=False)
class Survey:
    """Cube and PAN in few pixels: sums over whole blocks of coarse ones, or an order would exchange them with parts.

    Attributes
    ----------
    cube, cube_count : array, shape (band, y, x)
        Sums of what was measured, and of how many voxels.
    pan, pan_count : array, shape (y, x)
        The same of PAN's fine pixels.
    corner : (int, int)
        Of a part: its first block in the scene.
    """

    cube: Array
    cube_count: Array
    pan: Array
    pan_count: Array
    corner: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, shape: tuple[int, int], corner: tuple[int, int], cube: Array, pan: Array) -> Survey:
        """Of a part of a scene of that ``shape``, from a corner on, coarse pixels; NaN where nothing was measured."""
        step, size = _blocks(shape)
        ratio, begins = pan.shape[1] // cube.shape[1], tuple(first // step for first in corner)
        out = []
        for image, r in ((cube, 1), (pan, ratio)):
            y, x = (
                _into(first, length, step, blocks, r)
                for first, length, blocks in zip(corner, cube.shape[1:], size, strict=True)
            )
            with np.errstate(invalid="ignore"):
                # times zero, where a value is infinite
                sums = y @ image @ x.T
            if np.isfinite(sums).all():
                count = np.broadcast_to(np.outer(y.sum(1), x.sum(1)), sums.shape)
            else:
                measured = np.isfinite(image)
                sums, count = y @ np.where(measured, image, 0) @ x.T, y @ measured.astype(np.float32) @ x.T
            out += [sums, count]
        return cls(out[0], out[1], out[2][0], out[3][0], (begins[0], begins[1]))

    @classmethod
    def together(cls, shape: tuple[int, int], parts: Sequence[Survey]) -> Survey:
        """Of all parts of a scene."""
        _, size = _blocks(shape)
        cube, count = np.zeros((2, len(parts[0].cube), *size))
        pan, pan_count = np.zeros((2, *size))
        for part in parts:
            y, x = (slice(first, first + n) for first, n in zip(part.corner, part.pan.shape, strict=True))
            cube[:, y, x] += part.cube
            count[:, y, x] += part.cube_count
            pan[y, x] += part.pan
            pan_count[y, x] += part.pan_count
        return cls(cube, count, pan, pan_count)

    @property
    def flat(self) -> bool:
        """Whether PAN has no contrast that float32 holds, though several pixels were measured."""
        seen = self.pan_count > 0
        values = self.pan[seen] / self.pan_count[seen]
        return values.size > 1 and bool(np.ptp(values) <= FLAT * np.finfo(np.float32).eps * np.abs(values).max())

    def left(self, *orders: Order) -> list[float]:
        """Share of PAN's variance that is nothing of the cube, of PAN as it is and in other orders; NaN if untold."""
        seen = self.pan_count > 0.5 * self.pan_count.max()
        whole = self.cube_count > 0.5 * self.cube_count.max((1, 2), keepdims=True)
        # bands that most of the pixels lack say nothing of these
        bands = whole.mean((1, 2)) > 0.5
        # sums of values near float32's largest are beyond it
        if not bands.any() or not (np.isfinite(self.cube).all() and np.isfinite(self.pan).all()):
            return [np.nan for _ in (None, *orders)]
        covered = whole[bands].all(0)
        cube = self.cube[bands] / np.maximum(self.cube_count[bands], 1)
        pan = self.pan / np.maximum(self.pan_count, 1)
        own = _components(cube, covered)
        own_order: Order = np.asarray
        return [unexplained(own, order(pan), covered & order(seen)) for order in (own_order, *orders)]


def _blocks(shape: tuple[int, int]) -> tuple[int, tuple[int, int]]:
    """Side of a block, coarse pixels, and blocks along y and x that are whole."""
    step = max(1, -(-max(shape) // SIDE))
    return step, (max(1, shape[0] // step), max(1, shape[1] // step))


def _into(first: int, length: int, step: int, blocks: int, ratio: int) -> Array:
    """Sums over blocks that some pixels touch, from coarse ``first`` on: matrix ``(block, ratio · length)``."""
    block = (first + np.arange(ratio * length) // ratio) // step
    touched = np.arange(block[0], min(block[-1] + 1, blocks))
    return np.asarray(touched[:, None] == block, dtype=np.float32)


def _components(cube: Array, seen: Mask) -> Array:
    """Components ``(k, y, x)`` of a cube, of unit variance over what is seen."""
    values = cube[:, seen].astype(float)
    k = int(min(COMPONENTS, len(cube), max(1, values.shape[1] // PIXELS_EACH)))
    mean = values.mean(1) if values.size else np.zeros(len(cube))
    spread = values.std(1) if values.size else np.zeros(len(cube))
    scaled = (values - mean[:, None]) / np.where(spread > 0, spread, 1)[:, None]
    _, vectors = np.linalg.eigh(scaled @ scaled.T)
    out = np.zeros((k, *seen.shape))
    out[:, seen] = vectors[:, ::-1][:, :k].T @ scaled
    return out


def require_same_order(survey: Survey, who: str, sharp: str) -> None:
    """Refuse an image that is the cube's scene in another order of rows or columns; say when it looks like another one.

    Or like none. Of fewer than `TELLING` pixels nothing more is said.

    Raises
    ------
    InputError
        When another order explains clearly more of it.
    """
    if survey.flat:
        log.warning("%s: found no contrast in %s; the result is hardly more than the cube interpolated", who, sharp)
        return
    if survey.pan.size < TELLING:
        # of a dozen pixels another order explains half by chance, one time in thirty
        return
    names = dict(ORDERS | (OF_SQUARES if survey.pan.shape[0] == survey.pan.shape[1] else {}))
    own, *others = survey.left(*names.values())
    others = [1.0 if np.isnan(left) else left for left in others]
    best = int(np.argmin(others))
    if own > DOUBTFUL and others[best] < min(1 - EXPLAINED, LEFT * own):
        # details of other places would be put into every band
        raise InputError(
            f"{who}: {sharp}: found that it looks {list(names)[best]}, expected it to show the cube's scene in the "
            "cube's order of rows and columns"
        )
    if own > FOREIGN:
        log.warning(
            "%s: found %.0f %% of what %s shows to be nothing that the cube shows; is it the same scene, and do the "
            "bands hold what %s sees?", who, 100 * own, sharp, sharp,
        )  # fmt: skip


def unexplained(own: Array, image: Array, seen: Mask) -> float:
    """Share of an image's variance that is no sum of others ``(k, y, x)``, of the pixels ``(y, x)`` that are seen.

    NaN where these are few, or the image is flat.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> own = rng.standard_normal((3, 40, 40))
    >>> bool(unexplained(own, own.sum(0), np.ones((40, 40), bool)) < 1e-9)
    True
    >>> bool(unexplained(own, own.sum(0)[::-1], np.ones((40, 40), bool)) > 0.95)
    True
    """
    k, n = len(own), int(seen.sum())
    if n < 4 * (k + 1):
        return np.nan
    design = own[:, seen] - own[:, seen].mean(1, keepdims=True)
    target = image[seen] - image[seen].mean()
    power = float(target @ target)
    if not power > 0:
        return np.nan
    rest = target - np.linalg.lstsq(design.T, target, rcond=1e-6)[0] @ design
    return min(float(rest @ rest) / power * (n - 1) / (n - k - 1), 1.0)
