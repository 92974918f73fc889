"""Fixed patterns of a pushbroom detector: PRNU, column stripes, dead and hot elements, lost lines, impulses.

A pushbroom's detector element sees one band and one column, so that its fault is a line along track. Specifications
(`Stripes`, `Defects`) are plain numbers; ``draw`` makes a `Pattern` of them for one detector, with a generator.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.errors import InputError

Array = NDArray[np.float64]


def _share(record: Any, *names: str) -> None:
    for name in names:
        value = getattr(record, name)
        if not 0 <= value <= 1:
            raise InputError(f"{type(record).__name__}: {name}: found {value}, expected a share between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class Stripes:
    """Column stripes: statistics of gain and offset deviations over (band, column).

    Attributes
    ----------
    gain : float
        Root mean square of the multiplicative deviation where there are stripes.
    offset : float
        The same of the additive one, in the cube's units.
    columns, bands : float
        Shares of columns and of bands that have stripes.
    clusters : int
        Contiguous groups that the striped columns form; 0 for scattered columns.
    band_runs : int
        Contiguous groups that the striped bands form; 0 for scattered bands.
    column_correlation, band_correlation : float
        Correlation of the deviations of neighbouring columns (bands): first-order autoregressive, for the part that
        varies slowly.
    band_noise : float
        Share of the variance that changes from band to band independently.
    fragments : float
        Share of the rows that a stripe covers, in one piece; 1 for whole columns.
    drift : float
        Root mean square of a further gain deviation that changes along track (a random walk common to the detector).
    source : str
        Where the numbers come from.

    Raises
    ------
    InputError
        When a share or correlation is outside [0, 1].
    """

    gain: float = 0.0
    offset: float = 0.0
    columns: float = 1.0
    bands: float = 1.0
    clusters: int = 0
    band_runs: int = 0
    column_correlation: float = 0.0
    band_correlation: float = 0.0
    band_noise: float = 0.0
    fragments: float = 1.0
    drift: float = 0.0
    source: str = ""

    def __post_init__(self) -> None:
        _share(self, "columns", "bands", "column_correlation", "band_correlation", "band_noise", "fragments")
        if min(self.gain, self.offset, self.drift) < 0:
            raise InputError("Stripes: found a negative deviation, expected root mean squares")

    def draw(self, shape: tuple[int, int, int], rng: np.random.Generator) -> Pattern:
        """A detector's pattern for cubes of ``shape`` (band, y, x)."""
        bands, height, width = shape
        touched = _members(bands, self.bands, self.band_runs, rng)[:, None]
        touched = touched & _members(width, self.columns, self.clusters, rng)[None]
        gain = 1 + self.gain * self._field(touched, rng)
        offset = self.offset * self._field(touched, rng)
        walk = np.zeros(height)
        if self.drift:
            walk = np.cumsum(rng.standard_normal(height))
            walk = (walk - walk.mean()) / max(float(walk.std()), 1e-12)
        length = np.full(touched.shape, height)
        start = np.zeros(touched.shape, dtype=int)
        if self.fragments < 1:
            length[:] = max(1, round(self.fragments * height))
            start = rng.integers(0, height - length + 1)
        return Pattern(
            gain=gain, offset=offset, drift=self.drift * self._field(touched, rng), walk=walk, start=start,
            stop=start + length, dead=np.zeros((bands, width), dtype=bool), hot=np.zeros((bands, width), dtype=bool),
            lost=np.zeros(height, dtype=bool),
        )  # fmt: skip

    def _field(self, touched: NDArray[np.bool_], rng: np.random.Generator) -> Array:
        """Correlated deviations of unit root mean square on the striped elements, zero elsewhere."""
        if not touched.any():
            return np.zeros(touched.shape)
        slow = _autoregressive(_autoregressive(rng.standard_normal(touched.shape), self.column_correlation, 1),
                               self.band_correlation, 0)  # fmt: skip
        fast = _autoregressive(rng.standard_normal(touched.shape), self.column_correlation, 1)
        out = np.zeros(touched.shape)
        for part, share in ((slow, 1 - self.band_noise), (fast, self.band_noise)):
            # a strongly correlated field of few independent values must still have the stated power
            power = float(np.mean(part[touched] ** 2))
            out += part * np.sqrt(share / power) if share and power else 0.0
        return np.where(touched, out, 0.0)


