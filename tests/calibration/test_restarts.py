"""Devices that rough steps from far off do not find: sharp fringes, and slow ones."""

from dataclasses import replace

import numpy as np
import pytest

from calibration import simulated_bench as bench
from calibration.fitting.options import Options
from calibration.fitting.population import _alone, _population
from calibration.fitting.refine import Prior
from calibration.fitting.restarts import _between
from calibration.pipeline import characterize
from hsitools.sensor.transmittance import TransmittanceModel

MODEL = TransmittanceModel(degree_gain=3, degree_reflectivity=3, degree_phase=3)


def measured(reflectivity, n_lines, noise, **opd):
    device = bench.simulate_instrument(24, rng=np.random.default_rng(7), rows=8, **opd)
    device = replace(device, reflectivity=device.reflectivity + np.array([reflectivity - 0.3, 0, 0, 0]))
    lines = bench.lines(n_lines)
    return device, bench.capture(device, lines, rng=np.random.default_rng(9), noise=noise, linewidth_nm=0.0)


@pytest.mark.parametrize("reflectivity", [0.3, 0.8, 0.85])
def test_sharp_fringes(reflectivity):
    """The population is learned from rows that have come to rest: their residuals are the noise."""
    device, capture = measured(reflectivity, 301, 0.02)
    result = characterize(capture, MODEL)
    assert np.median(result.rmse) < 0.021
    assert np.abs(result.opd_um - device.opd_um).max() < 4e-3
    errors = bench.standardised_errors(device, result)
    for quantity in ("reflectivity", "gain", "opd"):
        assert np.mean(np.abs(errors[quantity]) < 1.96) > 0.8, quantity


@pytest.mark.parametrize("seed", [0, 2])
def test_peaks_of_one_reflectivity(seed):
    """What all rows share is learned until it rests: learned from fits on their way, it held all of them at .8986."""
    rng = np.random.default_rng(seed)
    device = bench.simulate_instrument(24, rng=rng, rows=4)
    device = replace(device, reflectivity=np.tile([0.9, 0, 0, 0], (24, 1)))
    result = characterize(bench.capture(device, bench.lines(451), rng=rng, noise=0.03, linewidth_nm=0.0), MODEL)
    assert np.median(result.reflectivity) == pytest.approx(0.9, abs=2.5e-4)
    errors = bench.standardised_errors(device, result)
    for quantity in ("reflectivity", "gain", "opd", "phase"):
        assert abs(np.median(errors[quantity])) < 1, quantity


def test_slow_fringes():
    """From .6 to 4 fringes in the band: right, or of an error that says how far off they may be."""
    device, capture = measured(0.6, 101, 0.03, opd_offset_um=0.3, opd_step_um=0.08)
    result = characterize(capture, MODEL, options=Options(set_aside=False))
    away = np.abs(result.opd_um - device.opd_um)
    honest = (away < 4 * result.opd_stderr_um) | result.flagged
    assert honest.sum() >= 22
    # those of more than one fringe hardly leave a choice
    assert (away < 0.1)[device.opd_um > 0.6].all()


@pytest.mark.parametrize(("first", "last", "band"), [(0.6, 4.0, (350.0, 1000.0)), (0.4, 1.7, (900.0, 1700.0))])
def test_devices_of_few_fringes(first, last, band):
    """Devices without one row of many fringes: learning goes on until it rests, and no row stays on a harmonic."""
    width = 1000 / band[0] - 1000 / band[1]
    rng = np.random.default_rng(11)
    device = bench.simulate_instrument(
        36, rng=rng, rows=8, band_nm=band, opd_offset_um=first / width, opd_step_um=(last - first) / width / 36
    )
    capture = bench.capture(device, bench.lines(151, band), rng=rng, noise=0.03, linewidth_nm=0.0)
    result = characterize(capture, MODEL)
    away = np.abs(result.opd_um - device.opd_um) * width
    assert away.max() < 0.25
    assert np.median(away[device.opd_um * width < 1.5]) < 0.03
    errors = bench.standardised_errors(device, result)
    for quantity in ("opd", "phase", "reflectivity"):
        assert np.mean(np.abs(errors[quantity]) < 1.96) > 0.85, quantity


def test_spread_of_minima():
    """Alike minima count by their likelihood, once each; a mirrored phase and a whole turn are the same minimum."""
    phase = slice(0, 2)
    theta = np.array([[0.1, 2.0], [0.1, 2.01], [0.1 + 2 * np.pi, 3.0], [-0.1, -2.0], [0.1, 4.0]])
    between = _between(theta, np.array([0, 0.5, 0, 0, 1000.0]), phase, 0)
    np.testing.assert_allclose(between, [[0, 0], [0, 0.5]], atol=1e-12)


