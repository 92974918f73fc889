"""What `restore` does around a method: units, live bands, masks, counts, strips; by methods that do next to nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from denoise.case import Known, NoiseModel, Observation, Restoration
from denoise.registry import METHODS, Method
from denoise.restore import rare_findings, restore, restore_cube
from denoise.said import SUSPICIOUS, shares, warning_of
from denoise.strips import RestoredSource
from hsitools.cube import Cube
from hsitools.sensor import Calibration, DetectorNoise, GaussianResponse, Sensor

BANDS, HEIGHT, WIDTH = 5, 24, 26
#: A band that is all zero, whose number those behind it must not lose.
EMPTY = 1
LIVE = np.arange(BANDS) != EMPTY
UNIT = 50.0


def entry(function: Callable[[Observation], Restoration]) -> Method:
    return Method(name="probe", paper="", function=function)


def kept(seen: Observation, **more: Any) -> Restoration:
    """A method that leaves all as it is."""
    return Restoration(estimate=seen.values, **more)


def noise_model(seen: Observation, **more: Any) -> NoiseModel:
    """One of unit noise, of the method's units."""
    bands, _, width = seen.values.shape
    numbers = {name: np.ones(bands, np.float32) for name in ("sigma", "slope")}
    maps = {name: np.zeros((bands, width), np.float32) for name in ("offset", "offset_std")}
    plain = {
        **numbers, **maps, "gain": np.ones((bands, width), np.float32), "dead": np.zeros((bands, width), bool),
        "outlier": np.zeros(seen.values.shape, bool),
    }  # fmt: skip
    return NoiseModel(**{**plain, **more})


@pytest.fixture(scope="module")
def scene() -> np.ndarray:
    values = np.random.default_rng(0).uniform(1, 2, (BANDS, HEIGHT, WIDTH)) * UNIT
    values *= np.array([1, 1, 2, 3, 5])[:, None, None]
    values[EMPTY] = 0
    return values


def test_what_a_sensor_knows_is_used_in_its_units(scene: np.ndarray) -> None:
    """Value = gain · scene + offset: the method gets the scene, and noise in units of what it gets."""
    rng = np.random.default_rng(1)
    gain = rng.uniform(0.8, 1.25, (BANDS, WIDTH))
    offset = rng.uniform(-0.3, 0.3, (BANDS, WIDTH)) * UNIT
    dead = np.zeros((BANDS, WIDTH), bool)
    dead[2, 7] = True
    known = Known(
        sigma=UNIT * np.array([0.1, 1, 0.2, 0.3, 0.4]), slope=UNIT * np.array([0.01, 1, 0.02, 0.03, 0.04]), gain=gain,
        offset=offset, dead=dead,
    )  # fmt: skip
    values = scene * gain[:, None] + offset[:, None]
    values[EMPTY] = 0
    values[3, 4, 5] = np.nan
    observations = []

    def method(seen: Observation) -> Restoration:
        observations.append(seen)
        mask = np.zeros(seen.values.shape, bool)
        mask[0, 2, 3] = True
        return kept(seen, std=np.full_like(seen.values, 0.01), mask=mask)

    found = restore(values, entry(method), known=known)
    (seen,) = observations
    assert seen.calibrated
    measured = np.broadcast_to(~dead[:, None], scene.shape).copy()
    measured[3, 4, 5] = False
    inside = measured & LIVE[:, None, None]
    np.testing.assert_allclose(found.estimate[inside], scene[inside], rtol=1e-5)
    # in what was not measured a band's median stands
    calm = [np.median(scene[band][measured[band]]) for band in (2, 3)]
    np.testing.assert_allclose([found.estimate[2, 0, 7], found.estimate[3, 4, 5]], calm, rtol=1e-4)
    np.testing.assert_array_equal(found.estimate[EMPTY], 0)
    # all that the method is told, and says, is in one unit
    scale = found.estimate[4, 0, 0] / seen.values[3, 0, 0]
    assert seen.values.std() == pytest.approx(1, rel=1e-4)
    np.testing.assert_allclose(seen.sigma * scale, known.sigma[LIVE], rtol=1e-5)
    np.testing.assert_allclose(seen.slope * scale, known.slope[LIVE], rtol=1e-5)
    # so little that zero does not bind it
    np.testing.assert_allclose(found.std[LIVE], 0.01 * scale, rtol=1e-5)
    assert np.isnan(found.std[EMPTY]).all()
    masked = ~measured
    masked[0, 2, 3] = True
    np.testing.assert_array_equal(found.mask, masked)
    # an empty band holds no measurement either
    lost = (~(measured & LIVE[:, None, None])).mean()
    assert found.provenance["nodata"] == pytest.approx(lost, rel=1e-6)
    assert found.provenance["outliers"] == pytest.approx(1 / measured[LIVE].sum(), rel=1e-6)


