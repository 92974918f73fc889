"""Right wherever it is taken: good cubes, counts, saturation, units, rare spectra, doubt of single bands."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from denoise.case import Known, NoiseModel, Observation
from denoise.latent.certainty import missed, noise_level, shared
from denoise.latent.evidence import WhitenedResidual
from denoise.latent.posterior import NOISE_WRONG, noise_scale
from denoise.live_bands import in_cube_units
from denoise.restore import restore, restore_cube
from denoise.separation import counts, estimate
from denoise.separation.known import known_by, units_of
from denoise.separation.noise import along_track, noise_of_bands
from denoise.separation.objects import told_apart
from denoise.separation.recurring import recurring
from denoise.separation.scan import FALSE, noise_of_pixels, threshold
from denoise.separation.smooth import joint_means, smooth
from hsitools.cube import Cube
from hsitools.errors import InputError
from hsitools.estimation import full_scale
from hsitools.estimation.covariance import gram, subspace
from hsitools.sensor import Calibration, DetectorNoise, GaussianResponse, Sensor

BANDS, SIDE, RANK = 60, 48, 5


def mixture(bands: int = BANDS, side: int = SIDE, seed: int = 0) -> np.ndarray:
    """A scene of `RANK` spectra in smooth shares."""
    rng = np.random.default_rng(seed)
    spectra = np.abs(rng.normal(1, 0.3, (bands, RANK)))
    shares = np.exp(np.stack([gaussian_filter(rng.standard_normal((side, side)), 3) for _ in range(RANK)]) * 8)
    return np.asarray(np.tensordot(spectra, shares / shares.sum(0), 1))


# ---- good cubes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("snr", [200, 1000, 10_000])
def test_rank_and_error_of_a_good_cube(snr: int) -> None:
    scene = mixture()
    sigma = scene.mean() / snr
    noisy = (scene + sigma * np.random.default_rng(1).standard_normal(scene.shape)).astype(np.float32)
    found = restore(noisy, "lowrank")
    assert abs(found.provenance["rank"] - RANK) <= 2
    assert np.sqrt(np.mean((found.estimate - scene) ** 2)) < 0.5 * sigma


def test_products_are_summed_in_float64() -> None:
    values = (1e4 + np.random.default_rng(0).standard_normal((3, 20, 1000))).astype(np.float32)
    exact = values.reshape(3, -1).astype(float)
    np.testing.assert_allclose(gram(values), exact @ exact.T, rtol=1e-12)


def test_smoothing_keeps_the_digits_of_large_images() -> None:
    rng = np.random.default_rng(2)
    noise = rng.standard_normal((1, 32, 32)).astype(np.float32)
    plain, far = joint_means(noise), joint_means((noise + np.float32(2**17)).astype(np.float32)) - 2**17
    np.testing.assert_allclose(far, plain, atol=0.05)
    texture = 1e4 * rng.standard_normal((6, 32, 32)).astype(np.float32)
    # nothing is alike: there is nothing to smooth by, and nothing may be lost
    assert np.abs(smooth(texture).best - texture).mean() < 2


def test_the_noise_edge_is_that_of_marchenko_and_pastur() -> None:
    """Directions just above (1 + √(bands/pixels))² count, those of noise do not."""
    rng = np.random.default_rng(3)
    bands, pixels = 50, 1000
    noise = rng.standard_normal((bands, pixels))
    assert subspace(noise).shape[1] == 1  # one at least
    edge = (1 + np.sqrt(bands / pixels)) ** 2
    one = np.linalg.qr(rng.standard_normal((bands, 2)))[0]

    def with_power(power: float) -> int:
        spikes = np.sqrt(power) * one @ rng.standard_normal((2, pixels))
        return subspace(noise + spikes).shape[1]

    assert with_power(1.3 * edge) == 2
    assert with_power(0.02) == 1


def test_noise_of_a_band_is_that_of_what_was_measured_of_it() -> None:
    """Where voxels are filled with the scene there is none."""
    scene, rng = mixture(24, 40), np.random.default_rng(6)
    outlier = np.zeros(scene.shape, dtype=bool)
    outlier[:6] = rng.random((6, 40, 40)) < 0.36
    filled = scene + np.where(outlier, 0, 0.1 * rng.standard_normal(scene.shape))
    filled, scene = filled.astype(np.float32), scene.astype(np.float32)
    noise = noise_of_bands(along_track(filled, scene, ~outlier), filled - scene, outlier)
    np.testing.assert_allclose(noise[:6].mean() / noise[6:].mean(), 1, atol=0.06)


def test_noise_of_few_bands_is_not_too_large() -> None:
    """Of few bands the scene's subspace holds much of the noise, and each band's residual on others has theirs."""
    scene = mixture(12, 64)
    noisy = scene + 0.05 * np.random.default_rng(17).standard_normal(scene.shape)
    sigma = restore(noisy.astype(np.float32), "lowrank").noise.sigma
    assert sigma.mean() == pytest.approx(0.05, rel=0.15)


def test_ripples_are_taken_away_not_doubled() -> None:
    """Offsets that lie in the scene's subspace, where only neighbouring columns tell them."""
    rng = np.random.default_rng(5)
    scene = mixture(40, 64)
    basis = np.linalg.svd(scene.reshape(40, -1), full_matrices=False)[0][:, :RANK]
    noisy = scene + 0.1 * rng.standard_normal((40, 1, 64)) + 0.02 * rng.standard_normal(scene.shape)
    found = restore(noisy.astype(np.float32), "lowrank")

    def ripple(cube: np.ndarray) -> float:
        return float(np.std(basis.T @ (cube - scene).mean(1)))

    assert ripple(found.estimate) < 0.7 * ripple(noisy)


