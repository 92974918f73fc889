"""What a benchmark of scenes says: the tidy table, gains over the best peer, and both as Markdown and HTML."""

from __future__ import annotations

import csv
import importlib.metadata
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from denoise.comparison.peers import PEERS
from denoise.comparison.protocol import OK, Record
from denoise.comparison.simulate import CASES, SEVEN
from hsitools import __version__
from hsitools.io.atomic import atomic_path
from hsitools.report import Block, Report, Section, Table

COLUMNS = (
    "scene", "case", "method", "seed", "mpsnr", "mssim", "sam_deg", "sam_bright_deg", "seconds", "peak_mib", "path",
    "status",
)  # fmt: skip
#: Index → (title, digits, whether more is better).
SHOWN = {
    "mpsnr": ("Mean PSNR, dB", 2, True), "mssim": ("Mean SSIM", 4, True), "sam_deg": ("SAM, degrees", 2, False),
    "sam_bright_deg": ("SAM of pixels brighter than the median, degrees", 2, False),
    "seconds": ("Seconds", 2, False), "peak_mib": ("Peak memory, MiB", 0, False),
}  # fmt: skip


class Gain(NamedTuple):
    """Mean PSNR of a method above the best peer of each case, dB; ``mean`` over the cases of `SEVEN`."""

    scene: str
    method: str
    cases: dict[str, float]
    mean: float


def values_of(records: Sequence[Record], scene: str, index: str) -> dict[str, dict[str, float]]:
    """Method → case → value of an index on a scene; failed cells and values that do not exist are left out."""
    out: dict[str, dict[str, float]] = {}
    for record in records:
        if record["scene"] == scene:
            row = out.setdefault(record["method"], {})
            if record["status"] == OK and record[index] is not None:
                row[record["case"]] = record[index]
    return out


def mean_of(row: dict[str, float]) -> float:
    """Mean over those of the seven cases that are there; NaN for none."""
    seven = [row[case] for case in SEVEN if case in row]
    return float(np.mean(seven)) if seven else float("nan")


def gains(records: Sequence[Record]) -> list[Gain]:
    """What each method gains on the best peer (`denoise.comparison.peers.PEERS`) of each case, scene by scene."""
    out = []
    for scene in dict.fromkeys(record["scene"] for record in records):
        found = values_of(records, scene, "mpsnr")
        peers = [found[name] for name in PEERS if name in found]
        best = {case: max(row[case] for row in peers if case in row) for row in peers for case in row}
        for method, row in found.items():
            above = {case: value - best[case] for case, value in row.items() if case in best}
            if method not in PEERS and above:
                out.append(Gain(scene=scene, method=method, cases=above, mean=mean_of(above)))
    return out


def write_csv(path: str | Path, records: Sequence[Record]) -> None:
    """The tidy table: a row for each cell, `COLUMNS`, an empty field where there is no value."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        writer.writerows(["" if record.get(name) is None else record[name] for name in COLUMNS] for record in records)


def facts(records: Sequence[Record]) -> dict[str, str]:
    """What the numbers hang on: versions, commits, seeds, scenes' hashes, machine."""
    packages = ("numpy", "scipy", "scikit-image", "torch")
    return {
        "hsitools": __version__,
        "commit": ", ".join(dict.fromkeys(str(record["commit"]) for record in records)),
        "seed": ", ".join(dict.fromkeys(str(record["seed"]) for record in records)),
        "scenes": ", ".join(dict.fromkeys(f"{record['scene']} ({record['sha256']})" for record in records)),
        "versions": ", ".join(
            [f"Python {platform.python_version()}", *(f"{p} {importlib.metadata.version(p)}" for p in packages)]
        ),
        "system": platform.platform(),
    }


class Grid(NamedTuple):
    """A table of text: rows of cells under columns, the first of which names the row."""

    title: str
    columns: list[str]
    rows: list[list[str]]


def grids(records: Sequence[Record], scene: str) -> list[Grid]:
    """The tables of a scene: an index each, methods × cases; the first with gains over the best peer beneath."""
    cases = list(dict.fromkeys(record["case"] for record in records if record["scene"] == scene))
    out = []
    for index, (title, digits, _) in SHOWN.items():
        rows = [
            [method, *(_number(row.get(case), digits) for case in cases), _number(mean_of(row), digits)]
            for method, row in values_of(records, scene, index).items()
        ]
        if index == "mpsnr":
            rows += [
                [f"{gain.method} above the best peer", *(_signed(gain.cases.get(case)) for case in cases),
                 _signed(gain.mean)]
                for gain in gains(records) if gain.scene == scene
            ]  # fmt: skip
        out.append(Grid(title, ["method", *cases, "mean of a–g"], rows))
    return out


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None or np.isnan(value) else f"{value:.{digits}f}"


def _signed(value: float | None) -> str:
    return "–" if value is None or np.isnan(value) else f"{value:+.2f}"


def failures(records: Sequence[Record]) -> list[str]:
    """Cells without a result, and why."""
    return [f"{r['scene']}, {r['case']}, {r['method']}: {r['status']}" for r in records if r["status"] != OK]


def markdown(records: Sequence[Record]) -> str:
    """All tables as Markdown, with what the numbers hang on at the head."""
    lines = ["# Denoising benchmark", "", *(f"- {name}: {value}" for name, value in facts(records).items()), ""]
    lines += [f"- {case}: {text}" for case, text in CASES.items() if any(r["case"] == case for r in records)]
    for scene in dict.fromkeys(record["scene"] for record in records):
        lines += ["", f"## {scene}"]
        for grid in grids(records, scene):
            lines += [
                "",
                f"{grid.title}:",
                "",
                _line(grid.columns),
                _line(["---", *["---:"] * (len(grid.columns) - 1)]),
            ]
            lines += [_line(row) for row in grid.rows]
    failed = failures(records)
    lines += ["", "## No result", "", *(f"- {text}" for text in failed)] if failed else []
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def html_report(records: Sequence[Record]) -> Report:
    """The same as one HTML page."""
    sections = []
    for scene in dict.fromkeys(record["scene"] for record in records):
        blocks: list[str | Block] = []
        for grid in grids(records, scene):
            above = frozenset(place for place, row in enumerate(grid.rows) if row[0].endswith("peer"))
            blocks += [f"{grid.title}:", Table(columns=grid.columns, rows=grid.rows, marked=above)]
        sections.append(Section(title=scene, blocks=blocks))
    used = [[case, text] for case, text in CASES.items() if any(record["case"] == case for record in records)]
    sections.append(
        Section(title="Cases", blocks=[Table(columns=["case", "what was done to the clean cube"], rows=used)])
    )
    failed = failures(records)
    if failed:
        sections.append(Section(title="No result", blocks=failed))
    return Report(
        title="Denoising benchmark", lead="Every method blind, one setting for all cases; peers re-measured beside.",
        headlines=[(f"{g.mean:+.2f} dB", f"{g.method} above the best peer: {g.scene}") for g in gains(records)],
        sections=sections, provenance=list(facts(records).items()),
    )  # fmt: skip


def write(folder: str | Path, records: Sequence[Record]) -> list[Path]:
    """Write ``table.csv``, ``table.md`` and ``report.html`` into a folder; gives their paths."""
    folder = Path(folder)
    paths = [folder / name for name in ("table.csv", "table.md", "report.html")]
    write_csv(paths[0], records)
    with atomic_path(paths[1]) as temporary:
        temporary.write_text(markdown(records), encoding="utf-8")
    html_report(records).write(paths[2])
    return paths
