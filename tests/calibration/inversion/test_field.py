"""Pixels off the axis, vignetting and dead pixels: what ignoring them costs, and that it is made up for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.testing import assert_allclose

from calibration.characterization import Characterization
from calibration.inversion.field import cosine_of, gain_of, on_axis
from calibration.inversion.invert import invert
from calibration.inversion.measurement import Measurement, frames
from calibration.inversion.scene_frames import open_scene, without_light
from hsitools.cube import Cube
from hsitools.errors import InputError
from hsitools.sensor.layout import SubImageLayout
from hsitools.sensor.multi_aperture import MultiApertureCamera

SIZE = 9
#: A lens of 2 mm behind pixels of 35 µm: four degrees at the edge, 5.7 in the corner.
LAYOUT = SubImageLayout(
    frame_shape=(100, 60), grid=(10, 6), pitch=(10, 10), origin=(5, 5), focal_length_mm=2.0, pixel_pitch_um=35.0
)


def camera(instrument: Characterization) -> MultiApertureCamera:
    half = float(np.degrees(np.arctan((SIZE - 1) / 2 * 0.035 / 2)))
    return MultiApertureCamera(
        response=instrument.response, layout=LAYOUT, size=SIZE, half_field_deg=half, vignetting=0.3
    )


@pytest.mark.parametrize("unit", [1e-15, 1e-9, 1e9])
def test_frames_in_other_units_are_the_same_measurement(instrument: Characterization, unit: float) -> None:
    """Watts, or shares of full scale: a noise of some 1e-12 was given to the first."""
    rng = np.random.default_rng(0)
    raw = 1000 + 200 * rng.random((1, 100, 60)) + 5 * rng.standard_normal((4, 100, 60))
    dark = 100 + rng.standard_normal((8, 100, 60))
    dark[:, 7, 8] += 300
    device = replace(instrument, layout=LAYOUT)
    plain, scaled = (frames(c * raw, c * dark, device, full_scale=c * 4095) for c in (1.0, unit))
    assert_allclose(scaled.values, unit * plain.values, rtol=1e-9)
    assert plain.noise_std is not None
    assert scaled.noise_std is not None
    assert_allclose(scaled.noise_std, unit * plain.noise_std, rtol=1e-6)
    assert_allclose(plain.noise_std, 2.5, rtol=0.2)
    assert plain.hot is not None
    assert plain.hot.sum() == 1
    np.testing.assert_array_equal(scaled.hot, plain.hot)


def test_the_corner_has_the_spectrum_of_the_middle(instrument: Characterization) -> None:
    made = camera(instrument)
    grid = np.linspace(*instrument.response.band_nm, 201)
    spectrum = 1 + 0.5 * np.exp(-0.5 * ((grid - 600) / 80) ** 2)
    scene = Cube(data=np.broadcast_to(spectrum[:, None, None], (201, SIZE, SIZE)).copy(), wavelength_nm=grid)
    cosine = cosine_of(LAYOUT, SIZE)
    assert cosine is not None
    assert_allclose(cosine, made.field()[0], rtol=1e-12)
    values = made.interferograms(scene) / made.field()[1]
    noise = np.full(60, 1e-5 * values.mean())
    level = noise[:, None, None] * np.random.default_rng(0).standard_normal(values.shape)
    exact = replace(instrument, covariance=0 * instrument.covariance)
    asked = np.linspace(450, 900, 91)
    truth = np.interp(asked, grid, spectrum)

    def corner(interferograms: np.ndarray) -> float:
        case = Measurement(values=interferograms, noise_std=noise, source="")
        estimate = invert(case, exact, "gp", grid=asked).spectra.estimate
        return float(np.sqrt(np.mean((estimate[:, 0, 0] - truth) ** 2)) / truth.max())

    assert corner(on_axis(values + level, instrument.response, cosine, noise)) < 1e-3
    # left as it is it is .047 off: the image's mean, of which the kernel is made, draws it there a little (.05 without)
    assert corner(values + level) > 0.04


def test_raw_frames_are_taken_to_the_axis_and_freed_of_vignetting(instrument: Characterization, tmp_path: Path) -> None:
    made, device = camera(instrument), replace(instrument, layout=LAYOUT)
    grid = np.linspace(*instrument.response.band_nm, 201)
    rng = np.random.default_rng(1)
    for name, spectrum in (("scene", 1 + 0.5 * np.sin(grid / 60)), ("flat", np.ones(201))):
        scene = Cube(data=np.broadcast_to(spectrum[:, None, None], (201, SIZE, SIZE)).copy(), wavelength_nm=grid)
        frame = 1000 * made.frame(scene, noise=False)
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["frames"] = 50 + frame + 0.01 * rng.standard_normal((4, *frame.shape))
            file["dark"] = 50 + 0.01 * rng.standard_normal((4, *frame.shape))
    measured = open_scene(tmp_path / "scene.h5", device, tmp_path / "flat.h5").measurement
    values = measured.read(slice(0, SIZE), slice(0, SIZE))
    difference = np.abs(values[:, 0, 0] / values[:, 4, 4] - 1)
    assert difference.max() < 1e-3
    # without the flat scene the light of the corner is missing
    plain = open_scene(tmp_path / "scene.h5", device).measurement.read(slice(0, SIZE), slice(0, SIZE))
    assert np.median(plain[:, 0, 0] / plain[:, 4, 4]) == pytest.approx(0.4, abs=0.02)


def test_gain_is_the_vignetting_and_dead_pixels_are_told(instrument: Characterization) -> None:
    made = camera(instrument)
    grid = np.linspace(*instrument.response.band_nm, 201)
    flat = made.interferograms(Cube(data=np.ones((201, SIZE, SIZE)), wavelength_nm=grid))
    flat[7, 2, 2] *= 0.1
    gain = gain_of(flat, instrument.response, cosine_of(LAYOUT, SIZE))
    assert np.isnan(gain[7, 2, 2])
    gain[7, 2, 2] = gain[8, 2, 2]
    # the level is the median over the middle, where it falls off by a little already
    middle = gain[:, SIZE // 2, SIZE // 2][:, None, None]
    assert_allclose(gain / middle, np.broadcast_to(made.field()[1], gain.shape), rtol=2e-3)


def test_a_layout_without_optics_tells_no_angle_and_one_with_keeps_it() -> None:
    assert cosine_of(replace(LAYOUT, focal_length_mm=None), SIZE) is None
    assert SubImageLayout.from_dict(LAYOUT.to_dict()) == LAYOUT
    assert "focal_length_mm" not in replace(LAYOUT, focal_length_mm=None).to_dict()


def test_frames_of_a_monochromator_are_no_even_scene(instrument: Characterization, tmp_path: Path) -> None:
    frames = np.full((3, *LAYOUT.frame_shape), 100.0)
    for name in ("scene.h5", "lines.h5"):
        with h5py.File(tmp_path / name, "w") as file:
            file["frames"], file["dark"] = frames, np.zeros((2, *LAYOUT.frame_shape))
            if name == "lines.h5":
                file["wavelength_nm"] = [500.0, 510, 520]
    device = replace(instrument, layout=LAYOUT)
    with pytest.raises(InputError, match=r"lines.h5: flat: found wavelength_nm \(a monochromator\)"):
        open_scene(tmp_path / "scene.h5", device, tmp_path / "lines.h5")


def test_corners_that_no_light_reaches_have_no_spectrum() -> None:
    """Spectra of nothing, 0 ± .0009, were drawn as the darkest pixel's."""
    rng = np.random.default_rng(0)
    y, x = np.ogrid[:21, :21]
    radius = np.hypot(y - 10, x - 10)
    fringes = 1 + 0.5 * np.cos(np.arange(40.0))[:, None, None]
    # inside the disc a dark target is measured
    light = np.where(radius <= 10.5, np.where(radius < 3, 0.0, 1.0), 0.0)
    aligned = light * fringes + 1e-3 * rng.standard_normal((40, 21, 21))
    np.testing.assert_array_equal(without_light(aligned), radius > 10.5)
    assert not without_light(fringes + 0 * aligned).any()
