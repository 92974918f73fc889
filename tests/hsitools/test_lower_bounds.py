"""What stands for values of which a lower bound is known: against conditional normal distributions written out."""

import numpy as np
import pytest
from scipy.stats import truncnorm

from hsitools.estimation.full_scale import pile
from hsitools.estimation.lower_bounds import Factors, at_least


@pytest.mark.parametrize(("mean", "variance", "bound"), [(0, 1, 0), (3, 4, -1), (2, 0.25, 5), (-4, 9, 1), (7, 0.01, 2)])
def test_normal_numbers_above_a_bound(mean, variance, bound):
    sigma = variance**0.5
    cut = truncnorm((bound - mean) / sigma, np.inf, mean, sigma)
    found = at_least(float(mean), float(variance), float(bound))
    np.testing.assert_allclose(found, (cut.mean(), cut.var()), rtol=1e-6)


def test_far_below_a_bound_the_bound_itself_is_left():
    value, variance = at_least(np.array([-1e6, 0.0]), 1.0, np.array([5.0, 1e9]))
    np.testing.assert_allclose(value, [5.0, 1e9], rtol=1e-6)
    assert (variance > 0).all()
    assert (variance < 0.01).all()


def test_bands_follow_from_the_others_as_in_the_dense_distribution():
    """Of two factors: each pixel lacks other bands, one of them all."""
    rng = np.random.default_rng(0)
    loadings, own = rng.standard_normal((7, 2)), rng.uniform(0.1, 0.5, 7)
    factors = Factors(mean=rng.standard_normal(7), loadings=loadings, own=own, n=np.inf)
    covariance = loadings @ loadings.T + np.diag(own)
    values, known = rng.standard_normal((7, 30)) * 2, rng.random((7, 30)) < 0.6
    known[:, 3] = False
    mean, variance = factors.predict(values, known)
    for pixel in range(30):
        have, lack = known[:, pixel], ~known[:, pixel]
        gain = covariance[np.ix_(lack, have)] @ np.linalg.inv(covariance[np.ix_(have, have)])
        expected = factors.mean[lack] + gain @ (values[have, pixel] - factors.mean[have])
        np.testing.assert_allclose(mean[lack, pixel], expected, rtol=1e-9)
        left = covariance[np.ix_(lack, lack)] - gain @ covariance[np.ix_(have, lack)]
        np.testing.assert_allclose(variance[lack, pixel], np.diag(left), rtol=1e-9)


def test_factors_of_few_pixels_are_few_and_less_sure():
    rng = np.random.default_rng(1)
    images = rng.standard_normal((6, 4)) @ rng.standard_normal((4, 32)) + 0.1 * rng.standard_normal((6, 32))
    covariance = np.cov(images, bias=True)
    found = Factors.of(images.mean(1), covariance, 32)
    assert found.loadings.shape == (6, 4)
    variance = (found.loadings**2).sum(1) + found.own * 28 / 32
    np.testing.assert_allclose(variance, np.diag(covariance), rtol=1e-9)
    # a pixel ten times as far as those that told them
    known = np.arange(6)[:, None] > 0
    near, far = (found.predict(np.full((6, 1), height), known)[1][0, 0] for height in (0.5, 20.0))
    assert far > 2 * near


def test_the_last_of_few_levels_is_no_pile():
    """A ramp of six codes: the brightest holds as many pixels as the one before, though nothing lies between."""
    ramp = np.broadcast_to(np.arange(48) // 8, (20, 48)).astype(float)
    assert pile(ramp, np.ones(ramp.shape, bool)) is None
    # seven more codes beyond, all cut off at the last one
    cut = np.broadcast_to(np.minimum(np.arange(104) // 8, 5), (20, 104)).astype(float)
    found = pile(cut, np.ones(cut.shape, bool))
    assert found is not None
    assert found.top == 5
