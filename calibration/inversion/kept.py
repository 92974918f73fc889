"""Results of a benchmark, kept as they come: one JSON document a line, so that it goes on where it was stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from calibration.captures.capture import MonochromaticCapture
from calibration.characterization import Characterization
from hsitools import __version__
from hsitools.errors import FormatError, InputError
from hsitools.identity import fingerprint
from hsitools.provenance import git_commit
from hsitools.text import plain

#: Of each line.
BEGINS = '{"of": '


def capture_name(capture: MonochromaticCapture) -> str:
    """Name of all that a capture tells; what it is called does not matter."""
    return fingerprint(replace(capture, name="", source="", made_from=""))


def instrument_name(instrument: Characterization) -> str:
    """Name of all that an instrument's matrix and its errors follow from: flat field and covariance among it."""
    return fingerprint(replace(instrument, name="", source="", selection=[], seconds=0.0))


class Kept:
    """Results by what they are of; in a file, or without one for this process alone.

    Parameters
    ----------
    path : Path, optional
        Made if need be. Results in it are of the same code only: those of another commit are computed again.

    Raises
    ------
    FormatError
        When it holds something else.
    InputError
        When it cannot be written.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.code = git_commit() or __version__
        self._results: dict[str, Any] = {}
        if path is None:
            return
        try:
            with open(path, "a+", encoding="utf-8") as file:
                file.seek(0)
                text = file.read()
        except OSError as error:
            raise InputError(f"{path}: results: cannot write there ({error.strerror})") from None
        *lines, cut = text.split("\n")
        for line in lines:
            try:
                entry = json.loads(line)
                if entry["code"] == self.code:
                    self._results[json.dumps(entry["of"], sort_keys=True)] = entry["result"]
            except (ValueError, KeyError, TypeError):
                raise FormatError(f"{path}: results: found {line[:40]!r}, expected lines of this command") from None
        # a kill may have cut the last line
        if not cut.startswith(BEGINS[: len(cut)]):
            raise FormatError(f"{path}: results: found {cut[:40]!r}, expected lines of this command")
        if cut:
            # in place: written anew, all of it would be lost to another kill
            os.truncate(path, len(text.removesuffix(cut).encode()))

    def get(self, of: dict[str, Any], compute: Callable[[], Any]) -> Any:
        """The result of something, computed unless it is here; plain data (numbers, text, lists and dictionaries)."""
        key = json.dumps(plain(of), sort_keys=True)
        if key not in self._results:
            self._results[key] = plain(compute())
            if self.path is not None:
                line = json.dumps({"of": plain(of), "code": self.code, "result": self._results[key]})
                with open(self.path, "a", encoding="utf-8") as file:
                    file.write(line + "\n")
        return self._results[key]
