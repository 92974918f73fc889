"""The whole calibration against the simulated bench's truth, and what it says of doubtful rows."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from calibration import simulated_bench as bench
from calibration.captures.capture import MonochromaticCapture
from calibration.characterization import FLAG_MEANING, Characterization
from calibration.fitting.fit import fit_capture
from calibration.fitting.opd_law import fit_law
from calibration.fitting.options import Options
from calibration.fitting.scaled_rows import ScaledRows
from calibration.held_out import cross_validate
from calibration.model_choice import select_model
from calibration.physical_parameters import _poor
from calibration.pipeline import characterize, say_other_step
from hsitools.errors import FormatError, InputError
from hsitools.sensor.transmittance import TransmittanceModel

MODEL = TransmittanceModel(degree_gain=3, degree_reflectivity=3, degree_phase=3)


def test_truth(result, instrument, simulated):
    error = result.opd_um - instrument.opd_um
    width = np.ptp(simulated.wavenumber)
    two = instrument.opd_um * width >= 2
    assert np.mean(np.abs(error[two]) < 0.5 / simulated.wavenumber.max()) >= 0.99
    assert 0.88 <= np.mean(np.abs(error) <= 1.96 * result.opd_stderr_um) <= 1
    r = instrument.reflectivity_at(simulated.wavenumber).mean(axis=1)
    covered = np.abs(result.reflectivity - r) <= 3 * result.reflectivity_stderr
    assert covered.mean() > 0.9
    g = instrument.gain_at(simulated.wavenumber).mean(axis=1)
    assert np.median(np.abs(result.gain / g - 1)) < 0.02
    phase = instrument.phase[:, 0]
    turn = np.angle(np.exp(1j * (result.phase_rad - phase)))
    assert np.mean(np.abs(turn) <= 3 * result.phase_stderr_rad) > 0.9
    assert np.median(result.rmse) == pytest.approx(0.095, rel=0.06)
    assert not result.flagged.any()


def test_curves(result, instrument, simulated):
    wavelength = np.linspace(360, 990, 50)
    sigma = 1000 / wavelength
    expected = instrument.transmittance(sigma)
    error = result.transmittance(wavelength) / expected - 1
    assert np.sqrt(np.mean(error**2)) < 0.08
    assert np.median(np.abs(result.reflectivity_curve(wavelength) - instrument.reflectivity_at(sigma))) < 0.02
    unwrapped = result.phase_curve(wavelength) - instrument.phase_at(sigma)
    away = np.angle(np.exp(1j * (unwrapped + 2 * np.pi * sigma * (instrument.opd_um - result.opd_um)[:, None])))
    assert np.median(np.abs(away)) < 0.15
    np.testing.assert_allclose(result.response.matrix(simulated.wavelength_nm).shape, simulated.intensity.shape)


def test_wrong_minima_of_narrow_peaks_are_said():
    """Reflectivity .9 between coarse lines: fits have many minima, and error bars know of one."""
    rng = np.random.default_rng([5, 1])
    device = bench.simulate_instrument(24, rng=rng, rows=8, opd_step_um=0.44)
    narrow = np.concatenate([device.reflectivity[:, :1] + 0.6, 0.02 * device.reflectivity[:, 1:]], axis=1)
    device = replace(device, reflectivity=narrow)
    capture = bench.capture(device, bench.lines(61), rng=rng, noise=0.02, linewidth_nm=0.0)
    result = characterize(capture, MODEL)
    z = np.max(np.abs(list(bench.standardised_errors(device, result).values())), axis=0)
    # those that are right have resolved what rows share: learned too early it put half of them 2.4 nm off
    assert np.median(np.abs(result.opd_um - device.opd_um)) < 1e-3
    assert (z > 4).any()
    assert result.flags["poor_fit"][z > 4].all()
    assert result.flags["poor_fit"].mean() < 0.5


@pytest.mark.parametrize(("band_nm", "even_in"), [((900.0, 1700.0), "wavelength"), ((350.0, 1000.0), "wavelength")])
def test_an_instrument_never_seen(band_nm, even_in):
    """Short-wave infrared, unevenly spaced lines: nothing in the code knows a device."""
    rng = np.random.default_rng(12)
    instrument = bench.simulate_instrument(80, rng=rng, band_nm=band_nm, opd_offset_um=3.0, opd_step_um=0.4)
    capture = bench.capture(instrument, bench.lines(301, band_nm, even_in), rng=rng, linewidth_nm=0.0)
    result = characterize(capture, MODEL)
    sampled = instrument.opd_um < capture.opd_limit_um
    error = np.abs(result.opd_um - instrument.opd_um)[sampled]
    assert np.mean(error < 0.5 / capture.wavenumber.max()) > 0.99
    assert result.law.step_um == pytest.approx(0.4, rel=0.02)


def test_small_opds_need_the_neighbours():
    """Rows of less than three fringes: restarts and the neighbours' OPDs find the order that a fit alone misses."""
    rng = np.random.default_rng(13)
    instrument = bench.simulate_instrument(60, rng=rng, opd_offset_um=0.6, opd_step_um=0.08)
    capture = bench.capture(instrument, bench.lines(251), rng=rng, linewidth_nm=0.0)
    small = instrument.opd_um * np.ptp(capture.wavenumber) < 3
    assert small.sum() >= 10

    def wrong(options):
        result = characterize(capture, TransmittanceModel(degree_phase=3), options=options)
        return np.mean(np.abs(result.opd_um - instrument.opd_um)[small] > 0.5 / np.ptp(capture.wavenumber))

    assert wrong(Options()) <= 0.05
    assert wrong(Options()) <= wrong(Options(prior=False))


