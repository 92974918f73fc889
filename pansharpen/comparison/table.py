"""The tidy table of a fusion benchmark: a row per cell; as CSV and LaTeX; ranks by SNR class."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import hsitools.comparison.ranking as engine
from hsitools.comparison import table as engine_table
from hsitools.comparison.cost import COST
from hsitools.comparison.ranking import Rank, Row, all_bands_name, best_of
from hsitools.comparison.task import OK
from hsitools.errors import FormatError
from hsitools.metrics import INDICES
from pansharpen.comparison.judging import FULL, RANKING_CLASS, REDUCED, SNR_CLASSES, class_name

#: What makes a case; rows that agree in these compare methods.
CASE = ("case", "ratio", "noise", "protocol")
#: Since 0.2.0 with the classes of bands; tables of before lack those.
COLUMNS = (
    *CASE, "method", "family", *REDUCED, *FULL, *COST, "status", "snr_source",
    *(f"bands_snr{snr}" for snr in SNR_CLASSES),
    *(class_name(index, snr) for index in (*REDUCED, *FULL) for snr in SNR_CLASSES),
)  # fmt: skip
#: Indices that rank, over the bands that hold signal: what a table of the field shows; at full resolution the one that
#: was shown to rank as the truth does (`python -m benchmarks honesty`).
RANKED = {"reduced": ("ERGAS", "SAM", "Q2n"), "full": ("ERGAS_est",)}
RANKED_ON = f"bands of SNR > {RANKING_CLASS}"


def columns_with(indices: Iterable[str]) -> tuple[str, ...]:
    """`COLUMNS`, and those of further indices behind."""
    added = [name for name in indices if INDICES[name].kind != "no reference"]
    return (*COLUMNS, *(column for name in added for column in (name, *(class_name(name, s) for s in SNR_CLASSES))))


def row_of(record: Mapping[str, Any], columns: Sequence[str] = COLUMNS) -> Row:
    """A record as a row of the table."""
    classes: dict[str, Any] = record.get("snr") or {}
    told = {"snr_source": classes.get("source")}
    told |= {f"bands_snr{snr}": number for snr, number in classes.get("bands", {}).items()}
    values = {**record, **told, **record["values"]}
    return {name: values.get(name) for name in columns}


# ---- CSV -------------------------------------------------------------------------------------------------------


def write_csv(path: str | Path, rows: Sequence[Row], columns: Sequence[str] = COLUMNS) -> None:
    """Write the table, an empty field where there is no value."""
    engine_table.write_csv(path, columns, rows)


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
    columns = tuple(lines[0]) if lines else ()
    if not set(CASE) | {"method", "status"} <= set(columns):
        raise FormatError(f"{path}: columns: found {', '.join(columns) or 'none'}, expected {COLUMNS}")
    added = [name for name in columns if name not in COLUMNS]  # indices of plugins
    return [{name: _value(name, line.get(name, "")) for name in (*COLUMNS, *added)} for line in lines]


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
    """The indices that any of the rows has, those of plugins behind."""
    added = [name for name in (rows[0] if rows else ()) if name not in COLUMNS and name in INDICES]
    return tuple(name for name in (*REDUCED, *FULL, *added) if any(row[name] is not None for row in rows))


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


def ranking(rows: Sequence[Row], protocol: str = "reduced") -> list[Rank]:
    """Methods by mean rank on the bands that hold signal, see `hsitools.comparison.ranking.ranking`."""
    groups = by_case([row for row in rows if row["protocol"] == protocol]).values()
    indices = RANKED[protocol]
    return engine.ranking(groups, indices, lambda group: {name: ranking_name(name, group) for name in indices})


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
