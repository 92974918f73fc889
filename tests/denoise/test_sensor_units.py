"""What a sensor tells of a cube's noise is in the cube's units."""

from __future__ import annotations

import numpy as np
import pytest

from denoise.case import NoiseModel
from denoise.live_bands import in_cube_units
from denoise.restore import restore_cube
from denoise.separation.known import known_by, units_of
from hsitools.cube import Cube
from hsitools.errors import InputError
from hsitools.sensor import Calibration, DetectorNoise, GaussianResponse, Sensor
from tests.denoise.mixture import mixture


def sensor(units: str = "1") -> Sensor:
    centre = 400 + 10.0 * np.arange(24)
    response = GaussianResponse(centre_nm=centre, width_nm=np.full(24, 10.0))
    return Sensor(response=response, noise=DetectorNoise(electrons_per_unit=500.0), name="tester", units=units)


def test_a_sensor_counts_in_the_units_of_the_cube() -> None:
    mean = mixture(24, 40) * 0.5
    seen = sensor().noise.sample(mean, np.random.default_rng(11))[0]
    wavelength = 400 + 10.0 * np.arange(24)

    def error(factor: float, units: str, scale: float | None = None) -> float:
        cube = Cube(data=(seen * factor).astype(np.float32), wavelength_nm=wavelength, units=units)
        out = restore_cube(cube, "lowrank", sensor(), scale=scale)
        return float(np.sqrt(np.mean((out.estimate.read() / factor - mean) ** 2)))

    plain = error(1.0, "1")
    assert plain < 0.5 * np.sqrt(np.mean((seen - mean) ** 2))
    for factor, units, scale in ((1e4, "", None), (100.0, "%", None), (37.0, "W m-2 sr-1 um-1", 1 / 37)):
        assert error(factor, units, scale) == pytest.approx(plain, rel=0.05)
    with pytest.raises(InputError, match=r"units: found 'W m-2 sr-1 um-1', expected .*--scale"):
        error(1.0, "W m-2 sr-1 um-1")
    cube = Cube(data=seen, wavelength_nm=wavelength, units="1")
    with pytest.raises(InputError, match="units: found '1', expected 'DN'"):
        units_of(cube, sensor("DN"), None)
    with pytest.raises(InputError, match="without a sensor"):
        restore_cube(cube, "lowrank", scale=2.0)


def test_a_sensor_s_noise_is_in_the_units_of_the_cube_and_of_its_usual_values() -> None:
    wavelength = np.linspace(500, 900, 6)
    noise = DetectorNoise(electrons_per_unit=1e4, full_well=2e4)
    sensor = Sensor(
        name="of two",
        response=GaussianResponse(centre_nm=wavelength, width_nm=np.full(6, 10.0)),
        noise=noise,
        units="1",
    )
    values = np.random.default_rng(3).uniform(0.2, 1, (6, 20, 20)).astype(np.float32)
    for factor, units in ((1.0, "1"), (100.0, "%")):
        known, _ = known_by(Cube(data=factor * values, wavelength_nm=wavelength, units=units), sensor)
        np.testing.assert_allclose(known.full_scale, 2 * factor, rtol=1e-5)
    hit = values.copy()
    hit[2, 5, 5] = 1e9
    cubes = (Cube(data=item, wavelength_nm=wavelength, units="1") for item in (hit, values))
    of_one_wild, plain = (known_by(cube, sensor, 1.0)[0] for cube in cubes)
    np.testing.assert_allclose(of_one_wild.sigma, plain.sigma, rtol=1e-3)


def test_noise_of_a_sensor_is_in_the_units_of_the_cube() -> None:
    """Its deviation at the bands' means, and how its variance grows with the signal."""
    wavelength = np.linspace(500, 900, 6)
    sensor = Sensor(
        name="of counted light", response=GaussianResponse(centre_nm=wavelength, width_nm=np.full(6, 10.0)),
        noise=DetectorNoise(electrons_per_unit=1e4, read_noise=30.0), units="1",
    )  # fmt: skip
    values = np.random.default_rng(3).uniform(0.2, 1, (6, 20, 20)).astype(np.float32)
    level = values.mean((1, 2), dtype=float)
    for factor, units in ((1.0, "1"), (100.0, "%")):
        known, _ = known_by(Cube(data=factor * values, wavelength_nm=wavelength, units=units), sensor)
        np.testing.assert_allclose(known.sigma, factor * np.sqrt(level / 1e4 + (30 / 1e4) ** 2), rtol=1e-3)
        np.testing.assert_allclose(known.slope, factor / 1e4, rtol=1e-3)


