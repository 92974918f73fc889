"""The tidy table of a benchmark: a row per cell; as CSV and LaTeX; ranks."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hsitools.errors import FormatError
from hsitools.io.atomic import atomic_path
from hsitools.metrics import get as get_index
from pansharpen.comparison.classes import CLASS_COLUMNS, RANKING_CLASS, SNR_CLASSES, all_bands_name, class_name
from pansharpen.comparison.protocol import FULL, REDUCED

Row = dict[str, Any]
#: What makes a case; rows that agree in these compare methods.
CASE = ("case", "ratio", "noise", "protocol")
COST = ("seconds", "cpu_seconds", "peak_mib")
#: Since 0.2.0 with the classes of bands; tables of before lack those.
COLUMNS = (*CASE, "method", "family", *REDUCED, *FULL, *COST, "status", *CLASS_COLUMNS)
#: Indices that rank, over the bands that hold signal: what a table of the field shows; at full resolution the one that
#: was shown to rank as the truth does (`python -m benchmarks honesty`).
RANKED = {"reduced": ("ERGAS", "SAM", "Q2n"), "full": ("ERGAS_est",)}
RANKED_ON = f"bands of SNR > {RANKING_CLASS}"
OK = "ok"


# ---- CSV -------------------------------------------------------------------------------------------------------


def write_csv(path: str | Path, rows: Sequence[Row]) -> None:
    """Write the table: `COLUMNS`, an empty field where there is no value."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        writer.writerows(["" if row[name] is None else row[name] for name in COLUMNS] for row in rows)


def read_csv(path: str | Path) -> list[Row]:
    """Read the table back, numbers as numbers.

    Raises
    ------
    FormatError
        When the file is missing or is no such table.
    """
    try:
        with Path(path).open(encoding="utf-8", newline="") as stream:
            lines = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: expected a table of `hsi pansharpen benchmark`; {error}") from None
    found = set(lines[0]) if lines else set()
    if not set(CASE) | {"method", "status"} <= found <= set(COLUMNS):
        raise FormatError(f"{path}: columns: found {', '.join(lines[0]) if lines else 'none'}, expected {COLUMNS}")
    return [{name: _value(name, line.get(name, "")) for name in COLUMNS} for line in lines]


def _value(name: str, text: str) -> Any:
    if text == "":
        return None
    if name in ("case", "protocol", "method", "family", "status", "snr_source"):
        return text
    if name == "noise":
        return text == "True"
    return int(text) if name == "ratio" or name.startswith("bands_") else float(text)


# ---- groups and ranks ------------------------------------------------------------------------------------------


