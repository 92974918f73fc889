"""What a benchmark of fusion says: ranks, tables, the published figures."""

import json

import pytest
from click.testing import CliRunner

from hsitools.errors import FormatError
from pansharpen.commands.benchmark import benchmark
from pansharpen.comparison import table


def invoke(*arguments):
    return CliRunner().invoke(benchmark, [str(a) for a in arguments], catch_exceptions=False)


def test_published_figures(shared):
    typed = ["--cases", shared / "golden" / "jasper159_r6.npz", "--methods", "EXP,GSA,MTF-GLP-FS"]
    found = json.loads(invoke(*typed, "--convention", "toolbox", "--json").stdout)
    published = {
        "EXP": (5.6519, 10.6527, 0.71996), "GSA": (4.2922, 9.7548, 0.83901), "MTF-GLP-FS": (4.2849, 9.6997, 0.84594),
    }  # fmt: skip
    for record in found:
        for name, value in zip(("ERGAS", "SAM", "Q2n"), published[record["method"]], strict=True):
            assert record[name] == pytest.approx(value, rel=0.01)


def row(method, ergas, case="a", **other):
    values = {"case": case, "ratio": 6, "noise": True, "protocol": "reduced", "method": method, "family": "ours"}
    ok = {"ERGAS": ergas, "SAM": ergas, "Q2n": None if ergas is None else 1 - ergas / 10, "status": "ok"}
    return {**dict.fromkeys(table.COLUMNS), **values, **ok, **other}


def test_ranks_by_hand():
    failed = {"status": "killed"}
    rows = [row("x", 1.0), row("y", 2.0), row("z", 2.0), row("never", None, **failed)]
    rows += [row("x", None, "b", **failed), row("y", 1.0, "b"), row("z", 3.0, "b"), row("never", None, "b", **failed)]
    rows += [row(name, None, "c", **failed) for name in "xyz"]  # no method could use it
    ranks = {rank.method: rank for rank in table.ranking(rows)}
    assert {name: rank.mean for name, rank in ranks.items()} == {"x": 2.0, "y": 1.75, "z": 2.25}
    assert [rank.method for rank in table.ranking(rows)] == ["y", "x", "z"]
    assert (ranks["x"].failed, ranks["x"].wins, ranks["x"].cases) == (1, 1, 2)
    assert table.ranking(rows, "full") == []


def test_table_reads_back(tmp_path):
    rows = [row("x", 1.25, seconds=0.5), row('ü, "z"', None, noise=None, ratio=None, status="a\nb, c")]
    table.write_csv(tmp_path / "t.csv", rows)
    assert table.read_csv(tmp_path / "t.csv") == rows
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(FormatError, match="columns"):
        table.read_csv(tmp_path / "other.csv")


def test_latex():
    text = table.latex([row("a_b & 100%", 1.0), row("c", 2.0)])
    assert r"a\_b \& 100\% & \textbf{1.0000} & \textbf{1.0000} & \textbf{0.9000} & --" in text
    for name in ("table", "tabular"):
        assert text.count(f"\\begin{{{name}}}") == text.count(f"\\end{{{name}}}") == 2
    for line in text.splitlines():
        if line.endswith(r"\\"):
            cells_in = line.replace(r"\&", "").count("&")
            assert cells_in in (6, 5)
    assert {text.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")} == {2}
