"""Frames of one scene averaged: their noise, and samples that are no light of it (saturated, struck, no numbers)."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.sensor.photon.curve import quantisation_step, wild_ratio, without_rounding

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
#: Classes of brightness whose median variance tells how noise grows with light, and the fewest pixels of one.
CLASSES, CLASS_PIXELS = 12, 20
#: Samples that tell the step of the converter.
SAMPLES = 65536
#: Share of the variance that a sub-image's light must have below which it is none: numbers that do not change.
STUCK = 0.05
#: Share of the sub-images above which a place that varies from frame to frame is the scene's (it moves, or flickers).
SCENE = 0.1


@dataclass(frozen=True, kw_only=True, eq=False)
class Average:
    """Mean of frames cut into sub-images ``(interferometer, y, x)``.

    Attributes
    ----------
    mean : array, shape (interferometer, y, x)
    noise_std : array, shape (interferometer,), or None
        Of the mean, by how the frames differ; None of one frame.
    saturated, wild : array of bool, shape of ``mean``
        At the limit in any frame; not a number, varying by far more than noise in this sub-image alone, or of a
        sub-image without noise among others that have it.
    frame_mean : array, shape (frame,)
        Of each frame, of the pixels that are not hot; NaN of one without a finite number.
    copies : int
        Frames that repeat an earlier one number by number, which no noise does: counted once.
    """

    mean: Array
    noise_std: Array | None
    saturated: Mask
    wild: Mask
    frame_mean: Array
    copies: int = 0


def average(raw: Any, rows: NDArray[np.intp], columns: NDArray[np.intp], limit: float, hot: Mask) -> Average:
    """Average frames ``(n, y, x)``, one in memory at a time.

    Parameters
    ----------
    raw : array or HDF5 dataset
    rows, columns : array of int, shape (interferometer, y, x) when broadcast
        Where the pixels of the sub-images lie.
    limit : float
        Digital number from which samples are saturated.
    hot : array of bool, shape (interferometer, y, x)
        Pixels that tell nothing of the noise.
    """
    count = len(raw)
    mean, squares = np.zeros((2, *hot.shape))
    saturated = np.zeros(hot.shape, dtype=bool)
    frame_mean = np.full(count, np.nan)
    different: set[bytes] = set()
    for number in range(count):
        # about the running mean: of many frames no sum grows beyond its digits
        cut = np.asarray(raw[number], dtype=float)[rows, columns]
        saturated |= cut >= limit
        known = ~hot & np.isfinite(cut)
        if known.any():
            frame_mean[number] = cut[known].mean()
        before = len(different)
        different.add(blake2b(cut.tobytes()).digest())
        if len(different) == before:
            continue
        away = cut - mean
        mean += away / len(different)
        squares += away * (cut - mean)
    wild = ~np.isfinite(mean)
    if count == 1:
        return Average(mean=mean, noise_std=None, saturated=saturated, wild=wild, frame_mean=frame_mean)
    copies = count - len(different)
    if len(different) > 1:
        count = len(different)
    else:
        # a scene without noise, each of whose frames is right
        copies = 0
    variance = squares / (count - 1)
    counts = ~(hot | saturated | wild)
    samples = np.asarray(raw[0])[rows, columns][counts]
    step = quantisation_step(samples[:: max(1, samples.size // SAMPLES)])
    wild |= _struck(mean, variance, counts, count - 1, step)
    counts &= ~wild
    variances = np.array([of[used].mean() if used.any() else 0.0 for of, used in zip(variance, counts, strict=True)])
    # frames without any noise: no interferometer is endlessly sure
    least = 1e-12 * float((mean[counts] ** 2).mean()) if counts.any() else 0.0
    noise = np.maximum(variances, least) / count + _kept_rounding(variances, step)
    return Average(
        mean=mean, noise_std=np.sqrt(noise), saturated=saturated, wild=wild, frame_mean=frame_mean, copies=copies
    )  # fmt: skip


def _kept_rounding(variance: Array, step: float) -> Array:
    """Variance of the rounding that a mean of any number of frames keeps, where their noise spans hardly a step.

    A twelfth of a squared step without noise; its harmonics in the place between two codes are washed out by noise.
    """
    if step == 0:
        return np.zeros_like(variance)
    clean = without_rounding(variance, step)[0][:, None] / step**2
    order = np.arange(1, 200)
    return np.asarray(step**2 * (np.exp(-4 * (np.pi * order) ** 2 * clean) / (2 * (np.pi * order) ** 2)).sum(axis=1))


def _struck(mean: Array, variance: Array, counts: Mask, pairs: int, step: float) -> Mask:
    """Pixels that a cosmic ray struck in some frame, or that blink; sub-images that are stuck or full, without noise.

    Noise has the variance of read-out, photons and a lamp's flicker: a parabola in the light. Between two codes of the
    converter (``step``) the quietest pixel flips. What varies by more at one place of many sub-images is the scene.
    """
    from scipy.ndimage import maximum_filter
    from scipy.optimize import nnls

    none = np.zeros_like(counts)
    light, size = mean[counts], variance[counts]
    classes = min(CLASSES, len(size) // CLASS_PIXELS)
    if classes < 1:
        return none
    parts = np.array_split(np.argsort(light, kind="stable"), classes)
    middle = np.array([np.median(light[part]) for part in parts])
    # the median of few frames' variances lies below their mean: `wild_ratio` is of the mean
    typical = np.array([size[part][size[part] <= np.quantile(size[part], 0.9)].mean() for part in parts])
    zero, unit = middle[0], max(float(middle[-1] - middle[0]), 1e-300)
    known = typical > 0
    if not known.any():
        return none

    def powers(values: Array) -> Array:
        place = np.maximum((values - zero) / unit, 0)
        return np.stack([np.ones_like(place), place, place**2], axis=-1)

    weight = 1 / typical[known, None]
    expected = powers(mean) @ nnls(powers(middle[known]) * weight, np.ones(int(known.sum())))[0]
    far = counts & (variance > np.maximum(wild_ratio(pairs) * expected, step**2))
    around = np.stack([maximum_filter(one, 3) for one in far])
    share = around.sum(axis=0)
    shown, due = ((each * counts).sum(axis=(1, 2)) for each in (variance, expected))
    # noise within a step may show in no pixel
    held = (shown < STUCK * due) & (due > counts.sum(axis=(1, 2)) * step**2 / 4)
    return (far & (share <= max(1.0, SCENE * len(far)))) | held[:, None, None]
