"""Estimates of noise in cases whose answer is known without them: white noise, hand-made mixtures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from hsitools.estimation.band_noise import band_noise, block_noise, own_variance
from hsitools.estimation.common_stripes import common_stripes
from hsitools.estimation.covariance import gram
from hsitools.estimation.heights import Levels, heights, levels
from hsitools.io.quality import quality
from hsitools.sensor import Stripes
from hsitools.sensor.pattern import stripe_statistics


@pytest.mark.parametrize(("bands", "shape", "most"), [(60, (20, 20), 1.0), (120, (10, 12), 1.04)])
def test_weights_that_were_fitted_take_no_noise_away(bands, shape, most):
    """Few pixels for so many bands; where nearest bands explain, their own noise comes in with half their number."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((bands, *shape)) + 50 * rng.standard_normal(shape)
    assert band_noise(noise.astype(np.float32)).mean() == pytest.approx(most, abs=0.02)


def test_noise_of_blocks_is_without_bias():
    rng = np.random.default_rng(1)
    white = torch.as_tensor(3 * rng.standard_normal((1, 10, 64, 64)))
    assert float(block_noise(white)[0].mean()) == pytest.approx(3, rel=0.02)
    # each row of a band has a level of its own, which the pixel beside tells with its own noise
    levels_of_rows = 100 * torch.as_tensor(rng.standard_normal((1, 10, 64, 1)))
    assert float(block_noise(white + levels_of_rows)[0].mean()) == pytest.approx(3, rel=0.03)


def test_blocks_whose_neighbours_have_holes_are_left_out():
    values = torch.as_tensor(np.random.default_rng(2).standard_normal((1, 7, 16, 16)))
    valid = torch.ones_like(values, dtype=torch.bool)
    valid[0, 3, 3, 3] = False
    # of bands 2 to 4, one block each
    assert block_noise(values, valid)[2] == {"blocks": 3}


def test_own_noise_of_bands_that_explain_one_another():
    """Of bands of variance 3 that take half and a fifth of the other: 3 + 3/4, and 3 + 3/25."""
    found = own_variance(np.array([3.75, 3.12]), np.array([[0, 0.5], [0.2, 0]]))
    np.testing.assert_allclose(found, [3, 3], rtol=1e-12)


def test_heights_are_in_deviations_of_the_whole_image():
    image = np.random.default_rng(3).normal(5, [[[2]], [[0.5]]], (2, 60, 60))
    image = np.concatenate([image, np.full((1, 60, 60), 7.0)])
    image[2, 0, 0] = 9
    valid = np.ones(image.shape, bool)
    whole = levels(image, valid)
    np.testing.assert_allclose(whole.centre, [5, 5, 7], atol=0.1)
    np.testing.assert_allclose(whole.deviation, [2, 0.5, 0], rtol=0.05, atol=0)
    part = heights(image[:, :3], valid[:, :3], whole)
    np.testing.assert_allclose(part, heights(image, valid)[:, :3])
    # a band of hardly more than one value: the widest of the others stands in
    assert part[2, 0, 0] == pytest.approx(2 / whole.deviation[0])
    assert heights(image, valid, Levels(np.zeros(3), np.array([1.0, 1, 1])))[2, 0, 0] == 9


def test_a_deviation_that_few_values_show_is_that_of_the_farthest():
    """A tenth of the values are noise, the others equal: the middle one is zero."""
    values = np.zeros((1, 100, 100))
    values[0, :10] = np.random.default_rng(4).standard_normal((10, 100))
    told = levels(values, np.ones(values.shape, bool)).deviation[0]
    # two in a hundred lie beyond: twenty in a hundred of the noise, 1.28 deviations; 2.33 is what two in a hundred are
    assert told == pytest.approx(1.28 / 2.33, rel=0.05)


def test_quality_is_signal_over_noise_and_what_is_missing():
    from hsitools import Cube

    rng = np.random.default_rng(5)
    scene = np.linspace(1, 2, 12)[:, None, None] * rng.uniform(50, 150, (48, 48))
    values = scene + 2 * rng.standard_normal(scene.shape)
    values[:, :12] = np.nan
    told = quality(Cube(data=values.astype(np.float32), scale_factor=0.01))
    assert told["missing"] == 0.25
    assert told["snr"] == pytest.approx(100 * np.linspace(1, 2, 12)[5:7].mean() / 2, rel=0.05)


