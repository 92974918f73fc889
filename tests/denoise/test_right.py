"""Right wherever it is taken: good cubes, counts, saturation, odd cubes, doubt of single bands."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from denoise.case import Known, Observation
from denoise.latent.certainty import noise_level
from denoise.restore import restore
from denoise.separation import counts, estimate
from denoise.separation.noise import along_track, noise_of_bands
from denoise.separation.smooth import joint_means, smooth
from hsitools.estimation import full_scale
from hsitools.estimation.covariance import gram, subspace
from tests.denoise.mixture import RANK, mixture

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
