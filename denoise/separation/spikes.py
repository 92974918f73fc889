"""Impulses that stand out of the bands beside them, however few: a histogram needs several to see an excess."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from denoise.separation.estimate import MIN_PIXELS
from denoise.separation.wild import DEVIATE, FARTHEST
from hsitools.estimation.band_noise import band_noise
from hsitools.estimation.covariance import subspace

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
#: Share of a spike's height that bands on both sides, or two on one, have of a spectrum's feature: narrow ones (a
#: standard deviation of .7 bands) have .36; of a spike seven deviations high, both would be chance of two deviations.
ALIKE = 0.3


def spikes(values: Array, valid: Mask, least: float = 0.0) -> Mask:
    """Voxels ``(band, y, x)`` far from what the nearest bands predict, farther than any of these is from its own.

    Each band is regressed on its neighbours, by least absolute deviations; offsets of columns are no spikes, nor is a
    feature of several bands that a single pixel has.

    Parameters
    ----------
    values : array, shape (band, y, x)
    valid : array of bool, shape (band, y, x)
        What was measured.
    least : float
        Share of a band's standard deviation below which a spike is none.
    """
    bands, height, width = values.shape
    out = ~valid
    if bands <= REACH or height * width < MIN_PIXELS:
        return np.zeros(values.shape, dtype=bool)
    for _ in range(TURNS):
        signed, answers = _standard(_filled(values, out), out)
        # a spike shows in the bands that it predicts as well: the band whose answers fit best has it
        fits = np.abs(np.tensordot(answers.T, signed, 1))
        padded = np.pad(fits, ((REACH, REACH), (0, 0), (0, 0)))
        largest = np.max([padded[move : move + bands] for move in range(2 * REACH + 1)], axis=0)
        more = _alone(signed, (np.abs(signed) > FAR) & (fits >= largest) & ~out)
        if not more.any():
            break
        out = out | more
    out &= valid
    return out & ~_features(values, valid, out, least) if out.any() else out


def _alone(signed: Array, where: Mask) -> Mask:
    """Those of some voxels of whose eight neighbours in their band no two are far off to the same side: one may be
    another spike.
    """
    band, y, x = np.nonzero(where)
    padded = np.pad(signed, ((0, 0), (1, 1), (1, 1)))
    steps = [(down, right) for down in range(3) for right in range(3) if (down, right) != (1, 1)]
    beside = np.stack([padded[band, y + down, x + right] for down, right in steps]) * np.sign(signed[where])
    out = where.copy()
    out[where] = np.partition(beside, -2, axis=0)[-2] < BESIDE
    return out


def _features(values: Array, valid: Mask, out: Mask, least: float) -> Mask:
    """Spikes ``(band, y, x)`` that are scene: in the subspace, or alike beyond it in three bands in a row.

    The subspace is that of the cube without the spikes; what a single pixel has, it has not.
    """
    from scipy.ndimage import grey_opening

    bands = len(values)
    filled = _filled(values, out | ~valid)
    mean = filled.mean((1, 2), keepdims=True)
    centred = (filled - mean).astype(np.float32)
    noise = band_noise(centred)
    unit = np.maximum(noise, 1e-6 * np.sqrt((centred**2).mean()) + 1e-30)[:, None, None]
    flat = (centred / unit).reshape(bands, -1)
    directions = subspace(flat)
    rest = np.where(valid, values - mean, 0) / unit - (directions @ (directions.T @ flat)).reshape(values.shape)
    common = (grey_opening(np.maximum(side, 0), size=(min(3, bands), 1, 1), mode="constant") for side in (rest, -rest))
    # what bands far off explain of it counts as well where slight ones are to stay
    slight = np.maximum(FAR, least * filled.std((1, 2), keepdims=True) / unit) if least else 0.0
    return np.asarray(out & ((np.add(*common) > ALIKE * np.abs(rest)) | (np.abs(rest) < slight)))


def _filled(values: Array, out: Mask) -> Array:
    """Values, spikes interpolated between the nearest bands that have none."""
    filled, place = values.astype(float), np.arange(len(values))
    middle = np.zeros(len(values))
    for band in np.flatnonzero(~out.all((1, 2))):
        middle[band] = np.median(filled[band][~out[band]])
    for y, x in np.argwhere(out.any(0)):
        gone = out[:, y, x]
        filled[gone, y, x] = middle[gone] if gone.all() else np.interp(place[gone], place[~gone], filled[~gone, y, x])
    return filled


def _standard(values: Array, out: Mask) -> tuple[Array, Array]:
    """Residuals ``(band, y, x)`` of each band on its neighbours, less columns' medians, in units of their spread; and
    how all bands' residuals ``(band, band)`` answer to a change of each, columns of unit norm.
    """
    bands, height, width = values.shape
    flat = values.reshape(bands, -1)
    mean = flat.mean(1, keepdims=True)
    centred = (flat - mean) / np.maximum(flat.std(1, keepdims=True), 1e-30)
    near = np.arange(bands)[:, None] + np.array([move for move in range(-REACH, REACH + 1) if move])
    inside = (near >= 0) & (near < bands)
    residual, answers = np.empty_like(centred), np.eye(bands)
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
        rows, moves = np.nonzero(inside[part])
        answers[rows + first, near[part][rows, moves]] = -fit[rows, moves, 0]
    images = residual.reshape(values.shape)
    images -= np.median(images, axis=1, keepdims=True)
    images[out] = 0
    for image, gone, answer in zip(images, out, answers, strict=True):
        # what was filled in has no noise; too few voxels tell nothing
        size = np.abs(image[~gone])
        if size.size < MIN_PIXELS:
            image[:], answer[:] = 0, 0
            continue
        middle, most = np.quantile(size, [0.5, 1 - FARTHEST])
        spread = max(middle / 0.6745, most / DEVIATE, 1e-9)
        image /= spread
        answer /= spread
    return images, answers / np.maximum(np.linalg.norm(answers, axis=0), 1e-30)


def _spread(rest: Array) -> Array:
    """Robust standard deviation of each band, ``(band, 1)``."""
    return np.asarray(np.maximum(np.median(np.abs(rest), axis=1, keepdims=True) / 0.6745, 1e-9))
