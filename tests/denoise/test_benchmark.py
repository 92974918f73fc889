"""Noise cases, the benchmark of scenes (resume, failing cells, tables), the command line."""

import csv
import hashlib
import importlib.util
import json

import h5py
import numpy as np
import pytest

from benchmarks.denoise_published import GOLDEN, PUBLISHED, best_published
from denoise.comparison import report
from denoise.comparison.benchmark import Benchmark
from denoise.comparison.benchmark import benchmark as file_benchmark
from denoise.comparison.judging import judged
from denoise.comparison.simulate import CASES, SEVEN, clean_cube, simulate
from denoise.registry import METHODS
from hsitools.comparison.benchmark import FORMER_RECORDS, RECORDS
from hsitools.comparison.task import OK
from hsitools.cube import Cube
from hsitools.errors import InputError
from hsitools.io import save_cube
from hsitools.provenance import git_commit
from tests.denoise.typed_commands import BANDS, HEIGHT, WIDTH, here, three_materials

pytestmark = pytest.mark.usefixtures("rough_pictures")


@pytest.fixture(scope="module")
def clean():
    return three_materials()


@pytest.fixture
def scene(clean, tmp_path):
    """The same as a file."""
    path = tmp_path / "scenes" / "patches.h5"
    path.parent.mkdir()
    save_cube(Cube(data=clean, wavelength_nm=400 + 10.0 * np.arange(BANDS), name="Patches"), path)
    return path


