"""Entries by name, with the nearest one when there is none."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TypeVar

from hsitools.errors import InputError

Entry = TypeVar("Entry")


def lookup(name: str, entries: Mapping[str, Entry], what: str) -> Entry:
    """The entry of that name, in any case.

    Raises
    ------
    InputError
        When there is none: names the nearest, or all.
    """
    lower = {known.lower(): known for known in entries}
    if name.lower() in lower:
        return entries[lower[name.lower()]]
    near = difflib.get_close_matches(name.lower(), lower, n=1)
    hint = f"; did you mean {lower[near[0]]!r}?" if near else f", expected one of {', '.join(entries)}"
    raise InputError(f"{what}: found {name!r}{hint}")
