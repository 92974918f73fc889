"""Wild voxels, however few and however far off, from both sides: they spoil nothing else, and what is real stays."""

from __future__ import annotations

import numpy as np
import pytest

from denoise.restore import restore
from denoise.separation.spikes import spikes
from denoise.separation.strays import strays
from denoise.separation.wild import wild
from hsitools.scenes import scene

SHAPE, NOISE = (24, 48, 44), 0.01


@pytest.fixture(scope="module")
def cube() -> tuple[np.ndarray, np.ndarray, float]:
    """Truth, noisy values, and the error of their restoration."""
    wavelength = np.linspace(420, 980, SHAPE[0])
    truth = np.asarray(scene(SHAPE[1:], seed=31, wavelength_nm=wavelength).read(), dtype=float)
    noisy = truth + np.random.default_rng(4).normal(0, NOISE, SHAPE)
    return truth, noisy, rms(restore(noisy, "lowrank").estimate - truth)


def rms(error: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(error, dtype=float))))


@pytest.mark.parametrize("height", [0.12, 1.0, -50.0, 1e30, np.finfo(np.float32).max])
@pytest.mark.parametrize("share", [0.0, 0.005])
def test_wild_voxels_spoil_no_others(cube: tuple, height: float, share: float) -> None:
    truth, noisy, error = cube
    hit = np.random.default_rng(5).random(SHAPE) < share
    hit[5, 30, 30] = True
    found = restore(np.where(hit, truth + height, noisy), "lowrank")
    assert rms((found.estimate - truth)[:, ~hit.any(0)]) < 1.05 * error
    assert found.mask[hit].mean() > (0.9 if height < 1 else 0.97)
    assert rms((found.estimate - truth)[hit]) < (3 * NOISE if height == 0.12 else NOISE)
    assert found.provenance["dead_elements"] == 0
    assert 0 < found.provenance["outliers"] < share + 0.001


@pytest.mark.parametrize("size", [1, 3])
def test_a_lamp_is_no_outlier(cube: tuple, size: int) -> None:
    """Forty standard deviations of the noise in all bands, and a thousand."""
    truth, noisy, _ = cube
    for times in (40, 1000):
        lamp = np.zeros(SHAPE)
        lamp[:, 20 : 20 + size, 25 : 25 + size] = times * NOISE
        found = restore(noisy + lamp, "lowrank")
        at = lamp > 0
        assert not found.mask[at].any()
        assert (found.estimate - truth)[at].mean() == pytest.approx(times * NOISE, rel=0.1)


@pytest.mark.parametrize("times", [8, 15, 30])
def test_a_narrow_feature_of_one_pixel_is_no_outlier(cube: tuple, times: float) -> None:
    line = np.exp(-0.5 * ((np.arange(SHAPE[0]) - 12) / 1.2) ** 2)
    values = cube[1].copy()
    values[:, 11, 13] -= times * NOISE * line
    assert not restore(values, "lowrank").mask[9:16, 11, 13].any()


def test_what_a_pixel_has_in_several_bands_is_kept_or_removed_as_a_whole(cube: tuple) -> None:
    """Ten to three hundred standard deviations of the noise, either sign, at both ends and between."""
    values = cube[1].astype(np.float32)
    boxes = [(8, 6, 0.1), (8, 6, 0.3), (8, 6, 3), (8, 6, -1), (3, 3, 0.1), (3, 3, -0.3), (10, 4, 1), (18, 6, -0.3)]
    places = [(5 + 5 * number, 8 + 19 * (number % 2)) for number in range(len(boxes))]
    for (y, x), (first, bands, height) in zip(places, boxes, strict=True):
        values[first : first + bands, y, x] += height
    # one band, and two of one cause
    values[9, 25, 35] += 0.3
    values[14:16, 35, 35] -= 1
    spike = spikes(values, np.ones(values.shape, bool), 0.3)
    for (y, x), (first, bands, _) in zip(places, boxes, strict=True):
        assert not spike[first : first + bands, y, x].any()
    assert np.flatnonzero(spike[:, 25, 35]).tolist() == [9]
    assert np.flatnonzero(spike[:, 35, 35]).tolist() in ([], [14, 15])


