"""Python files that register methods or indices of their own; the hash of a method's code."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from hsitools.errors import InputError
from hsitools.plugins import load_plugin


@dataclass(frozen=True, kw_only=True)
class Plugins:
    """What plugin files bring.

    Attributes
    ----------
    methods : dict
        Name → what tables say of it (``family``) and ``code``, the hash of its code.
    indices : tuple of str
        Names of the registry of `hsitools.metrics`.
    method_files, index_files : tuple of str
        A file brings methods or indices, never both: the judge's side runs no method's code.
    """

    methods: dict[str, dict[str, Any]] = field(default_factory=dict)
    indices: tuple[str, ...] = ()
    method_files: tuple[str, ...] = ()
    index_files: tuple[str, ...] = ()


def described(files: Iterable[str], methods: Mapping[str, Any], room: str) -> dict[str, Any]:
    """Load plugin files and tell what each registers, as plain data for `Plugins`; to be called on the method's side.

    Raises
    ------
    InputError
        When a file cannot be imported, registers nothing, or both methods and indices.
    """
    from hsitools.metrics import INDICES

    out: dict[str, Any] = {"methods": {}, "indices": [], "method_files": [], "index_files": []}
    for file in files:
        before = set(methods), set(INDICES)
        load_plugin(file)
        names = [name for name in methods if name not in before[0]]
        indices = [name for name in INDICES if name not in before[1]]
        if bool(names) == bool(indices):
            what = "both methods and indices" if names else "nothing"
            raise InputError(f"{file}: registers {what}, expected one of the two")
        out["methods"] |= {name: facts_of(methods[name], room) for name in names}
        out["indices"] += indices
        out["method_files" if names else "index_files"].append(file)
    return out


def facts_of(entry: Any, room: str) -> dict[str, Any]:
    """What the engine must know of a registered method: family (where methods have one), hash of its code."""
    return {"family": getattr(entry, "family", None), "code": code_hash(source_file(entry.function), room)}


def source_file(function: Callable[..., Any]) -> Path | None:
    """The file that a function stands in; None where none is known."""
    try:
        name = inspect.getsourcefile(inspect.unwrap(function))
    except TypeError:
        return None
    return None if name is None else Path(name)


@cache
def code_hash(file: Path | None, room: str) -> str:
    """Hash of a file of Python code and of all modules of a room that it imports, directly or by others of them.

    Parameters
    ----------
    file : Path or None
        None hashes to nothing.
    room : str
        Top-level package whose modules count.
    """
    spec = importlib.util.find_spec(room)
    root = Path(spec.origin).parent.parent if spec is not None and spec.origin else Path()
    todo, texts = [] if file is None else [file], {}
    while todo:
        path = todo.pop()
        if path in texts or not path.is_file():
            continue
        texts[path] = path.read_bytes()
        for node in ast.walk(ast.parse(texts[path])):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}", *(f"{node.module}.{name}" for name in names)]
            places = [root.joinpath(*name.split(".")) for name in names if name.partition(".")[0] == room]
            todo += [path for place in places for path in (place.with_suffix(".py"), place / "__init__.py")]
    return hashlib.sha256(b"\0".join(sorted(texts.values()))).hexdigest()[:16]
