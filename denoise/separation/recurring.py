"""Spectra that stand out in some single pixels are looked for in all others, where they may be weaker.

One pixel must stand out of hundreds of features to be noticed; a spectrum that is known from other pixels is one
feature alone, and seen from a much smaller amplitude on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.estimation.spread import robust_sigma

Array = NDArray[Any]
Mask = NDArray[np.bool_]
#: Share of the pixels named by one spectrum that may be chance (Y. Benjamini, Y. Hochberg, JRSS B 57, 1995), and by how
#: many standard deviations a pixel must stand out at least: without, many true pixels would admit many false ones.
FALSE_AMONG, LEAST = 0.1, 3.0
#: Pixels that make a spectrum recur at least, and the share of the image beyond which it is not rare but missed scene.
SOME, MOST = 3, 0.01
#: How often a spectrum is learned anew from the pixels that have it.
ROUNDS = 3


def recurring(
    rest: Array, spread: Array, cores: Sequence[Mask], direction_of: Callable[[Array], Array]
) -> list[tuple[Array, Mask]]:  # fmt: skip
    """Spectra that several pixels have, and these pixels.

    Parameters
    ----------
    rest : array, shape (band, y, x)
        Residual in units of the noise.
    spread : array, shape (y, x)
        Standard deviation of the noise of each pixel, in the same units.
    cores : sequence of array of bool, shape (y, x)
        Pixels that stand out by themselves, the strongest first.
    direction_of : callable
        Spectrum of unit norm ``(band,)`` of what is not chance in a mean spectrum of unit noise; zero: nothing.

    Returns
    -------
    list of (spectrum ``(band,)``, pixels ``(y, x)``)
    """
    out: list[tuple[Array, Mask]] = []
    taken = np.zeros(spread.shape, dtype=bool)
    for core in cores:
        if (core & taken).any():
            continue
        pixels = core
        for _ in range(ROUNDS):
            spectrum = direction_of(of_unit_noise(rest, spread, pixels))
            scores = np.tensordot(spectrum, rest, 1) / spread
            pixels = outstanding(np.where(taken, 0, scores))
            if not SOME <= pixels.sum() <= MOST * pixels.size:
                break
        else:
            taken |= pixels
            out.append((spectrum, pixels))
    return out


def of_unit_noise(rest: Array, spread: Array, weight: Array) -> Array:
    """Sum ``(band,)`` of a residual ``(band, y, x)`` over some pixels, or with weights ``(y, x)``, in units of its
    noise, which is ``spread``.
    """
    where = weight > 0
    each = weight[where].astype(np.float32)
    return np.asarray(rest[:, where] @ each / np.sqrt(np.square(each * spread[where], dtype=float).sum()))


def outstanding(scores: Array) -> Mask:
    """Scores so high that no more than `FALSE_AMONG` of them are chance.

    Chance is counted on the other side of zero, where noise is as often and the spectrum is not; no less than what a
    normal distribution has of the scores' own width.
    """
    from scipy.special import ndtr

    width = max(float(robust_sigma(scores)), 1e-12)
    unit = scores.ravel() / width
    high = -np.sort(-unit[unit > LEAST])
    count = np.arange(1, len(high) + 1)
    normal = unit.size * ndtr(-high)
    opposite = (unit < -LEAST).sum() - np.searchsorted(np.sort(-unit[unit < -LEAST]), high)
    right = np.flatnonzero(np.maximum(normal, opposite) <= FALSE_AMONG * count)
    limit = high[right[-1]] if len(right) else np.inf
    return np.asarray(scores >= limit * width)