def test_struck_bands_are_predicted_from_values_without_ripples(monkeypatch: pytest.MonkeyPatch) -> None:
    """What bands with outliers are fitted to has lost a ripple of its columns: not gained it twice."""
    rng = np.random.default_rng(5)
    noisy = (mixture(40, 64) + 0.02 * rng.standard_normal((40, 64, 64))).astype(np.float32)
    struck = np.array([3, 11, 20, 31])
    noisy[struck] = np.where(rng.random((4, 64, 64)) < 0.15, 4.0, noisy[struck])
    ripples, fitted = [], []

    def column_ripple(scores: np.ndarray, directions: np.ndarray, *_: object) -> tuple[np.ndarray, np.ndarray]:
        ripple = np.full((scores.shape[0], scores.shape[2]), 5, np.float32)
        ripples.append(directions @ ripple)
        return ripple, np.zeros_like(ripple)

    def column_response(values: np.ndarray, *_: object) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return np.ones_like(values[:, 0]), np.zeros_like(values[:, 0]), np.zeros(len(values))

    def regress(values: np.ndarray, keep: np.ndarray, scores: np.ndarray, *, absolute: bool) -> np.ndarray:
        fitted.append(values)
        return plain(values, keep, scores, absolute=absolute)

    plain = estimate.regress
    for name, replaced in (
        ("column_ripple", column_ripple),
        ("column_response", column_response),
        ("regress", regress),
    ):
        monkeypatch.setattr(estimate, name, replaced)
    estimate.separate(Observation(values=noisy, valid=np.ones(noisy.shape, bool)), rounds=1)
    # the first round fits all bands; whitening only scales
    taken = (noisy - fitted[0]).mean(1)
    large = np.abs(ripples[0]) > 0.1
    assert large.any()
    assert (np.sign(taken)[large] == np.sign(ripples[0])[large]).all()


# ---- counts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gain", [1.0, 4.0])
@pytest.mark.parametrize("method", ["lowrank", "diffusion"])
def test_totals_of_counts_are_kept(gain: float, method: str) -> None:
    mean = mixture(24, 40) * np.linspace(0.05, 4, 24)[:, None, None]
    seen = (gain * np.random.default_rng(6).poisson(mean)).astype(np.float32)
    assert np.mean(seen == 0) > 0.1
    found = restore(seen, method)
    np.testing.assert_allclose(found.estimate.sum((1, 2)), seen.sum((1, 2)), rtol=0.01)
    assert found.provenance["outliers"] == 0
    assert found.estimate.min() >= 0
    assert np.mean((found.estimate - gain * mean) ** 2) < 0.3 * np.mean((seen - gain * mean) ** 2)


def test_doubt_of_counts_is_in_their_units() -> None:
    mean = mixture(24, 40) * np.linspace(0.5, 6, 24)[:, None, None]
    found = restore((25.0 * np.random.default_rng(6).poisson(mean)).astype(np.float32), "diffusion", samples=2)
    assert found.std is not None
    error = found.estimate - 25 * mean
    assert 0.3 < np.sqrt((error**2).mean() / (found.std**2).mean()) < 1.5


