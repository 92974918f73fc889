"""Where images are cut off at a largest value: full scale, as a pile of values at a band's top shows it.

What a detector reads at its full scale is a lower bound of the scene and no measurement of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Mask = NDArray[np.bool_]
#: Voxels at a band's largest value, and how many times as many as at any other value near it, that make a pile.
LEAST, PILE = 8, 5
#: Share of a band's range below its largest value in which the others are counted, and steps of its levels at least.
TOP, NEXT = 0.05, 1.5
#: Mean rank among a band's other values, 0 to 1, from which on a pile's neighbours are bright: it is .5 about impulses.
BRIGHT = 0.7
#: Rows from which on a column that is wholly at the top, beside columns that are not, is a hot element.
HOT_ROWS = 16


class Pile(NamedTuple):
    """Voxels ``(y, x)`` of a band's largest value, and ranks of those beside them among its other values, 0 to 1."""

    top: float
    at_top: Mask
    beside: Array


def pile(image: Array, use: Mask) -> Pile | None:
    """The pile that one band ``(y, x)`` has at its largest value, of pixels in ``use``; None where there is none."""
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
    values, counts = np.unique(rest, return_counts=True)
    # of few levels the next one is farther down, and holds as many
    step = float(np.median(np.diff(values))) if len(values) > 1 else 0.0
    near = counts[values > top - max(TOP * (top - values[0]), NEXT * step)]
    if near.size and count < PILE * near.max():
        return None
    around = np.zeros_like(at_top)
    around[1:] |= at_top[:-1]
    around[:-1] |= at_top[1:]
    around[:, 1:] |= at_top[:, :-1]
    around[:, :-1] |= at_top[:, 1:]
    beside = image[around & use & ~at_top]
    return Pile(float(top), at_top, np.searchsorted(np.sort(rest), beside, side="left") / len(rest))


def limits(top: Array, piles: Sequence[Pile | None]) -> NDArray[np.float64]:
    """Value ``(band,)`` at which each band clips, of its largest value and its `pile`; infinite where none does.

    A pile alone may be of impulses, which lie anywhere: voxels next to clipped ones are bright. Bands of one detector
    clip alike, also those in which few voxels do: what has the same largest value is judged together, or of many bands
    of impulses one would have bright neighbours by chance.
    """
    out = np.full(len(top), np.inf)
    for value in {found.top for found in piles if found is not None}:
        alike = [found for found in piles if found is not None and found.top == value]
        beside = np.concatenate([found.beside for found in alike])
        at_top = np.any([found.at_top for found in alike], axis=0)
        # as many impulses have neighbours of this mean rank by chance, at three standard deviations
        least = max(BRIGHT, 0.5 + 3 / np.sqrt(12 * at_top.sum()))
        if not beside.size or beside.mean() > least:
            out[np.asarray(top) == value] = value
    return out


def full_scale(values: Array, valid: Mask) -> NDArray[np.float64]:
    """The `limits` ``(band,)`` of bands ``(band, y, x)``, from what is ``valid`` of them."""
    both = list(zip(values, valid, strict=True))
    top = np.array([image[use].max() if use.any() else np.nan for image, use in both])
    return limits(top, [pile(image, use) for image, use in both])


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
