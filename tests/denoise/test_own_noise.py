"""Noise of bands that is their own: closed forms of factor analysis, known noise of very unequal bands."""

from __future__ import annotations

import numpy as np
import pytest

from denoise.restore import restore
from denoise.separation.estimate import relevelled
from denoise.separation.noise import own_noise
from hsitools.estimation.covariance import subspace

SIDE = 40


def with_covariance(covariance: np.ndarray, seed: int) -> np.ndarray:
    """Images ``(band, y, x)`` of exactly that covariance."""
    draws = np.random.default_rng(seed).standard_normal((len(covariance), SIDE**2))
    draws -= draws.mean(1, keepdims=True)
    draws = np.linalg.solve(np.linalg.cholesky(draws @ draws.T / SIDE**2), draws)
    return np.asarray(np.linalg.cholesky(covariance) @ draws).reshape(-1, SIDE, SIDE).astype(np.float32)


def test_one_factor_has_a_closed_form() -> None:
    """Of three bands i, j, k of one factor, what is band i's own is s_ii − s_ij s_ik / s_jk (C. Spearman, 1904)."""
    rng = np.random.default_rng(2)
    bands = 12
    load, own = rng.uniform(2, 5, bands), rng.uniform(0.3, 1.5, bands)
    values = with_covariance(np.outer(load, load) + np.diag(own**2), 1)
    flat = values.reshape(bands, -1).astype(float)
    s = flat @ flat.T / SIDE**2
    spearman = np.array([s[i, i] - s[i, i - 1] * s[i, i - 2] / s[i - 1, i - 2] for i in range(bands)])
    # what all others together leave is more: their noise is in what they explain
    told = 1 / np.sqrt(np.diag(np.linalg.inv(s)))
    assert (told > 1.01 * own).all()
    level = 3 * np.arange(bands, dtype=np.float32)[:, None, None]
    found = own_noise(values + level, told, np.zeros(values.shape, bool))
    freedom = SIDE**2 / (SIDE**2 - 1 - SIDE)
    np.testing.assert_allclose(found**2, spearman * freedom, rtol=0.01)


def test_a_quiet_band_among_noisy_ones_has_its_own_noise() -> None:
    rng = np.random.default_rng(5)
    bands, rank = 20, 5
    own = np.exp(rng.uniform(-1.2, 1.2, bands))
    mixing = 20 * rng.standard_normal((bands, rank))
    values = mixing @ rng.standard_normal((rank, SIDE**2)) + own[:, None] * rng.standard_normal((bands, SIDE**2))
    told = 1 / np.sqrt(np.diag(np.linalg.inv(np.cov(values))))
    assert (told / own).max() > 1.5
    cube = values.reshape(bands, SIDE, SIDE).astype(np.float32)
    found = own_noise(cube, told, np.zeros(cube.shape, bool))
    np.testing.assert_allclose(found, own, rtol=0.35)
    assert np.sqrt(np.mean((found / own - 1) ** 2)) < 0.1 < 0.25 * np.sqrt(np.mean((told / own - 1) ** 2))
    # voxels that are filled with the scene have none
    scene = (mixing @ np.linalg.lstsq(mixing, values, rcond=None)[0]).reshape(cube.shape)
    outlier = np.zeros(cube.shape, bool)
    outlier[3] = rng.random(cube[3].shape) < 0.4
    filled = np.where(outlier, scene, cube).astype(np.float32)
    assert own_noise(filled, told, outlier)[3] == pytest.approx(own[3], rel=0.15)
    # and a band that is hardly anything else tells nothing
    outlier[3] = rng.random(cube[3].shape) < 0.8
    assert own_noise(filled, told, outlier)[3] == np.float32(told[3])


def test_more_factors_than_a_covariance_tells_end_after_one_turn() -> None:
    """Eight of ten bands: any noise fits. One turn gives at most what others leave, and no less than it is bound to."""
    rng = np.random.default_rng(6)
    values = 30 * rng.standard_normal((10, 8)) @ rng.standard_normal((8, SIDE**2)) + rng.standard_normal((10, SIDE**2))
    told = 1 / np.sqrt(np.diag(np.linalg.inv(np.cov(values))))
    cube = values.reshape(10, SIDE, SIDE).astype(np.float32)
    found = own_noise(cube, told, np.zeros(cube.shape, bool))
    assert (found < 1.05 * told).all()
    assert (found > 0.3 * told).all()


def test_directions_stay_and_hidden_ones_are_added() -> None:
    """A feature of two quiet bands, hidden as long as their noise counts as that of the others."""
    rng = np.random.default_rng(7)
    bands = 24
    own, hidden = np.ones(bands), np.zeros(bands)
    own[[8, 9]], hidden[[8, 9]] = 0.1, 0.2
    mixing = 20 * rng.standard_normal((bands, 3))
    values = mixing @ rng.standard_normal((3, SIDE**2)) + np.outer(hidden, rng.standard_normal(SIDE**2))
    values = (values + own[:, None] * rng.standard_normal(values.shape)).astype(np.float32)
    former = subspace(values)
    assert former.shape[1] == 3
    whitened, directions = relevelled(1 / own, values, values.reshape(bands, SIDE, SIDE), former)
    np.testing.assert_allclose(whitened.reshape(bands, -1), values / own[:, None], rtol=1e-5)
    assert directions.shape[1] == 4
    np.testing.assert_allclose(directions.T @ directions, np.eye(4), atol=1e-5)
    target = hidden / own / np.linalg.norm(hidden / own)
    kept = mixing / own[:, None]
    rest = target - kept @ np.linalg.lstsq(kept, target, rcond=None)[0]
    assert np.linalg.norm(directions.T @ rest) > 0.95 * np.linalg.norm(rest)
    power = np.square(directions.T @ whitened.reshape(bands, -1)).sum(1)
    assert (np.diff(power) <= 1e-3 * power[0]).all()


def test_bands_of_unequal_noise_are_not_made_worse() -> None:
    """Quiet bands were smoothed as if they had the noise of others: their errors were up to 2.2 times the noise."""
    rng = np.random.default_rng(8)
    bands, side = 14, 36
    y, x = np.mgrid[:side, :side] / side
    shares = np.stack([np.sin(9 * x + 5 * y), np.cos(17 * y * x), (x > 0.4) * (y > 0.3), np.sin(40 * x) * y])
    true = 3 + np.tensordot(rng.standard_normal((bands, 4)), shares, 1)
    sigma = 0.05 * np.exp(rng.uniform(-1.2, 1.2, bands))
    noisy = (true + sigma[:, None, None] * rng.standard_normal(true.shape)).astype(np.float32)
    found = restore(noisy, "lowrank")
    error = np.sqrt(np.square(found.estimate - true).mean((1, 2)))
    assert (error < 0.9 * sigma).all()
    assert found.noise is not None
    np.testing.assert_allclose(found.noise.sigma, sigma, rtol=0.35)
