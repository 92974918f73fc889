"""Held-out error that nothing of the held-out lines can reach, and the choice of a model by it."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy.interpolate import make_smoothing_spline
from scipy.stats import siegelslopes

from calibration import simulated_bench as bench
from calibration.characterization import Characterization
from calibration.fitting.opd_law import repeated_medians
from calibration.fitting.options import Options
from calibration.fitting.population import shared_parameters
from calibration.fitting.scaled_rows import ScaledRows
from calibration.fitting.smoothing import SmoothingSpline, solve_pentadiagonal
from calibration.fitting.starting_opd import starting_opd
from calibration.held_out import Fold, cross_validate, deal, embed
from calibration.model_choice import Trials, paired_gain, select_model
from calibration.pipeline import characterize
from hsitools.errors import InputError
from hsitools.sensor.fabry_perot import cos_sin
from hsitools.sensor.transmittance import TransmittanceModel

EVERYTHING = Options(shared_curve=True, shared_shift=True)
SIMPLE = TransmittanceModel(degree_gain=3, degree_reflectivity=3)


def without_lines(capture, lines):
    """The capture of a monochromator that never stopped at these lines."""
    kept = np.setdiff1d(np.arange(capture.n_lines), lines)
    arrays = {name: getattr(capture, name)[:, kept] for name in ("intensity", "flat", "mask", "saturated")}
    width = {} if capture.linewidth_nm is None else {"linewidth_nm": capture.linewidth_nm[kept]}
    return replace(capture, wavenumber=capture.wavenumber[kept], **arrays, **width)


@pytest.fixture(scope="module")
def with_etalon():
    """Capture of a device with a parasitic etalon and a lamp that drifts."""
    rng = np.random.default_rng(20)
    instrument = bench.simulate_instrument(48, rng=rng, etalon_um=13.4, etalon_amplitude=0.12)
    return bench.capture(instrument, bench.lines(181), rng=rng, noise=0.06, linewidth_nm=0.0, drift=0.03)


def test_no_fold_sees_its_lines(with_etalon):
    """Held-out intensities replaced by noise of any size: etalons, curves and predictions stay what they were."""
    lines = deal(with_etalon.n_lines, 5, 3)[2]
    garbage = with_etalon.intensity.copy()
    garbage[:, lines] = np.random.default_rng(21).uniform(-3, 30, garbage[:, lines].shape)
    predicted = []
    for capture in (with_etalon, replace(with_etalon, intensity=garbage)):
        fold = Fold.start(capture, lines, replace(SIMPLE, etalons_um=(1.0,)), EVERYTHING)
        grown = fold.grow(replace(fold.model, degree_phase=3), EVERYTHING)
        predicted.append((fold.model.etalons_um, fold.fit.values(fold.data), grown.fit.values(grown.data)))
        assert (fold.data.intensity[:, lines] == 0).all()
    assert predicted[0][0] == pytest.approx(predicted[1][0], abs=1e-9)
    assert predicted[0][0][0] == pytest.approx(13.4, abs=0.1)
    for clean, spoiled in zip(predicted[0][1:], predicted[1][1:], strict=True):
        np.testing.assert_allclose(spoiled, clean, rtol=1e-9, atol=1e-12)


def test_residual_is_of_the_measurement(with_etalon):
    """In units of the row's mean intensity over all its lines, and zero where nothing was measured."""
    mask = with_etalon.mask.copy()
    mask[4, ::3] = False
    capture = replace(with_etalon, mask=mask)
    lines = deal(capture.n_lines, 5, 0)[0]
    fold = Fold.start(capture, lines, SIMPLE, Options())
    data = ScaledRows.of(capture, SIMPLE)
    predicted = fold.fit.values(fold.data) * (fold.data.level / data.level)[:, None]
    np.testing.assert_allclose(fold.residual(), ((data.intensity - predicted) * mask)[:, lines], rtol=1e-9, atol=1e-12)


