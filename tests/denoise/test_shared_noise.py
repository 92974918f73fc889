"""Noise that neighbouring bands share: how much of it there is, that it is said, and that texture is none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from denoise.restore import restore
from denoise.separation.shared_noise import shared_noise
from hsitools.estimation.band_noise import band_noise
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


def test_a_restoration_says_it(clean: np.ndarray) -> None:
    shared = noise(0.7)
    found = restore((clean + shared).astype(np.float32), "lowrank")
    assert found.provenance["noise_correlation"] == pytest.approx(0.6, abs=0.06)
    assert found.noise is not None
    untold = np.median(shared.std((1, 2)) / found.noise.sigma)
    assert found.provenance["noise_untold"] == pytest.approx(untold, rel=0.1)
    assert f"{found.provenance['noise_untold']:.1f} times as much as was told" in found.provenance["warning"]
    plain = restore((clean + noise(0)).astype(np.float32), "lowrank").provenance
    assert not {"noise_correlation", "noise_untold", "warning"} & set(plain)