def test_counts_are_stabilised_whatever_a_photon_is_worth() -> None:
    """Anscombe's 2 √(n + ⅜), and as much of a read-out's variance as it is photons²."""
    photons = np.arange(20.0).reshape(1, 4, 5)
    for gain in (0.02, 1.0, 50.0):
        for read in (0.0, 2.0):
            seen = counts.Counts(np.array([gain]), np.array([read * gain**2])).stabilised(gain * photons)
            np.testing.assert_allclose(seen, 2 * np.sqrt(photons + 0.375 + read), rtol=1e-6)


def test_stabilised_counts_come_back_without_bias() -> None:
    of_one = counts.Counts(np.ones(1), np.zeros(1))
    rng = np.random.default_rng(7)
    for mean in (0.5, 2.0, 10.0):
        drawn = of_one.stabilised(rng.poisson(mean, (1, 400, 400)))
        back = of_one.back(np.full((1, 1, 1), drawn.mean()))
        np.testing.assert_allclose(back, mean, rtol=0.03)


def test_what_is_no_counts() -> None:
    rng = np.random.default_rng(8)
    scene = mixture(10, 40)
    for values in (np.rint(1000 * scene), scene, np.rint(50 * scene + 10 * rng.standard_normal(scene.shape))):
        assert counts.counts_of(values, np.ones(values.shape, bool)) is None
    # a sensor says that there are few photons
    few = counts.counts_of(scene, np.ones(scene.shape, bool), np.sqrt(0.5 * scene.mean((1, 2))), np.full(10, 0.5))
    assert few is not None
    np.testing.assert_allclose(few.read_variance, 0, atol=1e-12)


# ---- saturation ------------------------------------------------------------------------------------------------


def test_saturated_voxels_are_lower_bounds() -> None:
    scene = 4000 * mixture(30, 40)
    true = scene + 20 * np.random.default_rng(9).standard_normal(scene.shape)
    full = np.percentile(true, 88)
    found = restore(np.minimum(true, full), "lowrank")
    at = true >= full
    assert (found.estimate[at] >= np.float32(full)).all()
    assert found.mask[at].all()
    assert found.provenance["saturated"] == pytest.approx(at.mean(), rel=1e-3)
    assert found.provenance["outliers"] < 0.01


def test_impulses_are_no_saturation() -> None:
    rng = np.random.default_rng(10)
    values = 0.5 * mixture(6, 40) / 2 + 0.02 * rng.standard_normal((6, 40, 40))
    every = np.ones(values.shape, bool)
    assert not full_scale.clipped(values, every, None).any()
    values[2][rng.random((40, 40)) < 0.2] = 1.0
    assert not full_scale.clipped(values, every, None).any()
    assert full_scale.clipped(values, every, np.full(6, 1.0))[2].any()


# ---- sensor's units --------------------------------------------------------------------------------------------


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


# ---- rare spectra ----------------------------------------------------------------------------------------------


def absorption(scene: np.ndarray, where: np.ndarray, width: float) -> np.ndarray:
    """An absorption ``(band, y, x)`` of unit norm in some pixels."""
    line = np.exp(-0.5 * ((np.arange(len(scene)) - 50) / width) ** 2)
    return -line[:, None, None] / np.linalg.norm(line) * where


def plume_and_pixels(side: int) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[:side, :side]
    plume = (y - 25) ** 2 + (x - 33) ** 2 < 18
    single = np.zeros_like(plume)
    single[[5, 50, 44], [7, 9, 52]] = True
    return plume, single


@pytest.mark.parametrize(("kind", "times"), [("plume", 2.5), ("plume", 5), ("pixels", 10)])
def test_rare_spectra_are_kept_and_named(kind: str, times: float) -> None:
    """A plume of 53 pixels, and single pixels that no subspace holds."""
    scene, sigma = mixture(80, 60), 0.05
    where = plume_and_pixels(60)[kind == "pixels"]
    noise = sigma * np.random.default_rng(12).standard_normal(scene.shape)
    target = absorption(scene, where, 1.5)
    noisy = (scene + times * sigma * target + noise).astype(np.float32)
    found = restore(noisy, "lowrank")
    at = target[:, where][:, 0]
    kept = at @ (found.estimate - scene)[:, where] / (times * sigma)
    assert kept.mean() > 0.8
    # what was put back has its place; a plume's edge may be off by a pixel, and the subspace may hold a strong one
    structure = np.zeros_like(where) if found.structure is None else found.structure
    assert times == 5 or structure[where].mean() > 0.8
    assert (structure & ~where).sum() < 30
    # a matched filter of the noisy cube sees it better than before
    weights = np.linalg.solve(np.cov(noisy[:, ~where]), at)
    snr = [
        ((scores := np.tensordot(weights, cube, 1))[where].mean() - scores[~where].mean()) / scores[~where].std()
        for cube in (noisy, found.estimate)
    ]
    assert snr[1] > 1.2 * snr[0]


