"""Rows of a long table as they come: in the file that ``HSITOOLS_KEPT`` names a run that was stopped goes on."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from calibration.inversion.kept import Kept


@cache
def results() -> Kept:
    """Results of this process, and of that file where there is one: of the same commit only."""
    path = os.environ.get("HSITOOLS_KEPT")
    return Kept(None if path is None else Path(path))
