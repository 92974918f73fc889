"""Values that are no measurement: clipped ones, which are lower bounds of the scene, those that stick, and blanks.

What a detector reads at its full scale is not what it would read of the scene.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsitools.cube.blank import blank_spectrum, is_blank

Array = NDArray[Any]
Mask = NDArray[np.bool_]
#: Voxels at a band's largest value, and how many times as many as at any other value near it, that make a pile.
LEAST, PILE = 8, 5
#: Share of a band's range below its largest value in which the others are counted.
TOP = 0.05
#: Mean rank among a band's other values, 0 to 1, from which on a pile's neighbours are bright: it is .5 about impulses.
BRIGHT = 0.7
#: Rows from which on a column that is wholly at the top, beside columns that are not, is a hot element.
HOT_ROWS = 16
#: Share of a band's voxels with exactly the same value, above which it is no measurement.
STUCK = 0.01
#: Values of a band below which repetition says nothing.
FEW_LEVELS = 32
#: Side of the squares of pixels that an area without any value is made of: columns that are dead in all bands are less.
BLANK = 3


def full_scale(values: Array, valid: Mask) -> Array:
    """Value ``(band,)`` at which each band clips, as a pile of values at its top shows; infinite where none does.

    A pile alone may be of impulses, which lie anywhere: voxels next to clipped ones are bright. Bands of one detector
    clip alike, also those in which few voxels do: what has the same largest value is judged together, or of many bands
    of impulses one would have bright neighbours by chance.
    """
    out = np.full(len(values), np.inf)
    top = np.array([image[use].max() if use.any() else np.nan for image, use in zip(values, valid, strict=True)])
    ranks = {band: found for band, item in enumerate(zip(values, valid, strict=True)) if (found := _beside(*item))}
    for value in {float(top[band]) for band in ranks}:
        alike = [found for band, found in ranks.items() if top[band] == value]
        beside = np.concatenate([found.of for found in alike])
        at_top = np.any([found.at_top for found in alike], axis=0)
        # as many impulses have neighbours of this mean rank by chance, at three standard deviations
        least = max(BRIGHT, 0.5 + 3 / np.sqrt(12 * at_top.sum()))
        if not beside.size or beside.mean() > least:
            out[top == value] = value
    return out


def clipped(values: Array, valid: Mask, full: Array | None) -> Mask:
    """Voxels ``(band, y, x)`` at or above full scale ``(band,)``, or where none is stated, that of `full_scale`."""
    limit = full_scale(values, valid) if full is None else full
    at_top = valid & (values >= limit[:, None, None])
    return np.asarray(at_top & ~hot_elements(at_top, valid)[:, None])


def hot_elements(at_top: Mask, valid: Mask) -> Mask:
    """Detector elements ``(band, x)`` that read their largest value in all rows while those beside them do not.

    What is bright enough to clip a whole column clips its neighbours as well.
    """
    count, rows = at_top.sum(1), valid.sum(1)
    whole = (count == rows) & (rows >= HOT_ROWS)
    padded = np.pad(2 * count > rows, ((0, 0), (1, 1)))
    beside = padded[:, :-2] | padded[:, 2:]
    return np.asarray(whole & ~beside & (at_top.shape[2] > 1))


def blank(values: Array, valid: Mask) -> Mask:
    """Pixels ``(y, x)`` of areas that are exactly zero in all bands, or one spectrum: what lies beyond a scene's edge.

    A detector with noise reads no such area; as values they would have the noise of their bands seem less.
    """
    from scipy.ndimage import binary_opening

    alike = valid.any(0) & ~(valid & (values != 0)).any(0)

    def read(rows: slice, columns: slice) -> Array:
        return np.where(valid[:, rows, columns], values[:, rows, columns], np.nan)

    height, width = values.shape[1:]
    spectrum = blank_spectrum(read, (height, width))
    if spectrum is not None:
        alike |= is_blank(read(slice(0, height), slice(0, width)), spectrum)
    return np.asarray(binary_opening(alike, np.ones((BLANK, BLANK), dtype=bool)) if alike.any() else alike)


def stuck_values(values: Array, valid: Mask) -> Mask:
    """Voxels ``(band, y, x)`` of a value that a noisy band would not repeat so often.

    A repeated value counts only if others, and those next to it, hardly repeat: numbers of few digits repeat all over.
    The smallest value is left (clipped shadow), but for lines that were dropped: whole rows of it, beside rows that are
    not; and saturation: the largest value may repeat in a good cube. What was filled in where nothing is ``valid``
    repeats without being any voxel's fault that has the same value.
    """
    from scipy.ndimage import median_filter

    out = np.zeros(values.shape, dtype=bool)
    for band, (image, use) in enumerate(zip(values, valid, strict=True)):
        measured = image[use]
        _, place, count = np.unique(measured, return_inverse=True, return_counts=True)
        if len(count) < FEW_LEVELS:
            continue
        usual = np.maximum(np.sort(count)[int(0.9 * len(count))], median_filter(count, 11, mode="constant", cval=1))
        often = (count > STUCK * measured.size) & (count > 20 * usual)
        often[-1] &= count[-1] > 0.03 * measured.size
        often[0] = False
        out[band][use] = often[place]
        least = (use & (image == measured.min()))[None]
        out[band] |= least[0] & hot_elements(least.transpose(0, 2, 1), use.T[None])[0][:, None]
    return out


class _Beside(NamedTuple):
    """Voxels ``(y, x)`` of a band's largest value, and ranks of those beside them among its other values, 0 to 1."""

    at_top: Mask
    of: Array


def _beside(image: Array, use: Mask) -> _Beside | None:
    """What is beside the pile that one band has at its largest value; None where there is no pile."""
    if not use.any():
        return None
    top = image[use].max()
    at_top = use & (image == top)
    at_top &= ~hot_elements(at_top[None], use[None])[0]
    count = int(at_top.sum())
    if count < LEAST or top <= 0:
        return None
    rest = image[use & ~at_top]
    if not rest.size:
        return None
    near = rest[rest > top - TOP * (top - rest.min())]
    # the next value may be one less of few levels, and each of these holds as many
    if near.size and count < PILE * np.unique(near, return_counts=True)[1].max():
        return None
    around = np.zeros_like(at_top)
    around[1:] |= at_top[:-1]
    around[:-1] |= at_top[1:]
    around[:, 1:] |= at_top[:, :-1]
    around[:, :-1] |= at_top[:, 1:]
    beside = image[around & use & ~at_top]
    return _Beside(at_top, np.searchsorted(np.sort(rest), beside, side="left") / len(rest))