def test_the_populations_mean_is_as_sure_as_generalised_least_squares():
    """Of rows that tell one of two parameters hardly, what they share of it is as little known."""
    rng = np.random.default_rng(3)
    n, centre, population = 60, np.array([1.0, -2.0]), np.array([[0.04, 0.01], [0.01, 0.09]])
    noise = np.array([np.diag([0.01, 4.0 if row % 10 else 0.04]) for row in range(n)])
    measured = rng.multivariate_normal(centre, population, n) + np.sqrt(np.einsum("bii->bi", noise)) * (
        rng.standard_normal((n, 2))
    )
    # what a fit gives: the posterior under what was known before
    before = np.zeros(2), 0.1 * np.eye(2)
    told = np.linalg.inv(noise)
    spread = np.linalg.inv(told + before[1])
    values = (spread @ (told @ measured[:, :, None]))[:, :, 0]
    mean, precision, doubt = _population(values, spread, np.ones(n, dtype=bool), before, at_once=True)
    expected = np.linalg.inv(np.linalg.inv(np.linalg.inv(precision) + noise).sum(axis=0))
    np.testing.assert_allclose(doubt, expected, rtol=0.02, atol=1e-5)
    assert (np.abs(mean - centre) < 3 * np.sqrt(np.diag(expected))).all()
    assert doubt[1, 1] > 3 * population[1, 1] / n
    weights = np.linalg.inv(np.linalg.inv(precision) + noise)
    likeliest = np.linalg.solve(weights.sum(axis=0), (weights @ measured[:, :, None]).sum(axis=0)[:, 0])
    np.testing.assert_allclose(mean, likeliest, atol=0.1 * np.sqrt(doubt[1, 1]))


def test_neighbours_are_no_witness_of_what_all_share():
    """What they said of a row's OPD is taken out of what it tells the population: as if they had said nothing."""
    rng = np.random.default_rng(4)
    model, n = TransmittanceModel(degree_gain=0, degree_reflectivity=0), 5
    size, column = model.n_parameters, model.opd_column
    root = rng.standard_normal((n, size, size))
    told, truth = root @ np.swapaxes(root, 1, 2), rng.standard_normal((n, size))
    centre, weight, variance = rng.standard_normal((n, size)), 30.0, np.full(n, 0.7)
    lent = np.zeros((size, size))
    lent[column, column] = weight
    posterior = np.linalg.inv(told + lent)
    theta = (posterior @ (told @ truth[:, :, None] + lent @ centre[:, :, None]))[:, :, 0]
    prior = Prior(mean=centre, precision=lent * variance[:, None, None])
    own, covariance = _alone(theta, posterior, variance, model, prior)
    np.testing.assert_allclose(own, truth, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(covariance, np.linalg.inv(told), rtol=1e-6)


def test_few_fringes_and_little_noise():
    """Path differences of all rows were 1.7 standard errors too large: learning crept, and was taken to rest."""
    rng = np.random.default_rng([0, 1138])
    device = bench.simulate_instrument(
        32, rng=rng, rows=8, opd_offset_um=0.6, opd_step_um=0.075, band_nm=(900.0, 1700.0)
    )
    lines = bench.lines(101, band_nm=(900.0, 1700.0))
    result = characterize(bench.capture(device, lines, rng=rng, noise=0.01, linewidth_nm=0.0), MODEL)
    z = bench.standardised_errors(device, result)["opd"]
    assert not result.flagged.any()
    # what all rows err in is drawn once a device
    assert abs(np.median(z)) < 1.0
    assert np.mean(np.abs(z) < 1.96) > 0.8


@pytest.mark.parametrize("at_once", [False, True])
def test_rows_that_know_less_than_they_were_told_tell_nothing_of_themselves(at_once):
    """What they were told was subtracted from less: they pulled the population away without end (`LinAlgError`)."""
    rng = np.random.default_rng(0)
    told = np.array([1.0, -2.0, 3.0])
    values = told + 0.1 * rng.standard_normal((30, 3))
    spread = np.broadcast_to(0.25 * np.eye(3), (30, 3, 3))
    mean, precision, doubt = _population(values, spread, np.ones(30, bool), (told, 1e4 * np.eye(3)), at_once)
    assert all(np.isfinite(part).all() for part in (mean, precision, doubt))
    np.testing.assert_allclose(mean, told, atol=0.1)
    assert np.sqrt(np.diag(doubt)).min() > 0.1


def test_the_mean_goes_no_farther_at_once_than_rows_scatter():
    """Rows that all lie ten of the population's deviations off: beyond one they are no straight lines in it."""
    values = np.random.default_rng(1).standard_normal((40, 3)) + np.array([10.0, 0, 0])
    spread = np.broadcast_to(0.1 * np.eye(3), (40, 3, 3))
    mean, _, _ = _population(values, spread, np.ones(40, bool), (np.zeros(3), np.eye(3)), at_once=True)
    assert np.linalg.norm(mean) == pytest.approx(1.0)
