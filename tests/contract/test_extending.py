"""A new fusion method, denoiser, index and reader: one file each, and nothing else in the tree is touched.

The packages are copied, the files put beside their like, and what a user sees is asked of the copy: it is listed,
documented, run and benchmarked.
"""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from hsitools import Cube, open_cube, save_cube, scene

PACKAGES = ("hsitools", "calibration", "pansharpen", "denoise")
NEW = {
    "pansharpen/methods/mean_ratio.py": '''
"""Every band times PAN over its own low-pass."""

from pansharpen.registry import method


@method("MeanRatio", family="multiresolution", paper="an example")
def mean_ratio(scene):
    """Bands times PAN over low-pass PAN."""
    return scene.map(lambda tile: tile.expanded * tile.pan / tile.pan_low_of_bands.clamp(min=1e-3 * tile.pan.mean()))
''',
    "denoise/methods/band_median.py": '''
"""Every band is its median."""

import numpy as np

from denoise.case import Restoration
from denoise.registry import method


@method("band-median", paper="an example")
def band_median(observation):
    """The median of each band."""
    middle = np.median(observation.values, axis=(1, 2), keepdims=True)
    return Restoration(estimate=np.broadcast_to(middle, observation.values.shape).copy())
''',
    "hsitools/metrics/largest.py": '''
"""The largest error."""

from hsitools.metrics.registry import Score, index


@index("MaxAE", kind="full reference", paper="an example", unit="input", low=0, high=float("inf"), best=0)
def largest_error(pair):
    """Largest absolute error."""
    per_band = (pair.estimate - pair.reference).abs().amax((2, 3))
    return Score(value=per_band.amax(1), per_band=per_band)
''',
    "hsitools/io/formats/spc.py": '''
"""Cubes of our lab: a line of text, then uint16 numbers (band, y, x)."""

import numpy as np

from hsitools.cube import Cube


def can_read(path):
    """A file that starts as ours do."""
    return path.is_file() and path.open("rb").read(4) == b"SPC "


def read(path):
    """Open the cube."""
    with path.open("rb") as file:
        shape = tuple(int(word) for word in file.readline().split()[1:])
        start = file.tell()
    return Cube(data=np.memmap(path, dtype="<u2", mode="r", offset=start, shape=shape), source=str(path))
''',
}


#: What the file of the new format holds.
NUMBERS = np.arange(24, dtype="<u2")


@pytest.fixture(scope="module")
def extended(root, tmp_path_factory):
    """A copy of the packages with one more file of each kind."""
    copy = tmp_path_factory.mktemp("extended")
    for package in PACKAGES:
        # with what is compiled: to compile all of it anew takes seconds
        shutil.copytree(root / package, copy / package)
    shutil.copytree(root / "docs" / "_extensions", copy / "extensions")
    for name, text in NEW.items():
        path = copy / name
        assert not path.exists()
        path.write_text(text.lstrip(), encoding="utf-8")
    return copy


#: What is asked of the copy, by one process: each of its own would take seconds to load.
COMMANDS = {
    "fusion methods": "pansharpen list",
    "fused": "pansharpen run MeanRatio case.npz -o fused.h5",
    "fusion": "pansharpen benchmark --cases case.npz --methods EXP,MeanRatio --out fusion",
    "denoisers": "denoise list",
    "denoised": "denoise run scenes/small.h5 --method band-median -o clean.h5",
    "denoising": "denoise benchmark --scenes scenes --methods band-median --out denoising",
    "index": "metrics off.h5 scenes/small.h5 --metric MaxAE",
    "indices": "metrics off.h5 scenes/small.h5",
    "formats": "formats",
    "info": "info lab.spc",
    "converted": "convert lab.spc lab.h5",  # prints no JSON
    "info of converted": "info lab.h5",
}
SCRIPT = """
import contextlib, io, json, sys
from pathlib import Path

import hsitools
from hsitools.commands.root import main

assert Path(hsitools.__file__).parents[1] == Path.cwd()
said = {}
for name, words in json.loads(sys.argv[1]).items():
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            main(words.split() + ["--json"] * (name != "converted"))
        except SystemExit as ended:
            assert ended.code == 0, (name, ended.code)
    said[name] = json.loads(out.getvalue()) if name != "converted" else None
sys.path.insert(0, "extensions")
import generated_tables

said["tables"] = {name: make().astext() for name, make in generated_tables.REGISTRIES.items()}
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said(extended):
    """What each of the copy's commands prints, and its documentation's tables."""
    view = scene((48, 48), wavelength_nm=np.linspace(450, 900, 6), seed=1).read()
    coarse = view.reshape(6, 12, 4, 12, 4).mean((2, 4))
    np.savez(extended / "case.npz", ms_lr=coarse, pan=view.mean(0, keepdims=True), gt=view, ratio=4)
    (extended / "scenes").mkdir()
    save_cube(Cube(data=view, wavelength_nm=np.linspace(450, 900, 6), name="small"), extended / "scenes" / "small.h5")
    save_cube(Cube(data=view + np.float32(0.25)), extended / "off.h5")
    (extended / "lab.spc").write_bytes(b"SPC 2 3 4\n" + NUMBERS.tobytes())
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(COMMANDS)], cwd=extended, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(extended)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_a_fusion_method_is_listed_run_and_benchmarked(extended, said):
    entry = {row["name"]: row for row in said["fusion methods"]}["MeanRatio"]
    assert (entry["paper"], entry["summary"]) == ("an example", "Bands times PAN over low-pass PAN.")
    assert said["fused"]["shape"] == [6, 48, 48]
    rows = (extended / "fusion" / "table.csv").read_text(encoding="utf-8")
    assert "MeanRatio" in rows
    assert "MaxAE" not in rows  # what tables hold by default is a choice of its own


def test_a_denoiser_is_listed_run_and_benchmarked(extended, said):
    entry = {row["name"]: row for row in said["denoisers"]}["band-median"]
    assert (entry["paper"], entry["summary"]) == ("an example", "The median of each band.")
    assert said["denoised"]["method"] == "band-median"
    assert "band-median" in (extended / "denoising" / "table.csv").read_text(encoding="utf-8")


def test_an_index_is_computed_and_has_its_unit(said):
    assert said["index"]["MaxAE"]["value"] == pytest.approx(0.25, rel=1e-5)
    assert "MaxAE" in said["indices"]


def test_a_reader_is_listed_and_opens_its_files(extended, said):
    entry = {row["name"]: row for row in said["formats"]}["spc"]
    assert entry["reads"] == "Cubes of our lab: a line of text, then uint16 numbers (band, y, x)"
    assert said["info"]["format"] == "spc"
    assert said["info of converted"]["format"] != "spc"
    np.testing.assert_array_equal(open_cube(extended / "lab.h5").read(), NUMBERS.reshape(2, 3, 4))


def test_all_of_them_stand_in_the_reference_of_the_documentation(said):
    printed = said["tables"]
    for table, name in {"fusion-methods": "MeanRatio", "denoisers": "band-median", "indices": "MaxAE",
                        "formats": "Cubes of our lab"}.items():  # fmt: skip
        assert name in printed[table]
