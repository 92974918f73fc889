"""What is the instrument's, by hand and by loops: dead elements, columns, saturation, counts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from denoise.separation.columns import PIXELS_EACH, _walk, column_response, dead_elements, from_nearest, shrunk
from denoise.separation.counts import BLOCK, FEW_PHOTONS, Counts, counts_of
from denoise.separation.stuck import stuck_values
from hsitools.estimation.full_scale import clipped, full_scale, hot_elements

# ---- detector elements -----------------------------------------------------------------------------------------


def test_elements_are_dead_that_do_not_follow_the_scene():
    """A constant, or another scene; not one of another gain, of an offset, or that was hardly seen."""
    rng = np.random.default_rng(0)
    scene = np.broadcast_to(10 * rng.standard_normal((1, 60, 1)), (4, 60, 20)).copy()
    sigma = np.array([0.5, 1, 1, 2])
    values = scene + sigma[:, None, None] * rng.standard_normal(scene.shape)
    keep = np.ones(scene.shape, bool)
    assert not dead_elements(values, scene, keep, sigma).any()
    values[0, :, 3] = 7
    values[1, :, 5] = 4 + rng.standard_normal(60)
    values[2, :, 7] = 3 * scene[2, :, 7]
    values[2, :, 9] += 500
    values[3, 20:, 11] = keep[3, 20:, 11] = False
    values[3, :, 13] = np.where(np.arange(60) < 15, 7, values[3, :, 13])
    assert np.argwhere(dead_elements(values, scene, keep, sigma)).tolist() == [[0, 3], [1, 5]]
    # fifteen rows tell nothing
    keep[0, 15:, 3] = False
    assert np.argwhere(dead_elements(values, scene, keep, sigma)).tolist() == [[1, 5]]
    # what is masked has no say
    keep[0, 15:30, 3] = True
    values[0, 30:, 3] = 1e6
    assert np.argwhere(dead_elements(values, scene, keep, sigma)).tolist() == [[0, 3], [1, 5]]


def test_an_element_quieter_than_noise_is_dead_where_the_scene_is_flat():
    """A scene of one value explains a constant as well: only its level and its silence give it away."""
    rng = np.random.default_rng(1)
    scene = np.full((2, 60, 20), 10.0)
    values = scene + rng.standard_normal(scene.shape)
    values[0, :, 4] = 7 + 0.1 * rng.standard_normal(60)
    values[0, :, 6] = 7 + rng.standard_normal(60)
    values[1, :, 8] = 10 + 0.1 * (np.arange(60) % 2 - 0.5)
    found = dead_elements(values, scene, np.ones(scene.shape, bool), np.ones(2))
    assert np.argwhere(found).tolist() == [[0, 4]]


@pytest.mark.parametrize(("height", "width"), [(60, 24), (5, 8)])
def test_nearest_bands_are_as_many_as_pixels_allow(height, width):
    """A least-squares plane through the others: of the nearest bands that are whole there, ten pixels each."""
    rng = np.random.default_rng(2)
    values = rng.standard_normal((30, height, width)) + 3 * rng.standard_normal((1, height, width))
    gone = np.zeros((30, width), bool)
    gone[12, [2, 5]] = gone[11, 5] = gone[14, 6] = True
    chosen = gone.copy()
    chosen[[11, 14]] = False
    told = from_nearest(np.zeros_like(values), values, chosen, gone)
    kept = ~gone[12]
    most = min(24, int(kept.sum()) * height // PIXELS_EACH)
    # of two as near, the lower one; no band that is gone in a column that is asked for
    near = sorted((band for band in range(30) if band not in (11, 12)), key=lambda band: abs(band - 12))[:most]
    design = np.stack([values[band][:, kept].ravel() for band in near] + [np.ones(int(kept.sum()) * height)], 1)
    fit = np.linalg.lstsq(design, values[12][:, kept].ravel(), rcond=None)[0]
    for column in (2, 5):
        expected = np.stack([values[band][:, column] for band in near], 1) @ fit[:-1] + fit[-1]
        np.testing.assert_allclose(told[12, :, column], expected, atol=2e-3)
    assert not told[[11, 14]].any()


def test_gains_and_offsets_are_straight_lines_through_what_is_kept():
    """As least squares fits them, far above chance, where nothing is shrunk; what is masked does not count."""
    rng = np.random.default_rng(3)
    scene = 5 + rng.standard_normal((3, 80, 30))
    values = rng.uniform(0.5, 1.5, (3, 1, 30)) * scene + rng.uniform(-2, 2, (3, 1, 30))
    values += 1e-3 * rng.standard_normal(scene.shape)
    keep = rng.random(scene.shape) < 0.7
    gain, offset, power = column_response(np.where(keep, values, 1e4), scene, keep, np.full(3, 1e-3))
    shifts = np.empty((3, 30))
    for band in range(3):
        for column in range(30):
            use = keep[band, :, column]
            slope, level = np.polyfit(scene[band, use, column], values[band, use, column], 1)
            assert gain[band, column] == pytest.approx(slope, abs=1e-3)
            assert offset[band, column] == pytest.approx(level, abs=3e-3)
            shifts[band, column] = np.mean((values - scene)[band, use, column])
    np.testing.assert_allclose(power, np.mean(shifts**2, axis=1), rtol=0.02)
    # what does not follow the scene at all has the least gain that follows
    gain, _, _ = column_response(-scene, scene, keep, np.full(3, 1e-3))
    np.testing.assert_allclose(gain, 0.1)


@pytest.mark.parametrize("axis", [1, None])
def test_shrinking_is_the_posterior_mean_of_the_likeliest_mixture(axis):
    """A share of elements of one Gaussian and zeros, in unequal noise: both as they were drawn, means by Bayes."""
    rng = np.random.default_rng(4)
    variance = rng.uniform(0.5, 1.5, (3, 4000))
    share, slab = 0.3, 16.0
    true = np.where(rng.random(variance.shape) < share, np.sqrt(slab) * rng.standard_normal(variance.shape), 0)
    found = true + np.sqrt(variance) * rng.standard_normal(true.shape)
    shrunken, power = shrunk(found, variance, axis)
    one, two = (np.exp(-0.5 * found**2 / spread) / np.sqrt(spread) for spread in (variance, variance + slab))
    member = share * two / (share * two + (1 - share) * one)
    expected = member * found * slab / (slab + variance)
    assert np.sqrt(np.mean((shrunken - expected) ** 2)) < 0.15
    np.testing.assert_allclose(power, share * slab, rtol=0.1)
    assert np.mean((shrunken - true) ** 2) == pytest.approx(np.mean((expected - true) ** 2), rel=0.03)


def test_a_scene_s_walk_is_told_by_likelihood():
    """Steps of the scene are white in sines, stripes' rise with the frequency: of two variances the likelier walk."""
    rng = np.random.default_rng(5)
    count, stripe = 400, np.array([[1.0], [0.3], [2.0]])
    rise = stripe * 4 * np.sin(np.pi * np.arange(1, count + 1) / (count + 1) / 2) ** 2
    for true in (0.05, 1.0, 8.0):
        power = (true + rise) * rng.standard_normal((3, count)) ** 2
        found = _walk(power, stripe, 1e-3)[:, 0]
        for one, up, got in zip(power, rise, found, strict=True):
            told = minimize_scalar(
                lambda walk, one=one, up=up: np.sum(np.log(np.exp(walk) + up) + one / (np.exp(walk) + up)),
                bounds=(-6, 4), method="bounded",
            ).x  # fmt: skip
            assert np.log(got) == pytest.approx(told, abs=0.3)
    assert _walk(0 * rise, stripe, 0.02).tolist() == [[0.02]] * 3


