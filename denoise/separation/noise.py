"""Noise of each band of a cube whose outliers are filled with what its scene predicts there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.estimation.band_noise import FEW_BANDS, band_noise
from hsitools.estimation.covariance import SCATTER, gram, largest_of_noise
from hsitools.estimation.spread import robust_sigma

Array = NDArray[Any]
Mask = NDArray[np.bool_]
#: Standard deviations of what the scene misses beyond which a pixel tells nothing of the noise, and the share of these
#: up to which they are left out: a line across the image is 2 % of fifty rows.
LONE, UNUSUAL = 20.0, 0.05
#: Share of outliers from which on a band does not explain others.
MOSTLY = 0.75
#: Rows from which on columns' means tell of columns.
ROWS = 8
#: Share of a column that was not measured from which on its mean is not that of what was.
PARTLY = 0.1
#: Long steps, of three turns of factors and noise each, their length at most, and change of the noise's variance in one
#: turn that ends them. With more of them, factors of two bands each take up all noise of one or the other.
TURNS, LONGEST, SETTLED = 4, 32.0, 1e-3
#: Share of what other bands do not explain that is surely a band's own noise.
LEAST_OWN = 0.1
#: Pixels below which scene and noise cannot be told apart.
MIN_PIXELS = 64


def along_track(values: Array, scene: Array, keep: Mask) -> Array:
    """Values with their columns' means replaced by the bands': what is left has no column offsets.

    Where a part of a column was not measured, what fills it has the scene's values without an offset: there the
    measured part is first brought to the scene's level, or an offset would be left as a step along the column, and one
    more of the scene's spectra.

    Parameters
    ----------
    values, scene : array, shape (band, y, x)
    keep : array of bool, shape (band, y, x)
        Where ``values`` were measured, and are not filled with the scene.
    """
    if values.shape[1] < ROWS:
        return values
    missing = 1 - keep.mean(1)
    partly = np.flatnonzero(((missing > PARTLY) & (missing < 1)).any(1))
    if len(partly):
        own, values = keep[partly], values.copy()
        offset = np.where(own, values[partly] - scene[partly], 0).sum(1, keepdims=True)
        values[partly] -= np.where(own, offset / np.maximum(own.sum(1, keepdims=True), 1), 0)
    return values - values.mean(1, keepdims=True) + values.mean((1, 2), keepdims=True)


def noise_of_bands(level: Array, rest: Array, outlier: Mask, area: float = 1.0) -> Array:
    """Noise of each band ``(band,)`` where outliers are filled with the scene.

    Bands that are mostly filled are other bands' sums, and would explain these: they have no say, and their own noise
    is that of what was measured; without any, it is the others'.

    Parameters
    ----------
    level : array, shape (band, y, x)
        Values without column offsets, as `along_track` gives them.
    rest : array, shape (band, y, x)
        What the scene leaves of the values.
    outlier : array of bool, shape (band, y, x)
    area : float
        Pixels that count as one (`pixel_noise`).
    """
    share = outlier.mean((1, 2))
    whole = share < MOSTLY
    if not whole.any():
        return band_noise(level, area)
    out = np.empty(len(level), dtype=np.float32)
    # filled voxels have no noise
    out[whole] = band_noise(usual_pixels(level[whole], rest[whole]), area) / np.sqrt(1 - share[whole])
    for band in np.flatnonzero(~whole):
        own = rest[band][~outlier[band]]
        out[band] = robust_sigma(own) if len(own) >= MIN_PIXELS else 0
        out[band] = out[band] or np.median(out[whole])
    return out


def usual_pixels(values: Array, rest: Array) -> Array:
    """Values ``(band, y, x)`` without pixels of which the scene misses far more than noise: ``(band, 1, pixel)`` then.

    A lone pixel's feature of a hundred standard deviations would make the noise of its bands seem twice as much.
    """
    if len(values) <= FEW_BANDS:
        return values
    spread = robust_sigma(rest, axis=(1, 2))[:, None, None]
    usual = ~(np.abs(rest) > LONE * np.maximum(spread, 1e-30)).any(0)
    enough = usual.mean() > 1 - UNUSUAL and usual.sum() >= 4 * len(values) and spread.all()
    return values[:, None, usual] if enough and not usual.all() else values


def own_noise(level: Array, told: Array, outlier: Mask, area: float = 1.0) -> NDArray[np.float32]:
    """Noise of each band ``(band,)`` that is its own, where what other bands do not explain has their noise as well.

    Factor analysis: a band is a sum of few factors that bands share, and of noise that is its own (D. N. Lawley, Proc.
    R. Soc. Edinburgh 60, 1940); factors and noise in turns (K. G. Jöreskog, Psychometrika 32, 1967). No band is weighed
    by more noise than its own, so that one of much less than the others' gets what it has.

    Parameters
    ----------
    level : array, shape (band, y, x)
        Values without column offsets, as `along_track` gives them.
    told : array, shape (band,)
        What others do not explain of each.
    outlier : array of bool, shape (band, y, x)
        Filled with the scene: there is no noise there.
    area : float
        Pixels that count as one (`pixel_noise`).
    """
    share = outlier.mean((1, 2))
    whole = share < MOSTLY
    bands, pixels = int(whole.sum()), level[0].size
    if bands <= FEW_BANDS:
        return np.asarray(told, dtype=np.float32)
    values = level[whole] - level[whole].mean((1, 2), keepdims=True, dtype=float).astype(np.float32)
    covariance = gram(values) / pixels
    first = np.maximum(np.square(told[whole], dtype=float) * (1 - share[whole]), 1e-30)
    power = np.linalg.eigvalsh(covariance / np.sqrt(first) / np.sqrt(first)[:, None])
    factors = int((power > SCATTER * largest_of_noise(bands, pixels / area)).sum())

    def turn(variance: Array) -> Array:
        unit = np.sqrt(variance)
        power, vectors = np.linalg.eigh(covariance / unit / unit[:, None])
        chosen = slice(bands - factors, None)
        scene = vectors[:, chosen] ** 2 @ np.maximum(power[chosen] - 1, 0)
        return np.clip(np.diag(covariance) - variance * scene, LEAST_OWN * first, first)

    # more factors than leave any freedom fit any covariance (W. Ledermann, Psychometrika 2, 1937): the first turn is
    # all that is told
    freedom = ((bands - factors) ** 2 - bands - factors) / 2
    variance = _settled(turn, first) if freedom > 0 else turn(first)
    out = np.array(told, dtype=np.float32)
    # columns' means and the factors' weights have taken their part of it
    lost = factors * area + (outlier.shape[2] if outlier.shape[1] >= ROWS else 1)
    out[whole] = np.sqrt(variance / (1 - share[whole]) * pixels / max(pixels - lost, 1))
    return out


def signal_slope(residual: Array, scene: Array, keep: Mask) -> Array:
    """Growth of noise variance with the signal ``(band,)``: lines through squared residuals, at least 0."""
    out = np.zeros(len(scene), dtype=np.float32)
    for band, (rest, level, use) in enumerate(zip(residual, scene, keep, strict=True)):
        if use.any():
            level = level[use] - level[use].mean()
            out[band] = max(level @ rest[use] ** 2 / max(level @ level, 1e-30), 0)
    return out


def _settled(turn: Callable[[Array], Array], start: Array) -> Array:
    """Where turns of positive values ``(n,)`` settle, by long steps in their logarithms.

    After R. Varadhan, C. Roland, Scand. J. Statistics 35, 2008.
    """
    value = start
    for _ in range(TURNS):
        one = turn(value)
        two = turn(one)
        step, bend = np.log(one / value), np.log(two / one)
        if np.abs(bend).max() < SETTLED:
            return two
        bend = bend - step
        length = np.clip(float(np.linalg.norm(step)) / max(float(np.linalg.norm(bend)), 1e-30), 1, LONGEST)
        value = turn(value * np.exp(2 * length * step + length**2 * bend))
    return value