def test_etalon_is_found_and_modelled():
    rng = np.random.default_rng(14)
    instrument = bench.simulate_instrument(80, rng=rng, etalon_um=13.4, etalon_amplitude=0.1)
    capture = bench.capture(instrument, bench.lines(201), rng=rng, noise=0.05, linewidth_nm=0.0)
    selection = select_model(capture, Options())
    model, table = selection.model, selection.table
    assert any(abs(opd - 13.4) < 0.15 for opd in model.etalons_um)
    assert sum(row["chosen"] for row in table) == 1
    assert min(row["rmse_cv_mean"] for row in table) == pytest.approx(
        next(row["rmse_cv_mean"] for row in table if row["chosen"]), rel=0.02
    )


def test_auto_prefers_the_model_that_made_the_data():
    rng = np.random.default_rng(15)
    instrument = bench.simulate_instrument(60, rng=rng, dispersion_rad=0.0)
    wavenumber = bench.lines(151)
    r = instrument.reflectivity_at(wavenumber)
    phi = 2 * np.pi * wavenumber * instrument.opd_um[:, None] - instrument.phase_at(wavenumber)
    clean = instrument.flat(wavenumber) * (1 + 2 * r / (1 + r**2) * np.cos(phi))
    capture = MonochromaticCapture(
        intensity=clean * (1 + 0.03 * rng.standard_normal(clean.shape)),
        flat=instrument.flat(wavenumber),
        wavenumber=wavenumber,
    )
    model = select_model(capture, Options()).model
    assert model.waves == 2
    assert model.gain_reference == "flat"


def test_held_out_exceeds_in_sample(simulated):
    """Held-out error exceeds the one in sample, the same seed deals the same folds, and more so without the prior."""
    rich = TransmittanceModel(degree_gain=8, degree_reflectivity=8)
    alone = Options(prior=False)
    data, fit = fit_capture(simulated, rich, alone)
    held = cross_validate(simulated, rich, alone, 5, 1)
    residual = np.sqrt(((data.intensity - fit.values(data)) ** 2).mean(axis=1))
    assert (held > residual).mean() > 0.95
    np.testing.assert_allclose(held, cross_validate(simulated, rich, alone, 5, 1), rtol=1e-9)
    assert cross_validate(simulated, rich, Options(), 5, 1).mean() < held.mean()
    with pytest.raises(InputError, match="cv: found 1 fold"):
        cross_validate(simulated, rich, Options(), 1)


