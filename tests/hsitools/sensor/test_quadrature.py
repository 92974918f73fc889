"""A spectrum's sampling does not change what an instrument sees: one quadrature for all responses."""

import dataclasses

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsitools.cube import Cube
from hsitools.errors import InputError
from hsitools.io import open_cube
from hsitools.sensor import (
    Detector,
    FabryPerotResponse,
    GaussianResponse,
    MultiApertureCamera,
    Sensor,
    SubImageLayout,
    TableResponse,
    box_response,
    resample,
)  # fmt: skip
from hsitools.sensor.fabry_perot import AIRY, fringe
from hsitools.sensor.polynomial import Band
from hsitools.sensor.simulate import simulate
from hsitools.sensor.spectral import UNITS
from hsitools.sensor.transmittance import TransmittanceModel

BAND = Band(low=1.0, high=2.85)
LOW, HIGH = 1000 / BAND.high, 1000 / BAND.low


def interferometers(opd=(0.5, 7.0, 21.0, 55.0), reflectivity=0.35, waves=AIRY, noisy_flat=0.0):
    """Instruments of given OPDs (µm), with a flat field that is not even."""
    model = TransmittanceModel(degree_gain=1, degree_reflectivity=0, waves=waves)
    opd = np.asarray(opd)
    theta = np.zeros((len(opd), model.n_parameters))
    theta[:, 0], theta[:, 1] = 0.8, 0.1
    theta[:, model.slices["reflectivity"]] = reflectivity
    phase = model.slices["phase"].start
    theta[:, phase] = 2 * np.pi * opd * BAND.centre - 1.0
    theta[:, phase + 1] = 2 * np.pi * opd * BAND.half_width
    line = np.linspace(BAND.low, BAND.high, 181)
    noise = noisy_flat * np.random.default_rng(0).standard_normal((len(opd), 181))
    flat = 5.0 + 2.0 * np.sin(line) + np.arange(len(opd))[:, None] + noise
    return FabryPerotResponse(
        model=model, band=BAND, theta=theta, gain_scale=np.full(len(opd), 1.1), wavenumber=line, flat=flat,
        curve=1 + 0.1 * np.cos(5 * line),
    )  # fmt: skip


def band_mean(response, spectrum, points=400_001):
    """``1/B ∫ flat · transmittance · spectrum dλ``, summed over very many points."""
    wavelength = np.linspace(LOW, HIGH, points)
    sigma, model = 1000 / wavelength, response.model
    x = BAND.scale(sigma)
    gain = 0.8 + 0.1 * x
    out = []
    for row, theta in enumerate(response.theta):
        slope = theta[model.slices["phase"]]
        r = theta[model.slices["reflectivity"]][0]
        r = 0.5 * (r + np.sqrt(r * r + 4 * 0.005**2))
        shape = fringe(slope[0] + slope[1] * x, r, model.waves)
        flat = np.interp(sigma, response.wavenumber, response.flat[row] * 1.0)
        curve = np.interp(sigma, response.wavenumber, response.curve)
        out.append(np.trapezoid(1.1 * gain * shape * flat * curve * spectrum(wavelength), wavelength) / (HIGH - LOW))
    return np.array(out)


def smooth(wavelength):
    return 1 + 0.4 * np.sin(wavelength / 60) + wavelength / 2000


# ---- interferometers ---------------------------------------------------------------------------------------------


def test_a_flat_spectrum_at_any_number_of_samples():
    response = interferometers(noisy_flat=0.2)
    expected = band_mean(response, np.ones_like)
    for n in (2, 50, 100, 200, 400, 1700, 9000):
        seen = response.forward(np.ones(n), np.linspace(LOW, HIGH, n))
        np.testing.assert_allclose(seen, expected, rtol=3e-4)


