"""One pixel of another material in a cube of few bands: it stays, is named, and changes nothing elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from denoise.restore import restore
from denoise.separation.columns import column_response
from denoise.separation.rare import FEW_PIXELS, TELLING, _unlike
from hsitools.scenes import scene

SIDE, SIGMA = 40, 0.02


def with_point(bands: int, height: float, seed: int) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """A procedural scene with a feature of three bands in one pixel, the same under noise, and the pixel."""
    rng = np.random.default_rng(seed)
    true = np.asarray(scene((SIDE, SIDE), wavelength_nm=np.linspace(450, 900, bands), seed=bands + 31).read(), float)
    row, column = (int(item) for item in rng.integers(2, SIDE - 2, 2))
    true[bands // 2 - 1 : bands // 2 + 2, row, column] += height * np.array([0.66, 1, 0.66])
    return true, true + SIGMA * rng.standard_normal(true.shape), (row, column)


@pytest.mark.parametrize(("bands", "seed"), [(7, 38), (10, 41), (13, 44), (13, 46)])
def test_a_point_stays_and_harms_nothing(bands: int, seed: int) -> None:
    true, noisy, (row, column) = with_point(bands, 0.3, seed)
    found = restore(noisy.astype(np.float32), "lowrank")
    error, was = found.estimate - true, noisy - true
    assert found.structure is not None
    assert found.structure[row, column]
    assert found.structure.sum() <= 2
    # one pixel's feature is put back but for what is chance in it: without, it was 3 to 9 times as far off as measured
    own, had = (float(np.linalg.norm(item[:, row, column])) for item in (error, was))
    assert own < 2 * had
    assert np.sqrt(np.mean(error**2)) < 0.4 * np.sqrt(np.mean(was**2))


def test_what_the_scene_missed_of_one_pixel_is_no_gain_of_its_column() -> None:
    """Columns of hardly any contrast, and one pixel of which two thirds were missed; then gains of all elements."""
    shape = (12, 40, 30)
    keep, sigma = np.ones(shape, dtype=bool), np.ones(12)
    point = np.zeros(shape)
    point[4:7, 11, 9] = 8
    plain = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        level, rest = 5 + 0.3 * rng.standard_normal(shape), rng.standard_normal(shape)
        gain, _, _ = column_response(level + 1.5 * point + rest, level + 0.5 * point, keep, sigma)
        plain += bool((gain == 1).all())
    # halves agree by chance once in forty times
    assert plain >= 7
    true = 1 + 0.2 * rng.standard_normal((12, 30))
    bright = level + 4 * rng.standard_normal(shape)
    gain, _, _ = column_response(true[:, None] * bright + rest, bright, keep, sigma)
    assert (gain - true).std() < 0.3 * 0.2


def test_only_what_noise_surely_is_not_comes_back_as_measured() -> None:
    rng = np.random.default_rng(1)
    rest = rng.standard_normal((9, 60, 60))
    level = np.ones_like(rest)
    assert not _unlike(rest, level).any()
    rest[3:6, 7, 8] += 9
    # one voxel alone may be an impulse, and noise of nine times the variance is as it should be
    rest[4, 20, 20] += 50
    rest[:, 30:], level[:, 30:] = 3 * rest[:, 30:], 9
    assert np.argwhere(_unlike(rest, level)).tolist() == [[7, 8]]
    assert not _unlike(np.concatenate([rest, rest]), np.concatenate([level, level])).any()
    assert 2 * len(rest) >= TELLING
    # of many pixels it is the noise that was told wrong
    many = rng.random(rest.shape[1:]) < 2 * FEW_PIXELS
    assert not _unlike(np.where(many, 9 * rest, rest), level).any()
