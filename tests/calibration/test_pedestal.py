"""A constant in a capture's intensities: what fringes tell of it is right, and said; what nothing tells, too."""

import logging
from dataclasses import replace

import numpy as np
import pytest

from calibration import Characterization, characterize
from calibration import simulated_bench as bench
from calibration.commands.calibrate import calibrate
from calibration.fitting.options import Options
from calibration.fitting.pedestal import pedestal_text
from hsitools.sensor.transmittance import TransmittanceModel

MODEL = TransmittanceModel(degree_gain=3, degree_reflectivity=3, degree_phase=3)


def measured(share, seed=0, waves=np.inf, **settings):
    """A capture of whose mean intensity a constant is so large a ``share``."""
    rng = np.random.default_rng(seed)
    instrument = bench.simulate_instrument(24, rng=rng, rows=4, waves=waves)
    capture = bench.capture(
        instrument, bench.lines(151), rng=rng, linewidth_nm=0.0, **{"noise": 0.03, **settings}
    )  # fmt: skip
    constant = share / (1 - share) * capture.intensity.mean()
    return instrument, replace(capture, intensity=capture.intensity + constant)


@pytest.mark.parametrize("prior", [True, False])
@pytest.mark.parametrize("share", [0.05, -0.05])
def test_a_constant_is_found_and_said(share, prior, caplog):
    errors = []
    for seed in range(3):
        instrument, capture = measured(share, seed)
        with caplog.at_level(logging.WARNING):
            result = characterize(capture, MODEL, options=Options(prior=prior))
        found = result.settings["pedestal"]
        errors.append((found["share"] - share) / found["stderr"])
        assert found["said"]
        assert 0.001 < found["stderr"] < 0.01
        gain = instrument.gain_at(np.linspace(*instrument.band, 1001)).mean(axis=1)
        # the gain is off by what is said
        assert np.median(result.gain / gain) == pytest.approx(1 + share, abs=0.02)
    assert np.abs(errors).max() < 4
    assert "a constant in the intensities: (" in caplog.text
    assert "gain and reflectivity are off by about as much" in caplog.text


@pytest.mark.parametrize("share", [0.02, -0.02])
def test_rows_of_unequal_light_have_one_constant(share):
    """Every other one has a fifth of the light: of its own mean the constant is as much more."""
    errors = []
    for seed in range(3):
        _, capture = measured(0.0, seed)
        light = np.resize([[1.0], [0.2]], (24, 1))
        intensity = capture.intensity * light
        intensity += share / (1 - share) * intensity.mean()
        found = characterize(replace(capture, intensity=intensity, flat=capture.flat * light), MODEL)
        errors.append(found.settings["pedestal"]["share"] - share)
        assert found.settings["pedestal"]["stderr"] < 0.004
    assert np.mean(errors) == pytest.approx(0, abs=0.005)


def test_rows_that_disagree_about_a_constant_are_in_its_error():
    _, capture = measured(0.0, 1)
    own = np.resize([[0.1], [-0.1]], (24, 1)) * capture.intensity.mean(axis=1, keepdims=True)
    found = characterize(replace(capture, intensity=capture.intensity + own), MODEL).settings["pedestal"]
    assert found["stderr"] == pytest.approx(0.1 / np.sqrt(24), rel=0.4)
    assert not found["said"]


@pytest.mark.parametrize("settings", [{}, {"drift": 0.05}, {"scale_error_nm": 0.05}, {"hot_share": 0.02}])
def test_no_constant_is_said_without_one(settings, caplog):
    for seed in range(2):
        _, capture = measured(0.0, 10 + seed, **settings)
        found = characterize(capture, MODEL).settings["pedestal"]
        assert not found["said"]
        assert abs(found["share"]) < 4 * found["stderr"]
    assert "a constant in" not in caplog.text


def test_two_waves_do_not_tell_a_constant_and_the_page_says_so(tmp_path):
    _, capture = measured(0.05, waves=2)
    result = characterize(capture, replace(MODEL, waves=2))
    assert result.settings["pedestal"]["stderr"] > 0.02
    # gain and reflectivity make up for it altogether where the flat field has no shape of its own
    even = replace(capture, intensity=capture.intensity / capture.flat, flat=np.ones_like(capture.flat))
    result = characterize(even, replace(MODEL, waves=2))
    assert result.settings["pedestal"] == {"share": 0.0, "stderr": None, "said": False}
    result.save(tmp_path / "c.h5")
    assert "nothing tells it" in pedestal_text(Characterization.load(tmp_path / "c.h5").settings)


def test_one_interferometer_has_no_law(tmp_path):
    from click.testing import CliRunner

    _, capture = measured(0.0)
    capture.select(rows=np.array([5])).save(tmp_path / "one.h5")
    said = CliRunner().invoke(calibrate, [str(tmp_path / "one.h5"), "--model", "airy"], catch_exceptions=False)
    assert "none: fewer than 3 interferometers show fringes" in said.output
    assert "nan" not in said.output
    assert "% of the mean, by the shape of the fringes" in said.output
