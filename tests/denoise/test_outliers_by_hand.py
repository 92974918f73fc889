"""Outliers, lines and spikes, by hand and by loops: what a band, a row or a single pixel has beyond the scene."""

from __future__ import annotations

import numpy as np
import pytest

from denoise.restore import restore
from denoise.separation.estimate import _filled, medians, outliers
from denoise.separation.lines import lines
from denoise.separation.noise import along_track, usual_pixels
from denoise.separation.spikes import (
    ALIKE,
    BESIDE,
    _alone,
    _beyond,
    _standard,
    _without_likes,
    lone,
    spikes,
)
from denoise.separation.taken_back import taken_back
from denoise.separation.value_bins import value_bins

# ---- scene and outliers in turn --------------------------------------------------------------------------------


def test_columns_means_become_their_band_s():
    values = np.random.default_rng(12).standard_normal((2, 9, 5)) + np.arange(5)
    every = np.ones(values.shape, dtype=bool)
    level = along_track(values, values, every)
    np.testing.assert_allclose(level.mean(1), np.broadcast_to(values.mean((1, 2))[:, None], (2, 5)))
    np.testing.assert_allclose(np.diff(level, axis=1), np.diff(values, axis=1))
    np.testing.assert_array_equal(along_track(values[:, :7], values[:, :7], every[:, :7]), values[:, :7])


def test_a_column_s_offset_is_no_step_beside_its_hole():
    """Of the third column the last six of nine rows are filled with the scene, which has no offset."""
    scene = np.random.default_rng(12).standard_normal((2, 9, 5))
    keep = np.ones(scene.shape, dtype=bool)
    keep[:, 3:, 2] = False
    offset = np.array([0, 1, 7, -3, 0.5])
    values = np.where(keep, scene + offset, scene)
    kept = values.copy()
    expected = scene - scene.mean(1, keepdims=True) + along_track(values, scene, keep).mean((1, 2), keepdims=True)
    np.testing.assert_allclose(along_track(values, scene, keep), expected)
    np.testing.assert_array_equal(values, kept)


def test_values_are_calibrated_and_filled_by_hand():
    values = np.array([[[3.0, 8, 9, 20]]])
    scene, gain, offset = np.array([[[2.0, 7, 9, 5]]]), np.array([[2.0, 1, 3, 4]]), np.array([[1.0, 2, 0, 4]])
    outlier, clipped = np.array([[[False, True, True, True]]]), np.array([[[False, False, True, True]]])
    np.testing.assert_allclose(_filled(values, scene, gain, offset, outlier, clipped), [[[1, 7, 9, 4.0]]], atol=1.01)
    filled = _filled(values, scene, gain, offset, outlier, clipped)[0, 0]
    # calibrated; predicted; at least as measured, which is 3; and 4 is less than the prediction
    assert filled.tolist() == [1, 7, 9, 5]
    values[..., 2] = 60
    assert _filled(values, scene, gain, offset, outlier, clipped)[0, 0, 2] == 20
    np.testing.assert_array_equal(
        medians(np.array([[[1, 2], [9, 50.0]], [[1, 2], [3, 4]]]), np.array([[[1, 1], [1, 0]], [[0] * 2] * 2], bool)),
        [2, 0],
    )


def test_pixels_of_which_the_scene_misses_far_more_than_noise_are_left_out():
    rng = np.random.default_rng(13)
    values, rest = rng.standard_normal((2, 12, 20, 20))
    assert usual_pixels(values, rest) is values
    rest[3, 4, 5] = -25
    rest[8, 9, 9] = 25
    usual = np.ones((20, 20), bool)
    usual[[4, 9], [5, 9]] = False
    np.testing.assert_array_equal(usual_pixels(values, rest)[:, 0], values[:, usual])
    # in units of each band's own
    scaled = np.geomspace(1e-3, 1e3, 12)[:, None, None] * rest
    np.testing.assert_array_equal(usual_pixels(values, scaled)[:, 0], values[:, usual])
    # of few bands, or where it would be many pixels, all stay
    assert usual_pixels(values[:8], rest[:8]).shape == (8, 20, 20)
    rest[0, :2] = 99
    assert usual_pixels(values, rest) is values


