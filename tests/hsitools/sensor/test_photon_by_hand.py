"""Parts of photon transfer by themselves: rounding, wild pixels, lines, bends, spreads, mosaics, against simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from hsitools.sensor.photon import pixels
from hsitools.sensor.photon.analysis import _checked
from hsitools.sensor.photon.curve import (
    Line,
    Points,
    _rounding,
    below_saturation,
    fit_line,
    pile_up,
    pooled_variance,
    quantisation_step,
    rounding_uncertainty,
    wild_ratio,
    without_rounding,
)

# ---- rounding --------------------------------------------------------------------------------------------------


def rounded_variance(sigma, mean):
    """Variance of rounded normal noise, code by code."""
    codes = np.arange(-40, 41)
    chance = norm.cdf((codes + 0.5 - mean) / sigma) - norm.cdf((codes - 0.5 - mean) / sigma)
    return chance @ codes**2 - (chance @ codes) ** 2


@pytest.mark.parametrize("sigma", [0.1, 0.25, 0.5, 0.9])
def test_variances_of_rounded_noise_are_those_of_its_codes(sigma):
    tables = _rounding()
    means = (np.arange(200) + 0.5) / 200
    # all values of pixels whose means lie anywhere on a step, about their own means
    spread = np.mean([rounded_variance(sigma, mean) for mean in means])
    for table, expected in ((tables.rounded, spread), (tables.at_code, rounded_variance(sigma, 0)),
                            (tables.between, rounded_variance(sigma, 0.5))):  # fmt: skip
        assert np.interp(sigma**2, tables.clean, table) == pytest.approx(expected, rel=2e-3, abs=1e-5)
    for step in (1.0, 16.0):
        clean, change = without_rounding(np.array([spread]) * step**2, step)
        assert clean[0] == pytest.approx(sigma**2 * step**2, rel=0.01)
        more = without_rounding(np.array([spread * 1.01]) * step**2, step)[0]
        assert (more - clean)[0] / (0.01 * spread * step**2) == pytest.approx(change[0], rel=0.05)


def test_far_above_a_step_a_twelfth_is_rounding():
    clean, change = without_rounding(np.array([9.0, 100]), 2.0)
    np.testing.assert_allclose(clean, [9 - 1 / 3, 100 - 1 / 3], rtol=1e-6)
    assert change.tolist() == [1, 1]
    clean, change = without_rounding([3.0], 0)
    assert (clean.tolist(), change.tolist()) == ([3], [1])


@pytest.mark.parametrize("sigma", [0.2, 0.35, 0.6])
def test_uncertainty_of_rounding_holds_means_at_codes_and_between(sigma):
    """Means that all lie at one place of a step: what is told of them is off by no more than is said."""
    errors = []
    for mean in (0.0, 0.25, 0.5):
        seen = rounded_variance(sigma, mean)
        told = float(without_rounding(np.array(seen), 1.0)[0])
        said = rounding_uncertainty(seen, 0.0, 1.0, 10**9)
        assert abs(told - sigma**2) <= 1.1 * said + 0.01
        errors.append((abs(told - sigma**2), said))
    assert max(error for error, _ in errors) > 0.15 * max(said for _, said in errors)
    # in units of the step, and gone where means spread over it
    seen = rounded_variance(sigma, 0.5)
    assert rounding_uncertainty(16 * seen, 0.0, 4.0, 10**9) == pytest.approx(
        16 * rounding_uncertainty(seen, 0.0, 1.0, 10**9)
    )
    assert rounding_uncertainty(seen, 1.0, 1.0, 10**9) < 1e-6
    assert rounding_uncertainty(seen, 0.0, 0.0, 9) == 0


@pytest.mark.parametrize(
    ("values", "step"),
    [
        (np.array([5, 5], np.uint16), 1), (np.array([5.0, 5]), 0), (np.array([0, 16, 48, 112]), 16),
        (np.array([4.0, 10, 16]), 6), (np.arange(0, 60, 3) / 7 * 7.7, 3.3),
        (np.random.default_rng(0).normal(size=500), 0),
        (np.cumsum(np.random.default_rng(0).integers(1, 9, 300)) / 1024, 1 / 1024),
    ],
)  # fmt: skip
def test_steps_of_values(values, step):
    assert quantisation_step(values) == pytest.approx(step, rel=1e-6)


# ---- pixels that are no noise ----------------------------------------------------------------------------------


@pytest.mark.parametrize("pairs", [1, 3, 9])
def test_a_pixel_s_variance_is_wild_once_in_a_million(pairs):
    """From neighbouring differences of so many frames and one; the tail by quantiles."""
    rng = np.random.default_rng(1)
    frames = rng.standard_normal((pairs + 1, 400_000))
    variance = (np.diff(frames, axis=0) ** 2).sum(0) / (2 * pairs)
    # of such tails the logarithm of the chance goes on straight
    high = np.quantile(variance, [1 - 1e-3, 1 - 1e-4])
    expected = high[1] + 2 * (high[1] - high[0])
    assert wild_ratio(pairs) / 1.25 == pytest.approx(expected, rel=0.12)


def test_means_of_variances_leave_out_what_is_no_noise():
    rng = np.random.default_rng(2)
    frames = 3 * rng.standard_normal((5, 20_000))
    variance = (np.diff(frames, axis=0) ** 2).mean(0) / 2
    assert pooled_variance(variance, 4, 0.0) == pytest.approx(variance.mean(), rel=1e-9)
    wild = variance.copy()
    wild[:100] = 1e5
    assert pooled_variance(wild, 4, 0.0) == pytest.approx(variance[100:].mean(), rel=1e-6)
    # of pixels that are known to be brighter, more is no surprise
    uneven = np.where(np.arange(20_000) < 500, 400 * variance, variance)
    expected = np.where(np.arange(20_000) < 500, 3600.0, 9)
    assert pooled_variance(uneven, 4, 0.0, expected) == pytest.approx(uneven.mean(), rel=1e-9)
    assert pooled_variance(uneven, 4, 0.0) == pytest.approx(variance[500:].mean(), rel=0.01)
    # few, or half of them, are all taken; a flip of one step is none
    assert pooled_variance(np.array([1.0, 2, 300]), 4, 0.0) == pytest.approx(101)
    assert pooled_variance(np.where(np.arange(100) < 60, 1e4, 1.0), 4, 0.0, np.ones(100)) == pytest.approx(6000.4)
    flips = np.where(np.arange(1000) < 15, 1.0, 1e-3)
    assert pooled_variance(flips, 4, 1.0) == pytest.approx(flips.mean())


# ---- lines -----------------------------------------------------------------------------------------------------


def points(signal, variance, **more):
    count = len(signal)
    given = {"pixels": np.full(count, 1e4), "freedom": np.full(count, 8.0), "pairs": np.full(count, 9.0),
             "level": np.arange(count) - 1, "group": np.zeros(count, int), "unevenness": np.zeros(count),
             "rounding": np.zeros(count)} | more  # fmt: skip
    return Points(signal=np.asarray(signal, float), variance=np.asarray(variance, float), **given)


def test_errors_of_points_are_those_of_drawn_pixels():
    """Gaussian noise of variance 40 and photons of gain .5, in ten frames of pixels of uneven light."""
    rng = np.random.default_rng(3)
    slope, light = 0.5, 200.0
    means = light + 20 * rng.standard_normal(4000)
    drawn = slope * rng.poisson(means / slope, (60, 10, 4000)) + np.sqrt(40) * rng.standard_normal((60, 10, 4000))
    variance = (np.diff(drawn, axis=1) ** 2).mean(1).mean(1) / 2
    # neighbouring differences of ten frames have 2·9² / (3·9 − 1) degrees of freedom
    one = points(
        [light], [140.0], pixels=np.array([4000.0]), freedom=np.array([2 * 81 / 26]), unevenness=np.array([400.0])
    )
    assert one.error(np.array([140.0]), slope)[0] == pytest.approx(variance.std(), rel=0.25)
    rough = points([light], [140.0], rounding=np.array([3.0]))
    assert rough.error(np.array([140.0]), slope)[0] == pytest.approx(3, rel=0.1)
    part = points([1.0, 2, 3], [4.0, 5, 6]).select(np.array([True, False, True]))
    assert part.signal.tolist() == [1, 3]
    assert part.level.tolist() == [-1, 1]


def drawn_line(rng, bend=0.0, zero=0.0):
    signal = np.array([0.0, 100, 300, 600, 900, 1200, 1500])
    true = 25 + 0.4 * signal * (1 + bend * signal / 1500)
    given = points(signal + np.where(signal > 0, zero, 0), true)
    error = given.error(true, 0.4)
    return points(given.signal, true + error * rng.standard_normal(7))


def test_a_line_is_as_sure_as_it_scatters():
    found = [fit_line(drawn_line(np.random.default_rng(seed)), 0.0) for seed in range(200)]
    slopes, intercepts = (np.array([getattr(line, name) for line in found]) for name in ("slope", "intercept"))
    assert slopes.mean() == pytest.approx(0.4, rel=1e-3)
    assert intercepts.mean() == pytest.approx(25, rel=2e-3)
    covariance = np.mean([line.covariance for line in found], 0)
    np.testing.assert_allclose(np.cov(slopes, intercepts), covariance, rtol=0.3)
    assert np.mean([line.chi2 for line in found]) == pytest.approx(5, rel=0.15)
    assert np.mean([line.chance for line in found]) == pytest.approx(0.5, abs=0.08)
    assert np.mean([line.bend for line in found]) == pytest.approx(0, abs=0.01)
    assert np.std([line.bend for line in found]) == pytest.approx(found[0].bend_error, rel=0.25)
    assert found[0].freedom == 5
    assert found[0].at(np.array([-1e6, 100])).tolist() == [0, found[0].intercept + 100 * found[0].slope]


def test_a_bend_and_a_wrong_zero_are_told():
    bent = [fit_line(drawn_line(np.random.default_rng(seed), bend=0.2), 0.0) for seed in range(20)]
    assert np.mean([line.bend for line in bent]) == pytest.approx(0.2, rel=0.1)
    assert max(line.chance for line in bent) < 1e-4
    assert np.mean([line.bend_chance for line in bent]) > 0.3
    # lit points that share an error of the zero: the intercept is that of the dark, the line straight
    shifted = [drawn_line(np.random.default_rng(seed), zero=8.0) for seed in range(20)]
    assert np.mean([fit_line(item, 0.0).chance for item in shifted]) < 0.01
    known = [fit_line(item, 0.0, 8.0) for item in shifted]
    assert np.mean([line.chance for line in known]) > 0.3
    assert np.mean([line.intercept for line in known]) == pytest.approx(25, abs=0.3)
    assert fit_line(points([0.0, 100], [25.0, 65]), 0.0).bend_error == np.inf
    assert Line(slope=1, intercept=0, covariance=np.eye(2), chi2=3.0, freedom=0).chance == 1


def test_a_full_well_is_where_variance_falls():
    straight = drawn_line(np.random.default_rng(4))
    line, kept = below_saturation(straight, 0.0, 0.0)
    assert kept.all()
    assert line.slope == pytest.approx(0.4, rel=0.02)
    fallen = points(straight.signal, np.where(np.arange(7) >= 5, [0] * 5 + [200, 20.0], straight.variance))
    line, kept = below_saturation(fallen, 0.0, 0.0)
    assert kept.tolist() == [True] * 5 + [False] * 2
    assert line.slope == pytest.approx(0.4, rel=0.02)


def test_what_bends_by_and_by_is_no_full_well():
    for bend, seed in [(-0.3, 4), *((-0.05, seed) for seed in range(40))]:
        _, kept = below_saturation(drawn_line(np.random.default_rng(seed), bend=bend), 0.0, 0.0)
        assert kept.all()


def test_a_bend_that_may_be_chance_is_in_the_gain_error():
    """Of 3 %, at about three standard errors: too little to refuse, enough to move the slope by four of its own."""
    lines = [fit_line(drawn_line(np.random.default_rng(seed), bend=-0.03), 0.0) for seed in range(40)]
    told = [line for line in lines if 2.5 < -line.bend / line.bend_error < 4]
    assert len(told) > 10
    for line in told:
        wider, notes = _checked(line, points([0.0, 1500], [25.0, 600]), 0.0)
        assert abs(line.slope - 0.4) < 2 * wider.covariance[0, 0] ** 0.5
        assert "the curve bends by -" in notes[0]


@pytest.mark.parametrize("turn", [1, 2])
def test_values_that_pile_up_and_tails_that_do_not(turn):
    rng = np.random.default_rng(5)
    values = np.rint(rng.normal(1000, 30, 20_000) / turn) * turn
    assert pile_up(values, turn, 30.0) is None
    top = np.rint(np.quantile(values, 0.95) / turn) * turn
    assert pile_up(np.minimum(values, top), turn, 30.0) == top
    # hardly any more: one in a thousand may be
    some = np.minimum(values, top)
    some[:20] = top + np.arange(20) * turn
    assert pile_up(some, turn, 30.0) == top
    some[:90] = top + np.arange(90) * turn
    assert pile_up(some, turn, 30.0) is None
    assert pile_up(np.array([1.0, 2, 3, 3, 3, 3]), 1.0, 0.1) is None


# ---- spreads ---------------------------------------------------------------------------------------------------


def test_spreads_without_noise_have_the_error_that_they_scatter_by():
    found = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        leverage = np.full(400, 0.2)
        deviation = np.sqrt(0.8) * (0.03 * rng.standard_normal(400) + 0.02 * rng.standard_normal(400))
        found.append(pixels.clean_spread(deviation, leverage, 0.02**2, 0.0))
    spread, error = np.transpose(found)
    assert spread.mean() == pytest.approx(0.03, rel=0.02)
    assert spread.std() == pytest.approx(error.mean(), rel=0.15)
    # of noise alone no more is known than that the variance is small
    assert pixels.clean_spread(np.array([0.1, -0.1] * 50), np.zeros(100), 0.02, 0.0)[0] == 0
    assert np.isnan(pixels.clean_spread(np.array([0.1]), np.zeros(1), 0.0, 0.0)[1])
    wider = pixels.clean_spread(np.array([0.1, -0.1] * 50), np.zeros(100), 0.0, 3e-3)
    assert wider == pytest.approx((0.1, np.hypot(0.01 * 0.02**0.5, 3e-3) / 0.2))


def test_lines_of_an_image_are_told_by_their_steady_pixels():
    rng = np.random.default_rng(6)
    image = rng.standard_normal((20, 1)) + rng.standard_normal(30) - rng.standard_normal(30).mean() * 0
    steady = rng.random((20, 30)) < 0.9
    found = pixels.line_means(np.where(steady, image, 1e6), steady)
    assert np.abs((found - image) - (found - image).mean()).max() < 0.6
    whole = pixels.line_means(image, np.ones_like(steady))
    np.testing.assert_allclose(whole, image, atol=1e-12)


@pytest.mark.parametrize("filters", [(1.0, 1.2, 0.9, 0.7), (1.0, 1.0, 1.0, 1.0), (1.0, 1.01, 1.0, 0.99)])
def test_a_mosaic_is_the_light_of_four_places(filters):
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:41, :50]
    place = 2 * (y % 2) + x % 2
    light = 100 * (1 + 0.3 * x / 50) * np.array(filters)[place] * (1 + 0.01 * rng.standard_normal((41, 50)))
    steady = np.ones(light.shape, bool)
    light[5, 7], steady[9, 9] = np.nan, False
    found = pixels.mosaic_of(light, np.full(light.shape, 0.1), steady)
    if np.ptp(filters) < 0.05:
        assert found is None
        return
    np.testing.assert_allclose(found, (np.array(filters) / np.mean(filters))[place], rtol=0.01)
    assert pixels.mosaic_of(light, light / 5, steady) is None
    assert pixels.mosaic_of(light[:4, :4], np.ones((4, 4)), steady[:4, :4]) is None


def test_pixels_respond_oddly_beyond_their_noise():
    response = np.array([1.0, 0.4, 2.2, 0.4, 2.2, -0.1, 0.6, np.nan])
    noise = np.array([0.01, 0.01, 0.01, 0.2, 0.5, 9.0, 0.01, 0.01])
    assert pixels.odd_pixels(response, noise).tolist() == [False, True, True, False, False, True, False, False]


def test_words_of_a_dark_charge():
    assert pixels.charge_notes(None, 50.0, 100.0) == ()
    assert pixels.charge_notes(1.0, 0.9, 100.0) == ()
    assert "hold 5 DN of dark charge in the mean, 5% of the brightest" in pixels.charge_notes(1.0, 5.0, 100.0)[0]
