"""The scene's subspace in noise, and a band's own noise: laws that hold without reference data."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from denoise.case import Observation
from denoise.separation.estimate import BLUR, faint, realigned, separate
from denoise.separation.noise import signal_slope
from denoise.separation.smooth import Smoothed
from hsitools.estimation.covariance import subspace

pytestmark = pytest.mark.portable


def spiked(bands, pixels, factors, seed):
    """Unit noise with directions whose eigenvalues in the sample are so many times noise's largest one, and these.

    J. Baik, J. W. Silverstein, 2006: variance v beyond 1 + √γ shows as v·(1 + γ/(v − 1)), γ = bands/pixels.
    """
    rng = np.random.default_rng(seed)
    gamma = bands / pixels
    shown = (1 + np.sqrt(gamma)) ** 2 * np.array(factors)
    half = (shown + 1 - gamma) / 2
    variance = half + np.sqrt(half**2 - shown)
    directions = np.linalg.qr(rng.standard_normal((bands, len(factors))))[0]
    scores = np.sqrt(variance - 1)[:, None] * rng.standard_normal((len(factors), pixels))
    return (directions @ scores + rng.standard_normal((bands, pixels))).astype(np.float32), directions


@pytest.mark.parametrize(("bands", "pixels"), [(40, 1600), (100, 1600), (200, 2500), (300, 1200)])
def test_only_what_noise_cannot_be_is_kept(bands, pixels):
    """Four directions beyond the edge of Marchenko and Pastur, the weakest by a fifth, and none of noise's own."""
    values, true = spiked(bands, pixels, [6.0, 3.0, 1.6, 1.2], seed=bands)
    found = subspace(values)
    assert found.shape == (bands, 4)
    np.testing.assert_allclose(found.T @ found, np.eye(4), atol=1e-5)
    assert np.linalg.norm(true[:, 0] @ found) > 0.7
    # noise alone: no direction but the one that there must be
    assert subspace(np.random.default_rng(1).standard_normal((bands, pixels)).astype(np.float32)).shape[1] == 1


def test_a_blur_brings_out_what_is_faint_and_nothing_else():
    """A smooth component a quarter as strong as a pixel's noise: blurred, it stands out; noise alone does not."""
    rng = np.random.default_rng(5)
    bands, side = 60, 80
    spectrum, strong = np.linalg.qr(rng.standard_normal((bands, 2)))[0].T
    wave = np.sin(2 * np.pi * np.arange(side) / (16 * BLUR))
    image = np.sqrt(2) * wave[:, None] * np.sqrt(2) * wave
    noise = rng.standard_normal((bands, side, side))
    first = 10 * strong[:, None, None] * rng.standard_normal((side, side))
    for strength, rank in ((0.0, 1), (0.27, 2)):
        values = (noise + first + strength * spectrum[:, None, None] * image).astype(np.float32)
        before = subspace(values.reshape(bands, -1))
        assert before.shape[1] == 1
        found = faint(values, before)
        assert found.shape[1] == rank
        np.testing.assert_allclose(found.T @ found, np.eye(rank), atol=1e-5)


def test_noise_is_a_bands_own_where_the_scene_is_rich():
    """A cube of 40 bands and rank 16: what other bands do not explain of one holds their noise, 15 to 60 % too much.

    That it is taken out again is seen in what `separate` gives, not only in the function that does it.
    """
    rng = np.random.default_rng(4)
    bands, rank, side = 40, 16, 48
    mixing, scores = np.linalg.qr(rng.standard_normal((bands, rank)))[0], 30 * rng.standard_normal((rank, side**2))
    true = rng.uniform(0.8, 1.25, bands)
    values = (200 + mixing @ scores + true[:, None] * rng.standard_normal((bands, side**2))).astype(np.float32)
    shape = (bands, side, side)
    found = separate(
        Observation(values=values.reshape(shape), valid=np.ones(shape, dtype=bool), sigma=None, calibrated=True),
        rounds=2,
    )
    error = np.log(found.noise.sigma / true)
    assert abs(error.mean()) < 0.04
    assert np.sqrt((error**2).mean()) < 0.08


def test_variance_grows_with_the_signal_by_the_slope():
    rng = np.random.default_rng(6)
    scene = rng.uniform(1, 3, (3, 120, 120))
    slope = np.array([0.0, 0.01, 0.04])
    residual = np.sqrt(1e-3 + slope[:, None, None] * scene) * rng.standard_normal(scene.shape)
    keep = rng.random(scene.shape) < 0.9
    residual[~keep] = 50.0
    np.testing.assert_allclose(signal_slope(residual, scene, keep), slope, atol=3e-3)


@pytest.mark.parametrize("seed", range(3))
def test_smooth_scores_tell_directions_better_than_noisy_ones(seed):
    """A seventh of what faint directions miss is found at least; with scores as noisy as before nothing is new."""
    bands, side, variance = 120, 48, np.array([2.0, 1.0, 0.6])
    rng = np.random.default_rng(seed)
    spectra = np.linalg.qr(rng.standard_normal((bands, 3)))[0]
    maps = np.stack([gaussian_filter(rng.standard_normal((side, side)), 4) for _ in variance])
    maps *= np.sqrt(variance / (maps**2).mean((1, 2)))[:, None, None]
    clean = np.tensordot(spectra, maps, 1)
    noisy = (clean + rng.standard_normal(clean.shape)).astype(np.float32)
    directions = subspace(noisy.reshape(bands, -1))
    assert directions.shape[1] == 3
    raw = np.tensordot(directions.T, noisy, 1)
    smoothed = gaussian_filter(raw, (0, 2, 2))
    turned, moved = realigned(noisy, directions, Smoothed(smoothed, raw, smoothed))
    np.testing.assert_allclose(turned.T @ turned, np.eye(3), atol=1e-5)
    np.testing.assert_allclose(moved.best, moved.joint)

    def missed(found):
        return 3 - np.sum((spectra.T @ found) ** 2)

    def error(found, scores):
        return np.mean((np.tensordot(found, scores, 1) - clean) ** 2)

    assert missed(turned) < 0.85 * missed(directions)
    assert error(turned, moved.best) < 0.95 * error(directions, smoothed)
    same, kept = realigned(noisy, directions, Smoothed(raw, raw, raw))
    np.testing.assert_allclose(np.tensordot(same, kept.best, 1), np.tensordot(directions, raw, 1), atol=1e-3)


def test_directions_that_are_right_stay():
    """The residual's regression on the scores is chance alone then: it is known how large, and taken away."""
    bands, side = 80, 32
    rng = np.random.default_rng(5)
    spectra = np.linalg.qr(rng.standard_normal((bands, 2)))[0]
    maps = np.stack([gaussian_filter(rng.standard_normal((side, side)), 3) for _ in range(2)]) * 10
    noisy = (np.tensordot(spectra, maps, 1) + rng.standard_normal((bands, side, side))).astype(np.float32)
    turned, _ = realigned(noisy, spectra, Smoothed(maps, maps, maps))
    chance = (bands - 2) * (1 / np.linalg.eigvalsh(np.tensordot(maps, maps, ((1, 2), (1, 2))))).sum()
    assert 2 - np.sum((spectra.T @ turned) ** 2) < 0.3 * chance