def test_bins_hold_as_many_levels_each():
    rng = np.random.default_rng(14)
    low, step, many = value_bins(rng.uniform(-2, 7.6, 10**5))
    assert (low, step, many) == pytest.approx((-2, 0.1, 0), abs=0.001)
    for levels, width in ((50, 1), (200, 3), (96, 1), (97, 2)):
        values = 5 + 0.5 * np.arange(levels)
        low, step, each = value_bins(np.tile(values, 40))
        assert (low, step, each) == pytest.approx((5 - 0.25, 0.5 * width, width))
        counts = np.bincount(((values - low) / step).astype(int))
        assert counts[:-1].tolist() == [width] * (len(counts) - 1)
        assert len(counts) <= 96
    assert value_bins(np.full(100, 3.0)) == (3, 0, 0)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6])
@pytest.mark.parametrize("kind", ["salt and pepper", "one value"])
def test_outliers_are_what_a_band_has_too_often(kind, share):
    rng = np.random.default_rng(15)
    truth = rng.uniform(0.3, 0.7, (1, 80, 80))
    noisy = truth + 0.02 * rng.standard_normal(truth.shape)
    keep = np.ones(truth.shape, bool)
    assert not outliers(noisy, truth, keep).any()
    hit = rng.random(truth.shape) < share
    drawn = rng.integers(0, 2, truth.shape) + 0.0 if kind == "salt and pepper" else np.full(truth.shape, 0.9)
    seen = np.where(hit, drawn, noisy)
    found = outliers(seen, truth, keep)
    assert found[hit].mean() > 0.97
    assert found[~hit].mean() < 0.01
    # in any units, and where part is left out
    np.testing.assert_array_equal(outliers(1e3 * seen - 50, 1e3 * truth - 50, keep), found)
    keep[:, ::7] = False
    part = outliers(np.where(keep, seen, np.nan), truth, keep)
    assert not part[~keep].any()
    assert (part == found)[keep].mean() > 0.99


def test_a_prediction_that_is_at_fault_makes_no_outliers():
    rng = np.random.default_rng(16)
    truth = rng.uniform(0.3, 0.4, (1, 60, 60))
    seen = np.where(rng.random(truth.shape) < 0.93, 0.8, truth) + 0.01 * rng.standard_normal(truth.shape)
    assert not outliers(seen, truth, np.ones(truth.shape, bool)).any()


def chains(where):
    """Longest way through some voxels that goes from column to column, at most a row up or down: by recursion."""
    height, width = where.shape

    def longest(y, x, move):
        if not (0 <= y < height and 0 <= x < width and where[y, x]):
            return 0
        return 1 + max(longest(y + step, x + move, move) for step in (-1, 0, 1))

    return np.array([[longest(y, x, -1) + longest(y, x, 1) - 1 for x in range(width)] for y in range(height)])


def test_lines_are_the_longest_ways_of_one_side():
    rng = np.random.default_rng(17)
    rest = 0.3 * rng.standard_normal((3, 24, 26))
    for band in range(3):
        for _ in range(6):
            y, x, size, side = rng.integers(2, 22), rng.integers(0, 18), rng.integers(4, 12), rng.choice([-9, 9])
            for step in range(min(size, 26 - x)):
                y = int(np.clip(y + rng.integers(-1, 2), 0, 23))
                rest[band, y, x + step] = side
    keep = np.ones(rest.shape, bool)
    centred = rest - np.median(rest, axis=1)[:, None]
    far = np.abs(centred) > 3 * 1.4826 * np.median(np.abs(centred), axis=(1, 2))[:, None, None]
    for band, found in enumerate(lines(rest, keep)):
        assert far[band].mean() < 0.1
        expected = [chains(far[band] & (side * centred[band] > 0)) >= 8 for side in (1, -1)]
        np.testing.assert_array_equal(found, expected[0] | expected[1])
        assert found.any()


# ---- spikes ----------------------------------------------------------------------------------------------------


