"""Noise cases for any clean cube: the seven of the benchmark, and stripes like FINCH's; repeatable by seed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.cube import Cube
from hsitools.errors import InputError
from hsitools.lookup import lookup
from hsitools.sensor.detector import Detector, read_out
from hsitools.sensor.pattern import Defects, Stripes

Array = NDArray[Any]
#: What each case is.
CASES = {
    "a": "Gaussian noise of .1",
    "b": "Gaussian noise of another σ in each band, 10 to 70 of 255",
    "c": "b, and stripes in a third of the bands: 5–15 % of the columns, offsets within ±.25",
    "d": "b, and dead columns in a third of the bands: 5–15 % of the columns read 0",
    "e": "b, and impulses in a third of the bands: 10, 30, 50 or 70 % of the voxels read 0 or 1",
    "f": "b, and stripes, dead columns and impulses, each in a third of the bands",
    "g": "pushbroom: gain 2 % and offset .01 of detector elements, photon and read noise, .2 % dead or hot elements",
    "finch": "stripes in 30 % of the columns, |N(0, .1 of the band's range)|; Gaussian noise of .03; 1 % impulses",
}
#: The cases that means are taken over.
SEVEN = tuple("abcdefg")
#: Shares of struck voxels of e and f, one drawn for each band, as in the published recipe (`make_noise_cases.py`).
IMPULSES = (0.1, 0.3, 0.5, 0.7)
#: Of case g, for a signal of one.
ELECTRONS, READ_NOISE = 1e4, 30.0
#: A band whose mean is below this share of the median band's has no signal to judge by, as in water vapour.
DARK = 0.01


@dataclass(frozen=True, kw_only=True, eq=False)
class Truth:
    """What was done to a clean cube; names and shapes as of `denoise.case.NoiseModel`.

    Attributes
    ----------
    sigma : array, shape (band,)
        Standard deviation of the noise at the band's mean.
    gain, offset : array, shape (band, x)
    dead : array of bool, shape (band, x)
    outlier : array of bool, shape (band, y, x)
        Voxels that carry no signal, those of dead elements included.
    """

    sigma: Array
    gain: Array
    offset: Array
    dead: NDArray[np.bool_]
    outlier: NDArray[np.bool_]


def clean_cube(cube: Cube) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """A scene as the clean cube of a benchmark: ``clip(x / P99.9, 0, 1)`` of the bands that hold something.

    Parameters
    ----------
    cube : Cube

    Returns
    -------
    clean : array of float32, shape (band, y, x)
        NaN where there is no measurement.
    bands : array of int
        Numbers of the bands that are kept: not bad, not empty, not of water vapour.

    Raises
    ------
    InputError
        When no band is left.
    """
    values = cube.physical().read().astype(np.float32)
    valid = np.isfinite(values)
    count = valid.sum((1, 2))
    means = np.where(valid, values, 0).sum((1, 2), dtype=float) / np.maximum(count, 1)
    bands = np.flatnonzero(cube.good & (count > 0) & (means > 0))
    if bands.size:
        bands = bands[means[bands] >= DARK * np.median(means[bands])]
    if not bands.size:
        raise InputError(f"{cube.who}: found no band with signal, expected some")
    kept = values[bands]
    return np.clip(kept / np.nanpercentile(kept, 99.9), 0, 1).astype(np.float32), bands


def simulate(
    clean: Array, case: str, seed: int = 0, *, jitter: float = 0.0, level: float = 1.0, clusters: int = 0
) -> tuple[NDArray[np.float32], Truth]:
    """A noisy cube of a clean one.

    Parameters
    ----------
    clean : array, shape (band, y, x)
        In [0, 1] (see `clean_cube`); NaN stays.
    case : str
        One of `CASES`; b to f have the same Gaussian noise at the same seed, so that they differ by the rest alone.
    seed : int
    jitter : float
        Standard deviation added to impulses and dead columns of d, e, f: exact values do not give them away then.
    level : float
        Multiplies the noise's standard deviation; stripes and outliers stay.
    clusters : int
        Groups that the striped columns of ``finch`` form; 0 for scattered ones.

    Returns
    -------
    noisy : array of float32, shape (band, y, x)
        Not clipped.
    truth : Truth

    Raises
    ------
    InputError
        When the case is unknown, or the cube is not (band, y, x).
    """
    make = lookup(case, {"a": _iid, **dict.fromkeys("bcdef", _mixture), "g": _pushbroom, "finch": _finch}, "case")
    clean = np.asarray(clean, dtype=np.float32)
    if clean.ndim != 3:
        raise InputError(f"clean: found shape {clean.shape}, expected (band, y, x)")
    lost = ~np.isfinite(clean)
    job = _Job(case=case.lower(), seed=seed, jitter=jitter, level=level, clusters=clusters)
    noisy, truth = make(np.where(lost, 0, clean), job)
    return np.where(lost, np.nan, noisy).astype(np.float32), truth


@dataclass(frozen=True, kw_only=True)
class _Job:
    """What a case is made with."""

    case: str
    seed: int
    jitter: float
    level: float
    clusters: int

    def rng(self, *purpose: int) -> np.random.Generator:
        """The case's own random numbers, or those of a purpose that cases share."""
        return np.random.default_rng([self.seed, *(purpose or (1 + list(CASES).index(self.case),))])