def test_statistics_of_stripes_by_hand():
    """Of twelve columns three change, two of them side by side, in two bands of four that lie apart."""
    gain = np.ones((4, 12))
    gain[np.ix_([0, 2], [1, 2, 9])] = np.exp([0.01, 0.03, -0.02])
    told = stripe_statistics(7 * gain)
    assert told["columns"] == 0.25
    assert told["bands"] == 0.5
    assert (told["clusters"], told["band_runs"]) == (2, 2)
    assert told["gain"] == pytest.approx(np.sqrt((0.01**2 + 0.03**2 + 0.02**2) / 3), rel=1e-9)
    assert told["column_step"] == pytest.approx(0.02, rel=1e-9)
    assert told["band_step"] == 0


def test_offsets_and_gains_of_stripes_have_their_own_size():
    drawn = Stripes(gain=0.02, offset=3.0, drift=0.1).draw((30, 50, 40), np.random.default_rng(6))
    for found, size in ((drawn.gain - 1, 0.02), (drawn.offset, 3.0), (drawn.drift, 0.1), (drawn.walk, 1.0)):
        assert np.sqrt(np.mean(found**2)) == pytest.approx(size, rel=1e-6)


@pytest.mark.parametrize("share", [0.1, 0.9])
def test_band_noise_is_what_changes_from_band_to_band(share):
    stripes = Stripes(gain=1.0, band_correlation=0.999, band_noise=share)
    gain = stripes.draw((400, 4, 8), np.random.default_rng(7)).gain - 1
    steps = np.diff(gain, axis=0)
    assert np.mean(steps**2) / 2 == pytest.approx(share, rel=0.15)


def test_noise_of_few_bands_beside_texture_that_they_share():
    """White texture of other strength and sign in each band: neighbours tell nothing of it, other bands do."""
    rng = np.random.default_rng(8)
    sigma = np.array([0.05, 0.06, 0.08, 0.04])
    texture = np.array([1, 0.9, 2, -0.8])[:, None, None] * rng.standard_normal((80, 80))
    noisy = texture + sigma[:, None, None] * rng.standard_normal(texture.shape)
    # in the units of each band, too
    for units in (np.ones(4), np.array([1, 1e3, 1e-2, 30])):
        found = band_noise((units[:, None, None] * noisy).astype(np.float32))
        np.testing.assert_allclose(found, units * sigma, rtol=0.25)


def test_noise_of_few_smooth_bands_is_what_neighbours_miss():
    rng = np.random.default_rng(9)
    smooth = np.stack([gaussian_filter(rng.standard_normal((96, 96)), 2) for _ in range(3)])
    sigma = np.array([0.01, 0.05, 0.002])
    found = band_noise((smooth + sigma[:, None, None] * rng.standard_normal(smooth.shape)).astype(np.float32))
    np.testing.assert_allclose(found, sigma, rtol=0.1)


def test_size_of_stripes_is_that_which_both_halves_of_a_column_share():
    rng = np.random.default_rng(10)
    stripes = 0.02 * rng.standard_normal(400)
    scene = np.arange(1, 6)[:, None, None] * (1 + 0.05 * rng.standard_normal((96, 400)))
    assert common_stripes(scene * (1 + stripes)) == pytest.approx(0.02, rel=0.12)
    # of each half alone: walls
    halves = np.repeat(0.01 * rng.standard_normal((2, 400)), 48, axis=0)
    assert common_stripes(scene * (1 + stripes + halves)) == pytest.approx(0.02, rel=0.15)


def test_sums_of_products_are_of_all_pixels_in_double_precision():
    """More pixels than are summed at a time, of a level a hundred thousand times the contrast."""
    values = (2.0**19 + np.random.default_rng(11).integers(0, 8, (3, 70, 300))).astype(np.float32)
    whole = [[sum(int(a) * int(b) for a, b in zip(x.flat, y.flat, strict=True)) for y in values] for x in values]
    np.testing.assert_array_equal(gram(values), whole)


def test_levels_are_of_what_was_measured():
    values = np.random.default_rng(12).normal(3, 0.5, (1, 80, 50))
    valid = np.ones(values.shape, bool)
    valid[:, ::2] = False
    values[~valid] = 1e6
    told = levels(values, valid)
    assert (told.centre[0], told.deviation[0]) == pytest.approx((3, 0.5), rel=0.05)
    far = heights(values, valid)
    assert not far[~valid].any()
    np.testing.assert_allclose(far[valid], (values[valid] - told.centre[0]) / told.deviation[0])
    assert not heights(values, ~np.ones_like(valid)).any()
