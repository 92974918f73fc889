"""Intervals that cover, two-sided, in every mode of the fit: over devices whose true parameters are known."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.calibration_coverage import MODEL, MODES, QUANTITIES, errors, robust_rms, share
from calibration import simulated_bench as bench
from calibration.captures.capture import MonochromaticCapture
from calibration.characterization import Characterization
from calibration.fitting.fit import fit_capture
from calibration.fitting.opd_law import fit_law
from calibration.fitting.options import Options
from calibration.fitting.refine import Prior
from calibration.fitting.uncertainty import _mean_error, common_errors, parameter_covariance
from calibration.pipeline import characterize
from calibration.pixel_maps import fit_pixels
from hsitools.sensor.transmittance import TransmittanceModel

#: Modes of the benchmark, with fewer lines; errors drawn once a device need many devices and have their own tests.
LAWS = {
    "default": {"lines": 201},
    "no prior": {"lines": 201},
    "fixed gain": {"lines": 201},
    "huber, 2 % wild": {"lines": 201},
    "drift 5 %": {"devices": 24, "rows": 14},
    "line .5 nm": {"lines": 201},
    "line 2 nm": {"lines": 201},
    "few lines": {"devices": 9},
    "noise fourfold in an eighth": {"lines": 201},
    "noise over three lines": {"lines": 201},
    "noise over three lines, fixed gain": {"lines": 201},
    "brightness e-fold": {"lines": 201, "devices": 4, "rows": 80},
    "two waves": {"lines": 201},
}


@pytest.mark.parametrize("name", LAWS)
def test_intervals_cover(name):
    z = errors(replace(MODES[name], **LAWS[name]), seed=0)
    for quantity in QUANTITIES:
        assert len(z[quantity]) >= 280
        assert 0.92 <= share(z[quantity]) <= 0.98, (quantity, share(z[quantity]))
        assert 0.8 <= robust_rms(z[quantity]) <= 1.25, (quantity, robust_rms(z[quantity]))


def _fitted(options, **measured):
    rng = np.random.default_rng(3)
    instrument = bench.simulate_instrument(60, rng=rng, opd_step_um=0.4)
    capture = bench.capture(instrument, bench.lines(151), rng=rng, **{"linewidth_nm": 0.0, **measured})
    return instrument, capture, *fit_capture(capture, MODEL, options)


def test_degrees_of_freedom_are_those_the_data_determine():
    """Under the prior a row uses fewer of them: all parameters counted, the noise would come out 20 % too large."""
    instrument = bench.simulate_instrument(120, rng=np.random.default_rng(4), opd_step_um=0.08)
    wavenumber = bench.lines(41)
    noise = 0.2
    capture = bench.capture(instrument, wavenumber, rng=np.random.default_rng(5), noise=noise, linewidth_nm=0.0)
    data, fit = fit_capture(capture, MODEL, Options())
    sigma = bench.noise_sigma(bench.expectation(instrument, wavenumber), noise) / data.level[:, None]
    ratio = fit.variance / (sigma**2).mean(axis=1)
    assert np.mean(ratio) == pytest.approx(1, abs=0.07)


def test_an_estimated_line_width_is_right_and_its_error_is_told():
    instrument, capture, _, _ = _fitted(Options(), linewidth_nm=3.0)
    unknown = replace(capture, linewidth_nm=None)
    data, fit = fit_capture(unknown, MODEL, Options(estimate_linewidth=True))
    width = fit.line_width
    assert abs(width.square - 9.0) < 3 * width.stderr_square < 6.0
    derivative, root = common_errors(fit, data, Options(estimate_linewidth=True))[-1]
    assert np.isfinite(derivative(fit.theta, data.flat)).all()
    assert (root != 0).any()
    declared_width = characterize(capture, MODEL)
    result = characterize(unknown, MODEL, options=Options(estimate_linewidth=True))
    assert np.all(result.reflectivity_stderr >= 0.99 * declared_width.reflectivity_stderr)
    # the sensor sees spectra, not the monochromator: its reflectivity is the instrument's own
    assert abs(np.mean(result.reflectivity - instrument.reflectivity_at(capture.wavenumber).mean(axis=1))) < 0.01
    assert result.settings["linewidth_estimate"]["nm"] == pytest.approx(width.nm)


def test_the_right_line_leaves_no_fall_of_reflectivity_with_opd():
    instrument, capture, _, _ = _fitted(Options(), linewidth_nm=2.0)
    truth = instrument.reflectivity_at(capture.wavenumber).mean(axis=1)
    for width, falls in ((0.0, True), (2.0, False)):
        result = characterize(replace(capture, linewidth_nm=width), MODEL, options=Options(prior=False))
        slope = np.polyfit(result.opd_um, result.reflectivity - truth, 1)[0]
        assert (slope < -1e-3) == falls
        assert (abs(slope) < 5e-4) != falls


def test_a_shared_shift_is_found():
    """The monochromator's scale error, but for its mean and slope, which are OPD and phase."""
    rng = np.random.default_rng(6)
    instrument = bench.simulate_instrument(60, rng=rng, opd_step_um=0.6)
    wavenumber = bench.lines(201)
    x = np.linspace(-1, 1, 201)
    error = 3e-4 * np.sin(12 * x)
    moved = bench.expectation(instrument, wavenumber + error) / instrument.flat(wavenumber + error)
    capture = bench.capture(instrument, wavenumber, rng=rng, noise=0.05, linewidth_nm=0.0)
    truth = bench.expectation(instrument, wavenumber)
    capture = replace(capture, intensity=capture.intensity - truth + moved * instrument.flat(wavenumber))
    fit = fit_capture(capture, MODEL, Options(shared_shift=True))[1]
    straight = np.polyval(np.polyfit(x, error, 1), x)
    assert np.corrcoef(fit.shift, error - straight)[0, 1] > 0.95
    assert np.std(fit.shift - (error - straight)) < 0.35 * np.std(error - straight)
    plain = fit_capture(capture, MODEL, Options())[1]
    assert fit.variance.mean() < plain.variance.mean()


