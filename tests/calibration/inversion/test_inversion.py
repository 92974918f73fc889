"""Inversion: exact recovery, rules against brute force, posteriors that cover, errors in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.testing import assert_allclose

from calibration.captures.capture import MonochromaticCapture
from calibration.characterization import Characterization
from calibration.commands.invert import invert as group
from calibration.commands.invert import parse_grid
from calibration.inversion import registry, scenes
from calibration.inversion.calibration_error import allow, interferogram_errors, likeliest
from calibration.inversion.curves import on_grid
from calibration.inversion.filters import NOISE_ALONE, choose
from calibration.inversion.invert import Inversion, build_case, invert
from calibration.inversion.kept import Kept, capture_name, instrument_name
from calibration.inversion.lines import corrected, find_peaks, summary
from calibration.inversion.measurement import Measurement, check_file, frames, open_measurement
from calibration.inversion.methods import joint
from calibration.inversion.methods.cosine import transform
from calibration.inversion.prior import SCALES, Prior, by_evidence, matern
from calibration.inversion.problem import Interferograms, Spectra, noise_size, pixel_noise_size
from calibration.inversion.scenes import scene_on_lines, score, spectra_on
from calibration.processing import _spectra_figure, error_budget, larger_than_signal
from hsitools.cube import Cube
from hsitools.errors import InputError
from hsitools.estimation.edge_aware import Pixels, edge_weights, laplacian
from hsitools.io import open_cube, save_cube
from hsitools.sensor.layout import SubImageLayout
from hsitools.sensor.spectral import FabryPerotResponse


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


def test_calibration_errors_are_what_lines_make_through_least_squares(instrument: Characterization) -> None:
    """Against derivatives by differences: own errors from each line's noise, whatever interferometers share."""
    response = instrument.response
    grid = np.linspace(*response.band_nm, 80)
    spectrum, smooth = 1 + np.exp(-0.5 * ((grid - 600) / 20) ** 2), np.linspace(0.5, 1.5, 80)
    at_lines, by_spectrum, by_smooth = (
        derivative(response, of)
        for of in (
            lambda moved: moved.monochromatic(1000 / response.wavenumber),
            lambda moved: moved.forward(spectrum, grid),
            lambda moved: moved.forward(smooth, grid),
        )
    )
    refit = np.linalg.pinv(at_lines)
    toward, toward_smooth = (np.einsum("rp,rpl->rl", side, refit) for side in (by_spectrum, by_smooth))
    errors = instrument.lines
    assert errors is not None
    unsure = replace(errors, row_noise=errors.row_noise * np.where(np.arange(60) == 7, 5, 1))
    noise = unsure.row_noise[:, None] * unsure.line_noise
    own = np.sqrt(((toward * noise) ** 2).sum(axis=1))
    # a lamp that drifts: half a per cent of the gain, in all interferometers alike
    drift = np.zeros_like(response.theta)
    drift[:, response.model.slices["gain"]] = 0.005 * response.theta[:, response.model.slices["gain"]]
    covariance = instrument.covariance + drift[:, :, None] * drift[:, None, :]
    told = interferogram_errors(replace(instrument, lines=unsure, covariance=covariance), grid, spectrum, smooth)
    assert_allclose(told.std, own, rtol=0.02)
    assert_allclose(told.line_errors, toward_smooth * response.monochromatic(1000 / response.wavenumber),
                    rtol=0, atol=0.01 * np.abs(told.line_errors).max())  # fmt: skip
    assert errors.residual is not None
    assert told.own is not None
    assert_allclose(told.own, toward * errors.residual, rtol=0, atol=0.02 * np.abs(told.own).max())
    # a file that knows no noise at its lines has the covariance alone
    told = interferogram_errors(replace(instrument, lines=None, covariance=covariance), grid, spectrum, smooth)
    assert told.own is None
    assert_allclose(told.std, np.sqrt(np.einsum("rp,rpq,rq->r", by_spectrum, covariance, by_spectrum)), rtol=0.02)


