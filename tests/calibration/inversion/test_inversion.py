"""Inversion: exact recovery, rules against brute force, posteriors that cover."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from calibration.characterization import Characterization
from calibration.inversion import registry
from calibration.inversion.calibration_error import allow, likeliest
from calibration.inversion.filters import choose
from calibration.inversion.invert import build_case
from calibration.inversion.measurement import Measurement
from calibration.inversion.methods import joint
from calibration.inversion.methods.cosine import transform
from calibration.inversion.prior import SCALES, Prior, by_evidence, matern
from calibration.inversion.problem import Interferograms, noise_size, pixel_noise_size
from calibration.inversion.scenes import score
from hsitools.errors import InputError
from hsitools.estimation.edge_aware import Pixels, edge_weights, laplacian


def smooth_case(seed: int = 0, side: int = 12, sigma: float = 0.05) -> tuple[Interferograms, np.ndarray]:
    """Spectra drawn from a Matérn process, seen through cosines."""
    rng = np.random.default_rng(seed)
    wavelength = np.linspace(450.0, 900.0, 46)
    opd = np.arange(60) * 0.2
    matrix = 1 + 0.5 * np.cos(2 * np.pi * 1000 / wavelength * opd[:, None])
    root = np.linalg.cholesky(matern(wavelength, 80.0) + 1e-9 * np.eye(46))
    truth = root @ rng.standard_normal((46, side * side))
    values = matrix @ truth + sigma * rng.standard_normal((60, side * side))
    case = Interferograms(
        matrix=matrix, values=values.reshape(60, side, side), noise_std=np.full(60, sigma), wavelength_nm=wavelength,
        opd_um=opd,
    )  # fmt: skip
    return case, truth.reshape(46, side, side)


def test_pseudo_inverse_recovers_exactly_without_noise() -> None:
    case, truth = smooth_case()
    clean = np.tensordot(case.matrix, truth, axes=1)
    result = registry.get("pseudo-inverse")(replace(case, values=clean))
    # cosines up to 12 µm are well conditioned on 46 wavelengths only in part: the interferogram is what must be met
    assert_allclose(np.tensordot(case.matrix, result.estimate, axes=1), clean, rtol=1e-7, atol=1e-7)
    square = np.random.default_rng(1).standard_normal((50, 46))
    result = registry.get("pseudo-inverse")(
        replace(case, matrix=square, values=np.tensordot(square, truth, axes=1), noise_std=np.ones(50), opd_um=None)
    )
    assert_allclose(result.estimate, truth, rtol=1e-8, atol=1e-8)


def test_gcv_is_what_brute_force_finds() -> None:
    case, _ = smooth_case(side=3)
    squared = case.svd[1] ** 2
    strengths = np.logspace(-6, 0, 13) * squared[0]
    picked, squares = choose(case, squared / (squared + strengths[:, None]), "gcv")
    matrix, n = case.whitened, len(case.whitened)
    for pixel in range(9):
        scores = []
        for number, strength in enumerate(strengths):
            hat = matrix @ np.linalg.solve(matrix.T @ matrix + strength * np.eye(46), matrix.T)
            residual = case.pixels[:, pixel] - hat @ case.pixels[:, pixel]
            assert squares[number, pixel] == pytest.approx(residual @ residual, rel=1e-8)
            scores.append(residual @ residual / (n - np.trace(hat)) ** 2)
        assert picked[pixel] == int(np.argmin(scores))


def test_discrepancy_leaves_what_the_noise_makes() -> None:
    case, _ = smooth_case()
    result = registry.get("ridge-discrepancy")(case)
    residual = case.pixels - case.whitened @ result.estimate.reshape(46, -1)
    assert (residual**2).sum(axis=0).mean() == pytest.approx(60, rel=0.1)


def test_posterior_and_evidence_are_those_of_the_dense_formulas() -> None:
    case, _ = smooth_case(side=2)
    kernel = matern(case.wavelength_nm, 80.0)
    prior = Prior(name="", covariance=kernel, case=case)
    number = 30
    scale = SCALES[number] * prior.unit
    mean, std, shaken = prior.posterior(np.arange(4), np.full(4, number))
    seen = case.whitened @ (scale * kernel) @ case.whitened.T + np.eye(60)
    gain = scale * kernel @ case.whitened.T @ np.linalg.inv(seen)
    assert_allclose(mean, gain @ case.pixels, rtol=1e-6, atol=1e-8)
    assert_allclose(std[:, 0] ** 2, np.diag(scale * kernel - gain @ case.whitened @ (scale * kernel)), rtol=1e-4)
    assert_allclose(shaken[:, 0], np.sqrt((gain**2).sum(axis=1)), rtol=1e-6)
    log = prior.log_evidence()
    dense = [
        -0.5 * y @ np.linalg.solve(seen, y) - 0.5 * np.linalg.slogdet(seen)[1] for y in case.pixels.T
    ]  # fmt: skip
    assert_allclose(log[number], dense, rtol=1e-8)


@pytest.mark.parametrize("name", ["gp", "joint"])
def test_intervals_cover_draws_from_the_prior(name: str) -> None:
    case, truth = smooth_case(side=16)
    record = score(registry.get(name)(case), truth)
    # both sides: an interval that is too wide is as wrong as one that is too narrow
    assert 0.92 < record["coverage95"] < 0.98
    assert record["nrmse"] < score(registry.get("ridge")(case), truth)["nrmse"]


def test_joint_gains_from_neighbours_and_population() -> None:
    rng = np.random.default_rng(5)
    case, _ = smooth_case(side=24)
    materials = np.abs(rng.standard_normal((3, 6))) @ np.exp(
        -0.5 * ((case.wavelength_nm - np.linspace(450, 900, 6)[:, None]) / 60) ** 2
    )
    field = np.zeros((24, 24), dtype=int)
    field[8:], field[:, 14:] = 1, 2
    truth = materials[field].transpose(2, 0, 1)
    values = np.tensordot(case.matrix, truth, axes=1) + 0.5 * rng.standard_normal((60, 24, 24))
    case = replace(case, values=values, noise_std=np.full(60, 0.5))
    gp, joint = (score(registry.get(name)(case), truth)["nrmse"] for name in ("gp", "joint"))
    assert joint < 0.5 * gp


def test_sparse_finds_lines_and_their_power() -> None:
    case, _ = smooth_case(side=4)
    truth = np.zeros((46, 4, 4))
    for pixel in range(16):
        truth[5 + 2 * pixel, pixel // 4, pixel % 4] = 3.0
    values = np.tensordot(case.matrix, truth, axes=1) + 0.05 * np.random.default_rng(2).standard_normal((60, 4, 4))
    result = registry.get("sparse")(replace(case, values=values, noise_known=False))
    assert (result.estimate.argmax(axis=0) == truth.argmax(axis=0)).all()
    assert_allclose(result.estimate.max(axis=0), 3.0, rtol=0.02)
    assert (np.count_nonzero(result.estimate > 0.3, axis=0) == 1).all()


def test_nonnegative_meets_the_conditions_of_optimality() -> None:
    case, _ = smooth_case(side=3)
    x = registry.get("nonnegative")(case).estimate.reshape(46, -1)
    gradient = case.whitened.T @ (case.whitened @ x - case.pixels)
    assert (x >= 0).all()
    scale = np.abs(case.whitened.T @ case.pixels).max()
    assert (gradient[x == 0] > -1e-2 * scale).all()
    assert np.abs(gradient[x > 0]).max() < 1e-2 * scale


def test_cosine_transform_of_one_path_difference_is_one_line() -> None:
    case, _ = smooth_case(side=2)
    with pytest.raises(InputError, match="cosine: found 1 interferometer, expected at least 2 path differences"):
        registry.get("cosine")(case.of(np.array([3])))


def test_cosine_transform_of_a_line_peaks_there_on_uneven_paths() -> None:
    rng = np.random.default_rng(0)
    opd = np.arange(400) * 0.1 + rng.uniform(-0.03, 0.03, 400)
    sigma = np.linspace(1.1, 2.0, 901)
    spectrum = transform(1 + np.cos(2 * np.pi * 1.5 * opd)[:, None], opd, sigma)
    assert sigma[spectrum[:, 0].argmax()] == pytest.approx(1.5, abs=0.003)
    assert spectrum[:, 0].sum() * (sigma[1] - sigma[0]) == pytest.approx(1, abs=0.05)


def test_noise_is_told_by_what_no_spectrum_can_make() -> None:
    case, _ = smooth_case(side=20)
    assert noise_size(replace(case, noise_std=case.noise_std / 3)) == pytest.approx(3, rel=0.05)


def test_noise_of_pixels_is_told_apart_from_an_error_that_they_share() -> None:
    case, _ = smooth_case(side=24)
    case = case.with_values(case.values + 3 * case.matrix.sum(axis=1)[:, None, None])
    mean = case.values.mean(axis=(1, 2))
    wrong = 0.01 * mean * np.random.default_rng(3).standard_normal(60)
    brightness = case.values.mean(axis=0) / case.values.mean()
    shared = case.with_values(case.values + wrong[:, None, None] * brightness)
    assert pixel_noise_size(shared) == pytest.approx(1, abs=0.05)
    assert noise_size(shared) > 1.3
    halved = replace(case, noise_std=case.noise_std / 2)
    assert pixel_noise_size(halved) == pytest.approx(2, abs=0.1)
    assert np.isnan(pixel_noise_size(case.inside((slice(1), slice(4)))))


def test_a_calibration_error_far_from_what_was_said_is_found() -> None:
    case, _ = smooth_case(side=8, sigma=0.01)
    light = 3 * case.matrix.sum(axis=1)[:, None, None]
    wrong = case.values + light + 0.5 * np.random.default_rng(1).standard_normal((60, 1, 1))
    scales = [
        size * allow(replace(case, values=wrong, calibration_std=np.full(60, size))).scale for size in (0.02, 0.5, 30.0)
    ]
    assert scales == pytest.approx([0.5] * 3, rel=0.5)


def test_a_calibration_error_somewhat_smaller_than_was_said_is_half_believed_to_be() -> None:
    """One draw, of which neighbours may err alike, says half of it; a size far from the told one is found wholly."""
    case, _ = smooth_case(side=8, sigma=0.01)
    light = 3 * case.matrix.sum(axis=1)[:, None, None]
    wrong = case.values + light + 0.5 * np.random.default_rng(1).standard_normal((60, 1, 1))

    def scale(told: float) -> float:
        return allow(replace(case, values=wrong, calibration_std=np.full(60, told))).scale

    found = 10 * scale(5.0)
    assert found == pytest.approx(1, rel=0.3)
    for times in (1.2, 1.6, 2.0):
        assert scale(0.5 * times) == pytest.approx((found / times) ** 0.5, rel=0.15)


def test_pixels_system_is_solved() -> None:
    generator = torch.Generator().manual_seed(0)
    data = torch.randn((1, 2, 9, 9), generator=generator, dtype=torch.float64)
    precision = torch.tensor([[[5.0]], [[40.0]]], dtype=torch.float64)
    smooth = torch.tensor([[[1.0]], [[3.0]]], dtype=torch.float64)
    weights = edge_weights(data[:, :1], 0.5)
    z = Pixels(precision=precision, smoothness=smooth).solve(data, weights, data * 0)
    left = precision * z + z / (1 + smooth) + smooth * laplacian(z, weights)
    # thirty steps: a part in a thousand of the largest value
    assert_allclose(left.numpy(), (precision * data).numpy(), rtol=0, atol=1e-3 * float((precision * data).abs().max()))


def test_edge_weights_of_channels_add_up() -> None:
    guide = torch.zeros((1, 2, 2, 2))
    guide[0, 0, 0, 1], guide[0, 1, 0, 1] = 3.0, 4.0
    both = edge_weights(guide, 1.0)[0][0, 0, 0, 0]
    assert float(both) == pytest.approx(0.005 + 1 / 26, rel=1e-5)


def test_one_scene_at_two_samplings_is_one_spectrum(instrument: Characterization) -> None:
    low, high = instrument.response.band_nm
    grid = np.linspace(low, high, 101)
    results = []
    for count in (131, 651):
        fine = np.linspace(low, high, count)
        spectrum = 1 + 0.5 * np.exp(-0.5 * ((fine - 600) / 80) ** 2)
        results.append(instrument.response.forward(spectrum, fine))
    assert_allclose(results[0], results[1], rtol=1e-3)
    rows = [Measurement(values=y[:, None, None], noise_std=np.full(60, 1e-3 * y.mean()), source="") for y in results]
    spectra = [registry.get("gp")(build_case(row, instrument, grid, None)).estimate[:, 0, 0] for row in rows]
    assert_allclose(spectra[0], spectra[1], rtol=0, atol=1e-3 * spectra[0].max())


def test_allowing_for_a_wrong_calibration_takes_its_common_error_off() -> None:
    case, truth = smooth_case(side=16, sigma=0.01)
    truth = truth * 0.2 + 3
    rng = np.random.default_rng(7)
    wrong = 0.5 * rng.standard_normal(60)
    brightness = truth.mean(axis=0) / truth.mean()
    values = np.tensordot(case.matrix, truth, axes=1) + wrong[:, None, None] * brightness
    values += 0.01 * rng.standard_normal(values.shape)
    case = replace(case, values=values)
    naive = score(registry.get("gp")(case), truth)
    allowed = score(registry.get("gp")(replace(case, calibration_std=np.full(60, 0.5))), truth)
    assert allowed["nrmse"] < 0.5 * naive["nrmse"]
    assert allowed["coverage95"] > 0.85 > naive["coverage95"]
    assert allow(replace(case, calibration_std=np.full(60, 0.5))).scale == pytest.approx(1, rel=0.5)
    # what is left in directions beside the mean counts by a pixel's share of each
    learned = joint.learned(replace(case, calibration_std=np.full(60, 0.5)))
    assert learned.others
    told, bare = (replace(learned, others=[size * np.arange(46) for _ in learned.others])(case).std for size in (1, 0))
    assert told is not None
    assert bare is not None
    shares = np.stack([toward for toward, _ in learned.allowed.others]) @ values.reshape(60, -1)
    expected = np.outer(np.arange(46), (shares**2).sum(axis=0))
    assert_allclose((told**2 - bare**2).reshape(46, -1), expected, rtol=1e-6, atol=1e-9 * expected.max())


def test_calibration_errors_that_all_interferometers_share_are_not_taken_for_spectra() -> None:
    case, truth = smooth_case(side=8, sigma=0.01)
    truth = truth * 0.2 + 3
    naive, allowed = [], []
    # all pixels share an error, so that it takes several of them to see whether intervals cover it
    for seed in range(6):
        rng = np.random.default_rng(seed)
        # as after lines that were measured too bright or left out: rough from wavelength to wavelength
        wrong = case.matrix * (1 + 0.1 * rng.standard_normal(46))
        values = np.tensordot(wrong, truth, axes=1) + 0.01 * rng.standard_normal((60, 8, 8))
        one = replace(case, values=values)
        naive.append(score(registry.get("gp")(one), truth))
        allowed.append(score(registry.get("gp")(replace(one, calibration_std=np.full(60, 1.0))), truth))
    rmse, coverage = (
        np.array([[r[k] for r in side] for side in (naive, allowed)]) for k in ("nrmse_rms", "coverage95")
    )
    assert (rmse[1] < rmse[0]).all()
    assert rmse[1].mean() < 0.6 * rmse[0].mean()
    assert coverage[1].mean() > 0.9 > coverage[0].mean()


def test_factors_of_covariances_are_the_likeliest() -> None:
    rng = np.random.default_rng(0)
    first = rng.standard_normal((400, 40))
    parts = [first @ first.T, np.diag(np.linspace(0, 2, 400))]
    values = np.linalg.cholesky(4 * parts[0] + 0.25 * parts[1] + 0.01 * np.eye(400)) @ rng.standard_normal(400)
    factors = likeliest(parts, np.full(400, 0.01), values, [(1.0, 1.0)])
    assert factors[0] == pytest.approx(4, rel=0.6)
    assert factors[1] == pytest.approx(0.25, rel=0.25)


def test_kernels_of_the_mean_count_by_their_evidence() -> None:
    """All where nothing tells them apart, and the one where something does; else the mean by their evidence."""
    case, _ = smooth_case(side=1, sigma=1e-3)
    kernels = {"as drawn": matern(case.wavelength_nm, 80.0), "rough": np.eye(46)}
    blind = replace(case, noise_std=np.full(60, 1e6))
    sizes = [SCALES[0] * Prior(name="", covariance=kernel, case=blind).unit for kernel in kernels.values()]
    expected = 0.5 * sum(size * kernel for size, kernel in zip(sizes, kernels.values(), strict=True))
    assert_allclose(by_evidence(blind, kernels), expected, rtol=1e-4)
    told = by_evidence(case, kernels)
    assert_allclose(told / told[0, 0], kernels["as drawn"], rtol=0, atol=1e-6)
    one = {"one": kernels["rough"]}
    assert_allclose(by_evidence(case, one | {"same": kernels["rough"]}), by_evidence(case, one), rtol=1e-9, atol=1e-12)


def test_error_bars_are_of_components_what_none_tells_and_the_mean() -> None:
    """Each once: no floor on top, which few interferometers would make three times too wide."""
    case, truth = smooth_case(side=8)
    few = case.of(np.arange(12))
    alike = truth.mean(axis=(1, 2), keepdims=True) + 0.02 * truth
    few = few.with_values(few.values + np.tensordot(few.matrix, alike - truth, axes=1))
    learned = joint.learned(few)
    population = learned.population
    deviation = learned.smoothing(population.components(few.projected), np.ones((8, 8), dtype=bool))[1]
    variance = population.columns**2 @ deviation**2 + (population.rest + population.mean_variance)[:, None]
    result = learned(few)
    assert result.std is not None
    assert_allclose(result.std.reshape(46, -1) ** 2, variance, rtol=1e-6)
    z = (result.estimate - alike) / result.std
    assert 0.3 < np.sqrt((z**2).mean()) < 1.5


def test_no_calibration_error_is_found_where_there_is_none() -> None:
    case, truth = smooth_case(side=16)
    assert allow(case).scale == 0
    exact = registry.get("gp")(case).estimate
    allowed = registry.get("gp")(replace(case, calibration_std=np.full(60, 0.5))).estimate
    assert score(replace(registry.get("gp")(case), estimate=allowed), truth)["nrmse"] < 1.3 * float(
        np.sqrt(((exact - truth) ** 2).sum() / (truth**2).sum())
    )


def test_every_method_keeps_shapes_and_holes() -> None:
    case, _ = smooth_case(side=6)
    values = case.values.copy()
    values[3, 2, 2] = np.nan
    case = replace(case, values=values)
    for name in registry.names():
        result = registry.get(name)(case)
        assert result.estimate.shape == (46, 6, 6)
        assert not result.mask[2, 2]
        assert np.isnan(result.estimate[:, 2, 2]).all()
        assert np.isfinite(result.estimate[:, result.mask]).all(), name
        assert (result.std is not None) == registry.get(name).std
        if result.std is not None:
            assert (result.std[:, result.mask] >= 0).all()


def test_evidence_of_pixels_of_unknown_noise_does_not_take_lines_for_noise() -> None:
    case, _ = smooth_case(side=4, sigma=1.0)
    truth = np.zeros((46, 16))
    truth[5 + 2 * np.arange(16), np.arange(16)] = 30.0
    values = case.matrix @ truth + np.random.default_rng(3).standard_normal((60, 16))
    result = registry.get("gp")(replace(case, values=values.reshape(60, 4, 4), noise_known=False))
    assert (result.estimate.reshape(46, 16).argmax(axis=0) == truth.argmax(axis=0)).all()
