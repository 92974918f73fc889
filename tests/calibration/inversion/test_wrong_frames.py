"""Frames that are not what they are taken for: other dark frames, another place, another instrument, another light."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from calibration.characterization import Characterization
from calibration.inversion.invert import invert
from calibration.inversion.measurement import frames
from hsitools.errors import InputError
from hsitools.sensor.layout import SubImageLayout

Array = np.ndarray[Any, Any]
#: Sub-images of 9 pixels, one apart, ten and more beside the grid.
LAYOUT = SubImageLayout(frame_shape=(124, 85), grid=(10, 6), pitch=(10, 10), origin=(15, 16))
BIAS = 100.0


def device(instrument: Characterization, layout: SubImageLayout = LAYOUT) -> Characterization:
    return replace(instrument, layout=layout)


def lit(scene: Array | float = 1.0, *, count: int = 3, seed: int = 0) -> Array:
    """Frames whose 9×9 sub-images hold a scene of 1000, with noise of 5; nothing falls elsewhere."""
    light = np.zeros(LAYOUT.frame_shape)
    for y, x in LAYOUT.centres().astype(int):
        light[y - 4 : y + 5, x - 4 : x + 5] = 1000 * np.broadcast_to(scene, (9, 9))
    noise = 5 * np.random.default_rng(seed).standard_normal((count, *light.shape))
    return np.asarray(BIAS + light + noise)


def dark(level: float = BIAS) -> Array:
    return np.asarray(level + np.random.default_rng(9).standard_normal((4, *LAYOUT.frame_shape)))


def said(caplog: pytest.LogCaptureFixture) -> str:
    text = caplog.text
    caplog.clear()
    return text


def test_dark_frames_of_another_exposure(instrument: Characterization, caplog: pytest.LogCaptureFixture) -> None:
    """Between sub-images frames read what the dark frames do; the spectra were a tenth off, and nothing was said."""
    known = device(instrument)
    assert_allclose(frames(lit(), dark(), known).values.mean(), 1000, rtol=1e-3)
    assert not said(caplog)
    with pytest.raises(InputError, match=r"frames\.h5: dark: found 300 above the frames where no light falls.*30 % of"):
        frames(lit(), dark(BIAS + 300), known, source="frames.h5")
    frames(lit(), dark(BIAS + 50), known)
    assert "found 50.0" in (words := said(caplog)) or "found 49.9" in words
    assert "(5 % of the light)" in words
    frames(lit(), dark(0.0), known)
    assert "% of the light): stray light, or dark frames of another exposure or unit" in said(caplog)
    # a per mille is drift, three per cent above may be stray light
    frames(lit() - 1, dark(), known)
    frames(lit() + 30, dark(), known)
    assert not said(caplog)


def test_a_sequence_stored_twice(instrument: Characterization, caplog: pytest.LogCaptureFixture) -> None:
    """Copies are no measurements: error bars were 1/√2 of what they are, and less with each copy."""
    once = frames(lit(count=4), dark(), device(instrument))
    assert not said(caplog)
    for copies in (np.tile(lit(count=4), (2, 1, 1)), np.repeat(lit(count=4), 3, axis=0)):
        again = frames(copies, dark(), device(instrument), source="frames.h5")
        assert f"frames.h5: frames: found {len(copies) - 4} frames to repeat an earlier one" in said(caplog)
        assert_allclose(again.noise_std, once.noise_std, rtol=1e-9)
        assert_allclose(again.values, once.values, rtol=1e-9)


@pytest.mark.parametrize("shift", [(0, 3), (0, -4), (2, 0), (-4, 0)])
def test_frames_displaced_as_a_whole(instrument: Characterization, shift: tuple[int, int]) -> None:
    """Each sub-image was cut from two; all of them alike, so that aligning them showed nothing."""
    moved = np.roll(lit(np.linspace(0.5, 1.5, 9)), shift, axis=(1, 2))
    along = "yx"[0 if shift[0] else 1]
    way = f"{abs(sum(shift))} pixels {'beyond' if sum(shift) > 0 else 'before'} their places along {along}"
    with pytest.raises(InputError, match=f"frames: found the sub-images {way}"):
        frames(moved, dark(), device(instrument))


@pytest.mark.parametrize("axis", [0, 1])
def test_a_scene_that_is_black_somewhere_is_in_its_place(instrument: Characterization, axis: int) -> None:
    scene = np.ones((9, 9))
    scene[:, 2:4] = scene[:, 7:] = 0
    raw = lit(scene if axis else scene.T)
    assert frames(raw, dark(), device(instrument)).shape == (60, 9, 9)
    # and where sub-images touch, so that no line between them is dark
    for y, x in LAYOUT.centres().astype(int):
        for place in ((y + 5, slice(x - 4, x + 5)), (slice(y - 4, y + 5), x + 5)):
            raw[:, *place] += 1000
    assert frames(raw, dark(), device(instrument)).shape == (60, 9, 9)


def test_sub_images_that_reach_beyond_the_detector(instrument: Characterization) -> None:
    """As the published device file of imspoc_uv_2 has them: refused, so that none of its frames could be inverted."""
    shape, cut = LAYOUT.frame_shape, 15
    layout = replace(LAYOUT, frame_shape=(shape[0], shape[1] - cut), origin=(15.0, 16.0 - cut))
    raw = lit(np.linspace(0.5, 1.5, 9))
    whole = frames(raw, dark(), device(instrument))
    part = frames(raw[..., cut:], dark()[..., cut:], device(instrument, layout))
    outside = np.zeros((60, 9, 9), dtype=bool)
    outside[LAYOUT.grid_position()[:, 1] == 0, :, :3] = True
    assert_array_equal(np.isnan(part.values), outside)
    assert_allclose(part.values[~outside], whole.values[~outside])
    assert part.hot is not None
    assert not part.hot.any()


def test_frames_of_one_scene_have_one_light(instrument: Characterization, caplog: pytest.LogCaptureFixture) -> None:
    known = device(instrument)
    raw = lit(count=4)
    frames(raw, dark(), known)
    flicker = BIAS + (raw - BIAS) * np.array([1, 1.05, 0.95, 1])[:, None, None]
    frames(flicker, dark(), known)
    # no light at all, but noise
    frames(raw - lit(count=1) + BIAS, dark(), known)
    assert "their light to differ" not in said(caplog)
    raw[2] = dark()[0]
    frames(raw, dark(), known)
    assert "(frame 2) to 1000 (frame" in said(caplog)
    raw[2] = np.nan
    with pytest.raises(InputError, match="frames: found no finite number in frame 2"):
        frames(raw, dark(), known)


def test_what_no_spectrum_explains(instrument: Characterization, caplog: pytest.LogCaptureFixture) -> None:
    """Mirrored frames, or another instrument's of as many sub-images, were inverted without a word."""
    caplog.set_level(logging.WARNING)
    grid = np.linspace(*instrument.response.band_nm, 101)
    matrix = instrument.response.matrix(grid)
    broad, laser = 1 + 0.5 * np.sin(grid / 60), (np.abs(grid - 632.8) < 4).astype(float)
    for spectrum in (broad, laser):
        made = np.broadcast_to((matrix @ spectrum)[:, None, None], (60, 4, 4))
        rng = np.random.default_rng(1)
        values = made + 0.01 * made.mean() * rng.standard_normal(made.shape)
        invert(values, instrument, "ridge")
        assert not said(caplog)
        invert(values[::-1].copy(), instrument, "ridge")
        assert "no spectrum explains the interferograms of 60 interferometers to better than" in said(caplog)