def test_wrong_folds_are_told_before_anything_is_fitted(simulated, monkeypatch):
    monkeypatch.setattr("calibration.pipeline.fit_without_wild", lambda *_: pytest.fail("fitted first"))
    with pytest.raises(InputError, match="cv: found 1 fold, expected 2 to"):
        characterize(simulated, TransmittanceModel(), cv=1)


def test_shared_curve():
    """A drift of the lamp that all rows share is found by the rows together."""
    rng = np.random.default_rng(16)
    instrument = bench.simulate_instrument(80, rng=rng)
    wavenumber = bench.lines(201)
    capture = bench.capture(instrument, wavenumber, rng=rng, noise=0.04, linewidth_nm=0.0)
    drift = 1 + 0.1 * np.sin(40 * wavenumber)
    capture = replace(capture, intensity=capture.intensity * drift)
    data, fit = fit_capture(capture, MODEL, Options(shared_curve=True))
    assert np.corrcoef(fit.curve, drift)[0, 1] > 0.95
    plain = fit_capture(capture, MODEL, Options())[1]
    rms = [np.sqrt(((data.intensity - f.values(data)) ** 2).mean()) for f in (fit, plain)]
    assert rms[0] < 0.8 * rms[1]


BLACK = range(60, 72)


@pytest.fixture(scope="module")
def spoiled(simulated):
    intensity, flat = simulated.intensity.copy(), simulated.flat.copy()
    saturated = np.zeros(intensity.shape, dtype=bool)
    rng = np.random.default_rng(0)
    intensity[3] = -np.abs(rng.standard_normal(intensity.shape[1]))
    intensity[7, :-5] = np.nan
    intensity[11, 40:60] = np.nan
    flat[15] = 0
    saturated[20, :9] = True
    intensity[30] = flat[30] * (1 + 0.09 * rng.standard_normal(intensity.shape[1]))
    # a window without light: as much below zero as above
    intensity[BLACK] = 1e-3 * rng.standard_normal((len(BLACK), intensity.shape[1]))
    mask = ~saturated
    capture = replace(simulated, intensity=intensity, flat=flat, mask=mask, saturated=saturated)
    return characterize(capture, MODEL)


class TestFlags:
    """Bad rows are flagged, never silent, and never spoil the others."""

    def test_named(self, spoiled):
        assert set(spoiled.flags) == set(FLAG_MEANING)
        assert spoiled.flags["dark"][[3, 15]].all()
        assert spoiled.flags["few_samples"][7]
        assert spoiled.flags["saturated"][20]
        assert spoiled.flags["low_contrast"][30]
        assert (spoiled.flags["low_contrast"] | spoiled.flags["dark"])[BLACK].all()
        # a fringe is looked for at many OPDs: some is always there, and what is none must not be
        others = np.setdiff1d(np.arange(90), [3, 7, 11, 15, 20, 30, *BLACK])
        assert not spoiled.flags["low_contrast"][others].any()
        assert not spoiled.flags["dark"][[7, 11, 20]].any()

    def test_nan_only_where_flagged(self, spoiled):
        bad = ~np.isfinite(spoiled.opd_um)
        assert set(np.flatnonzero(bad)) - set(BLACK) == {3, 7, 15}
        assert spoiled.flagged[bad].all()
        for name in ("opd_stderr_um", "rmse", "r2", "reflectivity", "gain", "finesse", "phase_stderr_rad"):
            assert np.isfinite(getattr(spoiled, name)[~bad]).all(), name

    def test_others_unharmed(self, spoiled, instrument):
        good = np.setdiff1d(np.arange(90), [3, 7, 11, 15, 20, 30, *BLACK])
        assert np.abs(spoiled.opd_um - instrument.opd_um)[good].max() < 0.1

    def test_summary_has_no_nan(self, spoiled):
        import json

        from hsitools.text import plain

        json.dumps(plain(spoiled.summary()), allow_nan=False)
        assert spoiled.summary()["opd_um"][3] is None

    def test_headlines_are_of_rows_with_fringes(self, spoiled):
        """However badly what shows none is fitted."""
        shown = np.isfinite(spoiled.rmse) & ~spoiled.flags["low_contrast"]
        assert spoiled.flags["low_contrast"].any()
        assert spoiled.summary()["rmse_mean"] == pytest.approx(spoiled.rmse[shown].mean(), rel=1e-12)


