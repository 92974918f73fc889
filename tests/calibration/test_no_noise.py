"""Captures without noise: right values, no smaller errors than rounding makes, and said; and noise of narrow peaks."""

import logging

import numpy as np
import pytest

from calibration import characterize
from calibration import simulated_bench as bench
from calibration.fitting.noise import growth_with_intensity
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


def test_noise_of_narrow_peaks_is_theirs():
    """Peaks 19 times the mean, as of R = .9, have ten times the mean variance where half of it is photons'."""
    rng = np.random.default_rng(0)
    bright = rng.random((40, 400)) < 0.05
    fitted = np.where(bright, 19.0, 0.05)
    mean = fitted.mean(axis=0)
    variance = 1 + 0.5 * (fitted - mean)
    psi = np.sqrt(np.maximum(variance, 0.2)) * rng.standard_normal(fitted.shape)
    growth = growth_with_intensity(psi, np.ones_like(psi), fitted)
    assert growth[bright].mean() == pytest.approx(variance[bright].mean(), rel=0.15)
    assert growth[~bright].mean() == pytest.approx(variance[~bright].mean(), abs=0.2)