# ---- saturation ------------------------------------------------------------------------------------------------


def test_a_band_clips_where_its_largest_value_piles_up():
    rng = np.random.default_rng(6)
    smooth = 100 * np.linspace(0, 1, 40)[:, None] * np.linspace(0.5, 1, 40)
    image = smooth + rng.standard_normal((40, 40))
    few = np.sort(image.ravel())[-9]
    bands = np.stack([image, np.minimum(image, few), np.minimum(image, few) - 200, np.minimum(image, few)])
    # seven at the top are too few by themselves, but as much as another band's top
    bands[3][np.nonzero(bands[3] == few)[0][:2], np.nonzero(bands[3] == few)[1][:2]] -= 20
    every = np.ones(bands.shape, bool)
    assert full_scale(bands, every).tolist() == [np.inf, few, np.inf, few]
    assert full_scale(bands[3:], every[3:]).tolist() == [np.inf]
    at_top = clipped(bands, every, None)
    np.testing.assert_array_equal(at_top[1], image >= few)
    # what was not measured neither piles up nor clips
    every[1] = image < few
    assert not clipped(bands[:2], every[:2], None).any()
    # stated, it holds whatever there is
    np.testing.assert_array_equal(clipped(bands[:1], every[:1], np.array([70.0]))[0], image >= 70)


