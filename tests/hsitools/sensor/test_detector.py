"""The detector's order of effects: each acts at its place, and all who simulate one agree."""

import dataclasses
from statistics import NormalDist

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from denoise.comparison.simulate import ELECTRONS, READ_NOISE
from denoise.comparison.simulate import simulate as noise_case
from denoise.learning.residual_examples import observe as training_observation
from hsitools.cube import Cube
from hsitools.errors import InputError
from hsitools.io import open_cube
from hsitools.scenes import scene
from hsitools.sensor import Calibration, Defects, Detector, GaussianResponse, Pattern, Sensor, Stripes, preset
from hsitools.sensor.detector import read_out
from hsitools.sensor.simulate import simulate

CENTRE = [500.0, 600.0]
#: A camera of 12 bits whose dark level is 1000 of 4095, in digital numbers above it.
CAMERA = Detector(electrons_per_unit=2.0, read_noise=10.0, electrons_per_dn=2.0, bits=12, bias=1000.0)


def sensor(detector, **parts):
    parts = {"units": "DN"} | parts
    return Sensor(response=GaussianResponse(centre_nm=CENTRE, width_nm=[10.0, 10.0]), noise=detector, **parts)


def flat(level, shape=(2000, 4)):
    return Cube(data=np.full((3, *shape), level, np.float32), wavelength_nm=[450.0, 550.0, 650.0], units="DN")


def no_pattern(bands, height, width, **change):
    return dataclasses.replace(Stripes().draw((bands, height, width), np.random.default_rng(0)), **change)


# ---- codes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0.0, 0.25, 0.5])
def test_codes_of_one_signal_are_a_rounded_gaussian(place):
    """Of less noise than a step one signal's spread is not the declared one: smaller amid a code, larger between."""
    sigma, code = 0.3, 40.0 + place
    # a step of 1e6 electrons: photons' noise, .0063 steps, does not count beside read noise
    detector = Detector(electrons_per_unit=1e6, read_noise=sigma * 1e6, electrons_per_dn=1e6)
    k = np.arange(-4, 5)
    edges = [[NormalDist(place, sigma).cdf(k_ + half) for k_ in k] for half in (-0.5, 0.5)]
    share = np.subtract(edges[1], edges[0])
    mean = (share * k).sum()
    spread = np.sqrt((share * k**2).sum() - mean**2)
    values, _ = detector.sample(np.full((1, 300, 300), code), np.random.default_rng(0))
    codes = values - 40.0
    assert codes.mean() == pytest.approx(mean, abs=5 * spread / 300 + 1e-6)
    assert codes.std() == pytest.approx(spread, rel=0.02)


def test_the_declared_variance_is_that_of_errors_over_all_places():
    detector = Detector(electrons_per_unit=1.0, read_noise=3000.0, electrons_per_dn=1e4)
    signal = 4e5 + 1e4 * np.random.default_rng(1).random((1, 300, 300))
    values, _ = detector.sample(signal, np.random.default_rng(0))
    assert ((values - signal) ** 2).mean() == pytest.approx(detector.variance(signal).mean(), rel=0.03)


# ---- offsets are not light -------------------------------------------------------------------------------------


def calibrated(offset, gain=1.0):
    offset = np.broadcast_to(offset, (2, 4))
    return Calibration(gain=np.full((2, 4), gain), offset=offset, dead=np.zeros((2, 4), dtype=bool))


@pytest.mark.parametrize("light", [0.0, 300.0])
@pytest.mark.parametrize(
    "detector",
    [
        Detector(electrons_per_unit=2.0, read_noise=1.0),
        Detector(electrons_per_unit=2.0, read_noise=1.0, dark_electrons=40.0, full_well=1e5),
        # of 0.1.0: a converter without a stated bias cuts no noise
        Detector(electrons_per_unit=2.0, read_noise=1.0, full_well=8190, bits=12),
        Detector(electrons_per_unit=2.0, read_noise=1.0, electrons_per_dn=2.0, bits=12, bias=200.0),
    ],
)
def test_offsets_shift_and_have_no_noise(detector, light):
    offset = np.array([-10.0, -5.0, 5.0, 10.0])
    seen = sensor(detector, calibration=calibrated(offset)).observe(flat(light), np.random.default_rng(0)).data
    std = np.sqrt(detector.variance(np.full((1, 1, 1), light)))[0, 0, 0]
    np.testing.assert_allclose(seen.mean((0, 1)), light + offset, atol=5 * std / np.sqrt(4000))
    np.testing.assert_allclose(seen.std((0, 1)), std, rtol=0.08)