@pytest.mark.parametrize("step", [75, 300])
def test_a_coarse_grid_asks_for_few_wavelengths_of_the_same_spectra(instrument: Characterization, step: int) -> None:
    """Spectra straight over 300 nm explain nothing: 1.8 of the signal off, a seventh of the truth within 95 %."""
    fine = np.arange(450.0, 901, 3)
    made = instrument.response.matrix(lines := np.linspace(*instrument.response.band_nm, 201)) @ (
        1 + 0.5 * np.sin(lines / 60)
    )
    rng = np.random.default_rng(2)
    values = made[:, None, None] * (1 + 0.005 * rng.standard_normal((60, 4, 4)))
    coarse, every = (invert(values, instrument, "gp", grid=grid).spectra for grid in (fine[:: step // 3], fine))
    assert_array_equal(coarse.wavelength_nm, fine[:: step // 3])
    assert_allclose(coarse.estimate, every.estimate[:: step // 3], atol=0.02)
    assert every.std is not None
    assert coarse.std is not None
    assert_allclose(coarse.std, every.std[:: step // 3], rtol=0.3)


@pytest.mark.parametrize("method", ["joint", "gp"])
def test_light_in_a_narrow_line_is_said(
    instrument: Characterization, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    """No smooth spectrum has a laser's line: both gave nothing at all with tiny error bars, and said nothing."""
    wavelength = 1000 / instrument.response.wavenumber[::-1]
    matrix, rng = instrument.response.matrix(wavelength), np.random.default_rng(0)
    line, broad = np.zeros(len(wavelength)), 1 + 0.3 * np.sin(wavelength / 60)
    line[70] = 5.0
    for spectrum, expected in ((line, True), (broad, False)):
        seen = matrix @ spectrum
        values = seen[:, None, None] + seen.mean() / 200 * rng.standard_normal((len(seen), 6, 6))
        invert(values, instrument, method)
        words = said(caplog)
        assert ("--method sparse" in words) == expected, words