def test_values_of_few_digits_are_no_pile():
    """Each level holds as many; the last does only where there are five times as many as at any other near it."""
    levels = np.repeat(np.arange(1.0, 41), 40).reshape(40, 40)
    every = np.ones((1, 40, 40), bool)
    assert full_scale(levels[None], every) == np.inf
    assert full_scale(np.minimum(levels, 36)[None], every) == 36
    assert full_scale(np.minimum(levels, 37)[None], every) == np.inf
    # one of them may be as frequent as the last
    uneven = np.minimum(levels, 33)
    assert full_scale(uneven[None], every) == 33
    uneven[10:13] = 32.5
    assert full_scale(uneven[None], every) == np.inf
    # a cube of one value does not clip
    assert full_scale(np.ones((1, 40, 40)), every) == np.inf


@pytest.mark.parametrize("turn", range(4))
def test_a_pile_among_bright_neighbours_is_clipped_on_whatever_side_they_lie(turn):
    """A block at the top: on its one side are the brightest of the others, on the others nothing was measured."""
    image = np.random.default_rng(7).uniform(0, 50, (30, 30))
    image[10:14, 10:14] = 200
    valid = np.ones(image.shape, bool)
    valid[9:15, 9:15] = False
    valid[10:14, 10:14] = True
    valid[9, 10:14] = True
    for beside, full in ((60, 200), (10, np.inf)):
        image[9, 10:14] = beside
        turned = [np.rot90(item, turn)[None] for item in (image, valid)]
        assert full_scale(*turned) == full


def test_a_hot_column_is_no_clipped_scene():
    at_top, valid = np.zeros((2, 20, 6), bool), np.ones((2, 20, 6), bool)
    at_top[0, :, 2] = at_top[1, :, 0] = at_top[1, :, 4:] = True
    assert np.argwhere(hot_elements(at_top, valid)).tolist() == [[0, 2], [1, 0]]
    at_top[0, :9, 3] = True
    assert np.argwhere(hot_elements(at_top, valid)).tolist() == [[0, 2], [1, 0]]
    at_top[0, :11, 3] = True
    assert np.argwhere(hot_elements(at_top, valid)).tolist() == [[1, 0]]
    # rows that were not measured do not count, and fifteen are too few
    valid[1, :4] = at_top[1, :4] = False
    assert np.argwhere(hot_elements(at_top, valid)).tolist() == [[1, 0]]
    valid[1, :5] = at_top[1, :5] = False
    assert not hot_elements(at_top, valid).any()
    assert not hot_elements(np.ones((1, 20, 1), bool), np.ones((1, 20, 1), bool)).any()


def test_values_that_stick_are_told_from_levels_and_from_shadow():
    rng = np.random.default_rng(8)
    values = rng.uniform(0, 1, (6, 80, 80))
    stuck = rng.random((80, 80)) < 0.05
    values[0][stuck], values[1][stuck], values[2][stuck] = 0.5, -1, 2
    values[3][rng.random((80, 80)) < 0.02] = 2
    values[4] = np.round(values[4], 2)
    values[5][rng.random((80, 80)) < 0.006] = 0.5
    found = stuck_values(values, np.ones(values.shape, dtype=bool))
    np.testing.assert_array_equal(found[0], stuck)
    np.testing.assert_array_equal(found[2], stuck)
    # the smallest is shadow, a fiftieth at the top may be; digits repeat all over, and six in a thousand are few
    assert not found[[1, 3, 4, 5]].any()
    # of thirty values repetition says nothing
    levels = np.where(stuck, 15.0, np.arange(6400).reshape(1, 80, 80) % 30)
    assert not stuck_values(levels, np.ones(levels.shape, dtype=bool)).any()


