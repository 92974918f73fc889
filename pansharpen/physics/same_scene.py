"""Whether a sharp image is the cube's scene, but mirrored or turned over: how much of it the cube explains each way.

A file read in another order of its rows or columns fits the cube in size and has its statistics, and nearly nothing at
its place. What the low-pass image is of the cube's components is regressed for each order, on images of few pixels.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from hsitools.estimation.band_noise import unexplained as of_bands
from pansharpen.case import Scene, Tile
from pansharpen.families.statistics import moments
from pansharpen.physics.displacement import Field, places
from pansharpen.physics.registration import Components
from pansharpen.physics.subspace import FEW_BANDS, Cube

Array = NDArray[np.float64]
Order = Callable[[Array], Array]
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
#: Share of the variance that another order explains at least, and what it leaves of what the image as it is leaves.
EXPLAINED, LEFT = 0.5, 0.5


def other_order(scene: Scene, components: Components, rank: int) -> str | None:
    """In which order a scene's sharp image is the cube's scene, in words, if clearly better than as it is.

    Parameters
    ----------
    scene : Scene
        Of a batch of one.
    components : callable
        Coarse components ``(1, k, y, x)`` of a tile with its surroundings.
    rank : int
        Components of it.
    """
    field = Field.none(scene.sum(places))
    height, width = (round(2 * float(middle)) + 1 for middle in field.centre)
    step = max(1, -(-max(height, width) // SIDE))
    # whole blocks, or an order would exchange whole ones with parts
    size = height // step, width // step

    def blocks(tile: Tile) -> torch.Tensor:
        """Sums over blocks of components and PAN, and counts: ``(k + 2, y, x)`` of the whole scene."""
        pan = tile.see_pan(tile.down(tile.optics.mean_gains()))
        both = tile.crop_coarse(torch.cat([components(tile), pan, torch.ones_like(pan)], 1)).double()[0]
        if tile.coarse_valid is not None:
            both = both * tile.coarse_valid[0]
        y, x = (
            (corner + margin + torch.arange(count)) // step
            for corner, margin, count in zip(tile.corner, tile.margin[::2], both.shape[1:], strict=True)
        )
        inside = (y < size[0])[:, None] & (x < size[1])
        place = (y[:, None] * size[1] + x)[inside].to(both.device)
        out = both.new_zeros(rank + 2, size[0] * size[1])
        return out.index_add_(1, place, both[:, inside.to(both.device)]).reshape(-1, *size)

    sums = scene.sum(blocks).cpu().numpy()
    count = sums[-1]
    values = sums[:-1] / np.maximum(count, 1)
    own, pan, seen = values[:rank], values[rank], count > 0.5 * step**2
    orders = ORDERS | (OF_SQUARES if size[0] == size[1] else {})
    left = {name: unexplained(own, order(pan), seen & order(seen)) for name, order in orders.items()}
    best = min(left, key=lambda name: left[name])
    if left[best] < 1 - EXPLAINED and left[best] < LEFT * unexplained(own, pan, seen):
        return best
    return None


def unexplained(own: Array, image: Array, seen: NDArray[np.bool_]) -> float:
    """Share of an image's variance that is no sum of others ``(k, y, x)``, of the pixels ``(y, x)`` that are seen.

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
        return 1.0
    design = own[:, seen] - own[:, seen].mean(1, keepdims=True)
    target = image[seen] - image[seen].mean()
    power = float(target @ target)
    if not power > 0:
        return 1.0
    rest = target - np.linalg.lstsq(design.T, target, rcond=1e-6)[0] @ design
    return min(float(rest @ rest) / power * (n - 1) / (n - k - 1), 1.0)


def left_of_bands(scene: Scene, coarse: Cube) -> float:
    """Share of its variance that the others leave of the median band of few; zero of many, which foretell any image.

    PAN is one band more: what is beyond that is not for want of bands.

    Parameters
    ----------
    scene : Scene
    coarse : callable
        The coarse cube of a tile with its surroundings.
    """
    if not 1 < scene.n_bands < FEW_BANDS:
        return 0.0 if scene.n_bands > 1 else 1.0
    sums = scene.sum(lambda tile: moments(tile.crop_coarse(coarse(tile)), valid=tile.coarse_valid))
    covariance = sums.covariance[0].cpu().numpy()
    power = np.diag(covariance)
    return float(np.median(of_bands(covariance) / np.maximum(power, np.finfo(float).tiny)))