def derivative(response: FabryPerotResponse, of: Callable[[FabryPerotResponse], np.ndarray]) -> np.ndarray:
    """By each interferometer's parameters, by differences: ``(interferometer, …, parameter)``."""
    columns = []
    for step in 1e-6 * np.eye(response.theta.shape[1]):
        above, below = (of(replace(response, theta=response.theta + sign * step)) for sign in (1, -1))
        columns.append((above - below) / 2e-6)
    return np.stack(columns, axis=-1)


def test_doubt_about_the_model_averages_over_lines(instrument: Characterization) -> None:
    """Under even light: each line's error counts by its share of the band, whatever the quadrature."""
    response, errors = instrument.response, instrument.lines
    assert errors is not None
    grid = np.linspace(*response.band_nm, 400)
    doubtful = replace(errors, row_noise=0 * errors.row_noise, model_spread=np.full(151, 0.3))
    told = interferogram_errors(replace(instrument, lines=doubtful), grid, np.ones(400), np.ones(400)).std
    edges = 1000 / np.concatenate([
        response.wavenumber[:1], (response.wavenumber[1:] + response.wavenumber[:-1]) / 2, response.wavenumber[-1:]
    ])  # fmt: skip
    share = -np.diff(edges) / (edges[0] - edges[-1])
    seen = response.flat * response.gain_scale[:, None] * share
    assert_allclose(told, 0.3 * np.sqrt((seen**2).sum(axis=1)), rtol=0.02)


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


def test_front_labels_units_and_lamp(instrument: Characterization, tmp_path: Path) -> None:
    low, high = instrument.response.band_nm
    grid = np.linspace(low + 20, high - 20, 60)
    truth = np.ones((60, 4, 4))
    values = np.tensordot(instrument.response.matrix(grid), truth, axes=1)
    plain = invert(values, instrument, "ridge", grid=grid)
    assert plain.cube.units == "calibration lamp"
    assert plain.std is not None
    assert plain.cube.shape == plain.std.shape == (60, 4, 4)
    lamp = (np.array([low, high]), np.array([2.0, 2.0]))
    bright = invert(values, instrument, "ridge", grid=grid, lamp=lamp)
    assert bright.cube.units == "radiance"
    assert_allclose(bright.spectra.estimate, 2 * plain.spectra.estimate, rtol=1e-9)
    # a table finer than the grid, with a slope: its value at each wavelength, at the outermost, too
    fine = np.linspace(low, high, 2001)
    table = tmp_path / "lamp.csv"
    rows = "\n".join(f"{place},{value}" for place, value in zip(fine, fine / 100, strict=True))
    table.write_text("# our lamp\nnm, radiance (W m-2 sr-1 nm-1)\n" + rows)
    sloped = invert(values, instrument, "ridge", grid=grid, lamp=table)
    assert sloped.cube.units == sloped.spectra.units == "W m-2 sr-1 nm-1"
    assert_allclose(sloped.spectra.estimate, plain.spectra.estimate * grid[:, None, None] / 100, rtol=1e-9)
    assert invert(values, instrument, "ridge", grid=grid, lamp=table, lamp_units="mW").cube.units == "mW"
    with pytest.raises(InputError, match="lamp_units: found 'mW' without a lamp"):
        invert(values, instrument, lamp_units="mW")


