"""The photon-transfer curve: its points, its straight line, whether it is straight, and where pixels saturate.

J. R. Janesick, Photon Transfer, SPIE Press, 2007; EMVA Standard 1288, release 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
#: A pixel's variance that noise gives once in so many pixels is not noise (random telegraph signal, a cosmic ray).
WILD_CHANCE = 1e-6
#: Below this chance points are not on one line.
STRAIGHT_CHANCE = 1e-4
#: Levels beyond saturation have lost this share of their variance.
FALLEN = 0.5
#: A point that lies so many standard errors below the line of darker ones may be saturated.
LOW_SIGMA = 4.0
#: A curve may bend, at its brightest point, by this share of its variance.
MAX_BEND = 0.02


# ---- quantisation ----------------------------------------------------------------------------------------------


def quantisation_step(values: NDArray[Any]) -> float:
    """Step between stored values: 1 for a converter's numbers, 16 where they are shifted, 1/65535 where scaled.

    Zero when the values lie on no grid, as computed ones do.
    """
    unique = np.unique(values)
    if len(unique) < 2:
        return 1.0 if np.asarray(values).dtype.kind in "ui" else 0.0
    numbers = unique.astype(float)
    if (numbers == np.rint(numbers)).all() and np.abs(numbers).max() < 2**53:
        return float(np.gcd.reduce(np.diff(numbers.astype(np.int64))))
    gaps = np.diff(numbers)
    kind: Any = unique.dtype if unique.dtype.kind == "f" else float
    # scaled numbers differ by rounding: equal ones may come apart, steps are a few roundings longer or shorter
    rounding = 4 * float(np.finfo(kind).eps) * float(np.abs(numbers).max())
    gaps = gaps[gaps > rounding]
    if not len(gaps):
        return 0.0
    step = float(gaps.min())
    near = gaps[gaps < 50 * step]
    for _ in range(3):
        counts = np.rint(near / step)
        step = float(near.sum() / counts.sum())
    counts = np.rint(near / step)
    on_grid = np.abs(near - counts * step) < 0.1 * step + rounding
    if len(near) < 0.3 * len(gaps) or on_grid.mean() < 0.98 or step < 4 * rounding:
        return 0.0
    return step * float(np.gcd.reduce(counts.astype(np.int64)))


class Rounding(NamedTuple):
    """Variances in squared steps, each ``(n,)``: of noise, and of it rounded, the mean spread evenly over a step, at a
    code, and between two.
    """

    clean: Array
    rounded: Array
    at_code: Array
    between: Array


@cache
def _rounding() -> Rounding:
    from scipy.special import erfc

    clean = np.concatenate([[0.0], np.geomspace(1e-6, 1.0, 400)])
    order = np.arange(1, 2000)[:, None]
    power = 1 / (2 * (np.pi * order) ** 2)
    rounded = clean + 1 / 12 - (np.exp(-4 * (np.pi * order) ** 2 * clean) * power).sum(axis=0) - (1 / 12 - power.sum())
    span, sigma = order[:12], np.sqrt(2 * np.maximum(clean, 1e-6))
    at_code = ((2 * span - 1) * erfc((span - 0.5) / sigma)).sum(axis=0)
    return Rounding(clean, rounded, at_code, 1 / 4 + (2 * span * erfc(span / sigma)).sum(axis=0))


def without_rounding(variance: Array, step: float) -> tuple[Array, Array]:
    """Variance before the converter rounded, and how it changes with the rounded one.

    Rounding adds a twelfth of a squared step to noise that spans steps; to smaller noise less, as values rarely change.
    """
    variance = np.asarray(variance, dtype=float)
    if step == 0:
        return variance, np.ones_like(variance)
    scaled, tables = variance / step**2, _rounding()
    told = np.interp(scaled, tables.rounded, tables.clean)
    clean = np.where(scaled > tables.rounded[-1], scaled - 1 / 12, told)
    slope = np.gradient(tables.clean, tables.rounded)
    return clean * step**2, np.where(scaled > 0.6, 1.0, np.interp(scaled, tables.rounded, slope))


def rounding_uncertainty(variance: float, spread: float, step: float, count: int) -> float:
    """How uncertain the variance of rounded noise is, DN², where the means do not spread over a step.

    Rounding then adds or takes noise, as the means lie between or at the codes (the first harmonic in their place). Of
    ``count`` values, a few may leave their code by chance, or none.
    """
    if step == 0:
        return 0.0
    value, change = (float(part) for part in without_rounding(np.array(variance), step))
    clean = value / step**2
    harmonic = 2**1.5 * clean * np.exp(-2 * np.pi**2 * clean)
    # noise below half a step hardly shows where the means lie at a code, and between two codes any noise flips
    place, tables = variance / step**2, _rounding()
    largest = float(np.interp(place + 3 / count, tables.at_code, tables.clean))
    least = float(np.interp(place, tables.between, tables.clean, left=0.0))
    hidden = max(largest - clean, clean - least) / max(change, 1e-3) if place < 0.6 else 0.0
    return float(max(harmonic, hidden) * np.exp(-2 * np.pi**2 * (spread / step) ** 2) * step**2)


# ---- points ----------------------------------------------------------------------------------------------------


def pooled_variance(variance: NDArray[Any], pairs: int, step: float, expected: Array | None = None) -> float:
    """Mean of many pixels' temporal variances, without those that are no noise.

    The cut is where a variance from so many neighbouring differences has `WILD_CHANCE`, so that nothing is lost of
    Gaussian noise. ``expected`` is each pixel's variance as far as it is known; else all are taken for equal.
    """
    values = np.asarray(variance, dtype=float)
    if len(values) < 20:
        return float(values.mean())
    if expected is None:
        # a first value that few wild pixels cannot move
        expected = np.array(values[values <= np.quantile(values, 0.98)].mean())
    # pixels whose mean lies between two codes flip by a step where others stay
    keep = values <= np.maximum(expected * wild_ratio(pairs), step**2)
    return float(values[keep].mean()) if keep.mean() > 0.5 else float(values.mean())


@cache
def wild_ratio(pairs: int) -> float:
    """How far above the mean a pixel's variance from so many neighbouring differences may lie (three cumulants)."""
    from scipy.stats import chi2

    # eigenvalues of the quadratic form: neighbouring differences share a frame
    weights = 1 - np.cos(np.pi * np.arange(1, pairs + 1) / (pairs + 1))
    first, second, third = weights.sum(), 2 * (weights**2).sum(), 8 * (weights**3).sum()
    freedom = 8 * second**3 / third**2
    cut = first + np.sqrt(second / (2 * freedom)) * (chi2.isf(WILD_CHANCE, freedom) - freedom)
    # the mean of the lower 98 % lies below that of all
    return float(1.25 * cut / first)


