"""Devices that rough steps from far off do not find: sharp fringes, and slow ones."""

from dataclasses import replace

import numpy as np
import pytest

from calibration import simulated_bench as bench
from calibration.fitting.options import Options
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


def test_slow_fringes():
    """From .6 to 4 fringes in the band: right, or of an error that says how far off they may be."""
    device, capture = measured(0.6, 101, 0.03, opd_offset_um=0.3, opd_step_um=0.08)
    result = characterize(capture, MODEL, options=Options(set_aside=False))
    away = np.abs(result.opd_um - device.opd_um)
    honest = (away < 4 * result.opd_stderr_um) | result.flagged
    assert honest.sum() >= 22
    # those of more than one fringe hardly leave a choice
    assert (away < 0.1)[device.opd_um > 0.6].all()


def test_spread_of_minima():
    """Alike minima count by their likelihood, once each; a mirrored phase and a whole turn are the same minimum."""
    phase = slice(0, 2)
    theta = np.array([[0.1, 2.0], [0.1, 2.01], [0.1 + 2 * np.pi, 3.0], [-0.1, -2.0], [0.1, 4.0]])
    between = _between(theta, np.array([0, 0.5, 0, 0, 1000.0]), phase, 0)
    np.testing.assert_allclose(between, [[0, 0], [0, 0.5]], atol=1e-12)
