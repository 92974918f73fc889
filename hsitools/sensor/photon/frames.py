"""Statistics of repeated frames of one level of light, in one pass, and the files that hold such frames."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.arrays import real_array
from hsitools.errors import FormatError, InputError
from hsitools.estimation.spread import robust_sigma
from hsitools.io.formats.hdf5 import open_hdf5
from hsitools.sensor.photon.curve import quantisation_step
from hsitools.text import counted

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
#: What two frames have in common is estimated from about so many pixels.
SAMPLE = 200_000
#: Pixels that change by so many robust deviations more than the others say nothing about what frames have in common.
WILD = 6.0
#: Rows or columns move together when their means scatter by so many standard errors more than noise lets them.
LINE_SIGMA = 6.0
#: Frames whose noise flips so many pixels from one to the next are never equal, but for copies.
COPIES = 50.0
#: Fewer elements in a line than this, and its mean cannot be told from noise.
MIN_LINE = 16


@dataclass(frozen=True, kw_only=True, eq=False)
class Level:
    """What repeated frames of one level of light tell of each pixel, in the frames' units (DN).

    Attributes
    ----------
    name : str
    count : int
        Frames.
    pairs, runs : int
        Neighbouring frames compared, and groups of frames among which they were.
    mean, peak, low : array, shape (y, x)
        Mean, largest and smallest value of each pixel.
    variance : array, shape (y, x)
        Temporal variance of each pixel: mean over neighbouring frames of half their squared difference, what the two
        frames have in common removed.
    line_variance : float
        Variance of what whole rows and columns do from frame to frame, removed from ``variance``; 0 when none is seen.
    frame_mean : array, shape (frame,)
    pair_mean, pair_variance : array, shape (pair,)
        Mean of the two frames, and their mean temporal variance.
    sample : array
        Some values as they are stored, to tell the step of the converter from.
    beside : float
        Sum of the correlations of a pixel's noise with its eight neighbours', lines removed; zero of white noise.
    """

    name: str
    count: int
    pairs: int
    runs: int
    mean: NDArray[Any]
    variance: NDArray[Any]
    peak: NDArray[Any]
    low: NDArray[Any]
    line_variance: float
    frame_mean: Array
    pair_mean: Array
    pair_variance: Array
    sample: NDArray[Any]
    beside: float = 0.0

    @property
    def freedom(self) -> float:
        """Degrees of freedom of each pixel's variance: neighbouring differences share a frame."""
        return 2 * self.pairs**2 / (3 * self.pairs - self.runs)


def level_statistics(
    frames: Iterable[NDArray[Any]], name: str, steady: Mask | None = None, groups: Array | None = None
) -> Level:
    """Statistics of repeated frames, two in memory at a time.

    The difference of two frames holds their noise, and what the lamp and the electronics did in between: a share of the
    mean frame (light that grew or flickered) and a common offset (a bias that moved). Both are regressed out; fixed
    pattern and uneven light cancel. The regressor is the pair's mean, whose noise is uncorrelated with that of the
    difference. EMVA Standard 1288, release 4; frames need not be equally bright.

    Parameters
    ----------
    frames : iterable of frames (y, x)
    name : str
        For messages.
    steady : array of bool (y, x), optional
        Pixels that follow the light.
    groups : array, shape (frame,), optional
        Frames are compared with the last one of their group (dark frames of one exposure); one of each is kept.

    Raises
    ------
    InputError
        When a frame is no image of finite numbers, or sizes differ.
    """
    moments = _Moments(name, steady)
    for number, frame in enumerate(frames):
        moments.add(frame, 0.0 if groups is None or number >= len(groups) else float(groups[number]))
    return moments.level()