@dataclass(frozen=True, kw_only=True, eq=False)
class Points:
    """Points of a curve: pixels of one level that see about the same light.

    Attributes
    ----------
    signal, variance : array, shape (point,)
        Means over the pixels, DN and DN².
    pixels, freedom, pairs : array, shape (point,)
        Pixels, and degrees of freedom and pairs of frames of each.
    level, group : array of int, shape (point,)
        Level, -1 for the dark, and group of pixels in it.
    unevenness : array, shape (point,)
        Variance of the signal among the pixels, DN².
    rounding : array, shape (point,)
        Uncertainty of what rounding added to the variance, DN².
    """

    signal: Array
    variance: Array
    pixels: Array
    freedom: Array
    pairs: Array
    level: NDArray[np.int64]
    group: NDArray[np.int64]
    unevenness: Array
    rounding: Array

    def select(self, which: Any) -> Points:
        """Some of the points."""
        return Points(**{name: getattr(self, name)[which] for name in self.__dataclass_fields__})

    def error(self, variance: Array, slope: float) -> Array:
        """Standard error of each point's variance where the true one is ``variance``: Gaussian, and of photons."""
        # photons' fourth cumulant in DN⁴ is S/K³; a gain is needed to know it
        cumulant = np.maximum(self.signal, 0) * max(slope, 0) ** 3
        square = variance**2 + slope**2 * self.unevenness
        single = 2 * square / self.freedom + cumulant * (self.pairs - 0.5) / self.pairs**2
        return np.asarray(np.sqrt(single / self.pixels + self.rounding**2))


# ---- the line --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, eq=False)
class Line:
    """``variance = intercept + slope · signal``, rounding removed, with the covariance of (slope, intercept)."""

    slope: float
    intercept: float
    covariance: Array
    chi2: float
    freedom: int
    bend: float = 0.0
    bend_error: float = float("inf")
    bend_chi2: float = float("inf")

    def at(self, signal: Array) -> Array:
        """Variance where there is so much signal."""
        return np.asarray(np.maximum(self.intercept + self.slope * signal, 0))

    @property
    def chance(self) -> float:
        """Chance of points that scatter as much about one line."""
        return _chance(self.chi2, self.freedom)

    @property
    def bend_chance(self) -> float:
        """Chance of points that scatter as much about one parabola; 0 where none was fitted."""
        return _chance(self.bend_chi2, self.freedom - 1) if np.isfinite(self.bend_chi2) else 0.0


def _chance(square: float, freedom: int) -> float:
    from scipy.stats import chi2

    return float(chi2.sf(square, freedom)) if freedom > 0 else 1.0