# ---- counts ----------------------------------------------------------------------------------------------------


def poisson(mean=4.0, bands=6, side=48, seed=9):
    rng = np.random.default_rng(seed)
    field = mean * np.exp(np.linspace(-1.5, 1.5, side)[:, None] + 0.3 * np.linspace(-1, 1, side))
    return rng.poisson(field, (bands, side, side)).astype(float)


@pytest.mark.parametrize("gain", [0.01, 1.0, 16.0])
def test_photons_are_worth_the_step_of_the_values(gain):
    seen = gain * poisson()
    valid = np.ones(seen.shape, bool)
    told = counts_of(seen, valid)
    np.testing.assert_allclose(told.gain, gain, rtol=1e-6)
    assert told.read_variance.tolist() == [0] * 6
    # what is not valid may be anything
    valid[2, 5:9, 5:9] = False
    seen[2, 5:9, 5:9] = -7.3
    np.testing.assert_allclose(counts_of(seen, valid).gain, gain, rtol=1e-6)
    seen[2, 5, 5], valid[2, 5, 5] = -gain, True
    assert counts_of(seen, valid) is None


def test_counts_of_several_a_photon_are_told_by_their_variance():
    """The step is one, as one voxel has it; the variance per mean is five."""
    rng = np.random.default_rng(10)
    photons = poisson(mean=4)
    values = 5 * photons + rng.integers(0, 2, photons.shape) * (photons > 0)
    values[0, 0, 0] = 1
    told = counts_of(values, np.ones(values.shape, bool))
    np.testing.assert_allclose(told.gain, 5, rtol=0.12)


def test_texture_of_the_scene_is_no_photon_s_worth():
    """Pixels that differ by half raise the variance by as much, of which the step of the values knows nothing."""
    rng = np.random.default_rng(9)
    field = 0.5 * np.exp(np.linspace(-1.5, 1.5, 48)[:, None] + 0.5 * rng.standard_normal((48, 48)))
    seen = rng.poisson(field, (6, 48, 48)).astype(float)
    np.testing.assert_array_equal(counts_of(seen, np.ones(seen.shape, bool)).gain, 1)


@pytest.mark.parametrize(
    "kind", ["bright", "no zeros", "negative", "no integers", "too wide", "small", "even noise", "steep"]
)
def test_other_cubes_are_no_counts(kind):
    seen, valid = poisson(), np.ones((6, 48, 48), bool)
    rng = np.random.default_rng(11)
    if kind == "bright":
        seen = poisson(mean=2.5 * FEW_PHOTONS)
        seen[0] = poisson()[0]
    if kind == "no zeros":
        seen += 1
    if kind == "negative":
        seen[0, 0, 0] = -1
    if kind == "no integers":
        seen[0, 0, 0] = 1.5
    if kind == "too wide":
        seen[0, 0, 0] = 1e5
    if kind == "small":
        seen, valid = seen[..., : BLOCK - 1], valid[..., : BLOCK - 1]
    if kind == "even noise":
        # a read-out's: as large where there is much light
        seen = np.maximum(np.rint(8 * np.linspace(0, 1, 48)[:, None] + 3 * rng.standard_normal(seen.shape)), 0)
    if kind == "steep":
        seen = np.rint(np.linspace(1, 30, 48)[:, None] * np.abs(rng.standard_normal(seen.shape)))
    assert counts_of(seen, valid) is None


def test_a_sensor_s_photons_are_as_many_as_its_slope_says():
    """Read-out: the variance at the mean less the slope's part there; half of all noise at most, in the usual band."""
    seen, valid = poisson(bands=3), np.ones((3, 48, 48), bool)
    valid[:, :10] = False
    seen[:, :10] = 1e6
    level = seen[:, 10:].mean((1, 2))
    slope = np.array([1.0, 0.5, 2])
    for read, told in ((0.0, True), (0.3, True), (3.0, False)):
        sigma = np.sqrt(slope * level * (1 + read))
        found = counts_of(seen, valid, sigma, slope)
        assert (found is not None) is told
        if found is not None:
            np.testing.assert_allclose(found.gain, slope)
            np.testing.assert_allclose(found.read_variance, slope * level * read, rtol=1e-6, atol=1e-9)
    sigma = np.sqrt(slope * level)
    assert counts_of(seen, valid, sigma) is None
    assert counts_of(seen, valid, sigma, np.array([1, 0, 1])) is None
    assert counts_of(10 * seen, valid, sigma, slope) is None


