"""``hsi pansharpen list`` and ``run`` as a user types them."""

import json
import multiprocessing
import os
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import pytest

import denoise.methods  # noqa: F401  (registers them)
import pansharpen.methods  # noqa: F401  (registers them)
from benchmarks.products import write_prisma
from denoise import registry as denoisers
from hsitools.commands.root import main
from hsitools.cube import Cube
from hsitools.errors import InputError
from hsitools.io import open_cube, save_cube
from hsitools.io.together import together
from hsitools.lookup import registered_names
from hsitools.metrics.registry import INDICES
from hsitools.scenes import scene
from hsitools.sensor import preset
from pansharpen import products
from pansharpen.products import FusionOrder, fuse_files
from pansharpen.registry import METHODS
from pansharpen.tiled import fuse_cube, fuse_pair


@pytest.fixture(scope="module")
def product(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "scene.he5"
    write_prisma(path, rows=20, columns=16)
    return path


def test_list(hsi):
    text = hsi("pansharpen", "list").stdout
    rows = json.loads(hsi("pansharpen", "list", "--json").stdout)
    assert {row["name"] for row in rows} == set(METHODS)
    assert len(rows) == 27
    for row in rows:
        assert row["name"] in text
        assert row["paper"]
        assert row["summary"].endswith(".")


def test_product_comes_out_georeferenced(product, tmp_path, hsi):
    out = tmp_path / "fused.h5"
    said = hsi("pansharpen", "run", "mtf-glp-fs", product, "-o", out)
    assert "by MTF-GLP-FS" in said.stdout
    assert "bands marked bad" in said.stdout
    assert "no --sensor" in said.stderr
    given, fused = open_cube(product), open_cube(out)
    assert fused.shape == (given.n_bands, 120, 96)
    np.testing.assert_array_equal(fused.wavelength_nm, given.wavelength_nm)
    np.testing.assert_array_equal(fused.good, given.good)
    assert fused.crs == given.crs
    assert fused.transform == pytest.approx(given.pan.transform)
    assert fused.units == "1"
    values = fused.read()
    # the product's corner holds nothing
    assert np.isnan(values[:, :6, :6]).all()
    assert np.isfinite(values[given.good][:, 6:, 6:]).all()


def test_window_sensor_and_geotiff(tmp_path, hsi):
    sensor = preset("prisma").select(range(0, 230, 23))
    observed = sensor.observe(scene((96, 96), seed=2))
    save_cube(observed, tmp_path / "pair.h5")
    sensor.save(tmp_path / "sensor.h5")
    typed = ("run", "physics", tmp_path / "pair.h5", "-o", tmp_path / "part.tif", "--sensor", tmp_path / "sensor.h5",
             "--window", "2:10,4:16", "--json")  # fmt: skip
    said = json.loads(hsi("pansharpen", *typed).stdout)
    assert said["shape"] == [observed.n_bands, 48, 72]
    assert said["sensor"] == "PRISMA"
    assert open_cube(tmp_path / "part.tif").shape == (observed.n_bands, 48, 72)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("GSAA", "scene.he5", "-o", "x.h5"), "did you mean 'GSA'"),
        (("GSA", "nothing.he5", "-o", "x.h5"), "nothing.he5: found no such file"),
        (("GSA", "scene.he5", "-o", "x.png"), "output: found suffix '.png'"),
        (("GSA", "scene.he5", "-o", "x.h5", "--sensor", "prismo"), "did you mean 'prisma'"),
        (("GSA", "scene.he5", "-o", "x.h5", "--window", "0:99,0:4"), "window"),
        (("HyperPNN", "scene.he5", "-o", "x.h5", "--weights", "."), "HyperPNN.safetensors"),
        (("GSA", "scene.he5", "-o", "no/such/x.h5"), "output: cannot write there"),
        (("GSA", "-o", "x.h5"), "expected one of PATH (a cube) and --batch"),
        (("GSA", "scene.he5", "--batch", "scene.he5", "-o", "x"), "expected one of PATH (a cube) and --batch"),
        (("GSA", "scene.he5", "--suffix", ".nc", "-o", "x.nc"), "--suffix goes with --batch"),
        (("GSA", "scene.he5", "-o", "x.h5", "--workers", "2", "--scheduler", "tcp://a:1"), "beside --scheduler"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(product, tmp_path, arguments, error, monkeypatch, capsys):
    (tmp_path / "scene.he5").symlink_to(product)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["pansharpen", "run", *arguments])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert error in said
    assert len(said.strip().splitlines()) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"scene.he5"}