def test_error_is_that_of_new_measurements(simulated, instrument):
    """What cross-validation says of a line agrees with a second measurement of the same device."""
    held = cross_validate(simulated, SIMPLE, Options(), 5)
    fold = Fold.start(simulated, deal(simulated.n_lines, 5, 0)[0], SIMPLE, Options())
    again = bench.capture(instrument, simulated.wavenumber, rng=np.random.default_rng(22), linewidth_nm=0.0)
    new = replace(fold, capture=again).residual()
    assert held.mean() == pytest.approx(np.sqrt((new**2).mean(axis=1)).mean(), rel=0.04)


def test_embedded_start_is_the_same_fit(with_etalon):
    data = ScaledRows.of(with_etalon, SIMPLE)
    fold = Fold.start(with_etalon, np.array([5]), SIMPLE, EVERYTHING)
    richer = replace(SIMPLE, degree_phase=5, degree_gain=8, degree_reflectivity=8, etalons_um=(13.4,))
    start = embed(fold.fit, data.sampled(richer))
    at = fold.fit.sampled
    same = type(at)(richer, at.band, at.wavenumber).values(start.theta, data.flat * start.curve)
    np.testing.assert_allclose(same, at.values(fold.fit.theta, data.flat * fold.fit.curve), rtol=1e-12)
    assert start.prior is not None
    assert np.linalg.eigvalsh(start.prior.precision).min() > -1e-9
    # what is known of the population goes on being known, of the new coefficients little
    before, after = shared_parameters(SIMPLE), shared_parameters(richer)
    where = [
        int(np.flatnonzero(after == richer.slices[name].start + j)[0])
        for name, part in SIMPLE.slices.items()
        for j in range(part.stop - part.start)
        if part.start + j in before
    ]
    for grown, known in zip(start.prior.population, fold.fit.prior.population, strict=True):
        np.testing.assert_array_equal(grown[tuple(np.ix_(*[where] * known.ndim))], known)
    assert start.prior.population[0].shape == (len(after),)
    assert np.linalg.eigvalsh(start.prior.population[1]).min() > 0
    assert np.linalg.eigvalsh(start.prior.force).min() > -1e-9
    old = fold.fit.prior.force[:, SIMPLE.slices["gain"].start, SIMPLE.slices["gain"].start]
    np.testing.assert_array_equal(start.prior.force[:, richer.slices["gain"].start, richer.slices["gain"].start], old)


def test_paired_gain():
    """The gain is the difference of the rows' mean RMSE; its standard error holds where rows or lines share errors."""
    rng = np.random.default_rng(23)
    z = []
    for _ in range(300):
        common, own = rng.standard_normal((1, 60)), 0.5 * rng.standard_normal((40, 60))
        one = rng.standard_normal((40, 60)) ** 2
        other = np.maximum(one + 0.3 * (common + own), 0.01)
        gain, error = paired_gain(one, other, np.full(40, 60.0))
        # the mean of the difference over many lines, known by construction but for the clipping at 0.01
        z.append((gain, error))
    gains, errors = np.array(z).T
    assert np.mean(errors) == pytest.approx(gains.std(), rel=0.15)
    one, other = rng.random((7, 9)), rng.random((7, 9))
    rmse = [np.sqrt(squares.mean(axis=1)) for squares in (one, other)]
    # of seven rows the first and the last count as their neighbours
    gains = np.sort(rmse[0] - rmse[1])[[1, 1, 2, 3, 4, 5, 5]]
    assert paired_gain(one, other, np.full(7, 9.0))[0] == pytest.approx(gains.mean(), abs=1e-12)


@pytest.mark.parametrize("factor", [1e-6, 1e6])
@pytest.mark.parametrize("swapped", [False, True])
def test_one_row_does_not_decide(factor, swapped):
    """A row that a rival fits a thousand times worse, or better, counts as the most extreme of the others."""
    rng = np.random.default_rng(24)
    one = rng.standard_normal((40, 60)) ** 2
    other = 0.9 * one * rng.uniform(0.9, 1.1, one.shape)
    usual, error = paired_gain(one, other, np.full(40, 60.0))
    spoiled = other.copy()
    spoiled[11] = factor * one[11]
    pair = (spoiled, one) if swapped else (one, spoiled)
    gain, stderr = paired_gain(*pair, np.full(40, 60.0))
    assert gain == pytest.approx(-usual if swapped else usual, rel=0.05)
    assert stderr < 1.2 * error


