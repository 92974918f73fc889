"""A benchmark in its folder: ``benchmark.json``, a record for each finished cell, tables; resumable."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import torch

from hsitools import __version__
from hsitools.comparison.plan import Cell, Plan, Source
from hsitools.comparison.plugins import Plugins, facts_of
from hsitools.comparison.ranking import Row
from hsitools.comparison.table import write_csv
from hsitools.comparison.task import OK, Task
from hsitools.comparison.two_sides import Executor, Job, Record, local, now, plugins_of, submitted
from hsitools.devices import device_named
from hsitools.errors import FormatError, InputError
from hsitools.io.atomic import atomic_path
from hsitools.io.hashes import content_hash, short_hash
from hsitools.plugins import load_plugin
from hsitools.progress import Progress, silent
from hsitools.provenance import git_commit
from hsitools.text import plain

FORMAT, VERSION = "hsitools-benchmark", 1
#: All records in one file, a JSON document a line.
RECORDS = "records.jsonl"
#: Where those of a denoising benchmark of 0.1.0 go, which held nothing else.
FORMER_RECORDS = "records-0.1.0.jsonl"


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A benchmark in its folder; rooms derive theirs.

    Attributes
    ----------
    folder : Path
    settings : Plan
    plugins : Plugins
        What the plan's plugin files bring.
    """

    folder: Path
    settings: Any
    plugins: Plugins = field(default_factory=Plugins)

    #: What the room plugs in; the classes of its plan and sources; the weights that come with the room; its command.
    task: ClassVar[Task]
    plan: ClassVar[type[Plan]]
    source: ClassVar[type[Source]] = Source
    pretrained: ClassVar[Path | None] = None
    command: ClassVar[str]

    # ---- its folder --------------------------------------------------------------------------------------------

    @classmethod
    def begin(cls, folder: str | Path, settings: Plan, plugins: Plugins, *, again: bool = False) -> Self:
        """Write a plan into a folder (made if need be); ``again`` into one that holds a benchmark, whose records stay.

        Raises
        ------
        InputError
            When the plan cannot be, or the folder holds a benchmark already and is not to.
        """
        folder = Path(folder)
        if not again:
            cls.refuse(folder)
        settings.check()
        # a plan says the device itself: what auto is depends on the machine
        settings = dataclasses.replace(settings, device=str(device_named(settings.device)))
        try:
            (folder / "cells").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder}: out: cannot make the folder ({error.strerror})") from None
        if again and (folder / RECORDS).exists() and not (folder / "benchmark.json").exists():
            # other code measured them: they are done anew here, and stay there
            (folder / RECORDS).replace(folder / FORMER_RECORDS)
        made = cls(folder=folder, settings=settings, plugins=plugins)
        made._write(made.header["runs"] if again and (folder / "benchmark.json").exists() else [])
        return made

    @classmethod
    def refuse(cls, folder: Path) -> None:
        """Raise `InputError` when a folder holds a benchmark."""
        if any((folder / name).exists() for name in ("benchmark.json", RECORDS)):
            raise InputError(
                f"{folder}: out: found a benchmark, expected a new folder (--resume goes on with this one)"
            )

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """A benchmark that was begun; raises `FormatError` when the folder holds none."""
        stored = read_header(folder, cls.command)["settings"]
        try:
            sources = tuple(cls.source(**_with_tuples(source)) for source in stored["sources"])
            settings = cls.plan(**{**_with_tuples(stored), "sources": sources})
        except TypeError as error:
            raise FormatError(f"{folder}/benchmark.json: settings: {error}") from None
        return cls(folder=Path(folder), settings=settings, plugins=cls.plugins_of(settings.plugins))

    @classmethod
    def plugins_of(cls, files: Any) -> Plugins:
        """What plugin files bring; their indices are registered here too, for tables and ranks."""
        plugins = plugins_of(files, cls.task.path)
        for file in plugins.index_files:
            load_plugin(file)
        return plugins

    @property
    def header(self) -> dict[str, Any]:
        """What ``benchmark.json`` holds: settings, and for each run the versions, machine, git commit, threads."""
        return read_header(self.folder, self.command)

    def _write(self, runs: list[dict[str, Any]]) -> None:
        settings = dataclasses.asdict(self.settings)
        document = {"format": FORMAT, "version": VERSION, "settings": settings, "runs": runs}
        write_json(self.folder / "benchmark.json", document)

    # ---- its records -------------------------------------------------------------------------------------------

    def record_of(self, cell: Cell) -> Record | None:
        """A cell's record; None when it is not done."""
        try:
            record: Record = json.loads(self._path(cell).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return record

    def _path(self, cell: Cell) -> Path:
        return self.folder / "cells" / f"{cell.key}.json"

    def records(self) -> list[Record]:
        """Finished cells, in the plan's order."""
        return [record for cell in self.settings.cells() if (record := self.record_of(cell)) is not None]

    def unfinished(self, retry: bool = False) -> list[Cell]:
        """Cells without a record of the same content; ``retry`` counts those that failed among them."""
        contents = self._contents()
        out = []
        for cell in self.settings.cells():
            record = self.record_of(cell)
            same = record is not None and record.get("content") == short_hash([cell.key, contents[cell.method]])
            if record is None or not same or (retry and record["status"] != OK):
                out.append(cell)
        return out

    def facts(self, method: str) -> dict[str, Any]:
        """Family and hash of the code of a method, a plugin's or the room's."""
        room = self.task.path.partition(".")[0]
        return self.plugins.methods.get(method) or facts_of(self.task.methods[method], room)

    def _contents(self) -> dict[str, Any]:
        """Of each method, what beside the case decides a record: code and weights, code of indices, version."""
        judged = [content_hash(file) for file in self.plugins.index_files]
        out = {}
        for method in self.settings.methods:
            entry = self.task.methods.get(method)
            trained = entry is None or getattr(entry, "trained", False)
            weights = self.settings.weights or self.pretrained
            used = content_hash(weights) if trained and weights is not None else None
            out[method] = [self.facts(method)["code"], used, judged, __version__]
        return out

    # ---- running -----------------------------------------------------------------------------------------------

    def run(
        self, *, jobs: int = 1, client: Any = None, executor: Executor | None = None, retry: bool = False,
        progress: Progress = silent,
    ) -> list[Record]:  # fmt: skip
        """Do what is not done.

        Parameters
        ----------
        jobs : int
            Cells at a time on this machine. More than one share its cores: compare times within one run only.
        client : optional
            See `hsitools.comparison.two_sides.submitted`; instead of ``jobs``.
        executor : callable, optional
            Takes jobs and yields their records; instead of both.
        retry : bool
            Do the cells that failed anew.
        progress : callable
            Called with (cells done, cells in all).

        Returns
        -------
        list of dict
            Records of all cells.

        Raises
        ------
        InputError
            When a source is not what it was when the benchmark began.
        KeyboardInterrupt
            On an interrupt; what is finished stays, and `run` goes on from there.
        """
        here = executor is None and client is None
        if executor is None:
            executor = local(jobs) if client is None else submitted(client)
        # torch's own number, as of OMP_NUM_THREADS, is shared; elsewhere it is theirs
        threads = self.settings.threads or (max(1, torch.get_num_threads() // jobs) if here else 0)
        for source in self.settings.sources:
            if content_hash(source.path) != source.sha256:
                raise InputError(f"{source.path}: changed since the benchmark began; begin a new one")
        total, todo = len(self.settings.cells()), self.unfinished(retry)
        run = environment(jobs, threads)
        self._write([*self.header["runs"], run])
        contents = self._contents()
        work = [self._job(cell, threads, contents[cell.method], run["git"]) for cell in todo]
        paths = {cell.key: self._path(cell) for cell in todo}
        done = total - len(todo)
        progress(done, total)
        try:
            for record in executor(work):
                write_json(paths[record["key"]], record)
                done += 1
                progress(done, total)
        finally:
            self.write_tables()
        return self.records()

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of ``table.csv``; those of plugins' indices last."""
        raise NotImplementedError

    def row_of(self, record: Record) -> Row:
        """A record as a row of the table."""
        return flat(record)

    def rows(self) -> list[Row]:
        """Finished cells as rows of the table."""
        return [self.row_of(record) for record in self.records()]

    def write_tables(self) -> None:
        """Write what stands beside the cells: all records in one file, and the table."""
        lines = [json.dumps(flat(record), ensure_ascii=False) + "\n" for record in self.records()]
        with atomic_path(self.folder / RECORDS) as temporary:
            temporary.write_text("".join(lines), encoding="utf-8")
        write_csv(self.folder / "table.csv", self.columns, self.rows())

    def _job(self, cell: Cell, threads: int, content: Any, commit: str | None) -> Job:
        settings = self.settings
        labels = {"content": short_hash([cell.key, content]), "commit": commit}
        family = self.facts(cell.method)["family"]
        return {
            "task": self.task.path, "case": dict(cell.case), "method": cell.method, "key": cell.key,
            "case_key": cell.case_key, "folder": str(self.folder.resolve()), "threads": threads,
            "labels": labels | ({} if family is None else {"family": family}), "seed": settings.seed,
            "device": settings.device, "weights": settings.weights, "plugins": list(self.plugins.method_files),
            "index_files": list(self.plugins.index_files), "indices": list(self.plugins.indices),
            "time_limit_s": settings.time_limit_s, "memory_limit_mib": settings.memory_limit_mib,
        }  # fmt: skip


def flat(record: Mapping[str, Any]) -> Record:
    """A record with its indices at the top, without the long text of an error."""
    return {name: value for name, value in record.items() if name not in ("values", "traceback")} | record["values"]


def _with_tuples(stored: Mapping[str, Any]) -> dict[str, Any]:
    """What JSON had to write as lists."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()}


def read_header(folder: str | Path, command: str) -> dict[str, Any]:
    """``benchmark.json`` of a folder; raises `FormatError` when there is none."""
    path = Path(folder) / "benchmark.json"
    try:
        header: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise FormatError(f"{folder}: found no benchmark, expected a folder of `{command}`") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT or header.get("version") != VERSION:
        raise FormatError(f"{path}: format: expected {FORMAT} version {VERSION}")
    return header


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a document whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(plain(dict(document)), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def environment(jobs: int, threads: int) -> dict[str, Any]:
    """Where a run is made: versions, machine, command."""
    packages = ("torch", "numpy", "scipy", "scikit-image")
    return {
        "started": now(), "hsitools": __version__, "git": git_commit(),
        **{name: importlib.metadata.version(name) for name in packages}, "python": platform.python_version(),
        "system": platform.platform(), "machine": platform.node(), "processor": _processor(),
        "cores": os.cpu_count(), "jobs": jobs, "threads": threads, "command": " ".join(sys.argv),
    }  # fmt: skip


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
