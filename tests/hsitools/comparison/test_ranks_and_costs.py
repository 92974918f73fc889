"""What tables of benchmarks say: ranks by hand, costs of a call, what a record hangs on."""

from __future__ import annotations

import dataclasses
import os
import resource
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hsitools.comparison import two_sides
from hsitools.comparison.benchmark import Benchmark
from hsitools.comparison.cost import measured, memory, memory_limit
from hsitools.comparison.plan import Cell, Plan
from hsitools.comparison.plugins import Plugins
from hsitools.comparison.ranking import best_of, goodness, ranking
from hsitools.comparison.table import Grid, failures, write_csv
from hsitools.comparison.task import OK


def row(method, seconds=1.0, peak=1.0, status=OK, **values):
    return {"method": method, "status": status, "seconds": seconds, "peak_mib": peak, "family": "f"} | values


def test_ranks_by_hand():
    """ERGAS is best at 0, CC at 1, PSNR without end; ties share their places, who failed has the last."""
    first = [row("a", 1, 5, ERGAS=2.0, CC=0.9), row("b", 2, 7, ERGAS=2.0, CC=0.8),
             row("c", 9, 3, ERGAS=1.0, CC=0.7)]  # fmt: skip
    second = [row("a", 3, 6, ERGAS=5.0, CC=1.0), row("b", None, None, "crashed", ERGAS=None, CC=None),
              row("c", 4, 4, ERGAS=6.0, CC=0.5)]  # fmt: skip
    found = {rank.method: rank for rank in ranking([first, second], ["ERGAS", "CC"])}
    assert found["a"].per_index == {"ERGAS": (2.5 + 1) / 2, "CC": 1}
    assert found["b"].per_index == {"ERGAS": (2.5 + 3) / 2, "CC": 2.5}
    assert found["c"].per_index == {"ERGAS": 1.5, "CC": 2.5}
    assert {name: (r.cases, r.failed, r.wins, r.seconds, r.peak_mib) for name, r in found.items()} == {
        "a": (2, 0, 1, 2.0, 6), "b": (2, 1, 0, 2.0, 7), "c": (2, 0, 1, 6.5, 4),
    }  # fmt: skip
    assert [found[name].mean for name in "abc"] == [(1.75 + 1) / 2, (2.75 + 2.5) / 2, 2.0]


def test_what_does_not_count_in_a_ranking():
    """Cases without any value, methods that never ran; each case ranks by the columns that it has."""
    whole = [row("b", ERGAS=3.0, ERGAS_snr10=1.0), row("a", ERGAS=1.0, ERGAS_snr10=2.0),
             row("never", status="crashed", ERGAS=None, ERGAS_snr10=None)]  # fmt: skip
    plain = [row("a", None, None, ERGAS=1.0, ERGAS_snr10=None), row("b", None, None, ERGAS=2.0, ERGAS_snr10=None)]
    empty = [row("a", status="no scene", ERGAS=None, ERGAS_snr10=None), row("b", ERGAS=None, ERGAS_snr10=None)]

    def columns(group):
        return {"ERGAS": "ERGAS_snr10" if group[0]["ERGAS_snr10"] is not None else "ERGAS"}

    found = ranking([whole, plain, empty], ["ERGAS"], columns)
    # of equal means the name decides
    assert [(rank.method, rank.mean, rank.wins, rank.cases, rank.failed) for rank in found] == [
        ("a", 1.5, 1, 2, 0), ("b", 1.5, 1, 2, 0),
    ]  # fmt: skip
    assert [(rank.seconds, rank.peak_mib) for rank in ranking([plain], ["ERGAS"])] == [(None, None)] * 2
    # with an index of a plugin, whose best value the registry does not know
    own = [row("a", glow=4.0), row("b", glow=9.0)]
    assert ranking([own], ["glow"], best_value=lambda name: 10.0)[0].method == "b"
    assert ranking([], ["ERGAS"]) == []


def test_tables_as_text(tmp_path):
    grid = Grid(columns=["method", "a|b"], rows=[["x<y", "1"], ["p/q", "2"]], best=frozenset({(1, 1)}))
    assert grid.markdown() == "| method | a\\|b |\n| --- | ---: |\n| x<y | 1 |\n| p/q | 2 |"
    assert "<td>x&lt;y</td><td>1</td></tr><tr><td>p/q</td><td><b>2</b></td>" in grid.html()
    assert 'class="scroll figures"' in grid.html()
    prose = dataclasses.replace(grid, prose=True).html()
    assert "p/<wbr>q" in prose
    assert "scroll prose" in prose
    rows = [row("a", status="crashed"), row("b"), row("b", status="crashed"), row("a", status="crashed"),
            row("c", status="too long")]  # fmt: skip
    made = failures(rows, ["one", "one", "one", "two", "two"])
    assert made.rows == [["crashed", "a, b", "one; two", "3"], ["too long", "c", "two", "1"]]
    assert failures(rows[1:2], ["one"]) is None
    write_csv(tmp_path / "t.csv", ["method", "x", "gone"], [{"method": "a", "x": 0.5}, {"method": "b", "x": None}])
    assert (tmp_path / "t.csv").read_text().splitlines() == ["method,x,gone", "a,0.5,", "b,,"]