def test_choice_is_stable(with_etalon):
    """Other folds, or four fifths of the lines: the same kind of model, the same etalon."""
    fewer = without_lines(with_etalon, deal(with_etalon.n_lines, 5, 9)[0])
    chosen = [select_model(with_etalon, Options(), seed=seed) for seed in (0, 1)]
    chosen.append(select_model(fewer, Options()))
    for selection in chosen:
        assert selection.model.waves == np.inf
        assert selection.model.gain_reference == "flat"
        assert len(selection.model.etalons_um) == 1
        assert selection.model.etalons_um[0] == pytest.approx(13.4, abs=0.05)
        assert selection.options.shared_curve


def test_missing_lines_leave_the_sampling_limit():
    """The largest OPDs of a device are found also when a fifth of the lines is missing (imspoc_uv_1 has such OPDs)."""
    rng = np.random.default_rng(29)
    instrument = bench.simulate_instrument(60, rng=rng, opd_offset_um=33.0, opd_step_um=0.16)
    wavenumber = bench.lines(161)
    capture = bench.capture(instrument, wavenumber, rng=rng, noise=0.05, linewidth_nm=0.0)
    few = without_lines(capture, deal(161, 5, 0)[1][1:-1])
    data = ScaledRows.of(few, SIMPLE)
    assert instrument.opd_um.max() > 1.1 * 0.5 / np.diff(few.wavenumber).mean()
    opd, _ = starting_opd(data)
    assert np.abs(opd - instrument.opd_um).max() < 0.3


def test_errors_of_the_lamp_are_no_etalon():
    """Line by line fluctuations that all rows share, as on imspoc_uv_2: no etalon is made of them."""
    rng = np.random.default_rng(24)
    instrument = bench.simulate_instrument(48, rng=rng)
    capture = bench.capture(instrument, bench.lines(241), rng=rng, noise=0.06, linewidth_nm=0.0)
    wavenumber = capture.wavenumber
    lamp = 1 + 0.1 * np.cos(2 * np.pi * 8.3 * wavenumber) + 0.03 * rng.standard_normal(len(wavenumber))
    selection = select_model(replace(capture, intensity=capture.intensity * lamp), Options())
    assert selection.model.etalons_um == ()
    assert selection.options.shared_curve


def test_table(with_etalon):
    table = select_model(with_etalon, Options()).table
    assert sum(row["chosen"] for row in table) == 1
    best = next(row for row in table if row["chosen"])
    # nothing that was tried beats the choice by more than the doubt about it
    assert all(row["rmse_cv_mean"] > best["rmse_cv_mean"] - max(row["gain_stderr"], 1e-6) for row in table)


def test_smoothing_spline_is_scipys():
    rng = np.random.default_rng(25)
    for n in (5, 24, 27, 130):
        x = np.sort(rng.uniform(0, n, n))
        y, weight = np.sin(x / 5) + 0.1 * rng.standard_normal(n), rng.uniform(0.2, 2, n)
        at = np.linspace(x[0], x[-1], 77)
        for smoothness in (1e-2, 1, 1e3):
            expected = make_smoothing_spline(x, y, w=weight, lam=smoothness)(at)
            np.testing.assert_allclose(SmoothingSpline.through(x, y, weight, smoothness)(at), expected, atol=1e-7)
    outside = SmoothingSpline.through(x, y, weight, 1.0)(np.array([x[0] - 5, x[-1] + 5]))
    np.testing.assert_allclose(outside, SmoothingSpline.through(x, y, weight, 1.0).values[[0, -1]], atol=1e-12)


def test_pentadiagonal():
    rng = np.random.default_rng(26)
    for n in (1, 2, 3, 23, 24, 25, 100):
        diagonal, one, two = rng.uniform(4, 6, n), rng.uniform(-1, 1, max(n - 1, 0)), rng.uniform(-1, 1, max(n - 2, 0))
        matrix = np.diag(diagonal)
        for k, values in ((1, one), (2, two)):
            if len(values):
                matrix += np.diag(values, k) + np.diag(values, -k)
        right = rng.standard_normal(n)
        np.testing.assert_allclose(
            solve_pentadiagonal(diagonal, one, two, right), np.linalg.solve(matrix, right), rtol=1e-10, atol=1e-12
        )


