"""What a method is given of a cube and what becomes of its answer: units, bands, voxels, columns, counts, by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from denoise.case import Known, NoiseModel, Restoration
from denoise.live_bands import noise_of_counts
from denoise.registry import Method
from denoise.restore import rare_findings, restore, restore_cube
from denoise.separation.counts import Counts
from hsitools.cube import Cube

BANDS, HEIGHT, WIDTH = 6, 20, 24
LIVE = np.array([True, True, False, True, False, True])


def stub(answer=None):
    """A method that keeps what it sees, and answers with it but for what is stated."""
    seen = []

    def function(observation):
        seen.append(observation)
        plain = Restoration(estimate=observation.values, provenance={})
        return plain if answer is None else answer(observation)

    return Method(name="stub", paper="", function=function), seen


@pytest.fixture
def values():
    """Of two units; the third band is zero, the fifth has one value."""
    rng = np.random.default_rng(0)
    cube = 50 + 10 * rng.standard_normal((BANDS, HEIGHT, WIDTH))
    cube[2], cube[4] = 0, 7
    return cube.astype(np.float32)


def given_units(values):
    return float(np.std(values[LIVE]))


def test_values_are_seen_in_one_unit_and_given_back(values):
    method, seen = stub()
    known = Known(sigma=np.arange(1.0, 7), slope=np.full(BANDS, 0.01), full_scale=np.full(BANDS, 1e3))
    found = restore(values, method, known=known, wavelength_nm=np.arange(BANDS) + 500.0)
    (one,) = seen
    scale = given_units(values)
    np.testing.assert_allclose(one.values, values[LIVE] / scale, rtol=1e-6)
    np.testing.assert_allclose(one.sigma, np.arange(1.0, 7)[LIVE] / scale, rtol=1e-6)
    np.testing.assert_allclose(one.slope, 0.01 / scale, rtol=1e-6)
    assert one.wavelength_nm.tolist() == [500, 501, 503, 505]
    assert (one.valid.all(), one.calibrated, one.clipped, one.counts) == (True, False, None, False)
    np.testing.assert_allclose(found.estimate, values, rtol=1e-5)
    assert not found.mask.any()
    assert (found.std, found.noise) == (None, None)
    assert found.provenance["outliers"] == 0
    # a band without a value
    assert found.provenance["nodata"] == pytest.approx(1 / BANDS)
    assert not {"saturated", "warning", "offset_rms"} & set(found.provenance)


def test_bands_that_are_not_asked_for_come_back_as_they_are(values):
    method, seen = stub(lambda one: Restoration(estimate=0 * one.values, std=one.values, provenance={}))
    found = restore(values, method, use=np.arange(BANDS) != 3)
    assert len(seen[0].values) == 3
    assert not found.estimate[[0, 1, 5]].any()
    np.testing.assert_array_equal(found.estimate[2:5], values[2:5])
    np.testing.assert_allclose(found.std[[0, 1, 5]], values[[0, 1, 5]], rtol=1e-5)
    assert np.isnan(found.std[2:5]).all()


def test_voxels_without_a_measurement(values):
    """Filled by their band's median for the method; a pixel that has none in any band has no result.

    What bands measure there that are not restored tells nothing of it.
    """
    values[1, 3, 4:9] = np.nan
    values[:, 10, 11] = np.nan
    values[2, 10, 11] = 0
    method, seen = stub()
    found = restore(values, method)
    (one,) = seen
    scale = float(one.values[0, 0, 0] / values[0, 0, 0]) ** -1
    np.testing.assert_allclose(one.values[1, 3, 4:9] * scale, np.nanmedian(values[1]), rtol=1e-5)
    assert (~one.valid).sum() == 5 + 4
    assert np.isnan(found.estimate[:, 10, 11]).all()
    np.testing.assert_allclose(found.estimate[1, 3, 4:9], np.nanmedian(values[1]), rtol=1e-5)
    np.testing.assert_array_equal(found.mask, np.isnan(values))
    # and a band of zeros; of the pixel, the band of one value lacks its own too
    assert found.provenance["nodata"] == pytest.approx((HEIGHT * WIDTH + 5 + 5) / (BANDS * HEIGHT * WIDTH))
    assert found.provenance["outliers"] == 0


def test_wild_values_are_masked_and_counted_as_outliers(values):
    values[3, 5, 6] = 1e20
    method, seen = stub()
    found = restore(values, method)
    assert not seen[0].valid[2, 5, 6]
    assert found.mask.sum() == found.mask[3, 5, 6] == 1
    assert found.estimate[3, 5, 6] == pytest.approx(np.median(np.delete(values[3].ravel(), 5 * WIDTH + 6)), rel=1e-4)
    assert found.provenance["outliers"] == pytest.approx(1 / (4 * HEIGHT * WIDTH))
    assert found.provenance["nodata"] == pytest.approx(1 / BANDS)


@pytest.mark.parametrize("gain", [None, np.ones((BANDS, WIDTH))])
def test_clipped_voxels_are_no_less_than_they_read(values, gain):
    full = np.full(BANDS, 60.0)
    method, seen = stub(lambda one: Restoration(estimate=0.5 * one.values, provenance={}))
    found = restore(np.minimum(values, 60), method, known=Known(full_scale=full, gain=gain))
    at = (values >= 60) & LIVE[:, None, None]
    np.testing.assert_array_equal(seen[0].clipped, at[LIVE])
    # one value many times, but no stuck element's
    assert seen[0].valid.all()
    np.testing.assert_allclose(found.estimate[at], 60, rtol=1e-5)
    np.testing.assert_allclose(found.estimate[LIVE][~at[LIVE]], 0.5 * values[LIVE][~at[LIVE]], rtol=1e-5)
    np.testing.assert_array_equal(found.mask, at)
    assert found.provenance["saturated"] == pytest.approx(at[LIVE].mean())
    assert found.provenance["outliers"] == 0


def test_known_gains_and_offsets_are_taken_off_once(values):
    rng = np.random.default_rng(1)
    gain, offset = rng.uniform(0.8, 1.2, (BANDS, WIDTH)), rng.uniform(-5, 5, (BANDS, WIDTH))
    dead = np.zeros((BANDS, WIDTH), bool)
    dead[0, 3] = True
    gain[0, 3] = 0
    striped = np.where(LIVE[:, None, None], values * gain[:, None] + offset[:, None], values).astype(np.float32)
    method, seen = stub()
    found = restore(striped, method, known=Known(gain=gain, offset=offset, dead=dead))
    working = np.broadcast_to(~dead[:, None], values.shape) & LIVE[:, None, None]
    np.testing.assert_allclose(found.estimate[working], values[working], rtol=1e-4)
    assert seen[0].calibrated
    np.testing.assert_array_equal(~seen[0].valid, np.broadcast_to(dead[:, None], values.shape)[LIVE])
    assert found.mask[0, :, 3].all()
    # nothing was taken from the bands that are not restored
    np.testing.assert_array_equal(found.estimate[~LIVE], striped[~LIVE])
    only = restore(striped, stub()[0], known=Known(offset=offset))
    np.testing.assert_allclose(only.estimate[LIVE], (striped - offset[:, None])[LIVE], rtol=1e-4)
    part = Known(gain=gain, offset=offset, dead=dead, sigma=np.ones(BANDS)).of_columns(slice(3, 7))
    np.testing.assert_array_equal(part.gain, gain[:, 3:7])
    np.testing.assert_array_equal(part.offset, offset[:, 3:7])
    np.testing.assert_array_equal(part.dead, dead[:, 3:7])
    assert part.sigma.tolist() == [1] * BANDS
    assert Known().of_columns(slice(3, 7)).gain is None


def test_what_a_method_found_is_said_in_the_cube_s_units(values):
    """Noise of the live bands, shares of masked voxels, the place of what is rare, structure in the residual."""
    structure = np.zeros((HEIGHT, WIDTH), bool)
    structure[4:6, 7], structure[12, 9:13] = True, True

    def answer(one):
        shape = (len(one.values), WIDTH)
        mask = np.zeros(one.values.shape, bool)
        mask[:2] = True
        noise = NoiseModel(
            sigma=np.full(shape[0], 0.1, np.float32), slope=np.zeros(shape[0], np.float32),
            gain=np.tile([0.9, 1.1], (shape[0], WIDTH // 2)).astype(np.float32),
            offset=np.tile([0.2, -0.2], (shape[0], WIDTH // 2)).astype(np.float32),
            offset_std=np.full(shape, 0.05, np.float32), dead=np.zeros(shape, bool), outlier=mask,
        )  # fmt: skip
        return Restoration(estimate=one.values, noise=noise, mask=mask, structure=structure, provenance={"path": "x"})

    found = restore(values, stub(answer)[0])
    scale, said = given_units(values), found.provenance
    np.testing.assert_allclose(found.noise.sigma[LIVE], 0.1 * scale, rtol=1e-5)
    assert np.isnan(found.noise.sigma[~LIVE]).all()
    assert said["offset_rms"] == pytest.approx(0.2 * scale, rel=1e-5)
    assert said["gain_rms"] == pytest.approx(0.1, rel=1e-5)
    assert said["outliers"] == pytest.approx(0.5)
    assert said["warning"].startswith("50% of the measured voxels were taken for outliers")
    assert said["rare_extent"] == [4, 13, 7, 13]
    assert (said["method"], said["path"]) == ("stub", "x")
    assert found.mask[:2].all()
    assert not found.mask[2:].any()
    told = rare_findings(Cube(data=structure[None].astype(np.uint8)))
    assert told == {"rare_pixels": 6, "rare_groups": 2, "rare_extent": [4, 13, 7, 13]}
    assert rare_findings(None) == rare_findings(Cube(data=np.zeros((1, 2, 2), np.uint8))) == {}


def test_what_comes_back_as_measured_is_no_surer_than_its_noise(values):
    values[1, 3, 4] = 1e6

    def answer(one):
        estimate, shape = one.values.copy(), (len(one.values), WIDTH)
        # farther off than what was measured
        estimate[1, 3, 4] = 1e9
        noise = NoiseModel(
            sigma=np.full(shape[0], 0.1, np.float32), slope=np.zeros(shape[0], np.float32),
            gain=np.ones(shape, np.float32), offset=np.zeros(shape, np.float32),
            offset_std=np.zeros(shape, np.float32), dead=np.zeros(shape, bool), outlier=~one.valid,
        )  # fmt: skip
        return Restoration(
            estimate=estimate, std=np.full_like(estimate, 0.01), noise=noise, mask=~one.valid, provenance={}
        )

    found = restore(values, stub(answer)[0])
    assert found.estimate[1, 3, 4] == pytest.approx(1e6)
    assert not found.mask[1, 3, 4]
    assert found.std[1, 3, 4] == pytest.approx(10 * found.std[1, 0, 0])
    assert found.std[1, 3, 4] == pytest.approx(found.noise.sigma[1])
    assert found.noise.sigma[1] == pytest.approx(0.1 * 10, rel=0.1)


@pytest.mark.parametrize("gain", [1.0, 8.0])
def test_counts_are_seen_stabilised_and_come_back_as_counts(gain):
    mean = np.linspace(1, 4, 5)[:, None, None] * np.exp(np.linspace(-1.5, 1.5, 48))[:, None] * np.ones(40)
    counted = (gain * np.random.default_rng(2).poisson(mean)).astype(np.float32)

    def answer(one):
        # a standard deviation of the noise itself
        shape = (len(one.values), one.values.shape[2])
        ones = np.ones(shape, np.float32)
        noise = NoiseModel(
            sigma=ones[:, 0], slope=0 * ones[:, 0], gain=ones, offset=0 * ones, offset_std=0 * ones, dead=ones < 0,
            outlier=np.zeros(one.values.shape, bool),
        )  # fmt: skip
        stabilised = 2 * np.sqrt(mean + 0.375)
        scale = float(np.std(2 * np.sqrt(counted / gain + 0.375)))
        unit = np.full(one.values.shape, 1 / scale, np.float32)
        return Restoration(estimate=stabilised.astype(np.float32) / scale, std=unit, noise=noise, provenance={})

    method, seen = stub(answer)
    found = restore(counted, method)
    (one,) = seen
    assert (one.counts, one.calibrated, one.sigma, one.slope) == (True, True, None, None)
    stabilised = 2 * np.sqrt(counted / gain + 0.375)
    np.testing.assert_allclose(one.values, stabilised / stabilised.std(), rtol=1e-5)
    assert found.provenance["photon_gain"] == pytest.approx(gain)
    bright = mean > 2
    # without the bias of the root, and with the sums that were counted
    np.testing.assert_allclose((found.estimate / gain / mean)[bright], 1, atol=0.15)
    np.testing.assert_allclose(found.estimate.sum((1, 2)), counted.sum((1, 2)), rtol=1e-3)
    np.testing.assert_allclose((found.std / gain / np.sqrt(mean))[bright], 1, atol=0.2)
    np.testing.assert_allclose(found.noise.slope, gain, rtol=1e-6)
    np.testing.assert_allclose(found.noise.sigma, gain * np.sqrt(mean.mean((1, 2))), rtol=0.05)
    plain = dataclasses.replace(found.noise, slope=np.zeros(3, np.float32))
    live = np.array([True, False, True])
    read = Counts(np.array([2.0, 3.0]), np.array([1.0, 4.0]))
    told = noise_of_counts(plain, read, np.full((2, 4, 4), 5, np.float32), live)
    np.testing.assert_allclose(told.sigma, np.sqrt([11, np.nan, 19]), rtol=1e-6)
    assert told.slope.tolist() == [2, 0, 3]


def test_too_little_to_tell_stays_as_it_is():
    rng = np.random.default_rng(3)
    small = rng.standard_normal((4, 7, 9)).astype(np.float32)
    small[1, 2, 3] = np.nan
    found = restore(small, stub()[0])
    np.testing.assert_array_equal(found.estimate, small)
    assert (found.provenance["path"], found.provenance["note"]) == ("unchanged", "fewer than 64 pixels")
    np.testing.assert_array_equal(found.mask, np.isnan(small))
    flat = (1e4 + 1e-3 * rng.integers(0, 2, (4, 20, 20))).astype(np.float32)
    assert restore(flat, stub()[0]).provenance["note"] == "no contrast"


def test_a_noise_that_is_told_stands_for_a_sensor(values):
    """In the cube's physical units, which its numbers are scaled to."""
    cube = Cube(data=np.rint(100 * values).astype(np.int16), scale_factor=0.01, wavelength_nm=500.0 + np.arange(BANDS))
    told = restore_cube(cube, "lowrank", noise_std=np.full(BANDS, 10.0))
    blind = restore_cube(cube, "lowrank")
    assert told.estimate.scale_factor is None
    # ten is all there is of it
    assert told.estimate.read()[LIVE].std(axis=(1, 2)).max() < 4
    assert blind.estimate.meta["denoised_by"] == "lowrank"
    assert told.mask.read().dtype == np.uint8
