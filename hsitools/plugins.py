"""Python files of a user's that register methods or indices: ``--plugin file.py``."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path

from hsitools.errors import InputError

_LOADED: set[str] = set()


def load_plugins(paths: Iterable[str | Path]) -> None:
    """Import each file once.

    Raises
    ------
    InputError
        When one cannot be imported.
    """
    for path in paths:
        load_plugin(path)


def load_plugin(path: str | Path) -> None:
    """Import a Python file once; raises `InputError` when it cannot be imported."""
    path = Path(path).resolve()
    if str(path) in _LOADED:
        return
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise InputError(f"{path}: found no such file, expected Python code that registers methods or indices (.py)")
    try:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    except Exception as error:
        raise InputError(f"{path}: cannot be imported; {type(error).__name__}: {error}") from error
    _LOADED.add(str(path))
