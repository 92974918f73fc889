"""One cell's way through two processes: one that knows the truth and runs no method, one the other way round.

The judge's side loads the case and writes what a method may see into a folder of its own; the method's side, which got
nothing but that folder and the method's name, fuses; the judge's side loads the case anew and judges. No process holds
the truth while a method runs, so that no memory nor frame has it. What this cannot prevent: a method that looks for the
scene's file, which the same user may read, by itself; one that is told the truth in its weights or its code; one that
falsifies its own clock.
"""

from __future__ import annotations

import atexit
import contextlib
import datetime
import json
import os
import platform
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from hsitools import __version__
from hsitools.errors import InputError
from hsitools.io.atomic import atomic_path
from hsitools.text import plain
from pansharpen.comparison.cells import Cell
from pansharpen.comparison.isolation import Worker

JUDGE, METHOD = "pansharpen.comparison.judging:judge_side", "pansharpen.comparison.cells:method_side"
#: Pairs that are kept for further methods: cells come case after case.
KEPT_PAIRS = 4

#: Worker processes of this process: all, and those at rest by what they do.
_WORKERS: set[Worker] = set()
_IDLE: dict[str, list[Worker]] = {JUDGE: [], METHOD: []}
#: What the judge's side said of the last cases, and the folder with what methods may see of them.
_SHOWN: dict[str, dict[str, Any]] = {}
_PAIRS: list[tempfile.TemporaryDirectory[str]] = []
_LOADING = threading.Lock()


def isolated(job: dict[str, Any]) -> None:
    """Measure one cell and write its record.

    The warm processes that it uses stay for the next call, until this process ends or `stop_workers`.
    """
    cell = Cell(**job["cell"])
    record = {
        "case": cell.case, "ratio": cell.ratio, "noise": cell.noise, "protocol": cell.protocol, "method": cell.method,
        "family": job["family"], "source": cell.source, "kind": cell.kind, "convention": cell.convention,
        "seed": cell.seed, "sensor": cell.sensor, "values": {}, "seconds": None, "cpu_seconds": None,
        "peak_mib": None, **_measured(cell, job), "case_key": cell.case_key, "key": cell.key,
        "hsitools": __version__, "machine": platform.node(), "finished": now(),
    }  # fmt: skip
    write_json(cell_path(Path(job["folder"]), cell), record)


def _measured(cell: Cell, job: dict[str, Any]) -> dict[str, Any]:
    limit = job["time_limit_s"]
    known = {name: job[name] for name in ("cell", "folder", "threads")}
    with tempfile.TemporaryDirectory(prefix="hsi-") as folder:
        pair, fused = Path(folder) / "pair.npz", Path(folder) / "fused.npy"
        with _LOADING:
            shown, spent = _shown(cell, known, pair, limit)
        if shown["status"] != "ok":
            return shown
        request = {name: job[name] for name in ("plugins", "weights", "threads", "memory_limit_mib")} | {
            "folder": folder, "method": cell.method, "seed": cell.seed, "device": cell.device,
        }  # fmt: skip
        tried, seconds = _call(METHOD, request, limit, spent)
        if tried["status"] != "ok":
            return {**shown, **tried}
        judged, _ = _call(JUDGE, {**known, "fused": str(fused)}, limit, spent + seconds)
        return {**shown, **tried, **judged}


def _shown(cell: Cell, known: dict[str, Any], pair: Path, limit: float | None) -> tuple[dict[str, Any], float]:
    """Put what a method may see of the case at ``pair``; what the judge's side says of it, and its seconds."""
    if not _PAIRS:
        _PAIRS.append(tempfile.TemporaryDirectory(prefix="hsi-"))
    kept, seconds = Path(_PAIRS[0].name) / f"{cell.case_key}.npz", 0.0
    if cell.case_key not in _SHOWN:
        answer, seconds = _call(JUDGE, {**known, "pair": str(kept)}, limit)
        if answer["status"].startswith("time limit"):
            return answer, seconds
        _SHOWN[cell.case_key] = answer
        while len(_SHOWN) > KEPT_PAIRS:
            oldest = next(iter(_SHOWN))
            del _SHOWN[oldest]
            (kept.parent / f"{oldest}.npz").unlink(missing_ok=True)
    if _SHOWN[cell.case_key]["status"] == "ok":
        os.link(kept, pair)  # a name that tells nothing, in a folder that holds nothing else
    return _SHOWN[cell.case_key], seconds


def _call(
    target: str, request: dict[str, Any], limit: float | None, spent: float = 0.0
) -> tuple[dict[str, Any], float]:
    """A worker's answer, or the reason why there is none as its ``status``; seconds."""
    began = time.monotonic()
    worker = _IDLE[target].pop() if _IDLE[target] else _started(target)
    answer = worker.call(request, None if limit is None else max(limit - spent, 0.0))
    _IDLE[target].append(worker)
    status = answer.get("reason", "ok")
    if status.startswith("time limit"):
        status = f"time limit: not done after {limit:g} s"
    return answer.get("result") or {"status": status}, time.monotonic() - began


def _started(target: str) -> Worker:
    worker = Worker(target)
    _WORKERS.add(worker)
    return worker


@atexit.register
def stop_workers() -> None:
    """End the worker processes of this process, and what they are doing."""
    for idle in _IDLE.values():
        idle.clear()
    while _WORKERS:
        _WORKERS.pop().close()
    _SHOWN.clear()
    while _PAIRS:
        with contextlib.suppress(OSError):
            _PAIRS.pop().cleanup()


def plugin_families(plugins: list[str]) -> dict[str, str]:
    """Methods that Python files register, with their families; their code runs on the method's side only.

    Raises
    ------
    InputError
        When a file cannot be imported.
    """
    if not plugins:
        return {}
    answer, _ = _call(METHOD, {"plugins": plugins}, None)
    if "families" not in answer:
        raise InputError(answer.get("error") or f"{', '.join(plugins)}: cannot be imported; {answer['status']}")
    families: dict[str, str] = answer["families"]
    return families


# ---- records ---------------------------------------------------------------------------------------------------


def cell_path(folder: Path, cell: Cell) -> Path:
    """Where a cell's record lies."""
    return folder / "cells" / f"{cell.key}.json"


def read_cell(folder: Path, cell: Cell) -> dict[str, Any] | None:
    """A cell's record; None when it is not done."""
    try:
        record: dict[str, Any] = json.loads(cell_path(folder, cell).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return record


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write a document whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(plain(document), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def now() -> str:
    """The time, in whole seconds."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
