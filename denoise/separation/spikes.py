"""Impulses that stand out of the bands beside them, however few: a histogram needs several to see an excess."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from denoise.separation.noise import MIN_PIXELS
from denoise.separation.strays import LONG, MIN_BANDS, runs, strays
from hsitools.estimation.band_noise import FEW_BANDS, band_noise
from hsitools.estimation.covariance import subspace
from hsitools.estimation.heights import deviation, levels
from hsitools.estimation.spread import median, robust_sigma

Array = NDArray[Any]
Mask = NDArray[np.bool_]
#: Bands on either side that predict a band.
REACH = 2
NEAREST = range(1, REACH + 1)
#: Robust standard deviations beyond which a voxel is a spike: tuning scenes without impulses lose a few in 10⁵.
FAR = 7.0
#: The same beyond which a voxel beside it makes both part of a scene that only their band sees.
BESIDE = 5.0
#: The same where a scene's estimate predicts all bands: errors of that reach ten.
LONE = 15.0
#: Robust deviations of a band beyond which other bands predict a pixel by drawing on what they were not fitted to, and
#: by how much of what is beyond they may miss it: lamps of other spectra than the scene's are missed by an eighth.
USUAL, DRAWN_ON = 10.0, 0.25
#: Turns, each without the spikes of those before, and steps of each turn's fit of least absolute deviations.
TURNS, STEPS = 3, 4
#: Share of a band's standard deviation below which a spike stays: where noise is far less than the scene, the scene's
#: own details stand out of it, and what is so slight spoils no mean or variance. Read on one scene (.1, .3).
SLIGHT = 0.3
#: Bands fitted at a time, and pixels that a fit is made of: enough for its weights to add a thirtieth to the noise.
AT_ONCE, ENOUGH = 16, 4096
#: Share of a spike's height that bands on both sides, or two on one, have of a spectrum's feature: narrow ones (a
#: standard deviation of .7 bands) have .36; of a spike seven deviations high, both would be chance of two deviations.
ALIKE = 0.3
#: Share of pixels that a subspace is taken from, at least; and of those without a hit.
MOSTLY = 0.8
#: Standard deviations beyond which a band pulls no harder at its pixel's coordinates, and steps in which these settle:
#: what a spectrum's feature of several bands has drawn them by halves each time or better.
HUBER, HUBER_STEPS = 2.0, 20


def spikes(values: Array, valid: Mask, least: float = 0.0) -> Mask:
    """Voxels ``(band, y, x)`` far from what the nearest bands predict, farther than any of these is from its own.

    Each band is regressed on its neighbours, by least absolute deviations; offsets of columns are no spikes, nor is a
    feature of several bands that a single pixel has, unless many have some, anywhere (`strays`). Few bands do not
    explain one another: none of theirs is a spike, since a pixel of another material would look alike.

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
    if bands <= FEW_BANDS or height * width < MIN_PIXELS:
        return np.zeros(values.shape, dtype=bool)
    # bands in units of their own: a line from one to another tells nothing where their gains and levels differ
    centre, spread = levels(values, valid)
    values = (values - centre[:, None, None]) / np.where(spread > 0, spread, 1)[:, None, None]
    signed, answers = np.zeros(values.shape, np.float32), np.zeros((bands, bands))
    anew = np.arange(bands)
    hits = _hits(values, out, least) if bands >= MIN_BANDS else np.zeros_like(out)
    out = out | hits
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
    if out.any():
        expected = _filled(values, out | ~valid)
        out &= np.abs(values - expected) >= DRAWN_ON * np.maximum(np.abs(expected) - USUAL, 0)
    single = out & ~hits
    return hits | _without_features(values, valid & ~hits, single, least) if single.any() else hits


def lone(rest: Array, unit: Array, keep: Mask, least: Array) -> Mask:
    """Voxels ``(band, y, x)`` that alone in their pixel, and in their band there, are far from what a scene predicts.

    One voxel is no excess of a histogram; one that bands beside it did not give away (`spikes`) spoils its pixel in all
    of them.

    Parameters
    ----------
    rest : array, shape (band, y, x)
        What was observed less what was predicted.
    unit : array, shape (band,)
        Noise.
    keep : array of bool, shape (band, y, x)
    least : array, shape (band,)
        Size below which none is.
    """
    spread = np.maximum(np.maximum(robust_sigma(rest, axis=(1, 2)), unit), 1e-30)[:, None, None]
    signed = np.where(keep, rest / spread, 0)
    least = np.maximum(LONE, least[:, None, None] / spread)
    out = np.abs(signed) >= least
    if len(rest) <= FEW_BANDS or not out.any():
        return np.zeros(rest.shape, dtype=bool)
    pixels = (np.abs(signed) > BESIDE).sum(0) == 1
    out = _alone(signed, out & pixels)
    pixels = out.any(0)
    out[:, pixels] &= _without_likes(signed[:, pixels], keep[:, pixels], least[..., 0])
    return np.asarray(out)