def test_gains_multiply_the_light():
    """A pixel that sees half of the light has the photon noise of half of the light, and all of the dark current's."""
    detector = Detector(electrons_per_unit=2.0, dark_electrons=300.0, read_noise=3.0)
    seen = sensor(detector, calibration=calibrated(0.0, gain=0.5)).observe(flat(1000.0), np.random.default_rng(0)).data
    assert seen.mean() == pytest.approx(500, rel=1e-3)
    assert seen.var() == pytest.approx((1000 + 300 + 9) / 4, rel=0.05)


# ---- clipping --------------------------------------------------------------------------------------------------


@given(
    st.integers(1, 16), st.floats(0.1, 50), st.floats(0, 0.9), st.floats(0, 100), st.floats(0, 500), st.floats(0.3, 3),
    st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=60)
def test_codes_are_those_of_the_converter(bits, step, bias, read, dark, well, seed):
    top = 2**bits - 1
    detector = Detector(
        electrons_per_unit=7.0, dark_electrons=dark, read_noise=read, electrons_per_dn=step, bits=bits,
        bias=float(np.floor(bias * top)), full_well=well * step * 2**bits,
    )  # fmt: skip
    light = np.linspace(0, 2 * step * 2**bits / 7, 400).reshape(1, 20, 20)
    values, saturated = detector.sample(light, np.random.default_rng(seed), offset=np.float64(-read / 7))
    code = (values * 7.0 + dark) / step + detector.bias
    # values are float32
    np.testing.assert_allclose(code, np.rint(code), atol=1e-6 * (top + dark / step) + 1e-4)
    assert code.min() > -0.5
    assert code.max() < top + 0.5
    assert saturated[np.rint(code) == top].all()


def test_twelve_bits_end_at_4095():
    detector = Detector(electrons_per_unit=1.0, full_well=4096, bits=12)
    values, saturated = detector.sample(np.full((1, 5, 5), 1e6), np.random.default_rng(0))
    assert (values == 4095).all()
    assert saturated.all()
    assert float(detector.saturation) == 4095


def test_clips_where_the_camera_does():
    """Values are above dark: 4095 − 1000 at the top, −1000 at the bottom."""
    rng = np.random.default_rng(0)
    bright, saturated = CAMERA.sample(np.full((1, 50, 50), 5000.0), rng)
    assert (bright == 3095).all()
    assert saturated.all()
    assert float(CAMERA.saturation) == 3095
    dark, saturated = CAMERA.sample(np.zeros((1, 50, 50)), rng, offset=-2000.0)
    assert (dark == -1000).all()
    assert not saturated.any()
    # a camera without bias cuts the lower half of its read noise
    cut, _ = dataclasses.replace(CAMERA, bias=0.0).sample(np.zeros((1, 200, 200)), rng)
    assert cut.min() == 0
    assert (cut == 0).mean() == pytest.approx(0.54, abs=0.02)


def test_well_comes_before_read_out():
    """A full well still has read noise, and no photon noise."""
    detector = Detector(electrons_per_unit=1.0, read_noise=20.0, full_well=10_000.0)
    values, saturated = detector.sample(np.full((1, 100, 100), 1e5), np.random.default_rng(0))
    assert saturated.all()
    assert values.mean() == pytest.approx(10_000, abs=1)
    assert values.std() == pytest.approx(20, rel=0.05)


def test_dark_current_fluctuates_and_fills_the_well():
    detector = Detector(electrons_per_unit=1.0, dark_electrons=900.0, full_well=1000.0)
    values, _ = detector.sample(np.zeros((1, 100, 100)), np.random.default_rng(0))
    assert values.mean() == pytest.approx(0, abs=1.5)
    assert values.std() == pytest.approx(30, rel=0.05)
    assert detector.sample(np.full((1, 9, 9), 500.0), np.random.default_rng(0))[0].max() == 100
    assert float(detector.saturation) == 100


