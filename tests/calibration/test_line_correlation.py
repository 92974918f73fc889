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
