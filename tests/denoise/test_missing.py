"""Holes of any shape: what other bands say of them, and that they spoil nothing beside them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from denoise.restore import restore
from denoise.separation.columns import DEAD
from denoise.separation.missing import completed, whole_pixels

BANDS, SIDE, SIGMA = 30, 44, 0.1


def mixture() -> np.ndarray:
    """Three materials' spectra in smooth shares."""
    y, x = np.mgrid[:SIDE, :SIDE]
    wave = np.linspace(0, 3, BANDS)
    shares = np.stack([2 + np.sin(y / 5 + x / 7), np.cos(y / 3 - x / 4), np.sin(x / 3) * np.cos(y / 6)])
    return np.einsum("kb,kyx->byx", np.stack([1 + 0.3 * wave, np.sin(wave), np.cos(2 * wave)]), shares)


def holes(kind: str) -> np.ndarray:
    """Pixels that are missing."""
    y, x = np.mgrid[:SIDE, :SIDE]
    return {
        "corner": x + y > 1.2 * SIDE, "rows": y < SIDE // 3, "clouds": (y // 7 + x // 9) % 3 == 0,
        "scattered": np.random.default_rng(2).random((SIDE, SIDE)) < 0.3, "columns": x < SIDE // 3,
    }[kind]  # fmt: skip


KINDS = ["corner", "rows", "clouds", "scattered", "columns"]


@pytest.fixture(scope="module", params=[False, True], ids=["even", "striped"])
def seen(request: pytest.FixtureRequest) -> np.ndarray:
    """The scene with noise, and with three columns in ten striped."""
    rng = np.random.default_rng(1)
    out = mixture() + SIGMA * rng.standard_normal((BANDS, SIDE, SIDE))
    if request.param:
        out += 2 * SIGMA * rng.standard_normal((BANDS, 1, SIDE)) * (rng.random(SIDE) < 0.3)
    return np.asarray(out, dtype=np.float32)


@pytest.fixture(scope="module")
def whole(seen: np.ndarray) -> np.ndarray:
    """The scene restored where nothing is missing."""
    return restore(seen, "lowrank").estimate


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_measured_is_restored_as_well_beside_a_hole(seen: np.ndarray, whole: np.ndarray, kind: str) -> None:
    missing = holes(kind)
    found = restore(np.where(missing, np.nan, seen), "lowrank").estimate
    error, usual = ((image - mixture())[:, ~missing] for image in (found, whole))
    # scattered holes take neighbours from every pixel
    most = 2 if kind == "scattered" else 1.25
    assert np.sqrt(np.mean(error**2)) < most * np.sqrt(np.mean(usual**2)) + 0.05 * SIGMA