def test_what_a_calibration_tells_is_in_the_units_of_the_cube() -> None:
    """A gain is a number; an offset is one of reflectance, a hundred times as many percent."""
    wavelength = np.linspace(500, 900, 6)
    rng = np.random.default_rng(5)
    gain, offset = rng.uniform(0.9, 1.1, (6, 20)), rng.uniform(-0.01, 0.01, (6, 20))
    maps = Calibration(gain=gain, offset=offset, dead=np.zeros((6, 20), dtype=bool))
    sensor = Sensor(
        name="of maps", response=GaussianResponse(centre_nm=wavelength, width_nm=np.full(6, 10.0)), calibration=maps,
        units="1",
    )  # fmt: skip
    values = rng.uniform(0.2, 1, (6, 20, 20)).astype(np.float32)
    for factor, units in ((1.0, "1"), (100.0, "%")):
        known, _ = known_by(Cube(data=factor * values, wavelength_nm=wavelength, units=units), sensor)
        np.testing.assert_allclose(known.gain, gain, rtol=1e-12)
        np.testing.assert_allclose(known.offset, factor * offset, rtol=1e-12)


def test_a_noise_model_says_the_same_in_the_units_of_the_cube() -> None:
    """Its variance at any signal is that of before times the scale's square."""
    live, scale = np.array([True, False, True]), 50.0
    maps = {name: np.full((2, 4), value, np.float32) for name, value in (("offset", 0.3), ("offset_std", 0.1))}
    noise = NoiseModel(
        sigma=np.array([0.1, 0.2], np.float32), slope=np.array([0.01, 0.03], np.float32),
        gain=np.ones((2, 4), np.float32), dead=np.zeros((2, 4), bool), outlier=np.zeros((2, 3, 4), bool), **maps,
    )  # fmt: skip
    told = in_cube_units(noise, scale, live)
    assert told is not None
    for signal in (0.0, 2.0):
        variance = told.sigma[live] ** 2 + told.slope[live] * scale * signal
        np.testing.assert_allclose(variance, scale**2 * (noise.sigma**2 + noise.slope * signal), rtol=1e-6)
    np.testing.assert_allclose(told.offset[live], 15, rtol=1e-6)
    np.testing.assert_allclose(told.offset_std[live], 5, rtol=1e-6)


def test_a_sensor_with_more_bands_is_taken_by_wavelength():
    """A cube whose bad bands were dropped is still seen by its sensor; one of other wavelengths is not."""
    from denoise.separation.known import known_by
    from hsitools.sensor import preset

    sensor = preset("enmap")
    centre = np.asarray(sensor.response.wavelength_nm)
    kept = np.delete(np.arange(len(centre)), [3, 50, 51])
    data = np.full((len(kept), 9, 9), 0.3, dtype=np.float32)
    part, _ = known_by(Cube(data=data, wavelength_nm=centre[kept], units="1"), sensor)
    whole, _ = known_by(Cube(data=np.full((len(centre), 9, 9), 0.3), wavelength_nm=centre, units="1"), sensor)
    np.testing.assert_allclose(part.sigma, whole.sigma[kept], rtol=1e-6)
    with pytest.raises(InputError, match="bands"):
        known_by(Cube(data=data, wavelength_nm=centre[kept] + 3000, units="1"), sensor)
    # bands that happen to lie within a width of some of the sensor's are not its own
    even = np.linspace(450, 900, 40)
    with pytest.raises(InputError, match=r"bands: found 40, one at .* nm, expected the 224 of EnMAP or some of them"):
        known_by(Cube(data=data[:40], wavelength_nm=even, units="1"), sensor)
