"""One cell's way through two processes: one that knows the truth and runs no method, one the other way round.

See `hsitools.comparison.task` for what each side does, and for what this cannot prevent.
"""

from __future__ import annotations

import atexit
import datetime
import os
import platform
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from hsitools import __version__
from hsitools.comparison.plugins import Plugins
from hsitools.comparison.scratch import Scratch
from hsitools.comparison.spawned import SpawnedWorker, worker_of
from hsitools.comparison.task import OBSERVED, OK, RESULT
from hsitools.comparison.worker import Worker
from hsitools.errors import InputError

Job = dict[str, Any]
Record = dict[str, Any]
#: Takes jobs, yields their records, in any order.
Executor = Callable[[Sequence[Job]], Iterable[Record]]

#: Cases that are kept, as shown, for further methods: cells come case after case.
KEPT_CASES = 4

#: Worker processes of this process: all, and those at rest by what they do.
_WORKERS: set[Worker | SpawnedWorker] = set()
_IDLE: dict[str, list[Worker | SpawnedWorker]] = {}
#: What the judge's side said of the last cases, and the folder with what methods may see of them.
_SHOWN: dict[str, dict[str, Any]] = {}
_CASES: list[Scratch] = []
_LOADING = threading.Lock()


def local(jobs: int = 1) -> Executor:
    """Executor on this machine, ``jobs`` cells at a time."""
    if jobs < 1:
        raise InputError(f"jobs: found {jobs}, expected at least 1")

    def execute(work: Sequence[Job]) -> Iterator[Record]:
        with ThreadPoolExecutor(jobs) as pool:
            yield from _collected([pool.submit(isolated, job) for job in work], as_completed)

    return execute


def submitted(client: Any) -> Executor:
    """Executor on anything with ``submit(function, argument)`` that gives futures, as a Dask client whose workers see
    the benchmark's folder.
    """

    def execute(work: Sequence[Job]) -> Iterator[Record]:
        yield from _collected([client.submit(isolated, job) for job in work], iter)

    return execute


def by_workers(client: Any) -> Executor:
    """Executor at Dask's workers (`hsitools.scale`): records come as they are done; a worker's death costs its cell."""

    def execute(work: Sequence[Job]) -> Iterator[Record]:
        from hsitools.scale.tasks import completed

        for _, record in completed(client, isolated, work):
            yield record

    return execute


def _collected(futures: list[Future[Record]], order: Callable[..., Iterator[Future[Record]]]) -> Iterator[Record]:
    try:
        for future in order(futures):
            yield future.result()
    except BaseException:
        for future in futures:
            future.cancel()
        stop_workers()
        raise


def isolated(job: Job) -> Record:
    """Measure one cell.

    The warm processes that it uses stay for the next call, until this process ends or `stop_workers`.

    Parameters
    ----------
    job : dict
        ``task`` (``module:NAME``), ``case``, ``method``, ``key``, ``case_key``, ``folder``, ``labels`` (of the record),
        ``seed``, ``device``, ``weights``, ``threads``, ``plugins``, ``index_files``, ``indices``,
        ``time_limit_s``, ``memory_limit_mib``.
    """
    return {
        **job["case"], "method": job["method"], "values": {}, "seconds": None, "cpu_seconds": None, "peak_mib": None,
        **job["labels"], **_worked(job), "case_key": job["case_key"], "key": job["key"], "hsitools": __version__,
        "machine": platform.node(), "finished": now(),
    }  # fmt: skip


def _worked(job: Job) -> dict[str, Any]:
    limit = job["time_limit_s"]
    names = ("case", "folder", "key", "case_key", "threads", "index_files", "indices", "device")
    case = {name: job[name] for name in names}
    with Scratch() as folder:
        with _LOADING:
            shown, spent = _shown(job, case, folder / OBSERVED)
        if shown["status"] != OK:
            return shown
        told = ("method", "plugins", "weights", "threads", "memory_limit_mib", "seed", "device")
        request = {name: job[name] for name in told} | {"folder": str(folder)}
        tried, seconds = call(f"{job['task']}.method_side", request, limit, spent)
        if tried["status"] != OK:
            return {**shown, **tried}
        result = {**case, "result": str(folder / RESULT)}
        judged, _ = call(f"{job['task']}.judge_side", result, limit, spent + seconds)
        return {**shown, **tried, **judged}


def _shown(job: Job, case: dict[str, Any], path: Path) -> tuple[dict[str, Any], float]:
    """Put what a method may see of the case at ``path``; what the judge's side says of it, and its seconds."""
    if not _CASES:
        _CASES.append(Scratch())
    key = job["case_key"]
    kept, seconds = _CASES[0].path / f"{key}.npz", 0.0
    if key not in _SHOWN:
        answer, seconds = call(f"{job['task']}.judge_side", {**case, "observed": str(kept)}, job["time_limit_s"])
        if answer["status"].startswith("time limit"):
            return answer, seconds
        _SHOWN[key] = answer
        while len(_SHOWN) > KEPT_CASES:
            oldest = next(iter(_SHOWN))
            del _SHOWN[oldest]
            (kept.parent / f"{oldest}.npz").unlink(missing_ok=True)
    if _SHOWN[key]["status"] == OK:
        os.link(kept, path)  # a name that tells nothing, in a folder that holds nothing else
    return _SHOWN[key], seconds


def call(target: str, request: Any, limit: float | None = None, spent: float = 0.0) -> tuple[dict[str, Any], float]:
    """A worker's answer, or the reason why there is none as its ``status``; seconds."""
    began = time.monotonic()
    idle = _IDLE.setdefault(target, [])
    worker = idle.pop() if idle else worker_of(target)
    _WORKERS.add(worker)
    answer = worker.call(request, None if limit is None else max(limit - spent, 0.0))
    idle.append(worker)
    status = answer.get("reason", OK)
    if status.startswith("time limit"):
        status = f"time limit: not done after {limit:g} s"
    return answer.get("result") or {"status": status}, time.monotonic() - began


@atexit.register
def stop_workers() -> None:
    """End the worker processes of this process, and what they are doing."""
    _IDLE.clear()
    while _WORKERS:
        _WORKERS.pop().close()
    _SHOWN.clear()
    while _CASES:
        _CASES.pop().close()


def plugins_of(files: Iterable[str | Path], task: str) -> Plugins:
    """What plugin files bring; methods' code runs on the method's side only.

    Raises
    ------
    InputError
        When a file cannot be imported, registers nothing, or both methods and indices.
    """
    names = [str(Path(file).resolve()) for file in files]
    if not names:
        return Plugins()
    answer, _ = call(f"{task}.method_side", {"plugins": names})
    if "methods" not in answer:
        raise InputError(answer.get("error") or f"{', '.join(names)}: cannot be imported; {answer['status']}")
    facts: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in answer.items()}
    return Plugins(**facts)


def now() -> str:
    """The time, in whole seconds."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