def test_scatter_of_the_opds_is_not_zero():
    """Each row's neighbours do not contain the row, and their median's own error is taken out."""
    rng = np.random.default_rng(7)
    index = np.arange(3000)
    opd = 2 + 0.2 * index + 0.5 * rng.standard_normal(3000)
    law = fit_law(opd, index, np.ones(3000, dtype=bool), 0.5, None)
    assert law.scatter_um == pytest.approx(0.5, rel=0.06)
    regular = fit_law(2 + 0.2 * index, index, np.ones(3000, dtype=bool), 0.5, None)
    assert regular.scatter_um < 1e-9
    assert fit_law(opd[:9], index[:9], np.ones(9, dtype=bool), 0.5, None).scatter_um > 0.1


def test_line_width_and_covariance_survive_the_file(tmp_path):
    _, capture, _, _ = _fitted(Options(), linewidth_nm=1.0)
    capture.save(tmp_path / "capture.h5")
    again = type(capture).load(tmp_path / "capture.h5")
    np.testing.assert_array_equal(again.linewidth_nm, capture.linewidth_nm)
    result = characterize(again, MODEL)
    result.save(tmp_path / "c.h5")
    loaded = Characterization.load(tmp_path / "c.h5")
    assert loaded.settings["linewidth_nm"] == 1.0
    np.testing.assert_array_equal(loaded.covariance, result.covariance)


def test_lmfit_sees_the_same_line():
    rng = np.random.default_rng(8)
    instrument = bench.simulate_instrument(4, rng=rng, opd_offset_um=8.0)
    capture = bench.capture(instrument, bench.lines(101), rng=rng, noise=0.03, linewidth_nm=2.0)
    model = replace(MODEL, degree_gain=1, degree_reflectivity=1)
    ours = characterize(capture, model, options=Options(prior=False))
    theirs = characterize(capture, model, options=Options(prior=False, engine="lmfit"))
    np.testing.assert_allclose(theirs.opd_um, ours.opd_um, atol=1e-2 * ours.opd_stderr_um.max())
    np.testing.assert_allclose(theirs.opd_stderr_um, ours.opd_stderr_um, rtol=1e-2)


