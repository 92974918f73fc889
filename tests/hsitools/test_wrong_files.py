"""Every file that a command reads, wrong in each way that files are: one line names it, and nothing is written."""

import json
import os

import click
import h5py
import numpy as np
import pytest

from calibration import simulated_bench as bench
from calibration import simulated_scene
from hsitools.commands.outputs import OutputFile, OutputFolder
from hsitools.commands.root import main
from hsitools.cube import Cube
from hsitools.io import save_cube
from hsitools.scenes import scene

#: Command lines; between them they name every input of every command. One is wrong at a time, the first time that the
#: command names it: what comes first must be good, what comes later need not be there.
LINES = """
calibrate capture.h5 --out out.h5
capture extract frames.h5 --device device.json --out out.h5
convert cube.h5 out.h5
denoise benchmark --cases noisy.h5
denoise benchmark --scenes cube.h5 --methods lowrank --out out
denoise benchmark --scenes cube.h5 --plugin plugin.py --out out
denoise figures cube.h5 --method lowrank --out out
denoise train --stage 1 --data cube.h5 --sensor sensor.h5 --steps 1 --out out
denoise train-outliers cube.h5 --procedural 0 --steps 1 --out out
denoise list --plugin plugin.py
denoise methods --plugin plugin.py
denoise run cube.h5 --method lowrank --sensor sensor.h5 --out out.h5
denoise run cube.h5 --weights weights --out out.h5
denoise run cube.h5 --plugin plugin.py --out out.h5
info cube.h5
invert run scene.h5 --instrument characterization.h5 --illumination light.csv --out out.h5
invert run scene.h5 --instrument characterization.h5 --lamp lamp.csv --out out.h5
invert run scene.h5 --instrument characterization.h5 --flat flat.h5 --out out.h5
invert benchmark --capture capture.h5 --methods joint --out out.jsonl
invert benchmark --scenes cube.h5 --instrument characterization.h5 --methods joint --out out.jsonl
metrics cube.h5 cube.h5
metrics cube.h5 --coarse cube.h5 --pan pan.h5
pansharpen benchmark --scenes cube.h5 --sensor sensor.h5 --methods EXP --out out
pansharpen benchmark --cases case.npz --methods EXP --out out
pansharpen benchmark --scenes cube.h5 --plugin plugin.py --out out
pansharpen benchmark --scenes cube.h5 --weights weights --methods HyperPNN --out out
pansharpen benchmark --resume benchmark
pansharpen report benchmark
pansharpen train HyperPNN --sensor sensor.h5 --data cube.h5 --epochs 1 --out out
pansharpen list --plugin plugin.py
pansharpen methods --plugin plugin.py
pansharpen run EXP cube.h5 --pan pan.h5 --sensor sensor.h5 --out out.h5
pansharpen run EXP cube.h5 --plugin plugin.py --out out.h5
pansharpen run physics cube.h5 --guide guide.h5 --guide-sensor sensor.h5 --cube-std cube.h5 --std --out out.h5
pansharpen run HyperPNN cube.h5 --pan pan.h5 --weights weights --out out.h5
pansharpen run EXP --batch cube.h5 --out out
process frames.h5 --scene scene.h5 --device device.json --pan pan.h5 --lamp lamp.csv --flat flat.h5 --out out
process --plan plan.toml
process frames.h5 --scene scene.h5 --illumination light.csv --out out
quicklook cube.h5 --out out.png
sensor make --table table.csv --calibration calibration.h5 --out out.h5
sensor make --like cube.h5 --out out.h5
sensor make --preset imspoc-uv-2 --characterization characterization.h5 --out out.h5
sensor make --preset finch --noise transfer.h5 --out out.h5
sensor from characterization.h5 --noise transfer.h5 --out out.h5
sensor show sensor.h5
sensor noise --dark dark.h5 --flat levels.h5 --out out.h5
simulate cube.h5 --sensor sensor.h5 --out out.h5
""".strip().splitlines()

#: What every command says of these.
SAID = {"empty.h5": "found an empty file", "pipe.h5": "found a pipe or device"}


def is_input(parameter):
    kind = parameter.type
    if isinstance(kind, click.Path):
        return not isinstance(kind, OutputFile | OutputFolder)
    return (parameter.metavar or "").startswith(("FILE", "PATH"))


def inputs(line, parsed):
    """Name, parameter and place in the line's words of each file that it reads."""
    words = line.split()
    name, context = parsed(words)
    for parameter in context.command.params:
        value = context.params.get(parameter.name)
        if not is_input(parameter) or context.get_parameter_source(parameter.name).name != "COMMANDLINE":
            continue
        value = value[0] if isinstance(value, tuple) else value
        if isinstance(parameter, click.Argument):
            first = len(name.split())
            yield name, parameter.name, words.index(str(value), first + (parameter.name == "reference"))
        else:
            yield name, parameter.name, words.index(parameter.opts[0]) + 1


