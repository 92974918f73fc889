"""What frames tell of each pixel's own: which behave, their mean light, how they spread."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from hsitools.estimation.spread import robust_sigma
from hsitools.sensor.flat_field import MAX_HALF, MIN_HALF, MIN_SIDE, robust_surface
from hsitools.sensor.photon.curve import Line, pooled_variance, quantisation_step, wild_ratio
from hsitools.sensor.photon.frames import Level
from hsitools.sensor.photon.result import DEAD_RESPONSE

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
#: A pixel whose dark level leaves its surroundings by so many robust deviations is a defect.
DEFECT_SIGMA = 8.0
#: Filters of a mosaic differ by more than this share of the light.
MOSAIC = 0.05


def mean_light(
    dark: Level, levels: list[Level], usable: list[Mask], zero: Array, charge: float, line: Line
) -> tuple[Array, Array, Array]:
    """Mean light of each pixel, in units of the brightest level's, its noise, and that which whole lines share.

    NaN where no level is usable.
    """
    usable = _independent(usable)
    whole = [mask.mean() for mask in usable]
    brightness = [float(np.quantile((level.mean - dark.mean)[mask], 0.9)) if mask.any() else 0.0
                  for level, mask in zip(levels, usable, strict=True)]  # fmt: skip
    # the brightest level of those that hardly a pixel is missing from
    first = max(range(len(levels)), key=lambda k: (whole[k] > 0.95 * max(whole), brightness[k]))
    anchor = levels[first].mean - dark.mean
    lit = usable[first] & (anchor > 0.2 * brightness[first])
    total, shown, noise, lines = (np.zeros(dark.mean.shape) for _ in range(4))
    dark_noise = line.at(np.array(charge)) / dark.count
    for level, mask in zip(levels, usable, strict=True):
        common = lit & mask
        if not common.any():
            continue
        signal = level.mean - dark.mean
        relative = float(signal[common].sum(dtype=float) / anchor[common].sum(dtype=float))
        if relative <= 0:
            continue
        total += np.where(mask, signal, 0)
        noise += np.where(mask, line.at(level.mean - zero) / level.count, 0)
        shown += np.where(mask, relative, 0)
        lines += np.where(mask, level.line_variance / level.count, 0)
    has_light = shown > 0
    used = np.where(has_light, shown, 1.0)
    light = np.where(has_light, total / used, np.nan)
    # the dark frame's noise is in every level
    counted = sum(mask.astype(float) for mask in usable)
    noise += counted**2 * dark_noise
    lines += counted**2 * dark.line_variance / dark.count
    return light, np.where(has_light, np.sqrt(noise) / used, np.nan), np.where(has_light, np.sqrt(lines) / used, np.nan)


def _independent(usable: list[Mask]) -> list[Mask]:
    """Usable pixels whose neighbours are usable too, but for single ones, as far as each pixel keeps a level.

    Where a level begins to saturate, only those pixels are usable whose response and noise are low: their mean tells
    less of both than there is.
    """
    clear = [mask & (ndimage.uniform_filter(mask.astype(float), 5, mode="nearest") > 0.9) for mask in usable]
    kept = np.any(clear, axis=0)
    return [np.where(kept, few, mask) for few, mask in zip(clear, usable, strict=True)]


def mosaic_of(light: Array, noise: Array, steady: Mask) -> Array | None:
    """Relative response ``(y, x)`` of the four places in squares of 2×2, as colour filters give them; None without.

    Filters differ by more than pixels of one place do. Uneven light cancels within a square.
    """
    height, width = (side // 2 * 2 for side in light.shape)
    if min(height, width) < MIN_SIDE:
        return None
    places = [(slice(y, height, 2), slice(x, width, 2)) for y in (0, 1) for x in (0, 1)]
    lit = steady & np.isfinite(light)
    lit[lit] = light[lit] > 10 * noise[lit]
    all_lit = np.all([lit[place] for place in places], axis=0)
    if all_lit.sum() < 100:
        return None
    squares = np.stack([light[place][all_lit] for place in places])
    shares = squares / squares.mean(axis=0)
    typical = np.median(shares, axis=1)
    spread = robust_sigma(shares - typical[:, None], axis=1)
    if np.ptp(typical) < max(MOSAIC, 3 * spread.max()):
        return None
    mosaic = np.empty(light.shape)
    for number, share in enumerate(typical):
        mosaic[number // 2 :: 2, number % 2 :: 2] = share
    return mosaic


def odd_pixels(response: Array, noise: Array) -> Mask:
    """Pixels that respond to less than half, or more than twice, what their surroundings do, beyond their noise."""
    with np.errstate(invalid="ignore"):
        odd = (response < DEAD_RESPONSE) | (response > 1 / DEAD_RESPONSE)
        odd &= np.abs(response - 1) > 6 * noise
        return np.asarray(odd | (response <= 0))


def response_spread(
    response: Array, light: Array, noise: Array, line_noise: Array, leverage: Array, good: Mask, slope_error: float
) -> tuple[float, float]:
    """PRNU and its standard error, from the good pixels' response and its noise.

    ``line_noise`` is in units of ``light``; ``slope_error`` of the curve, which tells the noise, is relative.
    """
    if not good.any():
        return clean_spread(response[good], leverage[good], 0.0, 0.0)
    single = float(np.mean(noise[good] ** 2))
    # the surface follows some of what moves whole lines, and these are few
    lines = float(np.mean((line_noise[good] * response[good] / light[good]) ** 2))
    error = np.hypot(single * slope_error, lines * (2 / min(light.shape)) ** 0.5)
    power = single + (1 - line_leverage(light.shape)) * lines
    return clean_spread(response[good] - 1, leverage[good], power, float(error))


def line_leverage(shape: tuple[int, int]) -> float:
    """Share of what whole lines do that a quadratic surface in a window (`robust_surface`) follows."""
    if min(shape) < MIN_SIDE:
        return 0.0
    return 9 / (4 * (2 * window_half(shape) + 1))


def window_half(shape: tuple[int, int]) -> int:
    """Half the side of the window of local surfaces over a whole frame."""
    return int(np.clip(min(shape) // 10, MIN_HALF, MAX_HALF))


def line_means(image: Array, steady: Mask) -> Array:
    """Mean of each row and column of the steady pixels, added up."""
    filled = np.where(steady, image, 0.0)
    rows = filled.sum(axis=1, keepdims=True) / np.maximum(steady.sum(axis=1, keepdims=True), 1)
    columns = np.where(steady, image - rows, 0.0).sum(axis=0) / np.maximum(steady.sum(axis=0), 1)
    return np.asarray(rows + columns)


def clean_spread(deviation: Array, leverage: Array, noise: float, noise_error: float) -> tuple[float, float]:
    """Standard deviation without noise, and its standard error, of deviations from a fitted surface."""
    if len(deviation) < 2:
        return 0.0, float("nan")
    whitened = deviation / np.sqrt(1 - leverage)
    variance = float(np.var(whitened))
    error = float(np.hypot(variance * (2 / len(whitened)) ** 0.5, noise_error))
    clean = max(variance - noise, 0.0) ** 0.5
    return clean, error / (2 * clean) if clean**2 > error else error**0.5


def charge_notes(rate: float | None, charge: float, brightest: float) -> tuple[str, ...]:
    """Word of a dark charge that, subtracted from flats of another exposure, makes their PRNU wrong."""
    if rate is None or charge < 0.01 * brightest:
        return ()
    return (
        f"dark: frames of several exposures hold {charge:.4g} DN of dark charge in the mean, {charge / brightest:.0%} "
        "of the brightest: PRNU is right only where the flats' exposure gives as much",
    )


def narrow_notes(shape: tuple[int, int]) -> tuple[str, ...]:
    """Word of frames too narrow for uneven light to be told from uneven response."""
    if min(shape) >= MIN_SIDE:
        return ()
    return (
        f"frames of {shape[0]}×{shape[1]} pixels, narrower than {MIN_SIDE}: uneven light and a slope of the dark level "
        "count as the pixels' own, PRNU and dark spread are at most as large as found",
    )


def dark_nonuniformity(dark: Level, steady: Mask, step: float) -> tuple[float, float]:
    """DSNU, DN, and its standard error."""
    surface, lever = dark_surface(dark, steady)
    noise = pooled_variance(dark.variance[steady], dark.pairs, step) / dark.count
    noise_error = noise * (2 / dark.freedom / steady.sum()) ** 0.5
    deviation = dark.mean - surface
    if dark.line_variance > 0:
        # what moves whole lines does not average out over few frames
        deviation = deviation - line_means(deviation, steady)
    return clean_spread(deviation[steady], lever[steady], noise, noise_error)


def dark_surface(dark: Level, steady: Mask) -> tuple[Array, Array]:
    """What changes slowly over the dark frame, and each pixel's leverage on it."""
    if min(dark.mean.shape) < MIN_SIDE:
        return np.full(dark.mean.shape, np.median(dark.mean)), np.full(dark.mean.shape, 1 / dark.mean.size)
    return robust_surface(dark.mean, steady, np.ones(dark.mean.shape, dtype=bool), window_half(dark.mean.shape))


def steady_pixels(dark: Level) -> Mask:
    """Pixels whose dark level and noise are those of their surroundings and of the others."""
    step = quantisation_step(dark.sample)
    values = np.sort(dark.variance, axis=None)
    typical = float(values[: max(1, int(0.98 * len(values)))].mean())
    steady = np.ones(dark.mean.shape, dtype=bool)
    steady &= dark.variance <= max(wild_ratio(dark.pairs) * typical, step**2)
    if typical > 4 * step**2 and dark.pairs >= 4:
        steady &= dark.variance > 0
    floor = (typical / dark.count + step**2 / 12) ** 0.5
    # pixels far from all others first, or they bend the surface
    surface: Any = np.median(dark.mean)
    for again in (True, False):
        away = np.abs(dark.mean - surface)
        spread = max(float(robust_sigma(away)), floor, 1e-9 * max(abs(float(np.median(dark.mean))), 1e-300))
        steady &= away <= DEFECT_SIGMA * spread
        surface = dark_surface(dark, steady)[0] if again else surface
    return steady