def test_hits_of_several_bands_are_anywhere_and_materials_in_their_bands() -> None:
    """Runs of two to four bands in forty pixels; then the same run in all of them, and one element of a column."""
    truth = np.asarray(scene((40, 44), seed=12, wavelength_nm=np.linspace(420, 980, 32)).read(), dtype=float)
    rng = np.random.default_rng(8)
    noisy = truth + NOISE * rng.standard_normal(truth.shape)
    y, x = np.divmod(rng.permutation(40 * 44)[:40], 44)
    first, length = rng.integers(0, 28, 40), rng.integers(2, 5, 40)
    height = NOISE * rng.uniform(15, 60, (32, 40)) * rng.choice([-1, 1], 40)

    def found(first: np.ndarray, column: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        place = np.arange(32)[:, None]
        struck = (place >= first) & (place < first + length)
        at, values = np.zeros(truth.shape, bool), noisy.copy()
        at[:, y, column] = struck
        values[:, y, column] += np.where(struck, height, 0)
        return at, spikes(values, np.ones(values.shape, bool), 0.3)

    at, hit = found(first, x)
    assert hit[at].mean() > 0.9
    assert not (hit & ~at).any()
    for places, columns in ((np.full(40, 14), x), (first // 14 * 14, np.full(40, 9))):
        at, hit = found(places, columns)
        long = at & (at.sum(0) > 2)
        assert hit[long].mean() < 0.1


def test_hits_may_be_more_often_where_it_is_dark_and_five_materials_are_none() -> None:
    """Runs of three of sixty bands share some with 1.6 times as many others as anywhere; and with a fifth of all."""
    rng = np.random.default_rng(0)
    count, place = 240, np.arange(60)[:, None]
    dark = np.where(rng.random(count) < 0.65, rng.integers(0, 20, count), rng.integers(0, 58, count))
    material = 12 * rng.integers(0, 5, count)

    def found(first: np.ndarray) -> int:
        return int(strays((place >= first) & (place < first + 3), np.arange(count), count).sum())

    assert found(dark) == count
    assert found(material) == 0


@pytest.mark.parametrize(("bands", "noise"), [(3, 5e-4), (4, 5e-4), (5, 2e-3), (8, 2e-4), (8, 1e-2)])
def test_few_bands_are_no_worse_than_before(bands: int, noise: float) -> None:
    """Nearly without noise as well: no pixel of another material is a spike, and hardly any fine texture is noise; of
    three bands one may have texture that the others have not.
    """
    truth = np.asarray(scene((40, 44), seed=11, wavelength_nm=np.linspace(420, 980, bands)).read(), dtype=float)
    values = truth + noise * np.random.default_rng(0).standard_normal(truth.shape)
    found = restore(values, "lowrank")
    assert rms(found.estimate - truth) < (1.2 if bands == 3 else 0.8) * noise
    assert found.mask.mean() < 1e-4


def test_one_band_alone_keeps_what_neighbours_share() -> None:
    values = np.random.default_rng(6).standard_normal((1, 20, 20))
    values[0, 3:5, 7:9], values[0, 15, 2] = 500, 1e6
    hit = wild(values, np.ones(values.shape, bool))
    assert np.argwhere(hit).tolist() == [[0, 15, 2]]
    assert not wild(values, ~hit).any()


def test_counts_with_a_wild_one_are_counts() -> None:
    mean = np.linspace(0.5, 4, 12)[:, None, None] * np.linspace(0.5, 1.5, 40)[:, None] * np.ones(40)
    seen = np.random.default_rng(7).poisson(mean).astype(np.float32)
    seen[4, 9, 9] = 1e7
    found = restore(seen, "lowrank")
    assert "photon_gain" in found.provenance
    assert found.mask.sum() == found.mask[4, 9, 9] == 1
    assert rms(found.estimate - mean) < 0.5 * rms(np.sqrt(mean))