def fit_line(points: Points, step: float, zero_error: float = 0.0) -> Line:
    """Weighted least squares; each point's error is that of the fitted variance, so that noise is not its own weight.

    Parameters
    ----------
    points : Points
    step : float
        Of the converter.
    zero_error : float
        Uncertainty of the signal that all lit points share against the dark, DN.
    """
    clean, change = without_rounding(points.variance, step)
    reach = max(float(np.abs(points.signal).max()), 1e-300)
    columns = [points.signal / reach, np.ones(len(clean))]
    if zero_error > 0:
        columns.append((points.level >= 0).astype(float))
    design = np.stack(columns, axis=1)
    expected, slope = np.maximum(points.variance, 1e-300), 0.0
    for _ in range(8):
        error = change * points.error(np.maximum(expected, 1e-6 * points.variance.max() + 1e-300), slope)
        error = np.maximum(error, 1e-9 * max(float(clean.max()), 1e-300))
        normal = (design / error[:, None] ** 2).T @ design
        right = (design / error[:, None] ** 2).T @ clean
        if zero_error > 0:
            # the shared shift is known to be within the zero's error times the slope
            prior = max(abs(slope), 1e-3 * float(clean.max()) / reach) * zero_error
            normal[2, 2] += 1 / prior**2
        scale = 1 / np.sqrt(np.maximum(np.diag(normal), 1e-300))
        covariance = np.linalg.pinv(normal * np.outer(scale, scale), hermitian=True) * np.outer(scale, scale)
        solution = covariance @ right
        slope = float(solution[0]) / reach
        rounding = points.variance - clean
        expected = np.maximum(design[:, :2] @ solution[:2], 0) + np.maximum(rounding, 0)
    residual = (clean - design @ solution) / error
    units = np.array([1 / reach, 1.0])
    bend, bend_error, bend_chi2 = _bend(design, clean, error, points.signal / reach, float(solution[0]))
    return Line(
        slope=slope, intercept=float(solution[1]), covariance=covariance[:2, :2] * np.outer(units, units),
        chi2=float((residual**2).sum()), freedom=len(clean) - 2, bend=bend, bend_error=bend_error,
        bend_chi2=bend_chi2,
    )  # fmt: skip


def _bend(design: Array, clean: Array, error: Array, position: Array, rise: float) -> tuple[float, float, float]:
    """Quadratic term at the brightest point, as a share of the photon noise there, its standard error, and χ²."""
    if len(np.unique(np.round(position, 3))) < 4 or rise <= 0:
        return 0.0, float("inf"), float("inf")
    full = np.concatenate([design, position[:, None] ** 2], axis=1) / error[:, None]
    normal = full.T @ full
    scale = 1 / np.sqrt(np.maximum(np.diag(normal), 1e-300))
    covariance = np.linalg.pinv(normal * np.outer(scale, scale), hermitian=True) * np.outer(scale, scale)
    solution = covariance @ full.T @ (clean / error)
    square = float(((clean / error - full @ solution) ** 2).sum())
    return float(solution[-1] / rise), float(np.sqrt(covariance[-1, -1]) / rise), square


def below_saturation(points: Points, step: float, zero_error: float) -> tuple[Line, Mask]:
    """The line of the points below saturation, and which points these are.

    Beyond a full well the signal stalls and the variance falls, with no value at which pixels pile up. Points are
    taken from the bright end until the others lie on one line. What was taken is saturated when its variance fell to
    less than half, one level aside that only begins to; otherwise the curve bends, and all points are kept.
    """
    everything = np.ones(len(points.signal), dtype=bool)
    line = fit_line(points, step, zero_error)
    if line.chance > STRAIGHT_CHANCE:
        return line, everything
    clean, change = without_rounding(points.variance, step)
    for limit in np.unique(points.signal[points.level >= 0])[::-1]:
        kept = points.signal < limit
        rest = points.select(kept)
        if not (rest.level >= 0).any() or len(rest.signal) < 2:
            break
        trial = fit_line(rest, step, zero_error)
        if trial.chance <= STRAIGHT_CHANCE or not trial.slope > 0:
            continue
        expected = trial.at(points.signal)
        error = change * points.error(expected, trial.slope)
        lost = 1 - clean[~kept] / expected[~kept]
        low = (expected - clean)[~kept] > LOW_SIGMA * error[~kept]
        # all but the first level that saturates have lost most of their noise; a response that bends loses it by and by
        worst = [lost[points.level[~kept] == level].max() for level in np.unique(points.level[~kept])]
        fell = low.mean() > 0.5 and sum(one < FALLEN for one in worst) <= 1
        # where no level fell altogether and a parabola holds all points, nothing breaks off
        bends = max(worst) < FALLEN and line.bend_chance > STRAIGHT_CHANCE
        if fell and not bends:
            return trial, kept
        break
    return line, everything


# ---- values at which pixels pile up ----------------------------------------------------------------------------


def pile_up(values: NDArray[Any], step: float, spread: float) -> float | None:
    """The value at which measurements are cut off: many have it, hardly any more; None when there is none.

    Parameters
    ----------
    values : array
        Largest value of each pixel, or all values.
    step : float
        Of the converter; 0 when not quantised.
    spread : float
        Standard deviation of the noise near the largest values.
    """
    unique, counts = np.unique(values, return_counts=True)
    for place in {int(counts.argmax()), len(unique) - 1}:
        value, count = float(unique[place]), int(counts[place])
        above = int(counts[place + 1 :].sum())
        if count < 5 or above > 0.002 * counts.sum() + 1:
            continue
        width = max(2 * step, 0.25 * spread)
        near = (unique < value) & (unique >= value - width)
        # what a value may expect from the ones just below, which in a tail are more frequent
        expected = float(counts[near].sum()) * (step / width if width > 0 else 0.0)
        if count > 3 * expected and count > expected + 6 * np.sqrt(expected):
            return value
    return None
