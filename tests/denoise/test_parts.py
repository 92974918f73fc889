"""Parts of separation by themselves: values worked out by hand, and laws of units, bands and pixels."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from denoise.case import NoiseModel, Observation
from denoise.comparison.simulate import clean_cube
from denoise.methods.column_median import column_median
from denoise.observed import band_variance, observe
from denoise.separation import counts, spikes
from denoise.separation.columns import _step, doubt_of_nearest, from_nearest, shrunk
from denoise.separation.estimate import Separation, regress
from denoise.separation.noise import along_track, noise_of_bands
from denoise.separation.rare import REMAINDER, REMAINDERS, TRACE, _amplitudes, _relative_error, _trace, find_rare
from denoise.separation.scan import blurred, white
from denoise.separation.smooth import Smoothed, smooth
from hsitools.cube import Cube
from hsitools.scenes import scene

BANDS, SIDE = 40, 32


def separation(seed: int = 0, rank: int = 2) -> tuple[Separation, np.ndarray]:
    """A scene of unit noise in a subspace, smoothed perfectly, and three single pixels that have what it has not."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    scores = 20 * np.stack([np.sin(5 * x + 2 * y), np.cos(3 * y) * x])[:rank]
    directions = np.linalg.qr(rng.standard_normal((BANDS, rank)))[0]
    clean = np.tensordot(directions, scores, 1) + 30
    line = np.exp(-0.5 * ((np.arange(BANDS) - 17) / 1.5) ** 2)
    where = np.zeros((SIDE, SIDE), bool)
    where[[5, 20, 26], [7, 9, 22]] = True
    whitened = clean + rng.standard_normal(clean.shape) - 14 * (line / np.linalg.norm(line))[:, None, None] * where
    ones = np.ones((BANDS, SIDE), np.float32)
    noise = NoiseModel(
        sigma=np.ones(BANDS, np.float32), slope=np.full(BANDS, 0.2, np.float32), gain=ones, offset=0 * ones,
        offset_std=0 * ones, dead=ones < 0, outlier=np.zeros(clean.shape, bool),
    )  # fmt: skip
    images = scores.astype(np.float32)
    return Separation(
        noise=noise, scene=clean.astype(np.float32), whitened=whitened.astype(np.float32),
        directions=directions.astype(np.float32), scores=Smoothed(images, images, images),
    ), where  # fmt: skip


def in_units(found: Separation, units: np.ndarray) -> Separation:
    """The same of a cube whose bands are so many times as large: what is whitened stays."""
    noise = found.noise
    column = units[:, None].astype(np.float32)
    return dataclasses.replace(
        found, scene=found.scene * column[:, None],
        noise=dataclasses.replace(
            noise, sigma=noise.sigma * column[:, 0], slope=noise.slope * column[:, 0], offset=noise.offset * column,
            offset_std=noise.offset_std * column,
        ),
    )  # fmt: skip


# ---- rare spectra ----------------------------------------------------------------------------------------------


def test_rare_spectra_are_put_back_in_the_units_of_each_band() -> None:
    found, where = separation()
    units = np.geomspace(0.1, 1e3, BANDS)
    plain, other = (find_rare(item, item.scene, item.directions) for item in (found, in_units(found, units)))
    assert plain.pixels[where].all()
    np.testing.assert_array_equal(other.pixels, plain.pixels)
    column = units[:, None, None]
    np.testing.assert_allclose(other.added / column, plain.added, atol=2e-3)
    np.testing.assert_allclose(other.variance / column**2, plain.variance, rtol=1e-2, atol=1e-4)
    assert other.error == pytest.approx(plain.error, rel=1e-5)
    # what was put back of the line is what stands there, in those pixels alone
    missing = (found.whitened - found.scene)[:, where]
    assert np.abs((plain.added[:, where] - missing)[15:20]).mean() < 0.8
    assert np.abs(plain.added[:, ~plain.pixels]).max() < 1
    # far from the line a named pixel has its remainder's variance and the trace's, and no more
    remainder = min(REMAINDER**2, REMAINDERS * TRACE * plain.error * SIDE**2 / plain.pixels.sum())
    assert plain.variance[:, where].min() == pytest.approx(remainder + TRACE * plain.error, rel=0.05)


def test_rare_spectra_are_found_wherever_they_lie() -> None:
    """Rows and columns turned: the same pixels have the same put back."""
    found, where = separation()
    turned = dataclasses.replace(
        found, scene=found.scene[:, ::-1].swapaxes(1, 2), whitened=found.whitened[:, ::-1].swapaxes(1, 2),
        scores=Smoothed(*(item[:, ::-1].swapaxes(1, 2) for item in found.scores)),
    )  # fmt: skip
    plain, other = (find_rare(item, item.scene, item.directions) for item in (found, turned))
    assert other.pixels.T[::-1][where].all()
    np.testing.assert_allclose(other.added.swapaxes(1, 2)[:, ::-1][:, where], plain.added[:, where], atol=0.1)


