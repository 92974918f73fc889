"""What a sensor says of itself, and what it does at the ends of its range, by hand."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from hsitools.cube import Cube
from hsitools.io import open_cube
from hsitools.sensor import Calibration, Defects, Detector, Distortion, GaussianResponse, Sensor, Stripes
from hsitools.sensor.bands import TableResponse, box_response, resample
from hsitools.sensor.detector import read_out
from hsitools.sensor.fabry_perot import finesse
from hsitools.sensor.line_shape import LineShape
from hsitools.sensor.photon.pixels import mean_light
from hsitools.sensor.presets import preset
from hsitools.sensor.simulate import simulate


def flat(level, shape=(3, 8, 10), **labels):
    wavelength = np.linspace(450, 650, shape[0])
    return Cube(data=np.full(shape, level, np.float32), wavelength_nm=wavelength, **{"units": "1"} | labels)


def two_bands(**parts):
    return Sensor(response=GaussianResponse(centre_nm=[500.0, 600.0], width_nm=[10.0, 10.0]), **parts)


# ---- detector --------------------------------------------------------------------------------------------------


def test_no_light_has_the_variance_of_dark_current_and_read_out():
    """Values below zero too: noise made them so."""
    detector = Detector(electrons_per_unit=[2.0, 4.0], dark_electrons=5.0, read_noise=3.0, electrons_per_dn=6.0)
    found = detector.variance(np.array([[[-9.0, 0.0, 7.0]]] * 2))
    # electrons and read noise², and a twelfth of the step²
    np.testing.assert_allclose(found[:, 0], [[17 / 4, 17 / 4, 31 / 4], [17 / 16, 17 / 16, 45 / 16]], rtol=1e-12)


def test_lines_of_a_pattern_are_those_of_the_image():
    """In any piece of it: drift, fragments and lost lines."""
    stripes = Stripes(gain=0.1, offset=2.0, drift=0.2, fragments=0.5).draw((2, 12, 5), np.random.default_rng(0))
    pattern = Defects(dead=0.2, hot=0.2, lost_lines=0.3).draw(stripes, np.random.default_rng(1))
    signal = np.random.default_rng(2).uniform(1, 2, (2, 12, 5))
    whole, rows = slice(0, 12), slice(5, 11)
    np.testing.assert_array_equal(pattern.apply(signal, whole)[:, rows], pattern.apply(signal[:, rows], rows))
    np.testing.assert_array_equal(pattern.broken(whole)[:, rows], pattern.broken(rows))
    for piece, image in zip(*(read_out(None, pattern, part, place, np.random.default_rng(3), hot=9.0)
                              for part, place in ((signal[:, rows], rows), (signal, whole))), strict=True):  # fmt: skip
        np.testing.assert_array_equal(piece, image[:, rows])
    # a line that drifts by its walk
    bare = dataclasses.replace(stripes, gain=np.ones((2, 5)), offset=np.zeros((2, 5)), start=np.zeros((2, 5), int),
                               stop=np.full((2, 5), 12))  # fmt: skip
    np.testing.assert_allclose(bare.on(rows)[0][1, 2], 1 + bare.drift[1] * bare.walk[7], rtol=1e-12)


def test_dead_elements_and_lost_lines_read_nothing_of_the_electronics():
    pattern = Stripes(offset=50.0).draw((1, 4, 6), np.random.default_rng(0))
    dead = np.zeros((1, 6), bool)
    dead[0, 2] = True
    lost = np.array([False, True, False, False])
    pattern = dataclasses.replace(pattern, dead=dead, lost=lost)
    detector = Detector(electrons_per_unit=1.0, full_well=100.0)
    values, saturated = read_out(detector, pattern, np.full((1, 4, 6), 500.0), slice(0, 4), np.random.default_rng(1))
    assert (values[0, :, 2] == 0).all()
    assert (values[0, 1] == 0).all()
    # full elsewhere; a lost line tells nothing, nor that it was full
    expected = ~lost[:, None] & ~dead
    np.testing.assert_array_equal(saturated[0], np.broadcast_to(expected, (4, 6)))


def test_flipped_bits_read_zero_or_full_at_even_odds():
    """Full is what saturates, far above the scene."""
    detector = Detector(electrons_per_unit=[1.0, 2.0], full_well=1000.0)
    seen = two_bands(noise=detector, defects=Defects(impulse=0.2)).observe(flat(50.0, (3, 60, 60)),
                                                                         np.random.default_rng(0)).read()  # fmt: skip
    for band, full in zip(seen, (1000, 500), strict=True):
        assert band.max() == full
        high, low = np.mean(band == full), np.mean(band == 0)
        assert high == pytest.approx(0.1, abs=0.015)
        assert low == pytest.approx(0.1, abs=0.015)


# ---- calibration -----------------------------------------------------------------------------------------------


def test_a_calibration_says_what_its_working_elements_have():
    gain, offset = np.array([[1.0, 1.2, 9.0], [0.8, 1.0, 1.0]]), np.array([[3.0, -1.0, 99.0], [1.0, 2.0, 5.0]])
    maps = Calibration(gain=gain, offset=offset, dead=gain == 9)
    assert maps.summary() == "3 columns, gain 1 ± 0.13, offset 2 ± 2, 1 dead elements"
    part = maps.select(np.array([False, True]))
    assert (part.gain.tolist(), part.offset.tolist()) == ([[0.8, 1, 1]], [[1, 2, 5]])
    values = maps.pattern(4).apply(np.full((2, 4, 3), 10.0), slice(0, 4))
    np.testing.assert_allclose(values[:, 3], 10 * gain + offset)


# ---- bands -----------------------------------------------------------------------------------------------------


def test_a_triangle_by_hand():
    """Its centroid, and the width of a box of its height and area; twice as high it is the same band."""
    response = TableResponse(table_nm=np.array([500.0, 530.0, 560.0]), response=np.array([[0, 1, 0], [0, 2.0, 0]]))
    np.testing.assert_allclose(response.wavelength_nm, [530, 530])
    np.testing.assert_allclose(response.fwhm_nm, [30, 30])
    slope = TableResponse(table_nm=np.array([500.0, 560.0]), response=np.array([[0, 1.0]]))
    np.testing.assert_allclose(slope.wavelength_nm, [540])
    # of a spectrum that is the wavelength itself each gives its centroid
    grid = np.array([490.0, 507.0, 541.0, 555.0, 570.0])
    np.testing.assert_allclose(slope.forward(grid, grid), [540], rtol=1e-9)


def test_a_box_falls_over_its_edges():
    box = box_response(400.0, 700.0, 20.0)
    np.testing.assert_allclose(box.curve(np.array([385.0, 390, 400, 410, 550, 690, 700, 710])),
                               [[0, 0, 0.5, 1, 1, 1, 0.5, 0]], atol=1e-12)  # fmt: skip
    assert box.fwhm_nm == pytest.approx(300)


def test_a_band_of_what_is_known():
    """Where one of its two wavelengths has no value, the mean is the other's; scales and widths stay."""
    wavelength = np.array([500.0, 510.0, 520.0])
    numbers = np.array([100, 300, 500], np.int16)[:, None, None] * np.ones((1, 1, 2), np.int16)
    numbers[0, 0, 1] = -1
    cube = Cube(data=numbers, wavelength_nm=wavelength, nodata=-1, scale_factor=0.01)
    response = TableResponse(table_nm=np.array([500.0, 520.0]), response=np.array([[1.0, 1.0]]))
    seen = resample(cube, response).physical()
    # a quarter, a half, a quarter; without the first a third and two
    np.testing.assert_allclose(seen.read()[0, 0], [3, (2 * 3 + 5) / 3], rtol=1e-6)