# ---- cases -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recipe(shared):
    """The published recipe, as a module."""
    spec = importlib.util.spec_from_file_location("make_noise_cases", shared / "tools" / "make_noise_cases.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def quantiles(noisy, clean):
    """What a draw is compared by: quantiles of the error, over bands and draws."""
    return np.quantile(noisy - clean, [0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98])


@pytest.mark.parametrize("case", SEVEN)
def test_cases_are_those_of_the_recipe(case, recipe):
    flat = np.tile(np.linspace(0.1, 0.9, 16 * 40).reshape(16, 40), (180, 1, 1))
    reference = recipe.make_cases(flat, 0)[0]
    theirs = np.mean([quantiles(recipe.make_cases(flat, seed)[1][case], reference) for seed in range(40, 48)], axis=0)
    ours = np.mean([quantiles(simulate(reference, case, seed)[0], reference) for seed in range(8)], axis=0)
    np.testing.assert_allclose(ours, theirs, atol=0.03 if case in "def" else 0.005 if case in "ag" else 0.02)


def test_seed_and_level(clean):
    for case in CASES:
        first, truth = simulate(clean, case, 3)
        np.testing.assert_allclose(first, simulate(clean, case, 3)[0], rtol=1e-6, atol=1e-7)
        assert not np.allclose(first, simulate(clean, case, 4)[0], atol=1e-3)
        assert first.dtype == np.float32
        twice = simulate(clean, case, 3, level=2)[1]
        np.testing.assert_allclose(twice.sigma, 2 * truth.sigma, rtol=1e-5)
        np.testing.assert_array_equal(twice.outlier, truth.outlier)


@pytest.mark.parametrize("case", CASES)
def test_truth_explains_the_case(case, clean):
    """Calibrated by the truth, all that is left is noise as large as the truth says."""
    noisy, truth = simulate(clean, case, 8)
    left = np.ma.masked_array((noisy - truth.offset[:, None]) / truth.gain[:, None] - clean, truth.outlier)
    np.testing.assert_allclose(left.std((1, 2)), truth.sigma, rtol=0.12)
    assert np.abs(left.mean((1, 2)) / truth.sigma).max() < 5 / np.sqrt(HEIGHT * WIDTH * 0.25)
    assert (truth.outlier >= truth.dead[:, None]).all()


def test_what_each_case_is_made_of(clean):
    assert not simulate(clean, "b", 1)[1].outlier.any()
    shared = simulate(clean, "b", 1)[0]
    _, stripes = simulate(clean, "c", 1)
    assert (stripes.offset != 0).any(1).sum() == BANDS // 3
    dead, truth = simulate(clean, "d", 1)
    assert truth.dead.any(1).sum() == BANDS // 3
    assert (dead[truth.outlier] == 0).all()
    np.testing.assert_allclose(dead[~truth.outlier], shared[~truth.outlier], rtol=1e-6, atol=1e-7)
    jittered, again = simulate(clean, "d", 1, jitter=0.03)
    assert jittered[again.outlier].std() == pytest.approx(0.03, rel=0.1)
    mixture = simulate(clean, "f", 1)[1]
    kinds = [(mixture.offset != 0).any(1), mixture.dead.any(1), mixture.outlier.any((1, 2)) & ~mixture.dead.any(1)]
    assert [kind.sum() for kind in kinds] == [BANDS // 3] * 3
    assert not (kinds[0] & kinds[1]).any()


def test_finch_stripes(clean):
    truth = simulate(clean, "finch", 2)[1]
    striped = (truth.offset != 0).any(0)
    assert striped.sum() == round(0.3 * WIDTH)
    assert truth.offset.min() >= 0
    reach = np.ptp(clean.reshape(BANDS, -1), axis=1)
    assert np.sqrt(((truth.offset / reach[:, None])[:, striped] ** 2).mean()) == pytest.approx(0.1, rel=0.02)
    assert truth.outlier.mean() == pytest.approx(0.01, rel=0.2)
    grouped = (simulate(clean, "finch", 2, clusters=2)[1].offset != 0).any(0)
    assert (np.diff(np.concatenate([[0], grouped.astype(int)])) == 1).sum() == 2


def test_clean_cube_leaves_out_what_has_no_signal(clean):
    values = np.concatenate([clean, np.zeros_like(clean[:1]), 1e-3 * clean[:1], clean[:1]]) * 5000
    values[2, 4, 5] = -1
    cube = Cube(data=values, good=np.arange(BANDS + 3) != BANDS + 2, nodata=-1.0)
    found, bands = clean_cube(cube)
    np.testing.assert_array_equal(bands, np.arange(BANDS))
    assert np.isnan(found[2, 4, 5])
    assert np.nanmax(found) == 1
    assert np.isnan(simulate(found, "g")[0]).sum() == 1
    with pytest.raises(InputError, match="no band with signal"):
        clean_cube(Cube(data=np.zeros((2, 8, 8))))
    with pytest.raises(InputError, match="case: found 'h'"):
        simulate(clean, "h")


# ---- the benchmark ---------------------------------------------------------------------------------------------


PLUGIN = """
import sys
from pathlib import Path
from denoise.case import Restoration
from denoise.registry import method

CALLS = Path(__file__).with_suffix(".calls")
# of a method's seconds none are those of an import: before anything is called what it needs is there
assert {"scipy.ndimage", "scipy.special", "skimage.restoration"} <= set(sys.modules)

def called(name):
    with CALLS.open("a") as stream:
        stream.write(name + "\\n")

@method("keep", paper="none")
def keep(seen):
    called("keep")
    return Restoration(estimate=seen.values)

@method("broken", paper="none")
def broken(seen):
    called("broken")
    raise ValueError("no\\nresult")
"""


class Plugin:
    """A file of two quick methods, one of which fails, and what was called of it."""

    def __init__(self, folder):
        self.path = folder / "quick.py"
        self.path.write_text(PLUGIN)

    def calls(self):
        """Since this was last asked."""
        path = self.path.with_suffix(".calls")
        names = path.read_text().split() if path.exists() else []
        path.unlink(missing_ok=True)
        return names


@pytest.fixture
def plugin(tmp_path):
    return Plugin(tmp_path)


def planned(folder, scene, plugin, methods=("keep", "broken"), cases=("a", "b", "c"), **settings):
    return Benchmark.create(
        folder, scenes=[scene], methods=methods, cases=cases, plugins=[plugin.path], **settings
    )  # fmt: skip


def test_a_failing_cell_is_a_row_with_its_reason(scene, plugin, tmp_path):
    made = planned(tmp_path / "out", scene.parent, plugin, ["keep,broken", "column-median"], "ac")
    records = made.run()
    assert [(r["case"], r["method"]) for r in records] == [
        (case, method) for case in "ac" for method in ("keep", "broken", "column-median")
    ]
    assert {r["status"] for r in records if r["method"] == "broken"} == {"ValueError: no result"}
    assert "in broken" in records[1]["traceback"]
    good = [r for r in records if r["method"] != "broken"]
    # none where the tree is no checkout, as a release's
    assert all(r["status"] == OK and r["peak_mib"] > 0 and r["commit"] == git_commit() for r in good)
    assert good[0]["values"]["mpsnr"] == pytest.approx(20 - 20 * np.log10(1), abs=0.3)
    lines = [json.loads(line) for line in (tmp_path / "out" / RECORDS).read_text().splitlines()]
    assert lines == made.rows()
    assert lines[0]["mpsnr"] == good[0]["values"]["mpsnr"]


def test_resume_does_what_is_not_done(scene, plugin, tmp_path):
    out = tmp_path / "out"
    made = planned(out, scene, plugin)
    whole = made.run()
    assert plugin.calls() == ["keep", "broken"] * 3
    for cell in made.settings.cells()[3:]:
        (out / "cells" / f"{cell.key}.json").unlink()
    again = planned(out, scene, plugin, resume=True).run()
    assert plugin.calls() == ["broken", "keep", "broken"]
    stable = [[{k: r.get(k) for k in ("case", "method", "values", "status")} for r in rows] for rows in (whole, again)]
    assert stable[0] == stable[1]
    # what failed is tried again when asked for
    planned(out, scene, plugin, resume=True).run(retry=True)
    assert plugin.calls() == ["broken"] * 3
    planned(out, scene, plugin, ["keep"], seed=1, resume=True).run()
    assert plugin.calls() == ["keep"] * 3  # another seed is another cell


def test_resume_keeps_what_version_0_1_0_measured(scene, plugin, tmp_path):
    """Its folders hold ``records.jsonl`` only; cells are measured anew, by today's code."""
    out = tmp_path / "out"
    out.mkdir()
    old = '{"scene": "s", "sha256": "0", "case": "a", "method": "keep", "seed": 0, "status": "ok"}\n'
    (out / RECORDS).write_text(old)
    made = planned(out, scene, plugin, ["keep"], "a", resume=True)
    made.run()
    assert (out / FORMER_RECORDS).read_text() == old
    assert [json.loads(line) for line in (out / RECORDS).read_text().splitlines()] == made.rows()
    # and again only once
    planned(out, scene, plugin, ["keep"], "a", resume=True).run()
    assert (out / FORMER_RECORDS).read_text() == old


def test_a_changed_method_is_measured_anew(scene, plugin, tmp_path):
    out = tmp_path / "out"
    planned(out, scene, plugin, ["keep", "column-median"], "a").run()
    plugin.calls()
    plugin.path.write_text(PLUGIN.replace("seen.values", "0 * seen.values"))
    made = planned(out, scene, plugin, ["keep", "column-median"], "a", resume=True)
    assert [cell.method for cell in made.unfinished()] == ["keep"]
    made.run()
    assert plugin.calls() == ["keep"]
    assert made.unfinished() == []


def test_unreadable_scene_is_a_row(plugin, tmp_path):
    (tmp_path / "broken.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + b"0" * 50)
    (record,) = planned(tmp_path / "out", tmp_path / "broken.h5", plugin, ["keep"], "a").run()
    assert record["status"].startswith("unusable: ")
    assert not plugin.calls()


def test_plan_names_what_is_wrong(scene, tmp_path):
    with pytest.raises(InputError, match="method: found 'lowrnk'"):
        Benchmark.create(tmp_path / "out", scenes=[scene], methods=["lowrnk"])
    with pytest.raises(InputError, match="found no such file"):
        Benchmark.create(tmp_path / "out", scenes=[tmp_path / "none.h5"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="found no cube"):
        Benchmark.create(tmp_path / "out", scenes=[tmp_path / "empty"])
    settings = Benchmark.create(tmp_path / "out", scenes=[scene, scene.parent]).settings
    assert settings.methods == tuple(METHODS)
    assert len(settings.sources) == 1


def record(case, method, mpsnr, status=OK, scene="s"):
    none = dict.fromkeys(("mssim", "sam_deg", "sam_bright_deg", "seconds", "peak_mib"))
    return {"scene": scene, "sha256": "0", "case": case, "method": method, "seed": 0, "status": status,
            "mpsnr": mpsnr, **none, "commit": "c"}  # fmt: skip


def test_gains_are_over_the_best_peer_of_each_case():
    records = [
        record("a", "column-median", 20.0), record("a", "svd-nlm", 37.0), record("a", "lowrank", 38.0),
        record("g", "column-median", 43.0), record("g", "svd-nlm", 39.0), record("g", "lowrank", 46.0),
        record("finch", "svd-nlm", 26.0), record("finch", "lowrank", 36.0), record("b", "lowrank", None, "X: |"),
    ]  # fmt: skip
    (gain,) = report.gains(records)
    assert gain.cases == {"a": 1.0, "g": 3.0, "finch": 10.0}
    assert gain.mean == 2.0  # of the seven cases, finch is none
    text = report.markdown(records)
    assert "| lowrank | +1.00 | +3.00 | +10.00 | – | +2.00 |" in text
    assert "s, b, lowrank: X: |" in text


# ---- peers -----------------------------------------------------------------------------------------------------


def test_svd_nlm_is_as_good_as_published(shared):
    rows = file_benchmark(shared / "golden" / "denoise_pavia_centre.h5", "svd-nlm", ("a", "d"))
    for row in rows:
        assert abs(row["mpsnr"] - PUBLISHED["whitened SVD + NLM"][row["case"]]) < 0.3


# ---- command line ----------------------------------------------------------------------------------------------


def test_benchmark_as_typed(scene, clean, tmp_path):
    out = tmp_path / "results"
    asked = ("benchmark", "--scenes", scene.parent, scene, "--out", out, "--methods", "column-median,svd-nlm")
    printed = here(*asked).stdout
    assert "patches: Mean PSNR, dB" in printed
    with (out / "table.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == report.COLUMNS
    assert [(r["case"], r["method"]) for r in rows] == [(c, m) for c in CASES for m in ("column-median", "svd-nlm")]
    assert {r["status"] for r in rows} == {OK}
    assert "## patches" in (out / "table.md").read_text()
    assert "Denoising benchmark" in (out / "report.html").read_text()
    with pytest.raises(InputError, match="--resume goes on"):
        here(*asked)
    before = (out / RECORDS).read_bytes()
    assert len(json.loads(here(*asked, "--resume", "--json").stdout)) == len(rows)
    assert (out / RECORDS).read_bytes() == before
    assert "expected one of --cases" in here("benchmark", code=2).output
    assert "--out" in here("benchmark", "--scenes", scene, code=2).output


def test_a_file_of_cases(clean, tmp_path):
    with h5py.File(tmp_path / "cases.h5", "w") as file:
        file["clean"], file["a"] = clean, simulate(clean, "a")[0]
    printed = here("benchmark", "--cases", tmp_path / "cases.h5", "--method", "column-median").stdout
    assert "SSIM" in printed


def test_published_rows_are_of_the_golden_cases(shared):
    digest = hashlib.sha256((shared / "golden" / "denoise_pavia_centre.h5").read_bytes()).hexdigest()
    assert digest[:16] == GOLDEN
    assert f"{best_published('e'):.2f}" == "31.00"


def test_bright_angles_are_those_of_bright_pixels():
    """Dark pixels have the angle of noise: the second index leaves them out."""
    clean = np.ones((4, 12, 12))
    clean[:, :, :6] = 0.1
    estimate = clean.copy()
    estimate[0, :, :6] = 0.2
    values = judged(clean, estimate)
    assert values["sam_bright_deg"] == pytest.approx(0, abs=1e-3)
    assert values["sam_deg"] > 5
