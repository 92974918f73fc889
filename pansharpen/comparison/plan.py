"""What a benchmark is asked for: sources, methods, sensor; and the cells that follow from it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import pansharpen.methods  # noqa: F401  (registers them)
from hsitools.errors import FormatError, HsiError, InputError
from hsitools.io import describe, open_cube
from hsitools.lookup import lookup
from pansharpen.comparison.cells import PROTOCOLS, Cell
from pansharpen.registry import METHODS, names

#: Families that cost minutes a cell or need weights: run when asked for.
NOT_BY_DEFAULT = ("supervised net", "zero-shot net")


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file that cases come from.

    Attributes
    ----------
    path, sha256 : str
        Where it is, and the hash of its bytes.
    kind : str
        What it is, see `pansharpen.comparison.cells.KINDS`.
    ratio : int or None
        Its own; None for scenes, which have none, and where it cannot be read.
    reference : bool
        Whether it can be compared with a truth without degrading it first.
    """

    path: str
    sha256: str
    kind: str
    ratio: int | None = None
    reference: bool = True

    def protocol(self, asked: str) -> str:
        """``auto`` is ``reduced``, but ``full`` for a case file without truth."""
        if asked != "auto":
            return asked
        return "reduced" if self.reference else "full"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All that a benchmark was asked for; `Benchmark.create` makes them.

    Attributes
    ----------
    sources : tuple of Source
    methods : tuple of str
    ratios : tuple of int
        For scenes; other sources have their own.
    noises : tuple of bool
        The same.
    protocols : tuple of str
        See `Source.protocol`.
    convention : str
    seed : int
    sensor, sensor_name : str or None
        Fingerprint and name.
    sensor_for_all : bool
        Whether it was given, so that cases and products are taken to be of it too.
    device : str
    weights : str or None
        Folder of trained nets' weights.
    threads : int
        Of a cell; 0 leaves it to torch.
    time_limit_s, memory_limit_mib : float or None
        Of a cell; the memory beyond what the loaded case takes.
    plugins : tuple of str
        Python files that register further methods.
    """

    sources: tuple[Source, ...]
    methods: tuple[str, ...]
    ratios: tuple[int, ...]
    noises: tuple[bool, ...]
    protocols: tuple[str, ...]
    convention: str
    seed: int
    sensor: str | None
    sensor_name: str | None
    sensor_for_all: bool
    device: str
    weights: str | None
    threads: int
    time_limit_s: float | None
    memory_limit_mib: float | None
    plugins: tuple[str, ...]

    def cells(self) -> list[Cell]:
        """All cells, case after case."""
        labels = _labels([source.path for source in self.sources])
        out = []
        for source, label in zip(self.sources, labels, strict=True):
            is_scene = source.kind == "scene"
            sensor = self.sensor if is_scene or self.sensor_for_all else None
            out += [
                Cell(
                    case=label, source=source.path, sha256=source.sha256, kind=source.kind, ratio=ratio, noise=noise,
                    protocol=protocol, method=method, convention=self.convention, seed=self.seed, sensor=sensor,
                    device=self.device,
                )
                for ratio in (self.ratios if is_scene else (source.ratio,))
                for noise in (self.noises if is_scene else (None,))
                for protocol in dict.fromkeys(map(source.protocol, self.protocols))
                for method in self.methods
            ]  # fmt: skip
        return out


def _labels(paths: Sequence[str]) -> list[str]:
    """Stems of the files, with the folder where stems repeat."""
    stems = [Path(path).stem for path in paths]
    return [
        stem if stems.count(stem) == 1 else f"{Path(path).parent.name}/{stem}"
        for path, stem in zip(paths, stems, strict=True)
    ]


# ---- what is asked for -----------------------------------------------------------------------------------------


def default_methods() -> list[str]:
    """Methods that need no training and no patience."""
    return [name for name in names() if not METHODS[name].trained and METHODS[name].family not in NOT_BY_DEFAULT]


def chosen_methods(asked: Iterable[str], plugins: Iterable[str] = ()) -> list[str]:
    """Methods by name, those of plugins too; ``all`` is all of them; nothing is `default_methods`.

    Raises
    ------
    InputError
        For an unknown name.
    """
    known = {name: name for name in (*names(), *plugins)}
    out: list[str] = []
    for text in asked:
        for name in filter(None, (part.strip() for part in text.split(","))):
            out += known if name.lower() == "all" else [lookup(name, known, "method")]
    return list(dict.fromkeys(out)) or default_methods()


def sources_of(scenes: Iterable[str | Path], cases: Iterable[str | Path]) -> list[Source]:
    """Files with what they are; a folder stands for the cubes in it.

    A file that cannot be read is kept: its cells say why.

    Raises
    ------
    InputError
        When a path does not exist, a folder holds no cube, or there is nothing at all.
    """
    out = []
    for path in map(Path, scenes):
        found = _cubes_in(path) if path.is_dir() and describe(path) is None else [path]
        out += [Source(path=str(file.resolve()), sha256=file_hash(file), **_cube_facts(file)) for file in found]
    out += [Source(path=str(path.resolve()), sha256=file_hash(path), **_case_facts(path)) for path in map(Path, cases)]
    if not out:
        raise InputError("benchmark: found neither scenes nor cases, expected some (--scenes, --cases)")
    return list(dict.fromkeys(out))


def _cubes_in(folder: Path) -> list[Path]:
    found = [
        path
        for path in sorted(folder.iterdir())
        if not path.name.startswith(".")
        and not (path.suffix != ".hdr" and path.with_suffix(".hdr").exists())  # ENVI: the header stands for both
        and _is_cube(path)
    ]
    if not found:
        raise InputError(f"{folder}: found no cube, expected some")
    return found


def _is_cube(path: Path) -> bool:
    try:
        return describe(path) is not None
    except HsiError:
        return True  # one that is damaged


def _cube_facts(path: Path) -> dict[str, Any]:
    try:
        ratio = open_cube(path).ratio
    except HsiError:
        ratio = None
    return {"kind": "scene" if ratio is None else "product", "ratio": ratio}


def _case_facts(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {"kind": "case", "ratio": int(np.ravel(archive["ratio"])[0]), "reference": "gt" in archive.files}
    except Exception:
        return {"kind": "case"}  # its cells will say what is wrong


def file_hash(path: Path) -> str:
    """Of a file's bytes; of all files of a folder (EnMAP's product)."""
    if not path.exists():
        raise FormatError(f"{path}: found no such file or folder, expected a cube or a case")
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:16]


def several(values: Iterable[Any], name: str) -> tuple[Any, ...]:
    """Without repetitions; raises `InputError` for none."""
    out = tuple(dict.fromkeys(values))
    if not out:
        raise InputError(f"{name}: found none, expected at least one")
    return out


def check(settings: Settings) -> None:
    """Raise `InputError` for a value that cannot be."""
    asked = ("auto", *PROTOCOLS)
    wrong = [value for value in settings.protocols if value not in asked]
    if wrong:
        raise InputError(f"protocol: found {wrong[0]!r}, expected one of {', '.join(asked)}")
    if min(settings.ratios) < 2:
        raise InputError(f"ratio: found {min(settings.ratios)}, expected at least 2")
    if settings.seed < 0:
        raise InputError(f"seed: found {settings.seed}, expected a whole number of at least 0")
    for limit_name in ("time_limit_s", "memory_limit_mib"):
        limit = getattr(settings, limit_name)
        if limit is not None and not limit > 0:
            raise InputError(f"{limit_name}: found {limit}, expected a positive number")
    if settings.weights is not None and not Path(settings.weights).exists():
        raise InputError(f"{settings.weights}: weights: found no such file or folder")
    try:
        torch.empty(1, device=settings.device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device: found {settings.device!r}; {str(error).splitlines()[0]}") from None
