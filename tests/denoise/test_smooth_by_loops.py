"""The spatial prior's steps, each against the plain loop that its paper gives."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from denoise.separation.smooth import (
    FEWER,
    MANY,
    NEAR,
    REACH,
    TOGETHER,
    _alike,
    _bayes,
    _patches,
    _single_means,
    _window_sums,
    joint_means,
    smooth,
)


def steps_and_noise(shape, seed=0):
    """White noise on fields that differ by far more: a pixel is like those of its own field only."""
    rng = np.random.default_rng(seed)
    k, height, width = shape
    y, x = np.mgrid[:height, :width]
    fields = 30.0 * ((y > height // 3).astype(int) + 2 * (x > width // 2))
    return (fields * np.linspace(1, -0.5, k)[:, None, None] + rng.standard_normal(shape)).astype(np.float32)


def mean_of_like(images, distance, edge, reach, strength, mode):
    """Mean of all pixels within reach, weighted by exp(−max(d − 2, 0) / h²), d the mean squared difference."""
    height, width = images.shape[1:]
    wide = np.pad(images, ((0, 0), (edge, edge), (edge, edge)), mode=mode).astype(float)
    total, weights = np.zeros(images.shape), np.zeros((height, width))
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            moved = np.roll(wide, (-down, -right), (1, 2))
            weight = np.exp(-np.maximum(distance(wide, moved) - 2, 0) / strength**2)
            weight = weight[edge : edge + height, edge : edge + width]
            total += weight * moved[:, edge : edge + height, edge : edge + width]
            weights += weight
    return total / weights


def windows(image, side):
    """Sums over windows of a side about every pixel."""
    half = side // 2
    return sliding_window_view(np.pad(image, half), (side, side)).sum((2, 3))


def test_sums_over_windows():
    image = np.random.default_rng(0).standard_normal((9, 13))
    out = np.zeros(9 * 13)
    _window_sums(image.ravel(), 13, out)
    np.testing.assert_allclose(out.reshape(9, 13)[2:-2, 2:-2], windows(image, 5)[2:-2, 2:-2], rtol=1e-12)


@pytest.mark.parametrize("shape", [(1, 11, 13), (2, 8, 9)])
def test_means_of_one_image_are_those_of_a_loop(shape):
    images = steps_and_noise(shape)
    reach = min(REACH, shape[1] - 1, shape[2] - 1)
    edge = reach + 2
    mode = "reflect" if edge < min(shape[1:]) else "symmetric"
    for image, found in zip(images, _single_means(images), strict=True):
        one = mean_of_like(
            image[None], lambda wide, moved: windows((wide - moved)[0] ** 2, 5) / 25, edge, reach, 0.7, mode
        )
        np.testing.assert_allclose(found, one[0], atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 12, 15), (3, 8, 14), (MANY + 3, 12, 13)])
def test_means_of_all_images_are_those_of_a_loop(shape):
    """Of many, the faint ones count as two apart each, which noise is."""
    images = steps_and_noise(shape, 1)
    reach = min(REACH if shape[0] <= MANY else NEAR, shape[1] - 1, shape[2] - 1)

    def distance(wide, moved):
        square = ((wide - moved)[:MANY] ** 2).sum(0) + 2 * max(shape[0] - MANY, 0)
        return windows(square, 3) / 9 / shape[0]

    expected = mean_of_like(images, distance, reach + 1, reach, 0.8, "symmetric")
    # weights below a thousandth are left out
    np.testing.assert_allclose(joint_means(images), expected, atol=2e-3)


def test_patches_are_those_around_every_pixel():
    images = np.random.default_rng(2).standard_normal((2, 5, 6))
    found = _patches(images, 2).reshape(7, 8, 2, 3, 3)
    wide = np.pad(images, ((0, 0), (2, 2), (2, 2)), mode="symmetric")
    for y in range(7):
        for x in range(8):
            np.testing.assert_array_equal(found[y, x], wide[:, y : y + 3, x : x + 3])


def test_groups_are_of_the_nearest_patches():
    """By the squared distance of all images' values, within reach of each centre, which is one of its group."""
    pilot = np.random.default_rng(3).standard_normal((2, 11, 14))
    reach = 8
    groups, guide = _alike(pilot), _patches(pilot, reach + 1)
    across = 14 + 2 * reach
    # centres at every third pixel, and at the last ones
    centres = [(y + reach, x + reach) for y in (0, 3, 6, 9, 10) for x in (0, 3, 6, 9, 12, 13)]
    assert len(groups) == len(centres)
    for group, (y, x) in zip(groups, centres, strict=True):
        place = (np.arange(y - reach, y + reach + 1)[:, None] * across + np.arange(x - reach, x + reach + 1)).ravel()
        distance = ((guide[place] - guide[y * across + x]) ** 2).sum(1)
        assert set(group) <= set(place)
        assert len(set(group)) == 64
        own = ((guide[group] - guide[y * across + x]) ** 2).sum(1)
        np.testing.assert_allclose(np.sort(own), np.sort(distance)[:64], rtol=1e-6, atol=1e-9)


