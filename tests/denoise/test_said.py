"""What figures and benchmarks say in numbers: residuals, medians over bands, indices of a judged cube."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from denoise.comparison.before_after import (
    Comparison,
    Structure,
    _explained,
    _noise_alone,
    _per_band,
    _smoothness,
    compare,
)
from denoise.comparison.judging import judged
from denoise.restore import restore
from denoise.said import of_strips, striped_rows, warning_of
from denoise.separation.known import units_of
from hsitools import Cube
from hsitools.errors import InputError
from hsitools.sensor import DetectorNoise, GaussianResponse, Sensor

BANDS = 4


def test_numbers_of_a_comparison_are_of_its_bands() -> None:
    """A residual is what was observed less what was restored; medians leave out bands that were not restored."""
    rng = np.random.default_rng(0)
    after = rng.uniform(1, 2, (BANDS, 8, 9))
    rest = rng.standard_normal(after.shape) + np.array([1.0, 2, 3, 4])[:, None, None]
    before = after + rest
    before[1, 3, 4] = np.nan
    noise = np.array([1.0, 2, np.nan, 5]), np.array([0.1, 0.2, np.nan, 0.6])
    stripes = 10 * noise[0], 10 * noise[1]
    own = {band: Structure(edges=0.1 * band, explained=0.2 * band, smooth=1.0 + band) for band in (0, 1, 3)}
    chance = {band: Structure(edges=0.01, explained=0.02, smooth=1 + 0.1 * band) for band in (0, 1, 3)}
    said = Comparison(
        name="n", method="m", before=before, after=after, use=np.arange(BANDS) != 2,
        wavelength_nm=np.array([500.0, 510, 520, 530]), shown=(1, 3), indices={"noise": noise, "stripes": stripes},
        structure=own, chance=chance,
    ).numbers()  # fmt: skip
    assert said["median"] == {
        "noise": [2.0, 0.2], "stripes": [20.0, 2.0], "edges": pytest.approx([0.1, 0.01]),
        "explained": pytest.approx([0.2, 0.02]), "smooth": pytest.approx([2.0, 1.1]),
    }  # fmt: skip
    for row, band in zip(said["bands"], (1, 3), strict=True):
        good = np.isfinite(before[band])
        assert row["band"] == band
        assert row["wavelength_nm"] == 500 + 10 * band
        assert row["residual_mean"] == pytest.approx(rest[band][good].mean())
        assert row["residual_std"] == pytest.approx(rest[band][good].std())
        assert row["noise"] == [noise[0][band], noise[1][band]]
        assert row["smooth"] == [1 + band, pytest.approx(1 + 0.1 * band)]


def test_a_comparison_says_what_makes_it_doubtful() -> None:
    """Noise that neighbouring bands share is kept: "noise before and after" alone would claim that it fell."""
    rng = np.random.default_rng(0)
    noise = gaussian_filter1d(rng.standard_normal((40, 32, 32)), 1.5, axis=0)
    values = np.linspace(1, 2, 40)[:, None, None] * rng.uniform(1, 2, (1, 32, 32)) + 0.05 * noise
    found = compare(Cube(data=values.astype(np.float32)), "lowrank", [0])
    assert "share noise" in found.numbers()["warning"]
    assert found.text().endswith("warning: " + found.warning)


def test_findings_of_strips_are_said_once() -> None:
    """By hand, of two strips, the first of which has three times as many pixels."""
    first = {"path": "diffusion", "rank": 4, "outliers": 0.1, "doubtful_bands": [3]}
    second = {"path": "lowrank", "note": "why", "rank": 7, "outliers": 0.5, "nodata": 0.2, "doubtful_bands": [1, 3]}
    shared = {"noise_correlation": 0.4, "noise_untold": 2.0, "warning": "x"}
    assert of_strips([(300, first), (100, second | shared)]) == {
        "path": "diffusion in 1 strip, lowrank in 1 strip", "note": "why", "outliers": pytest.approx(0.2),
        "nodata": pytest.approx(0.05), "rank": 7, "noise_correlation": 0.4, "noise_untold": 2.0,
        "doubtful_bands": [1, 3], "warning": "in 1 of 2 strips: " + warning_of(second | shared)["warning"],
    }  # fmt: skip
    assert of_strips([(1, first), (1, {"nodata": 1.0})])["nodata"] == 0.5
    assert of_strips([]) == {}


def test_a_band_without_signal_is_no_measurement_either() -> None:
    """One of zeros, one of NaN, one of a single value, one left out, and a fifth of a good one."""
    rng = np.random.default_rng(0)
    values = rng.uniform(1, 2, (8, 20, 20)).astype(np.float32)
    values[1], values[2], values[3] = 0, np.nan, 5
    values[0, :4] = np.nan
    use = np.arange(8) != 7
    said = restore(values, "column-median", use=use).provenance
    assert said["nodata"] == pytest.approx((1 + 1 + 0.2) / 7)
    assert said["bands_as_given"] == 3
    clean = restore(values[4:], "column-median").provenance
    assert "nodata" not in clean
    assert "bands_as_given" not in clean


def test_a_comparison_is_of_physical_values() -> None:
    """Integers with a scale and the same values without one: the same numbers, those of noise alone as well."""
    rng = np.random.default_rng(5)
    ramp = np.linspace(1, 2, 20)[:, None] * np.linspace(1, 3, 24)
    numbers = (1000 * ramp * np.linspace(1, 2, 6)[:, None, None] + 50 * rng.standard_normal((6, 20, 24))).astype("i2")
    stored = Cube(data=numbers, scale_factor=1e-4, units="1")
    one, other = (compare(cube, "lowrank", [0, 3]).numbers() for cube in (stored, stored.physical().load()))
    for name, pair in one["median"].items():
        assert pair == pytest.approx(other["median"][name], rel=1e-4), name
    assert one["median"]["smooth"][1] == pytest.approx(1, abs=0.4)


def test_noise_and_stripes_are_told_before_and_after_in_the_cube_s_units() -> None:
    rng = np.random.default_rng(1)
    sigma = np.array([1.0, 2, 3, 4])
    use = np.arange(BANDS) != 2
    before = 100 + sigma[:, None, None] * rng.standard_normal((BANDS, 60, 60))
    after = 100 + 0.1 * (before - 100)
    told = _per_band(before, after, use, "noise")
    np.testing.assert_allclose(told[0][use], sigma[use], rtol=0.1)
    np.testing.assert_allclose(told[1][use], 0.1 * told[0][use], rtol=1e-2)
    assert np.isnan(told[0][2])
    again = _noise_alone(after, np.where(use, sigma, np.nan)) - after
    np.testing.assert_allclose(again.std((1, 2)), np.where(use, sigma, 0), rtol=0.05)


@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_shares_of_a_residual_that_others_explain(scale: float) -> None:
    """A residual of which a quarter of the variance is a sum of other bands; of noise alone none."""
    rng = np.random.default_rng(2)
    others = rng.standard_normal((3, 4000))
    noise = rng.standard_normal(4000)
    residual = scale * (others[0] / np.sqrt(3) + noise)
    gram = others @ others.T
    assert _explained(residual, others, gram, 3) == pytest.approx(0.25, abs=0.03)
    # adjusted for the number of what explains: sixteen pixels, three bands
    few = np.mean([_explained(rng.standard_normal(16), item := rng.standard_normal((3, 16)), item @ item.T, 3)
                   for _ in range(400)])  # fmt: skip
    assert few == pytest.approx(0, abs=0.06)


def test_smoothness_is_next_to_that_of_white_noise() -> None:
    rng = np.random.default_rng(3)
    white = rng.standard_normal((4, 70, 80))
    keep = rng.random((70, 80)) < 0.8
    for scale in (0.01, 100.0):
        assert _smoothness(scale * rng.standard_normal((70, 80)), keep, white) == pytest.approx(1, abs=0.3)
    # of twice as much power in squares of four pixels, nearly four times as much passes a wide blur
    squares = np.kron(rng.standard_normal((35, 40)), np.ones((2, 2)))
    assert _smoothness(squares, np.ones((70, 80), bool), white) == pytest.approx(3.8, abs=0.8)


def test_indices_are_next_to_the_clean_cube_s_largest_value() -> None:
    """An error of .1 everywhere, under a largest value of 2: 20 log 20 dB, the mean over bands."""
    rng = np.random.default_rng(4)
    clean = rng.uniform(0.2, 1, (3, 12, 14))
    clean[1, 5, 5] = 2
    signs = rng.choice([-1.0, 1.0], clean.shape)
    error = np.array([0.1, 0.05, 0.2])[:, None, None]
    said = judged(clean, clean + error * signs)
    assert said["mpsnr"] == pytest.approx(np.mean(20 * np.log10(2 / error)), abs=1e-3)
    angle = judged(clean, 3 * clean)
    assert angle["sam_deg"] == pytest.approx(0, abs=1e-2)
    ones = np.ones((2, 12, 12))
    assert judged(ones, ones * np.array([1, 0])[:, None, None])["sam_deg"] == pytest.approx(45, abs=1e-3)
    small = judged(clean[:, :9, :9], clean[:, :9, :9] + error * signs[:, :9, :9])
    assert np.isnan(small["mssim"])


def test_rows_with_offsets_of_their_own_are_said() -> None:
    """Of two bands in twelve; columns' stripes and what was missed of the scene at one place are none."""
    rng = np.random.default_rng(2)
    rest = rng.standard_normal((12, 64, 48))
    rest += 3 * rng.standard_normal((12, 1, 48))
    rest[:, 20:30, :20] += 2
    keep = rng.random(rest.shape) < 0.8
    assert striped_rows(rest, keep) == {}
    rest[[3, 7]] += rng.standard_normal((2, 64, 1))
    assert striped_rows(np.where(keep, rest, 1e6), keep) == {"striped_rows": 2}
    assert "rows of 2 bands have offsets of their own" in warning_of({"striped_rows": 2})["warning"]
    assert "rows suspected of stripes" in warning_of({"common_rows": 0.02})["warning"]


def test_what_a_sensor_was_simulated_to_see_is_in_its_units():
    # a band of little light is full of noise, up to tens: no reflectance of a file whose numbers are not known
    wavelength = np.linspace(500, 900, 6)
    noise = DetectorNoise(electrons_per_unit=1e4, full_well=2e4)
    sensor = Sensor(
        name="of six", units="1", noise=noise,
        response=GaussianResponse(centre_nm=wavelength, width_nm=np.full(6, 10.0)),
    )  # fmt: skip
    values = np.random.default_rng(3).uniform(0.2, 1, (6, 20, 20)).astype(np.float32)
    values[5] *= 30
    cube = Cube(data=values, wavelength_nm=wavelength, units="1")
    with pytest.raises(InputError, match="units: found values up to"):
        units_of(cube, sensor, None)
    assert units_of(cube.replace(meta={"sensor_hash": sensor.fingerprint()}), sensor, None) == (1.0, [])