def test_spikes_beside_others_of_one_side_are_scene():
    """Of eight neighbours in their band one may be another spike; a second one makes them all scene."""
    signed = np.zeros((2, 7, 9))
    signed[0, 3, 4], signed[0, 2, 3] = 10, 9
    where = np.abs(signed) > 8
    np.testing.assert_array_equal(_alone(signed, where), where)
    for y, x in ((2, 3), (2, 4), (2, 5), (3, 3), (3, 5), (4, 3), (4, 4), (4, 5)):
        for height, alone in ((BESIDE * 1.2, False), (BESIDE * 0.8, True), (-9, True)):
            for sign in (1, -1):
                some = np.zeros((2, 7, 9))
                some[0, 3, 4], some[0, 3, 3] = 10, 9
                some[0, 4 if (y, x) == (3, 3) else y, x] = height
                some[1] = 10
                at = np.zeros(some.shape, bool)
                at[0, 3, 4] = True
                assert _alone(sign * some, at)[0, 3, 4] == alone


def test_features_of_three_bands_in_a_row_are_no_spikes():
    valid = np.ones((9, 1), bool)

    def kept(*heights, least=1.0):
        return _without_likes(np.array(heights, float)[:, None], valid, np.full((9, 1), least))[:, 0].tolist()

    only = [number == 4 for number in range(9)]
    assert kept(0, 0, 0, 0, 10, 0, 0, 0, 0) == only
    assert kept(0, 0, 0, 0, -10, 0, 0, 0, 0) == only
    assert not any(kept(0, 0, 0, 4, 10, 4, 0, 0, 0))
    assert not any(kept(0, 0, 4, 5, 10, 0, 0, 0, 0)[3:5])
    assert not any(kept(0, 0, 0, -4, -10, -4, 0, 0, 0))
    # of the other side, or too slight beside it
    assert kept(0, 0, 0, -4, 10, 4, 0, 0, 0)[4]
    assert kept(0, 0, 0, 2, 10, 2, 0, 0, 0)[4]
    assert kept(0, 0, 0, 0, 10, 0, 0, 0, 0, least=11.0) == [False] * 9
    assert 10 * ALIKE == 3
    valid[3] = False
    assert kept(0, 0, 0, 4, 10, 4, 0, 0, 0)[4]


@pytest.mark.parametrize("drawn", [True, False])
def test_coordinates_do_not_follow_what_is_far_off(drawn):
    """Least squares where nothing is far; else Huber's fit, or that of the others from a start near them."""
    rng = np.random.default_rng(18)
    directions = np.linalg.qr(rng.standard_normal((40, 3)))[0]
    scores = 30 * rng.standard_normal((3, 50))
    noise = np.clip(rng.standard_normal((40, 50)), -1.5, 1.5)
    values = directions @ scores + noise
    start = values if drawn else directions @ (scores + 0.3)
    plain = values - directions @ (directions.T @ values)
    np.testing.assert_allclose(_beyond(values, start, directions, drawn=drawn), plain, atol=0.05)
    values[7] += 60
    rest = _beyond(values, start, directions, drawn=drawn)
    np.testing.assert_allclose(rest[7], 60, atol=7)
    assert np.abs(np.delete(rest, 7, axis=0)).max() < 4
    if drawn:
        # at its end what pulls is balanced
        np.testing.assert_allclose(directions.T @ np.clip(rest, -2, 2), 0, atol=0.15)


