"""Tables of a benchmark: CSV, and one grid of text for HTML and Markdown."""

from __future__ import annotations

import csv
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hsitools.comparison.task import OK
from hsitools.io.atomic import atomic_path
from hsitools.text import readable

STYLE = """<style>
.figures td:first-child{white-space:nowrap}.scroll{margin:.6rem 0}
.prose td,.prose th{text-align:left;vertical-align:top;white-space:normal;overflow-wrap:break-word}
th button{all:unset;cursor:pointer}th button:focus-visible{outline:2px solid var(--accent)}
</style>"""


def write_csv(path: str | Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table: an empty field where there is no value."""
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows(["" if row.get(name) is None else row[name] for name in columns] for row in rows)


@dataclass(frozen=True, kw_only=True)
class Markup:
    """HTML as it is."""

    text: str

    def html(self) -> str:
        """As HTML."""
        return self.text


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A sortable table of numbers with the best ones in bold, or of text (``prose``); headings take the keyboard.

    ``best`` are the bold cells, as (row, column).
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    best: frozenset[tuple[int, int]] = frozenset()
    prose: bool = False
    title: str = ""

    def html(self) -> str:
        """As HTML."""
        head = "".join(f"<th><button type=button>{html.escape(name)}</button></th>" for name in self.columns)
        body = "".join(
            "<tr>" + "".join(self._cell(text, (y, x)) for x, text in enumerate(row)) + "</tr>"
            for y, row in enumerate(self.rows)
        )
        kind = "prose" if self.prose else "figures"
        return f'<div class="scroll {kind}"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'

    def _cell(self, text: str, place: tuple[int, int]) -> str:
        text = html.escape(text)
        text = text.replace("/", "/<wbr>") if self.prose else text  # paths break there
        return f"<td><b>{text}</b></td>" if place in self.best else f"<td>{text}</td>"

    def markdown(self) -> str:
        """As a Markdown table."""
        lines = [self.columns, ["---", *["---:"] * (len(self.columns) - 1)], *self.rows]
        return "\n".join(f"| {' | '.join(text.replace('|', chr(92) + '|') for text in line)} |" for line in lines)


def failures(rows: Sequence[Mapping[str, Any]], titles: Sequence[str]) -> Grid | None:
    """Cells without a result by their reason, None when all have one; ``titles`` name the case of each row."""
    reasons: dict[str, list[tuple[str, str]]] = {}
    for row, title in zip(rows, titles, strict=True):
        if row["status"] != OK:
            reasons.setdefault(row["status"], []).append((row["method"], title))
    lines = []
    for reason, cells in reasons.items():
        methods, cases = (list(dict.fromkeys(names)) for names in zip(*cells, strict=True))
        lines.append([reason, ", ".join(methods), "; ".join(cases), str(len(cells))])
    return Grid(columns=["reason", "methods", "cases", "cells"], rows=lines, prose=True) if lines else None


def origin(header: Mapping[str, Any]) -> list[Any]:
    """How a benchmark was made, from its ``benchmark.json``: settings, runs, sources."""
    settings, runs = header["settings"], header["runs"]
    sources = [[Path(s["path"]).name, s.get("kind", ""), s["sha256"], s["path"]] for s in settings["sources"]]
    facts = [[name, readable(value)] for name, value in settings.items() if name != "sources"]
    lines = [[name, *(readable(run.get(name)) for run in runs)] for name in runs[-1]] if runs else []
    return [
        "Each method ran in a process of its own, which held what it may see but never the truth; its memory is what "
        "it took beyond that.",
        Grid(columns=["setting", "value"], rows=facts, prose=True),
        Grid(columns=["run", *(str(place) for place in range(1, len(runs) + 1))], rows=lines, prose=True),
        Grid(columns=["source", "kind", "SHA-256 (first 16 digits)", "path"], rows=sources, prose=True),
    ]
