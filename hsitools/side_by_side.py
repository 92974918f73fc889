"""Items that threads of this process compute beside one another: what comes first is taken first."""

from __future__ import annotations

import contextlib
import ctypes
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
#: How many threads torch had before each of those began that share them now, and whether this thread is one of a team.
_BEFORE: list[int] = []
_LOCK, _THREAD = threading.Lock(), threading.local()


class Stopped(BaseException):
    """What a thread is ended by whose result nobody waits for any more."""


def side_by_side(
    function: Callable[[Item], Result], items: Sequence[Item], at_once: int
) -> Generator[Result, None, None]:  # fmt: skip
    """``function(item)`` of each item, in the order of the items.

    Large array operations leave the interpreter to others while they run, and two threads with an item each lose less
    than one item whose every operation is split between two. So each has its share of torch's threads. What asks for it
    from one of these threads goes on alone there: memory is bounded by ``at_once``, not by its square.

    Parameters
    ----------
    function : callable
        That threads may call at the same time.
    items : sequence
    at_once : int
        Results that are under way, or wait to be taken: these, and the one that was taken last, bound memory.

    Raises
    ------
    BaseException
        What the function raises, at its item's turn. Whoever stops before the end closes the generator
        (`contextlib.closing`): items under way are broken off then.

    Examples
    --------
    >>> list(side_by_side(abs, [-3, 2, -1], at_once=2))
    [3, 2, 1]
    """
    if min(at_once, len(items)) <= 1 or getattr(_THREAD, "of_team", False):
        yield from map(function, items)
        return
    team, waiting, todo = _Team(function), deque[Future[Result]](), iter(items)
    with _torch_threads_shared(at_once), ThreadPoolExecutor(at_once) as pool:
        try:
            waiting.extend(pool.submit(team.work, item) for item in islice(todo, at_once))
            while waiting:
                result = waiting.popleft().result()
                # no thread waits while this one is made use of
                waiting.extend(pool.submit(team.work, item) for item in islice(todo, 1))
                yield result
                del result
        finally:
            for future in waiting:
                future.cancel()
            team.stop()


class _Team:
    """Threads that are at work on a function's items, and can be stopped."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function
        self._lock, self._at_work = threading.Lock(), set[int]()

    def work(self, item: Any) -> Any:
        """The function of an item, in a thread of the team."""
        own, _THREAD.of_team = threading.get_ident(), True
        with self._lock:
            self._at_work.add(own)
        try:
            return self.function(item)
        finally:
            with self._lock:
                self._at_work.discard(own)

    def stop(self) -> None:
        """End what is under way at its next line: a tile takes many seconds, and who interrupts does not wait."""
        with self._lock, contextlib.suppress(AttributeError):
            for thread in self._at_work:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(Stopped))


@contextlib.contextmanager
def one_torch_thread() -> Iterator[None]:
    """One of torch's threads for what is too small to be split; those of a team keep their share.

    Examples
    --------
    >>> import torch
    >>> with one_torch_thread():
    ...     torch.get_num_threads()
    1
    """
    if getattr(_THREAD, "of_team", False):
        yield
        return
    with _torch_threads_shared(sys.maxsize):
        yield


@contextlib.contextmanager
def _torch_threads_shared(by: int) -> Iterator[None]:
    """A share of torch's threads for each of so many that begin now; nothing where torch is not loaded."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    # a thread that begins has what another one set last: its share is none of what there was before
    with _LOCK:
        before = _BEFORE[0] if _BEFORE else torch.get_num_threads()
        _BEFORE.append(before)
        torch.set_num_threads(max(1, before // by))
    try:
        yield
    finally:
        with _LOCK:
            _BEFORE.pop()
            torch.set_num_threads(before)