def test_residuals_on_neighbours_are_in_their_spread_and_answers_are_how_they_change():
    """A change of a band moves its own residual by one over the spread, its neighbours' by their weights."""
    rng = np.random.default_rng(19)
    shape = (7, 40, 40)
    scene = np.tensordot(rng.standard_normal((7, 2)), rng.standard_normal((2, *shape[1:])), 1) * 20
    values = scene + rng.standard_normal(shape) * np.linspace(1, 2, 7)[:, None, None]
    out = np.zeros(shape, bool)
    chosen = np.arange(7)
    plain, answers = _standard(values, out, chosen)
    assert plain.std((1, 2)) == pytest.approx(np.ones(7), rel=0.1)
    np.testing.assert_allclose(np.median(plain, axis=1), 0, atol=1e-5)
    # units of bands do not matter, nor levels of columns
    units = np.geomspace(1e-2, 1e2, 7)[:, None, None]
    np.testing.assert_allclose(_standard(units * values, out, chosen)[0], plain, atol=2e-3)
    for band in (0, 3, 6):
        changed = values.copy()
        changed[band, 5, 6] += 3
        moved = (_standard(changed, out, chosen)[0] - plain)[:, 5, 6]
        spread = values[band].std()
        np.testing.assert_allclose(moved, answers[:, band] * 3 / spread, atol=0.1)
        assert not answers[np.abs(chosen - band) > 2, band].any()
    # part of the bands, of which some voxels were filled in
    out[3, ::2] = True
    part, some = _standard(values, out, np.array([3, 5]))
    assert not part[0, ::2].any()
    np.testing.assert_allclose(part[1], plain[5], atol=1e-6)
    np.testing.assert_allclose(some[1], answers[5], rtol=1e-5)
    out[3] = True
    part, some = _standard(values, out, np.array([3]))
    assert not part.any()
    assert not some.any()


def test_single_spikes_are_found_whatever_their_band_and_sign():
    rng = np.random.default_rng(20)
    shape = (12, 36, 38)
    values = np.tensordot(rng.standard_normal((12, 2)), rng.standard_normal((2, *shape[1:])), 1) * 5 + 40
    values += rng.standard_normal(shape)
    valid = np.ones(shape, bool)
    assert spikes(values, valid).mean() < 2e-4
    where = np.zeros(shape, bool)
    where[np.arange(12), 3 + 2 * np.arange(12), 30 - 2 * np.arange(12)] = True
    struck = np.where(where, values + 40 * (-1.0) ** np.arange(12)[:, None, None], values)
    found = spikes(struck, valid)
    assert found[where].sum() >= 11
    assert found[~where].mean() < 2e-4
    # no measurement is no spike, and less than a share of the band's deviation none where slight ones are to stay
    valid[where] = False
    assert not spikes(struck, valid)[where].any()
    valid[where] = True
    assert not spikes(struck, valid, 40.0)[where].any()
    assert not spikes(struck[:8], valid[:8]).any()


def test_spikes_do_not_depend_on_bands_gains_and_levels():
    rng = np.random.default_rng(21)
    shape = (14, 36, 38)
    values = np.tensordot(rng.standard_normal((14, 2)), rng.standard_normal((2, *shape[1:])), 1) * 5
    values += rng.standard_normal(shape)
    where = rng.random(shape) < 2e-3
    values[where] += 60 * np.where(rng.random(where.sum()) < 0.5, -1, 1)
    valid = np.ones(shape, bool)
    found = spikes(values, valid)
    assert found[where].mean() > 0.95
    gain, level = 10 ** rng.uniform(-2, 2, (14, 1, 1)), rng.uniform(-99, 99, (14, 1, 1))
    assert (spikes(gain * values + level, valid) != found).sum() <= 1


@pytest.mark.parametrize("slope", [-0.03, 0.03])
def test_a_lamp_of_its_own_spectrum_is_no_spike(slope):
    """A thousand deviations of the noise in one pixel, which no relation between bands was learned from."""
    rng = np.random.default_rng(22)
    shape = (24, 40, 40)
    contrast = np.exp(np.cumsum(rng.normal(0, 0.05, 24)))[:, None, None]
    values = 5 * contrast * rng.standard_normal((1, *shape[1:])) + rng.standard_normal(shape)
    values[:, 20, 25] += 1000 * (1 + slope * np.arange(-12, 12))
    assert not spikes(values, np.ones(shape, bool))[:, 20, 25].any()


