"""Captures without noise, as simulations make them: right values, no smaller errors than rounding makes, and said."""

import logging

import numpy as np
import pytest

from calibration import characterize
from calibration import simulated_bench as bench
from calibration.fitting.options import Options
from hsitools.sensor.transmittance import TransmittanceModel


@pytest.mark.parametrize(("degree", "prior"), [(3, True), (3, False), (5, True)])
def test_without_noise(degree, prior, caplog):
    rng = np.random.default_rng(3)
    instrument = bench.simulate_instrument(24, rng=rng, rows=4)
    capture = bench.capture(instrument, bench.lines(151), rng=rng, noise=0.0, linewidth_nm=0.0)
    model = TransmittanceModel(degree_gain=degree, degree_reflectivity=degree, degree_phase=3)
    with caplog.at_level(logging.WARNING):
        result = characterize(capture, model, options=Options(prior=prior))
    assert "no noise: residuals of " in caplog.text
    np.testing.assert_allclose(result.opd_um, instrument.opd_um, atol=1e-5)
    errors = bench.standardised_errors(instrument, result)
    for name in ("opd", "phase", "reflectivity"):
        assert np.mean(np.abs(errors[name]) < 1.96) >= 0.9
    # a noise of 1e-5 over 151 lines
    assert 1e-7 < np.median(result.opd_stderr_um) < 1e-5
    assert not result.settings["wild"]["samples"]
    assert not result.settings["linewidth_contradicted"]