@pytest.mark.parametrize("electrons", [1e9, 1e13, 1e17])
def test_many_electrons(electrons):
    detector = Detector(electrons_per_unit=electrons)
    values, _ = detector.sample(np.ones((1, 50, 50), np.float32), np.random.default_rng(0))
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, 1, atol=6 / electrons**0.5 + 1e-7)
    full = dataclasses.replace(detector, full_well=electrons / 2)
    assert full.sample(np.full((1, 3, 3), 1e30), np.random.default_rng(0))[1].all()
    with pytest.raises(InputError, match="expected at most 1e"):
        detector.sample(np.full((1, 3, 3), 1e30), np.random.default_rng(0))


def test_nothing_known_stays_unknown():
    signal = np.array([[[1.0, np.nan, 9.0]]])
    values, saturated = dataclasses.replace(CAMERA, full_well=10.0).sample(signal, np.random.default_rng(0))
    assert np.isnan(values[0, 0]).tolist() == [False, True, False]
    assert saturated[0, 0].tolist() == [False, False, True]


# ---- what is broken --------------------------------------------------------------------------------------------


def broken(shape=(2, 300, 6)):
    mask = np.zeros((3, 2, 6), dtype=bool)
    dead, hot, lost = mask[0], mask[1], np.zeros(shape[1], dtype=bool)
    dead[0, 1], hot[1, 2], hot[0, 4], lost[7] = True, True, True, True
    return no_pattern(*shape, dead=dead, hot=hot, lost=lost, offset=np.full((2, 6), 5.0))


def test_each_defect_at_its_place():
    light = np.full((2, 300, 6), 200.0)
    light[0, 3, 4] = light[0, 3, 1] = np.nan
    values, saturated = read_out(CAMERA, broken(), light, slice(0, 300), np.random.default_rng(0))
    keep = np.arange(300) != 7
    keep[3] = False
    # full, neither zero nor beyond
    assert (values[1, keep, 2] == 3095).all()
    assert (values[0, keep, 4] == 3095).all()
    assert saturated[:, keep].sum() == 2 * keep.sum()
    # no light, but the noise of the read-out
    assert values[0, keep, 1].mean() == pytest.approx(0, abs=1.5)
    assert values[0, keep, 1].std() == pytest.approx(np.sqrt(25 + 1 / 12), rel=0.15)
    assert (values[:, 7] == 0).all()
    assert not saturated[:, 7].any()
    assert np.isnan(values).sum() == 2
    assert values[1, keep, 0].mean() == pytest.approx(205, abs=3)


@pytest.mark.parametrize("name", ["finch", "camera"])
def test_hot_elements_read_saturation(name):
    """Not 0, and not beyond what a pixel in full light reads."""
    instrument = preset("finch") if name == "finch" else sensor(CAMERA, defects=Defects(hot=0.2))
    bands, width = instrument.n_bands, 60
    wavelength = [450.0, 550.0, 650.0] if name == "camera" else np.linspace(880, 1720, 400)
    level = np.full((len(wavelength), 40, width), 1e4, np.float32)
    bright = Cube(data=level, wavelength_nm=wavelength, units=instrument.units)
    seen, saturated = instrument.expose(bright, np.random.default_rng(0))
    pattern = instrument.pattern((bands, 40, width), np.random.default_rng(0).spawn(1)[0])
    assert pattern.hot.any()
    level = np.broadcast_to(instrument.noise.saturation, (bands,))
    full = np.broadcast_to(level[:, None, None], seen.shape)
    hot = np.broadcast_to(pattern.hot[:, None], seen.shape)
    np.testing.assert_allclose(seen.data[hot], full[hot], rtol=1e-6)
    works = ~np.broadcast_to((pattern.hot | pattern.dead)[:, None], seen.shape)
    assert saturated[works].all()
    assert (seen.data <= full * (1 + 1e-6)).all()
    np.testing.assert_allclose(np.median(seen.data[works] / full[works]), 1, atol=1e-6 if name == "camera" else 1e-3)
    assert seen.meta["saturated"] == saturated.sum() == (works | hot).sum()


