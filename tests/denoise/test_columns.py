"""Detector elements: stripes that are the scene's neighbours' business, and how sure their offsets are."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from denoise.case import Known
from denoise.comparison.simulate import simulate
from denoise.restore import restore
from denoise.separation.columns import column_response, column_ripple, shrunk, striped_columns
from hsitools.scenes import scene

WAVELENGTH = np.linspace(430, 860, 40)


@pytest.fixture(scope="module")
def clean() -> np.ndarray:
    values = scene((64, 72), wavelength_nm=WAVELENGTH, seed=77).read()
    return np.asarray(np.clip(values / np.percentile(values, 99.9), 0, 1), dtype=np.float32)


def psnr(estimate: np.ndarray, clean: np.ndarray) -> float:
    return float(np.mean(10 * np.log10(1 / np.mean((estimate - clean) ** 2, axis=(1, 2)))))


@pytest.mark.parametrize("clusters", [0, 4])
def test_one_sided_stripes_go_as_if_they_were_known(clean: np.ndarray, clusters: int) -> None:
    """The mean of |N(0, σ)| over bands has the spectrum of a scene: only clean columns tell it."""
    noisy, truth = simulate(clean, "finch", seed=5, clusters=clusters)
    known = Known(gain=truth.gain, offset=truth.offset, dead=truth.dead)
    blind, told = (restore(noisy, "lowrank", known=item).estimate for item in (None, known))
    assert psnr(noisy, clean) < 25
    # clusters of bad pixels pass in part for stripes where stripes are not told
    assert psnr(blind, clean) > psnr(told, clean) - (2.2 if clusters else 1.5)


def test_columns_that_are_striped_in_most_bands() -> None:
    rng = np.random.default_rng(0)
    bands, height, width = 30, 50, 40
    sigma = rng.uniform(0.5, 2, bands)
    noise = sigma[:, None, None] * rng.standard_normal((bands, height, width))
    keep = np.ones(noise.shape, dtype=bool)
    assert not striped_columns(noise, keep, sigma).any()
    offset = np.zeros((bands, width))
    columns = [3, 4, 17, 39]
    offset[:, columns] = np.abs(rng.standard_normal((bands, 4))) * sigma[:, None]
    assert np.flatnonzero(striped_columns(noise + offset[:, None], keep, sigma)).tolist() == columns
    # a few bands of a column are another matter, and where all columns are striped none is clean
    offset[10:] = 0
    assert not striped_columns(noise + offset[:, None], keep, sigma).any()
    every = 2 * sigma[:, None] * rng.standard_normal((bands, width))
    assert not striped_columns(noise + every[:, None], keep, sigma).any()


def test_few_deviations_are_taken_whole_and_the_rest_left() -> None:
    rng = np.random.default_rng(4)
    true = np.zeros((20, 100))
    true[:, ::10] = rng.choice([-8.0, 8.0], (20, 10))
    found, power = shrunk(true + rng.standard_normal(true.shape), np.ones_like(true), 1)
    # one Gaussian for all would leave the rest at .86 of chance, and take .86 of what deviates
    assert np.sqrt((found[true == 0] ** 2).mean()) < 0.3
    np.testing.assert_allclose((found * np.sign(true))[true != 0].mean(), 8, atol=0.25)
    np.testing.assert_allclose(power.mean(), 6.4, atol=0.5)


def test_deviations_of_all_elements_are_taken() -> None:
    rng = np.random.default_rng(5)
    true = 3 * rng.standard_normal((20, 100))
    found, _ = shrunk(true + rng.standard_normal(true.shape), np.ones_like(true), None)
    assert np.sqrt(((found - true) ** 2).mean()) < 1


def test_gain_and_offset_make_of_the_scene_what_was_seen() -> None:
    """Also of a scene far from zero, where an offset is mostly the gain's."""
    rng = np.random.default_rng(12)
    true = 5 + rng.random((3, 200, 60))
    gain, offset = rng.uniform(0.8, 1.2, (3, 60)), rng.uniform(-0.3, 0.3, (3, 60))
    values = gain[:, None] * true + offset[:, None] + 0.001 * rng.standard_normal(true.shape)
    seen = column_response(values, true, np.ones(true.shape, bool), np.full(3, 0.001))
    np.testing.assert_allclose(seen[0], gain, atol=0.01)
    np.testing.assert_allclose(seen[1], offset, atol=0.05)


