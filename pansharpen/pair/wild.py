"""Wild samples of a pair: a voxel, or a pixel of PAN or a guide, far beyond all others, that no light can be.

One bad element at ten times the mean is a mean, a variance and a regression that are wrong everywhere, so such samples
are taken as not measured before anything is computed. What is as bright and real has witnesses, and is kept: neighbours
share it (optics blur), neighbouring bands do (spectra are smooth), or the other image sees it there. Whatever the
witnesses cannot tell is kept, too. Each channel of a guide is judged as PAN is, by the cube.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hsitools.cube.windows import Window
from hsitools.estimation.heights import Levels, deviation, heights, levels
from hsitools.estimation.spread import robust_sigma
from pansharpen.guide import Guide
from pansharpen.optics import Optics
from pansharpen.pair.guide_files import PlacedGuide
from pansharpen.pair.holes import without
from pansharpen.tile import Tile

Array = NDArray[Any]
log = logging.getLogger(__name__)
#: Under which findings of a scene say how many.
WILD = "wild_samples"
#: Robust deviations of its band, or of PAN, beyond which a sample is looked at: a third of what the denoiser takes,
#: which has no second image to ask. What is real is kept by witnesses: of tuning scenes, and procedural ones with
#: lamps, roofs and flares, nothing is set aside from 8 on. What is lower does little harm (physics: 5 % at 8).
FAR = 10.0
#: Share of a sample's height that a witness beside it (of 8 pixels, of 2 bands) has at least: next to a point, optics
#: with a gain of .3 at Nyquist leave .13 of it.
SHARED = 1 / 8
#: Of a cube's voxel that PAN sees: share of the height, as a lamp's line of one band in 30 has in PAN, and deviations
#: of PAN at least, which one pixel in some hundreds exceeds.
SHARE_IN_PAN, HEIGHT_IN_PAN = 1 / 30, 4.0
#: Of a pixel of PAN that the cube sees: share of what PAN would show at a coarse pixel, and robust deviations of any
#: one band beyond what the rest of PAN explains.
SHARE_IN_CUBE, HEIGHT_IN_BAND = 1 / 4, 8.0
#: How many deviations a pixel must be worth at a coarse pixel, of what the cube leaves of PAN and of what the cube
#: itself would show of it, to be judged at all: a cube of few photons does not see every roof.
TELLING = 8.0
#: Deviations of PAN that its level must be, to say what a rise of PAN is in the cube.
LEVEL = 0.1
#: Singular value, of the largest, below which a component is rounding.
ROUNDING = 1e-4
#: Components of the cube that explain PAN, and coarse pixels for each at least.
COMPONENTS, PIXELS_EACH = 6, 8
#: Side of a block, and surroundings that are read with it, coarse pixels.
BLOCK, HALO = 64, 6
#: Strips of rows, rows of each, and columns at most, whose pixels tell the levels of a large image.
STRIPS, ROWS, COLUMNS = 16, 4, 256

#: Steps to the pixels around one.
NEIGHBOURS = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]


@dataclass(frozen=True, kw_only=True, eq=False)
class Pair:
    """What is read of cube and PAN, part by part.

    Attributes
    ----------
    shape : (int, int)
        Coarse rows and columns.
    optics : Optics
    coarse : callable
        Values ``(band, y, x)`` of some coarse rows and columns.
    pan : callable
        Values ``(1, y, x)`` of some fine rows and columns.
    guides : tuple of PlacedGuide
        Other sharp images.
    pan_made : bool
        Whether PAN is but the mean of their channels, and no image of its own to be judged.
    """

    shape: tuple[int, int]
    optics: Optics
    coarse: Callable[[slice, slice], Array]
    pan: Callable[[slice, slice], Array]
    guides: tuple[PlacedGuide, ...] = ()
    pan_made: bool = False

    def fine(self, coarse: slice) -> slice:
        """Fine rows or columns of coarse ones."""
        return slice(self.optics.ratio * coarse.start, self.optics.ratio * coarse.stop)

    def seen_by(self, guide: PlacedGuide, rows: slice, columns: slice) -> Guide:
        """What a guide holds of some coarse rows and columns."""
        return guide.as_measured(self.fine(rows), self.fine(columns))


@dataclass(frozen=True, kw_only=True, eq=False)
class WildSamples:
    """Where samples are wild.

    Attributes
    ----------
    voxels : array of int, shape (n, 3)
        Band, row and column of the cube.
    pixels : array of int, shape (n, 2)
        Row and column of PAN.
    guides : tuple of arrays of int, shape (n, 3)
        Channel, row and column of each guide's own pixels.
    made : array of int, shape (n, 2)
        Row and column of a PAN that is but the mean of guides, where one of their channels is wild.
    """

    voxels: NDArray[np.int64]
    pixels: NDArray[np.int64]
    guides: tuple[NDArray[np.int64], ...] = ()
    made: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 2), int))

    @property
    def said(self) -> dict[str, int]:
        """How many, of each kind that there is, as plain data."""
        counts = {
            "cube_voxels": len(self.voxels), "pan_pixels": len(self.pixels), "guide_pixels": sum(map(len, self.guides)),
        }  # fmt: skip
        return {name: count for name, count in counts.items() if count}

    def joined(self, other: WildSamples) -> WildSamples:
        """Those of both parts."""
        guides = tuple(np.concatenate(both) for both in zip(self.guides, other.guides, strict=True))
        own = {name: (getattr(self, name), getattr(other, name)) for name in ("voxels", "pixels", "made")}
        return WildSamples(guides=guides, **{name: np.concatenate(both) for name, both in own.items()})

    def from_cube(self, coarse: torch.Tensor, corner: tuple[int, int] = (0, 0)) -> torch.Tensor:
        """A part ``(1, band, y, x)`` of the cube, from a corner on, with NaN for its wild voxels."""
        return without(coarse, self.voxels - np.array([0, *corner]))

    def from_pan(self, pan: torch.Tensor, corner: tuple[int, int] = (0, 0)) -> torch.Tensor:
        """The same of PAN, ``(1, 1, y, x)``."""
        places = np.concatenate([self.pixels, self.made]) - np.array(corner)
        return without(pan, np.insert(places, 0, 0, axis=1))


def count_wild(wild: WildSamples, findings: dict[str, Any]) -> None:
    """Add to what the findings of a scene say under `WILD`."""
    before = findings.get(WILD, {})
    if wild.said:
        findings[WILD] = before | {kind: before.get(kind, 0) + count for kind, count in wild.said.items()}


def say_wild(counts: dict[str, int], name: str) -> None:
    """Log how many samples of a scene are wild, if any."""
    if counts:
        log.warning(
            "%s: found %s far beyond all others, which neither neighbours nor the other image show; taken as not "
            "measured", name, " and ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in counts.items()),
        )  # fmt: skip


def levels_of(pair: Pair) -> list[Levels]:
    """Levels of the bands, of PAN, and of each guide's channels, by strips of rows all over the image."""
    height, width = pair.shape
    if height <= STRIPS * ROWS:
        strips = [slice(0, height)]
    else:
        strips = [slice(top, top + ROWS) for top in np.linspace(0, height - ROWS, STRIPS).astype(int).tolist()]
    every = -(-width // COLUMNS)
    coarse = [pair.coarse(rows, slice(0, width))[..., ::every] for rows in strips]
    # of PAN's pixels a column in ``ratio``: as many rows as there are tell what lies between
    pan = [pair.pan(pair.fine(rows), pair.fine(slice(0, width)))[:, :: pair.optics.ratio] for rows in strips]
    images = [np.concatenate(coarse, 1), np.concatenate(pan, 1)]
    for guide in pair.guides:
        step = max(1, pair.optics.ratio // guide.template.ratio)
        parts = [_values(pair.seen_by(guide, rows, slice(0, width)))[..., ::step] for rows in strips]
        images.append(np.concatenate(parts, 1))
    return [levels(image, np.isfinite(image)) for image in images]


def _values(guide: Guide) -> Array:
    return guide.image[0].cpu().numpy()


def wild_in_block(pair: Pair, of: Sequence[Levels], window: Window, coarse: Array, pan: Array) -> WildSamples:
    """Wild samples of one block, from what cube and PAN show of it and its surroundings.

    Parameters
    ----------
    pair : Pair
    of : sequence of Levels
        As `levels_of` gives them.
    window : Window
        Coarse pixels.
    coarse, pan : array, shape (band, y, x) and (1, ratio · y, ratio · x)
    """
    ratio, wide = pair.optics.ratio, (window.wide_rows, window.wide_columns)
    guides = [pair.seen_by(guide, *wide) for guide in pair.guides]
    images = [coarse, pan, *map(_values, guides)]
    far = [_beyond(image, level) for image, level in zip(images, of, strict=True)]
    voxels, pixels, places = np.zeros((0, 3), int), np.zeros((0, 2), int), [np.zeros((0, 3), int) for _ in guides]
    if any(map(np.any, far)):
        height = [heights(image, np.isfinite(image), level) for image, level in zip(images, of, strict=True)]
        voxels = np.argwhere(far[0])
        voxels = voxels[_lone_voxels(voxels, height[0], np.isfinite(coarse), height[1][0], ratio)]
        height[0][tuple(voxels.T)] = 0
        if not pair.pan_made:
            pixels = _lone_pixels(far[1][0], height[1][0], height[0], Sight(pair.optics), _grey(of[0], of[1]))
        for number, (guide, level) in enumerate(zip(guides, of[2:], strict=True)):
            for channel in np.flatnonzero(far[2 + number].any((1, 2))).tolist():
                own = Sight(guide.optics(channel, pair.optics), guide)
                told = _grey(of[0], Levels(*(part[channel : channel + 1] for part in level)))
                found = _lone_pixels(far[2 + number][channel], height[2 + number][channel], height[0], own, told)
                places[number] = np.concatenate([places[number], np.insert(found, 0, channel, axis=1)])
    inside = window.margin[0], window.margin[2]
    corner = np.array([part.start for part in wide])
    size = np.array([part.stop - part.start for part in (window.rows, window.columns)])
    for number, (guide, place) in enumerate(zip(guides, pair.guides, strict=True)):
        # a pixel belongs to the block in which its centre lies
        centre = Sight(pair.optics, guide).centre(places[number][:, 1:]) - ratio * np.array(inside)
        of_block = ((centre >= 0) & (centre < ratio * size)).all(1)
        places[number] = places[number][of_block] + np.array([0, *place.first(*map(pair.fine, wide))])
    made = [
        own[:, 1:] + np.array(guide.origin, dtype=int)
        for guide, own in zip(pair.guides, places, strict=True)
        if pair.pan_made and guide.template.ratio == 1
    ]
    return WildSamples(
        voxels=_of_the_part(voxels, inside, size) + np.array([0, *corner]),
        pixels=_of_the_part(pixels, ratio * np.array(inside), ratio * size) + ratio * corner, guides=tuple(places),
        made=np.concatenate([np.zeros((0, 2), int), *made]),
    )  # fmt: skip


def _of_the_part(places: Array, start: Any, size: Any) -> Array:
    """Places, the last two numbers of which are row and column, that lie in the block itself."""
    inside = places[:, -2:] - np.array(start)
    return places[((inside >= 0) & (inside < size)).all(1)]


def _beyond(image: Array, of: Levels) -> NDArray[np.bool_]:
    """Samples ``(band, y, x)`` far from all of their band; in most blocks there is none, as extremes tell at once."""
    out = np.zeros(image.shape, dtype=bool)
    deviation = np.where(of.deviation > 0, of.deviation, of.deviation.max())
    low, high = (of.centre + sign * FAR * deviation for sign in (-1, 1))
    # NaN, of either, is no extreme that lies inside
    inside = (image.min((1, 2)) >= low) & (image.max((1, 2)) <= high)
    for band in np.flatnonzero(~inside) if deviation.max() > 0 else ():
        values = image[band]
        out[band] = np.isfinite(values) & ((values < low[band]) | (values > high[band]))
    return out


def _beside(height: Array, places: Array) -> Array:
    """Greatest height, on a sample's own side, of the 8 pixels around each of some places ``(n, 2)`` of an image."""
    padded = np.pad(height, 1)
    side = np.sign(height[tuple(places.T)])
    around = [padded[tuple((places + 1 + np.array(step)).T)] for step in NEIGHBOURS]
    return np.max([side * values for values in around], axis=0) if len(places) else np.zeros(0)


def _lone_voxels(places: Array, height: Array, measured: Array, pan: Array, ratio: int) -> NDArray[np.bool_]:
    """Which of some voxels ``(n, 3)`` neither neighbours nor PAN see."""
    from scipy.ndimage import maximum_filter

    if not len(places):
        return np.zeros(0, dtype=bool)
    band, y, x = places.T
    own = height[band, y, x]
    side, size = np.sign(own), np.abs(own)
    padded, there = np.pad(height, 1), np.pad(measured, 1)
    steps = [(0, *step) for step in NEIGHBOURS] + [(-1, 0, 0), (1, 0, 0)]
    witnesses = [padded[tuple((places + 1 + np.array(step)).T)] for step in steps]
    beside = np.max([side * values for values in witnesses], axis=0)
    # a band without a neighbour has no witness to miss
    judged = np.any([there[tuple((places + 1 + np.array(step)).T)] for step in steps[-2:]], axis=0)
    out = judged & (beside < SHARED * size)
    for sign in (-1, 1):
        reach = maximum_filter(sign * pan, size=3 * ratio, mode="nearest")
        of_place = reach[np.minimum(ratio * y + ratio // 2, len(pan) - 1), ratio * x + ratio // 2]
        out &= (side != sign) | (of_place < np.maximum(HEIGHT_IN_PAN, SHARE_IN_PAN * size))
    return np.asarray(out)


def _grey(cube: Levels, pan: Levels) -> Array | None:
    """Heights ``(band,)`` in the cube of a height of one in PAN, of light that makes all bands brighter by one share.

    None where PAN's level, near zero, says nothing of shares.
    """
    level, spread = float(pan.centre[0]), float(pan.deviation[0])
    if not level > LEVEL * spread > 0 or not cube.deviation.any():
        return None
    own = np.where(cube.deviation > 0, cube.deviation, cube.deviation.max())
    return np.asarray(cube.centre / own * spread / level)


class Sight:
    """How the cube sees a sharp image.

    Parameters
    ----------
    optics : Optics
        Of the cube beside the image, which is PAN or one channel of a guide.
    guide : Guide, optional
        Whose pixels the image has; default those of the fine grid.
    """

    def __init__(self, optics: Optics, guide: Guide | None = None) -> None:
        self.optics, self.guide = optics, guide

    def __call__(self, image: Array, coarse: tuple[int, int]) -> Array:
        """The image ``(y, x)`` at so many coarse pixels."""
        height, width = (self.optics.ratio * size for size in coarse)
        fine = _batch(image[None])
        if self.guide is not None:
            fine = replace(self.guide, image=fine, response=None, noise_variance=None, wavelength_nm=None).on_grid(
                (height, width)
            )
        down = Tile(torch.zeros((1, 1, *coarse)), fine, self.optics).down(self.optics.mean_gains())
        return down(fine)[0, 0].numpy()

    def centre(self, places: Array) -> Array:
        """Fine rows and columns, from the upper left corner on, in the middle of some of its pixels ``(n, 2)``."""
        size, offset = (1, (0.0, 0.0)) if self.guide is None else (self.guide.ratio, self.guide.offset)
        return size * (places + 0.5) + np.array(offset)


def _lone_pixels(far: Array, sharp: Array, cube: Array, see: Sight, grey: Array | None) -> Array:
    """Pixels ``(n, 2)`` of a sharp image that neither neighbours nor the cube see."""
    pixels = np.argwhere(far)
    pixels = pixels[_beside(sharp, pixels) < SHARED * np.abs(sharp[tuple(pixels.T)])]
    return pixels[_unseen_by_cube(pixels, sharp, cube, see, grey)]


def _unseen_by_cube(places: Array, pan: Array, cube: Array, see: Sight, grey: Array | None) -> NDArray[np.bool_]:
    """Which of some pixels ``(n, 2)`` of a sharp image, as PAN, the cube should see, and does not.

    What a pixel would be to the coarse cube is known from the optics. If it is of the scene, what the cube's components
    make of PAN exceeds PAN without it by as much, there or beside (both images may lie a little apart); and so do the
    bands as far as it is ``grey``, the only witness where the ground is even. Where noise would hide either, it stays.
    """
    from scipy.ndimage import maximum_filter, median_filter

    out = np.zeros(len(places), dtype=bool)
    if not len(places) or grey is None or not grey.any():
        return out
    y, x = places.T
    rest = pan.copy()
    rest[y, x] = median_filter(pan, size=5, mode="nearest")[y, x]
    without, spot = (see(image, (cube.shape[1], cube.shape[2])) for image in (rest, pan - rest))
    # what is far but has witnesses must not be all that the components know
    features = np.moveaxis(cube.clip(-FAR, FAR), 0, -1).reshape(-1, len(cube))
    touched = np.abs(spot).ravel() > 0.05 * np.abs(spot).max()
    count = min(COMPONENTS, len(cube))
    if (~touched).sum() < PIXELS_EACH * count:
        return out
    _, vectors = np.linalg.eigh(features.T @ features)
    design = np.column_stack([features @ vectors[:, -count:], np.ones(len(features))])
    fit = design @ np.linalg.lstsq(design[~touched], without.ravel()[~touched], rcond=ROUNDING)[0]
    excess = (fit - without.ravel()).reshape(without.shape)
    line = np.column_stack([without.ravel(), np.ones(len(features))])
    common = line @ np.linalg.lstsq(line[~touched], features[~touched], rcond=None)[0]
    spread = np.maximum([deviation(np.abs(band)) for band in (features - common)[~touched].T], 1e-12)
    bands = (features - common) / spread
    weight = grey / spread**2 / (grey**2 / spread**2).sum()
    shares = ((np.moveaxis(cube, 0, -1).reshape(features.shape) - common) @ weight).reshape(without.shape)
    sigma = max(robust_sigma(image[~touched.reshape(image.shape)]) for image in (excess, shares))
    row, column = (see.centre(places) // see.optics.ratio).astype(int).clip(0, np.array(without.shape) - 1).T
    side = np.sign(pan[y, x])
    for sign in (-1, 1):
        worth = maximum_filter(sign * spot, size=3)[row, column]
        there = np.maximum(*(maximum_filter(sign * image, size=5)[row, column] for image in (excess, shares)))
        in_band = maximum_filter((sign * bands).max(1).reshape(excess.shape), size=3)[row, column]
        unseen = (worth > TELLING * sigma) & (there < SHARE_IN_CUBE * worth) & (in_band < HEIGHT_IN_BAND)
        out |= (side == sign) & unseen
    return out


def _batch(image: Array) -> torch.Tensor:
    return torch.as_tensor(image)[None]
