"""What stands out of a residual: features, windows and groups of known strength; what is put back of them, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2, norm

from denoise.separation import scan
from denoise.separation.rare import BLOCK, CHANCE, FURTHER, _direction, _group
from denoise.separation.recurring import FALSE_AMONG, LEAST, outstanding
from denoise.separation.scan import features, groups, heavy_tailed, strength, taken_apart, threshold, white

BANDS, SIDE = 64, 48
ATOMS = features(np.ones(BANDS))


def noise(seed=0, bands=BANDS, side=SIDE):
    return np.random.default_rng(seed).standard_normal((bands, side, side)).astype(np.float32)


# ---- features --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1.0, 1.4, 3.0, 5.5, 10.0, 16.0])
def test_some_feature_is_like_any_line_of_a_spectrum(width):
    """A Gaussian line of any place, of the widths that features span, takes its share of the spectrum there."""
    rng = np.random.default_rng(1)
    spectrum = rng.uniform(1, 5, BANDS)
    atoms = features(spectrum)
    np.testing.assert_allclose(np.linalg.norm(atoms, axis=1), 1, rtol=1e-6)
    for centre in rng.uniform(0, BANDS - 1, 20):
        line = np.exp(-0.5 * ((np.arange(BANDS) - centre) / width) ** 2) * spectrum
        assert (atoms @ line).max() > 0.9 * np.linalg.norm(line)
    # no wider and no narrower than they are said to be
    assert np.abs(features(np.ones(BANDS))[:, 20]).max() < 1
    spectrum[30] = 0
    assert not features(spectrum)[:, 30].any()


# ---- strength --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("atom", [3, 70, -1])
def test_a_feature_is_as_strong_as_it_is_in_the_noise_of_pixels(sign, atom):
    """Noise of two deviations: half as strong; less than unit noise is no surprise, and makes nothing stronger."""
    for level, times in ((1.0, 9.0), (2.0, 4.5), (0.5, 9.0)):
        rest = level * noise()
        rest[:, 20, 31] = sign * 9 * ATOMS[atom]
        assert strength(rest, ATOMS, 0.0)[20, 31] == pytest.approx(times, rel=0.08)


@pytest.mark.parametrize("blur", [1.0, 2.0, 4.0])
def test_a_wide_feature_is_stronger_by_what_its_blur_takes_of_the_noise(blur):
    rest = noise(2, 20, 120)
    atom = features(np.ones(20))[10]
    rest[:, 45:75, 45:75] += 1.5 * atom[:, None, None]
    assert strength(rest, atom[None], blur)[60, 60] == pytest.approx(1.5 / white(blur), rel=0.25)


@pytest.mark.parametrize(("start", "length"), [(0, 8), (6, 8), (16, 16), (56, 8), (32, 32), (40, 16)])
def test_energy_of_a_window_stands_out_as_its_chance_is_small(start, length):
    """Of whatever signs: as many normal deviates as the χ² of so many bands has."""
    rest = noise(3)
    signs = np.random.default_rng(4).choice([-1, 1], length)
    rest[:, 20, 31] = 0
    rest[start : start + length, 20, 31] = signs * np.sqrt(2 + 16 / np.sqrt(length))
    deviate = norm.isf(chi2.sf(2 * length + 16 * np.sqrt(length), length))
    # no atoms: those that there are do not see it
    blind = np.zeros((1, BANDS), np.float32)
    assert strength(rest, blind, 0.0)[20, 31] == pytest.approx(deviate, rel=0.06)


def test_pixels_apart_are_told_apart():
    """Of more pixels than are gone through at a time, each has its own strength."""
    atom = features(np.ones(6))[2]
    amplitude = np.random.default_rng(5).uniform(5, 9, (40, 60)).astype(np.float32)
    found = strength(amplitude * atom[:, None, None], atom[None], 0.0)
    np.testing.assert_allclose(found / found.max(), amplitude / amplitude.max(), rtol=1e-4)


def test_few_bands_have_no_windows():
    assert np.isfinite(strength(noise(bands=6), np.eye(6, dtype=np.float32), 1.0)).all()


# ---- chance ----------------------------------------------------------------------------------------------------


def test_the_threshold_is_the_quantile_of_a_law_of_extremes():
    drawn = np.random.default_rng(6).gumbel(4.0, 0.5, 10**6)
    assert threshold(drawn, 0) == pytest.approx(4 - 0.5 * np.log(-np.log(1 - scan.FALSE)), rel=0.005)


def test_heavy_tails_are_told_of_single_voxels():
    rest = noise(7)
    assert not heavy_tailed(rest)
    # bands of other noise, and voxels that were left out, are no tails
    assert not heavy_tailed(rest * np.geomspace(0.1, 10, BANDS)[:, None, None])
    rest[:, :20] = 0
    assert not heavy_tailed(rest)
    assert heavy_tailed(np.random.default_rng(8).laplace(size=(BANDS, SIDE, SIDE)))
    assert heavy_tailed(np.where(np.random.default_rng(8).random(rest.shape) < 1e-3, 8, noise(7)))


def test_a_residual_taken_apart_has_its_voxels_and_no_spectra():
    image = np.random.default_rng(9).standard_normal((SIDE, SIDE))
    apart = taken_apart(np.stack([image] * 6))
    for band in apart:
        np.testing.assert_array_equal(np.sort(band.ravel()), np.sort(image.ravel()))
        # neighbours stay neighbours
        assert np.isin(np.diff(band, axis=1)[:, :40], np.diff(np.pad(image, ((0, 0), (0, 1)), "wrap"), axis=1)).all()
    assert np.abs(np.corrcoef(apart.reshape(6, -1)) - np.eye(6)).max() < 0.2


# ---- groups ----------------------------------------------------------------------------------------------------


def test_groups_are_connected_pixels_the_strongest_first():
    rest = noise(10)
    for y, x, amplitude in ((10, 10, 12), (10, 11, 9), (30, 5, 18), (40, 40, 10), (41, 41, 10)):
        rest[:, y, x] = amplitude * ATOMS[-4]
    found = [sorted(map(tuple, np.argwhere(group).tolist())) for group in groups(rest, ATOMS, 0.0, 7.0)]
    assert found[:2] == [[(30, 5)], [(10, 10), (10, 11)]]
    assert sorted(found[2:]) == [[(40, 40)], [(41, 41)]]
    assert not list(groups(noise(10), ATOMS, 0.0, 7.0))


def test_wild_voxels_are_no_groups_of_a_residual_that_is_full_of_them():
    """Chance is then what a residual of the same voxels shows without spectra: a feature must be beyond that."""
    rest = np.where(np.random.default_rng(11).random((BANDS, SIDE, SIDE)) < 2e-3, 9, noise(11)).astype(np.float32)
    assert len(list(groups(rest, ATOMS, 0.0, 5.0))) < 10
    rest[:, 20, 31] = 40 * ATOMS[60]
    assert next(groups(rest, ATOMS, 0.0, 5.0)).nonzero() == (20, 31)


def test_scores_stand_out_by_the_rate_of_false_ones():
    """The most that Benjamini and Hochberg take, of chance that is normal or that of the other side, one by one."""
    for seed in range(6):
        rng = np.random.default_rng(seed)
        scores = 2.5 * (rng.standard_t(4, 4000) if seed % 2 else rng.standard_normal(4000))
        scores[: 10 * seed] += 12
        unit = scores / (1.4826 * np.median(np.abs(scores)))
        taken = np.zeros(len(scores), bool)
        for place in np.argsort(-unit)[: (unit > LEAST).sum()]:
            limit = unit[place]
            chance = max(len(unit) * norm.sf(limit), (unit < -limit).sum())
            if chance <= FALSE_AMONG * (unit >= limit).sum():
                taken = unit >= limit
        np.testing.assert_array_equal(outstanding(scores), taken)
    assert taken.any()


# ---- what is put back ------------------------------------------------------------------------------------------


def test_a_spectrum_of_some_features_is_told_by_them():
    """Of unit norm, and of each band's noise as much is left as the features take in."""
    spectrum = 9 * ATOMS[20] + 8 * ATOMS[45]
    direction, share = _direction(spectrum, ATOMS)
    np.testing.assert_allclose(direction, spectrum / np.linalg.norm(spectrum), atol=0.02)
    assert ((share >= -1e-6) & (share <= 1)).all()
    one, share = _direction(7 * ATOMS[20], ATOMS)
    np.testing.assert_allclose(one, ATOMS[20], atol=1e-4)
    np.testing.assert_allclose(share, ATOMS[20] ** 2, atol=1e-5)