def test_bad_input_is_one_line(instrument: Characterization) -> None:
    band = instrument.response.band_nm
    with pytest.raises(InputError, match="interferometers: found 59, expected 60"):
        invert(np.ones((59, 4, 4)), instrument)
    other = Cube(data=np.ones((60, 4, 4)), meta={"opd_um": list(instrument.opd_um * 1.3)}, name="frames of uv_1")
    with pytest.raises(InputError, match="another instrument"):
        invert(other, instrument)
    with pytest.raises(InputError, match="illumination: found 500 to 600 nm, expected to cover"):
        invert(np.ones((60, 4, 4)), instrument, illumination=(np.array([500.0, 600.0]), np.ones(2)))
    with pytest.raises(InputError, match="calibrated band"):
        invert(np.ones((60, 4, 4)), instrument, "ridge", grid=np.linspace(band[0] - 50, band[1], 30))
    with pytest.raises(InputError, match="did you mean 'ridge'"):
        invert(np.ones((60, 4, 4)), instrument, "ridg")
    layout = SubImageLayout(frame_shape=(120, 60), grid=(10, 6), pitch=(10, 10), origin=(5, 5))
    device = replace(instrument, layout=layout)
    frame = np.full((120, 60), 100.0)
    with pytest.raises(InputError, match="dark: missing"):
        frames(frame, None, device)
    with pytest.raises(InputError, match=r"full scale 100, expected a shorter exposure"):
        frames(frame, 0 * frame, device, full_scale=100)
    with pytest.raises(InputError, match=r"frames: found shape \(60, 60\)"):
        frames(frame[:60], 0 * frame, device)
    cut = frames(np.stack([frame, frame + 2]), 0 * frame + 1, device)
    assert cut.values.shape == (60, 9, 9)
    assert_allclose(cut.values, 100)
    assert cut.noise_std is not None
    assert_allclose(cut.noise_std, 1)


def test_a_grid_beyond_memory_is_refused_before_anything_is_read(instrument: Characterization) -> None:
    """After 24 s of work 1.8 TiB could not be had: an internal error."""
    low, high = instrument.response.band_nm
    with pytest.raises(InputError, match=r"grid: memory: 500000 wavelengths .*; choose a larger step"):
        parse_grid("400:900:0.001")
    with pytest.raises(InputError, match="grid: found a step too small"):
        parse_grid("400:900:1e-320")
    with pytest.raises(InputError, match="--grid: found '400:inf:1'"):
        parse_grid("400:inf:1")
    assert len(parse_grid("400:900:0.5")) == 1001
    with pytest.raises(InputError, match="grid: memory: 500000 wavelengths"):
        invert(Path("is never opened"), instrument, grid=np.linspace(low, high, 500_000))


def test_frames_of_a_monochromator_are_no_scene(instrument: Characterization, tmp_path: Path) -> None:
    layout = SubImageLayout(frame_shape=(120, 60), grid=(10, 6), pitch=(10, 10), origin=(5, 5))
    device = replace(instrument, layout=layout)
    frame = np.full((2, 120, 60), 100.0)
    for name, line in (("lines", [1.5, 1.6]), ("laser", [1.5, 1.5])):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["frames"], file["dark"], file["wavenumber"] = frame, 0 * frame[0], line
    with pytest.raises(InputError, match="wavenumber: found 2 lines of a monochromator, one a frame"):
        open_measurement(tmp_path / "lines.h5", device)
    with pytest.raises(InputError, match="wavenumber: found 2 lines of a monochromator, one a frame"):
        check_file(tmp_path / "lines.h5", (120, 60), 60)
    # repeated frames of one line are a scene: a laser's light
    assert open_measurement(tmp_path / "laser.h5", device).shape == (60, 9, 9)


def test_the_budget_names_no_prior_of_a_filter_and_says_when_it_exceeds_the_signal() -> None:
    cube = Cube(data=np.ones((1, 2, 2)))
    std = np.full((3, 2, 2), 0.5)

    def inversion(**more: Any) -> Inversion:
        spectra = Spectra(wavelength_nm=np.arange(3.0), estimate=2 * std, std=std, mask=np.ones((2, 2), bool), **more)
        return Inversion(cube=cube, std=cube, mask=cube, spectra=spectra)

    def budget(**more: Any) -> dict[str, np.ndarray]:
        return error_budget(inversion(**more))

    def drawn(**more: Any) -> list[str]:
        figure = _spectra_figure(inversion(**more), budget(**more))
        return [str(line.get_label()) for line in figure.axes[2].lines]

    filtered = budget(parameters={"std": NOISE_ALONE})
    assert sorted(filtered) == ["all", "noise"]
    assert_allclose(filtered["noise"], 0.5)
    assert sorted(budget()) == ["all", "noise and prior"]
    assert sorted(budget(noise_std=0.6 * std)) == ["all", "noise", "prior"]
    assert_allclose(budget(noise_std=0.6 * std)["prior"], 0.4)
    # a single part is the whole: one line
    assert drawn() == ["all: noise and prior"]
    assert drawn(noise_std=0.6 * std) == ["noise", "prior", "all"]
    # one pixel that nothing was told of, among four, is not all that the budget tells
    std[:, 1, 1] = 50
    assert_allclose(budget()["all"], 0.5)
    assert larger_than_signal(filtered, 1.0) == ""
    assert larger_than_signal(filtered, 0.25).startswith("the standard deviation is 200 % of the signal")