@pytest.mark.parametrize("factor", [1.0, 1e3])
def test_what_is_said_of_bands_is_of_the_cube_s_bands_and_units(factor: float, scene: np.ndarray) -> None:
    """Stripes that a noise model explains are no structure of the residual; a pattern in one band is."""
    rng = np.random.default_rng(2)
    shape = (BANDS - 1, HEIGHT, WIDTH)
    gain, offset = rng.uniform(0.8, 1.25, shape[::2]), rng.uniform(-1, 1, shape[::2])
    rest = rng.standard_normal(shape)
    pattern = gaussian_filter(rng.standard_normal(shape[1:]), 2)
    rest[2] += 2 * pattern / pattern.std()

    def method(seen: Observation) -> Restoration:
        noise = noise_model(seen, gain=gain.astype(np.float32), offset=offset.astype(np.float32))
        estimate = (seen.values - offset[:, None]) / gain[:, None] - 0.3 * rest
        return Restoration(estimate=estimate.astype(np.float32), noise=noise)

    found = restore(factor * scene, entry(method))
    assert found.provenance["doubtful_bands"] == [3]
    assert found.noise is not None
    scale = found.noise.sigma[0]
    assert scale == pytest.approx(factor * scene[LIVE].std(), rel=1e-4)
    assert found.provenance["offset_rms"] == pytest.approx(scale * offset.std(), rel=1e-4)
    assert found.provenance["gain_rms"] == pytest.approx(gain.std(), rel=1e-4)


@pytest.mark.parametrize("gain", [1.0, 25.0])
@pytest.mark.parametrize("read", [0.0, 0.8])
def test_counts_come_back_with_the_noise_that_they_have(gain: float, read: float) -> None:
    """A sensor's gain of one photon and its read-out, per band, are what is said of the noise at the bands' means."""
    rng = np.random.default_rng(3)
    photons = rng.poisson(np.array([3.0, 6, 12])[:, None, None], (3, 40, 40))
    photon = gain * np.array([1.0, 1.5, 2])
    values = photon[:, None, None] * (photons + np.sqrt(read) * rng.standard_normal(photons.shape))
    level = values.mean((1, 2))
    sigma = np.sqrt(photon * level + read * photon**2)
    valid = np.ones(values.shape, bool)
    valid[1, 5, 6] = False

    def method(seen: Observation) -> Restoration:
        assert seen.counts
        assert seen.sigma is None
        # noise of the stabilised has unit variance
        scales.append(1 / np.std(seen.values[0]))
        return kept(seen, std=np.full_like(seen.values, 0.1), noise=noise_model(seen))

    scales: list[float] = []
    known = Known(sigma=sigma, slope=photon)
    found = restore(np.where(valid, values, np.nan), entry(method), known=known)
    np.testing.assert_allclose(found.noise.sigma, sigma, rtol=2e-3)
    np.testing.assert_allclose(found.noise.slope, photon, rtol=1e-6)
    assert found.provenance["photon_gain"] == pytest.approx(1.5 * gain)
    # bands' sums of what was counted stay; a mean of many is nearly what was seen
    np.testing.assert_allclose(np.where(valid, found.estimate, 0).sum((1, 2)), np.where(valid, values, 0).sum((1, 2)),
                               rtol=1e-5)  # fmt: skip
    many = (photons > 4) & valid
    assert (np.abs(found.estimate - values) / photon[:, None, None])[many].max() < 0.7
    # the method's deviation is a share of each count's own
    own = photon[:, None, None] * np.sqrt(np.maximum(values / photon[:, None, None] + read + 0.375, 0.1))
    ratio = (found.std / own)[many]
    np.testing.assert_allclose(ratio, np.median(ratio), rtol=0.02)
    assert np.median(ratio) == pytest.approx(0.1 * scales[0], rel=0.1)