def test_of_chance_nothing_is_kept():
    quiet = np.full(BANDS, 0.9) * np.random.default_rng(12).choice([-1, 1], BANDS)
    direction, share = _direction(quiet, np.zeros((1, BANDS)))
    assert not direction.any()
    assert not share.any()
    assert not _direction(0.9 * FURTHER * ATOMS[20], ATOMS)[0].any()


def test_what_no_feature_explains_is_kept_block_by_block():
    """By one less chance's part of its energy: of 36 a half, of 180 nine tenths, of 18 nothing."""
    energy = np.array([36.0, 180, 18, 0, 360]) * CHANCE / 1.5
    signs = np.random.default_rng(13).choice([-1, 1], (5, BLOCK))
    spectrum = (signs * np.sqrt(energy / BLOCK)[:, None]).ravel()
    kept = np.repeat([0.5, 0.9, 0, 0, 0.95], BLOCK)
    direction, share = _direction(spectrum, np.zeros((1, len(spectrum))))
    expected = kept * spectrum
    np.testing.assert_allclose(direction, expected / np.linalg.norm(expected), atol=1e-6)
    np.testing.assert_allclose(share, kept**2, atol=1e-6)


@pytest.mark.parametrize("amplitude", [3.0, 6.0])
def test_a_plume_is_outlined_from_its_core(amplitude):
    """All its pixels and few others, by the scores of its spectrum."""
    y, x = np.mgrid[:SIDE, :SIDE]
    plume = (y - 24) ** 2 / 2 + (x - 20) ** 2 < 40
    core = (y - 24) ** 2 + (x - 20) ** 2 < 5
    rest = noise(14) + amplitude * ATOMS[30][:, None, None] * plume
    where, direction, _ = _group(rest, np.ones((SIDE, SIDE)), core, ATOMS, 4.0)
    assert direction @ ATOMS[30] > 0.95
    assert (where & plume).sum() > 0.9 * plume.sum()
    assert (where & ~plume).sum() < 0.2 * plume.sum()
    # a twin that is not connected is another group
    both = plume | np.roll(plume, 22, 1)
    rest = noise(14) + amplitude * ATOMS[30][:, None, None] * both
    where, _, _ = _group(rest, np.ones((SIDE, SIDE)), core, ATOMS, 4.0)
    assert not where[:, 34:].any()