def test_curves_must_be_positive_and_cover() -> None:
    grid = np.linspace(500, 600, 11)
    with pytest.raises(InputError, match="positive"):
        on_grid(grid, np.linspace(-1, 1, 11), grid, "lamp")
    assert_allclose(on_grid(np.array([400.0, 700.0]), np.array([1.0, 4.0]), grid, "lamp"), 1 + (grid - 400) / 100)


def test_a_single_wrong_entry_is_not_averaged_away() -> None:
    """A code for a missing value among many, and a wavelength that was measured twice."""
    grid, fine = np.linspace(500, 600, 11), np.linspace(490, 610, 121)
    negative = np.where(fine == 555, -0.5, 1.0)
    with pytest.raises(InputError, match=r"lamp: found -0.5 at 555 nm, expected positive"):
        on_grid(fine, negative, grid, "lamp")
    # beyond the band nothing is asked of it
    assert_allclose(on_grid(fine, np.where(fine < 495, -1.0, 1.0), grid, "lamp"), 1)
    again = np.insert(fine, 60, fine[60])
    assert_allclose(on_grid(again, np.ones(122), grid, "lamp"), 1)
    with pytest.raises(InputError, match=r"lamp: found 5 and 1 at 550 nm, expected one value"):
        on_grid(again, np.insert(np.ones(121), 60, 5.0), grid, "lamp")
    # but for the nearest one, from which a line leads into it
    coarse = np.array([480.0, 498.0, 502.0, 598.0, 602.0])
    for place, wavelength in ((1, 498), (4, 602)):
        with pytest.raises(InputError, match=rf"lamp: found -0.2 at {wavelength} nm, expected positive"):
            on_grid(coarse, np.where(np.arange(5) == place, -0.2, 1.0), grid, "lamp")
        with pytest.raises(InputError, match=rf"lamp: found 1 and 7 at {wavelength} nm, expected one value"):
            on_grid(np.insert(coarse, place, coarse[place]), np.insert(np.ones(5), place + 1, 7.0), grid, "lamp")
    assert_allclose(on_grid(coarse, np.array([-1.0, 1, 1, 1, 1]), grid, "lamp"), 1)


def test_curves_finer_than_the_grid_are_averaged_over_its_samples() -> None:
    grid = np.array([500.0, 510.0, 530.0, 540.0])
    fine = np.linspace(495, 545, 501)
    assert_allclose(on_grid(fine, np.full(501, 3.0), grid, "lamp"), 3)
    # over a hat of unequal sides the mean of a straight line is the line at the hat's centre of gravity
    assert_allclose(on_grid(fine, fine, grid, "lamp"), [500 + 10 / 3, 510 + 10 / 3, 530 - 10 / 3, 540 - 10 / 3])
    # the value at the sample is another matter
    assert_allclose(on_grid(fine, fine, grid, "lamp", centred=True), grid)
    # what is averaged is what the grid's samples together hold: power is kept
    lines = 1 + 50 * np.exp(-0.5 * ((fine - 517) / 0.5) ** 2)
    weight = np.array([5.0, 15.0, 15.0, 5.0])
    inner = np.linspace(500, 540, 100001)
    whole = np.interp(inner, fine, lines).mean() * 40
    assert float(on_grid(fine, lines, grid, "lamp") @ weight) == pytest.approx(whole, rel=1e-4)


