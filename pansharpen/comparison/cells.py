"""One cell of a benchmark, as the process sees it in which the method runs: both images, its time and memory."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import gc
import hashlib
import importlib.util
import json
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hsitools.errors import HsiError, InputError
from pansharpen.case import FusionCase, Optics
from pansharpen.in_memory import fuse_case
from pansharpen.registry import METHODS, get

PROTOCOLS = ("reduced", "full")
#: What a source is: a scene that a sensor is to see, a cube with its own PAN, a case file.
KINDS = ("scene", "product", "case")
#: The images of a case that a method may see.
SEEN = ("coarse", "pan", "expanded", "valid", "pan_valid")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """All that decides a cell's numbers.

    Attributes
    ----------
    case : str
        Name for tables.
    source, sha256 : str
        File, and the hash of what is in it.
    kind : str
        One of `KINDS`.
    ratio : int or None
        None where the source cannot be read.
    noise : bool or None
        Whether the simulated sensor has noise; None where nothing is simulated.
    protocol : str
        ``reduced``: against a reference, which is the scene, the case file's truth, or the cube itself when both it and
        PAN are degraded once more (Wald). ``full``: as it is, without reference.
    method, convention : str
    seed : int
    sensor : str or None
        Fingerprint of the sensor.
    device : str
        As torch names it.
    """

    case: str
    source: str
    sha256: str
    kind: str
    ratio: int | None
    noise: bool | None
    protocol: str
    method: str
    convention: str
    seed: int
    sensor: str | None
    device: str = "cpu"

    @cached_property
    def key(self) -> str:
        """Hash of all settings: the name of the cell's files."""
        return _hash(dataclasses.asdict(self))

    @cached_property
    def case_key(self) -> str:
        """The same without the method: cells of one case share it."""
        return _hash({**dataclasses.asdict(self), "method": ""})


