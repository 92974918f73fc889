"""Impulses that stand out of the bands beside them, however few: a histogram needs several to see an excess."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from denoise.separation.estimate import MIN_PIXELS
from hsitools.estimation.band_noise import band_noise
from hsitools.estimation.covariance import subspace
from hsitools.estimation.heights import deviation

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
#: Bands fitted at a time, and pixels that a fit is made of: enough for its weights to add a thirtieth to the noise.
AT_ONCE, ENOUGH = 16, 4096
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
    signed, answers = np.zeros(values.shape, np.float32), np.zeros((bands, bands))
    anew = np.arange(bands)
    for _ in range(TURNS):
        signed[anew], answers[anew] = _standard(_filled(values, out), out, anew)
        more = (np.abs(signed) > FAR) & ~out
        pixels = more.any(0)
        # a spike shows in the bands that it predicts as well: the band whose answers fit best has it
        unit = answers / np.maximum(np.linalg.norm(answers, axis=0), 1e-30)
        fits = np.abs(unit.T @ signed[:, pixels])
        padded = np.pad(fits, ((REACH, REACH), (0, 0)))
        more[:, pixels] &= fits >= np.max([padded[move : move + bands] for move in range(2 * REACH + 1)], axis=0)
        more = _alone(signed, more)
        if not more.any():
            break
        out = out | more
        # other bands' residuals are what they were
        near = (
            np.convolve(more.any((1, 2)), np.ones(2 * REACH + 1), mode="same") if bands > 2 * REACH else np.ones(bands)
        )
        anew = np.flatnonzero(near > 0.5)
    out &= valid
    return _without_features(values, valid, out, least) if out.any() else out


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


def _without_features(values: Array, valid: Mask, out: Mask, least: float) -> Mask:
    """Spikes ``(band, y, x)`` that are no scene: in the subspace, or alike beyond it in three bands in a row.

    The subspace is that of the cube without the spikes; what a single pixel has, it has not.
    """
    from scipy.ndimage import grey_opening

    bands = len(values)
    filled = _filled(values, out | ~valid)
    mean = filled.mean((1, 2))[:, None]
    centred = (filled - mean[..., None]).astype(np.float32)
    noise = band_noise(centred)
    unit = np.maximum(noise, 1e-6 * np.sqrt((centred**2).mean()) + 1e-30)[:, None]
    directions = subspace((centred / unit[..., None]).reshape(bands, -1))
    pixels = out.any(0)
    rest = np.where(valid[:, pixels], values[:, pixels] - mean, 0) / unit
    rest -= directions @ (directions.T @ (centred[:, pixels] / unit))
    common = (grey_opening(np.maximum(side, 0), size=(min(3, bands), 1), mode="constant") for side in (rest, -rest))
    # what bands far off explain of it counts as well where slight ones are to stay
    slight = np.maximum(FAR, least * filled.std((1, 2))[:, None] / unit) if least else 0.0
    size = np.abs(rest)
    real = out.copy()
    real[:, pixels] &= (np.add(*common) <= ALIKE * size) & (size >= slight)
    return real


def _filled(values: Array, out: Mask) -> Array:
    """Values, spikes interpolated between the nearest bands that have none."""
    filled, bands = values.astype(float), len(values)
    pixels = out.any(0)
    if not pixels.any():
        return filled
    gone, seen, place = out[:, pixels], filled[:, pixels], np.arange(bands)[:, None]
    before = np.maximum.accumulate(np.where(gone, -1, place), axis=0)
    after = np.minimum.accumulate(np.where(gone, bands, place)[::-1], axis=0)[::-1]
    left, right = np.where(before < 0, after, before), np.where(after == bands, before, after)
    none = gone.all(0)
    if none.any():
        for band in range(bands):
            kept = filled[band][~out[band]]
            seen[band, none] = np.median(kept) if kept.size else 0
        left[:, none] = right[:, none] = place
    weight = (place - left) / np.maximum(right - left, 1)
    filled[:, pixels] = (1 - weight) * np.take_along_axis(seen, left, 0) + weight * np.take_along_axis(seen, right, 0)
    return filled


def _standard(values: Array, out: Mask, chosen: NDArray[np.intp]) -> tuple[Array, Array]:
    """Residuals ``(n, y, x)`` of the chosen bands on their neighbours, less columns' medians, in units of their spread;
    and how they answer ``(n, band)`` to a change of each band.
    """
    bands, height, width = values.shape
    flat = values.reshape(bands, -1)
    flat = flat - flat.mean(1, keepdims=True)
    unit = np.maximum(np.sqrt(np.einsum("bp,bp->b", flat, flat) / flat.shape[1]), 1e-30)
    centred = (flat / unit[:, None]).astype(np.float32)
    # a random choice, since steps of equal length may keep to some columns
    some = np.sort(np.random.default_rng(0).permutation(height * width)[:ENOUGH])
    sample = centred[:, some].astype(float)
    near = chosen[:, None] + np.array([move for move in range(-REACH, REACH + 1) if move])
    inside = (near >= 0) & (near < bands)
    near = np.clip(near, 0, bands - 1)
    residual, answers = np.empty((len(chosen), *values.shape[1:]), np.float32), np.zeros((len(chosen), bands))
    answers[np.arange(len(chosen)), chosen] = 1
    for first in range(0, len(chosen), AT_ONCE):
        part = slice(first, first + AT_ONCE)
        design = np.where(inside[part, :, None], sample[near[part]], 0)
        design = np.concatenate([design, np.ones_like(design[:, :1])], axis=1)
        ridge = 1e-6 * len(some) * np.eye(design.shape[1])
        target = sample[chosen[part]]
        weight = np.ones_like(target)
        for _ in range(STEPS):
            weighted = design * weight[:, None]
            fit = np.linalg.solve(weighted @ design.mT + ridge, weighted @ target[..., None])[..., 0]
            rest = target - np.einsum("bnp,bn->bp", design, fit)
            weight = 1 / np.maximum(np.abs(rest) / _spread(rest), 1)
        weights = np.where(inside[part], fit[:, :-1], 0)
        rows, moves = np.nonzero(inside[part])
        answers[rows + first, near[part][rows, moves]] = -weights[rows, moves]
        explained = np.einsum("bn,bnp->bp", weights.astype(np.float32), centred[near[part]])
        rest = centred[chosen[part]] - explained - fit[:, -1:].astype(np.float32)
        residual[part] = rest.reshape(residual[part].shape)
    residual -= np.median(np.ascontiguousarray(residual.swapaxes(1, 2)), axis=2)[:, None]
    residual[out[chosen]] = 0
    for image, gone, answer in zip(residual, out[chosen], answers, strict=True):
        # what was filled in has no noise; too few voxels tell nothing
        size = np.abs(image[~gone])
        if size.size < MIN_PIXELS:
            image[:], answer[:] = 0, 0
            continue
        spread = max(deviation(size), 1e-9)
        image /= spread
        answer /= spread
    return residual, answers


def _spread(rest: Array) -> Array:
    """Robust standard deviation of each band, ``(band, 1)``."""
    half = rest.shape[1] // 2
    return np.asarray(np.maximum(np.partition(np.abs(rest), half, axis=1)[:, half, None] / 0.6745, 1e-9))
