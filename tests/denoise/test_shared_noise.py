"""Noise that neighbouring bands share: how much of it there is, that it is said, and that texture is none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from denoise.restore import restore
from denoise.separation.shared_noise import beside, shared_noise, spread_in
from hsitools.estimation.band_noise import band_noise
from hsitools.estimation.covariance import subspace
from hsitools.scenes import scene

BANDS, SIDE = 40, 44
SIGMA = 0.02 * np.random.default_rng(5).uniform(0.6, 1.4, BANDS)


@pytest.fixture(scope="module")
def clean() -> np.ndarray:
    return np.asarray(scene((SIDE, SIDE), seed=3, wavelength_nm=np.linspace(420, 980, BANDS)).read(), dtype=float)


def noise(blur: float) -> np.ndarray:
    white = SIGMA[:, None, None] * np.random.default_rng(0).standard_normal((BANDS, SIDE, SIDE))
    return gaussian_filter1d(white, blur, axis=0) if blur else white


@pytest.mark.parametrize(("blur", "wrong"), [(0.7, 0.6), (1.0, 0.15)])
def test_shared_noise_is_as_large_as_it_is_and_correlated_as_it_is(
    clean: np.ndarray, blur: float, wrong: float
) -> None:
    shared = noise(blur)
    values = (clean + shared).astype(np.float32)
    alone = band_noise(values)
    assert np.median(alone / shared.std((1, 2))) < wrong
    found = shared_noise(values, alone)
    assert found is not None
    ratio = found.sigma / shared.std((1, 2))
    assert np.median(ratio) == pytest.approx(1, abs=0.03)
    assert 0.85 < ratio.min() < ratio.max() < 1.2
    true = np.diag(np.corrcoef(shared.reshape(BANDS, -1)), 1).mean()
    assert np.diag(found.correlation, 1).mean() == pytest.approx(true, abs=0.04)


@pytest.mark.parametrize("snr", [20, 200, 5000])
def test_a_scene_of_fine_texture_in_white_noise_shares_none(clean: np.ndarray, snr: float) -> None:
    """A texture as fine as pixels in many bands, and lines: each is one direction, and no noise."""
    rng = np.random.default_rng(1)
    grain = rng.standard_normal((SIDE, SIDE)) * np.exp(-0.5 * ((np.arange(BANDS) - 15) / 3.0) ** 2)[:, None, None]
    values = clean + 0.1 * clean.std() * grain + clean.mean() / snr * rng.standard_normal(clean.shape)
    assert shared_noise(values.astype(np.float32), band_noise(values.astype(np.float32))) is None


def test_a_restoration_says_it_and_takes_it_away(clean: np.ndarray) -> None:
    shared = noise(0.7)
    found = restore((clean + shared).astype(np.float32), "lowrank")
    assert found.provenance["noise_correlation"] == pytest.approx(0.6, abs=0.06)
    assert "neighbouring bands share noise (correlation 0." in found.provenance["warning"]
    assert np.mean((found.estimate - clean) ** 2) < 0.4**2 * np.mean(shared**2)
    assert found.noise is not None
    np.testing.assert_allclose(found.noise.sigma, shared.std((1, 2)), rtol=0.2)
    plain = restore((clean + noise(0)).astype(np.float32), "lowrank").provenance
    assert not {"noise_correlation", "warning"} & set(plain)


def test_errors_of_shared_noise_are_within_their_bars(clean: np.ndarray) -> None:
    some = (slice(0, BANDS, 2), slice(0, 28), slice(0, 28))
    shared = gaussian_filter1d(noise(0)[some], 0.7, axis=0)
    found = restore((clean[some] + shared).astype(np.float32), samples=1)
    assert found.std is not None
    assert "noise_correlation" in found.provenance
    z = (found.estimate - clean[some]) / found.std
    assert 0.4 < np.sqrt(np.mean(z**2)) < 1.1
    assert np.mean(np.abs(z) < 1.96) > 0.93


def test_a_faint_direction_is_found_in_noise_of_any_correlation() -> None:
    """Noise of correlation .6 has directions of twice its variance; a scene of less is the one that is found."""
    rng = np.random.default_rng(2)
    distance = np.abs(np.subtract.outer(np.arange(24), np.arange(24)))
    correlation = 0.6**distance
    alternating = np.where(np.arange(24) % 2, 1, -1) / np.sqrt(24)
    values = np.linalg.cholesky(correlation) @ rng.standard_normal((24, 2500))
    values += alternating[:, None] * rng.standard_normal(2500)
    images = values.reshape(24, 50, 50).astype(np.float32)
    found = beside(images, correlation, lambda level: subspace(level.reshape(24, -1)))
    assert found.shape == (24, 1)
    assert abs(found[:, 0] @ alternating) > 0.9
    expected = np.sqrt(alternating @ correlation @ alternating)
    np.testing.assert_allclose(spread_in(alternating[:, None], correlation), expected, rtol=1e-5)
    plain = beside(images, None, lambda level: subspace(level.reshape(24, -1)))
    assert plain.shape[1] > 3
