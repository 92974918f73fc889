"""Noise that neighbouring pixels share, as of an image that was resampled (orthorectified, turned, smoothed).

Resampling is a filter, which noise has gone through as the scene has. What no direction of the scene explains shows it,
and what takes white noise for granted (`smooth`, the flow) sees images without it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hsitools.estimation.covariance import SCATTER, gram, largest_of_noise

Array = NDArray[Any]
#: Pixels as far as which noise may be alike.
REACH = 5
#: Correlation of pixels beside one another from which on noise is not white; simulated white noise and what scenes
#: leave beside it have up to .05, noise resampled by cubic interpolation .13, by linear interpolation .25 to .5.
ALIKE = 0.1
#: Directions beside the scene's that tell of the noise, at least, and smallest image.
DIRECTIONS, MIN_SIDE = 4, 16
#: Least power of the noise at any frequency, of the mean: linear interpolation half-way leaves none of the finest
#: details, and a scene that has some would be hardly more than these (noise blurred by 1.5 pixels beside a sharp scene:
#: .05 leaves five times the squared error that .5 does; where the scene is blurred as well it is no better).
LEAST_POWER = 0.3
#: Rounds of directions and correlation, each of which waits for the other.
ROUNDS = 5


class PixelNoise(NamedTuple):
    """How noise is alike in neighbouring pixels.

    Attributes
    ----------
    correlation : array, shape (2 r + 1, 2 r + 1)
        Of pixels so many rows and columns apart; one in the middle.

    Examples
    --------
    >>> PixelNoise(np.array([[0, 0, 0], [0.5, 1, 0.5], [0, 0, 0]])).area  # two thirds as many are independent
    1.5
    """

    correlation: Array

    @property
    def area(self) -> float:
        """Pixels that tell as much of a variance as one does of white noise."""
        return float(np.square(self.correlation).sum())

    @property
    def long(self) -> float:
        """Pixels of a column that tell as much of its mean as one does of white noise."""
        return float(np.maximum(self.correlation[:, len(self.correlation) // 2].sum(), 1))

    @property
    def beside(self) -> float:
        """Correlation of pixels beside one another, of rows and columns the larger."""
        return max(self.apart(0, 1), self.apart(1, 0))

    def apart(self, down: int, right: int) -> float:
        """Correlation of pixels so many rows and columns apart."""
        r = len(self.correlation) // 2
        return float(self.correlation[r + down, r + right]) if max(abs(down), abs(right)) <= r else 0.0

    @property
    def mixed(self) -> float:
        """Variance of half the mixed differences of 2×2 pixels, of unit noise."""
        return 1 - self.apart(0, 1) - self.apart(1, 0) + (self.apart(1, 1) + self.apart(1, -1)) / 2

    def left(self, blur: float) -> float:
        """Variance of unit noise after a Gaussian blur of more than a pixel."""
        r = len(self.correlation) // 2
        y, x = np.mgrid[-r : r + 1, -r : r + 1]
        kernel = np.exp(-(y**2 + x**2) / (4 * blur**2)) / (4 * np.pi * blur**2)
        return float((self.correlation * kernel).sum())

    def whitened(self, images: Array) -> Array:
        """Images ``(…, y, x)`` through the filter that makes this noise white, of the same variance."""
        return self._filtered(images, -0.5)

    def back(self, images: Array) -> Array:
        """Images ``(…, y, x)`` through the opposite filter, which gives white noise this correlation."""
        return self._filtered(images, 0.5)

    @property
    def whitened_noise(self) -> PixelNoise:
        """The noise as `whitened` leaves it: what is weaker than `LEAST_POWER` stays so."""
        if not self.beside:
            return self
        r = len(self.correlation) // 2
        spectrum = self._spectrum((8 * r, 8 * r))
        left = np.fft.irfft2(np.maximum(spectrum, 0) / np.maximum(spectrum, LEAST_POWER))
        near = np.arange(-r, r + 1)
        return PixelNoise(np.asarray(left[np.ix_(near, near)] / left[0, 0]))

    def _spectrum(self, shape: tuple[int, int]) -> Array:
        r = len(self.correlation) // 2
        kernel = np.zeros(shape)
        kernel[: 2 * r + 1, : 2 * r + 1] = self.correlation
        return np.asarray(np.fft.rfft2(np.roll(kernel, (-r, -r), (0, 1))).real)

    def _filtered(self, images: Array, power: float) -> Array:
        if not self.beside:
            return images
        r = len(self.correlation) // 2
        edge = [min(3 * r, size) for size in images.shape[-2:]]
        wide = np.pad(images, [(0, 0)] * (images.ndim - 2) + [(item, item) for item in edge], mode="symmetric")
        spectrum = np.maximum(self._spectrum(wide.shape[-2:]), LEAST_POWER)
        out = np.fft.irfft2(np.fft.rfft2(wide) * spectrum**power, s=wide.shape[-2:])
        rows, columns = (slice(item, item + size) for item, size in zip(edge, images.shape[-2:], strict=True))
        return np.asarray(out[..., rows, columns], dtype=images.dtype)


#: Noise that pixels do not share.
WHITE = PixelNoise(np.ones((1, 1)))


def pixel_noise(level: Array) -> PixelNoise:
    """How noise is alike in neighbouring pixels of a cube ``(band, y, x)`` of unit noise: `WHITE` unless it surely is.

    The fewer independent pixels there are, the more directions of noise stand out (`largest_of_noise`), and those are
    the ones that are most alike: so that directions and correlation are told in turns.
    """
    bands, height, width = level.shape
    pixels = height * width
    if min(height, width) < MIN_SIDE or bands <= DIRECTIONS:
        return WHITE
    images = level - level.mean(1, keepdims=True, dtype=float).astype(np.float32)
    flat = images.reshape(bands, -1)
    power, vectors = np.linalg.eigh(gram(flat) / pixels)
    found, before, unit = WHITE, -1, 1.0
    for _ in range(ROUNDS):
        # at first half of the directions are the scene's at most, or noise that stands out would leave none
        scene = int((power > unit * SCATTER * largest_of_noise(bands, pixels / found.area)).sum())
        scene = min(scene, bands // 2) if before < 0 else scene
        if bands - scene < DIRECTIONS:
            return WHITE
        if scene == before:
            break
        before, chosen = scene, vectors[:, bands - scene :].astype(np.float32)
        # the noise was told as white noise, of which regressions take less
        unit = max(1.0, float(power[: bands - scene].mean()))
        found = PixelNoise(_correlation((flat - chosen @ (chosen.T @ flat)).reshape(images.shape)))
        if found.beside < ALIKE or _usually_beside(images, vectors[:, : bands - scene]) < ALIKE:
            return WHITE
    return found


def _usually_beside(images: Array, directions: Array) -> float:
    """Correlation of pixels beside one another (rows or columns, the larger) in most of some directions ``(band, k)``.

    Noise is alike in all directions; what is left of the scene is so in one or two, and makes a mean of few as large.
    """
    each = np.tensordot(directions.T.astype(np.float32), images, 1)
    power = np.maximum(np.square(each).mean((1, 2)), np.finfo(np.float32).tiny)
    down, right = (each[:, 1:] * each[:, :-1]).mean((1, 2)), (each[:, :, 1:] * each[:, :, :-1]).mean((1, 2))
    return float(max(np.median(down / power), np.median(right / power)))


def _correlation(images: Array) -> Array:
    """Mean correlation of pixels up to `REACH` rows and columns apart, of ``(band, y, x)`` without columns' means."""
    shape = [size + REACH for size in images.shape[1:]]
    power: Array = np.zeros((shape[0], shape[1] // 2 + 1))
    for image in images:
        power += np.square(np.abs(np.fft.rfft2(image, s=shape)))
    pairs = np.square(np.abs(np.fft.rfft2(np.ones(images.shape[1:]), s=shape)))
    near = np.ix_(*[np.arange(-REACH, REACH + 1)] * 2)
    products, count = (np.fft.irfft2(item, s=shape)[near] for item in (power, pairs))
    mean = products / count
    # with columns' means went what these share
    mean = mean + mean.sum(0) / (images.shape[1] - len(mean))
    # of no noise at all nothing is alike
    return np.asarray(mean / max(float(mean[REACH, REACH]), np.finfo(float).tiny))