def test_a_lone_voxel_far_from_a_good_prediction_is_an_outlier():
    """However few: of its band alone in its pixel, and alone in its band there."""
    rng = np.random.default_rng(14)
    rest, unit, keep = rng.standard_normal((12, 20, 20)), np.ones(12), np.ones((12, 20, 20), bool)
    least = np.full(12, 5.0)
    rest[3, 4, 5] = -40  # alone
    rest[6:9, 10, 10] = 40  # a feature of three bands
    rest[[1, 9], 15, 15] = 40  # a pixel of a wrong spectrum
    rest[5, 17:19, 2:4] = 40  # four pixels that one band sees
    rest[7, 0, 0] = 12  # not far enough for errors of a prediction
    rest[8, 1, 1], least[8] = 40, 50.0  # a detail of the scene's own size
    rest[2, 2, 2], keep[2, 2, 2] = 40, False  # not measured
    assert np.argwhere(lone(rest, unit, keep, least)).tolist() == [[3, 4, 5]]
    # a band whose prediction errs by more than its noise counts by that
    rest[3] *= 20
    rest[3, 4, 5] = -40
    assert not lone(rest, unit, keep, least).any()
    # few bands do not explain one another
    assert not lone(rest[:8, :, :], unit[:8], keep[:8], least[:8]).any()


def test_lone_far_voxels_make_no_peak_of_a_scene_an_excess():
    """Water fills few of the histogram's bins; lone outliers made the noise seem wide, and what it blurs less."""
    rng = np.random.default_rng(15)
    predicted = np.zeros((1, 40, 30))
    predicted[0, :, 22:] = rng.uniform(20, 200, (40, 8))
    values = predicted + rng.standard_normal(predicted.shape)
    hit = np.zeros(values.shape, bool)
    places = 2 * rng.permutation(600)[:50]
    hit.ravel()[places] = True
    values.ravel()[places] = np.append(rng.uniform(60, 190, 20), np.full(30, 220.0))
    found = outliers(values, predicted, np.ones(values.shape, bool))
    assert not (found & ~hit).any()
    assert found.ravel()[places[20:]].all()


def test_impulses_in_dark_water_spoil_no_column():
    """One that was missed made its pixel's spectrum wrong, calm columns dead and gains of their elements."""
    rng = np.random.default_rng(16)
    bands, height, width = 20, 32, 40
    y, x = np.mgrid[:height, :width]
    land = 1 / (1 + np.exp(-2.0 * (x - 28 - 3 * np.sin(y / 5))))
    shares = np.stack([land * (1 + 0.3 * np.sin(y * x / 40)), land * np.cos(y / 3), 0.02 * (1 - land)])
    true = 0.05 + np.tensordot(rng.uniform(0.2, 1, (bands, 3)), shares, 1)
    noisy = true + 0.02 * rng.standard_normal(true.shape)
    hit = rng.random(true.shape) < 0.02
    noisy[hit] = np.where(rng.random(hit.sum()) < 0.5, true.max(), true.min())
    found = restore(noisy.astype(np.float32), "lowrank")
    error = np.where(hit, 0, found.estimate - true)
    assert found.noise is not None
    assert not found.noise.dead.any()
    assert (np.sqrt(np.square(error).mean((1, 2))) < 0.02).all()
    np.testing.assert_allclose(found.noise.sigma, 0.02, rtol=0.2)


def test_spikes_come_back_where_the_estimate_is_worse():
    """Bands are multiples of one image; some spikes are replaced by what is worse."""
    image = np.random.default_rng(3).uniform(1, 2, (20, 20))
    truth = np.array([1.0, 3.0, 2.0, 5.0])[:, None, None] * image
    estimate, observed, spike = truth.copy(), truth.copy(), np.zeros(truth.shape, bool)
    # a right estimate; one that is worse; the same at the first band; two beside one another tell nothing
    for place, off, missed in (
        ((1, 4, 4), 5.0, 0.0), ((2, 9, 9), -0.5, -1.6), ((0, 2, 2), 0.3, 0.6), ((2, 15, 3), 0.1, 4.0),
        ((3, 15, 3), 0.1, 4.0),
    ):  # fmt: skip
        observed[place] += off
        estimate[place] += missed
        spike[place] = True
    back = taken_back(estimate, observed, spike)
    assert {tuple(place) for place in np.argwhere(back)} == {(2, 9, 9), (0, 2, 2)}
    assert not taken_back(estimate, observed, np.zeros_like(spike)).any()