def test_what_neighbours_share_is_scene() -> None:
    rng = np.random.default_rng(6)
    wide = 2 * np.sin(np.arange(100) / 8 + rng.uniform(0, 6, (20, 1)))
    found, power = shrunk(wide + rng.standard_normal((20, 100)), np.ones((20, 100)), 1)
    assert (power == 0).mean() > 0.9
    assert (found[power == 0] == 0).all()
    alone = rng.permuted(wide, axis=1)
    assert (shrunk(alone + rng.standard_normal((20, 100)), np.ones((20, 100)), 1)[1] > 0).all()


def test_a_slope_across_columns_is_scene_to_its_ends() -> None:
    """A slope is largest at the outer columns, which have one neighbour each: it stands out of none of them there.

    Of a column that does stand out by itself, as much is found as without a slope.
    """
    rng = np.random.default_rng(16)
    slope = np.linspace(-3, 3, 40) + np.zeros((20, 40))
    found, power = shrunk(slope + 0.3 * rng.standard_normal(slope.shape), np.full_like(slope, 0.09), 1)
    assert not found.any()
    assert not power.any()
    spread = np.array([0.0, 0.5, 8.0])[:, None] * rng.standard_normal((3, 400))
    power = shrunk(spread + rng.standard_normal(spread.shape), np.ones_like(spread), 1)[1]
    np.testing.assert_allclose(power[[0, 2]], [0, 64], rtol=0.2)


def test_a_cube_that_is_brighter_on_one_side_gets_no_offsets() -> None:
    """Light falls off across columns, as a wide view has it; taken for offsets, it was lost at the outer columns."""
    clean = np.asarray(scene((40, 40), wavelength_nm=np.linspace(450, 2350, 30), seed=5).read(), dtype=float)
    sigma = clean.mean() / 250
    noisy = clean + sigma * np.random.default_rng(1).standard_normal(clean.shape)
    restored = restore(noisy, "lowrank")
    assert restored.noise is not None
    assert np.abs(restored.noise.offset).max() < 0.1 * sigma
    error = np.sqrt(np.mean((restored.estimate - clean) ** 2, axis=(0, 1))) / sigma
    assert error[[0, -1]].max() < 0.7


def test_scene_of_clean_columns_is_left_alone() -> None:
    rng = np.random.default_rng(1)
    scores = rng.standard_normal((3, 60, 30)).astype(np.float32) + np.linspace(0, 9, 30, dtype=np.float32)
    striped = np.zeros(30, dtype=bool)
    striped[[0, 7, 8, 29]] = True
    offset = np.where(striped, 5.0, 0).astype(np.float32)
    directions = np.linalg.qr(rng.standard_normal((20, 3)))[0].astype(np.float32)
    found, left = column_ripple(
        scores + offset, directions, np.ones(20), striped, np.zeros((3, 30)), np.ones((60, 30), bool)
    )
    assert (found[:, ~striped] == 0).all()
    assert (left[:, ~striped] == 0).all()
    inside = [7, 8]
    np.testing.assert_allclose(found[:, inside], 5, atol=0.8)
    assert (left[:, striped] > 0).all()


@pytest.mark.parametrize("step", [0.3, 3.0])
def test_offsets_of_striped_columns_are_no_less_sure_than_stripes_are_weak(step: float) -> None:
    """However strong the scene is; and no surer by looking again at what is left."""
    rng = np.random.default_rng(3)
    directions = np.linalg.qr(rng.standard_normal((40, 4)))[0]
    striped = np.zeros(400, dtype=bool)
    striped[2::4] = True
    offset = np.where(striped, 2 * rng.standard_normal((4, 400)), 0)
    # clean columns differ from the mean of those beside them by a deviation of `step`
    columns = step * np.sqrt(2 / 3) * rng.standard_normal((4, 400))
    scores = (columns + offset)[:, None] + 1e-3 * rng.standard_normal((4, 30, 400))
    before, power, seen = np.zeros((4, 400)), np.full(40, 4 * striped.mean()), np.ones((30, 400), bool)
    for _ in range(3):
        found, variance = column_ripple(scores, directions, power, striped, before, seen)
        scores, before = scores - found[:, None], before + found
        # a Gaussian of variance 4 seen under another of the step's
        np.testing.assert_allclose(variance[:, striped].mean(), 4 * step**2 / (4 + step**2), rtol=0.35)