@given(
    st.lists(st.floats(0.3, 60), min_size=1, max_size=4), st.floats(0.02, 0.9),
    st.sampled_from([AIRY, 2, 3, 6]), st.integers(2, 400), st.integers(0, 999),
)  # fmt: skip
@settings(max_examples=25)
def test_a_straight_spectrum_at_any_samples(opd, reflectivity, waves, n, seed):
    """Whatever their number and spacing: straight between samples is exact here, so nothing but fringes is left."""
    response = interferometers(opd, reflectivity, waves)
    rng = np.random.default_rng(seed)
    uneven = np.concatenate([[LOW, HIGH], rng.uniform(LOW, HIGH, n)])
    expected = band_mean(response, lambda w: 2 - w / 700, 20_001)
    for wavelength in (np.linspace(HIGH, LOW, n), 1000 / np.linspace(BAND.low, BAND.high, n), uneven):
        seen = response.forward(2 - wavelength / 700, wavelength)
        np.testing.assert_allclose(seen, expected, rtol=1e-3)


@pytest.mark.parametrize("reflectivity", [0.1, 0.35, 0.9])
def test_refinement(reflectivity):
    """A smooth spectrum, evenly sampled in wavelength, in wavenumber or not at all: all within .1 %."""
    response = interferometers(reflectivity=reflectivity)
    expected = band_mean(response, smooth)
    rng = np.random.default_rng(0)
    for n in (131, 260, 651):
        step = np.cumsum(rng.uniform(0.3, 1.7, n))
        uneven = LOW + (HIGH - LOW) * (step - step[0]) / (step[-1] - step[0])
        for wavelength in (np.linspace(LOW, HIGH, n), 1000 / np.linspace(BAND.low, BAND.high, n), uneven):
            np.testing.assert_allclose(response.forward(smooth(wavelength), wavelength), expected, rtol=1e-3)


def test_a_line_gives_flat_field_times_transmittance():
    """Light of power P in a narrow line is P·B·δ; the same row as the monochromatic one."""
    response, power = interferometers(noisy_flat=0.2), 3.0
    for line in (400.0, 555.5, 910.0):
        half = 0.004
        wavelength = np.array([LOW, line - half, line, line + half, HIGH])
        spectrum = np.array([0, 0, 1, 0, 0]) * power * (HIGH - LOW) / half
        expected = power * response.monochromatic([line])[:, 0]
        np.testing.assert_allclose(response.forward(spectrum, wavelength), expected, rtol=1e-3)
        flat = np.array([np.interp(1000 / line, response.wavenumber, row) for row in response.flat])
        np.testing.assert_allclose(expected, power * flat * response.transmittance([line])[:, 0], rtol=1e-12)


def test_units_are_said(tmp_path):
    sensor = Sensor(response=interferometers(), units="intensity of the capture")
    assert sensor.describe()["interferogram"] == UNITS
    assert "mean over the calibrated band" in UNITS
    sensor.save(tmp_path / "s.h5")
    with h5py.File(tmp_path / "s.h5") as file:
        assert file["response"].attrs["interferogram"] == UNITS


def test_order_and_twins():
    response, rng = interferometers(), np.random.default_rng(0)
    wavelength = np.linspace(LOW, HIGH, 40)
    order = rng.permutation(40)
    matrix = response.matrix(wavelength)
    np.testing.assert_allclose(response.matrix(wavelength[order]), matrix[:, order], rtol=1e-12)
    # two detectors list a wavelength: together they weigh what one does
    twins = response.matrix(np.append(wavelength, wavelength[7]))
    np.testing.assert_allclose(twins[:, 7], twins[:, 40], rtol=1e-12)
    np.testing.assert_allclose(twins[:, 7] + twins[:, 40], matrix[:, 7], rtol=1e-12)


