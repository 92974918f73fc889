"""Tables of wavelengths in text beside an image that does not tell its own: one row, or one column, a band."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hsitools.io.band_labels import can_only_be_wavelengths
from hsitools.io.names import BAD_NAMES, FWHM_NAMES, GOOD_NAMES, WAVELENGTH_NAMES
from hsitools.io.tables import BRACKETS, is_number, unit_of
from hsitools.io.variable import MAX_BANDS, Variable
from hsitools.io.wavelengths import NANOMETRES, RECIPROCAL, Conversion, is_length, width_to_nm
from hsitools.text import counted, decoded

log = logging.getLogger(__name__)
#: A table of more bytes is not of some bands.
MAX_BYTES = 2**22
#: What tables are called behind an image's name, or by themselves: words of instruments' makers and laboratories.
_CALLED = r"(wavelengths?|wavelength_list|wavelengths?_nm|wl|wvl|lambda|bands?|band_list|centers|centres)"
#: GF-5's and ZY-1's tables of centre and width: ``GF5B_AHSI_Spectralresponse_SWIR.raw``.
_CENTRE_AND_WIDTH = re.compile(r".*spectralresponse.*\.(raw|txt|csv)", re.IGNORECASE)


@dataclass(frozen=True)
class _Table:
    """Columns of numbers of a text, what they are called (nothing without a head), and which one are wavelengths."""

    path: Path
    head: list[str]
    columns: list[Any]
    centre: int


def tables_of(path: Path) -> list[Path]:
    """Tables of wavelengths in text beside an image, those of its own name first; other texts are none."""
    return [table.path for table in _tables(path)]


def labels(path: Path, count: int) -> dict[str, Any]:
    """Wavelengths, widths and marks of an image's ``count`` bands from a table beside it, said; empty without one.

    A table of other bands is left out, and said.
    """
    for table in _tables(path):
        found = len(table.columns[table.centre])
        if found != count:
            log.warning("%s: wavelength: found %s, expected %d, one a band of %s: left out", table.path,
                        counted(found, "value"), count, path.name)  # fmt: skip
            continue
        out = _labels(table)
        if out:
            log.warning("%s: wavelengths: none in the file: taken from %s beside it", path, table.path.name)
            return out
    return {}


def _tables(path: Path) -> list[_Table]:
    stem = re.escape(path.stem.lower())
    own = re.compile(rf"({stem}|{re.escape(path.name.lower())})([._-]{_CALLED})?\.(csv|txt|tsv|wl|wvl)")
    common = re.compile(rf"{_CALLED}\.(csv|txt|tsv|dat)")
    try:
        items = sorted(path.parent.iterdir())
    except OSError:
        return []
    patterns = (own, common, _CENTRE_AND_WIDTH)
    named = [item for pattern in patterns for item in items if pattern.fullmatch(item.name.lower()) and item != path]
    small = [item for item in named if item.is_file() and item.stat().st_size <= MAX_BYTES]
    return [table for table in map(_read, small) if table is not None]


def _read(path: Path) -> _Table | None:
    """A text as a table with a column of wavelengths; None where it has none."""
    head, columns = _columns(decoded(path.read_bytes()))
    names = map(_plain_name, head)
    centres = [at for at, name in enumerate(names) if name in WAVELENGTH_NAMES or is_length(name)]
    if not head:
        centres = [at for at, column in enumerate(columns) if _only_wavelengths(column)]
        if len(centres) > 1 and not _CENTRE_AND_WIDTH.fullmatch(path.name):
            return None
    if not centres or centres[0] >= len(columns):
        return None
    return _Table(path, head, columns, centres[0])


def _labels(table: _Table) -> dict[str, Any]:
    stored = table.columns[table.centre]
    unit = unit_of(table.head[table.centre]) if table.head else None
    conversion = Conversion.of(stored, unit, f"{table.path}: wavelength")
    if conversion is None:
        return {}
    out: dict[str, Any] = {"wavelength_nm": conversion.centres(stored)}
    good = np.isfinite(out["wavelength_nm"])
    head = table.head
    if not head and len(table.columns) == 2 and _CENTRE_AND_WIDTH.fullmatch(table.path.name):
        head = ["wavelength", "fwhm"]
    for called, column in zip(head, table.columns, strict=False):
        name = _plain_name(called)
        if name in FWHM_NAMES:
            out["fwhm_nm"] = width_to_nm(column, unit_of(called), conversion, stored, f"{table.path}: {name}")
        elif name in GOOD_NAMES:
            good &= column != 0
        elif name in BAD_NAMES:
            good &= column == 0
    return out | {"good": good}


def _plain_name(head: str) -> str:
    """A column's head as names are known: without its unit, small, words joined."""
    words = [word for word in re.split(r"[\s_./-]+", BRACKETS.sub("", head).strip().lower()) if word]
    while len(words) > 1 and (words[-1] in NANOMETRES or words[-1] in RECIPROCAL):
        words.pop()
    return "_".join(words)


def _only_wavelengths(column: Any) -> bool:
    return bool(np.isfinite(column).all()) and can_only_be_wavelengths(Variable(name="", data=column))


def _columns(content: str) -> tuple[list[str], list[Any]]:
    """Heads and columns of numbers (NaN for words) of a text table; empty where it is none.

    Between columns stand semicolons, tabs, commas or blanks, the first of these that any row has; beside the others a
    comma is a decimal point. Rows of ``#``, ``%`` and ``//`` are remarks.
    """
    lines = [line.strip() for line in content.splitlines()]
    lines = [line for line in lines if line and not line.startswith(("#", "%", "//"))]
    if not lines or "\0" in content or len(lines) > MAX_BANDS:
        return [], []
    mark = next((mark for mark in (";", "\t", ",") if any(mark in line for line in lines)), None)
    rows = [[cell.strip().strip("\"'") for cell in line.rstrip(mark).split(mark)] for line in lines]
    if mark != ",":
        rows = [[cell.replace(",", ".") if is_number(cell.replace(",", ".")) else cell for cell in row] for row in rows]
    head: list[str] = []
    if not any(is_number(cell) for cell in rows[0]) or (len(rows) > 1 and not is_number(rows[0][-1])):
        head, rows = rows[0], rows[1:]
    if len(rows) == 1 and len(rows[0]) > 1:
        # one line of all of them
        head, rows = [], [[cell] for cell in rows[0]]
    width = len(rows[0]) if rows else 0
    if not width or any(len(row) != width for row in rows):
        return [], []
    return head, [np.array([float(row[at]) if is_number(row[at]) else np.nan for row in rows]) for at in range(width)]
