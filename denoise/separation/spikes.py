"""Impulses that stand out of the bands beside them, however few: a histogram needs several to see an excess."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from denoise.separation.estimate import MIN_PIXELS

Array = NDArray[Any]
Mask = NDArray[np.bool_]
#: Bands on either side that predict a band.
REACH = 2
#: Robust standard deviations beyond which a voxel is a spike: tuning scenes without impulses lose a few in 10⁵.
FAR = 7.0
#: The same beyond which a voxel beside it makes both part of a scene that only their band sees.
BESIDE = 5.0
#: Turns, each without the spikes of those before, and steps of each turn's fit of least absolute deviations.
TURNS, STEPS = 3, 4
#: Bands fitted at a time.
AT_ONCE = 16


def spikes(values: Array, valid: Mask) -> Mask:
    """Voxels ``(band, y, x)`` far from what the nearest bands predict, farther than any of these is from its own.

    Each band is regressed on its neighbours, by least absolute deviations; offsets of columns are no spikes.

    Parameters
    ----------
    values : array, shape (band, y, x)
    valid : array of bool, shape (band, y, x)
        What was measured.
    """
    bands, height, width = values.shape
    out = ~valid
    if bands <= REACH or height * width < MIN_PIXELS:
        return np.zeros(values.shape, dtype=bool)
    for _ in range(TURNS):
        signed = _standard(_filled(values, out), out)
        far = np.abs(signed)
        padded = np.pad(far, ((REACH, REACH), (0, 0), (0, 0)))
        largest = np.max([padded[move : move + bands] for move in range(2 * REACH + 1)], axis=0)
        more = (far > FAR) & (far >= largest) & ~out & _alone(signed)
        if not more.any():
            break
        out = out | more
    return out & valid


def _alone(signed: Array) -> Mask:
    """Voxels none of whose eight neighbours in their band is far off to the same side."""
    from scipy.ndimage import maximum_filter

    around = np.ones((1, 3, 3), dtype=bool)
    around[0, 1, 1] = False
    above, below = (maximum_filter(side, footprint=around, mode="constant") for side in (signed, -signed))
    return np.asarray(np.where(signed > 0, above, below) < BESIDE)


def _filled(values: Array, out: Mask) -> Array:
    """Values, spikes interpolated between the nearest bands that have none."""
    filled, place = values.astype(float), np.arange(len(values))
    for y, x in np.argwhere(out.any(0)):
        gone = out[:, y, x]
        filled[gone, y, x] = 0.0 if gone.all() else np.interp(place[gone], place[~gone], filled[~gone, y, x])
    return filled


def _standard(values: Array, out: Mask) -> Array:
    """Residuals ``(band, y, x)`` of each band on its neighbours, less columns' medians, in units of their spread."""
    bands, height, width = values.shape
    flat = values.reshape(bands, -1)
    mean = flat.mean(1, keepdims=True)
    centred = (flat - mean) / np.maximum(flat.std(1, keepdims=True), 1e-30)
    near = np.arange(bands)[:, None] + np.array([move for move in range(-REACH, REACH + 1) if move])
    inside = (near >= 0) & (near < bands)
    residual = np.empty_like(centred)
    for first in range(0, bands, AT_ONCE):
        part = slice(first, first + AT_ONCE)
        design = np.where(inside[part, :, None], centred[np.clip(near[part], 0, bands - 1)], 0)
        design = np.concatenate([design, np.ones_like(design[:, :1])], axis=1)
        unit = 1e-6 * height * width * np.eye(design.shape[1])
        rest, weight = centred[part], np.ones_like(centred[part])
        for _ in range(STEPS):
            weighted = design * weight[:, None]
            fit = np.linalg.solve(weighted @ design.mT + unit, weighted @ centred[part][..., None])
            rest = centred[part] - (design.mT @ fit)[..., 0]
            weight = 1 / np.maximum(np.abs(rest) / _spread(rest), 1)
        residual[part] = rest
    images = residual.reshape(values.shape)
    images -= np.median(images, axis=1, keepdims=True)
    images /= _spread(images.reshape(bands, -1))[..., None]
    images[out] = 0
    return images


def _spread(rest: Array) -> Array:
    """Robust standard deviation of each band, ``(band, 1)``."""
    return np.asarray(np.maximum(np.median(np.abs(rest), axis=1, keepdims=True) / 0.6745, 1e-9))
