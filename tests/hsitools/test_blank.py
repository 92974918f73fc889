"""What lies beyond a scene's edge and is no declared nodata: one spectrum, over and over."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from hsitools import Cube, Sensor, preset, scene
from hsitools.cube.blank import blank_spectrum, is_blank, without_blank

BANDS, HEIGHT, WIDTH = 12, 36, 48


def image(seed: int = 0, dtype: str = "f4") -> np.ndarray:
    """Counts of a noisy scene."""
    rng = np.random.default_rng(seed)
    return rng.normal(500, 60, (BANDS, HEIGHT, WIDTH)).astype(dtype)


def turned(values: np.ndarray, fill: np.ndarray) -> np.ndarray:
    """A mask of two opposite corners, which take a spectrum."""
    y, x = np.mgrid[: values.shape[1], : values.shape[2]]
    beyond = (y + x < 15) | (y + x > values.shape[1] + values.shape[2] - 12)
    values[:, beyond] = fill[:, None]
    return beyond


def found(values: np.ndarray) -> np.ndarray | None:
    return blank_spectrum(lambda rows, columns: values[:, rows, columns], values.shape[1:])


@pytest.mark.parametrize("dtype", ["f4", "f8", "i2", "u2"])
@pytest.mark.parametrize("fill", ["zeros", "a spectrum", "one band is not zero"])
def test_one_spectrum_over_a_corner_is_no_measurement(dtype: str, fill: str, caplog: pytest.LogCaptureFixture) -> None:
    values = image(dtype=dtype)
    told = {"zeros": np.zeros(BANDS), "a spectrum": np.arange(BANDS) * 7.0, "one band is not zero": np.eye(BANDS)[3]}[
        fill
    ]
    beyond = turned(values, told.astype(dtype))
    with caplog.at_level(logging.WARNING):
        seen = without_blank(Cube(data=values, name="strip"))
    assert "strip: found one and the same spectrum all over a corner" in caplog.text
    expected = np.where(beyond, np.nan, values)
    np.testing.assert_array_equal(seen.read(), expected)
    # of some bands and a window, too, though all of its bands say what is blank
    part = seen.read([5, 3], slice(4, 20), slice(2, 30))
    np.testing.assert_array_equal(part, expected[[5, 3], 4:20, 2:30])


def test_a_pixel_that_is_like_it_in_some_bands_is_measured() -> None:
    values = image()
    beyond = turned(values, np.zeros(BANDS))
    values[:-1, 20, 20] = 0
    np.testing.assert_array_equal(is_blank(values, found(values)), beyond)


def test_holes_do_not_hide_what_is_blank() -> None:
    """A dead band is NaN everywhere, a dead column in all bands."""
    values = image()
    beyond = turned(values, np.full(BANDS, -9.0))
    values[4], values[:, :, 24] = np.nan, np.nan
    beyond[:, 24] = False
    np.testing.assert_array_equal(is_blank(values, found(values)), beyond)


@pytest.mark.parametrize("kind", ["noise", "one value", "few materials", "two fills", "a bright corner", "all NaN"])
def test_what_is_no_fill_is_kept(kind: str) -> None:
    values = image()
    if kind == "one value":
        values[:] = 3
    elif kind == "few materials":
        kinds = np.kron(np.random.default_rng(1).integers(0, 4, (6, 8)), np.ones((6, 6), dtype=int))
        values = image(2)[:, 0, :4][:, kinds]
    elif kind == "two fills":
        values[:, :5, :5], values[:, -5:, -5:] = 1, 2
    elif kind == "a bright corner":
        values[:, :5, :5] *= 4
    elif kind == "all NaN":
        values[:] = np.nan
    assert found(values) is None
    cube = Cube(data=values)
    assert without_blank(cube) is cube


def test_a_small_image_is_left_as_it_is() -> None:
    assert found(np.zeros((BANDS, 5, 5))) is None


def test_a_sensor_does_not_look_beyond_the_scene() -> None:
    """As values, what lies beyond would be seen with noise, which nobody can tell from a scene any more."""
    whole = scene((60, 72), seed=3)
    values = whole.read().copy()
    values[:, :24, :30] = np.linspace(-0.2, 0.1, len(values), dtype="f4")[:, None, None]
    sensor: Sensor = preset("prisma").select(range(0, 60, 6))
    seen = sensor.observe(whole.replace(data=values), 1, noise=False).read()
    expected = sensor.observe(whole, 1, noise=False).read()
    assert np.isnan(seen[:, :4, :5]).all()
    assert np.isfinite(seen[:, 4:]).all()
    # what is far from it is the same, and over the edge no light of it comes
    np.testing.assert_allclose(seen[:, 7:], expected[:, 7:], rtol=1e-5)
    assert np.nanmin(seen) > 0.5 * expected.min()


def panchromatic(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """A scene of few levels in one band, and which of its pixels lie beyond its edge; zeros are in the scene, too."""
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:60, :80]
    shade = 20 + 9 * np.sin(x / 7) * np.cos(y / 9)
    values = np.where(rng.random(shade.shape) < 0.03, 0, rng.normal(shade, 2))[None].astype(dtype)
    beyond = (2 * y + x < 40) | (x > 76)
    values[:, beyond] = 0
    return values, beyond


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_of_one_band_only_areas_are_blank(dtype: str, caplog: pytest.LogCaptureFixture) -> None:
    values, beyond = panchromatic(dtype)
    dark = (values[0] == 0) & ~beyond
    assert dark.sum() > 50
    with caplog.at_level(logging.WARNING):
        seen = without_blank(Cube(data=values, name="PAN"))
    assert "PAN: found one and the same value all over a corner" in caplog.text
    lost = np.isnan(seen.read()[0])
    assert lost[beyond].mean() > 0.98
    assert lost[~beyond].mean() < 0.005
    np.testing.assert_array_equal(seen.read()[0][~lost], values[0][~lost])
    np.testing.assert_array_equal(np.isnan(seen.read(None, slice(7, 31), slice(3, 60))[0]), lost[7:31, 3:60])


@pytest.mark.parametrize("kind", ["smooth", "noisy", "of eight levels", "of three bands"])
def test_dark_water_that_is_cut_off_at_zero_is_measured(kind: str) -> None:
    """A corner from which on the scene rises, and reaches what a scene has."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:96, :120]
    slope = 0.02 * (x + y - 70) + 0.3 * np.sin(x / 5) * np.cos(y / 4)
    values = np.array([0.8, 1, 1.3])[:, None, None] * slope
    values = values if kind == "of three bands" else values[1:2]
    values = values + {"smooth": 0.02, "noisy": 0.3}.get(kind, 0.1) * rng.standard_normal(values.shape)
    values = np.clip(values, 0, None)
    if kind == "of eight levels":
        values = np.round(values * 2)
    assert (values[:, :12, :12] == 0).all()
    assert found(values) is None


@pytest.mark.parametrize("kind", ["saturated", "dark areas", "a small corner"])
def test_of_one_band_what_may_be_scene_is_kept(kind: str) -> None:
    values = np.random.default_rng(5).normal(500, 60, (1, 60, 80)).astype("u2")
    values[:, :12, :12] = 900 if kind == "saturated" else 300
    if kind == "dark areas":
        values[:, 28:32, 20:60] = 200
    elif kind == "a small corner":
        values[:, 5:12], values[:, :12, 5:12] = 480 + np.arange(80) % 9, 480 + np.arange(84).reshape(12, 7) % 11
    cube = Cube(data=values)
    assert without_blank(cube) is cube
