"""Noise that neighbouring pixels share: how alike it is, that only such is found, and what is made of it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, uniform_filter

from denoise.latent.certainty import missed
from denoise.restore import restore
from denoise.separation.pixel_noise import WHITE, PixelNoise, pixel_noise
from denoise.separation.structured_bands import structured
from hsitools.scenes import scene

BANDS, SIDE = 24, 32
WAVELENGTH = np.linspace(420, 980, BANDS)


@pytest.fixture(scope="module")
def clean() -> np.ndarray:
    return np.asarray(scene((SIDE, SIDE), seed=3, wavelength_nm=WAVELENGTH).read(), dtype=float)


def noise(kind: str, seed: int = 0, bands: int = BANDS) -> np.ndarray:
    """Unit noise: white, half-way between four pixels, or of a blur."""
    white = np.random.default_rng(seed).standard_normal((bands, SIDE, SIDE))
    blurred = {
        "white": lambda: white, "between": lambda: uniform_filter(white, (0, 2, 2), mode="wrap"),
        "rows": lambda: uniform_filter(white, (0, 2, 0), mode="wrap"),
        "blur": lambda: gaussian_filter(white, (0, 1, 1), mode="wrap"),
    }[kind]()  # fmt: skip
    return np.asarray(blurred / blurred.std())


@pytest.mark.parametrize(
    ("kind", "beside", "area"),
    # linear interpolation half-way: 1/2 beside, 1/4 across; a Gaussian blur of s: exp(−1/(4 s²)) beside, 2 π s² in all
    [("between", 0.5, 2.25), ("rows", 0.5, 1.5), ("blur", 0.7788, 2 * np.pi)],
)
@pytest.mark.parametrize("snr", [30, 1000])
def test_noise_is_as_alike_as_it_is(clean: np.ndarray, kind: str, beside: float, area: float, snr: float) -> None:
    values = clean / clean.mean() * snr + noise(kind)
    found = pixel_noise(values.astype(np.float32))
    assert found.beside == pytest.approx(beside, abs=0.04)
    assert found.area == pytest.approx(area, rel=0.12)
    if kind == "rows":
        assert abs(found.apart(0, 1)) < 0.06


@pytest.mark.parametrize("snr", [3, 30, 1000])
def test_white_noise_beside_a_scene_is_white(clean: np.ndarray, snr: float) -> None:
    values = clean / clean.mean() * snr + noise("white")
    assert pixel_noise(values.astype(np.float32)) is WHITE
    assert pixel_noise(values[:4].astype(np.float32)) is WHITE
    assert pixel_noise(np.ones(values.shape, np.float32)) is WHITE


@pytest.mark.parametrize("side", [16, 32])
@pytest.mark.parametrize("resampled", [False, True])
def test_a_faint_part_of_the_scene_among_few_directions_is_no_noise(side: int, resampled: bool) -> None:
    """Of twelve bands eight are the scene's: its faintest direction is a fourth of what is taken for noise."""
    rng = np.random.default_rng(0)
    parts = np.stack([gaussian_filter(rng.standard_normal((side, side)), 1 + 0.3 * k) for k in range(8)])
    parts /= parts.std((1, 2), keepdims=True)
    spectra = np.exp(-0.5 * ((np.linspace(0, 1, 12)[:, None] - np.linspace(0, 1, 8)) / 0.25) ** 2)
    white = rng.standard_normal((12, side, side))
    noise = 0.02 * (uniform_filter(white, (0, 2, 2)) if resampled else white)
    told = restore((5 + np.tensordot(spectra, parts, 1) + noise).astype(np.float32), "lowrank").noise
    assert told is not None
    assert (told.pixels.beside > 0.4) if resampled else (told.pixels is WHITE)


def test_filters_undo_one_another_and_make_noise_white() -> None:
    shared = noise("between", bands=60)
    correlation = np.zeros((11, 11))
    correlation[4:7, 4:7] = np.outer([0.5, 1, 0.5], [0.5, 1, 0.5])
    found = PixelNoise(correlation)
    np.testing.assert_allclose(found.back(found.whitened(shared))[:, 4:-4, 4:-4], shared[:, 4:-4, 4:-4], atol=0.02)
    left, expected = found.whitened(shared), found.whitened_noise
    assert abs(expected.apart(0, 1)) < 0.25
    measured = np.mean(left[..., 1:] * left[..., :-1]) / left.var()
    assert measured == pytest.approx(expected.apart(0, 1), abs=0.03)
    mixed = np.diff(np.diff(left, axis=1), axis=2) / 2
    assert np.var(mixed) / left.var() == pytest.approx(expected.mixed, abs=0.03)
    assert np.var(gaussian_filter(shared, (0, 2.5, 2.5), mode="wrap")) == pytest.approx(found.left(2.5), rel=0.15)
    assert WHITE.left(2.5) == pytest.approx(1 / (4 * np.pi * 2.5**2))


def test_what_noise_shares_is_neither_missed_scene_nor_structure() -> None:
    shared = noise("between").astype(np.float32)
    pixels, keep = pixel_noise(shared), np.ones(shared.shape, dtype=bool)
    assert missed(shared, keep).min() > 0.3
    assert missed(shared, keep, pixels).max() < 0.08
    assert structured(shared, keep, 0 * shared).any()
    assert not structured(shared, keep, 0 * shared, pixels).any()
    scene_left = np.sqrt(0.3) * gaussian_filter(np.random.default_rng(1).standard_normal((SIDE, SIDE)), 3)
    scene_left *= np.sqrt(0.3) / scene_left.std()
    assert missed(shared + scene_left.astype(np.float32), keep, pixels).mean() == pytest.approx(0.3, abs=0.12)


@pytest.mark.parametrize(("kind", "most"), [("between", 0.3), ("blur", 0.4)])
def test_a_resampled_image_is_restored_with_error_bars_that_hold(clean: np.ndarray, kind: str, most: float) -> None:
    """Errors in σ were .45 and .75 of noise that was taken for white, and the rank five times as large."""
    sigma = clean.mean() / 30
    found = restore((clean + sigma * noise(kind)).astype(np.float32), samples=2, wavelength_nm=WAVELENGTH)
    error = found.estimate - clean
    assert found.std is not None
    assert found.noise is not None
    assert np.sqrt(np.mean(error**2)) < most * sigma
    assert np.median(found.noise.sigma) == pytest.approx(sigma, rel=0.1)
    assert 0.91 < np.mean(np.abs(error) < 1.96 * found.std) < 0.995
    assert found.provenance["pixel_correlation"] == found.noise.pixels.beside > 0.4
