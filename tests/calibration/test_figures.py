"""Figures of a characterization show what they say."""

from dataclasses import replace

import numpy as np
import pytest

from calibration import report
from calibration import simulated_bench as bench
from calibration.figures import (
    fit_figure,
    fitted,
    fitted_between,
    opd_law_figure,
    parameter_figure,
    residual_figure,
    rmse_map_figure,
    selection_figure,
)
from calibration.pipeline import characterize
from calibration.report import write_report
from hsitools.plot import new_figure, robust_range
from hsitools.sensor.transmittance import TransmittanceModel

FIELDS = ("gain", "gain_stderr", "rmse", "opd_stderr_um")


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


@pytest.mark.parametrize("rows", [24, 4])
def test_one_that_is_not_determined_leaves_the_others_to_be_seen(rows):
    """An error bar of 10⁶ times the others' is named; a device of one column is no figure of metres."""
    rng = np.random.default_rng(3)
    instrument = bench.simulate_instrument(24, rng=rng, rows=rows)
    capture = bench.capture(instrument, bench.lines(81), rng=rng, noise=0.02)
    found = characterize(capture, TransmittanceModel())
    gain, stderr, rmse, opd_stderr = (np.array(getattr(found, name)) for name in FIELDS)
    gain[5], stderr[5], rmse[5], opd_stderr[5] = 1e6 * gain[5], 1e6, 1e6, 1e6
    spoiled = replace(found, **dict(zip(FIELDS, (gain, stderr, rmse, opd_stderr), strict=True)))
    for draw in (opd_law_figure, parameter_figure):
        figures = [draw(result).axes[-1] for result in (found, spoiled)]
        heights = [np.ptp(ax.get_ylim()) for ax in figures]
        assert heights[1] < 2 * heights[0]
        assert ["beyond: 5" in {text.get_text() for text in ax.texts} for ax in figures] == [False, True]
    image = rmse_map_figure(spoiled).axes[0].images[0]
    assert image.get_clim()[1] < 10 * np.median(rmse)
    assert max(rmse_map_figure(found).get_size_inches()) < 10


def test_an_interrupted_report_leaves_no_figures(result, simulated, tmp_path, monkeypatch):
    """Of an older report all that was there."""
    # one small figure for those of a report, which take seconds
    names = {"fit", "residual", "rmse", "opd_law", "uncertainty", "parameters"}
    monkeypatch.setattr(report, "all_figures", lambda *_: dict.fromkeys(names, (new_figure(1, 1)[0], "caption")))
    write_report(result, simulated, tmp_path / "old")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "old").rglob("*")}
    assert {path.name for path in before} == {"report.html", "figures", *(f"{name}.png" for name in names)}
    monkeypatch.setattr(report, "_report", interrupted)
    for name in ("old", "new"):
        with pytest.raises(KeyboardInterrupt):
            write_report(result, simulated, tmp_path / name)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "old").rglob("*")} == before
    assert not list((tmp_path / "new").iterdir())


def interrupted(*_):
    raise KeyboardInterrupt


def test_a_range_is_what_most_values_take():
    low, high, out = robust_range([1.0, 2, 3, 4, np.nan, 1e9, np.inf])
    assert (low, high) == (1.0, 4.0)
    np.testing.assert_array_equal(out, [0, 0, 0, 0, 0, 1, 1])
    # heavy tails are no exception, and equal values have no width to go by
    assert not robust_range(np.random.default_rng(0).standard_t(4, 200))[2].any()
    assert robust_range([2.0, 2, 2, 7])[1] == 7
    assert not robust_range([np.nan])[2].any()


def test_what_the_fit_left_out_is_drawn_as_such():
    """A line at which all were wrong is none of the fit, nor a residual; beyond the picture it squeezes nothing."""
    rng = np.random.default_rng(31)
    instrument = bench.simulate_instrument(14, rng=rng, rows=7, opd_step_um=0.4, opd_offset_um=3.0)
    capture = bench.capture(instrument, bench.lines(81), rng=rng, noise=0.05, linewidth_nm=0.0)
    intensity, mask = capture.intensity.copy(), capture.mask.copy()
    intensity[:, 40] *= 9
    mask[:, 20] = False
    capture = replace(capture, intensity=intensity, mask=mask)
    result = characterize(capture, TransmittanceModel(degree_gain=2, degree_reflectivity=2, degree_phase=3))
    assert result.settings["wild"]["samples"] >= 14
    figure = fit_figure(result, capture, np.array([0, 7]))
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert capture.wavelength_nm[40] in lines["set aside"].get_xdata()
    assert lines["not usable"].get_xdata().tolist() == [capture.wavelength_nm[20]]
    assert not np.isin(capture.wavelength_nm[[20, 40]], lines["measured"].get_xdata()).any()
    assert figure.axes[0].get_ylim()[1] < 4
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["measured", "fit", "set aside", "not usable"]
    top, bottom = residual_figure(result, capture).axes[:2]
    drawn = np.ma.filled(top.collections[0].get_array().reshape(14, 81), np.nan)
    assert np.isnan(drawn[:, [20, 40]]).all()
    assert np.isnan(bottom.lines[0].get_ydata()[[20, 40]]).all()