def test_cos_sin():
    rng = np.random.default_rng(27)
    for top in (1.0, 700.0, 1e7):
        angle = np.concatenate([rng.uniform(-top, top, 20000), np.arange(-8, 9) * np.pi / 4])
        cos, sin = cos_sin(angle)
        np.testing.assert_allclose(cos, np.cos(angle), atol=2e-15, rtol=0)
        np.testing.assert_allclose(sin, np.sin(angle), atol=2e-15, rtol=0)
    table = np.arange(24.0).reshape(4, 6).T
    np.testing.assert_allclose(cos_sin(table)[0], np.cos(table), atol=2e-15)


def test_repeated_medians():
    rng = np.random.default_rng(28)
    x = rng.permutation(60).astype(float)
    y = 1.5 + 0.2 * x + 0.1 * rng.standard_normal(60)
    y[:20] = rng.uniform(-50, 50, 20)
    expected = siegelslopes(y, x)
    assert repeated_medians(y, x) == pytest.approx((expected.slope, expected.intercept), rel=1e-12)
    x[1] = x[0]
    assert repeated_medians(y, x)[0] == pytest.approx(0.2, abs=0.02)
    assert repeated_medians(np.array([1.0, 2.0]), np.array([3.0, 3.0])) == (0.0, 1.5)


def test_command_imports_little(with_etalon, tmp_path):
    """`hsi calibrate` without a report stands on NumPy and h5py: importing SciPy takes longer than a calibration."""
    with_etalon.select(rows=np.arange(14)).save(tmp_path / "capture.h5")
    program = (
        "import sys\nfrom hsitools.commands.root import main\n"
        "try:\n    main(['calibrate', sys.argv[1], '--json'])\n"
        "finally:\n    print([name for name in ('scipy', 'torch', 'matplotlib', 'lmfit') if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "capture.h5")], capture_output=True, text=True, check=True
    )
    *document, imported = done.stdout.strip().splitlines()
    assert json.loads("\n".join(document))["n_interferometers"] == 14
    assert imported == "[]"


@pytest.fixture(scope="module")
def banded():
    """A device, its characterization by the automatic model, and the truth of its transmittance at every line."""
    rng = np.random.default_rng(30)
    instrument = bench.simulate_instrument(90, rng=rng, opd_offset_um=3.0)
    wavenumber = bench.lines(201)
    capture = bench.capture(instrument, wavenumber, rng=rng, noise=0.08, linewidth_nm=0.0)
    again = bench.capture(instrument, wavenumber, rng=rng, noise=0.08, linewidth_nm=0.0)
    return capture, characterize(capture), instrument.transmittance(wavenumber), again


def test_band_holds_the_truth(banded):
    """95 % of the true transmittances lie within the band, 68 % within one standard error: no less, not all."""
    capture, result, truth, _ = banded
    low, high = result.transmittance_band(capture.wavelength_nm)
    assert 0.90 <= np.mean((low <= truth) & (truth <= high)) <= 0.985
    low, high = result.transmittance_band(capture.wavelength_nm, coverage=0.68)
    assert 0.60 <= np.mean((low <= truth) & (truth <= high)) <= 0.78


def test_band_holds_new_measurements(banded):
    """With noise: lines measured a second time, and lines that the calibration never saw."""
    capture, result, _, again = banded
    low, high = result.transmittance_band(capture.wavelength_nm, measured=True)
    measured = again.intensity / again.flat
    assert 0.93 <= np.mean((low <= measured) & (measured <= high)) <= 0.97
    lines = deal(capture.n_lines, 5, 4)[0][1:-1]
    unseen = characterize(without_lines(capture, lines))
    low, high = unseen.transmittance_band(unseen.true_wavelength_nm(capture.wavelength_nm[lines]), measured=True)
    measured = (capture.intensity / capture.flat)[:, lines]
    assert 0.925 <= np.mean((low <= measured) & (measured <= high)) <= 0.975