def by_case(rows: Sequence[Row]) -> dict[tuple[Any, ...], list[Row]]:
    """Rows of each case, in the table's order."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in CASE), []).append(row)
    return groups


def title_of(row: Row) -> str:
    """A case in words."""
    noise = {True: ", with noise", False: ", without noise", None: ""}[row["noise"]]
    ratio = "" if row["ratio"] is None else f", ratio {row['ratio']}"
    protocol = {"reduced": "", "full": ", full resolution"}.get(row["protocol"], "")
    return f"{row['case']}{ratio}{noise}{protocol}"


def indices_of(rows: Sequence[Row]) -> tuple[str, ...]:
    """The indices that any of the rows has."""
    return tuple(name for name in (*REDUCED, *FULL) if any(row[name] is not None for row in rows))


def ranking_name(index: str, rows: Sequence[Row]) -> str:
    """The column by which rows of one case rank: the index over bands that hold signal; in a table of 0.1.0, of all."""
    return index if all(row["snr_source"] is None for row in rows) else class_name(index, RANKING_CLASS)


def classes_of(rows: Sequence[Row]) -> dict[int, int]:
    """Bands of each class, in rows of one case."""
    told = next((row for row in rows if row["snr_source"] is not None), None)
    return {} if told is None else {snr: told[f"bands_snr{snr}"] for snr in SNR_CLASSES}


def source_of(rows: Sequence[Row]) -> str | None:
    """How the noise is known that makes the classes, in rows of one case."""
    return next((row["snr_source"] for row in rows if row["snr_source"] is not None), None)


def goodness(name: str, value: float | None) -> float:
    """The smaller the better; infinite for no value."""
    if value is None or math.isnan(value):
        return math.inf
    best = get_index(all_bands_name(name)).best
    return -value if math.isinf(best) else abs(value - best)


def class_names(rows: Sequence[Row]) -> tuple[str, ...]:
    """The ranking indices over each class of bands that holds some, in rows of one case."""
    names = (class_name(index, snr) for snr in SNR_CLASSES for index in RANKED[rows[0]["protocol"]])
    return tuple(name for name in names if any(row[name] is not None for row in rows))


def heading(name: str, classes: dict[int, int]) -> str:
    """An index in words, with the class of its bands and how many these are."""
    index, _, snr = name.partition("_snr")
    return f"{index}, SNR > {snr} ({classes[int(snr)]})" if snr else index


def caption_of(rows: Sequence[Row]) -> str:
    """A case in words, and where its signal-to-noise ratios come from."""
    source = source_of(rows)
    return title_of(rows[0]) + ("" if source is None else f"; noise {source}")


def best_of(name: str, rows: Sequence[Row]) -> set[int]:
    """Places of the best value(s)."""
    scores = [goodness(name, row[name]) for row in rows]
    return {place for place, score in enumerate(scores) if score == min(scores) and math.isfinite(score)}


@dataclass(frozen=True, kw_only=True)
class Rank:
    """A method's standing over all cases of a protocol.

    Attributes
    ----------
    method, family : str
    mean : float
        Mean rank over cases and indices, 1 the best; equal values share the mean of their places, and a method that
        failed takes the last place.
    per_index : dict of str to float
    cases, failed : int
    wins : int
        Cases in which it is the best on the first index.
    seconds, peak_mib : float or None
        Median and largest over the cases.
    """

    method: str
    family: str
    mean: float
    per_index: dict[str, float]
    cases: int
    failed: int
    wins: int
    seconds: float | None
    peak_mib: float | None


def ranking(rows: Sequence[Row], protocol: str = "reduced") -> list[Rank]:
    """Methods by mean rank on the bands that hold signal.

    Cases in which no method has a value there, and methods that never succeeded, do not count.
    """
    ran = {row["method"] for row in rows if row["protocol"] == protocol and row["status"] == OK}
    places: dict[str, list[tuple[Row, dict[str, float]]]] = {}
    for group in by_case([row for row in rows if row["method"] in ran and row["protocol"] == protocol]).values():
        columns = {name: ranking_name(name, group) for name in RANKED[protocol]}
        if not any(row["status"] == OK and row[column] is not None for row in group for column in columns.values()):
            continue
        ranks = {name: _ranks([goodness(name, row[column]) for row in group]) for name, column in columns.items()}
        for place, row in enumerate(group):
            places.setdefault(row["method"], []).append((row, {name: float(ranks[name][place]) for name in ranks}))
    out = [_rank(method, found, protocol) for method, found in places.items()]
    return sorted(out, key=lambda rank: (rank.mean, rank.method))


def _ranks(scores: list[float]) -> Any:
    """1 for the smallest; ties share the mean of their places."""
    values = np.array(scores)
    below = (values[None] < values[:, None]).sum(1)
    return below + ((values[None] == values[:, None]).sum(1) + 1) / 2


def _rank(method: str, found: list[tuple[Row, dict[str, float]]], protocol: str) -> Rank:
    per_index = {name: float(np.mean([ranks[name] for _, ranks in found])) for name in RANKED[protocol]}
    done = [row for row, _ in found if row["status"] == OK]
    seconds = [row["seconds"] for row in done if row["seconds"] is not None]
    peaks = [row["peak_mib"] for row in done if row["peak_mib"] is not None]
    return Rank(
        method=method, family=found[0][0]["family"], mean=float(np.mean(list(per_index.values()))),
        per_index=per_index, cases=len(found), failed=len(found) - len(done),
        wins=sum(ranks[RANKED[protocol][0]] == 1 for _, ranks in found),
        seconds=float(np.median(seconds)) if seconds else None, peak_mib=max(peaks, default=None),
    )  # fmt: skip


# ---- numbers and LaTeX -----------------------------------------------------------------------------------------


def number(name: str, value: Any) -> str:
    """A value as tables print it; a dash for none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if name in COST:
        return f"{value:#.3g}" if value < 100 else f"{value:.0f}"
    return f"{value:.2f}" if all_bands_name(name) in ("PSNR", "rank") else f"{value:.4f}"


_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--", "×": r"$\times$",
}  # fmt: skip


def escape(text: str) -> str:
    """Text for LaTeX."""
    return "".join(_SPECIAL.get(character, character) for character in text)


def latex(rows: Sequence[Row]) -> str:
    """Tables for LaTeX (package ``booktabs``): the ranking of each protocol, then one table a case, best in bold."""
    parts = ["% \\usepackage{booktabs}"]
    for protocol, indices in RANKED.items():
        ranks = ranking(rows, protocol)
        if not ranks:
            continue
        caption = f"Mean rank over {max(rank.cases for rank in ranks)} cases ({protocol} resolution, {RANKED_ON})"
        head = ["Method", "Mean rank", *(f"{name} rank" for name in indices), "Time / s", "Peak / MiB"]
        body = [
            [rank.method, number("rank", rank.mean), *(number("rank", rank.per_index[name]) for name in indices),
             number("seconds", rank.seconds), number("peak_mib", rank.peak_mib)]
            for rank in ranks
        ]  # fmt: skip
        parts.append(_latex_table(caption, head, [[escape(cell) for cell in line] for line in body]))
    for group in by_case(rows).values():
        done = [row for row in group if row["status"] == OK]
        if not done:
            continue
        classes = classes_of(done)
        indices = (*indices_of(done), *(name for name in class_names(done) if classes))
        best = {name: best_of(name, done) for name in indices}
        lines = [
            [escape(row["method"])]
            + [_bold(number(name, row[name]), place in best[name]) for name in indices]
            + [escape(number(name, row[name])) for name in ("seconds", "peak_mib")]
            for place, row in enumerate(done)
        ]
        heads = [heading(name, classes) for name in indices]
        parts.append(_latex_table(caption_of(done), ["Method", *heads, "Time / s", "Peak / MiB"], lines))
    return "\n".join(parts)


def _bold(text: str, on: bool) -> str:
    return f"\\textbf{{{escape(text)}}}" if on else escape(text)


def _latex_table(caption: str, head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    lines = "\n".join(" & ".join(line) + r" \\" for line in body)
    columns = "l" + "r" * (len(head) - 1)
    return (
        f"\\begin{{table}}\n\\centering\n\\caption{{{escape(caption)}}}\n\\begin{{tabular}}{{{columns}}}\n\\toprule\n"
        f"{' & '.join(escape(name) for name in head)} \\\\\n\\midrule\n{lines}\n\\bottomrule\n"
        "\\end{tabular}\n\\end{table}\n"
    )
