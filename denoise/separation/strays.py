"""Short runs of neighbouring bands that stand out of single pixels: hits of a detector, or pixels of another material.

One alone tells nothing of it. Of many, hits are in any bands and anywhere; materials have their features where others
of their kind have them, and a bad element has its own in one column.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Mask = NDArray[np.bool_]
#: Bands of a run, and runs of an image without which nothing is said of any.
SHORT, LONG, SOME = 2, 4, 12
#: Bands that a run must be a small part of.
MIN_BANDS = 4 * LONG
#: Standard deviations of chance: of runs in one column's element, and of pairs that have bands in common.
CHANCE = 4.0
#: Times that as many pairs have bands in common as chance gives: hits that read full scale show where it is dark. Of
#: materials, each with a feature of its own, five would be taken for so many hits.
UNEVEN = 2.0
#: Share of the power that a run explains which may be left beside noise.
UNEXPLAINED = 0.1
#: Runs whose pairs are looked at, at most.
AT_MOST = 512


def runs(signed: Array, answers: Array, least: float, alike: float, slight: float = 0.0) -> Mask:
    """Bands ``(band, n)`` of the run that makes each pixel's residuals what they are; none where no run does.

    Parameters
    ----------
    signed : array, shape (band, n)
        Residuals of bands on others, of unit noise.
    answers : array, shape (band, band)
        How they answer to a change of each band.
    least, alike : float
        Height that bands of a run have at least, and its share of the highest.
    slight : float
        Change up to which the largest of a run is none.
    """
    bands = len(signed)
    places = np.arange(bands - LONG + 1)[:, None] + np.arange(LONG)
    own, mixed = np.linalg.qr(answers.T[places].mT)
    parts = np.tensordot(own, signed, (1, 0))
    power = np.square(parts).sum(1)
    best = power.argmax(0)
    rest = np.square(signed).sum(0) - power[best, np.arange(len(best))]
    made = rest <= UNEXPLAINED * power.max(0) + 2 * bands
    # a band that nothing was told of answers to none
    mixed = mixed + np.finfo(np.float32).tiny * np.eye(LONG)
    change = np.linalg.solve(mixed[best], parts[best, :, np.arange(len(best))][..., None])[..., 0]
    height = np.abs(change * np.diag(answers)[places[best]])
    far = height > np.maximum(least, alike * height.max(1, keepdims=True))
    made &= np.where(far, np.abs(change), 0).max(1) > slight
    out = np.zeros(signed.shape, dtype=bool)
    out[places[best], np.arange(len(best))[:, None]] = far & made[:, None]
    return out


def strays(far: Mask, column: NDArray[np.intp], width: int) -> Mask:
    """Which of some pixels ``(n,)`` hold a run that is a hit.

    Parameters
    ----------
    far : array of bool, shape (band, n)
        What stands out of each pixel.
    column : array of int, shape (n,)
        Where the pixel lies, below ``width``.

    Examples
    --------
    >>> place = np.arange(40)
    >>> anywhere = np.abs(np.arange(60)[:, None] - 1.4 * place - 1) < 1.5
    >>> int(strays(anywhere, place, 40).sum()), int(strays(anywhere, 0 * place, 40).sum())
    (40, 0)
    >>> int(strays(np.roll(anywhere[:, :1], 20, 0) + 0 * place > 0, place, 40).sum())  # all of them in the same bands
    0
    """
    bands = len(far)
    count, first, end = far.sum(0), far.argmax(0), bands - far[::-1].argmax(0)
    run = (count >= SHORT) & (end - first <= LONG)
    if bands < MIN_BANDS or run.sum() < SOME:
        return np.zeros_like(run)
    elements = np.zeros((bands, width))
    band, number = np.nonzero(far & run)
    np.add.at(elements, (band, column[number]), 1)
    usual = elements.mean(1, keepdims=True)
    crowded = elements > 1 + usual + CHANCE * np.sqrt(usual)
    run &= ~(far & crowded[:, column]).any(0)
    if run.sum() < SOME:
        return np.zeros_like(run)
    some = np.random.default_rng(0).permutation(np.flatnonzero(run))[:AT_MOST]
    ends = np.minimum.outer(end[some], end[some]) - np.maximum.outer(first[some], first[some])
    pairs = np.triu_indices(len(some), 1)
    # as many have by chance, if runs are anywhere
    length = float((end - first)[some].mean())
    expected = (2 * length - 1) / (bands - length + 1)
    allowed = UNEVEN * expected + CHANCE * np.sqrt(expected / len(pairs[0]))
    return run if np.mean(ends[pairs] > 0) <= allowed else np.zeros_like(run)