def test_stderr_is_the_derivatives_times_the_covariance(banded):
    """Against differences of the response itself, parameter by parameter."""
    _, result, _, _ = banded
    at = np.linspace(400, 900, 7)
    response, step = result.response, 1e-6
    columns = []
    for j in range(response.theta.shape[1]):
        shifted = response.theta.copy()
        shifted[:, j] += step
        up = replace(response, theta=shifted).transmittance(at)
        columns.append((up - response.transmittance(at)) / step)
    jacobian = np.stack(columns, axis=2)
    expected = np.sqrt(np.einsum("rlp,rpq,rlq->rl", jacobian, result.covariance, jacobian))
    alone = replace(result, lines=None)
    np.testing.assert_allclose(alone.transmittance_stderr(at), expected, rtol=1e-3)
    with pytest.raises(InputError, match="found no noise"):
        alone.transmittance_band(at, measured=True)
    with pytest.raises(InputError, match="coverage: found 95"):
        result.transmittance_band(at, coverage=95)


def test_doubt_about_the_model_widens_the_band(banded, tmp_path):
    _, result, _, _ = banded
    at = result.response.wavenumber
    spread = np.full(len(at), 0.05)
    doubtful = replace(result, lines=replace(result.lines, model_spread=spread))
    certain = replace(result, lines=replace(result.lines, model_spread=0 * spread))
    added = doubtful.transmittance_stderr(1000 / at) ** 2 - certain.transmittance_stderr(1000 / at) ** 2
    np.testing.assert_allclose(np.sqrt(added), 0.05 * np.abs(result.response.gain_scale)[:, None] * np.ones(len(at)))
    doubtful.save(tmp_path / "c.h5")
    loaded = Characterization.load(tmp_path / "c.h5")
    np.testing.assert_allclose(loaded.transmittance_stderr(1000 / at), doubtful.transmittance_stderr(1000 / at))


def test_nominal_lines_are_corrected():
    """A monochromator whose scale bends: predictions of its lines are made at the wavelengths that they really had."""
    rng = np.random.default_rng(31)
    instrument = bench.simulate_instrument(60, rng=rng, opd_offset_um=8.0)
    wavenumber = bench.lines(201)
    x = np.linspace(-1, 1, 201)
    bend = 2e-3 * np.cos(2.5 * np.pi * x)
    shifted = bench.capture(
        instrument, np.clip(wavenumber + bend, 1.0, 1000 / 350), rng=rng, noise=0.05, linewidth_nm=0.0
    )
    capture = replace(shifted, wavenumber=wavenumber, flat=instrument.flat(wavenumber))
    result = characterize(capture, SIMPLE, options=Options(shared_shift=True, shared_curve=True))
    errors = []
    for at in (capture.wavelength_nm, result.true_wavelength_nm(capture.wavelength_nm)):
        errors.append(np.sqrt(np.mean((capture.intensity / capture.flat - result.transmittance(at)) ** 2)))
    assert errors[1] < 0.8 * errors[0]


def test_a_rival_that_explodes_at_a_few_lines_is_no_doubt_about_the_model():
    device = bench.simulate_instrument(6, rng=np.random.default_rng(0), rows=3)
    capture = bench.capture(device, bench.lines(61), rng=np.random.default_rng(1), noise=0.02)
    spreads = []
    for at_two_lines in (0.01, 1e6):
        trials = Trials(capture, 0, None)
        trials.start(TransmittanceModel(degree_gain=1, degree_reflectivity=1), Options())
        rival = trials.residual * 1.05
        rival[:, [20, 21]] += at_two_lines
        # as the mean over the lines says: worse by less than its error
        trials.weigh(rival, np.arange(61), -1.0, 1.0, better=False)
        spreads.append(trials.spread())
    remaining = np.sqrt((trials.residual / trials.folds[0].data.flat) ** 2).max()
    assert 0 < spreads[0].max() < spreads[1].max() <= remaining