def _hash(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


# ---- what a method is handed --------------------------------------------------------------------------------------


def write_pair(path: Path, case: FusionCase) -> None:
    """Write what a method may see of a case: both images and the optics. No reference, no name, no file of origin."""
    given = {name: getattr(case, name) for name in SEEN} | {
        f"optics.{field.name}": getattr(case.optics, field.name) for field in dataclasses.fields(Optics)
    }
    arrays: dict[str, Any] = {name: np.asarray(value) for name, value in given.items() if value is not None}
    with path.open("wb") as stream:
        np.savez(stream, **arrays)


def read_pair(path: Path) -> FusionCase:
    """What `write_pair` wrote."""
    with np.load(path, allow_pickle=False) as archive:
        given = {name: archive[name] for name in archive.files}
    known = {name.partition(".")[2]: value for name, value in given.items() if name.startswith("optics.")}
    tuples = {field.name for field in dataclasses.fields(Optics) if isinstance(field.default, tuple)}
    plain: dict[str, Any] = {
        name: value.item() if value.ndim == 0 else tuple(value.tolist()) if name in tuples else value
        for name, value in known.items()
    }
    optics = Optics(**plain)
    images: dict[str, Any] = {name: torch.from_numpy(given[name]) for name in SEEN if name in given}
    return FusionCase(optics=optics, **images)


# ---- measuring -------------------------------------------------------------------------------------------------


def method_side(job: dict[str, Any]) -> dict[str, Any]:
    """Do what needs a method's own code: tell of it, or fuse with it.

    Runs in a process (see `pansharpen.comparison.isolation`) that never held a truth, nor was told where one lies.

    Parameters
    ----------
    job : dict
        ``plugins``; and, to fuse, ``folder`` (with ``pair.npz``; ``fused.npy`` is written there), ``method``, ``seed``,
        ``device``, ``weights``, ``threads``, ``memory_limit_mib``.

    Returns
    -------
    dict
        Without ``method``: the plugins' own methods, each with its family, or ``error``. With it: ``status`` (``ok``
        or why not), ``seconds``, ``cpu_seconds``, ``peak_mib``. Seconds are of one call of `fuse` in a fresh process,
        so that operators are built and nothing is cached; CPU seconds are of all its threads. ``peak_mib`` is the
        method's own: the most memory during the call beyond what was in use with the pair loaded, result included,
        code pages of libraries not (on a GPU: allocated there); None where the system does not tell.
    """
    if "method" not in job:
        return _described(job["plugins"])
    if job["threads"]:
        torch.set_num_threads(job["threads"])
    for plugin in job["plugins"]:
        load_plugin(plugin)
    folder = Path(job["folder"])
    case = read_pair(folder / "pair.npz")
    case = case if job["device"] == "cpu" else case.to(job["device"])
    record: dict[str, Any] = {}
    # thread pools and libraries start with the first large operation, which is no method's cost
    warm = torch.ones(512, 512, device=job["device"])
    (warm @ warm).sum().item()
    del warm
    entry = get(job["method"])
    try:
        with _measured(record, job["device"]), _memory_limit(job["memory_limit_mib"]):
            fused = fuse_case(entry, case, seed=job["seed"], weights=job["weights"])
    except (MemoryError, RuntimeError) as error:
        said = ("out of memory", "allocate memory", "bad_alloc")
        full = isinstance(error, MemoryError) or any(text in str(error) for text in said)
        return {**record, **failure(error, "out of memory: " if full else "")}
    except Exception as error:
        untrained = entry.trained and job["weights"] is None and isinstance(error, HsiError)
        return {**record, **failure(error, "needs training: " if untrained else "")}
    np.save(folder / "fused.npy", fused.cpu().numpy())
    return {**record, "status": "ok"}


def _described(plugins: list[str]) -> dict[str, Any]:
    before = set(METHODS)
    try:
        for plugin in plugins:
            load_plugin(plugin)
    except InputError as error:
        return {"error": str(error)}
    entries = (METHODS[name] for name in METHODS if name not in before)
    return {"families": {entry.name: entry.family for entry in entries}}


def reason_of(error: BaseException) -> str:
    """An error in one line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, HsiError) else f"{type(error).__name__}: {text}"


def failure(error: BaseException, prefix: str) -> dict[str, Any]:
    """What a record says of an error."""
    return {
        "status": f"{prefix}{reason_of(error)[:500]}",
        "traceback": "".join(traceback.format_exception(error))[-4000:],
    }


_PLUGINS: set[str] = set()


def load_plugin(path: str) -> None:
    """Import, once, a Python file that registers methods; raises `InputError` when it cannot be imported."""
    path = str(Path(path).resolve())
    if path in _PLUGINS:
        return
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    if spec is None or spec.loader is None or not Path(path).is_file():
        raise InputError(f"{path}: found no such file, expected Python code that registers methods (.py)")
    try:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    except Exception as error:
        raise InputError(f"{path}: cannot be imported; {type(error).__name__}: {error}") from error
    _PLUGINS.add(path)


def _memory() -> dict[str, float]:
    """MiB of this process by the kernel's names; empty where there is no ``/proc``."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in lines)
    return {name: int(value.split()[0]) / 1024 for name, value in pairs if value.strip().endswith(" kB")}


@contextlib.contextmanager
def _measured(record: dict[str, Any], device: str) -> Iterator[None]:
    """Write time and peak memory of the body into the record, also when it fails."""
    gpu = device if device.startswith("cuda") else None
    gc.collect()
    if gpu is not None:
        torch.cuda.synchronize(gpu)
        torch.cuda.reset_peak_memory_stats(gpu)
        held = torch.cuda.memory_allocated(gpu)
    with contextlib.suppress(OSError, AttributeError):
        # memory that loading the case left free would hide what the method takes; then the peak starts anew
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    before = _memory()
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        yield
    finally:
        if gpu is not None:
            torch.cuda.synchronize(gpu)
        record["seconds"], record["cpu_seconds"] = time.perf_counter() - wall, time.process_time() - cpu
        after = _memory()
        record["peak_mib"] = None
        if gpu is not None:
            record["peak_mib"] = (torch.cuda.max_memory_allocated(gpu) - held) / 2**20
        elif "VmHWM" in after and "RssFile" in after:
            code = max(0.0, after["RssFile"] - before["RssFile"])
            record["peak_mib"] = max(0.0, after["VmHWM"] - before["VmRSS"] - code)


@contextlib.contextmanager
def _memory_limit(limit_mib: float | None) -> Iterator[None]:
    """Allocations beyond the limit fail inside the body, where the system can do that (Linux)."""
    used = _memory().get("VmData")
    if limit_mib is None or used is None:
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = int((used + limit_mib) * 2**20)
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
