"""``hsi sensor`` and ``hsi simulate``, as typed."""

import json

import h5py
import matplotlib.image
import numpy as np
import pytest

from benchmarks.sensors import simulated_stacks
from hsitools.commands.root import main
from hsitools.figures import sensor_figure
from hsitools.io import open_cube
from hsitools.sensor import PRESETS, Sensor, exposure, preset


@pytest.fixture
def hsi(capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as done:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return done.value.code or 0, captured.out, captured.err

    return run


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "imspoc-uv-2"])
def test_sensor_make_show_simulate(hsi, tmp_path, name):
    sensor = tmp_path / "sensor.h5"
    assert hsi("sensor", "make", "--preset", name, "-o", sensor)[0] == 0
    code, out, err = hsi("sensor", "show", sensor, "--json")
    assert code == 0, err
    assert json.loads(out)["bands"] == preset(name).n_bands
    # drawn by the test below
    assert [len(ax.get_lines()) > 0 for ax in sensor_figure(preset(name)).axes if ax.axison].count(True) >= 2
    assert json.loads(hsi("info", sensor, "--json")[1])["kind"] == "sensor"
    seen = tmp_path / "seen.h5"
    code, _, err = hsi("simulate", "--sensor", sensor, "--size", "36x40", "--seed", 1, "-o", seen)
    assert code == 0, err
    made = open_cube(seen)
    assert made.shape[0] == preset(name).n_bands
    assert np.isfinite(made.read()).all()
    assert made.meta["seed"] == 1


@pytest.mark.parametrize("name", ["prisma", "landsat-8"])
def test_sensors_are_drawn_and_a_seed_repeats(hsi, tmp_path, name):
    """Of one sensor of many bands, and of one of few."""
    sensor, plot = tmp_path / "sensor.h5", tmp_path / "sensor.png"
    preset(name).save(sensor)
    assert hsi("sensor", "show", sensor, "--plot", plot)[0] == 0
    assert matplotlib.image.imread(plot).shape[1] > 500
    for target, seed in (("a.h5", 1), ("b.h5", 1), ("c.h5", 2)):
        code, _, err = hsi("simulate", "--sensor", sensor, "--size", "36x40", "--seed", seed, "-o", tmp_path / target)
        assert code == 0, err
    a, b, c = (open_cube(tmp_path / f"{target}.h5") for target in "abc")
    # rounding may move a photon of a few samples in a thousand
    assert np.isclose(a.read(), b.read(), rtol=1e-5, atol=1e-6).mean() > 0.999
    assert np.isclose(a.read(), c.read(), rtol=1e-5, atol=1e-6).mean() < 0.9


