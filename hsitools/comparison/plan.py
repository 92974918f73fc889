"""What a comparison is asked for: sources with their hashes, methods, limits; and the cells that follow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hsitools.errors import HsiError, InputError
from hsitools.io import describe
from hsitools.io.hashes import short_hash
from hsitools.lookup import lookup, registered_names


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A case for a method.

    Attributes
    ----------
    method : str
    case : dict
        All that decides the case, plain data, as its room names it.
    """

    method: str
    case: Mapping[str, Any]

    @cached_property
    def key(self) -> str:
        """Hash of case and method: the name of the cell's files."""
        return short_hash({**self.case, "method": self.method})

    @cached_property
    def case_key(self) -> str:
        """The same without the method: cells of one case share it."""
        return short_hash({**self.case, "method": ""})


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file that cases come from, and the hash of its bytes (see `content_hash`)."""

    path: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What every room's benchmark is asked for; a room adds what makes its cases, and `cells`.

    Attributes
    ----------
    sources : tuple of Source
    methods : tuple of str
    seed : int
    device : str
        As torch names it.
    weights : str or None
        Of trained methods; None for those that come with the package.
    threads : int
        Of a cell; 0 leaves it to torch.
    time_limit_s, memory_limit_mib : float or None
        Of a cell; the memory beyond what the loaded case takes.
    plugins : tuple of str
        Python files, see `hsitools.comparison.plugins`.
    """

    sources: tuple[Any, ...]
    methods: tuple[str, ...]
    seed: int = 0
    device: str = "cpu"
    weights: str | None = None
    threads: int = 0
    time_limit_s: float | None = None
    memory_limit_mib: float | None = None
    plugins: tuple[str, ...] = ()

    def cells(self) -> list[Cell]:
        """All cells, case after case."""
        raise NotImplementedError

    def check(self) -> None:
        """Raise `InputError` for a value that cannot be."""
        if self.seed < 0:
            raise InputError(f"seed: found {self.seed}, expected a whole number of at least 0")
        for limit_name in ("time_limit_s", "memory_limit_mib"):
            limit = getattr(self, limit_name)
            if limit is not None and not limit > 0:
                raise InputError(f"{limit_name}: found {limit}, expected a positive number")
        if self.weights is not None and not Path(self.weights).exists():
            raise InputError(f"{self.weights}: weights: found no such file or folder")
        # torch takes seconds to import, which a wrong name or path should not cost
        from hsitools.devices import device_named

        device_named(self.device)


def chosen_names(asked: Iterable[str], names: Iterable[str], default: Sequence[str], what: str = "method") -> list[str]:
    """Names as asked for, with commas or one by one, in any case; ``all`` is all, nothing the default.

    Raises
    ------
    InputError
        For an unknown name.
    """
    entries = {name: name for name in names}
    out: list[str] = []
    for text in asked:
        for name in filter(None, (part.strip() for part in text.split(","))):
            out += entries if name.lower() == "all" else [lookup(name, entries, what)]
    return list(dict.fromkeys(out)) or list(default)


def require_methods(asked: Iterable[str], package: str) -> None:
    """Raise `InputError`, as `chosen_names` does, for a method that no module of a package registers.

    Nothing of the package is imported, which takes seconds that a wrong name should not cost.
    """
    chosen_names(asked, registered_names(package, "method"), ())


def labels_of(paths: Sequence[str]) -> list[str]:
    """Stems of the files, with the folder where stems repeat."""
    stems = [Path(path).stem for path in paths]
    return [
        stem if stems.count(stem) == 1 else f"{Path(path).parent.name}/{stem}"
        for path, stem in zip(paths, stems, strict=True)
    ]


def cubes_of(paths: Iterable[str | Path]) -> list[Path]:
    """The paths, folders (that are no cubes themselves) replaced by the cubes in them; damaged ones stay, to be told.

    Raises
    ------
    InputError
        When a folder holds no cube.
    """
    out: list[Path] = []
    for path in map(Path, paths):
        if not path.is_dir() or describe(path) is not None:
            out.append(path)
            continue
        inside = [
            file
            for file in sorted(path.iterdir())
            if not file.name.startswith(".")
            and not (file.suffix != ".hdr" and file.with_suffix(".hdr").exists())  # ENVI: the header stands for both
            and _is_cube(file)
        ]
        if not inside:
            raise InputError(f"{path}: found no cube, expected some")
        out += inside
    return list(dict.fromkeys(out))


def _is_cube(path: Path) -> bool:
    try:
        return describe(path) is not None
    except HsiError:
        return True  # one that is damaged