def test_what_was_put_back_has_its_noise_in_the_doubt() -> None:
    scene, sigma = mixture(80, 60), 0.05
    where = plume_and_pixels(60)[1]
    noise = sigma * np.random.default_rng(12).standard_normal(scene.shape)
    target = absorption(scene, where, 1.5)
    found = restore((scene + 10 * sigma * target + noise).astype(np.float32), "diffusion", samples=2)
    assert found.std is not None
    # an amplitude of one pixel is no surer than its noise, which the direction spreads over the line's bands
    of_line = np.sqrt((found.std[48:53][:, where] ** 2).sum(0))
    assert (of_line > 0.7 * sigma).all()
    assert (of_line > 2 * np.sqrt((found.std[48:53][:, ~where] ** 2).sum(0)).mean()).all()


def test_noise_is_not_named() -> None:
    scene = mixture(80, 60)
    noisy = scene + 0.05 * np.random.default_rng(12).standard_normal(scene.shape)
    found = restore(noisy.astype(np.float32), "lowrank")
    assert found.provenance["rare_pixels"] < 8


def test_a_spectrum_of_some_pixels_is_looked_for_in_all() -> None:
    """Ten pixels of one spectrum, of which only the strongest stand out of hundreds of features."""
    rng = np.random.default_rng(18)
    bands, side = 80, 60
    rest = rng.standard_normal((bands, side, side)).astype(np.float32)
    line = absorption(rest, np.ones((side, side), bool), 1.5)[:, 0, 0]
    where = np.zeros((side, side), dtype=bool)
    where.ravel()[rng.choice(side * side, 10, replace=False)] = True
    rest[:, where] += line[:, None] * np.linspace(4.5, 8, 10)
    strongest = np.zeros_like(where)
    strongest[tuple(np.argwhere(where)[-1])] = True
    spread = np.ones((side, side))

    def direction_of(mean: np.ndarray) -> np.ndarray:
        kept = np.where(np.abs(mean) > 3, mean, 0)
        return kept / max(np.linalg.norm(kept), 1e-9)

    ((spectrum, pixels),) = recurring(rest, spread, [strongest], direction_of)
    assert spectrum @ line > 0.9
    assert (pixels & where).sum() >= 8
    assert (pixels & ~where).sum() <= 2
    # noise has nothing that recurs
    assert not recurring(rest - line[:, None, None] * where * 8, spread, [~where & strongest[::-1]], direction_of)


def test_chance_is_named_no_more_often_where_tails_are_heavy() -> None:
    """The threshold is read off the image itself: residuals of heavy tails name as few pixels as normal ones."""
    rng = np.random.default_rng(19)
    normal = np.abs(rng.standard_normal((40, 200, 200))).max(0)
    heavy = np.abs(rng.laplace(size=(40, 200, 200))).max(0)
    for strengths in (normal, heavy):
        assert (strengths > threshold(strengths, 0)).mean() < 2 * FALSE
    assert (heavy > threshold(normal, 0)).mean() > 10 * FALSE
    assert threshold(normal, 9.0) == 9.0


def test_noisier_pixels_are_no_targets() -> None:
    rng = np.random.default_rng(20)
    rest = rng.standard_normal((100, 20, 20))
    rest[:, 3, 4] *= 5
    rest[40:50, 7, 7] += 9
    spread = noise_of_pixels(rest, np.ones((20, 20)))
    assert spread[3, 4] == pytest.approx(5, rel=0.3)
    assert spread[7, 7] < 1.3
    assert np.median(spread) == 1