def test_hot_elements_read_the_same_along_track():
    """Where no saturation is known they read the scene's brightest value, in all rows."""
    bright = flat(100.0, (80, 50))
    bright.data[:, 50:] = 30.0
    instrument = sensor(None, defects=Defects(hot=0.3))
    seen = instrument.observe(bright, np.random.default_rng(0)).data
    stuck = np.ptp(seen, axis=1) == 0
    assert 0.1 < stuck.mean() < 0.5
    np.testing.assert_allclose(seen.transpose(0, 2, 1)[stuck], 100, rtol=1e-6)


def test_impulses_come_last():
    instrument = sensor(CAMERA, defects=Defects(impulse=0.2), calibration=calibrated(50.0))
    seen, saturated = instrument.expose(flat(100.0), np.random.default_rng(0))
    low, high = seen.data == 0, seen.data == 3095
    assert low.mean() == pytest.approx(0.1, abs=0.02)
    assert high.mean() == pytest.approx(0.1, abs=0.02)
    assert not saturated.any()
    assert seen.data[~low & ~high].mean() == pytest.approx(150, abs=1)


# ---- one model -------------------------------------------------------------------------------------------------


def test_simulators_agree():
    """`Sensor.observe` and the denoiser's pushbroom: the same light, pattern and detector give the same statistics."""
    height, width = 3000, 12
    clean = np.broadcast_to(np.array([0.05, 0.5])[:, None, None], (2, height, width)).astype(np.float32)
    noisy, truth = noise_case(clean, "g", 5)
    works = ~truth.dead
    detector = Detector(electrons_per_unit=ELECTRONS, read_noise=READ_NOISE)
    instrument = sensor(
        detector, units="1", calibration=Calibration(gain=truth.gain, offset=truth.offset, dead=truth.dead)
    )
    scene_of = Cube(data=clean, wavelength_nm=CENTRE, units="1")
    # bands far apart and narrow: each sees its own sample
    instrument = instrument.replace(response=GaussianResponse(centre_nm=CENTRE, width_nm=[0.01, 0.01]))
    seen = instrument.observe(scene_of, np.random.default_rng(1)).data
    light = clean[:, 0] * truth.gain
    std = np.sqrt(detector.variance(light[:, None]))[:, 0]
    for values in (noisy, seen):
        error = (values.mean(1) - light - truth.offset) / (std / np.sqrt(height))
        assert np.abs(error[works]).max() < 4.5
        np.testing.assert_allclose(values.std(1)[works], std[works], rtol=0.07)
    np.testing.assert_allclose(truth.sigma, np.sqrt(detector.variance(clean.mean((1, 2), keepdims=True)))[:, 0, 0])


def test_pushbroom_offsets_on_a_dark_scene():
    """Negative offsets remain, and broken elements have the noise of the read-out."""
    noisy, truth = noise_case(np.zeros((40, 400, 60)), "g", 2)
    works = ~truth.dead
    np.testing.assert_allclose(noisy.mean(1)[works], truth.offset[works], atol=5 * READ_NOISE / ELECTRONS / 20)
    assert truth.offset.min() < -0.02
    np.testing.assert_allclose(noisy.std(1), READ_NOISE / ELECTRONS, rtol=0.2)
    assert 0.5 < noisy.mean(1)[truth.dead].max() < 1.01


def test_training_examples_use_the_sensor_s_detector(monkeypatch):
    """Their hot elements read the sensor's saturation, and their offsets have no photon noise."""
    import denoise.learning.residual_examples

    calls = []

    def spy(detector, pattern, *arguments, **settings):
        calls.append((detector, pattern))
        return read_out(detector, pattern, *arguments, **settings)

    monkeypatch.setattr(denoise.learning.residual_examples, "read_out", spy)
    instrument = preset("finch")
    clean = np.full((50, 30, 40), 0.4)
    for seed in range(20):
        values = training_observation(clean, np.random.default_rng(seed), [instrument])
        if calls:
            break
    (detector, pattern), = calls  # fmt: skip
    hot = np.nonzero(pattern.hot)
    np.testing.assert_allclose(values.mean(1)[hot], detector.saturation[hot[0]], rtol=1e-5)


# ---- files -----------------------------------------------------------------------------------------------------