def test_a_wrong_name_is_told_before_anything_is_loaded(product, tmp_path):
    """Torch alone takes seconds; files that are not there, and a cube without PAN, are told as soon."""
    alone = tmp_path / "alone.h5"
    save_cube(open_cube(product).replace(pan=None), alone)
    commands = [
        ["pansharpen", "run", "phyics", str(product), "-o", "x.h5"], ["metrics", str(product), "--metric", "ERGS"],
        ["denoise", "run", str(product), "--method", "lowrnk", "-o", "x.h5"],
        ["pansharpen", "run", "physics", str(product), "--sensor", "prismo", "-o", "x.h5"],
        ["pansharpen", "run", "GSA", str(product), "--guide", "g.h5", "--guide-sensor", "sentinel", "-o", "x.h5"],
        ["pansharpen", "run", "physics", str(product), "--noise", "blnd", "-o", "x.h5"],
        ["pansharpen", "benchmark", "--scenes", str(product), "--methods", "EXP,GSAA", "-o", "x"],
        ["denoise", "benchmark", "--scenes", str(product), "--methods", "lowrnk", "-o", "x"],
    ]  # fmt: skip
    absent = [["metrics", str(product), "none.h5"],
              ["metrics", str(product), "--coarse", str(product), "--pan", "none.h5"],
              ["pansharpen", "run", "GSA", str(product), "--pan", "none.h5", "-o", "x.h5"],
              ["pansharpen", "run", "GSA", str(alone), "-o", "x.h5"]]  # fmt: skip
    code = f"""
import sys
from hsitools.commands.root import main
for command in {commands + absent!r}:
    try:
        main(command)
    except SystemExit as ended:
        assert ended.code == 2
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = done.stderr.splitlines()
    assert [line.partition(": found")[0] for line in lines[len(commands) : -1]] == ["hsi: error: none.h5"] * 3
    assert "alone.h5: pan: missing, expected" in lines[-1]
    assert [line.split("mean ")[-1] for line in lines[: len(commands)]] == [
        "'physics'?",
        "'ERGAS'?",
        "'lowrank'?",
        "'prisma'?",
        "'sentinel-2'?",
        "'blind'?",
        "'GSA'?",
        "'lowrank'?",
    ]
    for package, decorator, entries in (
        ("pansharpen.methods", "method", METHODS), ("denoise.methods", "method", denoisers.METHODS),
        ("hsitools.metrics", "index", INDICES),
    ):  # fmt: skip
        assert sorted(registered_names(package, decorator)) == sorted(entries)


WAITS = """
import time
from pathlib import Path
from pansharpen.registry import method

@method("waits", family="baseline", paper="none")
def waits(scene):
    def forever(tile):
        # the first time it is to be written
        while list(Path().glob(".fused.h5.*.part")):
            Path("began").touch()
            time.sleep(0.01)
        return tile.expanded
    return scene.map(forever)
"""


def as_a_process(words, folder):
    """The command, for a process of its own: forked, what it loads is loaded."""
    os.chdir(folder)
    with (folder / "said").open("w") as sys.stderr:
        main(words)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no process can fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_end_by_another_program_leaves_nothing(tmp_path):
    """SIGTERM, as schedulers send it; Ctrl-C is held by the tests of the benchmark and of `hsi simulate`."""
    save_cube(preset("prisma").select(range(0, 230, 40)).observe(scene((72, 72), seed=2)), tmp_path / "pair.h5")
    (tmp_path / "waits.py").write_text(WAITS)
    words = ["pansharpen", "run", "waits", "pair.h5", "--plugin", "waits.py", "-o", "fused.h5"]
    process = multiprocessing.get_context("fork").Process(target=as_a_process, args=(words, tmp_path))
    process.start()
    # it is ended while the unfinished file is there, however slow this process is
    while process.is_alive() and not (tmp_path / "began").exists():
        time.sleep(0.02)
    process.terminate()
    process.join()
    assert process.exitcode == 143, (tmp_path / "said").read_text()
    assert (tmp_path / "said").read_text().strip() == "hsi: terminated"
    left = {path.name for path in tmp_path.iterdir()} - {"__pycache__"}
    assert left == {"pair.h5", "waits.py", "began", "said"}


def test_batch_fuses_each_product_once_and_names_those_that_fail(tmp_path):
    for name, seed in (("a", 0), ("b", 1)):
        write_prisma(tmp_path / f"{name}.he5", rows=8, columns=8, n_vnir=6, n_swir=5, seed=seed)
    (tmp_path / "broken.he5").write_bytes(b"nothing")
    given = [tmp_path / f"{name}.he5" for name in ("a", "broken", "b")]
    order = FusionOrder(method="GSA")
    told = []
    records = fuse_files(order, given, tmp_path / "out", progress=lambda *step: told.append(step))
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert [record["status"] for record in records][::2] == ["ok", "ok"]
    assert records[1]["status"].startswith(str(given[1]))
    alone = fuse_cube(open_cube(given[2]), "GSA").read()
    np.testing.assert_array_equal(open_cube(tmp_path / "out" / "b.h5").read(), alone)
    # again: what is there stays, unless the product changed
    write_prisma(given[0], rows=8, columns=10, n_vnir=6, n_swir=5)
    again = fuse_files(order, given, tmp_path / "out")
    assert [record["status"] for record in again][::2] == ["ok", "kept"]
    assert again[0]["shape"] == [6, 48, 60]
    # nothing is replaced by another method, nor what somebody else has written
    out = tmp_path / "out"
    (out / "broken.h5").write_text("mine")
    other = fuse_files(FusionOrder(method="EXP"), given[1:], out)
    assert "broken.h5: --batch: found a file that no batch made" in other[0]["status"]
    assert (
        "b.h5: --batch: found the cube that GSA made with other options, expected another --out for EXP"
        in (other[1]["status"])
    )
    np.testing.assert_array_equal(open_cube(out / "b.h5").read(), alone)
    (out / "b.h5").unlink()
    assert fuse_files(FusionOrder(method="EXP"), given[2:], out)[0]["status"] == "ok"
    # nor is what another command has written over a batch's cube taken for it
    mine = Cube(data=np.ones((1, 2, 2), np.float32))
    save_cube(mine, out / "b.h5")
    said = fuse_files(FusionOrder(method="EXP"), given[2:], out)[0]["status"]
    assert "b.h5: --batch: found a file that was written since a batch made it" in said
    assert open_cube(out / "b.h5").shape == mine.shape


@pytest.mark.parametrize("at_rename", [False, True])
def test_a_batch_that_is_killed_knows_its_own_files(at_rename, tmp_path, monkeypatch):
    """Between its record and its files' places, or just after."""
    write_prisma(tmp_path / "a.he5", rows=8, columns=8, n_vnir=6, n_swir=5)
    order, batch = FusionOrder(method="GSA"), ([tmp_path / "a.he5"], tmp_path / "out")

    def again():
        write_prisma(tmp_path / "a.he5", rows=8, columns=10, n_vnir=6, n_swir=5)
        with monkeypatch.context() as patch:
            patch.setattr(products, "together", killed)
            with pytest.raises(KeyboardInterrupt):
                fuse_files(order, *batch)
        return fuse_files(order, *batch)[0]["status"]

    @contextmanager
    def killed(out):
        with together(out) as folder:
            yield folder
            if out.parent.name == "out" and at_rename:
                raise KeyboardInterrupt
        if out.parent.name == "out":
            raise KeyboardInterrupt

    assert again() == ("ok" if at_rename else "kept")
    write_prisma(tmp_path / "a.he5", rows=8, columns=8, n_vnir=6, n_swir=5)
    assert fuse_files(order, *batch)[0]["status"] == "ok"
    # what it made before stays its own
    assert again() == ("ok" if at_rename else "kept")
    assert fuse_files(order, *batch)[0]["status"] == "kept"
    assert not list((tmp_path / "out").glob("*.part*"))


