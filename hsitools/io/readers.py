"""Who reads and writes which files: every module of `hsitools.io.formats` and `hsitools.io.products`, and plug-ins.

A reader is a module with

- ``can_read(path) -> bool``, which looks at what is in the file and raises nothing for files of others,
- ``read(path) -> Cube`` (with ``variable`` and ``axes`` where a file may hold several arrays),
- ``PRIORITY``: those of lower numbers are asked first (default 25: after PRISMA, before the general formats),
- ``files(path) -> list of Path``, where it opens more files than the path: all of them,
- for formats that are written, ``SUFFIXES`` and ``write(cube, path, progress)``.

It is known as soon as it stands in one of the two folders. Other packages name theirs in the entry-point group
``hsitools.readers``. Nothing is loaded before a file is opened.
"""

from __future__ import annotations

import logging
import pkgutil
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

from hsitools.errors import HsiError
from hsitools.io import formats, products

log = logging.getLogger(__name__)
GROUP = "hsitools.readers"
#: Of readers that do not say when they are asked: products of instruments nearly all.
PRIORITY = 25


@cache
def _plug_ins() -> tuple[EntryPoint, ...]:
    """Readers of other packages. Looking through all installed packages takes long, and they do not change."""
    return tuple(sorted(entry_points(group=GROUP)))


def all_readers() -> dict[str, ModuleType]:
    """All readers by name, those first that are asked first."""
    modules: dict[str, ModuleType] = {}
    for folder in (formats, products):
        for item in pkgutil.iter_modules(folder.__path__):
            modules[item.name] = import_module(f"{folder.__name__}.{item.name}")
    for point in _plug_ins():
        try:
            modules.setdefault(point.name, point.load())
        except Exception as error:
            # somebody's broken plug-in is no fault of this file
            log.warning("reader %s: not available: %s", point.name, error)
    able = {name: module for name, module in modules.items() if hasattr(module, "can_read")}
    return dict(sorted(able.items(), key=lambda entry: (getattr(entry[1], "PRIORITY", PRIORITY), entry[0])))


def cube_formats() -> dict[str, ModuleType]:
    """Readers that give cubes: all but those that only say what a file is."""
    return {name: module for name, module in all_readers().items() if getattr(module, "CUBES", True)}


def reader_of(path: Path) -> str | None:
    """Name of the first reader that knows a file; None when none does."""
    return next((name for name, module in all_readers().items() if module.can_read(path)), None)


def source_files(path: Path) -> list[Path]:
    """All files that opening a path reads, sorted: of a folder all in it, of a file those that its reader names.

    Of a damaged file itself alone: what is wrong with it says whoever opens it.
    """
    if path.is_dir():
        return [file for file in sorted(path.rglob("*")) if file.is_file()]
    try:
        name = reader_of(path)
        files = getattr(all_readers()[name], "files", None) if name is not None else None
        return [path] if files is None else sorted({path, *files(path)})
    except (OSError, HsiError):
        return [path]
