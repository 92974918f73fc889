"""Entries by name, with the nearest one when there is none; names of a registry without loading it."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from hsitools.errors import InputError, require_type

Entry = TypeVar("Entry")


def lookup(name: str, entries: Mapping[str, Entry], what: str) -> Entry:
    """The entry of that name, in any case.

    Raises
    ------
    InputError
        When there is none: names the nearest, or all.
    """
    require_type(name, str, what, "a name")
    lower = {known.lower(): known for known in entries}
    if name.lower() in lower:
        return entries[lower[name.lower()]]
    near = difflib.get_close_matches(name.lower(), lower, n=1)
    hint = f"; did you mean {lower[near[0]]!r}?" if near else f", expected one of {', '.join(entries)}"
    raise InputError(f"{what}: found {name!r}{hint}")


def registered_names(package: str, decorator: str) -> list[str]:
    """Names that the modules of a package register by a decorator's first argument, read off their text.

    To import the package may take seconds, which a typing error should not cost.

    Examples
    --------
    >>> "ERGAS" in registered_names("hsitools.metrics", "index")
    True
    """
    spec = find_spec(package)
    folders = [] if spec is None else spec.submodule_search_locations or []
    return [
        str(call.args[0].value)
        for folder in folders
        for path in sorted(Path(folder).glob("*.py"))
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        for call in getattr(node, "decorator_list", [])
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == decorator
        and call.args and isinstance(call.args[0], ast.Constant)
    ]  # fmt: skip


def require_registered(name: str, package: str, decorator: str, what: str) -> None:
    """Raise `InputError`, as `lookup` does, unless a module of a package registers that name."""
    lookup(name, dict.fromkeys(registered_names(package, decorator)), what)