def test_smile_and_keystone_go_their_way():
    """At the edges of the swath each band sees what lies a smile further on; the last band lies right of the first."""
    import torch

    ramp = torch.arange(20, dtype=torch.float64)
    bands = ramp[:, None, None].expand(20, 1, 9)
    seen = Distortion(smile_bands=1.5).forward(bands)
    np.testing.assert_allclose(seen[10, 0], 10 + 1.5 * np.linspace(-1, 1, 9) ** 2, rtol=1e-12)
    columns = ramp[None, None].expand(5, 1, 20)
    seen = Distortion(keystone_pixels=2.0).forward(columns)
    np.testing.assert_allclose(seen[:, 0, 10], 10 + np.array([-1, -0.5, 0, 0.5, 1]), rtol=1e-12)


def test_an_unknown_width_is_the_distance_to_the_nearer_neighbour():
    cube = Cube(
        data=np.ones((4, 2, 2)), wavelength_nm=[500.0, 510.0, 530.0, 540.0], fwhm_nm=[np.nan, np.nan, 7, np.nan]
    )
    assert Sensor.like(cube).response.width_nm.tolist() == [10, 10, 7, 10]
    mixed = Cube(data=np.ones((4, 2, 2)), wavelength_nm=[530.0, 500.0, 540.0, 510.0])
    assert Sensor.like(mixed).response.width_nm.tolist() == [10, 10, 10, 10]


