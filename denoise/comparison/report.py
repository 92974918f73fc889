"""What a benchmark of denoisers says: gains over the best peer, tables by index, as Markdown and HTML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from denoise.comparison.simulate import CASES, SEVEN
from hsitools.comparison.table import STYLE, Grid, Markup, failures, origin
from hsitools.comparison.task import OK
from hsitools.comparison.two_sides import Record
from hsitools.io.atomic import atomic_path
from hsitools.metrics import INDICES
from hsitools.report import Block, Report, Section
from hsitools.text import readable

#: Methods of the registry that are common practice, not ours.
PEERS = ("column-median", "svd-nlm")
COLUMNS = (
    "scene", "case", "method", "seed", "mpsnr", "mssim", "sam_deg", "sam_bright_deg", "seconds", "peak_mib", "path",
    "status",
)  # fmt: skip
#: Index → (title, digits).
SHOWN = {
    "mpsnr": ("Mean PSNR, dB", 2), "mssim": ("Mean SSIM", 4), "sam_deg": ("SAM, degrees", 2),
    "sam_bright_deg": ("SAM of pixels brighter than the median, degrees", 2),
    "seconds": ("Seconds", 2), "peak_mib": ("Peak memory, MiB", 0),
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
            if record["status"] == OK and record.get(index) is not None:
                row[record["case"]] = record[index]
    return out


def mean_of(row: dict[str, float]) -> float:
    """Mean over those of the seven cases that are there; NaN for none."""
    seven = [row[case] for case in SEVEN if case in row]
    return float(np.mean(seven)) if seven else float("nan")


def gains(records: Sequence[Record]) -> list[Gain]:
    """What each method gains on the best peer (`PEERS`) of each case, scene by scene."""
    out = []
    for scene in dict.fromkeys(record["scene"] for record in records):
        values = values_of(records, scene, "mpsnr")
        peers = [values[name] for name in PEERS if name in values]
        best = {case: max(row[case] for row in peers if case in row) for row in peers for case in row}
        for method, row in values.items():
            above = {case: value - best[case] for case, value in row.items() if case in best}
            if method not in PEERS and above:
                out.append(Gain(scene=scene, method=method, cases=above, mean=mean_of(above)))
    return out


def columns_with(indices: Iterable[str]) -> tuple[str, ...]:
    """`COLUMNS`, and those of further indices behind."""
    return (*COLUMNS, *(name for name in indices if INDICES[name].kind == "full reference"))


def grids(records: Sequence[Record], scene: str) -> list[Grid]:
    """The tables of a scene, methods × cases: an index each, behind the first the gains over the best peer."""
    cases = list(dict.fromkeys(record["case"] for record in records if record["scene"] == scene))
    out = []
    present = {name for record in records if record["scene"] == scene for name in record}
    added = {name: (name, 4) for name in INDICES if name in present}  # of plugins: ours have names of their own
    for index, (title, digits) in {**SHOWN, **added}.items():
        rows = [
            [method, *(_number(row.get(case), digits) for case in cases), _number(mean_of(row), digits)]
            for method, row in values_of(records, scene, index).items()
        ]
        out.append(Grid(columns=["method", *cases, "mean of a–g"], rows=rows, title=title))
        if index == "mpsnr":
            above = [
                [gain.method, *(_signed(gain.cases.get(case)) for case in cases), _signed(gain.mean)]
                for gain in gains(records) if gain.scene == scene
            ]  # fmt: skip
            out += [Grid(columns=out[-1].columns, rows=above, title=f"{title} above the best peer")] if above else []
    return out


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None or np.isnan(value) else f"{value:.{digits}f}"


def _signed(value: float | None) -> str:
    return "–" if value is None or np.isnan(value) else f"{value:+.2f}"


def failed_cells(records: Sequence[Record]) -> list[str]:
    """Cells without a result, and why."""
    return [f"{r['scene']}, {r['case']}, {r['method']}: {r['status']}" for r in records if r["status"] != OK]


def facts(header: dict[str, Any]) -> dict[str, str]:
    """What the numbers hang on, of ``benchmark.json``: scenes' hashes, seed, versions of the last run."""
    settings, runs = header["settings"], header["runs"]
    scenes = ", ".join(f"{Path(source['path']).stem} ({source['sha256']})" for source in settings["sources"])
    return {"scenes": scenes, "seed": str(settings["seed"])} | {
        name: readable(value) for name, value in (runs[-1] if runs else {}).items()
    }


def markdown(records: Sequence[Record], header: dict[str, Any] | None = None) -> str:
    """All tables as Markdown, with what the numbers hang on at the head."""
    told = {} if header is None else facts(header)
    lines = ["# Denoising benchmark", "", *(f"- {name}: {value}" for name, value in told.items()), ""]
    lines += [f"- {case}: {text}" for case, text in CASES.items() if any(r["case"] == case for r in records)]
    for scene in dict.fromkeys(record["scene"] for record in records):
        lines += ["", f"## {scene}"]
        for grid in grids(records, scene):
            lines += ["", f"{grid.title}:", "", grid.markdown()]
    failed = failed_cells(records)
    lines += ["", "## No result", "", *(f"- {text}" for text in failed)] if failed else []
    return "\n".join(lines) + "\n"


def html_report(records: Sequence[Record], header: dict[str, Any]) -> Report:
    """The same as one HTML page."""
    sections = []
    for scene in dict.fromkeys(record["scene"] for record in records):
        blocks: list[str | Block] = []
        for grid in grids(records, scene):
            blocks += [f"{grid.title}:", grid]
        sections.append(Section(title=scene, blocks=blocks))
    used = [[case, text] for case, text in CASES.items() if any(record["case"] == case for record in records)]
    grid = Grid(columns=["case", "what was done to the clean cube"], rows=used, prose=True)
    sections.append(Section(title="Cases", blocks=[Markup(text=STYLE), grid]))
    without = failures(records, [f"{record['scene']}, {record['case']}" for record in records])
    if without is not None:
        sections.append(Section(title="No result", blocks=[without]))
    sections.append(Section(title="How it was made", blocks=origin(header)))
    return Report(
        title="Denoising benchmark", lead="Every method blind, one setting for all cases; peers re-measured beside.",
        headlines=[(f"{g.mean:+.2f} dB", f"{g.method} above the best peer: {g.scene}") for g in gains(records)],
        sections=sections, provenance=list(facts(header).items()),
    )  # fmt: skip


def write(folder: Path, records: Sequence[Record], header: dict[str, Any]) -> list[Path]:
    """Write ``table.md`` and ``report.html`` beside the ``table.csv`` of a benchmark; gives the paths of all three."""
    paths = [folder / name for name in ("table.csv", "table.md", "report.html")]
    with atomic_path(paths[1]) as temporary:
        temporary.write_text(markdown(records, header), encoding="utf-8")
    html_report(records, header).write(paths[2])
    return paths
