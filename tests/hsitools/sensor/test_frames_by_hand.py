"""Frames of one level, local surfaces and drawn patterns, against least squares, loops and simulation."""

from __future__ import annotations

import numpy as np
import pytest

from hsitools.sensor import Defects, Stripes
from hsitools.sensor.flat_field import POWERS, LocalSurface, _fill, relative_response, robust_surface
from hsitools.sensor.pattern import _autoregressive, _members
from hsitools.sensor.photon.frames import _common, _line_excess, _tame, level_statistics

# ---- frames of one level ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("flicker", [0.0, 0.05])
def test_frames_tell_noise_apart_from_lamp_and_bias(flicker):
    """Uneven light that flickers, a bias that moves: each pixel's variance is that of the noise alone."""
    rng = np.random.default_rng(0)
    light = 100 + 50 * rng.random((60, 80))
    gains, biases = 1 + flicker * rng.standard_normal(9), 20 * flicker * rng.standard_normal(9)
    noise = 3 * rng.standard_normal((9, 60, 80))
    frames = gains[:, None, None] * light + biases[:, None, None] + noise
    level = level_statistics(frames, "x")
    assert (level.count, level.pairs, level.runs) == (9, 8, 1)
    np.testing.assert_allclose(level.mean, frames.mean(0), rtol=1e-9)
    np.testing.assert_allclose(level.peak, frames.max(0), rtol=1e-6)
    np.testing.assert_allclose(level.low, frames.min(0), rtol=1e-6)
    np.testing.assert_allclose(level.frame_mean, frames.mean((1, 2)), rtol=1e-6)
    np.testing.assert_allclose(level.pair_mean, (level.frame_mean[1:] + level.frame_mean[:-1]) / 2, rtol=1e-6)
    plain = np.mean(np.diff(noise, axis=0) ** 2, axis=0) / 2
    np.testing.assert_allclose(level.variance, plain, rtol=0.1, atol=0.3)
    assert level.variance.mean() == pytest.approx(9, rel=0.02)
    np.testing.assert_allclose(level.pair_variance, np.mean(np.diff(noise, axis=0) ** 2, axis=(1, 2)) / 2, rtol=0.02)
    # neighbouring differences share a frame: as many degrees of freedom as the variances scatter by
    assert level.variance.var() == pytest.approx(2 * 81 / level.freedom, rel=0.1)
    assert level.line_variance == 0


def test_frames_are_compared_within_their_group():
    """Dark frames of two exposures, taken in turn: each with the last one of its own."""
    rng = np.random.default_rng(1)
    groups = np.array([1.0, 2, 1, 2, 1, 3])
    noise = 2 * rng.standard_normal((6, 40, 50))
    pattern = rng.random((40, 50))
    frames = 100 * groups[:, None, None] * pattern + noise
    level = level_statistics(frames, "x", groups=groups)
    assert (level.pairs, level.runs) == (3, 2)
    expected = (noise[2] - noise[0]) ** 2 + (noise[3] - noise[1]) ** 2 + (noise[4] - noise[2]) ** 2
    np.testing.assert_allclose(level.variance, expected / 6, rtol=0.2, atol=0.5)
    assert level.variance.mean() == pytest.approx(expected.mean() / 6, rel=0.01)
    assert level.freedom == pytest.approx(2 * 9 / (9 - 2))


@pytest.mark.parametrize("axis", [0, 1])
def test_lines_that_move_together_are_apart(axis):
    rng = np.random.default_rng(2)
    shape = [20, 60, 80]
    lines = 1.5 * rng.standard_normal([20, 60, 1] if axis == 0 else [20, 1, 80])
    frames = 500 + lines + 2 * rng.standard_normal(shape)
    level = level_statistics(frames, "x")
    assert level.line_variance == pytest.approx(2.25, rel=0.2)
    assert level.variance.mean() == pytest.approx(4, rel=0.03)


def test_scatter_of_lines_has_the_expectation_and_variance_of_chance():
    rng = np.random.default_rng(3)
    drawn = np.array(
        [_line_excess(2**0.5 * rng.standard_normal((30, 24)), axis) for _ in range(400) for axis in (0, 1)]
    )
    rows, columns = drawn[::2], drawn[1::2]
    for found, lines in ((rows, 30), (columns, 24)):
        assert found[:, 0].mean() == pytest.approx(found[0, 1], rel=0.03)
        assert found[:, 0].var() == pytest.approx(found[0, 2], rel=0.25)
        assert found[0, 1] > lines
        assert found[:, 3].mean() == pytest.approx(0, abs=0.005)
    assert not _line_excess(rng.standard_normal((8, 15)), 0).any()
    assert not _line_excess(np.zeros((30, 24)), 0).any()


