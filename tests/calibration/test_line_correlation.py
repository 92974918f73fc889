"""Noise that hangs together between lines: what a fit leaves of it, by dense matrices, and what is told from that."""

import numpy as np
import pytest

from calibration.fitting.line_correlation import FittedRows, line_correlation


def _rows(rng, rows=3, lines=40, parameters=4):
    counted = rng.random((rows, lines)) > 0.1
    held = np.cos(np.arange(lines)[:, None] * np.arange(parameters) * np.pi / lines + rng.random((rows, 1, 1)))
    held *= counted[:, :, None]
    gain = np.linalg.inv(np.swapaxes(held, 1, 2) @ held + 2 * np.eye(parameters))
    return FittedRows(follows=held, held=held, gain=gain, pulled=2 * gain @ gain, counted=counted)


def _noise(rng, shape, neighbour):
    noise = rng.standard_normal(shape)
    for line in range(1, shape[1]):
        noise[:, line] = neighbour * noise[:, line - 1] + np.sqrt(1 - neighbour**2) * noise[:, line]
    return noise


@pytest.mark.parametrize("length", [None, 2.0])
def test_products_of_residuals_are_those_of_dense_matrices(length):
    some = _rows(np.random.default_rng(0))
    away = np.abs(np.arange(40)[:, None] - np.arange(40))
    covariance = np.eye(40) if length is None else np.exp(-away / length)
    total, pulled, pairs = np.zeros(6), np.zeros(6), np.zeros(6)
    for follows, held, gain, pull, counted in zip(
        some.follows, some.held, some.gain, some.pulled, some.counted, strict=True
    ):
        leaves = np.diag(counted.astype(float)) - follows @ gain @ held.T
        left, by_pull = leaves @ covariance @ leaves.T, follows @ pull @ follows.T
        for lag in range(6):
            total[lag] += np.diagonal(left, lag).sum()
            pulled[lag] += np.diagonal(by_pull, lag).sum()
            pairs[lag] += (counted[lag:] & counted[: 40 - lag]).sum()
    np.testing.assert_allclose(some.expected(length, 6), total / pairs, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(some.expected_of_pull(6), pulled / pairs, rtol=1e-9, atol=1e-12)


def test_correlation_is_that_of_the_noise():
    """Of noise half of which hangs together, through a fit that takes up part of it, and none of noise without."""
    rng = np.random.default_rng(1)
    some = _rows(rng, rows=60, lines=160)
    for neighbour, own, together in ((np.exp(-1 / 4), 0.5, 0.5), (0.0, 0.0, 1.0)):
        noise = np.sqrt(own) * rng.standard_normal((60, 160)) + np.sqrt(together) * _noise(rng, (60, 160), neighbour)
        noise *= some.counted
        fitted = some.follows @ (some.gain @ (np.swapaxes(some.held, 1, 2) @ noise[:, :, None]))
        found = line_correlation(noise - fitted[:, :, 0], some.counted, some)
        if not neighbour:
            assert found is None
            continue
        lag = np.arange(6)
        shown = found.own * (lag == 0) + sum(size * np.exp(-lag / length) for size, length in found.parts)
        np.testing.assert_allclose(shown, own * (lag == 0) + together * np.exp(-lag / 4), atol=0.08)
        unit = np.zeros((1, 160, 1))
        unit[0, 80] = 1
        np.testing.assert_allclose(found.applied(unit)[0, 80:86, 0], shown, atol=1e-9)


def _left(some, noise):
    """Residuals that the fit of some rows leaves of noise, each row in units of what is left of it."""
    fitted = some.follows @ (some.gain @ (np.swapaxes(some.held, 1, 2) @ noise[:, :, None]))
    left = noise - fitted[:, :, 0]
    return left / left.std(axis=1, keepdims=True)


def _one_over_f(rng, shape):
    """Noise of a power of 1/f, from a fourth of the lowest frequency of its lines on."""
    rows, lines = shape
    frequency = np.fft.rfftfreq(4 * lines)
    size = np.zeros_like(frequency)
    size[1:] = frequency[1:] ** -0.5
    drawn = rng.standard_normal((2, rows, len(frequency)))
    noise = np.fft.irfft(size * (drawn[0] + 1j * drawn[1]), axis=1)[:, :lines]
    return noise / noise.std()


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_noise_of_one_over_f_passes_for_gain_as_far_as_is_told(share):
    """What the mean of a row errs by, most of it slower than the lines show: as told, over draws."""
    rng = np.random.default_rng(3)
    some = _rows(rng, rows=60, lines=160)
    told, true = [], []
    for _ in range(5):
        noise = np.sqrt(share) * _one_over_f(rng, (60, 160))
        noise = (noise + np.sqrt(1 - share) * rng.standard_normal((60, 160))) * some.counted
        fitted = some.follows @ (some.gain @ (np.swapaxes(some.held, 1, 2) @ noise[:, :, None]))
        unit = (noise - fitted[:, :, 0]).std()
        by = some.held @ some.gain[:, :, :1]
        found = line_correlation(_left(some, noise), some.counted, some)
        told.append(np.mean(np.swapaxes(by, 1, 2) @ found.applied(by)))
        true.append(np.mean((by[:, :, 0] * noise).sum(axis=1) ** 2) / unit**2)
    assert 0.6 < np.mean(told) / np.mean(true) < 1.6


def test_noise_that_alternates_has_no_negative_variances():
    """Neighbours of opposite sign are no sum of parts that fall off: nothing is told, as of white noise."""
    rng = np.random.default_rng(4)
    some = _rows(rng, rows=60, lines=160)
    for neighbour in (-0.4, -0.1, 0.0, 0.0, 0.0):
        noise = _noise(rng, (60, 160), neighbour) * some.counted
        assert line_correlation(_left(some, noise), some.counted, some) is None