def _autoregressive(noise: Array, correlation: float, axis: int) -> Array:
    """Stationary first-order autoregression of unit variance along an axis, from white noise."""
    if correlation == 0:
        return noise
    from scipy.signal import lfilter

    noise = np.moveaxis(noise.copy(), axis, 0)
    noise[1:] *= np.sqrt(1 - correlation**2)
    return np.moveaxis(lfilter([1.0], [1.0, -correlation], noise, axis=0), 0, axis)


def _members(count: int, share: float, groups: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """A choice of ``share`` of ``count`` places, in so many contiguous groups (0: scattered)."""
    chosen = round(share * count)
    member = np.zeros(count, dtype=bool)
    if chosen in (0, count):
        member[:] = chosen == count
    elif groups == 0:
        member[rng.permutation(count)[:chosen]] = True
    else:
        groups = min(groups, chosen, count - chosen + 1)
        # lengths of groups and of the gaps before, between and after them
        inside = _composition(chosen, groups, 1, rng)
        outside = _composition(count - chosen, groups + 1, 0, rng)
        least = np.ones_like(outside)
        least[[0, -1]] = 0
        outside = np.maximum(outside, least)
        while outside.sum() > count - chosen:
            # what keeps groups apart, the widest gap gives
            outside[np.argmax(outside - least)] -= 1
        place = 0
        for gap, length in zip(outside[:-1], inside, strict=True):
            place += gap
            member[place : place + length] = True
            place += length
    return member


def _composition(total: int, parts: int, least: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """``total`` cut at random into ``parts`` of at least ``least``."""
    cuts = np.sort(rng.integers(0, total - least * parts + 1, parts - 1))
    return np.diff(np.concatenate([[0], cuts, [total - least * parts]])) + least


@dataclass(frozen=True, kw_only=True)
class Defects:
    """Shares of what fails outright.

    Attributes
    ----------
    dead, hot : float
        Detector elements (band, column) that read zero, or full scale.
    dead_columns : float
        Columns dead in all bands.
    lost_lines : float
        Lines along track that never arrived, zero in all bands.
    impulse : float
        Voxels that read zero or full scale, at even odds.
    """

    dead: float = 0.0
    hot: float = 0.0
    dead_columns: float = 0.0
    lost_lines: float = 0.0
    impulse: float = 0.0

    def __post_init__(self) -> None:
        _share(self, "dead", "hot", "dead_columns", "lost_lines", "impulse")

    def draw(self, pattern: Pattern, rng: np.random.Generator) -> Pattern:
        """``pattern`` with these defects."""
        bands, width = pattern.gain.shape
        dead = rng.random((bands, width)) < self.dead
        hot = ~dead & (rng.random((bands, width)) < self.hot)
        dead |= pattern.dead | (rng.random(width) < self.dead_columns)
        lost = rng.random(len(pattern.walk)) < self.lost_lines
        return Pattern(
            gain=pattern.gain, offset=pattern.offset, drift=pattern.drift, walk=pattern.walk, start=pattern.start,
            stop=pattern.stop, dead=dead, hot=(pattern.hot | hot) & ~dead, lost=pattern.lost | lost,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Pattern:
    """One detector's fixed pattern.

    Attributes
    ----------
    gain, offset : array, shape (band, x)
        Multiplies the signal; is added to it (cube units).
    drift : array, shape (band, x)
        Gain deviation that goes with ``walk`` along track.
    walk : array, shape (y,)
    start, stop : array of int, shape (band, x)
        Rows between which gain, offset and drift act.
    dead, hot : array of bool, shape (band, x)
    lost : array of bool, shape (y,)
    """

    gain: Array
    offset: Array
    drift: Array
    walk: Array
    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    dead: NDArray[np.bool_]
    hot: NDArray[np.bool_]
    lost: NDArray[np.bool_]

    def on(self, rows: slice) -> tuple[Array, Array]:
        """Gain and offset at the voxels ``(band, y, x)`` of these rows, one and zero where no stripe is."""
        row = np.arange(rows.start, rows.stop)[None, :, None]
        inside = (row >= self.start[:, None]) & (row < self.stop[:, None])
        gain = self.gain[:, None] + self.drift[:, None] * self.walk[rows][None, :, None]
        return np.where(inside, gain, 1.0), np.where(inside, self.offset[:, None], 0.0)

    def apply(self, signal: NDArray[Any], rows: slice) -> NDArray[Any]:
        """Gain and offset on ``signal`` ``(band, y, x)`` of these rows, without a detector's noise."""
        gain, offset = self.on(rows)
        return signal * gain + offset

    def broken(self, rows: slice) -> NDArray[np.bool_]:
        """Voxels of these rows that carry no signal."""
        return (self.dead | self.hot)[:, None, :] | self.lost[rows][None, :, None]


def stripe_statistics(gain: NDArray[Any]) -> dict[str, float]:
    """What `Stripes` states, measured on relative gains ``(band, column)`` (new flat field over old, say).

    Elements that changed are those that differ from their band's median by more than a part in a million.

    Returns
    -------
    dict
        ``columns`` and ``bands`` (shares with any change), ``gain`` (root mean square of the log gain where changed),
        ``column_step`` and ``band_step`` (root mean square difference between changed neighbours), ``clusters`` and
        ``band_runs`` (contiguous groups).

    Raises
    ------
    InputError
        When gains are not positive and finite.
    """
    gain = np.asarray(gain, dtype=float)
    if gain.ndim != 2 or not (np.isfinite(gain).all() and (gain > 0).all()):
        raise InputError(f"gain: found shape {gain.shape}, expected positive finite gains (band, column)")
    log = np.log(gain / np.median(gain, axis=1, keepdims=True))
    changed = np.abs(log) > 1e-6

    def rms(values: Array) -> float:
        return float(np.sqrt(np.mean(values**2))) if values.size else 0.0

    def groups(member: NDArray[np.bool_]) -> float:
        return float(np.count_nonzero(np.diff(np.concatenate([[0], member.astype(int)])) == 1))

    return {
        "columns": float(changed.any(axis=0).mean()),
        "bands": float(changed.any(axis=1).mean()),
        "gain": rms(log[changed]),
        "column_step": rms(np.diff(log, axis=1)[changed[:, 1:] & changed[:, :-1]]),
        "band_step": rms(np.diff(log, axis=0)[changed[1:] & changed[:-1]]),
        "clusters": groups(changed.any(axis=0)),
        "band_runs": groups(changed.any(axis=1)),
    }


#: As EMIT's flat field changed between 2022-08-25 and 2024-10-24 (lines 50–280 of the detector): nothing but one
#: group of 123 of 1280 columns, in two thirds of the bands. Values: `stripe_statistics` of the ratio of the two
#: published flat fields (emit-sds/emit-sds-l1b, Apache-2.0); `python -m benchmarks sensors` prints both side by side.
EMIT_DRIFT = Stripes(
    gain=0.01032, columns=0.0961, bands=0.658, clusters=1, band_runs=7, column_correlation=0.977, band_correlation=0.98,
    band_noise=0.042, source="EMIT L1B flat fields 2022-08-25 and 2024-10-24, lines 50 to 280",
)  # fmt: skip
STRIPE_PRESETS = {"emit-drift": EMIT_DRIFT}