def test_impulses_of_one_value_are_no_full_scale_though_a_band_has_bright_neighbours_by_chance():
    """Twenty bands of one largest value at random places; in one, those beside them happen to be bright."""
    rng = np.random.default_rng(8)
    bands, every = rng.uniform(0, 50, (20, 40, 30)), np.ones((20, 40, 30), bool)
    y, x = np.meshgrid(np.arange(2, 38, 9), np.arange(2, 28, 9), indexing="ij")
    for band, move in enumerate(rng.integers(0, 3, (20, 2))):
        bands[band, y + move[0], x + move[1]] = 60
    top = np.argwhere(bands[4] == 60)
    for step in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        bands[4, *(top + step).T] = rng.uniform(40, 50, len(top))
    assert full_scale(bands[4:5], every[4:5]).tolist() == [60]
    assert not np.isfinite(full_scale(bands, every)).any()
    # where all bands say so, all clip
    assert full_scale(np.stack([bands[4]] * 3), every[:3]).tolist() == [60] * 3


def test_few_impulses_need_brighter_neighbours_than_many():
    """Of nine places a mean rank of .75 is chance, of ninety it is not."""
    rng = np.random.default_rng(9)
    for count, full in ((9, np.inf), (90, 60)):
        image = rng.uniform(0, 50, (60, 60))
        y, x = np.unravel_index(rng.permutation(400)[:count], (20, 20))
        image[3 * y + 1, 3 * x + 1] = 60
        for down, right in ((0, 1), (1, 0), (1, 2), (2, 1)):
            image[3 * y + down, 3 * x + right] = rng.uniform(27, 47, count)
        assert full_scale(image[None], np.ones((1, 60, 60), bool)) == full


def test_one_wrong_pixel_makes_no_calm_columns_dead():
    """Water of hardly any contrast, and one row of which the scene's estimate is far off in all bands."""
    rng = np.random.default_rng(10)
    scene = np.zeros((8, 40, 12))
    values = rng.standard_normal(scene.shape)
    scene[:, 17, 5] = 30
    every, unit = np.ones(scene.shape, bool), np.ones(8)
    assert not dead_elements(values, scene, every, unit).any()
    # what is far off in several rows is the scene that a dead element does not follow
    scene[:, 10:17, 5] = 30
    assert dead_elements(values, scene, every, unit)[:, 5].all()


def test_no_photons_are_no_surer_than_the_estimate():
    """Less than no photons give: as if it were just that, so half of what one deviation more would be."""
    model = Counts(np.array([1.0, 2.0]), np.zeros(2))
    dark, std = np.full((2, 1, 3), 2 * np.sqrt(0.375) - [0, 0.4, 1.1]), np.full((2, 1, 3), 0.8)
    assert not model.back(dark).any()
    above = 2 * np.sqrt(0.375) + 0.8
    # by the root of the plain inverse, whose mean is higher by a quarter count at most
    told = model.spread(dark, std)
    assert (told > 0).all()
    np.testing.assert_allclose(told, np.broadcast_to(model.back(np.full((2, 1, 1), above)) / 2, told.shape), rtol=1e-5)
    np.testing.assert_allclose(told[1], 2 * told[0], rtol=1e-6)
    bright = np.full((2, 1, 1), 2 * np.sqrt(400.375))
    # the derivative of (d / 2)²
    np.testing.assert_allclose(model.spread(bright, np.full((2, 1, 1), 0.5))[:, 0, 0], [10.0, 20.0], rtol=0.01)


def test_the_last_of_few_levels_is_no_full_scale_where_the_next_holds_as_many():
    """A dark band of a few codes, brightest in the middle, as converters store it, is not cut off; one that is, is."""
    y, x = np.mgrid[:60, :60] - 29.5
    image = np.round(5.4 - (y**2 + x**2) / 150)
    assert (image == 5).sum() > 20
    assert full_scale(image[None], np.ones((1, 60, 60), bool)) == np.inf
    assert full_scale(np.where(image > 2, 9, image)[None], np.ones((1, 60, 60), bool)) == 9
