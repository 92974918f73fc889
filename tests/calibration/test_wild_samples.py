"""Wild samples are set aside before the fit, which is then the fit of the others; and nothing else is."""

import logging
from dataclasses import replace

import numpy as np
import pytest

from calibration import simulated_bench as bench
from calibration.characterization import Characterization
from calibration.fitting.fit import fit_capture
from calibration.fitting.options import Options
from calibration.fitting.wild_samples import far_off
from calibration.physical_parameters import set_aside_text
from calibration.pipeline import characterize
from hsitools.sensor.transmittance import TransmittanceModel

MODEL = TransmittanceModel(degree_gain=2, degree_reflectivity=2, degree_phase=3)
QUANTITIES = ("opd", "phase", "reflectivity", "gain")


@pytest.fixture(scope="module")
def device():
    """An instrument of 32 and its capture, clean."""
    rng = np.random.default_rng(31)
    instrument = bench.simulate_instrument(32, rng=rng, rows=8, opd_step_um=0.4, opd_offset_um=3.0)
    return instrument, bench.capture(instrument, bench.lines(101), rng=rng, noise=0.05, linewidth_nm=0.0)


@pytest.fixture(scope="module")
def clean(device):
    return characterize(device[1], MODEL)


def bright(rng, shape):
    return rng.random(shape) < 0.02, rng.uniform(3, 20, shape)


def many(rng, shape):
    return rng.random(shape) < 0.05, rng.uniform(3, 20, shape)


def dark_and_bright(rng, shape):
    return rng.random(shape) < 0.03, np.where(rng.random(shape) < 0.5, 0, rng.uniform(3, 20, shape))


def runs(rng, shape):
    first = rng.random(shape) < 0.01
    return first | np.roll(first, 1, axis=1) | np.roll(first, 2, axis=1), rng.uniform(3, 20, shape)


def one(rng, shape):
    wild = np.zeros(shape, dtype=bool)
    wild[5, 40] = True
    return wild, 15.0


def frame(rng, shape):
    wild = np.zeros(shape, dtype=bool)
    wild[:, 60] = True
    return wild, 1.6


@pytest.mark.parametrize("kind", [bright, many, dark_and_bright, runs, one, frame])
def test_the_fit_is_that_of_the_other_samples(device, clean, kind):
    _, capture = device
    wild, factor = kind(np.random.default_rng(7), capture.intensity.shape)
    spoiled = replace(capture, intensity=np.where(wild, factor * capture.intensity, capture.intensity))
    result = characterize(spoiled, MODEL)
    oracle = characterize(replace(capture, mask=~wild), MODEL) if wild.mean() > 0.01 else clean
    for name in QUANTITIES:
        field = {"opd": "opd_um", "phase": "phase_rad"}.get(name, name)
        stderr = {"opd": "opd_stderr_um", "phase": "phase_stderr_rad"}.get(name, f"{name}_stderr")
        moved = (getattr(result, field) - getattr(oracle, field)) / getattr(oracle, stderr)
        assert np.sqrt(np.mean(moved**2)) < 0.35, (name, moved)
        ratio = getattr(result, stderr) / getattr(oracle, stderr)
        assert 0.9 < np.median(ratio) < 1.1, (name, ratio)
    found = result.settings["wild"]
    assert 0.9 * wild.sum() <= found["samples"] <= 1.1 * wild.sum() + 2
    assert found["lines_nm"] == pytest.approx([capture.wavelength_nm[60]] if kind is frame else [])
    assert not result.flagged.any()


def test_nothing_is_set_aside_where_nothing_is_wild(device, clean):
    _, capture = device
    assert clean.settings["wild"] == {"samples": 0, "of": capture.mask.sum(), "lines_nm": []}
    assert set_aside_text(clean.settings) == ""
    as_before = characterize(capture, MODEL, options=Options(set_aside=False))
    np.testing.assert_array_equal(clean.opd_um, as_before.opd_um)
    np.testing.assert_array_equal(clean.opd_stderr_um, as_before.opd_stderr_um)


def test_a_wrong_model_makes_no_wild_samples():
    """Narrow fringes whose phase bends, beside a model without dispersion: far off in many places, and right."""
    rng = np.random.default_rng(5)
    instrument = bench.simulate_instrument(24, rng=rng, rows=8, opd_step_um=0.3)
    instrument = replace(instrument, reflectivity=instrument.reflectivity + np.array([0.3, 0, 0, 0]))
    capture = bench.capture(instrument, bench.lines(201), rng=rng, noise=0.03, linewidth_nm=0.0)
    assert far_off(capture, *fit_capture(capture, TransmittanceModel(), Options())).samples.any()
    assert characterize(capture, TransmittanceModel()).settings["wild"]["samples"] == 0


def test_it_is_told(device, clean, caplog, tmp_path):
    """In the log, in the file, in words; and the flat field of a sample that was set aside stays what it is."""
    _, capture = device
    intensity = capture.intensity.copy()
    intensity[:, 60] *= 1.6
    intensity[3, 20] *= 12
    with caplog.at_level(logging.WARNING):
        result = characterize(replace(capture, intensity=intensity), MODEL)
    text = "33 of 3232 samples set aside, far off what the fringes say; among them all of the line at "
    assert text in caplog.text
    result.save(tmp_path / "c.h5")
    assert set_aside_text(Characterization.load(tmp_path / "c.h5").settings).startswith(text)
    np.testing.assert_array_equal(result.response.flat, clean.response.flat)


def test_a_row_of_which_too_much_is_far_off_keeps_it_all_and_is_flagged(device):
    _, capture = device
    data, fit = fit_capture(capture, MODEL, Options())
    intensity = capture.intensity.copy()
    intensity[4, np.random.default_rng(1).random(capture.n_lines) < 0.3] *= 8
    intensity[9, 33] *= 8
    wild = far_off(replace(capture, intensity=intensity), data, fit)
    assert wild.rows.nonzero()[0].tolist() == [4]
    assert np.argwhere(wild.samples).tolist() == [[9, 33]]
