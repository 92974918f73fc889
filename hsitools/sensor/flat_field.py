"""Response of each pixel from flat frames whose light is uneven: the local illumination is fitted and divided out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from hsitools.estimation.spread import robust_sigma

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
#: Half the side of the window in which illumination is a quadratic surface: a tenth of the lit region, within these.
MIN_HALF, MAX_HALF = 4, 10
#: Frames narrower than this hold too little to tell uneven light from uneven response: the light is taken as even.
MIN_SIDE = 16
#: Light that changes by more than this share from pixel to pixel is an edge.
EDGE = 0.2
#: Light below this share of the brightest within two pixels is the dark between sub-images.
GAP = 0.5
#: A pixel's surroundings are lit when they stand out of the noise by so many standard deviations.
LIT_SIGMA = 10.0
#: A dark hole of so many pixels in the light is a group of dead ones.
HOLE = 9
#: Smallest lit region whose light can be told, pixels.
MIN_REGION = 25
#: Pixels that leave the local surface by so many robust deviations do not shape it.
WILD = 5.0


def relative_response(light: Array, noise: Array, steady: Mask) -> tuple[Array, Mask, Array, Mask]:
    """Response of each pixel relative to its surroundings.

    Every lit region (the whole frame, or each of several sub-images) has its own illumination, a surface that is
    quadratic within a window. Between and at the edges of regions response cannot be told from illumination.

    Parameters
    ----------
    light : array, shape (y, x)
        Mean signal; NaN where not known.
    noise : array, shape (y, x)
        Standard deviation that noise alone gives it.
    steady : array of bool, shape (y, x)
        Pixels that follow the light.

    Returns
    -------
    response : array, shape (y, x)
        One on average; NaN where undetermined.
    undetermined : array of bool, shape (y, x)
    leverage : array, shape (y, x)
        Share of each pixel's own deviation that its surface follows.
    rim : array of bool, shape (y, x)
        Pixels at a region's edge, which may be lit in part.
    """
    finite = np.isfinite(light)
    if min(light.shape) < MIN_SIDE:
        middle = float(np.median(light[finite & steady])) if (finite & steady).any() else float("nan")
        even = np.full(light.shape, 1 / max(int(steady.sum()), 1))
        return light / middle, ~finite, even, np.zeros(light.shape, dtype=bool)
    filled = np.where(finite & steady, light, np.nan)
    filled = _fill(filled)
    error = float(np.median(noise[finite])) if finite.any() else 0.0
    # a median of 9 noisy pixels has .4 of their noise
    middle = ndimage.median_filter(filled, 3, mode="nearest")
    lit = middle > np.maximum(GAP * ndimage.maximum_filter(middle, 5, mode="nearest"), LIT_SIGMA * 0.4 * error)
    # small holes are dead pixels, not the dark between sub-images
    holes, count = ndimage.label(~lit)
    size = np.bincount(holes.ravel(), minlength=count + 1)
    lit |= (size <= HOLE)[holes]
    share = ndimage.uniform_filter(lit.astype(float), 3, mode="nearest")
    smooth = ndimage.median_filter(_fill(np.where(lit, filled, np.nan)), 5, mode="nearest")
    smooth = ndimage.uniform_filter(np.where(lit, smooth, 0.0), 3, mode="nearest") / np.maximum(share, 1 / 9)
    smooth = np.where(lit, np.maximum(smooth, 1e-300), np.nan)
    smooth = _fill(smooth) if lit.any() else np.ones(light.shape)
    log = np.log(smooth)
    slope = np.maximum(*(np.abs(np.gradient(log, axis=axis)) for axis in (0, 1)))
    inside = lit & (slope < EDGE + error / smooth)
    rim = ~ndimage.binary_erosion(inside, np.ones((3, 3)), border_value=1)
    regions, _ = ndimage.label(inside)
    # vignetting is nearly quadratic in the logarithm, which only pixels well above the noise have
    noisy = error > 0.1 * smooth
    alike = noisy | ((filled > 0.7 * smooth) & (filled < 1.4 * smooth))
    log = np.log(np.where(alike & ~noisy, np.maximum(filled, 1e-300), smooth))
    response, leverage = np.full(light.shape, np.nan), np.ones(light.shape)
    for number, box in enumerate(ndimage.find_objects(regions), start=1):
        region = regions[box] == number
        if region.sum() < MIN_REGION:
            continue
        half = int(np.clip(min(region.shape) // 10, MIN_HALF, MAX_HALF))
        used = region & (steady & finite & alike)[box]
        if np.median(noisy[box][region]):
            surface, lever = robust_surface(filled[box], used, region, half)
        else:
            surface, lever = robust_surface(log[box], used, region, half)
            surface = np.exp(surface)
        response[box] = np.where(region, light[box] / surface, response[box])
        leverage[box] = np.where(region, lever, leverage[box])
    return response, ~np.isfinite(response), leverage, rim


def robust_surface(values: Array, steady: Mask, region: Mask, half: int) -> tuple[Array, Array]:
    """Local quadratic surface of the steady pixels of a region, and each pixel's leverage; outliers do not shape it."""
    fit = LocalSurface(region, half)
    keep = steady.copy()
    surface = np.full(values.shape, float(np.median(values[steady])) if steady.any() else 0.0)
    for _ in range(3):
        # what does not count is filled in by the surface found so far, so that windows stay whole
        surface = fit(np.where(keep, values, surface))
        away = np.abs(values - surface)
        spread = robust_sigma(away[steady]) if steady.any() else 0.0
        keep = steady & (away <= WILD * spread) if spread > 0 else steady
    return surface, fit.leverage


