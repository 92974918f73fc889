"""Noise that hangs together between lines: how much of it does, and over how many lines.

Lines are measured one after another. A lamp's arc that wanders over the sub-images, or an amplifier's slow noise, keeps
for some lines what it does to one row. Such noise passes for gain, and error bars of independent noise are a fraction
of what they should be. Its correlation, taken to be the same for all rows, is a sum of parts that fall off as
``exp(−h / length)`` over h lines, beside what is each sample's own: the residuals' power shows it, through the fit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.fitting.noise import WILD_SQUARE

Array = NDArray[np.float64]

#: Lengths that are tried, lines, as far as there are lines.
LENGTHS = 2.0 ** np.arange(-1, 14)
#: Noise of all lengths at once, the size of each in proportion to this power of the length: its power falls with the
#: frequency to minus one more. Of amplifiers' 1/f noise each octave has the same.
MIXED = (0.0, 0.5)
#: Rows whose residuals' expectation is computed, of all that are measured.
MOST_ROWS = 12
#: What a kind of noise beside each sample's own must explain, twice the logarithm of the likelihood: chance makes ten
#: once in a few hundred devices. Noise of one length alone is less usual than 1/f noise, and hides how much is slower
#: than the lines show. A length between two that are tried is another number only.
SURE, LESS_LIKELY, BETWEEN = 12.0, 6.0, 4.0
#: Classes of frequencies, steps of Fisher scoring, and sizes that change no error.
CLASSES, STEPS, NOTHING = 30, 8, 1e-4
#: Share of white noise's power, of what a fit leaves at most, that it must leave at a frequency.
LEFT = 0.5


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

    By the likelihood of their power at each frequency over the lines (P. Whittle, Arkiv för Matematik 2, 1953), beside
    what each kind of noise would make it, through what the fit of ``some`` of the rows follows. Of kinds that are about
    as likely each counts as far as it is: they differ in what is slow, which makes the gain's error.
    """
    rows, lines = counted.any(axis=1), residual.shape[1]
    limit = np.sqrt(WILD_SQUARE)
    values = np.where(counted, np.clip(residual, -limit, limit), 0)[rows]
    lengths = LENGTHS[lines >= LENGTHS]
    kinds = np.concatenate([np.eye(len(lengths)), *(lengths[:, None] ** power for power in MIXED)], axis=1)
    kinds /= kinds.sum(axis=0)
    first = _classes(lines // 2)
    number = np.diff(np.r_[first, lines // 2])
    pairs = _pairs(counted, lines)
    known = _power(pairs * some.expected_of_pull(lines), first)
    expected = np.stack([some.expected(None, lines), *(some.expected(float(one), lines) for one in lengths)], axis=1)
    expected = _power(pairs[:, None] * expected, first)
    expected = np.concatenate([expected[:, :1], expected[:, 1:] @ kinds], axis=1)
    power = np.abs(np.fft.rfft(values, 2 * lines, axis=1).T[2 : lines + 1 : 2]) ** 2 * len(values)
    power = np.add.reduceat(power, first, axis=0) / number[:, None]
    # where the fit follows nearly all, what it leaves is not that of first order
    left = expected[:, 0] > LEFT * expected[:, 0].max()
    power, expected, known, number = power[left], expected[left], known[left], number[left]
    choices = _choices(len(lengths))
    sizes, misfit = np.zeros((len(choices), expected.shape[1])), np.zeros(len(choices))
    for place, (chosen, cost) in enumerate(choices):
        sizes[place, chosen], misfit[place] = _likeliest(power, expected[:, chosen], known, number)
        misfit[place] += cost
    if misfit.argmin() == 0:
        return None
    likely = np.exp(-0.5 * (misfit - misfit.min()))
    mean = likely @ sizes / likely.sum()
    parts = tuple(zip((kinds @ mean[1:]).tolist(), lengths.tolist(), strict=True))
    return LineCorrelation(own=float(mean[0]), parts=tuple(part for part in parts if part[0] > NOTHING))


def _choices(single: int) -> list[tuple[list[int], float]]:
    """Kinds of noise that are tried together, and what they cost: the first is each sample's own alone.

    Kind 0 is each sample's own, the next ``single`` have one length each, the last ones are `MIXED`.
    """
    out: list[tuple[list[int], float]] = [([0], 0.0)]
    count = 1 + single + len(MIXED)
    for one in range(1, count):
        of_lengths = one <= single
        cost = SURE + LESS_LIKELY * of_lengths
        together = [([one], cost)]
        for other in range(one + 1, count):
            # two neighbours are a length in between
            between = other == one + 1 and other <= single
            together.append(([one, other], cost + (BETWEEN if between else SURE)))
        out += together + [([0, *chosen], cost) for chosen, cost in together]
    return out


def _classes(frequencies: int) -> NDArray[np.intp]:
    """First frequency of each class of them whose power is taken together: the lowest are alone."""
    return np.unique(np.geomspace(1, frequencies, CLASSES).astype(np.intp)) - 1


def _power(products: Array, first: NDArray[np.intp]) -> Array:
    """Power ``(class, …)`` at the frequencies over the lines that are independent, of products ``(lag, …)``."""
    lines = len(products)
    both = np.concatenate([products, np.zeros_like(products[:1]), products[:0:-1]])
    power = np.fft.rfft(both, axis=0).real[2 : lines + 1 : 2]
    number = np.diff(np.r_[first, len(power)])
    return np.asarray((np.add.reduceat(power, first, axis=0).T / number).T)


def _likeliest(power: Array, expected: Array, known: Array, number: NDArray[np.intp]) -> tuple[Array, float]:
    """Sizes ``(part,)`` that make ``power`` ``(class, row)`` likeliest, and −2 log of its likelihood.

    The likelihood is zero where a size is not positive.
    By Fisher scoring, each row having a scale of its own: by their mean squares alone rows of much slow noise count too
    little.
    """
    least, share = 1e-9 * max(float(power.mean()), 1e-300), number / number.sum()
    # the mean square that the residuals have
    square, each = max(share @ (power.mean(axis=1) - known), least), share @ expected
    sizes = np.full(len(each), square / each.sum())
    for step in range(STEPS + 1):
        total = np.maximum(known + expected @ sizes, least)
        scale = np.maximum(share @ (power / total[:, None]), 1e-300)
        if step == STEPS:
            break
        weight = number / total**2
        away = (power / scale).mean(axis=1) - known
        normal = expected.T @ (expected * weight[:, None])
        found = np.linalg.lstsq(normal, expected.T @ (away * weight), rcond=None)[0]
        sizes = np.maximum(found, 0.1 * sizes)
        sizes *= square / (each @ sizes)
    if found.min() <= 0:
        # likelier without that part
        return np.zeros_like(sizes), np.inf
    return sizes, 2 * float(power.shape[1] * (number @ np.log(total)) + number.sum() * np.log(scale).sum())