def test_standard_errors_of_maps_cover():
    """Every pixel of a sub-image has the same right to its interval as the centre."""
    rng = np.random.default_rng(9)
    instrument = bench.simulate_instrument(16, rng=rng, opd_offset_um=4.0, opd_step_um=0.9)
    wavenumber = bench.lines(121)
    size = 9
    pixels = bench.pixel_stack(instrument, wavenumber, size=size, rng=rng, noise=0.05)
    middle = pixels[:, :, 3:6, 3:6].mean(axis=(2, 3)).astype(float)
    centre = MonochromaticCapture(intensity=middle, wavenumber=wavenumber, flat=np.ones_like(middle))
    _, fit = fit_capture(centre, MODEL, Options())
    y, x = np.mgrid[:size, :size] - size // 2
    radius = np.hypot(y, x) / (size / 2 * np.sqrt(2))
    cosine = np.cos(np.arctan(radius * np.tan(np.radians(instrument.half_field_deg)))).ravel()
    z = []
    for number in range(16):
        prior = fit.prior.take([number])
        unit = Prior(mean=prior.mean, precision=prior.precision / fit.variance[number])
        one = np.ones((size * size, len(wavenumber)))
        intensity = pixels[number].reshape(len(wavenumber), -1).T.astype(float)
        result = fit_pixels(fit.sampled, intensity, one, wavenumber, fit.theta[number], unit)
        z.append((result["opd_um"] - instrument.opd_um[number] * cosine) / result["opd_stderr_um"])
    assert 0.92 <= share(np.concatenate(z)) <= 0.98
    assert 0.8 <= robust_rms(np.concatenate(z)) <= 1.25


def test_phase_knows_how_it_hangs_together_with_the_opd():
    """Phase and OPD are told from lines on one side of the band: their errors go together, and the phase's shows it."""
    z, ratios = [], []
    for seed in range(6):
        rng = np.random.default_rng([10, seed])
        instrument = bench.simulate_instrument(60, rng=rng, opd_offset_um=6.0, opd_step_um=0.5)
        capture = bench.capture(instrument, bench.lines(201), rng=rng, linewidth_nm=0.0)
        mask = capture.mask.copy()
        # one row in four sees all of the band, the others its redder two thirds
        mask[np.arange(60) % 4 > 0, 130:] = False
        result = characterize(replace(capture, mask=mask), MODEL, options=Options(prior=False))
        part = np.arange(60) % 4 > 0
        z.append(bench.standardised_errors(instrument, result)["phase"][part])
        start, band = MODEL.slices["phase"].start, result.response.band
        own = result.covariance[:, start, start]
        slope = (band.centre / band.half_width) ** 2 * result.covariance[:, start + 1, start + 1]
        ratios.append((result.phase_stderr_rad / np.sqrt(own + slope))[part])
    assert np.median(np.concatenate(ratios)) < 0.85
    assert 0.92 <= share(np.concatenate(z)) <= 0.98
    assert 0.8 <= robust_rms(np.concatenate(z)) <= 1.25


def test_what_moves_all_rows_moves_what_their_neighbours_say():
    """An OPD is held by what its neighbours predict, but not against what all of them err in: a dense solution."""
    rng = np.random.default_rng(12)
    instrument = bench.simulate_instrument(14, rng=rng, rows=7, opd_offset_um=0.6, opd_step_um=0.02)
    capture = bench.capture(instrument, bench.lines(61), rng=rng, noise=0.1, linewidth_nm=0.0)
    data, fit = fit_capture(capture, TransmittanceModel(degree_gain=1, degree_reflectivity=1), Options())
    n, size, column = 14, fit.theta.shape[1], fit.sampled.model.opd_column
    root = rng.standard_normal((n, size, size))
    pull_gain = 1e-3 * root @ np.swapaxes(root, 1, 2)
    own = pull_gain @ fit.prior.common
    hold = pull_gain[:, :, column] * fit.prior.precision[:, column, column, None]
    hold *= 0.9 / hold[:, column].max()
    pull_gain[:, :, column] = hold / fit.prior.precision[:, column, column, None]
    own = pull_gain @ fit.prior.common
    beside = np.array([[min(max(row + k, 0), n - 1) for k in (-4, -3, -2, -1, 1, 2, 3, 4)] for row in range(n)])
    mean = np.zeros((n, n))
    for row in range(n):
        for other in beside[row]:
            mean[row, other] += 1 / 8
    moved = np.linalg.solve(np.eye(n) - hold[:, column, None] * mean, own[:, column])
    expected = own + hold[:, :, None] * (mean @ moved)[:, None, :]
    together = _mean_error(fit, data, [pull_gain[:6], pull_gain[6:]])
    np.testing.assert_allclose(together, expected, atol=0.02 * np.abs(expected).max())
    # and it is in the errors of all rows
    told = parameter_covariance(fit, data, Options())
    without = parameter_covariance(replace(fit, prior=replace(fit.prior, common=None)), data, Options())
    more = (told - without)[:, column, column] / without[:, column, column]
    assert more.min() > 0
    assert np.median(more) > 0.03