def test_spectra_on_a_grid_are_straight_between_bands() -> None:
    cube = Cube(data=np.array([4.0, 2.0, 2.0])[:, None, None], wavelength_nm=np.array([700.0, 500.0, 600.0]))
    assert_allclose(spectra_on(cube, np.array([500.0, 650.0, 700.0]))[:, 0, 0], np.array([2.0, 3.0, 4.0]) / 3)


@pytest.mark.parametrize("kind", ["bad", "nan", "nodata"])
def test_bands_of_a_scene_that_were_not_measured_are_no_truth(instrument: Characterization, kind: str) -> None:
    wavelength = np.array([500.0, 550.0, 600.0, 700.0, 900.0])
    light = np.array([2.0, 9.0, 2.0, 4.0, 9.0])[:, None, None] * np.ones((2, 2))
    wrong = np.array([False, True, False, False, True])
    light[wrong] = {"bad": 9, "nan": np.nan, "nodata": -9999}[kind]
    good = ~wrong if kind == "bad" else np.ones(5, dtype=bool)
    cube = Cube(data=light, wavelength_nm=wavelength, good=good, nodata=-9999.0 if kind == "nodata" else None)
    expected = np.array([2.0, 2.0, 3.0, 4.0]) * 4 / 11
    assert_allclose(spectra_on(cube, np.array([500.0, 550.0, 650.0, 700.0]))[:, 0, 0], expected)
    assert scene_on_lines(instrument, cube)[0].max() <= 700
    with pytest.raises(InputError, match="found no band that was measured"):
        spectra_on(cube.replace(data=np.full_like(light, np.nan)), wavelength)


def test_readings_of_lines_are_corrected_by_calibration_lines() -> None:
    rng = np.random.default_rng(0)
    place = np.linspace(400, 800, 400)

    def readings(wavelength: np.ndarray) -> dict[str, np.ndarray]:
        # a scale that is .3 nm off, and a window that holds four fifths of the energy
        n = len(wavelength)
        return {
            "wavelength_nm": wavelength, "position_nm": wavelength + 0.3 + 0.05 * rng.standard_normal(n),
            "energy_window": 0.8 * (1 + 0.02 * rng.standard_normal(n)), "resolution_nm": np.full(n, 2.0),
            "fwhm_nm": np.full(n, 2.0), "sidelobe": np.zeros(n), "spacing_nm": np.full(n, 1.0),
        }  # fmt: skip

    record = summary(corrected(readings(rng.uniform(410, 790, 300)), readings(place)))
    assert record["position_nm_median"] < 0.05
    assert record["energy"] == pytest.approx(1, abs=0.01)
    assert record["gross_percent"] == 0
    assert 0.9 < record["coverage95_energy"] < 0.99
    assert 0.9 < record["coverage95_position"] < 0.99
    held = readings(rng.uniform(410, 790, 300))
    # of these another peak is as high as the one that was taken, which is the wrong one of two
    held["sidelobe"][:6] = 1.0
    held["position_nm"][:3] += 100.0
    doubtful = summary(corrected(held, readings(place)))
    assert doubtful["gross_percent"] == pytest.approx(1)
    assert doubtful["flagged_percent"] == pytest.approx(2)
    assert doubtful["gross_unflagged_percent"] == 0


def test_a_line_between_two_samples_lies_at_their_centre_of_gravity() -> None:
    grid = np.linspace(500, 600, 101)
    line = np.zeros(101)
    line[40], line[41] = 0.7, 0.3
    spectra = Spectra(wavelength_nm=grid, estimate=line[:, None, None], std=None, mask=np.ones((1, 1), dtype=bool))
    assert find_peaks(spectra).position_nm[0] == pytest.approx(540.3, abs=1e-9)


def test_evidence_of_pixels_of_unknown_noise_does_not_take_lines_for_noise() -> None:
    case, _ = smooth_case(side=4, sigma=1.0)
    truth = np.zeros((46, 16))
    truth[5 + 2 * np.arange(16), np.arange(16)] = 30.0
    values = case.matrix @ truth + np.random.default_rng(3).standard_normal((60, 16))
    result = registry.get("gp")(replace(case, values=values.reshape(60, 4, 4), noise_known=False))
    assert (result.estimate.reshape(46, 16).argmax(axis=0) == truth.argmax(axis=0)).all()


