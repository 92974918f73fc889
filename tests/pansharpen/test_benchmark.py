"""The benchmark: isolated cells, resuming, the command as typed."""

import json
import signal
import threading
import time
from concurrent.futures import Future

import pytest
from click.testing import CliRunner

from hsitools.comparison.plan import chosen_names
from hsitools.comparison.worker import Worker
from hsitools.errors import FormatError, HsiError, InputError
from pansharpen.commands.benchmark import benchmark
from pansharpen.comparison import table
from pansharpen.comparison.benchmark import Benchmark, default_methods
from pansharpen.registry import METHODS, names
from tests.pansharpen.case_archive import write_case

PLUGIN = """
import ctypes, os, signal, sys, time
from pathlib import Path
import torch
from pansharpen.registry import method

# of a method's seconds none are those of an import: before anything is called what it needs is there
assert {"scipy.ndimage", "scipy.special"} <= set(sys.modules)

def known(name, **kind):
    return method(name, family="baseline", paper="none", **kind)

@known("test-raises")
def raises(scene):
    raise ValueError("a & b_c")

@known("test-dies")
def dies(scene):
    os.kill(os.getpid(), signal.SIGKILL)

@known("test-crashes")
def crashes(scene):
    print("deep inside")
    ctypes.string_at(0)

@known("test-eats")
def eats(scene):
    return torch.ones(10**9)

@known("test-sleeps")
def sleeps(scene):
    time.sleep(600)

@known("test-waits")
def waits(scene):
    while Path(__file__).with_suffix(".hold").exists():
        time.sleep(0.02)
    return scene.map(lambda tile: tile.expanded)

@known("test-holds")
def holds(scene):
    block = torch.ones(2**24)
    return scene.map(lambda tile: tile.expanded + 0 * block.sum())

@known("test-nan")
def nan(scene):
    return scene.map(lambda tile: tile.expanded * torch.nan)

@known("test-untrained", trained=True)
def untrained(scene, weights=None):
    from hsitools.errors import InputError
    raise InputError("weights: found none")
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    """A file of methods that misbehave."""
    path = tmp_path_factory.mktemp("plugin") / "badly.py"
    path.write_text(PLUGIN)
    return path


@pytest.fixture
def case(tmp_path):
    return write_case(tmp_path / "tiny.npz")


def statuses(made):
    return {row["method"]: row["status"] for row in made.rows()}


def invoke(*arguments):
    return CliRunner().invoke(benchmark, [str(a) for a in arguments], catch_exceptions=False)


# ---- isolation -------------------------------------------------------------------------------------------------


def test_a_method_that_fails_is_a_row_with_its_reason(case, plugin, tmp_path):
    bad = ("raises", "dies", "crashes", "eats", "nan", "untrained")
    made = Benchmark.create(
        tmp_path / "out", cases=[case], methods=[*(f"test-{name}" for name in bad), "EXP"], plugins=[plugin],
        memory_limit_mib=300,
    )  # fmt: skip
    made.run()
    found = statuses(made)
    assert found.pop("EXP") == "ok"
    assert found["test-raises"] == "ValueError: a & b_c"
    assert found["test-dies"].startswith("killed (SIGKILL)")
    assert found["test-crashes"] == "crashed (SIGSEGV): deep inside"
    assert found["test-eats"].startswith("out of memory: ")
    assert "not finite" in found["test-nan"]
    assert found["test-untrained"] == "needs training: weights: found none"
    assert "in raises" in next(r["traceback"] for r in made.records() if r["method"] == "test-raises")
    assert [row["method"] for row in table.read_csv(made.folder / "table.csv")] == list(made.settings.methods)


def test_time_limit(case, plugin, tmp_path):
    made = Benchmark.create(
        tmp_path / "out", cases=[case], methods=["test-sleeps"], plugins=[plugin], time_limit_s=0.5
    )  # fmt: skip
    made.run()
    assert statuses(made) == {"test-sleeps": "time limit: not done after 0.5 s"}


def test_peak_memory_is_the_methods_own(case, plugin, tmp_path):
    made = Benchmark.create(tmp_path / "out", cases=[case], methods=["EXP", "test-holds"], plugins=[plugin])
    plain, holds = made.run()
    if plain["peak_mib"] is None:
        pytest.skip("this system does not tell memory")
    assert plain["peak_mib"] < 8
    assert 63 < holds["peak_mib"] < 72


def test_worker_outlives_its_children():
    worker = Worker("os:kill")  # any function: a wrong call is a death with the last line of the traceback
    try:
        reply = worker.call("x")
        assert reply["reason"].startswith("ended with code 1: TypeError")
        assert worker.call("x") == reply
    finally:
        worker.close()


# ---- the same numbers, done once -------------------------------------------------------------------------------


class Direct:
    """A client as Dask's: ``submit`` gives a future."""

    def submit(self, function, job):
        future = Future()
        future.set_result(function(job))
        return future


