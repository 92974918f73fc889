"""Estimates that every room shares, against what is known of the numbers they are shown."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hsitools.estimation.band_noise import band_noise, block_noise, nearest, unexplained
from hsitools.estimation.covariance import gram, largest_of_noise, subspace
from hsitools.estimation.edge_aware import LINK, edge_weights
from hsitools.estimation.spread import median, robust_sigma
from hsitools.scenes import scene

SIGMA = np.linspace(0.1, 0.2, 60)


def noisy(height=96, width=96, rank=3):
    """Sixty bands that share three smooth images, and noise that grows from band to band."""
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:height, :width] / 40
    images = np.stack([np.sin(y + x), np.cos(1.3 * y - x), y * x / 5][:rank])
    mixing = rng.standard_normal((len(SIGMA), rank))
    cube = np.einsum("bk,kyx->byx", mixing, images)
    return (cube + SIGMA[:, None, None] * rng.standard_normal(cube.shape)).astype(np.float32)


def test_noise_is_what_bands_do_not_share():
    np.testing.assert_allclose(band_noise(noisy()), SIGMA, rtol=0.15)
    sigma, keep, excluded = block_noise(torch.from_numpy(noisy())[None])
    assert keep.all()
    assert not excluded
    np.testing.assert_allclose(sigma[0].numpy(), SIGMA, rtol=0.25)


def test_one_band_tells_its_noise_by_its_pixels():
    rng = np.random.default_rng(1)
    cube = 0.3 * rng.standard_normal((1, 200, 200)) + np.linspace(0, 5, 200)  # a stripe in each column
    np.testing.assert_allclose(band_noise(cube), [0.3], rtol=0.03)


@pytest.mark.parametrize("shape", [(90, 1), (1, 90)])
def test_a_line_of_pixels_tells_its_noise(shape):
    """Too few pixels for all bands: the nearest ones, or the pixels beside, whichever see less."""
    cube = noisy(*shape)
    assert 0.6 < np.median(band_noise(cube) / SIGMA) < 1.4
    # where neighbouring pixels differ, bands tell
    rough = np.random.default_rng(5).standard_normal(shape) * np.linspace(1, 2, 60)[:, None, None]
    assert 0.6 < np.median(band_noise(cube + 9 * rough) / SIGMA) < 1.8


@given(st.integers(5, 9), st.integers(0, 99), st.sampled_from([None, 1, 2]))
def test_unexplained_is_the_residual_of_a_regression(bands, seed, reach):
    rng = np.random.default_rng(seed)
    images = rng.standard_normal((bands, bands)) @ rng.standard_normal((bands, 60))
    images -= images.mean(1, keepdims=True)
    found = unexplained(images @ images.T / 60, reach)
    for band in range(bands):
        others = np.delete(np.arange(bands), band) if reach is None else nearest(bands, reach)[band]
        weights = np.linalg.lstsq(images[others].T, images[band], rcond=None)[0]
        residual = images[band] - weights @ images[others]
        assert found[band] == pytest.approx(np.mean(residual**2), rel=1e-5, abs=1e-9 * np.mean(images[band] ** 2))


def test_equal_bands_leave_nothing():
    image = np.random.default_rng(0).standard_normal(100)
    covariance = gram(np.stack([image, image, 2 * image, -image, image])) / 100
    assert unexplained(covariance, 1).max() < 1e-12
    assert unexplained(covariance).max() < 1e-8


@pytest.mark.parametrize("reach", [1, 2])
def test_nearest_bands(reach):
    near = nearest(7, reach)
    for band, row in enumerate(near):
        assert band not in row
        assert len(set(row)) == 2 * reach
        low = min(max(band - reach, 0), 7 - 2 * reach - 1)
        assert set(row) | {band} == set(range(low, low + 2 * reach + 1))


def test_noise_alone_has_no_subspace_and_what_stands_out_has_one():
    noise = np.random.default_rng(2).standard_normal((60, 3000))
    assert np.linalg.eigvalsh(gram(noise) / 3000).max() == pytest.approx(largest_of_noise(60, 3000), rel=0.03)
    assert subspace(noise).shape == (60, 1)
    one, two = np.linalg.qr(np.random.default_rng(3).standard_normal((60, 2)))[0].T
    rng = np.random.default_rng(5)
    found = subspace(
        noise + 9 * np.outer(one, rng.standard_normal(3000)) + 4 * np.outer(two, rng.standard_normal(3000))
    )
    assert found.shape == (60, 2)
    assert abs(found[:, 0] @ one) > 0.99
    assert abs(found[:, 1] @ two) > 0.98


def test_spread_of_normal_numbers():
    values = np.random.default_rng(0).standard_normal(10**6)
    assert robust_sigma(values) == pytest.approx(1, rel=0.003)
    wild = np.where(np.random.default_rng(1).random(10**6) < 0.1, 1e6, values)
    np.testing.assert_allclose(robust_sigma(np.stack([values, 2 * wild]), axis=1), [1, 2], rtol=0.2)


def test_diagonal_neighbours_are_linked_by_their_distance():
    along, down, *diagonal = edge_weights(torch.ones(1, 1, 4, 5), 0.1)
    assert float(along.min()) == float(down.max()) == pytest.approx(1 + LINK)
    for weight in diagonal:
        np.testing.assert_allclose(weight, (1 + LINK) / 2**0.5, rtol=1e-6)


@pytest.mark.parametrize("bands", [3, 5, 8])
@pytest.mark.parametrize("noise", [5e-4, 2e-3, 1e-2])
def test_noise_of_few_bands_is_not_their_texture(bands: int, noise: float) -> None:
    """Neighbouring pixels alone say two to five times as much where there is little noise."""
    truth = np.asarray(scene((64, 64), seed=11, wavelength_nm=np.linspace(420, 980, bands)).read(), dtype=float)
    values = truth + noise * np.random.default_rng(0).standard_normal(truth.shape)
    ratio = band_noise(values) / noise
    assert ratio.min() > 0.8
    assert np.median(ratio) < 1.3
    assert ratio.max() < 3


def test_medians_are_those_of_numpy() -> None:
    rng = np.random.default_rng(2)
    for shape, axis in (((7,), None), ((6, 5, 4), (1, 2)), ((6, 5, 4), 0), ((3, 8), 1)):
        values = rng.standard_normal(shape).astype(np.float32)
        np.testing.assert_array_equal(median(values, axis=axis), np.median(values, axis=axis))
    values[1, 2] = np.nan
    np.testing.assert_array_equal(median(values, axis=1), np.median(values, axis=1))
    assert median(np.array([250, 255], np.uint8)) == 252.5