def test_peaks_lie_where_they_are_and_are_as_wide() -> None:
    grid = np.linspace(500, 600, 101)
    line = np.exp(-0.5 * ((grid - 540.3) / 4) ** 2)
    spectra = Spectra(wavelength_nm=grid, estimate=line[:, None, None], std=None, mask=np.ones((1, 1), dtype=bool))
    peaks = find_peaks(spectra)
    assert peaks.position_nm[0] == pytest.approx(540.3, abs=0.01)
    assert peaks.fwhm_nm[0] == pytest.approx(2.3548 * 4, rel=0.01)


def test_commands_run_list_and_compare(instrument: Characterization, tmp_path: Path) -> None:
    low, high = instrument.response.band_nm
    instrument.save(tmp_path / "device.h5")
    grid = np.linspace(low, high, 40)
    values = np.tensordot(instrument.response.matrix(grid), np.ones((40, 6, 6)), axes=1)
    values += 1e-3 * values.mean() * np.random.default_rng(0).standard_normal(values.shape)
    save_cube(Cube(data=values, meta={"opd_um": [float(v) for v in instrument.opd_um]}), tmp_path / "frames.h5")
    arguments = ["run", str(tmp_path / "frames.h5"), "--instrument", str(tmp_path / "device.h5"), "--json"]
    done = CliRunner().invoke(
        group,
        [*arguments, "-o", str(tmp_path / "out.h5"), "--grid", "400:900:10", "--report", str(tmp_path / "report")],
    )
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["units"] == "calibration lamp"
    cube, std, mask = (open_cube(tmp_path / f"out{suffix}.h5") for suffix in ("", "_std", "_mask"))
    assert cube.shape == std.shape == (51, 6, 6)
    assert mask.read().all()
    assert (tmp_path / "report" / "report.html").is_file()
    # light of one in units of the lamp, within its error bars
    assert (np.abs(cube.read() - 1) <= 4 * std.read()).mean() > 0.95
    lines = CliRunner().invoke(group, ["methods", "--json"])
    assert {"ridge", "gp", "joint"} <= {row["name"] for row in json.loads(lines.output)}
    with open(tmp_path / "lamp.csv", "w") as file:
        file.write("nm,radiance\n500,1\n600,1\n")
    wrong = CliRunner().invoke(
        group, [*arguments, "-o", str(tmp_path / "no.h5"), "--illumination", str(tmp_path / "lamp.csv")]
    )
    assert wrong.exit_code != 0
    assert not list(tmp_path.glob("no*"))
    slope = np.broadcast_to(np.linspace(1, 2, 9)[:, None, None], (9, 5, 5)).copy()
    save_cube(Cube(data=slope, wavelength_nm=np.linspace(400, 900, 9)), tmp_path / "scene.h5")
    asked = [
        "benchmark", "--scenes", str(tmp_path / "scene.h5"), "--instrument", str(tmp_path / "device.h5"),
        "--snr", "100", "300", "--methods", "ridge,gp", "--out", str(tmp_path / "kept.jsonl"), "--json",
    ]  # fmt: skip
    records = json.loads(CliRunner().invoke(group, asked).output)
    assert [(record["snr"], record["method"]) for record in records] == [
        (100, "ridge"), (100, "gp"), (300, "ridge"), (300, "gp"),
    ]  # fmt: skip
    # a killed run's last line is cut; what is whole is not computed again, to the same seconds
    whole = (tmp_path / "kept.jsonl").read_text()
    (tmp_path / "kept.jsonl").write_text(whole[: whole.rstrip("\n").rfind("\n") + 9])
    again = json.loads(CliRunner().invoke(group, asked).output)
    assert again[:3] == records[:3]
    assert {**again[3], "seconds": 0} == {**records[3], "seconds": 0}
    assert {"nrmse", "sam_deg", "coverage95", "seconds"} <= set(records[0])
    assert records[1]["nrmse"] < records[0]["nrmse"]


