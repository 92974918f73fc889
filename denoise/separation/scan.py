"""Where a residual stands out of chance: features of several widths in bands, at several scales in space."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.estimation.spread import median, robust_sigma

Array = NDArray[Any]
Mask = NDArray[np.bool_]
#: Standard deviations of the blurs (pixels), widest first, and by how many of its own a feature must stand out there at
#: least. A scene that was missed is smooth and faint, so that wide scales ask for more. For single pixels it is what
#: one pixel in a thousand of white noise reaches in some hundred features.
BLURS = {4.0: 6.0, 2.0: 6.0, 1.0: 6.0, 0.0: 5.0}
#: Share of pixels that chance alone may bring beyond the threshold. White noise stays below a quarter of it, since
#: maxima of normal variables have lighter tails than the law of extremes that is fitted to them.
FALSE = 1e-3
#: Quantiles between which the law of extremes is fitted: even the highest tenth of the pixels is mostly chance.
BULK = (0.5, 0.9)
#: Fourth moment of a residual, of unit variance, from which on single voxels are wilder than normal ones (3, to a
#: hundredth in a cube of half a million voxels): then chance is looked at, not calculated.
HEAVY = 3.2
#: Widths of the features (standard deviation, bands), and lengths of the windows whose energy is looked at (bands).
WIDTHS, WINDOWS = (1.0, 2.0, 4.0, 8.0, 16.0), (8, 16, 32)
#: Pixels at a time, and pixels that a feature's chance is read off: enough for a median to 2 %.
AT_ONCE, ENOUGH = 1024, 4096
#: Groups of pixels at each scale, at most, the strongest; in large images one for so many pixels.
GROUPS, PIXELS_A_GROUP = 64, 200


def features(spectrum: Array) -> NDArray[np.float32]:
    """Absorption features ``(feature, band)`` of a whitened spectrum ``(band,)``, of unit norm."""
    place = np.arange(len(spectrum))
    out = []
    for width in WIDTHS:
        centre = np.arange(0, len(spectrum), max(1.0, width / 2))
        line = np.exp(-0.5 * ((place - centre[:, None]) / width) ** 2) * spectrum
        out.append(line / np.maximum(np.linalg.norm(line, axis=1, keepdims=True), 1e-12))
    return np.concatenate(out).astype(np.float32)


def noise_of_pixels(rest: Array, expected: Array) -> NDArray[np.float32]:
    """Standard deviation ``(y, x)`` of the noise in each pixel of a residual ``(band, y, x)``, no less than expected.

    A pixel may be noisier than its brightness tells (a moving or glinting target, a bad element): all its bands are,
    which a median over bands shows, and a feature of some bands does not.
    """
    # a median of so many values is off by as much by chance
    margin = 1 + 1.17 / np.sqrt(len(rest))
    own = robust_sigma(rest, axis=0) / margin
    return np.asarray(np.maximum(own, expected), dtype=np.float32)


def white(blur: float) -> float:
    """Standard deviation of unit white noise after a blur."""
    return 1 / np.sqrt(1 + 4 * np.pi * blur**2) if blur < 1 else 1 / (2 * np.sqrt(np.pi) * blur)


def blurred(images: Array, blur: float) -> Array:
    """Images ``(…, y, x)`` blurred in space; a border that is mirrored would count its noise twice."""
    from scipy.ndimage import gaussian_filter

    width = (0,) * (images.ndim - 2) + (blur, blur)
    return np.asarray(gaussian_filter(images, width, truncate=3, mode="constant")) if blur else images


def strength(rest: Array, atoms: Array, blur: float) -> NDArray[np.float32]:
    """By how many standard deviations ``(y, x)`` a feature or a window's energy stands out at one scale.

    Chance is that of the residual itself, no less than that of white noise: where it is not white, it says less.

    Parameters
    ----------
    rest : array, shape (band, y, x)
        Of unit noise.
    atoms : array, shape (feature, band)
        Of unit norm.
    blur : float
        Standard deviation, pixels.
    """
    flat = blurred(rest, blur).reshape(len(rest), -1) / white(blur)
    best = np.zeros(flat.shape[1], np.float32)
    some = slice(None, None, 1 + flat.shape[1] // ENOUGH)
    chance = np.maximum(robust_sigma(atoms @ flat[:, some], axis=1)[:, None], 1)
    scaled = (atoms / chance).astype(np.float32)
    for first in range(0, flat.shape[1], AT_ONCE):
        response = scaled @ flat[:, first : first + AT_ONCE]
        best[first : first + AT_ONCE] = np.maximum(response.max(0), -response.min(0))
    # energy of windows twice as long that start at every other one's place, each from two of the former
    square = np.square(flat[: len(flat) // 2 * 2])
    pairs = square[::2] + square[1::2]
    energy = pairs[:-1] + pairs[1:]
    energy = energy[:-2] + energy[2:]
    for length in WINDOWS:
        if not len(energy):
            break
        # χ² as a normal deviate (E. B. Wilson, M. M. Hilferty, PNAS 17, 1931)
        normal = (np.cbrt(energy / length) - (1 - 2 / (9 * length))) / np.float32(np.sqrt(2 / (9 * length)))
        normal -= median(normal[:, some], axis=1)[:, None]
        normal /= np.maximum(robust_sigma(normal[:, some], axis=1)[:, None], 1)
        best = np.maximum(best, normal.max(0))
        energy = energy[:-4:2] + energy[4::2]
    return np.asarray(best.reshape(rest.shape[1:]), dtype=np.float32)


def threshold(strengths: Array, least: float) -> float:
    """Strength that a share of `FALSE` of the pixels reaches by chance, ``least`` or more.

    The null is the image's own: the law of extremes (E. J. Gumbel, 1958) through the bulk of its pixels, so that a
    residual of heavy tails names no more pixels than a normal one.
    """
    low, high = np.quantile(strengths, BULK)
    place = -np.log(-np.log(np.array([*BULK, 1 - FALSE])))
    return max(least, float(low + (high - low) * (place[2] - place[0]) / (place[1] - place[0])))


def heavy_tailed(rest: Array) -> bool:
    """Whether voxels of a residual ``(band, y, x)`` stand out more often than normal ones; zeros are none."""
    flat = rest.reshape(len(rest), -1)
    count = np.maximum((flat != 0).sum(1), 1)
    second, fourth = (np.einsum("bp,bp->b", item, item, dtype=float) / count for item in (flat, flat**2))
    return bool(np.mean(fourth / np.maximum(second, 1e-12) ** 2) > HEAVY)


def taken_apart(rest: Array) -> Array:
    """A residual ``(band, y, x)`` whose bands are moved against one another: it has the same voxels and no spectra."""
    rng = np.random.default_rng(0)
    shape = rest.shape[1:]
    return np.stack([np.roll(image, tuple(rng.integers(0, shape)), (0, 1)) for image in rest])


def groups(rest: Array, atoms: Array, blur: float, least: float) -> Iterator[Mask]:
    """Connected pixels ``(y, x)`` that stand out at one scale, the strongest first."""
    from scipy.ndimage import label, maximum

    strengths = strength(rest, atoms, blur)
    limit = threshold(strengths, least)
    if heavy_tailed(rest):
        limit = max(limit, float(np.quantile(strength(taken_apart(rest), atoms, blur), 1 - FALSE / len(BLURS))))
    labels, count = label(strengths > limit)
    tops = np.atleast_1d(maximum(strengths, labels, np.arange(1, count + 1)))
    for number in 1 + np.argsort(-tops)[: max(GROUPS, strengths.size // PIXELS_A_GROUP)]:
        yield labels == number
