"""Figures of a characterization show what they say."""

from dataclasses import replace

import numpy as np

from calibration import simulated_bench as bench
from calibration.figures import fitted, fitted_between, selection_figure
from calibration.pipeline import characterize
from hsitools.sensor.transmittance import TransmittanceModel


def test_the_drawn_fit_passes_through_the_fitted_values():
    """Between the lines it follows the fringe, at the lines it is the fit: also where the lines are three a fringe."""
    rng = np.random.default_rng(5)
    instrument = bench.simulate_instrument(14, rng=rng, rows=7, opd_offset_um=10.0, opd_step_um=2.0)
    capture = bench.capture(instrument, bench.lines(181), rng=rng, linewidth_nm=1.0)
    result = characterize(capture, TransmittanceModel(degree_gain=2, degree_reflectivity=2))
    at_lines = fitted(result, capture)
    row = int(np.argmax(result.opd_um))
    wavelength, curve = fitted_between(result, capture, row)
    assert len(wavelength) > 12 * result.fringes[row]
    drawn = np.interp(capture.wavenumber, 1000 / wavelength, curve)
    np.testing.assert_allclose(drawn, at_lines[row], atol=0.02 * at_lines[row].max())
    # a straight line from line to line would miss the fringe
    jagged = np.interp(1000 / wavelength, capture.wavenumber, at_lines[row])
    assert np.abs(jagged - curve).max() > 0.1 * at_lines[row].max()


def test_a_model_beyond_the_picture_is_named(result):
    """Each model tried has a mark, or the number that lies to the right of the axis."""
    row = {"label": "airy", "rmse_cv_mean": 0.1, "rmse_mean": 0.09, "chosen": True}
    rows = [row, {**row, "chosen": False}, {**row, "rmse_cv_mean": 0.7, "rmse_mean": 0.6, "chosen": False}]
    axes = selection_figure(replace(result, selection=rows)).axes[0]
    assert axes.get_xlim()[1] < 0.6
    assert [text.get_text() for text in axes.texts] == ["0.7 →"]