def test_results_kept_are_of_all_that_decides_them(
    instrument: Characterization, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a capture with another flat field, of an instrument less sure of itself, of lines dealt of another capture."""
    rng = np.random.default_rng(0)
    ones = np.ones((6, 30))
    intensity = 1 + 0.1 * rng.random(ones.shape)
    capture = MonochromaticCapture(intensity=intensity, flat=ones, wavenumber=np.linspace(1, 2, 30))
    flat = replace(capture, flat=ones + 0.1 * rng.random(ones.shape))
    for other in (flat, replace(capture, linewidth_nm=2.0), replace(capture, index=np.arange(1, 7))):
        assert capture_name(other) != capture_name(capture)
    assert capture_name(replace(capture, name="b", source="b.h5")) == capture_name(capture)
    unsure = replace(instrument, covariance=2 * instrument.covariance)
    brighter = replace(instrument, response=replace(instrument.response, flat=2 * instrument.response.flat))
    assert len({instrument_name(one) for one in (instrument, unsure, brighter)}) == 3
    assert instrument_name(replace(instrument, name="b", seconds=9.0)) == instrument_name(instrument)
    grid = np.linspace(400, 900, 9)
    cube = Cube(data=np.broadcast_to(np.linspace(1, 2, 9)[:, None, None], (9, 5, 5)).copy(), wavelength_nm=grid)
    done: list[str] = []
    monkeypatch.setattr(scenes, "_record", lambda entry, *_: {"method": done.append(entry.name)})
    kept = Kept()
    for device in (instrument, instrument, unsure):
        scenes.compare(cube, device, ["ridge"], snrs=[100.0], kept=kept)
    for one in (capture, flat):
        scenes.compare(cube, instrument, ["ridge"], snrs=[100.0], kept_lines=0.5, capture=one, kept=kept)
    assert len(done) == 4


def test_a_scene_is_read_once_and_wrong_numbers_are_told(instrument: Characterization, tmp_path: Path) -> None:
    read: list[str] = []

    grid = np.linspace(400, 900, 9)
    values = np.broadcast_to(np.linspace(1, 2, 9)[:, None, None], (9, 5, 5)).copy()
    cube = Cube(data=values, wavelength_nm=grid)
    counted = SimpleNamespace(**{name: getattr(cube, name) for name in ("wavelength_nm", "good", "who")})
    counted.physical = lambda: SimpleNamespace(read=lambda: read.append("read") or values)
    lines, truth = scenes.scene_on_lines(instrument, counted)  # type: ignore[arg-type]
    assert read == ["read"]
    assert_allclose(truth, spectra_on(cube, lines))
    with pytest.raises(InputError, match=r"kept-lines: found 0.01, 2 of 151 lines, which characterize nothing"):
        scenes.fewer_lines(instrument, 0.01, 0)
    asked = ["benchmark", "--scenes", str(tmp_path), "--instrument", str(tmp_path), "--snr", "inf"]
    assert "--snr: found inf, expected positive numbers" in str(CliRunner().invoke(group, asked).exception)


def test_spectra_lie_where_their_interferograms_do(instrument: Characterization) -> None:
    values = np.tensordot(instrument.response.matrix(np.linspace(400, 900, 40)), np.ones((40, 3, 4)), axes=1)
    image = Cube(data=values, crs="EPSG:32633", transform=(30.0, 0.0, 5e5, 0.0, -30.0, 4e6))
    result = invert(image, instrument, "gp")
    assert result.std is not None
    for cube in (result.cube, result.std, result.mask):
        assert (cube.crs, cube.transform) == (image.crs, image.transform)


def test_a_device_that_is_none_is_told_whatever_the_method():
    """Also to methods that need none, and before anything is read."""
    with pytest.raises(InputError, match="device: found 'gpu'"):
        invert(np.ones((2, 1, 1)), "none.h5", "ridge", device="gpu")