@pytest.mark.parametrize("kind", KINDS)
def test_bands_that_a_pixel_has_tell_those_that_it_lacks(seen: np.ndarray, kind: str) -> None:
    missing = np.zeros(seen.shape, dtype=bool)
    missing[BANDS // 3 : 2 * BANDS // 3] = holes(kind)
    found = restore(np.where(missing, np.nan, seen), "lowrank")
    error = found.estimate - mixture()
    assert found.mask[missing].all()
    assert np.sqrt(np.mean(error[missing] ** 2)) < SIGMA
    assert np.sqrt(np.mean(error[~missing] ** 2)) < 0.6 * SIGMA


def test_completed_by_loops() -> None:
    """The posterior mean of each pixel by itself; whole pixels, and those without any value, stay as they are."""
    rng = np.random.default_rng(3)
    directions = np.linalg.qr(rng.standard_normal((9, 2)))[0]
    values = np.einsum("bk,kyx->byx", directions, [[[8.0]], [[4.0]]] * rng.standard_normal((2, 20, 24)))
    values += rng.standard_normal(values.shape)
    bad = rng.random(values.shape) < 0.02
    bad[2:6, :4, :5], bad[:, 19, 3] = True, True
    whole = whole_pixels(bad)
    assert not whole[:4, :5].any()
    assert whole.mean() > 0.75
    found = completed(values, directions, bad, whole)
    scores = np.einsum("bk,bn->kn", directions, values[:, whole])
    power = scores @ scores.T / scores.shape[1]
    prior = np.linalg.inv(power - min(1.0, 0.5 * np.linalg.eigvalsh(power)[0]) * np.eye(2))
    for y, x in np.ndindex(20, 24):
        expected, own = values[:, y, x].copy(), ~bad[:, y, x]
        if not whole[y, x] and own.any():
            part = directions[own]
            expected[~own] = (directions @ np.linalg.solve(part.T @ part + prior, part.T @ expected[own]))[~own]
        np.testing.assert_allclose(found[:, y, x], expected, atol=1e-9)


def test_pixels_that_tell_the_spectra() -> None:
    """Those that lack one band in twenty; where they are few, all that hold more than they lack."""
    bad = np.zeros((20, 10, 10), dtype=bool)
    bad[0], bad[:8, :, 5:] = True, True
    np.testing.assert_array_equal(whole_pixels(bad), np.ones((10, 10), dtype=bool))
    bad = np.zeros((20, 20, 10), dtype=bool)
    bad[0], bad[:8, :, 5:] = True, True
    np.testing.assert_array_equal(whole_pixels(bad), np.broadcast_to(np.arange(10) < 5, (20, 10)))


def test_what_other_bands_cannot_know_is_in_the_error_bars() -> None:
    """A band with a field of its own, where it is missing: nobody can tell the field, and the others are told."""
    rng = np.random.default_rng(5)
    true = mixture()
    y, x = np.mgrid[:SIDE, :SIDE]
    true[12] += 0.8 * np.sin(y / 4) * np.cos(x / 5)
    seen = (true + SIGMA * rng.standard_normal(true.shape)).astype(np.float32)
    missing = np.zeros(seen.shape, dtype=bool)
    missing[10:20] = holes("corner")
    found = restore(np.where(missing, np.nan, seen), "diffusion", samples=4)
    assert found.std is not None
    error, others = (found.estimate - true)[12][missing[12]], np.delete(np.arange(10, 20), 2)
    assert 0.6 < np.sqrt(np.mean(error**2)) / found.std[12][missing[12]].mean() < 1.6
    score = ((found.estimate - true) / found.std)[others][missing[others]]
    assert (np.abs(score) < 1.96).mean() > 0.75
    assert found.std[others][missing[others]].mean() < SIGMA


@pytest.mark.parametrize("seed", [1, 3])
def test_a_band_that_the_others_foretell_badly_keeps_its_values(seed: int) -> None:
    """Half of its columns are calm, where a constant explains it better than the scene: they are not dead."""
    side = 50
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    shares = np.stack([gaussian_filter(rng.standard_normal((side, side)), 2) for _ in range(3)])
    shares /= shares.std((1, 2), keepdims=True)
    true = 5 + np.einsum("bk,kyx->byx", rng.uniform(0.5, 1.5, (BANDS, 3)), shares)
    bright = np.zeros((side, side), dtype=bool)
    for _ in range(12):
        bright |= np.hypot(y - rng.integers(side), x - side / 2 - rng.integers(side // 2)) < 3
    true += 3 * bright * rng.uniform(0.5, 1.5, (BANDS, 1, 1))
    own = gaussian_filter(rng.standard_normal((side, side)), 1)
    true[0] = 5 + 0.12 * own / own.std() + 0.05 * shares[0] + 2.5 * bright * (1 + 0.5 * shares[1])
    seen = (true + 0.05 * np.random.default_rng(9).standard_normal(true.shape)).astype(np.float32)
    found = restore(seen, "lowrank")
    assert found.mask[0].mean() < DEAD
    assert np.sqrt(np.mean((found.estimate - true)[0] ** 2)) < 1.2 * 0.12
    # objects, too, stay in the others what was seen of them
    assert np.abs((found.estimate - true)[1:]).max() < 5 * 0.05


def test_of_a_pixel_without_any_value_nothing_is_said() -> None:
    """Neither an estimate nor a standard deviation; of what a file fills its corner with, neither."""
    seen = (mixture() + SIGMA * np.random.default_rng(1).standard_normal((BANDS, SIDE, SIDE))).astype(np.float32)
    seen[:, 20:25, 20:25], seen[:, :8, :8] = np.nan, -1
    found = restore(seen, "diffusion", samples=2)
    assert found.std is not None
    nothing = np.isnan(seen).all(0) | (seen == -1).all(0)
    np.testing.assert_array_equal(np.isnan(found.std), np.broadcast_to(nothing, seen.shape))
    assert found.mask[:, nothing].all()
    assert np.isnan(found.estimate[:, 20:25, 20:25]).all()