def test_the_best_is_the_nearest_to_the_best_value():
    assert goodness("stripes", 0.7) == pytest.approx(goodness("stripes", 1.3))
    assert goodness("PSNR_snr10", 40.0) < goodness("PSNR_snr10", 30.0)
    assert goodness("D_lambda", -0.02) > goodness("D_lambda", 0.01)
    assert best_of("CC", [{"CC": 0.4}, {"CC": None}, {"CC": 0.9}, {"CC": 0.9}]) == {2, 3}


def test_memory_is_what_the_body_took():
    """In MiB, beyond what was there before."""
    if not memory():
        pytest.skip("no /proc")
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    assert memory()["VmRSS"] == pytest.approx(resident / 2**20, rel=0.005)
    held, record = np.ones(2**22), {}
    with measured(record):
        body = np.ones(2**23)
    assert held.nbytes == body.nbytes / 2 == 2**25
    assert record["peak_mib"] == pytest.approx(64, abs=6)


def test_a_limit_of_memory_is_beyond_what_is_in_use():
    if "VmData" not in memory():
        pytest.skip("no /proc")
    before = resource.getrlimit(resource.RLIMIT_DATA)
    used = memory()["VmData"]
    with memory_limit(4096):
        assert resource.getrlimit(resource.RLIMIT_DATA)[0] / 2**20 == pytest.approx(used + 4096, abs=8)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


def job(**changes):
    told = {"task": "room:TASK", "case": {}, "method": "m", "key": "k", "case_key": "c", "folder": "/f", "threads": 3,
            "labels": {}, "seed": 5, "device": "cpu", "weights": "w", "plugins": ["p"], "index_files": ["i"],
            "indices": ["n"], "time_limit_s": 100.0, "memory_limit_mib": 9.0}  # fmt: skip
    return told | changes


def test_each_side_is_told_its_part_and_the_time_that_is_left(monkeypatch):
    """The method's side neither the case nor its source; one limit for all that a cell takes."""
    calls = []

    def call(target, request, limit=None, spent=0.0):
        calls.append((target.rpartition(".")[2], request, limit, spent))
        if "observed" in request:
            open(request["observed"], "w").close()
        return {"status": OK}, 10.0

    monkeypatch.setattr(two_sides, "call", call)
    monkeypatch.setattr(two_sides, "_SHOWN", {})
    assert two_sides.isolated(job())["status"] == OK
    sides, requests, limits, spent = zip(*calls, strict=True)
    assert sides == ("judge_side", "method_side", "judge_side")
    assert (limits, spent) == ((100.0,) * 3, (0.0, 10.0, 20.0))
    method = requests[1]
    assert {name: method[name] for name in ("method", "plugins", "weights", "threads", "memory_limit_mib", "seed",
                                            "device")} == {
        "method": "m", "plugins": ["p"], "weights": "w", "threads": 3, "memory_limit_mib": 9.0, "seed": 5,
        "device": "cpu"}  # fmt: skip
    assert not {"case", "key", "case_key"} & set(method)
    # another method of the same case: it is shown once, and costs no time of its own
    assert two_sides.isolated(job(key="k2"))["status"] == OK
    assert [side for side, *_ in calls[3:]] == ["method_side", "judge_side"]
    assert calls[3][3] == 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class TwoMethods(Plan):
    def cells(self):
        return [Cell(method=method, case={"source": "s"}) for method in self.methods]


class Room(Benchmark):
    plan, command = TwoMethods, "room"
    task = SimpleNamespace(path="room:TASK", methods={"plain": SimpleNamespace(), "net": SimpleNamespace(trained=True)})

    def facts(self, method):
        return {"code": f"code of {method}", "family": None}


def test_a_record_hangs_on_code_weights_and_indices(tmp_path):
    """Weights of trained methods only, and of a plugin's, which may read them."""
    for name in ("w1", "w2", "i1", "i2"):
        (tmp_path / name).write_text(name)

    def contents(weights=None, indices=()):
        plan = TwoMethods(
            sources=(), methods=("plain", "net", "of a plugin"), weights=weights and str(tmp_path / weights)
        )
        plugins = Plugins(index_files=tuple(str(tmp_path / name) for name in indices))
        return Room(folder=tmp_path, settings=plan, plugins=plugins)._contents()

    plain, other = contents("w1"), contents("w2")
    assert [name for name in plain if plain[name] != other[name]] == ["net", "of a plugin"]
    assert len({str(contents("w1", indices)["plain"]) for indices in ((), ("i1",), ("i2",))}) == 3
