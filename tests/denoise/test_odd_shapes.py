"""Cubes of odd shapes: one row or column, few bands or pixels, bands and pixels without a value, hot elements."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from denoise.case import Observation
from denoise.latent.certainty import missed, pattern
from denoise.restore import restore
from denoise.separation import scan, stuck
from denoise.separation.estimate import separate
from hsitools.errors import InputError
from hsitools.estimation import full_scale

BANDS, SIGMA = 24, 0.1


def scene(bands: int, height: int, width: int) -> np.ndarray:
    """Two smooth spectra in shares that vary from pixel to pixel."""
    y, x = np.mgrid[:height, :width]
    wave = np.linspace(0, 3, bands)[:, None, None]
    return (2 + np.sin(y / 5 + x / 7)) * (1 + 0.3 * wave) + 0.5 * np.cos(y / 3 - x / 4) * np.sin(wave)


def noisy(true: np.ndarray, sigma: float = SIGMA) -> np.ndarray:
    return np.asarray(true + sigma * np.random.default_rng(1).standard_normal(true.shape), dtype=np.float32)


@pytest.mark.parametrize("sigma", [SIGMA, 1e-3])
@pytest.mark.parametrize("shape", [(BANDS, 90, 1), (BANDS, 1, 90), (40, 100, 1), (BANDS, 2, 60)])
def test_a_line_of_pixels_is_cleaned_by_its_bands(shape: tuple[int, int, int], sigma: float) -> None:
    true = scene(*shape)
    found = restore(noisy(true, sigma), "lowrank")
    assert found.provenance["path"] == "lowrank"
    assert np.sqrt(np.mean((found.estimate - true) ** 2)) < 0.8 * sigma


def test_a_line_of_pixels_has_its_doubt() -> None:
    true = scene(BANDS, 1, 90)
    found = restore(noisy(true), "diffusion", samples=2)
    assert found.std is not None
    error = np.sqrt(np.mean((found.estimate - true) ** 2))
    assert error < 0.6 * SIGMA
    assert 0.5 < np.sqrt(np.mean(found.std**2)) / error < 2


@pytest.mark.parametrize(("snr", "most"), [(20, 0.7), (200, 0.95), (2000, 1.05)])
@pytest.mark.parametrize("bands", [1, 2, 3])
def test_few_bands_are_cleaned_by_their_pixels_and_never_ruined(bands: int, snr: float, most: float) -> None:
    """No other band tells noise from scene: fields with edges, as optics see them."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:48, :48]
    seeds = rng.uniform(0, 48, (2, 14))
    field = np.argmin((y[..., None] - seeds[0]) ** 2 + (x[..., None] - seeds[1]) ** 2, axis=2)
    true = np.stack([gaussian_filter(rng.uniform(0.3, 1.7, 14)[field], 0.8) for _ in range(bands)])
    found = restore(noisy(true, 1 / snr), "lowrank")
    error = np.sqrt(np.mean((found.estimate - true) ** 2, axis=(1, 2))) * snr
    assert error.max() < most
    assert found.noise is not None
    np.testing.assert_allclose(found.noise.sigma * snr, 1, atol=0.5)


@pytest.mark.parametrize("shape", [(BANDS, 2, 2), (BANDS, 1, 1)])
def test_too_few_pixels_come_back_and_that_is_said(shape: tuple[int, int, int]) -> None:
    values = noisy(scene(*shape))
    found = restore(values, "lowrank")
    np.testing.assert_array_equal(found.estimate, values)
    assert found.provenance["path"] == "unchanged"
    assert found.provenance["note"] == "fewer than 64 pixels"


def test_bands_without_contrast_or_value_stay_as_they_are() -> None:
    true = scene(BANDS, 32, 32)
    values = noisy(true)
    values[3], values[5], values[9] = 1.5, 0, np.nan
    found = restore(values, "lowrank")
    np.testing.assert_array_equal(found.estimate[[3, 5, 9]], values[[3, 5, 9]])
    rest = np.setdiff1d(np.arange(BANDS), [3, 5, 9])
    assert np.sqrt(np.mean((found.estimate - true)[rest] ** 2)) < 0.5 * SIGMA


def test_one_pixel_with_a_value_keeps_it() -> None:
    values = np.full((BANDS, 20, 20), np.nan, dtype=np.float32)
    values[:, 5, 6] = 1 + np.arange(BANDS)
    found = restore(values, "lowrank")
    np.testing.assert_allclose(found.estimate[:, 5, 6], values[:, 5, 6], rtol=1e-3)
    assert np.isnan(found.estimate).sum() == BANDS * (400 - 1)
    with pytest.raises(InputError, match="found no band with signal"):
        restore(np.full((BANDS, 20, 20), np.nan), "lowrank")


@pytest.mark.parametrize("column", [0, 17])
def test_a_hot_element_is_no_saturation(column: int) -> None:
    """It reads full scale all along; beside bright neighbours it was taken for a clipped scene."""
    true = scene(BANDS, 40, 40)
    values = noisy(true)
    values[7, :, column] = values[7].max() + 0.5
    found = restore(values, "lowrank")
    assert "saturated" not in found.provenance
    assert np.sqrt(np.mean((found.estimate - true)[7, :, column] ** 2)) < SIGMA


def test_a_hot_element_is_none_where_full_scale_is_stated_either() -> None:
    values = np.full((1, 20, 9), 0.5)
    values[0, :, 4] = values[0, 3, 7] = 1.0
    assert np.argwhere(full_scale.clipped(values, values > 0, np.ones(1))).tolist() == [[0, 3, 7]]