def test_resume_does_only_what_is_missing(case, tmp_path):
    made = Benchmark.create(tmp_path / "out", cases=[case], methods=["EXP", "GSA", "MTF-GLP-FS"])
    made.run()
    last = made.settings.cells()[-1]
    for path in (made.folder / "cells").glob("*.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "mark": True}))
        if path.stem == last.key:
            path.unlink()
    # as a kill in the middle of writing leaves it
    (made.folder / "cells" / f".{last.key}.json.x.part").write_text("{")
    assert made.unfinished() == [last]
    found = json.loads(invoke("--resume", made.folder, "--json").stdout)
    assert [r.get("mark", False) for r in found] == [True, True, False]
    assert [r["status"] for r in found] == ["ok"] * 3
    assert len(Benchmark.open(made.folder).header["runs"]) == 2


def test_retry_does_what_failed(case, plugin, tmp_path):
    made = Benchmark.create(tmp_path / "out", cases=[case], methods=["EXP", "test-raises"], plugins=[plugin])
    made.run()
    assert made.unfinished() == []
    assert [cell.method for cell in made.unfinished(retry=True)] == ["test-raises"]


def test_cells_of_other_weights_are_measured_anew(case, tmp_path):
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "HSpeNet.json").write_text("1")
    made = Benchmark.create(tmp_path / "out", cases=[case], methods=["EXP", "HSpeNet"], weights=weights)

    def measured_elsewhere(jobs):
        for job in jobs:
            told = {name: job[name] for name in ("method", "key")}
            yield {**job["case"], **job["labels"], **told, "values": {}, "status": "ok"}

    made.run(executor=measured_elsewhere)
    assert made.unfinished() == []
    (weights / "HSpeNet.json").write_text("2")
    assert [cell.method for cell in made.unfinished()] == ["HSpeNet"]


def test_interrupt_keeps_the_results_and_says_how_to_go_on(case, plugin, tmp_path, hsi):
    hold, out, ended = plugin.with_suffix(".hold"), tmp_path / "out", threading.Event()
    hold.touch()

    def interrupt():
        # the second cell is waiting once the first is done
        while not list(out.glob("cells/*.json")) and not ended.is_set():
            time.sleep(0.02)
        # again, as a user would: one that comes while an object is being cleared away is lost
        while not ended.is_set():
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            ended.wait(30)

    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    watching = threading.Thread(target=interrupt)
    watching.start()
    try:
        typed = ["--cases", case, "--methods", "EXP,test-waits,GSA", "--plugin", plugin, "--out", out]
        said = hsi("pansharpen", "benchmark", *typed, code=130).stderr
    finally:
        ended.set()
        watching.join()
        hold.unlink()
        signal.signal(signal.SIGINT, earlier)
    assert "1 of 3 cells are done" in said
    assert f"--resume {out}" in said
    made = Benchmark.open(out)
    made.run()
    assert set(statuses(made).values()) == {"ok"}


def test_same_seed_same_numbers_by_any_client(case, tmp_path):
    values = []
    for number, settings in enumerate(({}, {"client": Direct()})):
        made = Benchmark.create(tmp_path / str(number), cases=[case], methods=["GSA", "MTF-GLP-FS"])
        values.append([record["values"] for record in made.run(**settings)])
    assert values[0] == values[1]


def test_a_changed_source_is_not_gone_on_with(case, tmp_path):
    made = Benchmark.create(tmp_path / "out", cases=[case], methods=["EXP"])
    write_case(case, seed=1)
    with pytest.raises(InputError, match="changed since"):
        made.run()


# ---- sources and settings --------------------------------------------------------------------------------------


