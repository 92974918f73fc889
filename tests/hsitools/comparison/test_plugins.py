"""A method or an index in one file: listed, documented, benchmarked, shown, without another edit."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

import hsitools.plugins
from denoise.commands.benchmark import benchmark as denoise_benchmark
from denoise.comparison.benchmark import Benchmark as DenoisingBenchmark
from denoise.comparison.judging import measure
from hsitools.comparison.two_sides import plugins_of
from hsitools.cube import Cube
from hsitools.errors import InputError
from hsitools.io import save_cube
from hsitools.metrics import INDICES
from pansharpen.commands.benchmark import benchmark as fusion_benchmark
from pansharpen.commands.benchmark import report
from pansharpen.comparison import table

HSI = Path(sys.executable).parent / "hsi"
FUSION = """
from pansharpen.registry import method

@method("mine", family="ours", paper="A. Author, A paper, 2026")
def mine(scene):
    \"\"\"The cube as interpolation has it.\"\"\"
    return scene.map(lambda tile: tile.expanded)
"""
DENOISER = """
from denoise.case import Restoration
from denoise.registry import method

@method("mine", paper="A. Author, A paper, 2026")
def mine(seen):
    \"\"\"The cube as it is.\"\"\"
    return Restoration(estimate=seen.values)
"""
INDEX = """
from hsitools.metrics.registry import Score, index

@index("WORST", kind="full reference", paper="A. Author, 2026", unit="of the cube", low=0, high=float("inf"), best=0)
def worst(pair):
    \"\"\"Largest error of all voxels.\"\"\"
    return Score(value=(pair.estimate - pair.reference).abs().flatten(1).amax(1))
"""


@pytest.fixture
def files(tmp_path):
    """A plugin of each kind; the registries are given back as they were."""
    indices, loaded = set(INDICES), set(hsitools.plugins._LOADED)
    for name, text in (("fusion", FUSION), ("denoiser", DENOISER), ("index", INDEX)):
        (tmp_path / f"{name}.py").write_text(text)
    yield tmp_path
    for name in set(INDICES) - indices:
        del INDICES[name]
    hsitools.plugins._LOADED.intersection_update(loaded)


@pytest.fixture(scope="module")
def clean():
    rng = np.random.default_rng(0)
    spectra, shares = rng.random((8, 3)), rng.random((3, 24, 24))
    return np.tensordot(spectra, shares, 1).astype(np.float32)


def invoke(command, *arguments):
    done = CliRunner().invoke(command, [str(a) for a in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize(("room", "file"), [("pansharpen", "fusion.py"), ("denoise", "denoiser.py")])
def test_a_method_in_one_file_is_listed_with_its_paper(files, room, file):
    typed = [HSI, room, "list", "--plugin", files / file, "--json"]
    rows = json.loads(subprocess.run(typed, capture_output=True, text=True, check=True).stdout)
    (mine,) = (row for row in rows if row["name"] == "mine")
    assert mine["summary"].startswith("The cube as")
    assert mine["paper"] == "A. Author, A paper, 2026"


def test_a_fusion_method_and_an_index_in_one_file_each_are_benchmarked(files, clean):
    coarse = clean.reshape(8, 12, 2, 12, 2).mean((2, 4))
    np.savez(files / "case.npz", ms_lr=coarse, pan=clean.mean(0, keepdims=True), ratio=2, overlap=8, gt=clean)
    typed = [
        "--cases",
        files / "case.npz",
        "--methods",
        "EXP,mine",
        "--plugin",
        files / "fusion.py",
        files / "index.py",
    ]
    invoke(fusion_benchmark, *typed, "--out", files / "out")
    plain, mine = table.read_csv(files / "out" / "table.csv")
    assert (mine["method"], mine["family"], mine["status"]) == ("mine", "ours", "ok")
    assert mine["ERGAS"] == pytest.approx(plain["ERGAS"], rel=1e-6)
    assert mine["WORST"] > 0
    assert mine["WORST_snr10"] is not None
    invoke(report, files / "out")
    page = (files / "out" / "report.html").read_text()
    assert "WORST / of the cube ↓" in page
    assert "WORST" in (files / "out" / "table.tex").read_text()


def test_a_denoiser_and_an_index_in_one_file_each_are_benchmarked(files, clean):
    save_cube(Cube(data=clean, name="Patches"), files / "patches.h5")
    typed = [
        "--scenes",
        files / "patches.h5",
        "--methods",
        "mine",
        "--plugin",
        files / "denoiser.py",
        files / "index.py",
    ]
    printed = invoke(denoise_benchmark, *typed, "--out", files / "out")
    assert "mine" in printed
    with (files / "out" / "table.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {(row["method"], row["status"]) for row in rows} == {("mine", "ok")}
    assert all(float(row["WORST"]) > 0 for row in rows)
    assert "WORST:" in (files / "out" / "table.md").read_text()
    assert "WORST" in (files / "out" / "report.html").read_text()


def test_new_indices_are_missing_in_finished_cells(files, clean):
    """A further index makes records of other content; without it they would have empty columns for ever."""
    save_cube(Cube(data=clean, name="Patches"), files / "patches.h5")
    given = {"scenes": [files / "patches.h5"], "methods": ["column-median"], "cases": ["a"]}
    DenoisingBenchmark.create(files / "out", **given).run()
    made = DenoisingBenchmark.create(files / "out", **given, plugins=[files / "index.py"], resume=True)
    assert len(made.unfinished()) == 1
    (row,) = made.run()
    assert row["values"]["WORST"] > 0


@pytest.mark.parametrize(("text", "said"), [(FUSION + INDEX, "both methods and indices"), ("x = 1", "nothing")])
def test_the_judge_runs_no_code_of_methods(files, text, said):
    (files / "wrong.py").write_text(text)
    with pytest.raises(InputError, match=said):
        plugins_of([files / "wrong.py"], "pansharpen.comparison.fusion_task:FUSION")


# ---- the truth of a denoising case ---------------------------------------------------------------------------

CHEAT = """
import gc, os, sys
from pathlib import Path
import numpy as np
from denoise.case import Restoration
from denoise.registry import method

