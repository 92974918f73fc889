"""Sums of products of bands in float64, and which of their directions are more than noise."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Pixels that are summed at a time in float64: 200 bands of them are 13 MB.
GRAM_PIXELS = 8192
#: Eigenvalues of the noise of a finite cube scatter about the limit of infinitely many bands and pixels, by less than
#: this share for cubes of some thousand pixels.
SCATTER = 1.02


def gram(images: NDArray[Any]) -> NDArray[np.float64]:
    """Sums of products ``(band, band)`` of ``(band, …)`` over all else, in float64 and bounded memory.

    In float32 the sums round by more than the noise of a good cube: its smallest eigenvalues would be rounding.
    """
    flat = images.reshape(len(images), -1)
    total = np.zeros((len(flat), len(flat)))
    for first in range(0, flat.shape[1], GRAM_PIXELS):
        part = flat[:, first : first + GRAM_PIXELS].astype(float)
        total += part @ part.T
    return total


def largest_of_noise(bands: int, samples: float) -> float:
    """Largest eigenvalue of the covariance of unit noise (V. A. Marchenko, L. A. Pastur, Math. USSR Sb. 1, 1967).

    >>> largest_of_noise(100, 400)
    2.25
    """
    return (1 + (bands / samples) ** 0.5) ** 2


def subspace(whitened: NDArray[Any], area: float = 1.0) -> NDArray[Any]:
    """Orthonormal directions ``(band, k)`` that stand out of unit noise in ``(band, pixel)``, strongest first.

    Kept is every eigenvalue beyond the largest that pure noise has: no cap on the rank, or a good cube would lose
    detail. One at least. Of noise that pixels share so many (``area``) count as one.
    """
    bands, pixels = whitened.shape
    values, vectors = np.linalg.eigh(gram(whitened) / pixels)
    rank = max(1, int((values > SCATTER * largest_of_noise(bands, pixels / area)).sum()))
    return np.asarray(vectors[:, ::-1][:, :rank], dtype=np.float32)