def test_ends_of_the_band():
    """One sample beyond tells the spectrum up to the end; part of a band is that part."""
    response = interferometers()
    whole = response.matrix(np.linspace(LOW, HIGH, 300)).sum(1)
    beyond = np.concatenate([[LOW - 3.0], np.linspace(LOW + 1, HIGH - 2, 200), [HIGH + 5.0]])
    np.testing.assert_allclose(response.matrix(beyond).sum(1), whole, rtol=1e-4)
    # samples that are the middles of cells, and some that end a little earlier
    for n in (50, 100, 400):
        cells = LOW + (HIGH - LOW) * (np.arange(n) + 0.5) / n
        np.testing.assert_allclose(response.matrix(cells).sum(1), whole, rtol=1e-4)
    np.testing.assert_allclose(response.matrix(np.linspace(352, 999, 40)).sum(1), whole, rtol=1e-4)
    # what is not covered is no light, whatever the spacing
    short = [response.matrix(np.linspace(400, 900, n)).sum(1) for n in (5, 40, 700)]
    np.testing.assert_allclose(short, np.broadcast_to(short[2], (3, 4)), rtol=1e-4)
    assert (short[0] < 0.95 * whole).all()
    parts = [np.linspace(LOW, 600.0, 90), np.linspace(600.0, HIGH, 77)]
    np.testing.assert_allclose(sum(response.matrix(part).sum(1) for part in parts), whole, rtol=1e-4)
    np.testing.assert_allclose([response.coverage(part)[0] for part in parts],
                               [(600 - LOW) / (HIGH - LOW), (HIGH - 600) / (HIGH - LOW)])  # fmt: skip
    with pytest.raises(InputError, match=r"found 300 to 900, expected inside the calibrated band 350.88 to 1000.00"):
        response.matrix([300.0, 340.0, 400.0, 900.0])
    for wrong, message in (([500.0], "found 1 sample,"), ([500.0, 500.0], "found 1 sample,"),
                           ([500.0, np.nan], "no wavelengths"), ([-5.0, 500.0], "no wavelengths")):  # fmt: skip
        with pytest.raises(InputError, match=message):
            response.matrix(wrong)


def test_lines_left_out_of_the_flat_field():
    """A saturated line of the calibration (flat field 0 there) leaves no hole in the response."""
    response = interferometers()
    flat = response.flat.copy()
    flat[1, 40:43] = 0
    wavelength = np.linspace(LOW, HIGH, 100)
    holed = dataclasses.replace(response, flat=flat)
    np.testing.assert_allclose(holed.matrix(wavelength), response.matrix(wavelength), rtol=1e-2)
    dark = dataclasses.replace(response, flat=np.zeros_like(flat))
    assert (dark.matrix(wavelength) == 0).all()


@pytest.mark.parametrize(("half", "scene"), [(np.float64(0.5), None), (None, smooth)])
def test_simulated_files_do_not_depend_on_the_sampling(half, scene, shared, tmp_path):
    """131 and 651 wavelengths: the same interferograms, the same noise, the same saturation."""
    noise = Detector(electrons_per_unit=40.0, read_noise=5.0, electrons_per_dn=40.0 / 200, bits=10, bias=20.0)
    sensor = Sensor(response=interferometers(), noise=noise, units="intensity of the capture")
    seen = {}
    for n in (131, 651):
        if scene is None:
            cube = open_cube(shared / "cases" / "inversion" / f"flat_{n}.h5")
        else:
            wavelength = np.linspace(352, 999, n)
            cube = Cube(data=np.broadcast_to(smooth(wavelength)[:, None, None] * 0.5, (n, 96, 96)),
                        wavelength_nm=wavelength)  # fmt: skip
        simulate(cube, sensor, tmp_path / f"{n}.h5", noise=False)
        said = simulate(cube, sensor, tmp_path / f"{n}_noisy.h5", seed=n, scale=1.0)
        with h5py.File(tmp_path / f"{n}_noisy.h5") as file:
            noisy, full = file["cube"][()], file["saturated"][()] if "saturated" in file else np.zeros(1)
        seen[n] = open_cube(tmp_path / f"{n}.h5").read(), noisy.mean((1, 2)), noisy.std((1, 2)), full.mean()
        assert any(f"{n} of the scene's bands" in line for line in said)
    (clean, mean, std, full), (clean2, mean2, std2, full2) = seen[131], seen[651]
    np.testing.assert_allclose(clean, clean2, rtol=1e-3)
    np.testing.assert_allclose(mean, mean2, rtol=3e-3)
    np.testing.assert_allclose(std, std2, rtol=0.08, atol=0.01)
    assert std.max() > 0.05
    assert full == pytest.approx(full2, abs=0.01)
    if scene is None:
        np.testing.assert_allclose(clean[:, 0, 0], half * band_mean(interferometers(), np.ones_like), rtol=1e-3)