def test_a_core_of_strong_pixels_is_outlined_sharply():
    """A blurred pixel has a wide core: it alone has the spectrum."""
    rest = noise(15)
    rest[:, 24, 20] += 30 * ATOMS[30]
    rest[:, 24, 21] += 30 * ATOMS[30]
    y, x = np.mgrid[:SIDE, :SIDE]
    core = (y - 24) ** 2 + (x - 20) ** 2 < 4
    where, _, _ = _group(rest, np.ones((SIDE, SIDE)), core, ATOMS, 2.0)
    assert np.argwhere(where).tolist() == [[24, 20], [24, 21]]
    # scores are in the noise of their pixels: those of noisy ones are none
    rest[:, 24, 20] += 90 * ATOMS[30]
    spread = np.where(x > 20, 20.0, 1)
    where, _, _ = _group(rest, spread, core, ATOMS, 2.0)
    assert np.argwhere(where).tolist() == [[24, 20]]


def test_of_a_faint_object_the_pixel_in_its_middle_may_show_nothing():
    """Eight of nine pixels have the line; blurred it stands out in the ninth most of all."""
    rng = np.random.default_rng(5)
    rest = 0.5 * rng.standard_normal((len(ATOMS[0]), SIDE, SIDE)).astype(np.float32)
    box = np.zeros((SIDE, SIDE), bool)
    box[19:22, 19:22] = True
    core = np.zeros((SIDE, SIDE), bool)
    core[20, 20] = True
    rest += 3 * ATOMS[12][:, None, None] * (box & ~core)
    where, direction, _ = _group(rest, np.ones((SIDE, SIDE)), core, ATOMS, 1.0)
    assert where[box].mean() > 0.8
    assert where[~box].mean() < 0.01
    assert abs(direction @ ATOMS[12]) > 0.9