def _nothing(clean: Array, sigma: Array) -> Truth:
    """The truth of noise alone."""
    bands, _, width = clean.shape
    return Truth(
        sigma=sigma, gain=np.ones((bands, width)), offset=np.zeros((bands, width)),
        dead=np.zeros((bands, width), dtype=bool), outlier=np.zeros(clean.shape, dtype=bool),
    )  # fmt: skip


def _gaussian(clean: Array, sigma: Array, rng: np.random.Generator) -> Array:
    return clean + sigma[:, None, None] * rng.standard_normal(clean.shape, dtype=np.float32)


def _iid(clean: Array, job: _Job) -> tuple[Array, Truth]:
    sigma = np.full(len(clean), 0.1 * job.level)
    return _gaussian(clean, sigma, job.rng()), _nothing(clean, sigma)


def _mixture(clean: Array, job: _Job) -> tuple[Array, Truth]:
    """Cases b to f: noise of each band, and what else on disjoint thirds of the bands."""
    shared, rng = job.rng(0), job.rng()
    sigma = shared.uniform(10, 70, len(clean)) / 255 * job.level
    noisy, truth = _gaussian(clean, sigma, shared), _nothing(clean, sigma)
    third = len(clean) // 3
    thirds = rng.permutation(len(clean))[: 3 * third].reshape(3, third)
    # which third has stripes, dead columns, impulses
    chosen: dict[str, tuple[int | None, int | None, int | None]] = {
        "b": (None, None, None), "c": (0, None, None), "d": (None, 0, None), "e": (None, None, 0), "f": (0, 1, 2),
    }  # fmt: skip
    striped, dead, struck = (thirds[0][:0] if place is None else thirds[place] for place in chosen[job.case])
    width = clean.shape[2]
    for band in striped:
        columns = _some(width, rng)
        truth.offset[band, columns] = rng.uniform(-0.25, 0.25, len(columns))
    noisy += truth.offset[:, None]
    for band in dead:
        truth.dead[band, _some(width, rng)] = True
    level = np.zeros(clean.shape, dtype=np.float32)
    truth.outlier[:] = truth.dead[:, None]
    for band in struck:
        truth.outlier[band] = rng.random(clean.shape[1:]) < rng.choice(IMPULSES)
        level[band] = rng.random(clean.shape[1:]) < 0.5
    if job.jitter:
        level += job.jitter * rng.standard_normal(clean.shape, dtype=np.float32)
    return np.where(truth.outlier, level, noisy), truth


def _some(width: int, rng: np.random.Generator) -> Array:
    """5 to 15 % of the columns, one at least."""
    low, high = int(np.ceil(0.05 * width)), int(np.ceil(0.15 * width))
    return rng.permutation(width)[: rng.integers(low, high + 1)]


def _pushbroom(clean: Array, job: _Job) -> tuple[Array, Truth]:
    rng = job.rng()
    pattern = Stripes(gain=0.02, offset=0.01).draw(clean.shape, rng)
    pattern = Defects(dead=0.001, hot=0.001).draw(pattern, rng)
    # so many electrons that photon and read noise are both `level` times as large
    detector = Detector(electrons_per_unit=ELECTRONS / job.level**2, read_noise=READ_NOISE / job.level)
    rows = slice(0, clean.shape[1])
    broken = pattern.broken(rows)
    noisy, _ = read_out(detector, pattern, clean, rows, rng, hot=rng.uniform(0.5, 1, pattern.hot.shape))
    truth = Truth(
        sigma=np.sqrt(detector.variance(clean.mean((1, 2), keepdims=True))[:, 0, 0]), gain=pattern.gain,
        offset=pattern.offset, dead=pattern.dead | pattern.hot, outlier=broken,
    )  # fmt: skip
    return noisy, truth


def _finch(clean: Array, job: _Job) -> tuple[Array, Truth]:
    rng = job.rng()
    bands = len(clean)
    sigma = np.full(bands, 0.03 * job.level)
    stripes = Stripes(offset=0.1, columns=0.3, clusters=job.clusters).draw(clean.shape, rng)
    reach = np.ptp(clean.reshape(bands, -1), axis=1)
    offset = np.abs(stripes.offset) * reach[:, None]
    hit = rng.random(clean.shape) < 0.01
    salt = rng.random(clean.shape) < 0.5
    noisy = np.where(hit, salt, _gaussian(clean, sigma, rng) + offset[:, None])
    return noisy, replace(_nothing(clean, sigma), offset=offset, outlier=hit)
