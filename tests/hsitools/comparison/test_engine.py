"""The engine of comparisons with a room of three files: it knows neither fusion nor denoising."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
import pytest

from hsitools.comparison import scratch
from hsitools.comparison.plugins import code_hash
from hsitools.comparison.ranking import ranking
from hsitools.comparison.spawned import SpawnedWorker, worker_of
from hsitools.comparison.two_sides import isolated, stop_workers
from hsitools.errors import InputError
from hsitools.io.hashes import content_hash

TASK = """
from types import SimpleNamespace
import numpy as np
from hsitools.comparison.task import Task
from inversion.patient import crash, patient
from inversion.smoother import smooth

METHODS = {
    entry.name: entry for entry in (
        SimpleNamespace(name="as is", function=patient, trained=False),
        SimpleNamespace(name="smooth", function=smooth, trained=False),
        SimpleNamespace(name="crash", function=crash, trained=False),
    )
}

class Inversion(Task):
    path = "inversion.task:INVERSION"
    methods = METHODS

    def load(self, case, folder):
        return np.load(case["source"])[case["scene"]]

    def show(self, loaded, path):
        noise = np.random.default_rng(0).standard_normal(len(loaded))
        np.savez(path, line=loaded + 0.1 * noise)
        return {"lines": 1}

    def judge(self, loaded, result, job):
        error = result - loaded
        nrmse = np.sqrt((error**2).mean()) / loaded.std()
        return {"values": {"nrmse": float(nrmse), "bias": float(error.mean())}}

    def read(self, path, device):
        return np.load(path)["line"]

    def apply(self, entry, observed, job):
        return entry.function(observed), {"path": "held-out line"}

INVERSION = Inversion()
"""
BENCHMARK = """
from dataclasses import dataclass
from hsitools.comparison.benchmark import Benchmark
from hsitools.comparison.plan import Cell, Plan, Source
from hsitools.io.hashes import content_hash
from inversion.task import INVERSION

@dataclass(frozen=True, kw_only=True)
class Lines(Plan):
    scenes: tuple = ()

    def cells(self):
        source = self.sources[0]
        return [
            Cell(method=method, case={"source": source.path, "sha256": source.sha256, "scene": scene})
            for scene in self.scenes for method in self.methods
        ]

class Inverted(Benchmark):
    task, plan, command = INVERSION, Lines, "inversion"
    columns = ("scene", "method", "status", "nrmse", "bias", "seconds")

    @classmethod
    def of(cls, folder, file, methods=("as is", "smooth"), **settings):
        source = Source(path=str(file), sha256=content_hash(file))
        lines = Lines(sources=(source,), methods=methods, scenes=("a", "b"))
        return cls.begin(folder, lines, cls.plugins_of(()), **settings)
"""
PATIENT = """
import ctypes
import time
from pathlib import Path

def patient(line):
    while Path({hold!r}).exists():
        time.sleep(0.02)
    return line

def crash(line):
    print("deep inside")
    ctypes.string_at(0)
"""
SMOOTHER = """
import numpy as np

def smooth(line):
    return np.convolve(line, np.ones(5) / 5, mode="same")