@pytest.fixture(scope="module")
def places(parsed):
    """Where in which line each input of each command stands first."""
    out = {}
    for line in LINES:
        for name, parameter, place in inputs(line, parsed):
            out.setdefault((name, parameter), (line, place))
    return out


def test_every_input_of_every_command_is_tried(commands, places):
    every = {(name, parameter.name) for name, command in commands for parameter in command.params
             if is_input(parameter)}  # fmt: skip
    assert every == set(places)
    assert len(every) > 60


@pytest.fixture(scope="module")
def good(tmp_path_factory, hsi):
    """A folder with files that the lines name."""
    folder = tmp_path_factory.mktemp("good")
    rng = np.random.default_rng(0)

    def image(*shape):
        return (rng.random(shape) + 1).astype(np.float32)

    cube = image(8, 24, 24)
    save_cube(Cube(data=cube, wavelength_nm=np.linspace(450, 900, 8)), folder / "cube.h5")
    save_cube(Cube(data=image(1, 48, 48), wavelength_nm=[600]), folder / "pan.h5")
    save_cube(Cube(data=image(2, 48, 48), wavelength_nm=[500, 700]), folder / "guide.h5")
    with h5py.File(folder / "dark.h5", "w") as file:
        file["frames"] = rng.integers(90, 110, (8, 16, 16), "u2")
    hsi("sensor", "make", "--like", folder / "cube.h5", "--out", folder / "sensor.h5")
    (folder / "table.csv").write_text("wavelength_nm,a,b\n400,0,0\n500,1,0\n600,0,1\n700,0,0\n")
    device = bench.simulate_instrument(12, rng=rng, rows=3, pitch=24)
    bench.capture(device, bench.lines(41), rng=rng, noise=0.05).save(folder / "capture.h5")
    hsi("calibrate", folder / "capture.h5", "--model", "two-wave", "--degree", 1,
        "--out", folder / "characterization.h5")  # fmt: skip
    bench.write_frames(folder / "frames.h5", device, bench.lines(11), rng=rng)
    (folder / "device.json").write_text(json.dumps(device.layout.to_dict()))
    view = scene((60, 60), wavelength_nm=np.linspace(351, 999, 20), seed=4)
    for name in ("scene.h5", "flat.h5"):
        simulated_scene.write_scene(folder / name, device, view, rng=rng, oversampling=2)
    for name in ("light.csv", "lamp.csv"):
        (folder / name).write_text("wavelength_nm,radiance [W/m2]\n300,1\n1100,1\n")
    return folder


@pytest.fixture(scope="module")
def wrong(tmp_path_factory):
    """Wrong files of a suffix: none, a folder, an empty one, words, an HDF5 file that was cut off, a pipe."""
    folder = tmp_path_factory.mktemp("wrong")
    with h5py.File(folder / "whole", "w") as file:
        file["cube"] = np.zeros((3, 40, 40))
    cut = (folder / "whole").read_bytes()[:3000]

    def make(suffix):
        (folder / f"folder{suffix}").mkdir(exist_ok=True)
        (folder / f"words{suffix}").write_text("These are words, and no numbers at all.\nMore of them.\n")
        (folder / f"cut{suffix}").write_bytes(cut)
        kinds = ["absent", "folder", "words", "cut"]
        # an empty file is a fine one of Python, and lists say what there is
        if suffix != ".py":
            (folder / f"empty{suffix}").write_text("")
            kinds.append("empty")
        # of text, a pipe may well bring some
        if suffix == ".h5" and hasattr(os, "mkfifo"):
            if not (folder / "pipe.h5").exists():
                os.mkfifo(folder / "pipe.h5")
            kinds.append("pipe")
        return [folder / f"{kind}{suffix}" for kind in kinds]

    return make


def files(folder):
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_wrong_file_is_one_line_that_names_it_and_nothing_is_written(good, wrong, places, capsys, monkeypatch):
    monkeypatch.chdir(good)
    before = files(good)
    faults = []
    for (name, parameter), (line, place) in places.items():
        words = line.split()
        for path in wrong("".join(words[place].partition(".")[1:])):
            with pytest.raises(SystemExit) as ended:
                main([*words[:place], str(path), *words[place + 1 :]])
            out, said = capsys.readouterr()
            if not (ended.value.code == 2 and said.startswith("hsi: error: ") and said.count("\n") == 1):
                faults.append(f"{name}: {parameter}: {path.name}: {ended.value.code}: {said}")
            if str(path) not in said:
                faults.append(f"{name}: {parameter}: {path.name}: not named: {said}")
            if path.name in SAID and SAID[path.name] not in said:
                faults.append(f"{name}: {parameter}: {path.name}: {said}, expected {SAID[path.name]}")
            # a cell or a product of many that fails is a row with its reason, which is kept
            if not ("benchmark" in words or "--batch" in words) and (out or files(good) != before):
                faults.append(f"{name}: {parameter}: {path.name}: wrote {files(good).keys() - before.keys()}, {out!r}")
            for new in files(good).keys() - before.keys():
                (good / new).unlink()
    assert faults == []