def walk_and_stripes(step: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores of a scene that walks over the columns, offsets of unit power on it, and directions."""
    rng = np.random.default_rng(22)
    directions = np.linalg.qr(rng.standard_normal((40, 4)))[0]
    scene = np.cumsum(step * rng.standard_normal((4, 1, 100)), axis=2)
    offset = rng.standard_normal((4, 100))
    return scene + rng.standard_normal((4, 60, 100)) + offset[:, None], offset, directions


@pytest.mark.parametrize("step", [0.3, 1, 3])
def test_offsets_and_a_walking_scene_are_told_apart_as_well_as_can_be(step: float) -> None:
    """Taking all columns together, and again: what is estimated already changes nothing."""
    scores, offset, directions = walk_and_stripes(step)
    none, seen = np.zeros(100, dtype=bool), np.ones((60, 100), dtype=bool)
    found, variance = column_ripple(scores, directions, np.ones(40), none, np.zeros((4, 100)), seen)
    error = found - offset
    # the mean over columns shows nowhere
    error -= error.mean(1, keepdims=True)
    # a column's own noise is apart: that of a median of 60
    np.testing.assert_allclose((error**2).mean(), variance.mean() + np.pi / 2 / 60, rtol=0.25)
    assert (error**2).mean() < {0.3: 0.25, 1: 0.55, 3: 0.95}[step]
    again, same = column_ripple(scores - found[:, None], directions, np.ones(40), none, found, seen)
    np.testing.assert_allclose(again, 0, atol=1e-4)
    np.testing.assert_allclose(same, variance, rtol=1e-3)


def test_offsets_say_how_sure_they_are(clean: np.ndarray) -> None:
    noisy, truth = simulate(clean, "g", seed=2)
    noise = restore(noisy, "lowrank").noise
    assert noise is not None
    live = ~truth.dead
    error = (noise.offset - truth.offset + (noise.gain - truth.gain) * clean.mean(1))[live]
    assert 0.4 < np.sqrt((error**2).mean()) / np.sqrt((noise.offset_std[live] ** 2).mean()) < 2
    known = restore(noisy, "lowrank", known=Known(gain=truth.gain, offset=truth.offset, dead=truth.dead)).noise
    assert known is not None
    assert (known.offset_std == 0).all()


def test_removed_stripes_leave_as_much_doubt_as_error(clean: np.ndarray) -> None:
    noisy, truth = simulate(clean, "finch", seed=5)
    found = restore(noisy, "lowrank")
    assert found.noise is not None
    striped = truth.offset.any(0)
    error = (found.estimate - clean).mean(1)[:, striped]
    std = found.noise.offset_std
    assert (std[:, ~striped] == 0).mean() > 0.9
    assert 0.5 < np.sqrt((error**2).mean()) / np.sqrt((std[:, striped] ** 2).mean()) < 2


def test_what_is_said_of_offsets_is_in_the_cube_s_units(clean: np.ndarray) -> None:
    offset = np.random.default_rng(3).normal(0, 0.05, (len(clean), 1, clean.shape[2]))
    noisy = clean + offset + np.random.default_rng(4).normal(0, 0.01, clean.shape)
    said = [restore((factor * noisy).astype(np.float32), "lowrank").provenance for factor in (1, 1e4)]
    assert 0.03 < said[0]["offset_rms"] < 0.06
    assert said[1]["offset_rms"] == pytest.approx(1e4 * said[0]["offset_rms"], rel=0.01)
    assert said[1]["gain_rms"] == pytest.approx(said[0]["gain_rms"], abs=1e-3)


def test_bands_that_are_dead_in_the_same_column() -> None:
    """They have a direction of their own, which must not go on predicting their values."""
    noise, elements = 0.02, [(7, 20), (11, 50), (12, 50), (28, 20), (50, 50)]
    values = scene((48, 56), wavelength_nm=np.linspace(420, 2400, 60), seed=5).read()
    clean = np.clip(values / np.percentile(values, 99.9), 0, 1)
    rng = np.random.default_rng(8)
    noisy = clean * (1 + 0.02 * rng.standard_normal((60, 1, 56))) + noise * rng.standard_normal(clean.shape)
    for band, column in elements:
        noisy[band, :, column] = 0
    found = restore(noisy, "lowrank")
    assert found.noise is not None
    assert [tuple(item) for item in np.argwhere(found.noise.dead)] == elements
    for band, column in elements:
        assert np.sqrt(np.mean(np.square(found.estimate - clean)[band, :, column])) < 0.7 * noise


@pytest.mark.parametrize("seed", [31, 32, 33])
def test_elements_that_are_dead_side_by_side_know_their_doubt(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = np.asarray(scene((40, 44), wavelength_nm=np.linspace(420, 980, 24), seed=seed).read(), dtype=float)
    noisy = truth + rng.normal(0, 0.01, truth.shape)
    dead = [(slice(7, 13), 9), (slice(14, 18), 21), (slice(5, 15), 33)]
    for bands, column in dead:
        noisy[bands, :, column] = 0
    found = restore(noisy, "diffusion", samples=2)
    assert found.std is not None
    ratios = np.concatenate(
        [((found.estimate - truth) / found.std)[bands, :, column].ravel() for bands, column in dead]
    )
    assert 0.7 < np.sqrt(np.mean(ratios**2)) < 1.4


def test_what_fills_a_column_says_nothing_of_its_offset() -> None:
    """Of striped columns two thirds of the rows are filled, and of a clean one beside them all but a few."""
    rng = np.random.default_rng(1)
    scores = rng.standard_normal((3, 60, 30)).astype(np.float32)
    striped, seen = np.zeros(30, dtype=bool), np.ones((60, 30), dtype=bool)
    striped[[4, 15, 22]] = True
    scores[:, :, striped] += 5
    seen[20:, 14:24], seen[5:, 16] = False, False
    scores[:, ~seen] = 0
    directions = np.linalg.qr(rng.standard_normal((20, 3)))[0].astype(np.float32)
    found, _ = column_ripple(scores, directions, np.ones(20), striped, np.zeros((3, 30)), seen)
    np.testing.assert_allclose(found[:, striped], 5, atol=1.2)
    # as a walk with stripes, too
    wiener, _ = column_ripple(scores, directions, np.ones(20), ~seen[0], np.zeros((3, 30)), seen)
    step = np.diff(wiener, axis=1)
    for column in (4, 22):
        assert (step[:, column - 1] > 2).all()
    seen[:] = False
    none, _ = column_ripple(scores, directions, np.ones(20), striped, np.zeros((3, 30)), seen)
    assert not none.any()


def test_a_column_of_which_a_part_is_missing_is_striped_by_the_rest() -> None:
    rng = np.random.default_rng(0)
    difference, keep = rng.standard_normal((30, 48, 40)), np.ones((30, 48, 40), dtype=bool)
    offset = np.zeros((30, 40))
    offset[:, [3, 17]] = 1.5 * rng.choice([-1, 1], (30, 2))
    keep[:, 18:, 10:] = False
    difference = np.where(keep, difference + offset[:, None], 0)
    assert np.flatnonzero(striped_columns(difference, keep, np.ones(30))).tolist() == [3, 17]


def test_dead_elements_make_no_stripes_of_their_columns() -> None:
    """The first scene still holds them, in all bands of their columns, which then seemed to have offsets."""
    rng = np.random.default_rng(12)
    bands, height, width = 20, 32, 40
    field = gaussian_filter(rng.standard_normal((6, height, width)), (0, 1, 1))
    true = 5 + np.tensordot(rng.uniform(0, 1, (bands, 6)), field / field.std(), 1)
    sigma = 0.25
    dead = rng.random((bands, width)) < 0.03
    noisy = np.where(dead[:, None], 0, true + sigma * rng.standard_normal(true.shape)).astype(np.float32)
    found = restore(noisy, "lowrank")
    assert found.noise is not None
    np.testing.assert_array_equal(found.noise.outlier.all(1), dead)
    assert np.sqrt(np.mean(found.noise.offset**2)) < 0.1 * sigma
    alive = np.broadcast_to(~dead[:, None], true.shape)
    columns = np.where(alive, found.estimate - true, 0).mean(1)
    # of the noise a column's mean has a part of 1/√height; stripes of their own were .7 of it
    assert np.sqrt(np.mean(columns**2)) < 1.2 * sigma / np.sqrt(height)