def test_every_command_takes_sensors_by_file_and_by_name(hsi, commands, tmp_path, monkeypatch):
    """`hsi simulate` wanted a file; a folder that bears a preset's name is not in its way."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prisma").mkdir()
    preset("prisma").save(tmp_path / "sensor.h5")
    for name in ("prisma", "sensor.h5"):
        assert hsi("simulate", "--sensor", name, "--size", "6x12", "-o", tmp_path / "seen.h5")[0] == 0
        assert open_cube(tmp_path / "seen.h5").shape == (preset("prisma").n_bands, 1, 2)
    sensors = {name: option for name, command in commands for option in command.params if "--sensor" in option.opts}
    assert {option.metavar for option in sensors.values()} == {"FILE|PRESET"}
    assert {name.split()[0] for name in sensors} == {"simulate", "pansharpen", "denoise"}


def test_sensor_options(hsi, tmp_path):
    sensor = tmp_path / "sensor.h5"
    assert (
        hsi("sensor", "make", "--preset", "enmap", "--ratio", 3, "--mtf", 0.2, "--stripes", "emit-drift", "-o", sensor)[
            0
        ]
        == 0
    )
    made = Sensor.load(sensor)
    assert made.ratio == 3
    assert np.all(made.mtf == 0.2)
    assert made.stripes.clusters == 1


def test_sensor_from_table(hsi, tmp_path):
    wavelength = np.linspace(400, 900, 51)
    curves = np.exp(-0.5 * ((wavelength[:, None] - [500, 700]) / 20) ** 2)
    np.savetxt(tmp_path / "t.csv", np.column_stack([wavelength, curves]), delimiter=",", header="nm,a,b", comments="")
    assert hsi("sensor", "make", "--table", tmp_path / "t.csv", "-o", tmp_path / "t.h5")[0] == 0
    np.testing.assert_allclose(Sensor.load(tmp_path / "t.h5").response.wavelength_nm, [500, 700], atol=0.1)


def test_characterization_becomes_a_sensor(hsi, tmp_path):
    from calibration import simulated_bench as bench

    rng = np.random.default_rng(5)
    instrument = bench.simulate_instrument(20, rng=rng, rows=4, pitch=24)
    bench.capture(instrument, bench.lines(121), rng=rng, noise=0.02).save(tmp_path / "capture.h5")
    hsi("calibrate", tmp_path / "capture.h5", "--model", "airy", "--degree", 2, "--out", tmp_path / "uv.h5")
    code, out, _ = hsi("sensor", "from", tmp_path / "uv.h5", "-o", tmp_path / "sensor.h5")
    assert code == 0
    assert "20 bands" in out
    assert hsi("sensor", "show", tmp_path / "sensor.h5", "--plot", tmp_path / "s.png")[0] == 0
    code, out, err = hsi("simulate", "--sensor", tmp_path / "sensor.h5", "--size", "8x8", "-o", tmp_path / "seen.h5")
    assert code == 0, err
    assert open_cube(tmp_path / "seen.h5").shape == (20, 8, 8)


def test_sensor_noise(hsi, tmp_path):
    dark, flats, full, _ = simulated_stacks(2.0, 10.0, 0.01, 12, np.random.default_rng(0), (60, 70), 4, 8)
    for name, frames in (("dark", dark), ("flats", flats)):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["frames"] = np.array(frames).astype(np.uint16)
            file.attrs["full_scale"] = full
    noise = tmp_path / "noise.h5"
    frames = "--dark", tmp_path / "dark.h5", "--flat", tmp_path / "flats.h5"
    code, out, err = hsi("sensor", "noise", *frames, "-o", noise, "--plot", tmp_path / "ptc.png", "--json")
    assert code == 0, err
    assert json.loads(out)["gain_electrons_per_dn"] == pytest.approx(2, rel=0.03)
    assert json.loads(hsi("info", noise, "--json")[1])["kind"] == "photon transfer"
    assert hsi("sensor", "make", "--preset", "prisma", "--noise", noise, "-o", tmp_path / "p.h5")[0] == 0
    made = Sensor.load(tmp_path / "p.h5")
    assert made.units == "DN"
    assert made.pan_noise is None
    assert made.stripes.gain == pytest.approx(0.01, rel=0.1)
    assert 0 < made.defects.dead + made.defects.hot < 0.02
    assert "as measured (noise.h5)" in made.assumptions[-1]
    assert hsi("sensor", "show", tmp_path / "p.h5", "--plot", tmp_path / "p.png")[0] == 0
    seen = "--size", "36x36", "--sensor", tmp_path / "p.h5", "-o", tmp_path / "seen.h5"
    code, _, err = hsi("simulate", *seen)
    assert code == 2
    assert "expected 'DN'" in err
    assert hsi("simulate", *seen, "--scale", 3000)[0] == 0


@pytest.mark.parametrize("name", ["prisma", "enmap"])
def test_drawn_mtf_is_that_of_the_blur(name):
    """At the sensor's Nyquist frequency the curve has the declared gain, also where the scene's pixels are its own."""
    sensor = preset(name)
    (ax,) = (ax for ax in sensor_figure(sensor).axes if ax.get_ylabel() == "gain")
    for line, gain in zip(ax.get_lines(), np.broadcast_to(sensor.mtf.T, (2, sensor.n_bands))[::-1, 0], strict=False):
        assert np.interp(0.5, *line.get_data()) == pytest.approx(gain, abs=1e-3)


def test_interrupted_simulation_leaves_nothing(hsi, tmp_path, monkeypatch):
    hsi("sensor", "make", "--preset", "enmap", "-o", tmp_path / "s.h5")
    calls = []

    def stop(*arguments, **settings):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*arguments, **settings)

    original = exposure._detect
    monkeypatch.setattr(exposure, "_detect", stop)
    code, _, err = hsi("simulate", "--sensor", tmp_path / "s.h5", "--size", "100x20", "-o", tmp_path / "x.h5")
    assert code == 130
    assert "interrupted" in err
    assert [path.name for path in tmp_path.iterdir()] == ["s.h5"]
