"""One function of many items at the workers: bounded, in order, told as it goes, and done again where a worker died."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import CancelledError
from typing import Any

from hsitools.errors import HsiError
from hsitools.progress import Progress, silent
from hsitools.scale.sending import pack, unpack

#: What is said when nobody gives out tasks any more.
GONE = "workers: their scheduler is gone; the same command goes on where this one stood"
#: Tasks sent out or waiting to be taken, for each thread of the workers: one at work, one to go on with, one taken.
AHEAD = 3
#: Seconds between looks for results, least and most, as each look takes time from the workers of this machine.
POLL_S = 0.005, 0.1
#: The same as a share of what was waited already: so much longer does a pass take.
POLL_SHARE = 0.01
#: Seconds between looks for workers when there are none.
LOOK_S = 5.0
#: Seconds without any worker after which there will be none: a busy machine starts one in a minute.
GONE_S = 300.0


def ordered(
    client: Any, function: Callable[[Any], Any], items: Sequence[Any], progress: Progress = silent, *,
    places: Sequence[int] | None = None,
) -> Generator[Any, None, None]:  # fmt: skip
    """``function(item)`` of each item, computed by the workers, in the order of the items.

    The function is sent once, with the cubes in it (see `hsitools.scale.sending`). Results wait for those before them,
    `AHEAD` for each thread of the workers at most, so that memory is bounded here too.

    Parameters
    ----------
    client : distributed.Client
        Of `hsitools.scale.cluster.cluster`.
    function : callable
    items : sequence
    progress : callable
        Called with (items done, items in all), in whatever order they are done.
    places : sequence of int, optional
        Of each item, a number: those of the same one go to the same worker, pass after pass, so that what it keeps of
        them is of use; where that one is dead, or behind the others, another takes them.

    Raises
    ------
    HsiError
        When workers die again and again at one task, or all are gone; what a function raises is raised here.
    """
    waiting: dict[int, Any] = {}
    place = 0
    for number, result in completed(client, function, items, progress, in_order=True, places=places):
        waiting[number] = result
        while place in waiting:
            yield waiting.pop(place)
            place += 1


def completed(
    client: Any, function: Callable[[Any], Any], items: Sequence[Any], progress: Progress = silent, *,
    in_order: bool = False, places: Sequence[int] | None = None,
) -> Generator[tuple[int, Any], None, None]:  # fmt: skip
    """(number of the item, ``function(item)``), as they are done: see `ordered`.

    ``in_order`` sends none out that is `AHEAD` of the first that is not done.
    """
    from distributed import as_completed
    from distributed.scheduler import KilledWorker

    if not items:
        return
    with warnings.catch_warnings():
        # a task, not data put there as Dask advises: when its worker dies, the scheduler makes it anew
        warnings.filterwarnings("ignore", message="Sending large graph")
        shared = client.submit(_itself, pack(function), pure=False)
    threads = client.nthreads()
    room = AHEAD * max(1, sum(threads.values()))
    # a worker of several threads has as many turns
    turns = [worker for worker in sorted(threads) for _ in range(threads[worker])]
    numbers: dict[Any, int] = {}
    finished: set[int] = set()
    queue, sent, first = as_completed(with_results=True, raise_errors=True), 0, 0
    try:
        while len(finished) < len(items):
            while sent < len(items) and sent - (first if in_order else len(finished)) < room:
                tie: dict[str, Any] = {}
                if places is not None and turns:
                    tie = {"workers": [turns[places[sent] % len(turns)]], "allow_other_workers": True}
                future = client.submit(_called, shared, items[sent], pure=False, **tie)
                numbers[future.key] = sent
                queue.add(future)
                sent += 1
            future, result = _next(queue, client)
            number = numbers.pop(future.key)
            future.release()
            finished.add(number)
            while first in finished:
                first += 1
            progress(len(finished), len(items))
            yield number, result
    except KilledWorker as error:
        raise HsiError(
            f"workers: {error.allowed_failures + 1} of them died at the same task, as when memory runs out; fewer "
            "workers have more each"
        ) from None
    finally:
        client.cancel([*queue.futures, shared])


def _next(queue: Any, client: Any) -> Any:
    """The next of the futures that are done; raises `HsiError` when nobody is there any more to do one."""
    began = at_work = time.monotonic()
    while not queue.has_ready():
        time.sleep(min(max(POLL_SHARE * (time.monotonic() - began), POLL_S[0]), POLL_S[1]))
        if time.monotonic() - at_work > LOOK_S:
            if client.status != "running":
                raise HsiError(GONE)
            if client.nthreads():
                at_work = time.monotonic()
            elif time.monotonic() - at_work > GONE_S:
                raise HsiError(f"workers: all are gone for {GONE_S:g} s; the same command goes on where this one stood")
            else:
                time.sleep(LOOK_S)
    future, result = next(queue)
    # Dask gives it for the result of what nobody will do any more
    if isinstance(result, CancelledError):
        raise HsiError(GONE)
    return future, result


def _itself(packed: bytes) -> bytes:
    return packed


def _called(packed: bytes, item: Any) -> Any:
    from distributed import get_worker

    from hsitools.cube.memory import limit_memory

    worker = get_worker()
    manager = getattr(worker, "memory_manager", None)
    if manager is not None and manager.memory_limit:
        limit_memory(int(manager.memory_limit) // max(1, worker.state.nthreads))
    return unpack(packed)(item)
