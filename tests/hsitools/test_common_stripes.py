"""Stripes that all bands share are suspected and said; walls, roads and slopes are not."""

from __future__ import annotations

import numpy as np
import pytest

from denoise.case import Restoration
from denoise.registry import Method
from denoise.restore import restore
from hsitools import Cube
from hsitools.estimation.common_stripes import common_stripes, sizes_of_bands
from hsitools.io.quality import quality

BANDS, SIDE, SIGMA = 12, 96, 0.01


def town(seed: int = 0, longest: int = 40) -> np.ndarray:
    """Blocks of houses along the columns, and two walls that go down the whole image, in three spectra."""
    rng = np.random.default_rng(seed)
    shares = np.ones((3, SIDE, SIDE))
    for _ in range(150):
        top, left = rng.integers(0, SIDE - 4, 2)
        shares[:, top : top + rng.integers(3, longest), left : left + rng.integers(2, 8)] = rng.uniform(
            0.5, 1.5, (3, 1, 1)
        )
    shares[:, :, [30, 61]] *= 1.2
    clean = np.tensordot(rng.uniform(0.2, 1, (BANDS, 3)), shares, 1)
    return clean + SIGMA * np.random.default_rng(1).standard_normal(clean.shape)


def slope() -> np.ndarray:
    x = np.linspace(-1, 1, SIDE)
    return np.linspace(1, 2, BANDS)[:, None, None] * (2 + x**2 + np.linspace(0, 1, SIDE)[:, None])


@pytest.mark.parametrize("scene", [town(0), town(1), town(0).transpose(0, 2, 1), slope(), slope().transpose(0, 2, 1)])
def test_vertical_structures_are_no_stripes(scene: np.ndarray) -> None:
    assert common_stripes(scene) == 0
    assert not {"common_stripes", "stripes_note"} & set(quality(Cube(data=scene.astype(np.float32))))


@pytest.mark.parametrize("kind", ["gain", "offset"])
def test_stripes_alike_in_all_bands_are_said_with_their_size(kind: str) -> None:
    scene = town(longest=15)
    ripple = 0.02 * np.random.default_rng(2).standard_normal(SIDE)
    striped = scene * (1 + ripple) if kind == "gain" else scene + ripple * scene.mean()
    assert common_stripes(striped) == pytest.approx(0.02, rel=0.6)
    # along rows they are no detector's
    assert common_stripes(striped.transpose(0, 2, 1)) == 0
    told = quality(Cube(data=striped.astype(np.float32)))
    assert told["common_stripes"] == pytest.approx(0.02, rel=0.6)
    assert "columns" in told["stripes_note"]
    said = restore(striped[:, :, :48].astype(np.float32), "lowrank").provenance
    assert said["common_stripes"] == pytest.approx(0.02, rel=0.6)
    assert "alike in all bands" in said["warning"]


@pytest.mark.parametrize("along", ["columns", "rows", "both"])
@pytest.mark.parametrize("alike", [True, False])
def test_small_cubes_say_them_and_their_error_bars_hold_them(along: str, alike: bool) -> None:
    """By a method that takes all of the noise, and knows nothing of stripes; also in proportion to bands' noise."""
    truth = town(longest=15)[:, :40, :44]
    level = np.full(BANDS, 0.06) if alike else np.linspace(0.04, 0.12, BANDS)
    ripple = np.random.default_rng(2).standard_normal(40 + 44)
    kinds = {"columns": ripple[None, 40:], "rows": ripple[:40, None]}
    error = level[:, None, None] * sum(kinds[name] for name in kinds if along in (name, "both"))
    given = truth + error

    def denoised(seen: object) -> Restoration:
        values = seen.values  # type: ignore[attr-defined]
        return Restoration(estimate=values, std=np.full_like(values, 1e-6))

    found = restore(given, Method(name="stub", paper="", function=denoised))
    said = ("common_stripes" in found.provenance, "common_rows" in found.provenance)
    assert said == (along != "rows", along != "columns")
    assert found.std is not None
    ratio = np.sqrt(np.square(found.std).mean((1, 2)) / np.square(error).mean((1, 2)))
    assert 0.8 < ratio.min() < ratio.max() < 1.7
    assert 0.5 < np.mean(np.abs(found.estimate - truth) < found.std) < 0.85
    plain = restore(truth, Method(name="stub", paper="", function=denoised))
    assert plain.std is not None
    assert plain.std.max() < 1e-3 * level.min()


def test_what_is_too_small_or_missing_tells_of_no_stripes() -> None:
    scene = town() * (1 + 0.05 * np.random.default_rng(2).standard_normal(SIDE))
    assert common_stripes(scene) > 0
    assert common_stripes(scene[:, :20]) == common_stripes(scene[:, :, :5]) == common_stripes(0 * scene) == 0
    assert common_stripes(np.full((2, 60, 60), np.nan)) == common_stripes(np.ones((2, 60, 1))) == 0
    scene[0, 20:] = np.nan
    assert common_stripes(scene) == 0


def test_beside_what_is_missing_stripes_are_said() -> None:
    """A masked cloud over all columns, a column that nothing measured, and a corner."""
    scene = town(longest=15) * (1 + 0.05 * np.random.default_rng(2).standard_normal(SIDE))
    whole = common_stripes(scene)
    scene[0, 40:60] = np.nan
    scene[:, :, 17] = np.nan
    scene[:, :30, :12] = np.nan
    assert common_stripes(scene) == pytest.approx(whole, rel=0.3)
    sizes = sizes_of_bands(scene)
    np.testing.assert_allclose(sizes / np.nanmean(scene, axis=(1, 2)), 0.05, rtol=0.5)


def test_columns_that_agree_by_chance_are_no_stripes() -> None:
    """Of few columns one that agrees in all parts is a sixth: seen in one narrow image of twenty."""
    rng = np.random.default_rng(0)
    images = 1 + SIGMA * rng.standard_normal((150, 1, 32, 8))
    assert not any(common_stripes(image) for image in images)
    striped = images + 3 * SIGMA * rng.standard_normal((150, 1, 1, 8))
    assert np.mean([common_stripes(image) > 0 for image in striped]) > 0.7
