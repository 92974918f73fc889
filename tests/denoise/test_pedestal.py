"""A constant far beyond the contrast of a cube is none of the denoiser's business."""

from __future__ import annotations

import numpy as np
import pytest

from denoise import restore_cube
from denoise.case import Known, NoiseModel
from denoise.pedestal import MOST, noise_with, pedestal, without
from denoise.restore import restore
from hsitools import Cube
from hsitools.scenes import scene

BANDS, SIGMA = 20, 0.006


@pytest.fixture(scope="module")
def clean() -> np.ndarray:
    return np.asarray(scene((40, 36), wavelength_nm=np.linspace(450, 2350, BANDS), seed=5).read(), dtype=float)


@pytest.fixture(scope="module")
def noisy(clean: np.ndarray) -> np.ndarray:
    return np.asarray(clean + SIGMA * np.random.default_rng(1).standard_normal(clean.shape))


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def test_a_constant_comes_back_and_nothing_else_changes(clean: np.ndarray, noisy: np.ndarray) -> None:
    """Also where float32 holds none of the contrast: 10⁶ is .06 apart from the next number."""
    plain = restore(noisy, "lowrank")
    level = 10.0 ** np.linspace(2, 6, BANDS) * (-1.0) ** np.arange(BANDS)
    found = restore_cube(Cube(data=noisy + level[:, None, None]), "lowrank").estimate.read()
    assert found.dtype == np.float64
    assert plain.estimate.dtype == np.float32
    assert rms(plain.estimate - clean) < 0.45 * SIGMA
    assert rms(found - level[:, None, None] - clean) < 1.15 * rms(plain.estimate - clean)


def test_what_float32_was_rounded_to_is_the_noise_of_the_rest(clean: np.ndarray, noisy: np.ndarray) -> None:
    """10⁵ in steps of 1/128, of which the values have an error before, and the result has one after."""
    rounding = 2**-7 / np.sqrt(12)
    restored = restore((noisy + 1e5).astype(np.float32), "lowrank")
    assert restored.estimate.dtype == np.float32
    error = rms(restored.estimate.astype(float) - 1e5 - clean)
    assert error < 1.1 * np.hypot(rounding, 0.45 * np.hypot(SIGMA, rounding))
    assert restored.mask.mean() < 1e-4


def test_a_level_is_cut_to_so_many_deviations_and_no_usual_band_is_touched() -> None:
    rng = np.random.default_rng(2)
    shape = rng.standard_normal((1, 60, 60))
    values = np.concatenate([shape + 90, 2 * shape - 5e4, 0 * shape + 7e4])
    valid = np.ones(values.shape, dtype=bool)
    valid[1, :20] = False
    values[1, :20] = 1e9
    level = pedestal(values, valid)
    assert level[[0, 2]].tolist() == [0, 0]
    np.testing.assert_allclose(-5e4 - level[1], -2 * MOST, rtol=0.05)
    np.testing.assert_allclose(without(values, level)[1, 20:], 2 * shape[0, 20:] - 5e4 - level[1], atol=1e-4)


def test_an_estimated_gain_is_about_the_cube_s_zero() -> None:
    """Of values less a level, ``gain · scene + offset`` is of the scene less that level."""
    rng = np.random.default_rng(3)
    gain, offset, level = rng.uniform(0.8, 1.2, (2, 9)), rng.uniform(-1, 1, (2, 9)), np.array([-5e3, 0.0])
    none = np.zeros((2, 9))
    model = NoiseModel(
        sigma=none[:, 0], slope=none[:, 0], gain=gain, offset=offset, offset_std=none, dead=none > 0,
        outlier=np.zeros((2, 1, 9), dtype=bool),
    )  # fmt: skip
    true = rng.random((2, 9))
    seen = gain * (true - level[:, None]) + offset + level[:, None]
    told = noise_with(model, level)
    np.testing.assert_allclose(told.gain * true + told.offset, seen, atol=1e-3)


def test_known_gains_count_far_from_zero(clean: np.ndarray, noisy: np.ndarray) -> None:
    gain = np.random.default_rng(4).uniform(0.9, 1.1, (BANDS, 36))
    values = gain[:, None] * (noisy + 3e4)
    found = restore(values, "lowrank", known=Known(gain=gain, offset=np.zeros_like(gain)))
    assert rms(found.estimate - 3e4 - clean) < 0.5 * SIGMA


def test_rounding_is_no_contrast() -> None:
    """Steps of one part in ten million are float32's own at any height, and a contrast as float64."""
    values = 1e4 + 1e-3 * np.random.default_rng(5).integers(0, 2, (4, 20, 20))
    found = restore(values.astype(np.float32), "lowrank")
    assert found.provenance["note"] == "no contrast"
    np.testing.assert_array_equal(found.estimate, values.astype(np.float32))
    assert restore(values, "lowrank").provenance["path"] == "lowrank"