def test_a_bright_object_along_columns_is_saturated() -> None:
    values = noisy(scene(3, 40, 40))
    full = float(values[1].max()) + 1
    values[1, :, 10:13] = full
    every = np.ones(values.shape, bool)
    at = full_scale.clipped(values, every, np.full(3, full))
    assert at[1, :, 10:13].all()
    # of all columns, no neighbour tells
    assert full_scale.clipped(values[..., 11:12], every[..., 11:12], np.full(3, full))[1].all()


def test_lines_through_columns_leave_in_the_scene_what_the_subspace_holds() -> None:
    """Elements' gains and offsets are independent between bands; only a share of their error passes into the scene."""
    rng = np.random.default_rng(2)
    true = scene(40, 40, 60)
    striped = noisy(true) * (1 + 0.05 * rng.standard_normal((40, 1, 60)))
    values = (striped + 0.2 * rng.standard_normal((40, 1, 60))).astype(np.float32)
    found = separate(Observation(values=values, valid=np.ones(values.shape, bool)))
    doubt = pattern(found, found.scene) / found.noise.sigma[:, None, None] ** 2
    level = found.noise.offset + (found.noise.gain - 1) * found.scene.mean((1, 2))[:, None]
    means = (level.var(1) / 60 + found.noise.offset_std.max() ** 2) / found.noise.sigma**2
    leverage = found.rank / 40
    # twice the noise of a column's mean, as much as the bands' elements have, would be 2 / 40
    assert doubt.mean() - means.mean() < 6 * leverage / 40


def test_chance_is_no_scene_that_was_missed() -> None:
    """What bands differ by is no more than chance in white noise: the largest of them says nothing."""
    rest = np.random.default_rng(3).standard_normal((100, 50, 50)).astype(np.float32)
    assert missed(rest, np.ones(rest.shape, bool)).max() < 0.004


def test_voxels_wilder_than_normal_are_not_named() -> None:
    rng = np.random.default_rng(4)
    rest = (rng.standard_t(5, (60, 64, 64)) / np.sqrt(5 / 3)).astype(np.float32)
    atoms = scan.features(np.linspace(5, 15, 60))
    named = np.zeros((64, 64), bool)
    for blur, least in scan.BLURS.items():
        for group in scan.groups(rest, atoms, blur, least):
            named |= group
    assert named.mean() <= scan.FALSE
    assert scan.heavy_tailed(rest)
    assert not scan.heavy_tailed(rng.standard_normal((60, 64, 64)).astype(np.float32))
    # a spectrum that all bands of a pixel share is no such voxel
    rest[:, 20, 30] += 3
    assert any(group[20, 30] for group in scan.groups(rest, atoms, 0.0, scan.BLURS[0.0]))


@pytest.mark.parametrize("fill", [0.0, -0.7])
def test_what_lies_beyond_a_turned_scene_is_no_measurement(fill: float) -> None:
    """One spectrum, of which no file says that it is none: noise and scene are those of the rest."""
    seen = noisy(scene(BANDS, 48, 44))
    y, x = np.mgrid[:48, :44]
    beyond = (y + x < 40) | (y + x > 70)
    seen[:, beyond] = fill * np.arange(BANDS)[:, None]
    found = restore(seen, "lowrank")
    assert found.noise is not None
    np.testing.assert_allclose(found.noise.sigma, SIGMA, rtol=0.15)
    # but for the tips of its edge
    assert (found.mask == beyond).mean() > 0.99
    assert found.mask[:, ~beyond].sum() == 0
    kept = beyond & found.mask.all(0)
    np.testing.assert_array_equal(found.estimate[:, kept], seen[:, kept])
    assert found.provenance["nodata"] == pytest.approx(beyond.mean(), abs=0.01)
    assert found.provenance["outliers"] == 0
    # columns that are dead in all bands are elements, and dark pixels are pixels
    lone = np.ones((3, 20, 20), np.float32)
    lone[:, 5], lone[:, :, 7:9], lone[:, 12:15, 12:15] = 0, 0, 0
    none = stuck.blank(lone, np.ones(lone.shape, dtype=bool))
    assert none.sum() == 9
    assert none[12:15, 12:15].all()


def test_what_fills_holes_takes_no_voxel_with_it() -> None:
    """A hole is filled with its band's median, which is the value of one voxel of an odd number."""
    seen = noisy(scene(BANDS, 31, 33))
    seen[:, :6, :6] = np.nan
    assert np.isfinite(seen[0]).sum() % 2
    mask = restore(seen, "lowrank").mask
    assert mask[:, :6, :6].all()
    assert mask.sum() == BANDS * 36


def test_a_dropped_line_of_one_band_is_no_shadow() -> None:
    """A row of zeros in one band is a thin line that only this band sees; but noise repeats no value all along."""
    true = scene(BANDS, 40, 36)
    seen = noisy(true)
    seen[9, 12] = 0
    found = restore(seen, "lowrank")
    assert found.mask[9, 12].all()
    assert found.mask.sum() == 36
    assert np.sqrt(np.mean((found.estimate[9] - true[9]) ** 2)) < 0.6 * SIGMA
    # shadow is no line
    dark = true.copy()
    dark[9, 12, :30], dark[10, 5:8] = 0, 0
    assert not stuck.stuck_values(dark, np.ones(dark.shape, dtype=bool)).any()
