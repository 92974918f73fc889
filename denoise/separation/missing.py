"""Pixels of which some bands were not measured: what the others say of these.

Values that fill a hole are no scene. Were they taken into the bands' covariance, a block that some bands lack would be
a spectrum of its own, which explains its filling for ever after. So the scene's spectra are those of whole pixels, and
in others the bands that were measured choose among them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.estimation.covariance import gram

Array = NDArray[Any]
Mask = NDArray[np.bool_]
#: Share of its bands that a whole pixel may lack: single dead elements are in every second column.
LACKING = 0.05
#: Whole pixels for each band, without which all pixels that hold more than they lack tell the spectra.
PIXELS_EACH = 4
#: Products of directions in memory at once, pixels times pairs of directions.
AT_ONCE = 2**24


def holes(bad: Mask) -> Mask:
    """Voxels ``(band, y, x)`` that were not measured, but for dead elements: of these the nearest bands say more."""
    return np.asarray(bad & ~np.asarray(bad.all(1))[:, None])


def whole_pixels(bad: Mask) -> Mask:
    """Pixels ``(y, x)`` that tell the scene's spectra, of voxels ``(band, y, x)`` that were not measured."""
    share = bad.mean(0)
    whole = share <= LACKING
    return np.asarray(whole if whole.sum() >= PIXELS_EACH * len(bad) else share < 0.5)


def completed(whitened: Array, directions: Array, bad: Mask, whole: Mask) -> Array:
    """Values of unit noise, with what the measured bands of a pixel say of its others.

    The posterior mean of a scene in the subspace whose second moments are those of whole pixels.

    Parameters
    ----------
    whitened : array, shape (band, y, x)
    directions : array, shape (band, k)
        Orthonormal.
    bad : array of bool, shape (band, y, x)
        Voxels that were not measured.
    whole : array of bool, shape (y, x)
        Pixels that are left as they are, as are those of which nothing was measured.
    """
    partly = ~whole & ~bad.all(0)
    if not partly.any() or not whole.any():
        return whitened
    prior, k = _prior(whitened[:, whole], directions), directions.shape[1]
    row, column = np.triu_indices(k)
    pairs = directions[:, row].astype(float) * directions[:, column]
    values, measured = whitened[:, partly], ~bad[:, partly]
    for first in range(0, values.shape[1], max(AT_ONCE // len(row), 1)):
        part = slice(first, first + max(AT_ONCE // len(row), 1))
        own = measured[:, part]
        normal = np.empty((own.shape[1], k, k))
        normal[:, row, column] = normal[:, column, row] = own.T @ pairs
        right = np.where(own, values[:, part], 0).T @ directions.astype(float)
        found = directions @ np.linalg.solve(normal + prior, right[..., None])[..., 0].T
        values[:, part] = np.where(own, values[:, part], found)
    out = whitened.copy()
    out[:, partly] = values
    return out


def doubt_of_missing(whitened: Array, directions: Array, bad: Mask, whole: Mask) -> NDArray[np.float32]:
    """Variance ``(band,)`` of what `completed` cannot know of a band, of values of unit noise.

    By as much as whole pixels differ from what the bands say of them that are there where this one is missing, less
    the noise of both. Zero for bands that no pixel lacks.
    """
    out = np.zeros(len(whitened), dtype=np.float32)
    partly = ~whole & ~bad.all(0)
    lacking = bad[:, partly]
    if not lacking.any() or not whole.any():
        return out
    seen = whitened[:, whole].astype(float)
    prior = _prior(seen, directions)
    for band in np.flatnonzero(lacking.any(1)):
        own = lacking[:, lacking[band]].mean(1) < 0.5
        part = directions[own].astype(float)
        weights = directions[band] @ np.linalg.solve(part.T @ part + prior, part.T)
        left = seen[band] - weights @ seen[own]
        out[band] = max(float(np.mean(left**2)) - 1 - float(weights @ weights), 0)
    return out


def _prior(seen: Array, directions: Array) -> NDArray[np.float64]:
    """Inverse second moments ``(k, k)`` of the scores of a scene, by pixels ``(band, n)`` of unit noise."""
    scores = directions.T @ seen
    power = gram(scores) / scores.shape[1]
    # of unit noise a part is in each score
    noise = min(1.0, 0.5 * float(np.linalg.eigvalsh(power)[0]))
    return np.asarray(np.linalg.inv(power - noise * np.eye(len(power))))