def test_methods_by_name():
    assert chosen_names(["all"], names(), []) == names()
    assert chosen_names(["gsa, exp", "GSA"], names(), []) == ["GSA", "EXP"]
    assert set(default_methods()) == {
        name for name in names() if not METHODS[name].trained and METHODS[name].family != "zero-shot net"
    }


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"methods": ["GSAA"]}, "did you mean 'GSA'"),
        ({"protocols": ["half"]}, "expected one of auto, reduced, full"),
        ({"ratios": [1]}, "at least 2"),
        ({"rules": "mine"}, "convention"),
        ({"time_limit_s": 0}, "positive"),
        ({"weights": "nowhere"}, "weights"),
        ({"device": "gpu9"}, "device"),
        ({"cases": ["nowhere.npz"]}, "no such file"),
        ({"cases": []}, "neither scenes nor cases"),
        ({"plugins": ["nowhere.py"]}, "no such file"),
        ({"seed": -1}, "seed"),
    ],
)
def test_settings_that_cannot_be_are_errors_and_leave_nothing(case, tmp_path, settings, said):
    with pytest.raises(InputError, match=said):
        Benchmark.create(tmp_path / "out", **{"cases": [case], **settings})
    assert not (tmp_path / "out").exists()


def test_a_folder_holds_one_benchmark(case, tmp_path):
    Benchmark.create(tmp_path / "out", cases=[case], methods=["EXP"])
    with pytest.raises(InputError, match="--resume"):
        Benchmark.create(tmp_path / "out", cases=[case], methods=["EXP"])
    with pytest.raises(FormatError, match="no benchmark"):
        Benchmark.open(tmp_path)


def test_a_damaged_case_is_a_row(tmp_path):
    path = tmp_path / "broken.npz"
    path.write_bytes(b"PK nothing")
    made = Benchmark.create(tmp_path / "out", cases=[path], methods=["EXP"])
    made.run()
    assert statuses(made)["EXP"].startswith("unusable: ")


# ---- the command as typed --------------------------------------------------------------------------------------


def test_json_records(case, tmp_path):
    other = write_case(tmp_path / "other.npz", gt=False, size=16)
    typed = ["--cases", case, other, "--methods", "EXP", "GSA", "--convention", "hsitools", "--json"]
    found = json.loads(invoke(*typed).stdout)
    assert [(r["case"], r["method"]) for r in found] == [
        ("tiny", "EXP"), ("tiny", "GSA"), ("other", "EXP"), ("other", "GSA"),
    ]  # fmt: skip
    assert {"ERGAS", "SAM", "Q2n", "seconds", "cpu_seconds", "peak_mib", "status"} <= set(found[0])
    assert found[0]["ERGAS"] > 0
    assert found[2]["ERGAS"] is None
    assert found[2]["HQNR"] > 0


def test_ranking_is_printed(case, plugin, tmp_path):
    typed = ["--cases", case, "--methods", "EXP", "GSA", "test-raises", "--plugin", plugin, "-o", tmp_path / "out"]
    said = invoke(*typed).stdout
    assert "rank (1 is best) by each index and over all, means over 1 case (reduced resolution" in said
    # ranks are named so, and costs stand apart: a rank of 1 is no ERGAS of 1
    heads = next(line for line in said.splitlines() if "seconds" in line and "MiB" in line and "|" in line)
    assert heads.split() == ["rank", "ERGAS", "rank", "SAM", "rank", "Q2n", "rank", "|", "seconds", "MiB"]
    assert "no result: test-raises (tiny, ratio 2): ValueError: a & b_c" in said


@pytest.mark.parametrize("kept", [True, False])
def test_no_result_at_all_is_an_error(case, plugin, tmp_path, kept):
    """The records are written and printed all the same."""
    typed = ["--cases", case, "--methods", "test-raises", "--plugin", plugin]
    typed += ["-o", tmp_path / "out"] if kept else ["--json"]
    found = CliRunner().invoke(benchmark, list(map(str, typed)))
    assert isinstance(found.exception, HsiError)
    assert "cells: found no result in 1, expected some; test-raises: ValueError: a & b_c" in str(found.exception)
    if kept:
        assert "no result: test-raises" in found.stdout
    else:
        assert [record["ERGAS"] for record in json.loads(found.stdout)] == [None]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["--resume", "x", "--seed", "3"], "--seed cannot be changed"),
        (["--retry", "--out", "x"], "--retry goes with --resume"),
        (["--cases", "x"], "expected --out"),
        (["--cases"], "requires an argument"),
        (["stray"], "unexpected extra argument"),
    ],
)
def test_wrong_use(typed, said):
    found = invoke(*typed)
    assert found.exit_code == 2
    assert said in found.output