def test_a_batch_whose_error_bars_are_gone_makes_them_again(tmp_path):
    write_prisma(tmp_path / "a.he5", rows=8, columns=8, n_vnir=6, n_swir=5)
    order = FusionOrder(method="physics", std=True)
    for status in ("ok", "kept"):
        assert fuse_files(order, [tmp_path / "a.he5"], tmp_path / "out")[0]["status"] == status
    (tmp_path / "out" / "a_std.h5").unlink()
    assert fuse_files(order, [tmp_path / "a.he5"], tmp_path / "out")[0]["status"] == "ok"
    assert (tmp_path / "out" / "a_std.h5").exists()


@pytest.mark.parametrize(
    ("products", "folder", "suffix", "error"),
    [
        (["a.he5", "b/a.he5"], "out", ".h5", "found another product of this name"),
        (["a.he5"], "out", ".png", "output: found suffix '.png'"),
        (["a.he5"], ".", ".he5", "found the input itself"),
        (["a.he5"], "a.he5", ".h5", "cannot make the folder"),
    ],
)
def test_a_batch_that_cannot_be_is_refused_before_anything_is_done(tmp_path, products, folder, suffix, error):
    (tmp_path / "a.he5").touch()
    with pytest.raises(InputError, match=error):
        fuse_files(FusionOrder(method="GSA"), [tmp_path / name for name in products], tmp_path / folder, suffix)
    assert [path.name for path in tmp_path.iterdir()] == ["a.he5"]


@pytest.mark.parametrize(
    ("options", "said"),
    [(["--scale", "1"], "--scale goes with --dtype"), (["--guide-sensor", "ali"], "--guide-sensor goes with --guide")],
)  # fmt: skip
def test_options_that_would_be_ignored_are_refused(options, said, tmp_path, hsi):
    assert said in hsi("pansharpen", "run", "GSA", "x.h5", "-o", tmp_path / "o.h5", *options, code=2).stderr


def test_weights_of_no_net_and_a_pan_of_several_bands_are_refused():
    ones = np.ones((6, 8, 8), np.float32)
    with pytest.raises(InputError, match="GSA: weights: found w, expected none"):
        fuse_pair(Cube(data=ones, pan=Cube(data=np.ones((1, 16, 16), np.float32))), "GSA", weights="w")
    many = Cube(data=np.ones((6, 16, 16), np.float32), source="six.h5")
    with pytest.raises(InputError, match=r"six.h5: pan: found 6 bands, expected one"):
        fuse_pair(Cube(data=ones, pan=many), "GSA")
