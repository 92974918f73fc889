"""What aligning sub-images leaves: taken off where it follows slopes, and in the error bars that halves speak for."""

import numpy as np
import pytest

from calibration.inversion import registry
from calibration.inversion.alignment_errors import brightness_slopes, without_alignment_errors
from calibration.inversion.halves import widened
from calibration.inversion.problem import Interferograms
from calibration.inversion.sub_image_registration import smooth_covariance

WAVELENGTH = np.linspace(400.0, 900.0, 41)
COUNT = 30
OPD = 1.5 + 0.2 * np.arange(COUNT)
MATRIX = 1 + 0.5 * np.cos(2 * np.pi * OPD[:, None] * 1000 / WAVELENGTH)


@pytest.fixture
def image():
    """Brightness of a scene ``(y, x)``."""
    y, x = np.mgrid[:16, :16]
    return 1 + 0.4 * np.sin(0.9 * x) + 0.3 * np.cos(0.7 * y)


def test_slopes_are_taken_off_and_spectra_are_not(image):
    rng = np.random.default_rng(0)
    spectrum = 1 + 0.3 * np.sin(WAVELENGTH / 90)
    even = (MATRIX @ spectrum)[:, None, None] * image
    share = rng.normal(0, 0.05, COUNT)
    level = even.mean(axis=(1, 2), keepdims=True)
    displaced = even + level * share[:, None, None] * np.gradient(image, axis=1)
    noise = np.full(COUNT, 1e-3)
    displaced += level * 1e-3 * rng.standard_normal(even.shape)
    displaced[:, 0, 3] = np.nan
    clean, std = without_alignment_errors(displaced, smooth_covariance(MATRIX, WAVELENGTH), noise)
    assert np.isnan(clean[:, 0, 3]).all()
    measured = np.isfinite(clean).all(axis=0)
    before, after = (np.sqrt(np.mean(((x - even) / level)[:, measured] ** 2)) for x in (displaced, clean))
    assert after < 0.5 * before
    assert (std > 0).all()
    # two materials: what smooth spectra make of them is no displacement
    other = (MATRIX @ (1 - 0.3 * np.sin(WAVELENGTH / 90)))[:, None, None] * image
    scene = np.where(np.arange(16) < 8, even, other) + level * 1e-3 * rng.standard_normal(even.shape)
    clean, _ = without_alignment_errors(scene, smooth_covariance(MATRIX, WAVELENGTH), noise)
    assert np.sqrt(np.mean(((clean - scene) / level) ** 2)) < 3e-3


def test_slopes_are_orthonormal_and_no_brightness(image):
    slopes = brightness_slopes(image.ravel(), np.ones(image.shape, dtype=bool))
    np.testing.assert_allclose(slopes @ slopes.T, np.eye(5), atol=1e-9)
    np.testing.assert_allclose(slopes @ image.ravel(), 0, atol=1e-9)


@pytest.mark.parametrize("noise", [0.01, 0.05])
def test_what_is_left_of_slopes_is_as_large_as_it_is_said(image, noise):
    slopes = brightness_slopes(image.ravel(), np.ones(image.shape, dtype=bool))
    even = (MATRIX @ (1 + 0.3 * np.sin(WAVELENGTH / 90)))[:, None, None] * image
    level = even.mean(axis=(1, 2), keepdims=True)
    ratios = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        share = rng.normal(0, 0.16, (COUNT, 5))
        right = even + level * noise * rng.standard_normal(even.shape)
        values = right + level * ((share - share.mean(axis=0)) @ slopes).reshape(even.shape)
        clean, std = without_alignment_errors(values, smooth_covariance(MATRIX, WAVELENGTH), np.full(COUNT, noise))
        ratios.append((((clean - right) ** 2).mean(axis=(1, 2)) / std**2).mean())
    assert np.mean(ratios) == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("wrong", [0.0, 0.1])
def test_halves_that_disagree_widen_error_bars(image, wrong):
    rng = np.random.default_rng(1)
    values = (MATRIX @ (1 + 0.3 * np.sin(WAVELENGTH / 90)))[:, None, None] * image
    values += 0.02 * values.mean() * rng.standard_normal(values.shape)
    # an error of each interferometer that the noise does not tell
    values *= 1 + wrong * rng.standard_normal((COUNT, 1, 1))
    case = Interferograms(
        matrix=MATRIX, values=values, noise_std=np.full(COUNT, 0.02 * values.mean()), wavelength_nm=WAVELENGTH,
        opd_um=OPD,
    )  # fmt: skip
    method = registry.get("ridge")
    learned = method.learned(case)
    plain, wide = learned(case), widened(method, case, learned)(case)
    np.testing.assert_allclose(wide.estimate, plain.estimate)
    factor = wide.std / plain.std
    assert (factor >= 1 - 1e-12).all()
    assert (np.median(factor) > 2) == (wrong > 0)
    assert widened(registry.get("nonnegative"), case, learned) is learned


@pytest.mark.parametrize("measured", [np.s_[:, :], np.s_[3:5, 1:14], np.s_[2, 2], np.s_[0:0]])
def test_sub_images_that_share_few_pixels_stay_as_they_are(measured):
    """Of a saturated scene little is common: the gradient of two rows was an internal error."""
    values = np.full((COUNT, 2, 50) if measured == np.s_[:, :] else (COUNT, 16, 16), np.nan)
    values[:, *(measured if isinstance(measured, tuple) else (measured,))] = 1.0
    clean, std = without_alignment_errors(values, np.eye(COUNT), np.full(COUNT, 1e-3))
    np.testing.assert_array_equal(clean, values)
    assert (std == 0).all()