#: Powers of (y, x) of a quadratic surface.
POWERS = ((0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2))
#: Pixels fitted at a time.
CHUNK = 200_000


class LocalSurface:
    """Least-squares quadratic surface in a square window around each pixel of a region, at the window's centre.

    Parameters
    ----------
    region : array of bool, shape (y, x)
        Pixels that count, and where the surface is wanted.
    half : int
        Half the window's side, pixels.

    Attributes
    ----------
    leverage : array, shape (y, x)
        Weight of the pixel itself in its surface.
    """

    def __init__(self, region: Mask, half: int) -> None:
        self.region, self.half = region, half
        self.offset = np.arange(-half, half + 1) / half
        height, width = region.shape
        rows = max(1, CHUNK // width)
        self.strips = [(top, min(top + rows, height)) for top in range(0, height, rows)]
        # of a whole window, and of those that reach over an edge, which have normal equations of their own
        sums = {power: _whole(self.offset, power) for power in _products()}
        self.first = np.linalg.inv([[sums[_add(a, b)] for b in POWERS] for a in POWERS])[0]
        self.partial: list[Mask] = []
        self.rows: list[Array] = []
        self.leverage = np.full(region.shape, self.first[0])
        for top, stop in self.strips:
            partial, row = self._edges(top, stop)
            self.partial.append(partial)
            self.rows.append(row)
            self.leverage[top:stop][partial] = np.clip(row[:, 0], 0, 0.9)

    def __call__(self, values: Array) -> Array:
        """The surface ``(y, x)``; the values themselves outside the region."""
        surface = values.astype(float)
        middle = float(values[self.region].mean()) if self.region.any() else 0.0
        centred = np.where(self.region, values - middle, 0.0)
        for (top, stop), partial, row in zip(self.strips, self.partial, self.rows, strict=True):
            right = np.stack([self._moment(centred, power, top, stop) for power in POWERS], axis=-1)
            fitted = right @ self.first
            fitted[partial] = (row * right[partial]).sum(axis=-1)
            surface[top:stop] = np.where(self.region[top:stop], fitted + middle, surface[top:stop])
        return surface

    def _moment(self, image: Array, powers: tuple[int, int], top: int, stop: int) -> Array:
        """Sum over each window, weighted by powers of the place in it, for the rows from ``top`` to ``stop``."""
        low = max(top - self.half, 0)
        part = image[low : stop + self.half]
        along = ndimage.correlate1d(part, self.offset ** powers[0], axis=0, mode="constant")[top - low : stop - low]
        return np.asarray(ndimage.correlate1d(along, self.offset ** powers[1], axis=1, mode="constant"))

    def _edges(self, top: int, stop: int) -> tuple[Mask, Array]:
        """Pixels whose windows are not whole, and the weights of the moments in their surface."""
        weight = self.region.astype(float)
        count = self._moment(weight, (0, 0), top, stop)
        partial = self.region[top:stop] & (count < len(self.offset) ** 2 - 0.5)
        if not partial.any():
            return partial, np.zeros((0, len(POWERS)))
        sums = {power: self._moment(weight, power, top, stop)[partial] for power in _products()}
        normal = np.stack([np.stack([sums[_add(a, b)] for b in POWERS], -1) for a in POWERS], -2)
        # so few pixels that no quadratic is told: a touch of ridge leaves a plane, or a mean
        ridge = np.diag([0, 1e-4, 1e-4, 1e-3, 1e-3, 1e-3]) * count[partial][:, None, None]
        unit = np.broadcast_to(np.eye(6)[0][:, None], (len(normal), 6, 1))
        return partial, np.linalg.solve(normal + ridge + 1e-9 * np.eye(6), unit)[..., 0]


def _add(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    return a[0] + b[0], a[1] + b[1]


def _products() -> set[tuple[int, int]]:
    return {_add(a, b) for a in POWERS for b in POWERS}


def _whole(offset: Array, power: tuple[int, int]) -> float:
    return float((offset ** power[0]).sum() * (offset ** power[1]).sum())


def _fill(image: Array) -> Array:
    """Pixels without a value get that of the nearest one that has."""
    missing = ~np.isfinite(image)
    if not missing.any():
        return image
    if missing.all():
        return np.zeros(image.shape)
    places = ndimage.distance_transform_edt(missing, return_distances=False, return_indices=True)
    return np.asarray(image[tuple(places)])