@pytest.mark.parametrize("kind", ["plume", "pixels"])
def test_what_was_not_noticed_is_detected_as_before(kind: str) -> None:
    """A matched filter trained on the restored cube, beyond the scene's subspace."""
    scene, sigma = mixture(80, 60), 0.05
    where = plume_and_pixels(60)[kind == "pixels"]
    target = absorption(scene, where, 1.5) * (0.8 if kind == "plume" else 2.0)
    noisy = scene + sigma * (target + np.random.default_rng(21).standard_normal(scene.shape))
    restored = restore(noisy.astype(np.float32), "lowrank")
    assert restored.structure is None or not (restored.structure & where).any()
    snr = []
    for cube in (noisy, restored.estimate.astype(float)):
        at = target[:, where][:, 0]
        scores = np.tensordot(np.linalg.solve(np.cov(cube[:, ~where]), at), cube, 1)
        snr.append((scores[where].mean() - scores[~where].mean()) / scores[~where].std())
    assert snr[1] > (1.2 if kind == "plume" else 0.93) * snr[0]


def test_objects_are_told_apart_from_what_is_around_them() -> None:
    """A smoother's half-way values at an object's edge go where the pixels' own values say."""
    rng = np.random.default_rng(16)
    side = 40
    inside = np.zeros((side, side), dtype=bool)
    inside[15:22, 10:16] = True
    basis = np.linalg.qr(rng.standard_normal((30, 2)))[0]
    true = np.stack([gaussian_filter(rng.standard_normal((side, side)), 3) * 40, 6.0 * inside])
    smoothed = np.stack([true[0], gaussian_filter(true[1], 1.0)])
    seen = true + rng.standard_normal(true.shape)
    change = np.zeros((30, side, side))
    unit = np.ones((30, side, side))
    for thing in told_apart(np.tensordot(basis, smoothed, 1), np.tensordot(basis, seen, 1), basis, unit):
        change += thing.spectrum[:, None, None] * thing.change * thing.near
        assert (thing.inside & ~thing.near).sum() == 0
        assert (thing.inside == inside).mean() > 0.98
    after = smoothed + np.tensordot(basis.T, change, 1)
    near = gaussian_filter(inside.astype(float), 1) > 0.02
    before, now = (np.sqrt(np.mean((item - true)[:, near] ** 2)) for item in (smoothed, after))
    assert now < 0.6 * before
    # of a scene that is full of such objects nothing is changed
    many = np.kron(rng.random((8, 8)) < 0.4, np.ones((5, 5)))
    assert not told_apart(*2 * (np.tensordot(basis, np.stack([true[0], 6 * many]), 1),), basis, unit)


def test_what_was_missed_is_what_neighbours_share() -> None:
    rng = np.random.default_rng(13)
    noise = rng.standard_normal((20, 60, 60))
    keep = np.ones(noise.shape, bool)
    assert missed(noise, keep).max() < 0.03
    wide = gaussian_filter(rng.standard_normal((60, 60)), 3)
    noise[4] += 0.7 * wide / wide.std()
    assert missed(noise, keep)[4] == pytest.approx(0.47, abs=0.1)


def test_what_few_bands_share_is_told_from_noise() -> None:
    """A direction of five bands of sixty, too weak for the subspace of all."""
    rng = np.random.default_rng(22)
    noise = rng.standard_normal((60, 70, 70)).astype(np.float32)
    assert shared(noise).max() < 0.01
    line = np.zeros(60)
    line[20:25] = np.sqrt([0.02, 0.03, 0.04, 0.03, 0.02])
    seen = shared(noise + line[:, None, None].astype(np.float32) * rng.standard_normal((70, 70)).astype(np.float32))
    np.testing.assert_allclose(seen[20:25], line[20:25] ** 2, atol=0.02)
    assert seen[:10].max() < 0.01
    # of one direction among few bands the noise's own level does not matter
    np.testing.assert_allclose(shared(3 * noise + 0), 9 * shared(noise), atol=1e-6)


@pytest.mark.parametrize("wrong", [0.98, 1.0, 1.03])
def test_the_noise_is_measured_beyond_the_components(wrong: float) -> None:
    rng = np.random.default_rng(23)
    bands, side = 40, 60
    basis = np.linalg.qr(rng.standard_normal((bands, 5)))[0]
    residual = np.sqrt(wrong) * rng.standard_normal((bands, side, side))
    # what is within the components does not count: there the residual is what smoothing left
    residual -= np.tensordot(basis, np.tensordot(basis.T, residual, 1), 1)
    images = np.zeros((5, side, side))
    given = WhitenedResidual(
        residual=residual, variance=np.ones(residual.shape), directions=basis, best=images, single=images,
        joint=images, sigma=np.ones(bands), wavelength_nm=np.arange(bands),
    )  # fmt: skip
    assert noise_scale(given, torch.as_tensor(basis)) == pytest.approx(wrong, abs=0.01)
    assert noise_scale(given, torch.as_tensor(basis)) <= NOISE_WRONG