def test_simulate_takes_the_samples_around_the_band(tmp_path):
    """Scenes wider than the band: where their samples happen to lie beside its ends does not matter."""
    sensor = Sensor(response=interferometers(), units="intensity of the capture")
    seen = []
    for step in (1.0, 5.0, 7.3):
        wavelength = np.arange(300.0, 1100.0, step)
        cube = Cube(data=np.full((len(wavelength), 2, 2), 0.5), wavelength_nm=wavelength)
        simulate(cube, sensor, tmp_path / "a.h5", noise=False)
        seen.append(open_cube(tmp_path / "a.h5").read()[:, 0, 0])
    np.testing.assert_allclose(
        seen, np.broadcast_to(0.5 * band_mean(interferometers(), np.ones_like), (3, 4)), rtol=3e-4
    )
    part = Cube(data=np.ones((30, 2, 2)), wavelength_nm=np.linspace(500, 700, 30))
    said = simulate(part, sensor, tmp_path / "a.h5", noise=False)
    assert any("covers 31% of the calibrated band" in line for line in said)
    with pytest.raises(InputError, match=r"bands: found none between 350\.877 and 1000 nm"):
        simulate(part.replace(wavelength_nm=np.linspace(1100, 1200, 30)), sensor, tmp_path / "b.h5")
    assert not (tmp_path / "b.h5").exists()


@pytest.mark.parametrize("half_field", [0.0, 6.0])
def test_raw_frames_do_not_depend_on_the_sampling(half_field):
    layout = SubImageLayout(frame_shape=(60, 60), grid=(2, 2), pitch=(20.0, 20.0), origin=(15.0, 15.0))
    camera = MultiApertureCamera(
        response=interferometers(), layout=layout, size=9, half_field_deg=half_field, vignetting=0.2
    )
    frames = []
    for wavelength in (np.linspace(LOW, HIGH, 131), np.linspace(LOW, HIGH, 651), 1000 / np.linspace(1.0, 2.85, 300)):
        light = np.broadcast_to(smooth(wavelength)[:, None, None], (len(wavelength), 9, 9))
        frames.append(camera.frame(Cube(data=light, wavelength_nm=wavelength), noise=False))
    np.testing.assert_allclose(frames[1], frames[0], rtol=1e-3)
    np.testing.assert_allclose(frames[2], frames[0], rtol=1e-3)
    middle = camera.interferogram_cube(frames[0]).read()[:, 4, 4]
    np.testing.assert_allclose(middle, band_mean(interferometers(), smooth), rtol=1e-3)


# ---- bands ---------------------------------------------------------------------------------------------------------


def bands(kind):
    if kind == "gaussian":
        return GaussianResponse(centre_nm=[450.0, 610.0, 850.0], width_nm=[3.0, 12.0, 60.0])
    if kind == "narrow":
        return GaussianResponse(centre_nm=[410.3, 500.30071, 985.7], width_nm=[0.01, 0.3, 0.01])
    if kind == "box":
        return box_response(450, 700)
    # a table that was cut off where it still responds
    return TableResponse(table_nm=[500.0, 520.0, 600.0, 640.0], response=[[0.2, 1.0, 3.0, 2.0], [1.0, 0.0, 0.0, 0.0]])


