"""Tables of values over wavelength in text: one reader for lamps, illuminations and measured responses."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.errors import FormatError
from hsitools.io.wavelengths import NANOMETRES, PLAUSIBLE_NM, RECIPROCAL, Conversion
from hsitools.text import counted, decoded

Array = NDArray[np.float64]
#: Units in a column's head.
BRACKETS = re.compile(r"[(\[]([^)\]]+)[)\]]")
#: Numbers with blanks between them.
BLANKS = re.compile(r"\s*[-+\d.]\S*(\s+[-+\d.]\S*)+\s*")


@dataclass(frozen=True, kw_only=True, eq=False)
class WavelengthTable:
    """A table whose first column is the wavelength.

    Attributes
    ----------
    wavelength_nm : array, shape (row,)
        In the table's order.
    values : array, shape (row, column)
    head : tuple of str
        What the columns are called; empty without a heading.
    """

    wavelength_nm: Array
    values: Array
    head: tuple[str, ...] = ()

    @property
    def units(self) -> str | None:
        """Units of the first column of values, where its head tells them in brackets."""
        told = BRACKETS.search(self.head[1]) if len(self.head) > 1 else None
        return None if told is None else told.group(1).strip()


def read_table(path: str | Path, what: str, *, columns: int | None = None) -> WavelengthTable:
    """Read a CSV of numbers: wavelength, then one column or more, commas (or tabs) between, lines of ``#`` left out.

    The wavelength's unit is what the first column's head says (``wavelength_um``, ``wavelength (µm)``, ``nm``), and
    without one the only optical reading of the numbers, as in captures and cubes.

    Parameters
    ----------
    path : path
    what : str
        The table's part, for messages.
    columns : int, optional
        So many first columns are read, whatever the others hold; default all.

    Raises
    ------
    FormatError
        When the file is missing, or is no such table.
    """
    where = f"{path}: {what}"
    try:
        text = decoded(Path(path).read_bytes())
    except FileNotFoundError:
        raise FormatError(f"{where}: found no such file, expected a table of wavelength and value") from None
    except OSError as error:
        raise FormatError(f"{where}: expected a table of wavelength and value; {error.strerror}") from None
    if "\0" in text:
        raise FormatError(f"{where}: expected a table of wavelength and value; no text")
    head: tuple[str, ...] = ()
    rows: list[list[float]] = []
    lines = text.splitlines()
    content = [line for line in (line.split("#")[0].rstrip(" ") for line in lines) if line.strip(" ,\t")]
    mark = "\t" if content and not any("," in line for line in content) else ","
    # of a row that ends in a comma there is nothing behind it
    ended = bool(content) and all(line.endswith(mark) for line in content)
    for number, line in enumerate(lines, start=1):
        if not line.strip(" ,\t") or line.lstrip().startswith("#"):
            continue
        cells = next(csv.reader([line], delimiter=mark))
        if not rows and not head and ";" not in line and not is_number(cells[0]) and not BLANKS.fullmatch(line):
            head = tuple(cell.strip() for cell in cells[: len(cells) - ended])
            continue
        if ";" in line.split("#")[0]:
            raise FormatError(
                f"{where}: line {number}: found semicolons, expected commas between columns, points in numbers"
            )
        # what follows a number may be a remark
        cells = next(csv.reader([line.split("#")[0].rstrip(" ")], delimiter=mark))
        cells = cells[: len(cells) - ended][:columns]
        wrong = [cell.strip() for cell in cells if not is_number(cell)]
        # where copying stopped, a line has no end
        cut = "; the file ends there, as one that is cut off" if number == len(lines) and text[-1] not in "\r\n" else ""
        if wrong:
            hint = " (commas or tabs between columns)" if BLANKS.fullmatch(wrong[0]) else cut
            raise FormatError(f"{where}: line {number}: found {wrong[0][:40]!r}, expected a number{hint}")
        if rows and len(cells) != len(rows[0]):
            found = counted(len(cells), "column")
            raise FormatError(f"{where}: line {number}: found {found}, expected {len(rows[0])}{cut}")
        rows.append([float(cell) for cell in cells])
    numbers = np.array(rows)
    if len(numbers) < 2 or numbers.shape[1] < 2:
        found = counted(len(numbers), "row") if len(numbers) < 2 else "one column"
        raise FormatError(f"{where}: found {found}, expected at least two rows of wavelength and value")
    return WavelengthTable(
        wavelength_nm=wavelengths(numbers[:, 0], unit_of(head[0]) if head else None, where), values=numbers[:, 1:],
        head=head,
    )  # fmt: skip


def wavelengths(values: Any, unit: str | None, where: str) -> Array:
    """Wavelengths of a table in nm; raises `FormatError` where its numbers are none."""
    numbers = np.asarray(values, dtype=float)
    if not (np.isfinite(numbers).all() and (numbers > 0).all()):
        raise FormatError(f"{where}: found wavelengths that are not finite and positive, expected nm or µm")
    low, high = PLAUSIBLE_NM
    # the sun's spectrum may begin with X-rays: the unit is told by what is optical, where that is most of it
    scaled = numbers * NANOMETRES.get((unit or "").lower(), 1.0)
    optical = numbers[(scaled >= low) & (scaled <= high)]
    conversion = Conversion.of(numbers if len(optical) < len(numbers) / 2 else optical, unit, f"{where}: wavelength")
    told = None if conversion is None else conversion.centres(numbers)
    if told is None or np.mean((told >= low) & (told <= high)) < 0.5:
        raise FormatError(
            f"{where}: found {numbers.min():g} to {numbers.max():g} {unit or 'without a unit'}, expected wavelengths "
            "in nm or µm"
        )
    return told


def unit_of(head: str) -> str | None:
    """Unit that a wavelength column's head names, in brackets or as a word of it; None when it names none.

    Examples
    --------
    >>> unit_of("wavelength_um"), unit_of("Wavelength [µm]"), unit_of("nm"), unit_of("wavelength")
    ('um', 'µm', 'nm', None)
    """
    brackets = BRACKETS.search(head)
    if brackets is not None:
        return brackets.group(1).strip()
    words = [word for word in re.split(r"[\s_,]+", head.strip().lower()) if word]
    # "wavelength/nm", but not "1/cm"
    words += [word.partition("/")[2] for word in words if "/" in word and word not in RECIPROCAL]
    # a single "a" is rather a name than an ångström
    return next((word for word in reversed(words) if word != "a" and (word in NANOMETRES or word in RECIPROCAL)), None)


def is_number(text: str) -> bool:
    """Whether a cell holds a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True