def posterior_mean(images, pilot, groups):
    """Each group a Gaussian that the pilot tells, each patch its posterior mean, weighted by its inverse variance."""
    k, height, width = images.shape
    reach = min(8, height - 1, width - 1)
    across = width + 2 * reach
    seen, guide = _patches(images, reach + 1), _patches(pilot, reach + 1)
    n = seen.shape[1]
    total, weights = np.zeros((k, height + 2 * reach + 2, across + 2)), np.zeros((height + 2 * reach + 2, across + 2))
    for group in groups:
        mean, covariance = guide[group].mean(0), np.cov(guide[group].T, bias=True)
        gain = np.linalg.solve(covariance + np.eye(n), covariance)
        # of the noise so much is left, and that of the mean
        weight = 1 / (np.trace(gain) / n + 1 / len(group))
        for place in group:
            y, x = divmod(int(place), across)
            patch = (mean + (seen[place] - mean) @ gain).reshape(k, 3, 3)
            total[:, y : y + 3, x : x + 3] += weight * patch
            weights[y : y + 3, x : x + 3] += weight
    inside = slice(reach + 1, reach + 1 + height), slice(reach + 1, reach + 1 + width)
    return total[:, *inside] / weights[inside]


@pytest.mark.parametrize(
    ("shape", "size"), [((2, 8, 11), 1.0), ((2, 8, 11), 200.0), ((1, 8, 13), 1.0), ((MANY + 1, 8, 8), 1.0)]
)
def test_patches_of_a_group_are_draws_of_one_gaussian(shape, size):
    rng = np.random.default_rng(4)
    pilot = size * rng.standard_normal(shape).astype(np.float32)
    images = pilot + rng.standard_normal(shape).astype(np.float32)
    groups = _alike(pilot[:TOGETHER])
    together = FEWER if shape[0] > MANY else TOGETHER
    parts = [slice(at, at + together) for at in range(0, shape[0], together)]
    expected = np.concatenate([posterior_mean(images[part], pilot[part], groups) for part in parts])
    np.testing.assert_allclose(_bayes(images, pilot), expected, atol=2e-3 if size == 1 else 2e-2)


def test_levels_and_signs_pass_through():
    images = steps_and_noise((2, 16, 18), 5)
    plain, moved = smooth(images), smooth(np.float32([[[700]], [[-3]]]) - images)
    for one, other in zip(plain, moved, strict=True):
        np.testing.assert_allclose(np.float32([[[700]], [[-3]]]) - other, one, atol=2e-3)
    np.testing.assert_allclose(plain.single, _single_means(images), atol=1e-3)
    np.testing.assert_allclose(plain.joint, joint_means(images), atol=1e-3)