KINDS = ["gaussian", "narrow", "box", "cut"]


def dense_mean(response, spectrum):
    """The band's weighted mean of a spectrum by summing over very many points around each band."""
    out = []
    for k in range(response.n_bands):
        if isinstance(response, GaussianResponse):
            centre, width = response.centre_nm[k], response.width_nm[k]
            w = centre + width * np.linspace(-5, 5, 200_001)
            weight = np.exp(-4 * np.log(2) * ((w - centre) / width) ** 2)
        else:
            w = np.linspace(*response.table_nm[[0, -1]], 200_001)
            weight = np.interp(w, response.table_nm, response.response[k])
        out.append(np.trapezoid(weight * spectrum(w), w) / np.trapezoid(weight, w))
    return np.array(out)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [3, 40, 611])
def test_bands_see_a_straight_spectrum_at_any_samples(kind, n):
    response, rng = bands(kind), np.random.default_rng(n)
    expected = dense_mean(response, lambda w: 3 - w / 400)
    for wavelength in (np.linspace(350, 1100, n), 1000 / np.linspace(0.9, 2.9, n),
                       np.concatenate([[350.0, 1100.0], rng.uniform(350, 1100, n)])):  # fmt: skip
        np.testing.assert_allclose(response.forward(3 - wavelength / 400, wavelength), expected, rtol=1e-8)
        np.testing.assert_allclose(response.matrix(wavelength).sum(1), 1, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_bands_under_refinement(kind):
    response = bands(kind)
    expected = dense_mean(response, smooth)
    for wavelength in (np.linspace(350, 1100, 400), 1000 / np.linspace(0.9, 2.9, 900)):
        np.testing.assert_allclose(response.forward(smooth(wavelength), wavelength), expected, rtol=1e-3)


def test_a_cut_table_is_not_drawn_on():
    """Its response ends with it, however far the next sample is."""
    response = bands("cut")
    wavelength = np.array([300.0, 480.0, 530.0, 655.0, 900.0])
    step = np.where(wavelength > 640, 1.0, 0.0)
    # straight from 0 at 530 to 1 at 655 nm
    expected = dense_mean(response, lambda w: np.clip((w - 530) / 125, 0, 1))
    np.testing.assert_allclose(response.forward(step, wavelength), expected, atol=1e-8)
    np.testing.assert_allclose(response.coverage(wavelength), 1, rtol=1e-12)
    np.testing.assert_allclose(response.wavelength_nm, dense_mean(response, lambda w: w), rtol=1e-8)


@pytest.mark.parametrize("kind", ["gaussian", "box"])
def test_resampled_cubes_do_not_depend_on_the_sampling(kind):
    response = bands(kind)
    seen = []
    for wavelength in (np.linspace(380, 1000, 311), np.linspace(380, 1000, 1241)):
        cube = Cube(data=np.broadcast_to(smooth(wavelength)[:, None, None], (len(wavelength), 2, 2)),
                    wavelength_nm=wavelength)  # fmt: skip
        seen.append(resample(cube, response).read()[:, 0, 0])
    np.testing.assert_allclose(seen[0], seen[1], rtol=1e-3)


@pytest.mark.parametrize("kind", [*KINDS, "interferometers"])
@pytest.mark.parametrize("seed", [0, 1])
def test_adjoint(kind, seed):
    response, rng = interferometers() if kind == "interferometers" else bands(kind), np.random.default_rng(seed)
    wavelength = rng.permutation(np.concatenate([[LOW, HIGH], rng.uniform(LOW, HIGH, 60)]))
    x, y = rng.standard_normal((3, 62)), rng.standard_normal((3, response.n_bands))
    left, right = (response.forward(x, wavelength) * y).sum(), (x * response.adjoint(y, wavelength)).sum()
    assert left == pytest.approx(right, rel=1e-10)
