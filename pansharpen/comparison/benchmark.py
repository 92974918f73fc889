"""The benchmark: cells (case × method), each measured in a process of its own, kept one by one, resumable."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hsitools import __version__
from hsitools.errors import FormatError, InputError
from hsitools.progress import Progress, silent
from hsitools.provenance import git_commit
from hsitools.sensor.presets import open_sensor
from hsitools.sensor.sensor import Sensor
from pansharpen.comparison.cells import Cell
from pansharpen.comparison.plan import Settings, Source, check, chosen_methods, file_hash, several, sources_of
from pansharpen.comparison.protocol import convention
from pansharpen.comparison.table import COLUMNS, OK, Row, write_csv
from pansharpen.comparison.trial import isolated, now, plugin_families, read_cell, stop_workers, write_json
from pansharpen.registry import get

FORMAT, VERSION = "hsitools-benchmark", 1


# ---- the benchmark ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A benchmark in its folder: ``benchmark.json`` (settings, versions), ``sensor.h5``, ``cells/``, ``table.csv``.

    Attributes
    ----------
    folder : Path
    settings : Settings
    families : dict of str to str
        Of the plugins' methods.
    """

    folder: Path
    settings: Settings
    families: dict[str, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def create(
        cls, folder: str | Path, *, scenes: Iterable[str | Path] = (), cases: Iterable[str | Path] = (),
        methods: Iterable[str] = (), sensor: Sensor | str | None = None, ratios: Iterable[int] = (6,),
        noises: Iterable[bool] = (True,), protocols: Iterable[str] = ("auto",), rules: str = "hsitools", seed: int = 0,
        device: str = "cpu", weights: str | Path | None = None, threads: int = 0, time_limit_s: float | None = None,
        memory_limit_mib: float | None = None, plugins: Iterable[str | Path] = (),
    ) -> Benchmark:  # fmt: skip
        """Plan a benchmark in a folder (made if need be).

        Parameters
        ----------
        folder : path
        scenes : paths
            Cubes, or folders of them. Those with a panchromatic image of their own are taken as such a pair, others are
            shown to the sensor.
        cases : paths
            Case files, see `pansharpen.comparison.protocol.read_case`.
        sensor : Sensor or str, optional
            File or preset; default PRISMA for scenes, none for cases and products.
        others
            As of `Settings`.

        Raises
        ------
        InputError
            When the folder holds a benchmark already, or anything asked for cannot be.
        """
        folder = Path(folder)
        if (folder / "benchmark.json").exists():
            raise InputError(
                f"{folder}: out: found a benchmark, expected a new folder (--resume goes on with this one)"
            )
        files = tuple(str(Path(path).resolve()) for path in plugins)
        families = plugin_families(list(files))
        sources = sources_of(scenes, cases)
        used = sensor if sensor is not None else "prisma" if any(s.kind == "scene" for s in sources) else None
        used = open_sensor(used) if isinstance(used, str) else used
        settings = Settings(
            sources=tuple(sources), methods=tuple(chosen_methods(methods, families)), ratios=several(ratios, "ratio"),
            noises=several(noises, "noise"), protocols=several(protocols, "protocol"),
            convention=convention(rules).name, seed=seed, sensor=None if used is None else used.fingerprint(),
            sensor_name=None if used is None else used.name, sensor_for_all=sensor is not None, device=device,
            weights=None if weights is None else str(Path(weights).resolve()), threads=threads,
            time_limit_s=time_limit_s, memory_limit_mib=memory_limit_mib,
            plugins=files,
        )  # fmt: skip
        check(settings)
        try:
            (folder / "cells").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder}: out: cannot make the folder ({error.strerror})") from None
        if used is not None:
            used.save(folder / "sensor.h5")
        made = cls(folder=folder, settings=settings, families=families)
        made._write([])
        return made

    @classmethod
    def open(cls, folder: str | Path) -> Benchmark:
        """A benchmark that was begun; raises `FormatError` when the folder holds none."""
        settings = _settings(Path(folder), read_header(folder)["settings"])
        return cls(folder=Path(folder), settings=settings, families=plugin_families(list(settings.plugins)))

    @property
    def header(self) -> dict[str, Any]:
        """What ``benchmark.json`` holds: settings, and for each run the versions, machine, git commit, threads."""
        return read_header(self.folder)

    def _write(self, runs: list[dict[str, Any]]) -> None:
        document = {
            "format": FORMAT, "version": VERSION, "settings": dataclasses.asdict(self.settings), "runs": runs,
        }  # fmt: skip
        write_json(self.folder / "benchmark.json", document)

    def records(self) -> list[dict[str, Any]]:
        """Finished cells, in the plan's order."""
        found = (read_cell(self.folder, cell) for cell in self.settings.cells())
        return [record for record in found if record is not None]

    def rows(self) -> list[Row]:
        """Finished cells as rows of the table."""
        return [row_of(record) for record in self.records()]

    def unfinished(self, retry: bool = False) -> list[Cell]:
        """Cells to do; ``retry`` counts those that failed among them."""
        out = []
        for cell in self.settings.cells():
            record = read_cell(self.folder, cell)
            if record is None or (retry and record["status"] != OK):
                out.append(cell)
        return out

    def run(
        self, *, jobs: int = 1, client: Any = None, retry: bool = False,
        progress: Progress = silent,
    ) -> list[dict[str, Any]]:  # fmt: skip
        """Do what is not done.

        Parameters
        ----------
        jobs : int
            Cells at a time on this machine. More than one share its cores: compare times within one run only.
        client : optional
            Anything with ``submit(function, argument)`` that gives futures, as a Dask client whose workers see this
            folder; instead of ``jobs``.
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
        if jobs < 1:
            raise InputError(f"jobs: found {jobs}, expected at least 1")
        for source in self.settings.sources:
            if file_hash(Path(source.path)) != source.sha256:
                raise InputError(f"{source.path}: changed since the benchmark began; begin a new one")
        total, todo = len(self.settings.cells()), self.unfinished(retry)
        # torch's own number, as of OMP_NUM_THREADS, is shared; elsewhere it is theirs
        threads = self.settings.threads or (max(1, torch.get_num_threads() // jobs) if client is None else 0)
        self._write([*self.header["runs"], _environment(jobs, threads)])
        work = [self._job(cell, threads) for cell in todo]
        if client is None:
            with ThreadPoolExecutor(jobs) as pool:
                _gather(pool, work, total, progress)
        else:
            _gather(client, work, total, progress)
        write_csv(self.folder / "table.csv", self.rows())
        return self.records()

    def _job(self, cell: Cell, threads: int) -> dict[str, Any]:
        settings = self.settings
        return {
            "cell": dataclasses.asdict(cell), "folder": str(self.folder.resolve()), "weights": settings.weights,
            "threads": threads, "plugins": list(settings.plugins), "memory_limit_mib": settings.memory_limit_mib,
            "time_limit_s": settings.time_limit_s, "family": self.families.get(cell.method) or get(cell.method).family,
        }  # fmt: skip


def _gather(client: Any, work: list[dict[str, Any]], total: int, progress: Progress) -> None:
    progress(total - len(work), total)
    futures: list[Future[None]] = [client.submit(isolated, job) for job in work]
    try:
        for done, future in enumerate(futures, total - len(work) + 1):
            future.result()
            progress(done, total)
    except BaseException:
        for future in futures:
            future.cancel()
        stop_workers()
        raise


def read_header(folder: str | Path) -> dict[str, Any]:
    """``benchmark.json`` of a folder; raises `FormatError` when there is none."""
    path = Path(folder) / "benchmark.json"
    try:
        header: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise FormatError(f"{folder}: found no benchmark, expected a folder of `hsi pansharpen benchmark`") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT or header.get("version") != VERSION:
        raise FormatError(f"{path}: format: expected {FORMAT} version {VERSION}")
    return header


def _settings(folder: Path, stored: dict[str, Any]) -> Settings:
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()
    }
    values["sources"] = tuple(Source(**source) for source in stored["sources"])
    try:
        return Settings(**values)
    except TypeError as error:
        raise FormatError(f"{folder}/benchmark.json: settings: {error}") from None


def row_of(record: dict[str, Any]) -> Row:
    """A record as a row of the table: `pansharpen.comparison.table.COLUMNS`."""
    classes: dict[str, Any] = record.get("snr") or {}
    told = {"snr_source": classes.get("source")}
    told |= {f"bands_snr{snr}": number for snr, number in classes.get("bands", {}).items()}
    known = record | told | record["values"]
    return {name: known.get(name) for name in COLUMNS}


# ---- where it ran ----------------------------------------------------------------------------------------------


def _environment(jobs: int, threads: int) -> dict[str, Any]:
    return {
        "started": now(), "hsitools": __version__, "git": git_commit(), "torch": torch.__version__,
        "numpy": np.__version__, "scipy": importlib.metadata.version("scipy"), "python": platform.python_version(),
        "system": platform.platform(), "machine": platform.node(), "processor": _processor(),
        "cores": os.cpu_count(), "jobs": jobs, "threads": threads, "command": " ".join(sys.argv),
    }  # fmt: skip


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names_found = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names_found, platform.processor() or platform.machine())
