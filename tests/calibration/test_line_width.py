"""A monochromator's line of a wrong width, or of none, is remarked; the right one is not."""

from dataclasses import replace

import numpy as np
import pytest

from calibration import characterize
from calibration import simulated_bench as bench
from calibration.fitting.options import Options
from hsitools.commands.root import main
from hsitools.sensor.transmittance import TransmittanceModel

MODEL = TransmittanceModel(degree_gain=3, degree_reflectivity=3, degree_phase=3)


def measured(width_nm, seed):
    rng = np.random.default_rng(seed)
    instrument = bench.simulate_instrument(60, rng=rng, rows=8, opd_step_um=0.6)
    return bench.capture(instrument, bench.lines(201), rng=rng, linewidth_nm=width_nm, noise=0.07)


@pytest.mark.parametrize("width", [0.0, 1.5])
def test_the_right_width_is_not_contradicted(width):
    for seed in range(3):
        assert not characterize(measured(width, seed), MODEL).settings["linewidth_contradicted"]


@pytest.mark.parametrize("declared", [None, 0.75, 3.0])
def test_a_wrong_width_is(declared):
    capture = replace(measured(1.5, 0), linewidth_nm=declared)
    assert characterize(capture, MODEL).settings["linewidth_contradicted"]
    estimated = characterize(capture, MODEL, options=Options(estimate_linewidth=True))
    assert "linewidth_contradicted" not in estimated.settings


def test_few_rows_contradict_nothing():
    capture = replace(measured(1.5, 0), linewidth_nm=None).select(rows=np.arange(10))
    assert not characterize(capture, MODEL).settings["linewidth_contradicted"]


def test_the_command_says_so(tmp_path, capsys):
    replace(measured(1.5, 0), linewidth_nm=None).save(tmp_path / "c.h5")
    with pytest.raises(SystemExit) as ended:
        main(["calibrate", str(tmp_path / "c.h5"), "--model", "airy", "--degree", "3", "--degree-phase", "3"])
    assert ended.value.code == 0
    assert "the contrast of the fringes says otherwise" in capsys.readouterr().out