def test_fewer_lines_than_parameters(simulated):
    few = simulated.select(wavelengths_nm=(400, 411))
    with pytest.raises(InputError, match=r"lines: found \d+, expected more than the model's 1\d parameters"):
        characterize(few, MODEL)


def test_all_dark(simulated):
    with pytest.raises(InputError, match="found no interferometer with signal"):
        characterize(replace(simulated, intensity=-np.ones_like(simulated.intensity)), MODEL)


def test_file_round_trip(result, tmp_path):
    path = tmp_path / "c.h5"
    result.save(path)
    again = Characterization.load(path)
    wavelength = np.linspace(360, 990, 30)
    np.testing.assert_allclose(again.transmittance(wavelength), result.transmittance(wavelength), rtol=1e-12)
    np.testing.assert_array_equal(again.covariance, result.covariance)
    np.testing.assert_array_equal(again.rmse_cv, result.rmse_cv)
    assert again.summary() == result.summary()
    assert again.layout == result.layout
    import h5py

    with h5py.File(path) as file:
        assert all("units" in file[name].attrs for name in ("opd_um", "phase_rad", "rmse"))


def test_file_errors(tmp_path, simulated):
    with pytest.raises(FormatError, match="found no such file"):
        Characterization.load(tmp_path / "none.h5")
    simulated.save(tmp_path / "capture.h5")
    with pytest.raises(FormatError, match="format: found 'hsitools-capture'"):
        Characterization.load(tmp_path / "capture.h5")
    (tmp_path / "text.h5").write_text("no")
    with pytest.raises(FormatError, match="expected a characterization"):
        Characterization.load(tmp_path / "text.h5")


def test_truncated_file(result, tmp_path):
    result.save(tmp_path / "c.h5")
    import h5py

    with h5py.File(tmp_path / "c.h5", "a") as file:
        del file["opd_um"]
    with pytest.raises(FormatError, match="opd_um"):
        Characterization.load(tmp_path / "c.h5")