# ---- odd cubes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["rank one", "constant bands", "few bands", "uint8", "negative", "offset", "rows"])
def test_odd_cubes_are_no_worse_after(kind: str) -> None:
    rng = np.random.default_rng(14)
    scene = mixture(24, 40)
    if kind == "rank one":
        scene = scene[:1] * np.linspace(0.5, 2, 24)[:, None, None]
    if kind == "few bands":
        scene = scene[:4]
    if kind == "negative":
        scene = scene - 2 * scene.mean()
    if kind == "offset":
        scene = scene + 1000
    if kind == "uint8":
        scene = 60 * scene
    noise = 0.05 * scene.std() * rng.standard_normal(scene.shape) * (4 if kind == "rows" else 2)
    if kind == "rows":
        noise += 0.2 * scene.std() * rng.standard_normal((24, 40, 1))
    noisy = scene + noise
    if kind == "uint8":
        noisy = np.rint(noisy).astype(np.uint8)
    if kind == "constant bands":
        scene[3], noisy[3] = 2.0, 2.0
    found = restore(noisy, "lowrank")
    assert np.isfinite(found.estimate).all()
    assert np.mean((found.estimate - scene) ** 2) <= 1.02 * np.mean((noisy.astype(float) - scene) ** 2)


def test_nodata_is_not_called_outliers() -> None:
    values = mixture(12, 40) + 0.02 * np.random.default_rng(15).standard_normal((12, 40, 40))
    values[:, :, :17] = np.nan
    said = restore(values.astype(np.float32), "lowrank", known=Known()).provenance
    assert said["nodata"] == pytest.approx(17 / 40)
    assert said["outliers"] < 0.01
    assert "warning" not in said


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


@pytest.mark.parametrize("level", [300.0, 1e4])
def test_a_scene_far_from_zero_is_cleaned_as_well(level: float) -> None:
    """A temperature in kelvin: regressions are about means, or the mean and the ones column would be one column."""
    rng = np.random.default_rng(15)
    scene = mixture(24, 40)
    noisy = scene + 0.1 * scene.std() * rng.standard_normal(scene.shape)
    near, far = (restore((noisy + add).astype(np.float32), "lowrank").estimate - add for add in (0.0, level))
    assert np.sqrt(np.mean((far - scene) ** 2)) < 1.15 * np.sqrt(np.mean((near - scene) ** 2))


def test_noise_of_half_an_image_is_said_there() -> None:
    rng = np.random.default_rng(2)
    basis = torch.as_tensor(np.linalg.qr(rng.standard_normal((30, 3)))[0], dtype=torch.float32)
    white = torch.as_tensor(rng.standard_normal((30, 40, 40)), dtype=torch.float32)
    white -= torch.tensordot(basis @ basis.T, white, dims=1)
    assert float((noise_level(white, torch.ones_like(white), basis) - 1).abs().max()) < 0.1
    white[..., 20:] *= 4
    level = noise_level(white, torch.ones_like(white), basis)
    assert float(level[:, 25:].mean() / level[:, :15].mean()) == pytest.approx(16, rel=0.1)
    assert float(level.mean()) == pytest.approx(1, rel=0.01)


@pytest.mark.parametrize("bands", [3, 4, 6])
def test_components_of_all_bands_tell_nothing_of_the_noise(bands: int) -> None:
    """What is left is rounding, of either sign: it must not be divided by."""
    rng = np.random.default_rng(2)
    basis = torch.as_tensor(np.linalg.qr(rng.standard_normal((bands, bands)))[0], dtype=torch.float32)
    rest = 1e-7 * torch.as_tensor(rng.standard_normal((bands, 12, 12)), dtype=torch.float32)
    level = noise_level(rest, torch.ones_like(rest), basis)
    np.testing.assert_array_equal(level.numpy(), 1)
    truth = 0.3 + 0.2 * mixture(bands, 32)
    noisy = (truth + rng.normal(0, 5e-4, truth.shape)).astype(np.float32)
    std = restore(noisy, "diffusion", samples=1).std
    assert std is not None
    assert np.isfinite(std).all()
    assert (std > 0).all()
