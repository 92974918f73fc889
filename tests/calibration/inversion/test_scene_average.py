"""Frames of a scene averaged, and which interferometers tell something of it."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from calibration.captures.extract import mean_dark
from calibration.characterization import Characterization
from calibration.inversion import tiles
from calibration.inversion.invert import invert
from calibration.inversion.live_rows import live_rows
from calibration.inversion.scene_average import average
from hsitools.cube import Cube
from hsitools.errors import InputError

Array = np.ndarray[Any, Any]
COUNT, SIDE = 6, 12


def scene_frames(count: int = 5, seed: int = 0) -> Array:
    """Frames of six sub-images beside one another: photon noise over a brightness that differs fivefold, read noise."""
    rng = np.random.default_rng(seed)
    light = 400 + 1600 * np.add.outer(np.arange(SIDE), np.arange(SIDE * COUNT) % SIDE) / (2 * SIDE)
    return np.asarray(light + np.sqrt(light + 25) * rng.standard_normal((count, *light.shape)))


def places() -> tuple[Array, Array]:
    first = SIDE * np.arange(COUNT)[:, None, None]
    return np.arange(SIDE)[None, :, None] + 0 * first, first + np.arange(SIDE)


def of(frames: Array, limit: float = np.inf, hot: Array | None = None) -> Any:
    rows, columns = places()
    return average(frames, rows, columns, limit, np.zeros((COUNT, SIDE, SIDE), bool) if hot is None else hot)


def test_clean_frames_are_averaged_as_numpy_does() -> None:
    frames = scene_frames()
    found = of(frames)
    rows, columns = places()
    cut = frames[:, rows, columns]
    assert not found.wild.any()
    assert not found.saturated.any()
    assert_allclose(found.mean, cut.mean(axis=0))
    assert_allclose(found.noise_std, np.sqrt(cut.var(axis=0, ddof=1).mean(axis=(1, 2)) / 5))


@pytest.mark.parametrize("unit", [1e-12, 1e-9, 1e9])
def test_units_of_frames_do_not_matter(unit: float) -> None:
    one, other = of(scene_frames()), of(unit * scene_frames())
    assert_allclose(other.noise_std / unit, one.noise_std)
    assert_allclose(other.mean / unit, one.mean)


def test_a_struck_pixel_is_no_noise_of_its_sub_image() -> None:
    frames, clean = scene_frames(), of(scene_frames())
    frames[1, 3, SIDE + 4] += 9000  # a cosmic ray
    frames[::2, 7, 2 * SIDE + 5] = 5000  # a pixel that blinks
    frames[:, 2, 3 * SIDE + 2] = np.nan
    found = of(frames)
    assert set(zip(*(place.tolist() for place in np.nonzero(found.wild)), strict=True)) == {
        (1, 3, 4), (2, 7, 5), (3, 2, 2)
    }  # fmt: skip
    assert_allclose(found.noise_std, clean.noise_std, rtol=0.02)


def test_a_stuck_sub_image_is_no_sure_measurement() -> None:
    frames, clean = scene_frames(), of(scene_frames())
    frames[:, :, 2 * SIDE : 3 * SIDE] = 1500
    found = of(frames)
    assert found.wild[2].all()
    others = np.arange(COUNT) != 2
    assert not found.wild[others].any()
    assert_allclose(found.noise_std[others], clean.noise_std[others])


def test_what_moves_in_all_sub_images_is_the_scene() -> None:
    frames = scene_frames()
    frames[::2, 5:7] += 2000  # an edge that trembles, at one place of all
    assert not of(frames).wild.any()


def test_hot_and_saturated_pixels_tell_no_noise() -> None:
    frames, clean = scene_frames(), of(scene_frames())
    hot = np.zeros((COUNT, SIDE, SIDE), bool)
    hot[0, 1, 1] = True
    frames[::2, 1, 1] += 3000
    frames[:, 4:8, :SIDE] = 9000
    found = of(frames, limit=9000, hot=hot)
    assert found.saturated.sum() == 4 * SIDE
    assert not found.wild.any()
    assert_allclose(found.noise_std, clean.noise_std, rtol=0.2)


def test_frames_without_noise_are_not_endlessly_sure() -> None:
    found = of(np.repeat(scene_frames(1), 3, axis=0))
    assert found.noise_std is not None
    assert (found.noise_std > 0).all()


def test_rounding_of_quiet_frames_is_not_averaged_away() -> None:
    rng = np.random.default_rng(0)
    light = 400 + 30 * rng.random((SIDE, SIDE * COUNT))
    errors, told = [], []
    for noise in (0.0, 0.05, 0.15, 3.0):
        found = of(np.rint(light + noise * rng.standard_normal((8, *light.shape))))
        assert not found.wild.any()
        rows, columns = places()
        errors.append(np.sqrt(((found.mean - light[rows, columns]) ** 2).mean()))
        told.append(np.sqrt((found.noise_std**2).mean()))
    assert_allclose(told, errors, rtol=0.1)


def test_a_struck_dark_frame_moves_no_level() -> None:
    rng = np.random.default_rng(3)
    frames = 400 + 5 * rng.standard_normal((8, 40, 40))
    expected = frames.mean(axis=0)
    frames[2, 7, 9] += 9000
    frames[0, 3, 3] = np.nan
    frames[:, 1, 1] = np.nan
    dark, hot = mean_dark(frames)
    others = np.ones(dark.shape, bool)
    others[[7, 3, 1], [9, 3, 1]] = False
    assert_allclose(dark[others], expected[others])
    assert abs(dark[7, 9] - 400) < 10
    assert abs(dark[3, 3] - 400) < 10
    assert hot[1, 1]
    assert hot.sum() == 1


def interferograms(instrument: Characterization) -> Array:
    grid = np.linspace(*instrument.response.band_nm, 40)
    rng = np.random.default_rng(1)
    spectra = 1 + 0.3 * np.sin(grid / 70)[:, None, None] * rng.uniform(0, 1, (6, 6))
    values = np.tensordot(instrument.response.matrix(grid), spectra, axes=1)
    return np.asarray(values + 0.005 * values.mean() * rng.standard_normal(values.shape))


def test_a_dead_interferometer_is_left_out(instrument: Characterization, caplog: pytest.LogCaptureFixture) -> None:
    values = interferograms(instrument)
    grid = np.linspace(*instrument.response.band_nm, 40)
    whole = invert(values, instrument, "gp", grid=grid).spectra
    results = []
    for nothing in (0.0, 1e-4 * values.mean(), np.nan):
        dead = values.copy()
        dead[4] = nothing
        with caplog.at_level(logging.WARNING):
            results.append(invert(dead, instrument, "gp", grid=grid).spectra)
        assert "1 interferometer left out" in caplog.text
        assert ": 4" in caplog.text
    assert whole.std is not None
    for result in results:
        assert_allclose(result.estimate, results[0].estimate)
        # one of many tells little: taken for a measurement it moves spectra by many standard deviations
        assert np.abs(result.estimate - whole.estimate).max() < 2 * whole.std.max()


def test_scenes_without_light_are_said(instrument: Characterization) -> None:
    values = interferograms(instrument)
    for dark in (0 * values, -values):
        with pytest.raises(InputError, match=r"found interferograms of mean -?0.*, expected light"):
            invert(dark, instrument, "gp")
    with pytest.raises(InputError, match="found no pixel that was measured"):
        live_rows(instrument, np.full_like(values, np.nan), None, "x")


@pytest.mark.parametrize("method", ["gp", "joint", "ridge"])
def test_pixels_that_are_all_the_same_tell_no_noise(instrument: Characterization, method: str) -> None:
    values = interferograms(instrument)
    one = invert(values[:, :1, :1], instrument, method).spectra
    same = invert(np.broadcast_to(values[:, :1, :1], values.shape).copy(), instrument, method).spectra
    assert one.std is not None
    assert same.std is not None
    assert_allclose(same.std.mean(), one.std.mean(), rtol=0.5)


def test_tiles_of_another_instrument_or_grid_are_not_kept(
    instrument: Characterization, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "TILE_BYTES", 2**18)
    image = Cube(data=np.tile(interferograms(instrument), (1, 5, 5)).astype(np.float32))
    lines = 1000 / instrument.response.wavenumber[::-1]

    def spectra(device: Characterization, grid: Array) -> Array:
        return np.array(invert(image, device, "ridge", grid=grid, parts=tmp_path / "parts").spectra.estimate)

    first = spectra(instrument, lines[2:12])
    twice = replace(instrument, response=replace(instrument.response, gain_scale=2 * instrument.response.gain_scale))
    assert_allclose(spectra(twice, lines[2:12]), first / 2, rtol=1e-4)
    spectra(instrument, lines[2:12])
    # the same lines in all are inverted: others are asked for
    assert_allclose(spectra(instrument, lines[3:13])[:-1], first[1:], rtol=1e-4)


def test_curves_may_descend(instrument: Characterization) -> None:
    values = interferograms(instrument)
    known = np.linspace(*instrument.response.band_nm, 30)
    light = 1 + (known - known[0]) / 300
    up = invert(values, instrument, "gp", illumination=(known, light), lamp=(known, light**2)).spectra
    falling = known[::-1], light[::-1]
    down = invert(values, instrument, "gp", illumination=falling, lamp=(known[::-1], light[::-1] ** 2)).spectra
    assert_allclose(down.estimate, up.estimate)
    with pytest.raises(InputError, match=r"illumination: found .* all finite"):
        invert(values, instrument, "gp", illumination=(known, np.where(known > 600, np.nan, light)))


@pytest.mark.parametrize("kind", ["marked bad", "measured in a corner", "half of it covered"])
def test_an_interferometer_that_tells_little_costs_no_pixel(instrument: Characterization, kind: str) -> None:
    """Nor is one that the cube marks bad taken for a measurement."""
    values, good = interferograms(instrument), np.ones(60, dtype=bool)
    grid = np.linspace(*instrument.response.band_nm, 40)
    missing = values.copy()
    missing[4] = np.nan
    if kind == "marked bad":
        values[4], good[4] = 5 * values[4] + 3, False
    elif kind == "measured in a corner":
        values[4, 1:] = np.nan
    else:
        values[4, :, :3] = np.nan
    seen, expected = (
        invert(Cube(data=data, good=mask), instrument, "gp", grid=grid).spectra
        for data, mask in ((values, good), (missing, np.ones(60, dtype=bool)))
    )
    assert seen.mask.all()
    assert_allclose(seen.estimate, expected.estimate)
    assert seen.std is not None
    assert expected.std is not None
    assert_allclose(seen.std, expected.std)


def test_some_pixels_that_one_interferometer_lacks_are_lost(instrument: Characterization) -> None:
    values = interferograms(instrument)
    values[4, 2:4, 2:4] = np.nan
    result = invert(values, instrument, "gp", grid=np.linspace(*instrument.response.band_nm, 40)).spectra
    np.testing.assert_array_equal(result.mask, np.isfinite(values[4]))


@pytest.mark.parametrize("kind", ["stuck", "too bright", "too dim"])
def test_what_no_light_makes_of_an_interferometer_is_no_measurement(instrument: Characterization, kind: str) -> None:
    values = interferograms(instrument)
    missing = values.copy()
    missing[4] = np.nan
    values[4] = {"stuck": 0.6 + 0 * values[4], "too bright": 10 * values[4], "too dim": 0.02 * values[4]}[kind]
    grid = np.linspace(*instrument.response.band_nm, 40)
    seen, expected = (invert(part, instrument, "gp", grid=grid).spectra for part in (values, missing))
    assert_allclose(seen.estimate, expected.estimate)


def test_interferometers_of_every_light_are_live(instrument: Characterization) -> None:
    """Of single lines some read little and some much: all are light."""
    lines = 1000 / instrument.response.wavenumber[::-1]
    seen = instrument.response.matrix(lines)
    for line in range(0, len(lines), 10):
        rows, dead = live_rows(instrument, seen[:, line, None, None] * np.ones((2, 2)), None, "x")
        assert len(rows) + len(dead) == 60
        assert not len(dead) or (seen[dead, line] < 0.01 * np.quantile(seen[:, line], 0.75)).all()


@pytest.mark.parametrize("kind", [np.float64, np.uint16])
def test_a_saturated_cube_has_holes_instead_of_wrong_spectra(instrument: Characterization, kind: type) -> None:
    """What no sample of a pixel is cut off in is what it would be without those that are."""
    rng = np.random.default_rng(1)
    grid = np.linspace(*instrument.response.band_nm, 40)
    brightness = np.where(rng.random((8, 8)) < 0.3, 3.0, 1.0)
    spectra = (1 + 0.3 * np.sin(grid / 70))[:, None, None] * brightness
    clean = 8000 * np.tensordot(instrument.response.matrix(grid), spectra, axes=1)
    values = clean + 0.005 * clean.mean() * rng.standard_normal(clean.shape)
    limit = round(float(values[:, brightness == 1].max()) + 1)
    cut = np.minimum(values, limit).astype(kind)
    result = invert(cut, instrument, "gp", grid=grid).spectra
    np.testing.assert_array_equal(result.mask, (cut < limit).all(axis=0))
    alone = invert(values[:, None, result.mask], instrument, "gp", grid=grid).spectra.estimate[:, 0]
    errors = [np.std(part / 8000 - spectra[:, result.mask]) for part in (result.estimate[:, result.mask], alone)]
    assert errors[0] < 1.2 * errors[1]
    # an image of one pixel repeated is not saturated, bright as it is in one interferometer
    even = np.broadcast_to(values[:, :1, :1], (60, 4, 4)).copy()
    assert invert(even, instrument, "gp", grid=grid).spectra.mask.all()
