"""Cubes without a value below zero, or below another floor: what is restored of them, and how sure it is."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr

from denoise.above_zero import above_zero
from denoise.registry import METHODS
from denoise.restore import restore
from denoise.separation.floor import unclipped
from hsitools.scenes import scene

BANDS, SIDE, SIGMA = 16, 40, 0.01


@pytest.fixture(scope="module")
def dark() -> tuple[np.ndarray, np.ndarray]:
    """A scene that is zero in half of its voxels, and stored without values below zero, as counts are."""
    wavelength = np.linspace(450, 900, BANDS)
    true = np.asarray(scene((SIDE, SIDE), wavelength_nm=wavelength, seed=9).read(), dtype=float)
    true = np.maximum(true - np.median(true, axis=(1, 2), keepdims=True), 0)
    return true, np.maximum(true + SIGMA * np.random.default_rng(0).standard_normal(true.shape), 0)


@pytest.mark.parametrize("height", [-2.0, -0.7, 0.0, 0.4, 3.0])
def test_what_is_said_is_the_mean_square_over_what_is_above_zero(height: float) -> None:
    """By a sum over a fine grid of the normal posterior's part above zero."""
    grid = np.linspace(0, 12, 200_001)
    weight = np.exp(-0.5 * (grid - height) ** 2)
    expected = np.sqrt((weight * (grid - max(height, 0)) ** 2).sum() / weight.sum())
    seen = np.ones((1, 1, 2))
    estimate, std = above_zero(np.full(seen.shape, 5 * height), np.full(seen.shape, 5.0), seen, seen > 0)
    assert std is not None
    np.testing.assert_allclose(estimate, 5 * max(height, 0))
    np.testing.assert_allclose(std, 5 * expected, rtol=1e-4)


def test_a_posterior_far_below_zero_is_no_surer_than_near_it() -> None:
    seen, mean = np.ones((1, 1, 2)), np.array([[[-2.0, -50.0]]])
    std = above_zero(mean, np.ones(seen.shape), seen, seen > 0)[1]
    assert std is not None
    assert std[0, 0, 0] == std[0, 0, 1] > 0.3


def test_measurements_below_zero_leave_a_band_as_it_is() -> None:
    """What was no measurement of the scene says nothing; a band that was not measured is not bound."""
    seen, used = np.full((3, 2, 2), 0.2), np.ones((3, 2, 2), dtype=bool)
    seen[0, 0, 0] = seen[1, 0, 0] = -0.1
    used[1, 0, 0], used[2] = False, False
    mean, spread = np.full(seen.shape, -0.3), np.full(seen.shape, 0.2)
    estimate, std = above_zero(mean, spread, seen, used)
    assert std is not None
    np.testing.assert_array_equal(estimate, np.where(np.arange(3) == 1, 0, -0.3)[:, None, None] + np.zeros((3, 2, 2)))
    assert ((std < spread).all((1, 2)) == [False, True, False]).all()


@pytest.mark.parametrize("method", METHODS)
def test_dark_is_not_restored_below_zero(method: str, dark: tuple[np.ndarray, np.ndarray]) -> None:
    true, noisy = dark
    found = restore(noisy.astype(np.float32), method)
    assert found.estimate.min() >= 0
    if method in ("lowrank", "diffusion"):
        assert np.mean((found.estimate - true) ** 2) < 0.45**2 * np.mean((noisy - true) ** 2)


@pytest.mark.parametrize("lifted", [-5.0, 7.0])
def test_a_floor_is_one_wherever_it_lies(lifted: float, dark: tuple[np.ndarray, np.ndarray]) -> None:
    """Half of the voxels have one value: they are the dark scene, which noise was cut from, and no impulses."""
    true, noisy = dark
    found = restore((noisy + lifted).astype(np.float32), "lowrank")
    assert found.mask is not None
    assert found.mask.mean() < 0.002
    error = found.estimate - lifted - true
    assert np.sqrt(np.mean(error**2)) < 0.45 * np.sqrt(np.mean((noisy - true) ** 2))
    # the mean of what is left of noise that is cut is .4 of its deviation
    assert abs(error[true == 0].mean()) < 0.3 * SIGMA


def test_dark_is_as_sure_as_it_is_right(dark: tuple[np.ndarray, np.ndarray]) -> None:
    true, noisy = dark
    found = restore(noisy.astype(np.float32), "diffusion", samples=2)
    assert found.std is not None
    inside = np.abs(found.estimate - true) < 1.96 * found.std
    assert inside.mean() > 0.91
    assert inside[true == 0].mean() > 0.91


def test_impulses_at_a_floor_are_found(dark: tuple[np.ndarray, np.ndarray]) -> None:
    """One voxel in twenty of a bright scene reads zero, where no noise goes."""
    rng = np.random.default_rng(3)
    pepper = rng.random(dark[0].shape) < 0.05
    true = 0.2 + dark[0]
    noisy = np.where(pepper, 0, np.maximum(true + SIGMA * rng.standard_normal(true.shape), 0))
    found = restore(noisy.astype(np.float32), "lowrank")
    assert found.mask is not None
    assert found.mask[pepper].mean() > 0.99
    assert found.mask[~pepper].mean() < 0.01


@pytest.mark.parametrize("height", [-0.7, 0.0, 0.4, 1.5, 8.0])
def test_a_mean_is_what_it_was_before_clipping(height: float) -> None:
    """By a sum over a fine grid of the noise; a band that is not clipped stays as it is."""
    grid = np.linspace(-9, 9, 200_001)
    weight = np.exp(-0.5 * grid**2)
    noise = 0.5 * np.random.default_rng(4).standard_normal((1, 100, 100))
    values = np.maximum(0.5 * height + noise, 0) + 3
    mean = 3 + 0.5 * float((weight * np.maximum(height + grid, 0)).sum() / weight.sum())
    estimate, std = unclipped(
        np.full(values.shape, mean), np.full(values.shape, 0.02), values, values > 0, np.array([0.5]), np.zeros(1)
    )
    np.testing.assert_allclose(estimate, 3 + 0.5 * height, atol=2e-4)
    # a step of the mean is one of Φ(height) of the scene
    assert std is not None
    np.testing.assert_allclose(std, 0.02 / ndtr(height), rtol=0.02)


def test_noise_that_grows_with_the_light_raises_the_mean_where_it_is_dark_by_less() -> None:
    """Of variance one in the mean and a fourth more for each unit of light: half of it at the floor."""
    true = np.broadcast_to(np.linspace(0, 6, 80), (60, 80))
    unit = np.sqrt(1 + 0.25 * (true - 3))
    height = true / unit
    mean = unit * (np.exp(-0.5 * height**2) / np.sqrt(2 * np.pi) + height * ndtr(height))
    values = np.maximum(true + unit * np.random.default_rng(0).standard_normal(true.shape), 0)
    estimate, _ = unclipped(
        mean[None], None, values[None], np.ones((1, *true.shape), bool), np.ones(1), np.array([0.25])
    )
    np.testing.assert_allclose(estimate[0], true, atol=0.1)