def test_what_two_frames_have_in_common_is_a_straight_line():
    rng = np.random.default_rng(4)
    reference, keep = rng.uniform(10, 20, 500), rng.random(500) < 0.8
    difference = 3 + 0.2 * reference + 0.1 * rng.standard_normal(500)
    difference[~keep] = 1e6
    slope, offset = np.polyfit(reference[keep], difference[keep], 1)
    assert _common(difference, reference, keep) == pytest.approx((offset, slope), rel=1e-9)
    assert _common(difference, reference, keep & False) == (0, 0)
    assert _common(np.full(4, 2.0), np.full(4, 7.0), np.ones(4, bool)) == (2, 0)
    values = rng.standard_normal(10_000)
    values[:5] = 30
    assert np.flatnonzero(~_tame(values)).tolist() == [0, 1, 2, 3, 4]
    # coarse steps: most are at the median
    steps = np.where(rng.random(10_000) < 0.1, rng.choice([-1.0, 1], 10_000), 0)
    assert _tame(steps).all()


# ---- local surfaces --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("holes", [False, True])
def test_a_local_surface_is_least_squares_in_each_window(holes):
    rng = np.random.default_rng(5)
    region = np.ones((20, 23), bool)
    if holes:
        region[4:7, 5:9] = False
        region[:, 20:] = False
    image, half = rng.standard_normal(region.shape), 4
    fit = LocalSurface(region, half)
    surface = fit(image)
    for y, x in np.argwhere(region)[:: 7 if holes else 11]:
        rows, columns = np.mgrid[max(y - half, 0) : y + half + 1, max(x - half, 0) : x + half + 1]
        inside = (rows < 20) & (columns < 23)
        rows, columns = rows[inside], columns[inside]
        rows, columns = (item[region[rows, columns]] for item in (rows, columns))
        design = np.stack([((rows - y) / half) ** a * ((columns - x) / half) ** b for a, b in POWERS], 1)
        inverse = np.linalg.pinv(design)
        # where windows reach over an edge a touch of ridge holds the surface
        assert surface[y, x] == pytest.approx((inverse @ image[rows, columns])[0], abs=0.06)
        own = np.flatnonzero((rows == y) & (columns == x))[0]
        assert fit.leverage[y, x] == pytest.approx(inverse[0, own], abs=0.06)
    np.testing.assert_array_equal(surface[~region], image[~region])


def test_wild_pixels_do_not_shape_a_surface():
    rng = np.random.default_rng(6)
    y, x = np.mgrid[:40, :50] / 40
    true = 5 + 2 * y**2 - x * y
    values = true + 0.01 * rng.standard_normal(true.shape)
    every = np.ones(true.shape, bool)
    surface, leverage = robust_surface(values, every, every, 6)
    # as much as its noise comes from the pixel itself
    assert np.var((surface - true)[8:-8, 8:-8]) == pytest.approx(1e-4 * leverage[20, 20], rel=0.4)
    assert leverage[20, 20] == pytest.approx(leverage[25, 30])
    values[rng.random(true.shape) < 0.02] += 3
    steady = every.copy()
    values[10, 10], steady[10, 10] = 100, False
    surface, _ = robust_surface(values, steady, every, 6)
    assert np.sqrt(np.mean((surface - true) ** 2)) < 0.025
    assert np.sqrt(np.mean((LocalSurface(every, 6)(values) - true) ** 2)) > 0.2


