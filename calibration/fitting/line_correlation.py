"""Noise that hangs together between neighbouring lines: how much of it does, and over how many lines.

Lines are measured one after another. A lamp's arc that wanders over the sub-images, or an amplifier's slow noise, keeps
for some lines what it does to one row. Such noise passes for gain, and error bars of independent noise are a fraction
of what they should be. Its correlation, taken to be the same for all rows, is a sum of parts that fall off as
``exp(−h / length)`` over h lines, beside what is each sample's own: the residuals' products show it, through the fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from calibration.fitting.noise import WILD_SQUARE

Array = NDArray[np.float64]

#: Lengths that are tried, lines, and how many of them a capture's lines hold at least: what hangs together longer is a
#: gain like any other.
LENGTHS, LEAST_LENGTHS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0), 8
#: Lags whose products are looked at: at most so many, and at most this share of the lines.
MOST_LAGS, LAG_SHARE = 48, 1 / 3
#: Rows whose residuals' expectation is computed, of all that are measured.
MOST_ROWS = 12
#: Most lengths at once, and the improvement that each must be, in squares of standard errors: chance makes ten once in
#: a few hundred devices.
MOST_PARTS, SURE = 2, 12.0


@dataclass(frozen=True, kw_only=True)
class LineCorrelation:
    """Covariance of the noise over h lines: ``own`` at h = 0, and for each ``(size, length)`` size · exp(−h / length).

    In units of the variance that the residuals show: together more than one, since slow noise is fitted in part.
    """

    own: float
    parts: tuple[tuple[float, float], ...]

    def applied(self, values: Array) -> Array:
        """The covariance times ``values`` ``(row, line, parameter)``."""
        out = self.own * values
        for size, length in self.parts:
            out += size * _correlated(values, length)
        return out


def _correlated(values: Array, length: float) -> Array:
    """``Σ_l exp(−|k − l| / length) · values_l`` along the second axis: what comes from before and from behind."""
    kept = np.exp(-1 / length)
    before, behind = values.copy(), values.copy()
    for line in range(1, values.shape[1]):
        before[:, line] += kept * before[:, line - 1]
        behind[:, -line - 1] += kept * behind[:, -line]
    return np.asarray(before + behind - values)


def _transformed(least: int) -> int:
    """A number of samples from ``least`` on whose transform is quick: a power of two."""
    return 1 << (least - 1).bit_length()


@dataclass(frozen=True, kw_only=True)
class FittedRows:
    """Some rows of a fit, to first order, in units of their samples' noise u.

    Residuals are ``u − follows · (gain · heldᵀ · u + pulled)``: ``follows`` and ``held`` ``(row, line, parameter)``,
    ``gain`` and the covariance of what is ``pulled`` ``(row, parameter, parameter)``, ``counted`` ``(row, line)``.
    """

    follows: Array
    held: Array
    gain: Array
    pulled: Array
    counted: NDArray[np.bool_]

    def expected(self, length: float | None, lags: int) -> Array:
        """Mean products of residuals ``(lag,)`` apart under noise of a correlation length, None for one without."""
        noise = self.held if length is None else _correlated(self.held, length) * self.counted[:, :, None]
        turned = np.swapaxes(self.gain, 1, 2)
        gained = self.follows @ self.gain
        rest = gained @ (np.swapaxes(self.held, 1, 2) @ noise) @ turned
        own = np.eye(1, lags)[0] if length is None else np.exp(-np.arange(lags) / length)
        both = _products(gained, noise, lags) + _products(noise, gained, lags)
        return own + (_products(rest, self.follows, lags) - both) / _pairs(self.counted, lags)

    def expected_of_pull(self, lags: int) -> Array:
        """Mean products ``(lag,)`` of what is pulled alone."""
        return _products(self.follows @ self.pulled, self.follows, lags) / _pairs(self.counted, lags)


def _products(first: Array, second: Array, lags: int) -> Array:
    """Sums over rows and lines of ``first · second``, the second so many lines on, ``(lag,)``."""
    n = _transformed(first.shape[1] + lags)
    spectra = np.conj(np.fft.rfft(first, n, axis=1)) * np.fft.rfft(second, n, axis=1)
    return np.asarray(np.fft.irfft(spectra.sum(axis=tuple(k for k in range(spectra.ndim) if k != 1)), n)[:lags])


def _pairs(counted: NDArray[np.bool_], lags: int) -> Array:
    numbers = counted.astype(float)
    return np.maximum(_products(numbers, numbers, lags), 1)


def line_correlation(residual: Array, counted: NDArray[np.bool_], some: FittedRows) -> LineCorrelation | None:
    """The correlation that residuals ``(row, line)`` in units of their noise show; None when it may be chance.

    Least squares between the mean products of residuals some lines apart and what each length would make them, through
    what the fit of ``some`` of the rows follows.
    """
    lines = residual.shape[1]
    lags = int(min(MOST_LAGS, LAG_SHARE * lines))
    limit = np.sqrt(WILD_SQUARE)
    values = np.where(counted, np.clip(residual, -limit, limit), 0)
    pairs = _pairs(counted, lags)
    # standard errors of the products without correlation, in units of the noise's variance
    root = np.sqrt(pairs / np.where(np.arange(lags) > 0, 1, 2))
    shown = root * (_products(values, values, lags) / pairs - some.expected_of_pull(lags))
    lengths = [None, *(length for length in LENGTHS if LEAST_LENGTHS * length <= lines)]
    expected = root[:, None] * np.stack([some.expected(length, lags) for length in lengths], axis=1)
    best, found = np.inf, None
    for count in range(1, MOST_PARTS + 2):
        for chosen in map(list, combinations(range(len(lengths)), count)):
            sizes = np.linalg.lstsq(expected[:, chosen], shown, rcond=None)[0]
            if sizes.min() <= 0:
                continue
            correlated = count - (chosen[0] == 0)
            misfit = float(((expected[:, chosen] @ sizes - shown) ** 2).sum()) + SURE * correlated
            if misfit < best:
                best, found = misfit, dict(zip([lengths[k] for k in chosen], sizes.tolist(), strict=True))
    if found is None or set(found) == {None}:
        return None
    return LineCorrelation(
        own=found.pop(None, 0.0), parts=tuple((size, length) for length, size in found.items() if length is not None)
    )  # fmt: skip