class _Moments:
    def __init__(self, name: str, steady: Mask | None) -> None:
        self.name, self.steady, self.count = name, steady, 0
        self.frame_mean: list[float] = []
        self.pair_mean: list[float] = []
        self.pair_variance: list[float] = []
        #: last frame of each group, its mean, and whether it was compared
        self.last: dict[float, tuple[Array, float, bool]] = {}
        #: a frame that is the one before it once more
        self.equal: int | None = None
        #: sums over rows and columns: excess of the lines' means, its expectation, its variance, line variance
        self.lines = np.zeros(4)
        #: sums of products of neighbouring pixels' noise, and of its square
        self.products = np.zeros(2)

    def add(self, frame: NDArray[Any], group: float) -> None:
        stored = real_array(frame, self.name)
        # a copy: readers may fill one buffer again and again
        values = np.array(stored, dtype=float)
        if values.ndim != 2:
            raise InputError(f"{self.name}: found a frame of shape {values.shape}, expected (y, x)")
        unknown = int(values.size - np.isfinite(values).sum())
        if unknown:
            raise InputError(
                f"{self.name}: found {counted(unknown, 'value')} not finite in frame {self.count}, expected numbers"
            )
        if self.count == 0:
            self.mean, self.low, self.peak = np.zeros_like(values), values, values
            self.square, self.square_lines = np.zeros_like(values), np.zeros_like(values)
            self._choose(values.shape)
            self.sample = stored.ravel()[:: max(1, stored.size // 65536)].copy()
        elif values.shape != self.mean.shape:
            raise InputError(f"{self.name}: found frames of {self.mean.shape} and {values.shape}, expected one size")
        chosen = values.ravel()[self.chosen]
        self.frame_mean.append(float(chosen[_tame(chosen)].mean()))
        compared = group in self.last
        if compared:
            self._pair(values, self.last[group][0])
            self.pair_mean.append((self.frame_mean[-1] + self.last[group][1]) / 2)
        self.last[group] = (values, self.frame_mean[-1], compared)
        self.count += 1
        self.mean += (values - self.mean) / self.count
        self.low, self.peak = np.minimum(self.low, values), np.maximum(self.peak, values)

    def _choose(self, shape: tuple[int, int]) -> None:
        """A spread of steady pixels to regress on; all of them where they are few."""
        places = np.arange(shape[0] * shape[1])
        if self.steady is not None and self.steady.shape == shape and self.steady.any():
            places = np.flatnonzero(self.steady)
        # a stride prime to the width, so that the sample holds all columns
        stride = max(1, len(places) // SAMPLE)
        while stride > 1 and np.gcd(stride, shape[1]) > 1:
            stride += 1
        self.chosen = places[::stride]

    def _pair(self, values: Array, previous: Array) -> None:
        difference = values - previous
        reference = (values + previous) / 2
        y, x = difference.ravel()[self.chosen], reference.ravel()[self.chosen]
        # pixels at their frame's largest value may be clipped, and then do not follow the lamp
        largest = np.maximum(values, previous).ravel()[self.chosen]
        keep = largest < largest.max()
        # of frames of hardly two codes that leaves a few odd pixels to regress on
        if keep.sum() < 0.1 * len(keep) or np.ptp(np.quantile(x[keep], [0.02, 0.98])) == 0:
            keep = np.ones(len(keep), dtype=bool)
        offset, share = _common(y, x, keep & _tame(y))
        keep &= _tame(y - offset - share * x)
        offset, share = _common(y, x, keep)
        residual = y - offset - share * x
        self.pair_variance.append(float(np.mean(residual[keep] ** 2) / 2 * _spent(keep.sum(), 2)))
        self.equal = self.count if not difference.any() else self.equal
        difference -= offset + share * reference
        self.square += difference**2 * (_spent(keep.sum(), 2) / 2)
        without = difference - difference.mean(axis=1, keepdims=True)
        without -= without.mean(axis=0)
        self.products += _beside(np.where(np.abs(without) < WILD * np.std(without), without, 0.0))
        left = (1 - 1 / difference.shape[0]) * (1 - 1 / difference.shape[1])
        self.square_lines += without**2 / (2 * max(left, 1e-9))
        # neighbouring pairs share a frame: every other one is independent
        if len(self.pair_variance) % 2:
            for axis in (0, 1):
                self.lines += _line_excess(difference, axis)

    def _check_copies(self) -> None:
        """Raise `InputError` where a frame is stored twice: each copy takes a share of the noise away."""
        # noise far below a step may well show in no pixel
        noise = max(self.pair_variance, default=0.0) * self.mean.size
        if self.equal is not None and noise > COPIES * quantisation_step(self.sample) ** 2:
            raise InputError(
                f"{self.name}: found frame {self.equal} to be the one before it once more, expected measurements of "
                "their own"
            )

    def _correlation(self) -> float:
        """See `Level.beside`; lines' means take a little of it with them."""
        shape = self.mean.shape
        if min(shape) < MIN_LINE or not self.products[1] > 0:
            return 0.0
        return float(self.products[0] / self.products[1]) + 2 / shape[0] + 2 / shape[1]

    def level(self) -> Level:
        if self.count == 0:
            nothing = np.zeros((0, 0))
            return Level(
                name=self.name, count=0, pairs=0, runs=0, mean=nothing, variance=nothing, peak=nothing, low=nothing,
                line_variance=0.0, frame_mean=np.zeros(0), pair_mean=np.zeros(0), pair_variance=np.zeros(0),
                sample=np.zeros(0),
            )  # fmt: skip
        self._check_copies()
        excess, expected, spread, variance = self.lines
        together = spread > 0 and excess - expected > LINE_SIGMA * spread**0.5
        pairs, runs = len(self.pair_mean), sum(compared for _, _, compared in self.last.values())
        square = (self.square_lines if together else self.square) / max(pairs, 1)
        line_variance = max(float(variance) / max((pairs + 1) // 2, 1), 0.0) if together else 0.0
        # single precision holds 24 bits, more than any converter gives
        small = [np.asarray(part, dtype=np.float32) for part in (square, self.peak, self.low)]
        return Level(
            name=self.name, count=self.count, pairs=pairs, runs=runs, mean=self.mean, variance=small[0],
            peak=small[1], low=small[2], line_variance=line_variance, frame_mean=np.array(self.frame_mean),
            pair_mean=np.array(self.pair_mean), pair_variance=np.array(self.pair_variance), sample=self.sample,
            beside=self._correlation(),
        )  # fmt: skip


def _beside(noise: Array) -> Array:
    """Sum over the eight neighbours of the products with each pixel, and the squares that make correlations of it."""
    count, products = noise.size, 0.0
    for one, other in (
        (noise[:, 1:], noise[:, :-1]), (noise[1:], noise[:-1]), (noise[1:, 1:], noise[:-1, :-1]),
        (noise[1:, :-1], noise[:-1, 1:]),
    ):  # fmt: skip
        products += 2 * float((one * other).sum()) * count / max(one.size, 1)
    return np.array([products, float(np.square(noise).sum())])


def _spent(count: int, parameters: int) -> float:
    """What the residuals' variance is divided by for having fitted so many parameters."""
    return float(count / max(count - parameters, 1))


def _tame(values: Array) -> Mask:
    """Values within `WILD` robust deviations of the median."""
    middle = np.median(values)
    away = np.abs(values - middle)
    # coarse steps hide most deviations from a median
    spread = max(float(robust_sigma(away)), float(np.sqrt(np.mean(np.minimum(away, np.quantile(away, 0.98)) ** 2))))
    return np.asarray(away <= WILD * spread)


def _common(difference: Array, reference: Array, keep: Mask) -> tuple[float, float]:
    """Offset and share of the reference that two frames differ by."""
    if not keep.any():
        return 0.0, 0.0
    y, x = difference[keep], reference[keep]
    middle = float(x.mean())
    power = float(((x - middle) ** 2).sum())
    share = float(((x - middle) * y).sum() / power) if power > 0 else 0.0
    return float(y.mean()) - share * middle, share


def _line_excess(difference: Array, axis: int) -> Array:
    """How much the means of lines scatter.

    Sum of squares over their squared standard errors, its expectation and variance without common motion (F
    distribution), and the variance of the common motion in one frame.
    """
    length, lines = difference.shape[1 - axis], difference.shape[axis]
    if length < MIN_LINE or lines < 2:
        return np.zeros(4)
    mean, error = difference.mean(axis=1 - axis), difference.var(axis=1 - axis, ddof=1) / length
    noisy = error > 0
    if not noisy.any():
        return np.zeros(4)
    count, rest = int(noisy.sum()), length - 1
    expected = rest / (rest - 2)
    spread = 2 * expected**2 * (rest - 1) / (rest - 4)
    common = float(np.mean(mean**2 - error)) / 2
    return np.array([float((mean[noisy] ** 2 / error[noisy]).sum()), count * expected, count * spread, common])


# ---- files -----------------------------------------------------------------------------------------------------


def read_stacks(dark_path: str | Path, flat_path: str | Path) -> tuple[Any, list[list[Any]], float]:
    """Dark frames, levels of flat frames and full scale from HDF5 files, lazily.

    ``frames`` (or ``dark`` / ``flat``, ``cube``) is ``(frame, y, x)``; flats may be ``(level, frame, y, x)`` or carry
    ``level`` ``(frame,)``, which groups equal values; without it all flats are one level.

    Raises
    ------
    FormatError
        When a file or member is missing.
    """
    dark = _stack(dark_path, ("frames", "dark", "cube"))
    if dark.ndim != 3:
        raise InputError(f"{dark_path}: frames: found shape {dark.shape}, expected (frame, y, x)")
    flat = _stack(flat_path, ("frames", "flat", "cube"))
    if flat.ndim == 4:
        levels = [[_Frame(flat, (level, frame)) for frame in range(flat.shape[1])] for level in range(flat.shape[0])]
    elif flat.ndim == 3:
        labels = np.zeros(len(flat)) if "level" not in flat.file else np.asarray(flat.file["level"][()], dtype=float)
        if labels.shape != (len(flat),):
            raise InputError(f"{flat_path}: level: found shape {labels.shape}, expected ({len(flat)},), one a frame")
        levels = [
            [_Frame(flat, int(frame)) for frame in np.flatnonzero(labels == value)] for value in np.unique(labels)
        ]
    else:
        raise InputError(
            f"{flat_path}: frames: found shape {flat.shape}, expected (frame, y, x) or (level, frame, y, x)"
        )
    scale = flat.file.attrs.get("full_scale", dark.file.attrs.get("full_scale", float("inf")))
    return [_Frame(dark, frame) for frame in range(len(dark))], levels, float(scale)


def read_exposures(dark_path: str | Path) -> Array | None:
    """Exposure time of each dark frame, s: dataset ``exposure_s`` ``(frame,)``; None when the file has none.

    Raises
    ------
    InputError
        When there is not one time a frame, or one is negative or not finite.
    """
    frames = _stack(dark_path, ("frames", "dark", "cube"))
    if "exposure_s" not in frames.file:
        return None
    times = np.asarray(frames.file["exposure_s"][()], dtype=float)
    if times.shape != (len(frames),) or not np.isfinite(times).all() or (times < 0).any():
        raise InputError(
            f"{dark_path}: exposure_s: found shape {times.shape}, expected ({len(frames)},), seconds of at least 0"
        )
    return times


class _Frame:
    """One frame of a dataset, read when it is needed."""

    def __init__(self, data: Any, place: Any) -> None:
        self._data, self._place = data, place

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self._data[self._place], dtype=dtype)


def _stack(path: str | Path, names: tuple[str, ...]) -> Any:
    try:
        file = open_hdf5(Path(path))
    except FileNotFoundError:
        raise FormatError(f"{path}: found no such file, expected frames (HDF5)") from None
    except OSError as error:
        raise FormatError(f"{path}: expected frames (HDF5); {' '.join(str(error).split())}") from None
    for name in names:
        if name in file and getattr(file[name], "ndim", 0) >= 3 and file[name].dtype.kind in "uif":
            return file[name]
    raise FormatError(f"{path}: {names[0]}: missing, expected numbers (frame, y, x)")