def test_response_of_two_sub_images_in_uneven_light():
    """Each divided by its own surface; the dark between and single dead pixels as they are."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:60, :130]
    own = 1 + 0.01 * rng.standard_normal(y.shape)
    light = 1000 * np.exp(-((y - 30) ** 2) / 2000) * own
    light[:, :60] *= 1 + x[:, :60] / 200
    light[:, 70:] *= 3
    light[:, 60:70] = 2.0
    light[20, 20] = 100
    light[30, 40] = np.nan
    steady = np.isfinite(light)
    response, undetermined, leverage, rim = relative_response(light, np.ones(light.shape), steady)
    inside = np.zeros(light.shape, bool)
    inside[5:-5, 5:55] = inside[5:-5, 75:-5] = True
    inside[20, 20] = inside[30, 40] = False
    error = (response / own)[inside] - 1
    assert error.std() < 0.3 * 0.01
    assert abs(error.mean()) < 0.003
    assert response[20, 20] == pytest.approx(0.1, rel=0.15)
    assert undetermined[30, 40]
    assert undetermined[:, 62:68].all()
    assert not undetermined[inside].any()
    assert rim[30, 59]
    assert rim[30, 70]
    assert not rim[10:50, 10:50].any()
    assert (leverage[inside] < 0.3).all()


def test_missing_pixels_are_the_nearest_ones():
    image = np.array([[1.0, np.nan, np.nan, 4], [np.nan, np.nan, 7, np.nan]])
    assert _fill(image).tolist()[1][3] in (4, 7)
    assert _fill(image)[0, 1] == 1
    assert not _fill(np.full((2, 2), np.nan)).any()


# ---- patterns --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("correlation", "axis"), [(0.0, 0), (0.6, 0), (0.95, 1)])
def test_an_autoregression_is_stationary_and_correlated(correlation, axis):
    noise = np.random.default_rng(8).standard_normal((900, 900) if correlation < 0.9 else (300, 3000))
    made = _autoregressive(noise, correlation, axis)
    assert made.var() == pytest.approx(1, rel=0.03)
    first = made.take(0, axis)
    assert first.var() == pytest.approx(1, rel=0.15)
    one, other = np.delete(made, -1, axis), np.delete(made, 0, axis)
    assert np.mean(one * other) == pytest.approx(correlation, abs=0.02)
    across = np.mean(np.delete(made, -1, 1 - axis) * np.delete(made, 0, 1 - axis))
    assert across == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize(
    ("share", "groups"), [(0.3, 0), (0.3, 1), (0.3, 4), (0.5, 60), (0.9, 9), (0.02, 5), (0, 3), (1, 3)]
)
def test_members_are_as_many_as_is_said_in_so_many_groups(share, groups):
    starts = np.zeros(100)
    for seed in range(300):
        member = _members(100, share, groups, np.random.default_rng(seed))
        assert member.sum() == round(100 * share)
        found = np.count_nonzero(np.diff(np.concatenate([[0], member.astype(int)])) == 1)
        chosen = round(100 * share)
        if groups and 0 < chosen < 100:
            assert found == min(groups, chosen, 101 - chosen)
        starts += member
    # anywhere
    if 0 < share < 1 and groups < 20:
        assert (starts > 0).mean() > 0.9


def test_patterns_have_their_power_and_defects_their_share():
    rng = np.random.default_rng(9)
    stripes = Stripes(gain=0.02, offset=3, columns=0.5, bands=0.5, band_correlation=0.9, column_correlation=0.8,
                      band_noise=0.2, drift=0.01, fragments=0.3)  # fmt: skip
    pattern = stripes.draw((300, 50, 400), rng)
    touched = pattern.gain != 1
    assert touched.mean() == pytest.approx(0.25)
    np.testing.assert_array_equal(pattern.offset != 0, touched)
    for deviation, size in ((pattern.gain - 1, 0.02), (pattern.offset, 3), (pattern.drift, 0.01)):
        # slow and fast parts are independent but for chance
        assert np.sqrt(np.mean(deviation[touched] ** 2)) == pytest.approx(size, rel=0.05)
    assert (pattern.walk.mean(), pattern.walk.std()) == pytest.approx((0, 1), abs=1e-9)
    assert set(np.unique(pattern.stop - pattern.start)) == {15}
    assert (pattern.start.min(), pattern.stop.max()) == (0, 50)
    neighbours = Stripes(gain=1.0, column_correlation=0.8, band_correlation=0.9).draw((300, 2, 400), rng).gain - 1
    assert np.mean(neighbours[:, 1:] * neighbours[:, :-1]) == pytest.approx(0.8, abs=0.04)
    assert np.mean(neighbours[1:] * neighbours[:-1]) == pytest.approx(0.9, abs=0.04)
    broken = Defects(dead=0.1, hot=0.2, dead_columns=0.05, lost_lines=0.5).draw(pattern, np.random.default_rng(10))
    columns = broken.dead.all(0)
    assert columns.mean() == pytest.approx(0.05, abs=0.03)
    assert broken.dead[:, ~columns].mean() == pytest.approx(0.1, rel=0.05)
    assert broken.hot[:, ~columns].mean() == pytest.approx(0.9 * 0.2, rel=0.05)
    again = Defects(hot=0.1).draw(broken, np.random.default_rng(11))
    np.testing.assert_array_equal(again.dead, broken.dead)
    assert again.hot[broken.hot].all()
    assert not (again.hot & again.dead).any()