"""


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """The room's package, importable here and by workers, the truth beside it; a folder for what is temporary.

    One for all tests, which share its workers: they take seconds to start.
    """
    here = tmp_path_factory.mktemp("room")
    package = here / "inversion"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "smoother.py").write_text(SMOOTHER)
    (package / "task.py").write_text(TASK)
    (package / "benchmark.py").write_text(BENCHMARK)
    (package / "patient.py").write_text(PATIENT.format(hold=str(here / "hold")))
    (here / "tmp").mkdir()
    y = np.linspace(0, 20, 400)
    np.savez(here / "truth.npz", a=np.sin(y), b=np.cos(y))
    stop_workers()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(here / "tmp"))
        patch.setenv("TMPDIR", str(here / "tmp"))
        patch.syspath_prepend(str(here))
        patch.setenv("PYTHONPATH", str(here))
        yield here
        stop_workers()
    code_hash.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "inversion"]:
        del sys.modules[name]


def test_another_room_needs_no_edit_of_the_engine(room, tmp_path):
    from inversion.benchmark import Inverted

    made = Inverted.of(tmp_path / "out", room / "truth.npz")
    records = made.run()
    assert [(r["scene"], r["method"], r["status"]) for r in records] == [
        (scene, method, "ok") for scene in "ab" for method in ("as is", "smooth")
    ]
    assert records[0]["values"]["nrmse"] == pytest.approx(0.1 * np.sqrt(2), rel=0.1)
    assert records[1]["values"]["nrmse"] < 0.6 * records[0]["values"]["nrmse"]
    assert records[0]["path"] == "held-out line"
    rows = made.rows()
    assert (
        (tmp_path / "out" / "table.csv").read_text().startswith("scene,method,status,nrmse,bias,seconds\na,as is,ok,")
    )
    ranks = ranking([rows[:2], rows[2:]], ["nrmse"], best_value=lambda name: 0.0)
    assert [(rank.method, rank.mean, rank.wins) for rank in ranks] == [("smooth", 1.0, 2), ("as is", 2.0, 0)]
    # nothing is left but the folder that keeps cases for further methods
    assert len(list((room / "tmp").iterdir())) == 1


def test_the_executor_is_any_function_of_jobs(room, tmp_path):
    from inversion.benchmark import Inverted

    seen = []

    def backwards(jobs):
        assert json.loads(json.dumps(list(jobs))) == list(jobs)  # plain data: it can travel
        for job in reversed(jobs):
            seen.append(job["method"])
            yield isolated(job)

    made = Inverted.of(tmp_path / "out", room / "truth.npz")
    steps = []
    records = made.run(executor=backwards, progress=lambda done, total: steps.append((done, total)))
    assert seen == ["smooth", "as is", "smooth", "as is"]
    assert [r["method"] for r in records] == ["as is", "smooth", "as is", "smooth"]
    assert steps == [(number, 4) for number in range(5)]


def test_two_at_a_time_give_what_one_does(room, tmp_path):
    from inversion.benchmark import Inverted

    found = []
    for jobs in (1, 2):
        records = Inverted.of(tmp_path / str(jobs), room / "truth.npz").run(jobs=jobs)
        found.append([(record["scene"], record["method"], record["values"]) for record in records])
    assert found[0] == found[1]
    assert len(found[0]) == 4


def test_records_are_kept_while_their_content_is_the_same(room, tmp_path):
    from inversion.benchmark import Inverted

    made = Inverted.of(tmp_path / "out", room / "truth.npz")
    made.run()
    assert Inverted.open(tmp_path / "out").unfinished() == []
    with pytest.raises(InputError, match="--resume goes on"):
        Inverted.of(tmp_path / "out", room / "truth.npz")
    # the code of one method, in another file than its own
    (room / "inversion" / "smoother.py").write_text(SMOOTHER.replace("5", "7"))
    code_hash.cache_clear()
    assert {cell.method for cell in made.unfinished()} == {"smooth"}
    # a record of 0.1.0 tells no content: it is shown, and done anew
    path = tmp_path / "out" / "cells" / f"{made.settings.cells()[0].key}.json"
    record = json.loads(path.read_text())
    del record["content"]
    path.write_text(json.dumps(record))
    assert len(made.records()) == 4
    assert made.unfinished()[0] == made.settings.cells()[0]


def test_a_kill_keeps_cells_and_its_folders_go(room, tmp_path):
    """``kill -9`` in the third cell: no handler runs."""
    from inversion.benchmark import Inverted

    stop_workers()
    assert not list((room / "tmp").iterdir())
    (room / "hold").touch()
    paths = str(tmp_path / "out"), str(room / "truth.npz")
    code = f"from inversion.benchmark import Inverted; Inverted.of(*{paths!r}).run()"
    cells = tmp_path / "out" / "cells"
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        # the first cell waits
        while not list((room / "tmp").glob(f"{scratch.PREFIX}*/observed.npz")):
            assert process.poll() is None
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    left = set((room / "tmp").iterdir())
    assert left
    (room / "hold").unlink()
    made = Inverted.open(tmp_path / "out")
    assert len(made.run()) == 4
    stop_workers()
    assert not list((room / "tmp").iterdir())
    assert not list(cells.glob("*.part"))


def test_workers_load_no_more_than_their_room():
    """PyTorch takes seconds, in each of the two processes of a benchmark."""
    code = "import sys, hsitools.comparison.task, hsitools.comparison.worker; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture
def no_fork(room, monkeypatch):
    """As on Windows: each call is an interpreter of its own."""
    stop_workers()
    monkeypatch.delattr(os, "fork", raising=False)
    yield
    stop_workers()


@pytest.mark.usefixtures("no_fork")
def test_where_no_process_can_fork(room, tmp_path):
    from inversion.benchmark import Inverted

    made = Inverted.of(tmp_path / "out", room / "truth.npz", methods=("as is", "crash"))
    said = [(record["method"], record["status"]) for record in made.run()]
    assert said == [("as is", "ok"), ("crash", "crashed (SIGSEGV): deep inside")] * 2
    worker = worker_of("time:sleep")
    assert isinstance(worker, SpawnedWorker)
    assert worker.call(600, 0.5) == {"reason": "time limit: not done after 0.5 s"}
    worker.close()


def test_nothing_is_forked_where_that_is_not_safe(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert isinstance(worker_of("time:sleep"), SpawnedWorker)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_call_ends_with_the_process_that_made_it(tmp_path):
    """Where nothing forks nothing tells a call that its command was killed, but that nobody could ask more."""
    os.mkfifo(tmp_path / "said")
    call = f"import time; said = open({str(tmp_path / 'said')!r}, 'w'); print('began', file=said, flush=True)"
    call += "; time.sleep(60); said.write('went on')"
    code = f"from hsitools.comparison.spawned import SpawnedWorker; SpawnedWorker('builtins:exec').call({call!r})"
    process = subprocess.Popen([sys.executable, "-c", code])
    with open(tmp_path / "said") as said:
        assert said.readline() == "began\n"
        process.kill()
        process.wait()
        # until whoever has it open is gone
        assert said.read() == ""


def test_a_folder_in_use_is_not_stale(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with scratch.Scratch() as mine:
        code = f"import tempfile; tempfile.tempdir = {str(tmp_path)!r}\n"
        code += "from hsitools.comparison.scratch import remove_stale; remove_stale()"
        subprocess.run([sys.executable, "-c", code], check=True)
        assert mine.is_dir()
    assert not mine.exists()
    (tmp_path / f"{scratch.PREFIX}x").mkdir()  # not one of ours: it has no lock
    scratch.remove_stale()
    assert (tmp_path / f"{scratch.PREFIX}x").exists()


def test_hash_of_a_folder_is_of_what_is_in_it(tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "a.json").write_text("1")
    before = content_hash(tmp_path / "weights")
    os.utime(tmp_path / "weights" / "a.json", (0, 0))
    assert content_hash(tmp_path / "weights") == before
    (tmp_path / "weights" / "a.json").write_text("2")
    assert content_hash(tmp_path / "weights") != before