LEAK = Path(__file__).with_suffix(".leak")

def reachable():
    frame = sys._getframe()
    while frame:
        yield from frame.f_locals.values()
        for value in list(frame.f_locals.values()):
            for text in value.values() if isinstance(value, dict) else [value]:
                if isinstance(text, (str, Path)) and 0 < len(str(text)) < 500 and Path(text).is_absolute():
                    for path in [Path(text), *Path(text).glob("**/*.np*")] if Path(text).exists() else []:
                        if path.suffix in (".npz", ".npy") and path.is_file():
                            loaded = np.load(path)
                            yield from loaded.values() if path.suffix == ".npz" else [loaded]
        frame = frame.f_back
    yield from gc.get_objects()

@method("cheat", paper="none")
def cheat(seen):
    \"\"\"Whatever of this shape is not what was observed.\"\"\"
    for value in list(reachable()):
        if isinstance(value, np.ndarray) and value.shape == seen.values.shape and value.dtype.kind == "f":
            if np.corrcoef(np.nan_to_num(value).ravel(), seen.values.ravel())[0, 1] < 0.9999:
                LEAK.open("a").write("found\\n")
    return Restoration(estimate=seen.values)
"""


def test_a_denoiser_that_looks_for_the_truth_finds_none(tmp_path, clean):
    (tmp_path / "cheat.py").write_text(CHEAT)
    leak = tmp_path / "cheat.leak"
    with h5py.File(tmp_path / "cases.h5", "w") as file:
        file["clean"] = clean
        file["a"] = clean + 0.1 * np.random.default_rng(1).standard_normal(clean.shape).astype(np.float32)
    made = DenoisingBenchmark.create(
        tmp_path / "out", files=[tmp_path / "cases.h5"], methods=["cheat"], plugins=[tmp_path / "cheat.py"]
    )  # fmt: skip
    (record,) = made.run()
    assert record["status"] == "ok"
    assert not leak.exists()


def test_the_same_denoiser_finds_a_truth_in_its_own_process(tmp_path, clean):
    """So that the test above can fail."""
    (tmp_path / "cheat.py").write_text(CHEAT)
    code = f"""
import sys; sys.path.insert(0, {str(tmp_path)!r})
import numpy as np, cheat
from denoise.comparison.judging import measure
clean = np.load({str(tmp_path / "clean.npy")!r})
measure(clean, clean + 0.1 * np.random.default_rng(1).standard_normal(clean.shape).astype(np.float32), "cheat")
"""
    np.save(tmp_path / "clean.npy", clean)
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (tmp_path / "cheat.leak").exists()


def test_measure_in_this_process_agrees_with_the_engine(tmp_path, clean):
    noisy = clean + 0.1 * np.random.default_rng(1).standard_normal(clean.shape).astype(np.float32)
    with h5py.File(tmp_path / "cases.h5", "w") as file:
        file["clean"], file["a"] = clean, noisy
    made = DenoisingBenchmark.create(tmp_path / "out", files=[tmp_path / "cases.h5"], methods=["column-median"])
    (record,) = made.run()
    here = measure(clean, noisy, "column-median")
    assert record["values"]["mpsnr"] == pytest.approx(here["mpsnr"], rel=1e-9)
    assert record["path"] == here["path"]