def _hits(values: Array, out: Mask, least: float) -> Mask:
    """Voxels ``(band, y, x)`` of hits of several neighbouring bands (`strays`), told by bands beyond their reach."""
    signed, answers = _standard(_filled(values, out), out, np.arange(len(values)), range(LONG, LONG + REACH + 1))
    found = np.zeros_like(out)
    far = (np.abs(signed) > FAR).any(0)
    if not 0 < far.mean() < 1 - MOSTLY:
        return found
    run = runs(signed[:, far], answers, BESIDE, ALIKE, least)
    found[:, far] = run & strays(run, np.nonzero(far)[1], values.shape[2])
    return found & ~out


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
    """Spikes ``(band, y, x)`` that are no scene: beyond the subspace, and not alike there in three bands in a row.

    The subspace is that of the cube without the spikes, and without the pixels that have several close to one another,
    unless these are many: the edges of what a single pixel has in several bands are found before its middle.
    """
    bands = len(values)
    filled = _filled(values, out | ~valid)
    mean = filled.mean((1, 2))[:, None]
    centred = (filled - mean[..., None]).astype(np.float32)
    noise = band_noise(centred)
    unit = np.maximum(noise, 1e-6 * np.sqrt((centred**2).mean()) + 1e-30)[:, None]
    padded = np.pad(out, ((0, 2 * REACH), (0, 0), (0, 0)))
    several = np.any([out & padded[move : move + bands] for move in range(1, 2 * REACH + 1)], axis=(0, 1))
    some = ~several if several.mean() < 1 - MOSTLY else np.ones_like(several)
    directions = subspace(centred[:, some] / unit)
    pixels = out.any(0)
    height = np.where(valid[:, pixels], values[:, pixels] - mean, centred[:, pixels]) / unit
    # two guesses of what the scene has there: what the pixel has, and what those beside it have
    y, x = np.nonzero(pixels)
    wide = np.pad(centred, ((0, 0), (1, 1), (1, 1)), mode="edge")
    steps = [(down, right) for down in range(3) for right in range(3) if (down, right) != (1, 1)]
    around = np.median([wide[:, y + down, x + right] for down, right in steps], axis=0)
    rests = [
        _beyond(height.astype(np.float32), (guess / unit).astype(np.float32), directions, drawn=drawn)
        for guess, drawn in ((centred[:, pixels], True), (around, False))
    ]
    far = [(np.abs(rest) > BESIDE).sum(0) for rest in rests]
    rest = np.where(far[1] < far[0], rests[1], rests[0])
    # a dead column's band may be a direction of the subspace: of a spike alone what it was replaced by decides
    plain = height - directions @ (directions.T @ (centred[:, pixels] / unit))
    rest = np.where(several[pixels], rest, plain)
    # what bands far off explain of it counts as well where slight ones are to stay
    slight = np.maximum(FAR if least else BESIDE, least * filled.std((1, 2))[:, None] / unit)
    lone = _without_likes(rest, valid[:, pixels], slight)
    # several are none where those beside the pixel say that they are the ends of one thing
    crowd = lone.sum(0) > 1
    lone[:, crowd] &= _without_likes(rests[1][:, crowd], valid[:, pixels][:, crowd], slight)
    real = out.copy()
    real[:, pixels] &= lone
    return real


def _without_likes(rest: Array, valid: Mask, least: Array) -> Mask:
    """Bands of spectra ``(band, n)`` of no less than a size ``(band, 1)`` that no three in a row have alike."""
    from scipy.ndimage import grey_opening

    rest = np.where(valid, rest, 0)
    common = (grey_opening(np.maximum(side, 0), size=(min(3, len(rest)), 1), mode="constant") for side in (rest, -rest))
    return np.asarray((np.add(*common) <= ALIKE * np.abs(rest)) & (np.abs(rest) >= least))


def _beyond(values: Array, start: Array, directions: Array, *, drawn: bool) -> Array:
    """What of some spectra ``(band, n)`` of unit noise lies beyond a subspace, whose coordinates do not follow what is
    far off it (P. J. Huber, Ann. Math. Stat. 35, 1964; by his pseudo-values).

    What is far is ``drawn`` from as from what is just near, or not at all: then the start decides.
    """
    rest = values - directions @ (directions.T @ start)
    for _ in range(HUBER_STEPS):
        # far from the end in longer steps
        reach = HUBER * np.maximum(np.median(np.abs(rest), axis=0), 1)
        pull = np.clip(rest, -reach, reach) if drawn else np.where(np.abs(rest) < 2 * reach, rest, 0)
        rest = rest - directions @ (directions.T @ pull)
    return np.asarray(rest)


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


def _standard(
    values: Array, out: Mask, chosen: NDArray[np.intp], distances: Sequence[int] = NEAREST
) -> tuple[Array, Array]:
    """Residuals ``(n, y, x)`` of the chosen bands on those at some distances, less columns' medians, in units of their
    spread; and how they answer ``(n, band)`` to a change of each band.
    """
    bands, height, width = values.shape
    flat = values.reshape(bands, -1)
    flat = flat - flat.mean(1, keepdims=True)
    unit = np.maximum(np.sqrt(np.einsum("bp,bp->b", flat, flat) / flat.shape[1]), 1e-30)
    centred = (flat / unit[:, None]).astype(np.float32)
    # a random choice, since steps of equal length may keep to some columns
    some = np.sort(np.random.default_rng(0).permutation(height * width)[:ENOUGH])
    sample = centred[:, some].astype(float)
    near = chosen[:, None] + np.array([side * distance for side in (-1, 1) for distance in distances])
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
    residual -= median(residual, axis=1)[:, None]
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
    return np.asarray(np.maximum(robust_sigma(rest, axis=1)[:, None], 1e-9))
