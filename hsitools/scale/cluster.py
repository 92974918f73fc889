"""Workers: processes of this machine, or those of a Dask scheduler that runs already."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hsitools import __version__
from hsitools.cube.memory import ALLOCATOR, memory_limit
from hsitools.errors import HsiError, InputError
from hsitools.processors import processors
from hsitools.scale.tasks import GONE

log = logging.getLogger(__name__)

#: Workers that may die at one task before it is given up; a task that needs more memory than there is kills each.
DEATHS = 10
#: Times that a cluster is begun: a process that is killed meanwhile ends its start.
STARTS = 3
#: Level at which nothing is logged.
SILENT = logging.CRITICAL
#: How often each process of a cluster looks at itself; Dask's own 50 times a second are seen in the processor time.
TICK = "2s"
#: How often a worker's memory is looked at, by itself and by who ends it: it takes seconds to fill.
MEMORY_LOOK = "400ms"
#: Seconds to wait for a scheduler, and for its first worker: a machine that is there answers within one.
PATIENCE_S = 10.0


@contextmanager
def cluster(
    workers: int | None = None, scheduler: str | None = None, *, files: Iterable[Path | str | None] = (),
    modules: Iterable[str] = (),
) -> Iterator[Any]:  # fmt: skip
    """A client of workers; None where neither is asked for.

    Parameters
    ----------
    workers : int, optional
        Processes of this machine, never forked from this one (see `begin`). They share its cores, and the memory
        that one process alone would take: see `hsitools.cube.memory.memory_limit`.
    scheduler : str, optional
        Address of a Dask scheduler that runs, as ``tcp://host:8786``.
    files : iterable of paths
        What every worker must see; None stands for none.
    modules : iterable of str
        What tasks will want: imported by all workers, or once for all of this machine, before the first task.

    Yields
    ------
    distributed.Client or None

    Raises
    ------
    InputError
        When Dask is not installed, the scheduler does not answer or has no workers, or these lack hsitools or a file.
    """
    if workers is not None and scheduler is not None:
        raise InputError("--workers: found beside --scheduler, expected one of them")
    if workers is None and scheduler is None:
        yield None
        return
    modules = list(modules)
    made = _local(workers, modules) if scheduler is None else _running(scheduler)
    with made as client, _loss_said():
        check_workers(client, files, modules)
        yield client


@contextmanager
def _loss_said() -> Iterator[None]:
    """Raise `HsiError` for whatever Dask says meanwhile of a scheduler that is gone."""
    from distributed.comm.core import CommClosedError

    try:
        yield
    except (CommClosedError, CancelledError):
        raise HsiError(GONE) from None


def check_workers(client: Any, files: Iterable[Path | str | None] = (), modules: Iterable[str] = ()) -> None:
    """Raise `InputError` when a worker lacks this version of hsitools, or does not see a file."""
    paths = [str(Path(file).resolve()) for file in files if file is not None and Path(file).exists()]
    for worker, (version, missing) in client.run(_survey(), paths, list(modules)).items():
        if version != __version__:
            raise InputError(f"{worker}: hsitools: found {version or 'none'}, expected {__version__} as here")
        if missing:
            raise InputError(f"{missing[0]}: found no such file at worker {worker}, expected a path that all share")


def memory_of_task(client: Any) -> int | None:
    """Bytes that a task may take at the worker that has least for each; None where none says a limit."""
    limits = [
        int(worker["memory_limit"]) // max(1, int(worker["nthreads"]))
        for worker in client.scheduler_info(n_workers=-1)["workers"].values()
        if worker["memory_limit"]
    ]
    return min(limits) if limits else None


def _survey() -> Any:
    """A function that travels by value, as all that are made in another one."""

    def survey(paths: list[str], modules: list[str]) -> tuple[str | None, list[str]]:
        import importlib
        import os

        try:
            from hsitools import __version__ as version
        except ImportError:
            return None, []
        for module in modules:
            importlib.import_module(module)
        return version, [path for path in paths if not os.path.exists(path)]

    return survey


def _dask() -> Any:
    try:
        import dask
        import distributed
    except ImportError:
        raise InputError("workers: dask: not installed, expected `pip install hsitools[scale]`") from None
    # workers that come and go are Dask's affair; -v shows what it says of them
    level = max(logging.getLogger().level, logging.INFO) if _talks() else SILENT
    # Dask gives some of its parts a level of their own
    for name in ("distributed", *logging.root.manager.loggerDict):
        if name.partition(".")[0] == "distributed":
            logging.getLogger(name).setLevel(level)
    return dask, distributed


def _talks() -> bool:
    return logging.getLogger().isEnabledFor(logging.INFO)


def begin(workers: int | None, modules: Iterable[str]) -> None:
    """Have begun what workers of this machine will need, beside what this process imports before it needs them.

    On Linux a server without threads, itself started anew, imports once what all workers want and forks each, those
    too that take the place of dead ones: torch alone is 2 processor seconds. Elsewhere forks are not safe, and nothing
    is begun.

    Parameters
    ----------
    workers : int, optional
        As of `cluster`; None where no workers of this machine are asked for.
    modules : iterable of str
        As of `cluster`.
    """
    if not workers or workers < 1 or sys.platform != "linux" or find_spec("distributed") is None:
        return
    from multiprocessing import forkserver, resource_tracker

    # it would let interrupts through again
    resource_tracker.ensure_running()
    forkserver.set_forkserver_preload(["distributed", *modules])
    wanted = _environment(workers)
    own = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    # on a terminal Ctrl-C is for all: this process ends the others, which would say where they were
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for name, value in own.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _started_by() -> str:
    """How processes of this machine are started: see `begin`."""
    if sys.platform != "linux":
        return "spawn"
    import distributed.utils

    # Dask would have all imported that it knows of, by this process too
    distributed.utils._forkserver_preload_set = True
    return "forkserver"


def _environment(workers: int) -> dict[str, str]:
    """Of each of so many processes that share this machine."""
    threads = str(max(1, processors() // workers))
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    return ALLOCATOR | {name: os.environ.get(name, threads) for name in names}


@contextmanager
def _local(workers: int | None, modules: list[str]) -> Iterator[Any]:
    begin(workers, modules)
    dask, distributed = _dask()
    if not workers or workers < 1:
        raise InputError(f"--workers: found {workers}, expected at least 1")
    watched = sys.stderr.isatty()
    settings = {
        "distributed.worker.multiprocessing-method": _started_by(),
        "distributed.scheduler.allowed-failures": DEATHS,
        "distributed.nanny.pre-spawn-environ": _environment(workers),
        # what watches workers for a dashboard costs a tenth of two cores
        "distributed.worker.profile.enabled": watched,
        "distributed.admin.tick.interval": TICK,
        "distributed.admin.system-monitor.interval": TICK,
        # ten times a second is Dask's own
        "distributed.worker.memory.monitor-interval": MEMORY_LOOK,
        # results are taken from the workers as they come: nothing is worth a slow disk
        # one that is slow to come back is on its way all the same
        "distributed.deploy.lost-worker-timeout": "1 day",
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
    }
    limit = memory_limit()
    with dask.config.set(settings), ExitStack() as made:
        with _interrupts_wait():
            processes = _begun(
                distributed.LocalCluster, n_workers=workers, threads_per_worker=1, processes=True,
                memory_limit=0 if limit is None else limit // workers, worker_dashboard_address=None,
                dashboard_address=":0" if watched else None,
                # any free port, for what is served without a dashboard too
                scheduler_kwargs={"dashboard_address": ":0"},
                silence_logs=logging.INFO if _talks() else SILENT,
            )  # fmt: skip
            made.enter_context(processes)
        client = made.enter_context(distributed.Client(processes))
        if watched:
            log.info("dashboard of the workers: %s", client.dashboard_link)
        yield client


def _begun(made: Callable[..., Any], **options: Any) -> Any:
    """A cluster, made anew where one of its processes is killed before it is there."""
    for _ in range(STARTS - 1):
        with suppress(RuntimeError):
            return made(**options)
    try:
        return made(**options)
    except RuntimeError as error:
        said = " ".join(str(error).split())
        raise HsiError(f"workers: cannot be started, tried {STARTS} times; {said}") from None


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Meanwhile an interrupt waits for the end: a cluster that is half made can only be left, and all its parts say so.

    The second one does not wait.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[signal.Signals] = []
    before = {number: signal.getsignal(number) or signal.SIG_DFL for number in (signal.SIGINT, signal.SIGTERM)}

    def later(number: int, _frame: Any) -> None:
        came.append(signal.Signals(number))
        signal.signal(number, before[came[-1]])

    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, later)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in came[:1]:
            signal.raise_signal(number)


@contextmanager
def _running(scheduler: str) -> Iterator[Any]:
    _, distributed = _dask()
    try:
        client = distributed.Client(scheduler, timeout=PATIENCE_S)
    except (OSError, ValueError, TimeoutError) as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"--scheduler: {scheduler}: cannot be reached; {said}") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=PATIENCE_S)
        except TimeoutError:
            raise InputError(f"--scheduler: {scheduler}: found no worker, expected some") from None
        yield client