def test_csv(result, tmp_path):
    result.to_csv(tmp_path / "t.csv")
    with open(tmp_path / "t.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(result.opd_um)
    np.testing.assert_allclose([float(row["opd_um"]) for row in rows], result.opd_um, rtol=1e-6)


def test_law():
    rng = np.random.default_rng(17)
    index = np.arange(100)
    opd = 1.5 + 0.2 * index + 0.02 * rng.standard_normal(100)
    opd[[20, 60]] += [3.0, -2.0]
    law = fit_law(opd, index, np.ones(100, bool), 0.5, 0.21)
    assert abs(law.step_um - 0.2) < 4 * law.step_stderr_um
    assert abs(law.offset_um - 1.5) < 4 * law.offset_stderr_um
    assert list(np.flatnonzero(law.outliers)) == [20, 60]
    assert np.isnan(fit_law(opd, index, np.zeros(100, bool), 0.5, None).step_um)


def test_a_nominal_step_in_another_unit_is_said(caplog):
    """175 nm written as 175; one that is merely off, or reversed, is the instrument's own affair."""
    index = np.arange(40)
    for nominal in (0.2, -0.1, 1.0, None):
        say_other_step(fit_law(1 + 0.175 * index, index, np.ones(40, bool), 0.5, nominal), "device")
    assert not caplog.records
    for nominal in (175.0, 0.000175):
        say_other_step(fit_law(1 + 0.175 * index, index, np.ones(40, bool), 0.5, nominal), "device")
    said = "device: opd_step_um: found {}, while the fringes say 0.175: is it in µm?"
    assert [record.getMessage() for record in caplog.records] == [said.format(175), said.format(0.000175)]


def test_lmfit_agrees(simulated):
    """The same cost, the same minimum: OPDs to a thousandth of their standard error, one fit per interferometer."""
    from calibration.fitting.lmfit_engine import fit_row

    few = simulated.select(rows=np.arange(24, 44))
    data, fit = fit_capture(few, MODEL, Options())
    result = characterize(few, MODEL, options=Options(engine="lmfit"))
    batched = characterize(few, MODEL)
    difference = np.abs(result.opd_um - batched.opd_um) / batched.opd_stderr_um
    assert difference.max() < 0.02
    prior = None if fit.prior is None else fit.prior.take([3])
    one = fit_row(fit.sampled, fit.theta[3], data.intensity[3], data.flat[3], data.weight[3], prior)
    assert "opd_um" in one.fit_report()
    assert one.params["opd_um"].stderr == pytest.approx(batched.opd_stderr_um[3], rel=0.1)
    interval = one.conf_interval(p_names=["opd_um"], sigmas=[1])["opd_um"]
    half = (interval[2][1] - interval[0][1]) / 2
    assert half == pytest.approx(batched.opd_stderr_um[3], rel=0.2)


def test_options_are_checked():
    for name, value in (("loss", "l1"), ("start", "guess"), ("engine", "gpu")):
        with pytest.raises(InputError, match=f"{name}: found '{value}', expected one of"):
            Options(**{name: value})


def test_problem_scale_does_not_matter(simulated):
    """Counts, electrons or volts: the same OPDs."""
    scaled = replace(simulated, intensity=simulated.intensity * 1e9, flat=simulated.flat * 3e7)
    one, other = characterize(simulated, MODEL), characterize(scaled, MODEL)
    np.testing.assert_allclose(one.opd_um, other.opd_um, atol=1e-5)
    np.testing.assert_allclose(other.gain, one.gain * 1e9 / 3e7, rtol=1e-4)
    assert ScaledRows.of(scaled, MODEL).intensity.mean() == pytest.approx(1, abs=1e-9)


def test_wild_samples_do_not_hide_fringes():
    """Under the Huber loss rows with a few wild samples are right, and not taken for rows without fringes."""
    device = bench.simulate_instrument(40, rng=np.random.default_rng(3), rows=8)
    capture = bench.capture(device, bench.lines(151), rng=np.random.default_rng(9), noise=0.03, hot_share=0.02)
    result = characterize(capture, TransmittanceModel(), options=Options(loss="huber"))
    assert np.abs(result.opd_um - device.opd_um).max() < 0.05
    assert result.flags["low_contrast"].sum() <= 1


@pytest.mark.parametrize("noise", [0.1, 0.01])
def test_no_fringes_are_no_path_difference(noise):
    """Gain explains most of such a row, and is no fringe; its OPD is in no law, and off none."""
    device = bench.simulate_instrument(40, rng=np.random.default_rng(3), rows=8, opd_step_um=0.6)
    reflectivity = device.reflectivity.copy()
    reflectivity[[10, 30]] = 0
    device = replace(device, reflectivity=reflectivity)
    capture = bench.capture(device, bench.lines(201), rng=np.random.default_rng(9), noise=noise, linewidth_nm=0.0)
    result = characterize(capture, replace(MODEL, degree_phase=3))
    np.testing.assert_array_equal(np.flatnonzero(result.flags["low_contrast"]), [10, 30])
    assert not result.flags["off_law"].any()


def test_an_interferometer_fitted_far_worse_than_the_others_is_flagged():
    rmse = np.array([0.05, 0.06, 0.19, 0.04, 0.9, 0.05])
    shown = np.array([True, True, True, True, False, True])
    np.testing.assert_array_equal(_poor(rmse, shown, ~shown), [False, False, True, False, False, False])
    np.testing.assert_array_equal(_poor(rmse, ~shown & False, shown), np.zeros(6, dtype=bool))