def test_file_of_0_1_0(tmp_path):
    """Its record lacks what came since; what a detector does not state is not written."""
    old = sensor(Detector(electrons_per_unit=[2.0, 3.0], read_noise=4.0, full_well=9000.0, bits=12))
    old.save(tmp_path / "old.h5")
    with h5py.File(tmp_path / "old.h5") as file:
        assert file["noise"].attrs["type"] == "DetectorNoise"
        assert "bias" not in file["noise"].attrs
        assert "electrons_per_dn" not in file["noise"].attrs
    again = Sensor.load(tmp_path / "old.h5").noise
    assert isinstance(again, Detector)
    assert (again.full_well, again.bits, again.step, again.bias) == (9000.0, 12, 9000 / 4096, None)
    new = sensor(CAMERA)
    new.save(tmp_path / "new.h5")
    again = Sensor.load(tmp_path / "new.h5").noise
    assert (again.electrons_per_dn, again.bias, again.bits) == (2.0, 1000.0, 12)
    assert np.isinf(again.full_well)
    assert Sensor.load(tmp_path / "new.h5").select([1]).noise.bias == 1000.0


def test_saturation_is_in_the_file(tmp_path):
    view = scene((40, 40), wavelength_nm=np.linspace(450, 650, 30)).load()
    said = simulate(view, sensor(CAMERA), tmp_path / "a.h5", scale=30_000)
    assert any("saturated" in line for line in said)
    with h5py.File(tmp_path / "a.h5") as file:
        mask, values = file["saturated"][()].astype(bool), file["cube"][()]
        assert file["saturated"].shape == file["cube"].shape
    np.testing.assert_array_equal(mask, values == 3095)
    assert 0 < mask.mean() < 1
    cube = open_cube(tmp_path / "a.h5")
    assert cube.meta["saturated"] == mask.sum()
    np.testing.assert_array_equal(cube.read(), values)
    assert not any("saturated" in line for line in simulate(view, sensor(CAMERA), tmp_path / "b.h5", scale=500))
    with h5py.File(tmp_path / "b.h5") as file:
        assert "saturated" not in file


def test_sensor_show_says_where_it_saturates():
    said = sensor(CAMERA).describe()
    assert said["saturation"] == [3095, 3095]
    assert said["bias_dn"] == 1000
    assert "saturation" not in sensor(Detector(electrons_per_unit=1.0)).describe()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bits": 12}, "bits: found 12"),
        ({"bits": 2.5, "full_well": 9.0}, "bits: found 2.5"),
        ({"bits": 40, "full_well": 9.0}, "bits: found 40"),
        ({"electrons_per_dn": 0.0}, "electrons_per_dn: found 0.0"),
        ({"electrons_per_dn": float("nan")}, "electrons_per_dn: found nan"),
        ({"bias": 5.0}, "bias: found 5.0, expected none"),
        ({"bias": -1.0, "electrons_per_dn": 1.0}, "bias: found -1.0"),
        ({"bias": float("nan"), "electrons_per_dn": 1.0}, "bias: found nan"),
        ({"bias": 300.0, "electrons_per_dn": 1.0, "bits": 8}, "bias: found 300.0, expected 0 to"),
        ({"full_well": float("nan")}, "full_well: found nan"),
        ({"dark_electrons": -1.0}, "dark_electrons: found"),
    ],
)
def test_impossible_detectors(change, message):
    with pytest.raises(InputError, match=message):
        Detector(electrons_per_unit=1.0, **change)


def test_pattern_says_where_it_acts():
    pattern = no_pattern(1, 10, 3, offset=np.array([[1.0, 2.0, 3.0]]), start=np.array([[0, 4, 9]]))
    assert isinstance(pattern, Pattern)
    gain, offset = pattern.on(slice(3, 6))
    assert (gain == 1).all()
    np.testing.assert_array_equal(offset[0], [[1, 0, 0], [1, 2, 0], [1, 2, 0]])


@pytest.mark.parametrize("scale", [1e300, 1e-300])
def test_a_scale_beyond_what_values_can_be_is_refused(tmp_path, scale):
    """It was a warning of NumPy's, and a cube of NaN."""
    with pytest.raises(InputError, match=r"scale: found 1e[+-]300, with which the scene's values are"):
        simulate(flat(100, (6, 6)), sensor(CAMERA), tmp_path / "x.h5", scale=scale)
    assert not list(tmp_path.iterdir())