def test_error_of_a_restoration_is_that_of_its_free_numbers() -> None:
    """Unsmoothed, a subspace lets its share of the noise pass; smoothed perfectly, next to none of it."""
    found, _ = separation()
    scores = np.tensordot(found.directions.T, found.whitened, 1)
    raw = dataclasses.replace(found, scores=Smoothed(scores, scores, scores))
    of_directions = 2 / SIDE**2
    assert _relative_error(raw) == pytest.approx(2 / BANDS + of_directions, rel=1e-4)
    mean = np.tensordot(found.directions.T, np.full((BANDS, 1, 1), 30.0), 1)
    level = found.scores.best + mean
    smoothed = dataclasses.replace(found, scores=Smoothed(level, level, level))
    assert _relative_error(smoothed) < 0.2 * 2 / BANDS + of_directions


def test_the_trace_is_of_what_lies_beyond_the_subspace() -> None:
    rng = np.random.default_rng(1)
    basis = np.linalg.qr(rng.standard_normal((BANDS, 3)))[0]
    inside = np.tensordot(basis, rng.standard_normal((3, SIDE, SIDE)), 1)
    assert np.abs(_trace(inside, basis, 0.04)).max() < 1e-6
    # what all pixels share counts twice: as it is, and blurred
    wide = np.linalg.qr(np.concatenate([basis, rng.standard_normal((BANDS, 1))], 1))[0][:, 3]
    trace = _trace(wide[:, None, None] * np.ones((1, SIDE, SIDE)), basis, 0.04)[:, SIDE // 2, SIDE // 2]
    np.testing.assert_allclose(trace, 2 * np.sqrt(TRACE * 0.04) * wide, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("noise", [1.0, 3.0])
@pytest.mark.parametrize("blur", [0.0, 1.0, 1.5])
def test_amplitudes_of_a_group_err_as_is_said(blur: float, noise: float) -> None:
    """A group of one amplitude in known noise: its mean is kept, and its error's variance is said."""
    where = np.zeros((24, 24), bool)
    where[5:15, 8:20] = True
    rng = np.random.default_rng(2)
    direction, share = np.array([0.6, -0.8]), np.array([0.5, 0.25])
    errors, told = [], []
    for _ in range(60):
        rest = direction[:, None, None] * 15 * where + noise * rng.standard_normal((2, *where.shape))
        kept, variance = _amplitudes(rest, np.full(where.shape, noise), where, direction, share, blur)
        errors.append(kept - 15)
        told.append(variance - noise**2 * share[:, None] / where.sum())
    assert np.mean(errors) == pytest.approx(0, abs=0.1 * noise)
    for band, part in enumerate(direction):
        assert part**2 * np.mean(np.square(errors)) == pytest.approx(np.mean(told, (0, 2))[band], rel=0.25)


@pytest.mark.parametrize("blur", [0.0, 0.7, 1.0, 2.5])
def test_white_noise_is_as_large_after_a_blur_as_is_said(blur: float) -> None:
    noise = np.random.default_rng(3).standard_normal((4, 160, 160))
    inside = blurred(noise, blur)[:, 10:-10, 10:-10]
    # of narrow blurs the weights of single pixels count: a tenth
    assert inside.std() == pytest.approx(white(blur), rel=0.1)


# ---- spikes, columns, bands ------------------------------------------------------------------------------------


def test_spikes_are_filled_by_the_straight_line_between_bands() -> None:
    """Beyond the last good band there is none: its value goes on."""
    line = 10.0 * np.arange(8)[:, None, None] + np.array([[0.0, 3], [5, 7]])
    out = np.zeros(line.shape, bool)
    out[2:5, 0, 0] = out[3:5, 0, 1] = out[:2, 1, 0] = out[6:, 1, 1] = True
    filled = spikes._filled(np.where(out, 999.0, line), out)
    np.testing.assert_allclose(filled[:, 0], line[:, 0], rtol=1e-12)
    np.testing.assert_allclose(filled[:, 1, 0], np.maximum(line[:, 1, 0], line[2, 1, 0]), rtol=1e-12)
    np.testing.assert_allclose(filled[:, 1, 1], np.minimum(line[:, 1, 1], line[5, 1, 1]), rtol=1e-12)
    # of a pixel that has none, the others' median
    out = np.zeros(line.shape, bool)
    out[:, 0, 0] = True
    none = spikes._filled(np.where(out, 999.0, line), out)
    np.testing.assert_allclose(none[:, 0, 0], line[:, 1, 0], rtol=1e-12)


def test_a_column_is_compared_with_the_straight_line_between_clean_ones() -> None:
    row = np.array([1.0, 5, -2, 4, 0, 3, 7, 7])
    clean = np.array([1, 4, 6])
    step = _step(np.broadcast_to(row, (1, 5, 8)), clean, np.ones((5, 8), dtype=bool))[0]
    # 5 at column 1, 0 at column 4, 7 at column 6; beyond them the nearest; of a clean one its two neighbours
    np.testing.assert_allclose(step[[0, 2, 3, 5, 7]], [1 - 5, -2 - 10 / 3, 4 - 5 / 3, 3 - 3.5, 0], rtol=1e-6)


def test_elements_that_are_gone_are_what_a_line_through_other_bands_says() -> None:
    """Four bands are affine in the first two: the third is told exactly, with no doubt; a fourth has its own part."""
    rng = np.random.default_rng(4)
    height, width = 60, 30
    base = 50 * rng.standard_normal((2, height, width))
    own = rng.standard_normal((height, width))
    true = np.stack([*base, 2 * base[0] - base[1] + 100, base[1] + 7 * own])
    gone = np.zeros((4, width), bool)
    gone[2, [3, 11]] = gone[3, 20] = True
    told = from_nearest(np.zeros_like(true), true, gone, gone)
    np.testing.assert_allclose(told[2][:, [3, 11]], true[2][:, [3, 11]], rtol=1e-4, atol=1e-2)
    assert not told[:2].any()
    assert not told[2][:, ~gone[2]].any()
    doubt = doubt_of_nearest(true, gone)
    # less unit noise, its own and that of the line's bands, by its weights' squares
    assert doubt[3, 20] == pytest.approx(49 - 1 - 1, rel=0.12)
    np.testing.assert_array_equal(doubt[2], 0)
    assert not doubt[:, ~gone.any(0)].any()


def test_deviations_are_shrunk_alike_in_any_units() -> None:
    rng = np.random.default_rng(5)
    true = np.where(rng.random((6, 50)) < 0.3, 2.0, 0) * rng.standard_normal((6, 50))
    variance = rng.uniform(0.01, 0.04, (6, 50))
    seen = true + np.sqrt(variance) * rng.standard_normal(true.shape)
    units = np.geomspace(1e-2, 1e3, 6)[:, None]
    plain, other = shrunk(seen, variance, 1), shrunk(units * seen, units**2 * variance, 1)
    np.testing.assert_allclose(other[0], units * plain[0], rtol=1e-4)
    np.testing.assert_allclose(other[1], units[:, 0] ** 2 * plain[1], rtol=1e-4)
    np.testing.assert_allclose(plain[1], (true**2).mean(1), rtol=0.3, atol=0.05)


@pytest.mark.parametrize("absolute", [False, True])
def test_bands_are_predicted_by_what_is_kept_of_them(absolute: bool) -> None:
    rng = np.random.default_rng(6)
    scores = rng.standard_normal((3, 16, 20)).astype(np.float32)
    true = np.tensordot(rng.standard_normal((4, 3)), scores, 1) + np.array([0.0, 300, -5, 1])[:, None, None]
    keep = rng.random(true.shape) < 0.6
    values = np.where(keep, true, 50).astype(np.float32)
    np.testing.assert_allclose(regress(values, keep, scores, absolute=absolute), true, atol=2e-3)


def test_a_band_that_is_mostly_gone_has_the_noise_of_what_is_left_of_it() -> None:
    rng = np.random.default_rng(7)
    values = rng.standard_normal((12, 40, 40)).astype(np.float32)
    prediction = np.zeros_like(values)
    outlier = np.zeros(values.shape, bool)
    outlier[5] = rng.random((40, 40)) < 0.85
    outlier[8] = True
    values[5] *= 3
    filled = np.where(outlier, prediction, values)
    noise = noise_of_bands(along_track(filled, prediction, ~outlier), filled - prediction, outlier)
    assert noise[5] == pytest.approx(3, rel=0.2)
    assert noise[8] == pytest.approx(1, rel=0.1)
    np.testing.assert_allclose(np.delete(noise, [5, 8]), 1, atol=0.1)


# ---- counts ----------------------------------------------------------------------------------------------------


def test_stabilised_counts_come_back_whatever_a_photon_is_worth() -> None:
    photons = np.array([0.5, 2.0, 10.0])
    rng = np.random.default_rng(8)
    for gain in (1.0, 25.0):
        for read in (0.0, 1.5):
            model = counts.Counts(np.full(3, gain), np.full(3, read * gain**2))
            drawn = rng.poisson(photons, (200, 200, 3)).T + np.sqrt(read) * rng.standard_normal((3, 200, 200))
            means = model.stabilised(gain * drawn).mean((1, 2), keepdims=True)
            np.testing.assert_allclose(model.back(means)[:, 0, 0] / gain, photons, rtol=0.05, atol=0.06)
            # of unit variance, a count's own deviation
            spread = model.spread(means, np.ones_like(means))[:, 0, 0]
            np.testing.assert_allclose(spread[1:] / gain, np.sqrt(photons + read)[1:], rtol=0.12)


def test_sums_of_counts_are_those_of_what_was_measured() -> None:
    values = np.full((3, 2, 4), 6.0)
    estimated = np.stack([np.full((2, 4), number) for number in (5.0, 8.0, 0.5)])
    valid = np.ones(values.shape, bool)
    valid[1, 0] = False
    values[1, 0] = 1000
    kept = counts.keep_totals(estimated, values, valid)
    # the third has hardly anything: it is raised, not multiplied
    np.testing.assert_allclose(kept[:, 0, 0], [6, 6, 6], rtol=1e-6)
    shaped = counts.keep_totals(np.array([[[0.0, 1.0]]]), np.array([[[3.0, 3.0]]]), np.ones((1, 1, 2), bool))
    np.testing.assert_allclose(shaped, [[[2.5, 3.5]]], rtol=1e-6)


# ---- for other rooms -------------------------------------------------------------------------------------------


def test_what_other_rooms_are_told_is_in_the_units_of_each_band() -> None:
    """Values by a band's unit, variances by its square, and these are those of the errors."""
    true = scene((30, 36), wavelength_nm=np.linspace(450, 850, 12), seed=3).read().astype(float)
    sigma = 0.04 * np.linspace(1, 2, 12)
    noisy = true + sigma[:, None, None] * np.random.default_rng(9).standard_normal(true.shape)
    noisy[4, 7, 9] = np.nan
    noisy[:, 2, 3] = np.nan
    sharp = true[3:4] + true[9:10]
    units = np.geomspace(0.2, 500, 12)
    plain, other = observe(noisy, sharp), observe(units[:, None, None] * noisy, sharp)
    some = np.isfinite(plain.values)
    assert np.isnan(plain.values[:, 2, 3]).all()
    assert some.sum() == true.size - 12
    assert plain.mask[4, 7, 9]
    assert plain.mask[:, 2, 3].all()
    assert plain.mask.mean() < 0.02
    ratio = (other.values / units[:, None, None] - plain.values)[some].std() / plain.values[some].std()
    assert ratio < 0.01
    np.testing.assert_allclose(other.variance, units**2 * plain.variance, rtol=0.05)
    error = np.nanmean((plain.values - true) ** 2, axis=(1, 2))
    assert plain.variance.sum() == pytest.approx(error.sum(), rel=0.8)
    # the sharp image has hardly any noise, which is found out: as noisy as what others say of it, .46e-3 were left
    assert error.sum() < 0.3e-3


def test_error_of_a_separation_is_of_its_noise_and_its_offsets() -> None:
    """Variances, in each band's units; a column that may be scene adds its variance, a width's share of it."""
    found, _ = separation()
    found = dataclasses.replace(found, scores=smooth(np.tensordot(found.directions.T, found.whitened, 1)))
    units = np.geomspace(0.1, 1e3, BANDS)
    maps = np.zeros((BANDS, SIDE), np.float32)
    maps[:, : SIDE // 4] = 0.5
    striped = dataclasses.replace(found, noise=dataclasses.replace(found.noise, offset_std=maps))
    plain, more = band_variance(found), band_variance(striped)
    np.testing.assert_allclose(more - plain, 0.25 / 4, rtol=1e-4)
    np.testing.assert_allclose(band_variance(in_units(striped, units)), units**2 * more, rtol=1e-4)
    # of a subspace of two, a band has its share of what two smoothed images still have of the noise
    share = (found.directions**2).sum(1)
    assert (plain <= share * 1.0001).all()
    assert (plain > 0.001 * share).all()


def test_column_medians_are_smoothed_along_columns_and_band_by_band() -> None:
    """One column a step up in one band of two levels: gone there, and nothing elsewhere."""
    level = np.broadcast_to(np.array([3.0, 8.0])[:, None, None], (2, 12, 40)).astype(np.float32)
    striped = level.copy()
    striped[1, :, 20] += 5
    seen = Observation(values=striped, valid=np.ones(striped.shape, dtype=bool))
    np.testing.assert_allclose(column_median(seen).estimate, level, atol=1e-5)


def test_a_clean_cube_is_scaled_by_the_bands_that_it_keeps() -> None:
    """A bad band of other numbers has no say in what one is."""
    values = np.random.default_rng(0).uniform(1, 2, (4, 30, 30)).astype(np.float32)
    values[2] *= 1000
    kept, bands = clean_cube(Cube(data=values, good=[True, True, False, True]))
    assert bands.tolist() == [0, 1, 3]
    np.testing.assert_allclose(kept, np.clip(values[bands] / np.quantile(values[bands], 0.999), 0, 1), rtol=1e-4)