# ---- light -----------------------------------------------------------------------------------------------------


def test_pan_has_a_blur_of_its_own():
    """A chequered scene is at PAN's Nyquist frequency along both axes: its contrast is the gain squared."""
    scene = flat(1.0, (5, 24, 24))
    chequers = 1 + 0.5 * (-1.0) ** np.add.outer(np.arange(24), np.arange(24))
    scene = scene.replace(data=(scene.read() * chequers).astype(np.float32))
    pan = GaussianResponse(centre_nm=[550.0], width_nm=[20.0])
    for gain in (0.2, 0.6):
        seen = two_bands(mtf=0.3, ratio=4, pan=pan, pan_mtf=gain).forward(scene).pan.read()[0, 8:-8, 8:-8]
        assert np.ptp(seen) == pytest.approx(gain**2, rel=1e-4)


def test_a_line_s_width_in_wavenumber():
    """Δσ = Δλ / λ²: 2 nm at 500 nm (2 µm⁻¹) are 0.008 µm⁻¹."""
    assert LineShape.of_wavelength(2.0, np.array([2.0])).width == pytest.approx(0.008)


def test_finesse_by_hand():
    assert finesse(np.array([0.25, 0.81])) == pytest.approx([np.pi * 0.5 / 0.75, np.pi * 0.9 / 0.19])


# ---- simulation ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("numbers", "labels"),
    [
        (50, {"units": "%"}), (500, {"units": "%", "scale_factor": 0.1}), (5000, {"units": "1"}),
        (10000, {"units": "1", "scale_factor": 0.5}),
    ],
)  # fmt: skip
def test_scenes_in_other_numbers_are_one_reflectance(tmp_path, numbers, labels):
    simulate(flat(numbers, (3, 4, 4), **labels), two_bands(units="1"), tmp_path / "x.h5", noise=False)
    np.testing.assert_allclose(open_cube(tmp_path / "x.h5").read(), 0.5, rtol=1e-5)


def test_shares_that_are_told_are_those_of_the_values(tmp_path):
    scene = flat(0.5, (3, 8, 10))
    values = scene.read().copy()
    values[:, :2] = np.nan
    values[:, 2:4] = 2.0
    full = Detector(electrons_per_unit=1e4, full_well=1.5e4)
    sensor = two_bands(units="1", noise=full, pan_noise=full, pan=GaussianResponse(centre_nm=[550.0], width_nm=[20.0]))
    scene = scene.replace(data=values)
    said = simulate(scene, sensor, tmp_path / "x.h5", scale=1.0)
    assert any(line.startswith("25.0% of the values are NaN") for line in said)
    assert any(line.startswith("25.0% of the values are saturated") for line in said)
    assert any(line.startswith("25.0% of PAN") for line in said)


# ---- presets and pixels ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "along", "across"), [("enmap", 0.16, 0.25), ("prisma", None, None), ("finch", None, None)]
)  # fmt: skip
def test_optics_of_a_preset_are_those_that_its_source_states(name, along, across):
    """Rows follow one another along track: the first axis of an MTF per axis."""
    sensor = preset(name)
    if along is None:
        assert sensor.mtf is None or sensor.mtf.ndim == 1
        return
    assert f"{along:.2f}".lstrip("0") + " along" in sensor.source
    assert f"{across:.2f}".lstrip("0") + " across" in sensor.source
    assert (sensor.mtf == [along, across]).all()


def test_noise_of_the_mean_light_has_the_dark_frames_in_every_level():
    """Two levels of relative light 1 and .5, variance 4 a frame: 4/8 + 4/2 of the frames, and 2² · 4/16 of the dark."""
    shape = (16, 16)

    def level(mean, count):
        return SimpleNamespace(mean=np.full(shape, mean), count=count, line_variance=0.0)

    line = SimpleNamespace(at=lambda signal: np.full(np.shape(signal), 4.0))
    everywhere = np.ones(shape, dtype=bool)
    light, noise, lines = mean_light(
        level(100.0, 16), [level(300.0, 8), level(200.0, 2)], [everywhere, everywhere], np.full(shape, 100.0), 0.0, line
    )
    np.testing.assert_allclose(light, 200)
    np.testing.assert_allclose(noise, np.sqrt(4 / 8 + 4 / 2 + 4 * 4 / 16) / 1.5)
    assert (lines == 0).all()
