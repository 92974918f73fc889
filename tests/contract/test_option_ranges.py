"""Every option that takes a number says which numbers make sense, or its command refuses the others by name."""

import click
import numpy as np
import pytest

from hsitools.commands import root
from tests.contract.typed_commands import commands

#: Options without a range of their own, whose commands say what they expected, by the command's name.
CHECKED_BY_COMMAND = {
    "calibrate": {"--degree", "--degree-gain", "--degree-phase", "--cv"},
    "capture extract": {"--window", "--percentile"},
    "capture simulate": {"--n", "--lines", "--noise"},
    "invert benchmark": {"--folds", "--snr", "--kept-lines"},
    "process": {"--window"},
}
#: Groups and commands whose options are looked at here: those of calibration, and of the chains.
LOOKED_AT = ("calibrate", "capture", "invert", "process", "demo")


def numbers(command):
    return [p for p in command.params if isinstance(p.type, (click.types.IntParamType, click.types.FloatParamType))]


def test_numbers_have_a_range_or_are_checked():
    for name, command in commands(root.hsi):
        free = {p.opts[0] for p in numbers(command) if not isinstance(p.type, click.IntRange | click.FloatRange)}
        if name.split()[0] in LOOKED_AT:
            assert free == CHECKED_BY_COMMAND.get(name, set()), name


@pytest.mark.parametrize(
    "arguments",
    [
        ("calibrate", "c.h5", "--model", "airy", "--degree=-1"),
        ("calibrate", "c.h5", "--model", "airy", "--degree-gain=-1"),
        ("calibrate", "c.h5", "--model", "airy", "--degree-phase=-1"),
        ("calibrate", "c.h5", "--model", "airy", "--cv=-1"),
        ("calibrate", "c.h5", "--wavelengths", "400:inf"),
        ("capture", "extract", "f.h5", "--out", "o.h5", "--window=-1"),
        ("capture", "extract", "f.h5", "--out", "o.h5", "--window", "49"),
        ("capture", "extract", "f.h5", "--out", "o.h5", "--percentile", "nan"),
        ("capture", "extract", "f.h5", "--out", "o.h5", "--opd-step=-1"),
        ("capture", "extract", "f.h5", "--out", "o.h5", "--opd-step", "nan"),
        ("capture", "simulate", "--out", "o.h5", "--n=-1"),
        ("capture", "simulate", "--out", "o.h5", "--lines", "3"),
        ("capture", "simulate", "--out", "o.h5", "--n", "1000000", "--lines", "1000000"),
        ("capture", "simulate", "--out", "o.h5", "--n", "100000000", "--frames"),
        ("capture", "simulate", "--out", "o.h5", "--band", "900:400"),
        ("simulate", "--sensor", "s.h5", "--size", "3000000x3000000", "-o", "o.h5"),
        ("capture", "simulate", "--out", "o.h5", "--noise", "nan"),
        ("invert", "benchmark", "--capture", "c.h5", "--folds", "1"),
        ("invert", "benchmark", "--capture", "c.h5", "--seed=-1"),
        ("invert", "benchmark", "--scenes", "s.h5", "--instrument", "i.h5", "--snr", "nan"),
    ],
)
def test_refused_in_one_line(arguments, files, capsys, monkeypatch):
    monkeypatch.chdir(files)
    with pytest.raises(SystemExit) as done:
        root.main(list(arguments))
    said = capsys.readouterr().err
    assert done.value.code == 2
    assert said.startswith("hsi: error: ")
    assert said.count("\n") == 1
    assert not (files / "o.h5").exists()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a small capture and raw frames."""
    from calibration import simulated_bench as bench
    from hsitools.sensor.bands import box_response
    from hsitools.sensor.sensor import Sensor

    folder, rng = tmp_path_factory.mktemp("ranges"), np.random.default_rng(0)
    instrument = bench.simulate_instrument(4, rng=rng, rows=2)
    bench.capture(instrument, bench.lines(40), rng=rng).save(folder / "c.h5")
    Sensor(response=box_response(400, 700), name="eye").save(folder / "s.h5")
    bench.write_frames(folder / "f.h5", instrument, bench.lines(8), rng=rng)
    return folder