def calibrated_sensor(width: int) -> Sensor:
    rng = np.random.default_rng(4)
    centre = np.array([500.0, 600, 700])
    dead = rng.random((3, width)) < 0.02
    maps = Calibration(gain=rng.uniform(0.8, 1.25, (3, width)), offset=rng.uniform(-0.2, 0.2, (3, width)), dead=dead)
    return Sensor(
        name="of maps", response=GaussianResponse(centre_nm=centre, width_nm=np.full(3, 10.0)), calibration=maps,
        units="1",
    )  # fmt: skip


@pytest.mark.parametrize("shape", [(24, 150), (110, 120)])
def test_strips_are_put_where_they_belong(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """What a method does to each pixel by itself is the same in strips: values, doubt, mask, named pixels; each strip
    has the calibration of its own columns.
    """
    height, width = shape
    sensor = calibrated_sensor(width)
    maps = sensor.calibration
    truth = np.random.default_rng(5).uniform(1, 2, (3, height, width))
    values = truth * maps.gain[:, None] + maps.offset[:, None]
    values[:, :, 40:44] = np.nan
    values[1, 3:9, 60:80] = np.nan

    def method(seen: Observation, samples: int = 0, seed: int = 0, weights: Any = None) -> Restoration:
        return kept(
            seen, std=0.1 * seen.values, mask=~seen.valid, structure=seen.values[0] > 1.5 * seen.values[2]
        )  # fmt: skip

    monkeypatch.setitem(METHODS, "probe", Method(name="probe", paper="", function=method, samples=True))
    cube = Cube(
        data=values.astype(np.float32), wavelength_nm=np.array([500.0, 600, 700]), units="1",
        transform=(2.0, 0, 100, 0, -2.0, 50),
    )  # fmt: skip
    whole = restore_cube(cube, "probe", sensor, samples=1)
    told: list[tuple[int, int]] = []
    strips = restore_cube(
        cube, "probe", sensor, samples=1, strip_bytes=4 * 3 * 24 * 70, progress=lambda *step: told.append(step)
    )
    assert isinstance(strips.estimate.data, RestoredSource)
    estimate = strips.estimate.read()
    assert len(strips.estimate.data.windows) > 2
    count = len(strips.estimate.data.windows)
    assert told == [(number, count) for number in range(1, count + 1)]
    good = np.isfinite(values) & ~maps.dead[:, None]
    np.testing.assert_allclose(estimate[good], truth[good], rtol=1e-4)
    np.testing.assert_allclose(strips.std.read()[good], 0.1 * truth[good], rtol=1e-4)
    assert np.isnan(estimate[:, :, 40:44]).all()
    np.testing.assert_array_equal(strips.mask.read(), ~good)
    np.testing.assert_array_equal(whole.mask.read(), ~good)
    sure = good[0] & good[2]
    for found in (strips, whole):
        named = found.structure.read()[0]
        np.testing.assert_array_equal(named[sure], (truth[0] > 1.5 * truth[2])[sure])
        assert found.structure.transform == cube.transform


def test_noise_of_bands_is_told_in_the_cube_s_units(scene: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    ratios = []

    def method(seen: Observation) -> Restoration:
        assert not seen.calibrated
        ratios.append(seen.sigma / seen.values.std((1, 2)))
        return kept(seen)

    monkeypatch.setitem(METHODS, "probe", entry(method))
    sigma = np.linspace(1, 2, BANDS)
    good = np.arange(BANDS) != 3
    found = restore_cube(Cube(data=scene.astype(np.float32), good=good), "probe", noise_std=sigma).estimate
    use = LIVE & good
    np.testing.assert_allclose(ratios[0], sigma[use] / scene[use].std((1, 2)), rtol=1e-4)
    np.testing.assert_allclose(found.read(), scene, rtol=1e-5)


def test_a_scale_turns_stored_numbers_into_the_sensor_s() -> None:
    """A cube of numbers, each worth .01: noise and full scale in its physical units, whatever the sensor counts in."""
    from denoise.separation.known import known_by

    centre = np.array([500.0, 600, 700])
    rng = np.random.default_rng(6)
    maps = Calibration(gain=np.ones((3, 20)), offset=rng.uniform(-1, 1, (3, 20)), dead=np.zeros((3, 20), bool))
    noise = DetectorNoise(electrons_per_unit=50.0, read_noise=20.0, dark_electrons=500.0, full_well=1e4)
    sensor = Sensor(
        name="t", response=GaussianResponse(centre_nm=centre, width_nm=np.full(3, 10.0)), noise=noise,
        calibration=maps, units="DN",
    )  # fmt: skip
    stored = np.rint(rng.uniform(100, 900, (3, 20, 20)))
    stored[1, 2, 3] = -9
    cube = Cube(data=stored, wavelength_nm=centre, scale_factor=0.01, nodata=-9, units="W m-2")
    known, _ = known_by(cube, sensor, scale=0.2)
    # in the sensor's units a physical value is 20 times as much
    level = 0.2 * np.array([band[band > 0].mean() for band in stored])
    np.testing.assert_allclose(known.sigma, np.sqrt(50 * level + 500 + 20**2) / 50 / 20, rtol=1e-5)
    np.testing.assert_allclose(known.slope, 1 / 50 / 20, rtol=1e-3)
    np.testing.assert_allclose(known.offset, maps.offset / 20, rtol=1e-9)
    # a full well less its dark electrons, and three times the read-out's noise
    np.testing.assert_allclose(known.full_scale, (1e4 - 500 - 3 * 20) / 50 / 20, rtol=1e-6)


def test_named_pixels_are_counted_in_groups() -> None:
    pixels = np.zeros((1, 9, 14), np.uint8)
    pixels[0, 2:4, 5:9] = 1
    pixels[0, 7, 11] = 1
    said = rare_findings(Cube(data=pixels))
    assert said == {"rare_pixels": 9, "rare_groups": 2, "rare_extent": [2, 8, 5, 12]}


def test_what_stands_for_no_pixels_is_said_of_a_restoration(scene: np.ndarray) -> None:
    structure = np.zeros((HEIGHT, WIDTH), bool)
    structure[3:5, 10:20] = True
    found = restore(scene, entry(lambda seen: kept(seen, structure=structure)))
    assert found.provenance["rare_extent"] == [3, 5, 10, 20]


def test_shares_are_of_what_they_say() -> None:
    """Of ten voxels two were not measured, one is clipped, and of the other seven one or three are outliers."""
    valid, full, mask = (np.zeros((1, 2, 5), bool) for _ in range(3))
    valid[:] = True
    valid[0, 0, :2] = False
    full[0, 0, 2] = True
    mask[:] = ~valid | full
    mask[0, 1, 0] = True
    said = shares(mask, valid, full)
    assert said == {"outliers": pytest.approx(1 / 7), "saturated": pytest.approx(0.1)}
    mask[0, 1, 1:3] = True
    said = shares(mask, valid, full)
    assert said["outliers"] == pytest.approx(3 / 7)
    assert 1 / 7 < SUSPICIOUS < 3 / 7
    assert warning_of(said)["warning"].startswith("43% of the measured voxels")


def test_what_clips_is_no_less_than_what_was_read(scene: np.ndarray) -> None:
    """By the full scale that a sensor states of each band, whatever a method makes of it; it was not used, and is named
    so. A calibrated element's full scale is what it reads, less its offset, by its gain.
    """
    values = scene.copy()
    full = np.full(BANDS, np.inf)
    full[2] = 1.8 * 2 * UNIT
    values[2] = np.minimum(values[2], full[2])
    at = values == full[:, None, None]
    gain, offset = np.ones((BANDS, WIDTH)), np.zeros((BANDS, WIDTH))
    gain[2], offset[2] = np.linspace(0.9, 1.1, WIDTH), np.linspace(-5, 5, WIDTH)

    def method(seen: Observation) -> Restoration:
        np.testing.assert_array_equal(seen.clipped, at[LIVE])
        return Restoration(estimate=(0.5 * seen.values).astype(np.float32))

    found = restore(values, entry(method), known=Known(full_scale=full, gain=gain, offset=offset))
    true = (values - offset[:, None]) / gain[:, None]
    np.testing.assert_allclose(found.estimate[at], true[at], rtol=1e-5)
    np.testing.assert_allclose(found.estimate[~at], 0.5 * true[~at], rtol=1e-5)
    np.testing.assert_array_equal(found.mask, at)
    assert found.provenance["saturated"] == pytest.approx(at[LIVE].mean())
    assert found.provenance["outliers"] == 0
