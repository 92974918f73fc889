"""Calls that may fail, crash, hang or take all memory without harm to who asked for them.

A `Worker` is a warm process (libraries imported, nothing computed) that forks a fresh child for each call: a child
costs milliseconds, starts from the same state whatever ran before, and dies alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any, BinaryIO

from hsitools.errors import HsiError


class Worker:
    """A warm process for calls of one function.

    Parameters
    ----------
    target : str
        ``module:name.name``; what it names takes and gives plain data (what JSON knows). Where the system cannot fork
        see `hsitools.comparison.spawned`.
    """

    def __init__(self, target: str) -> None:
        # its own session: an interrupt on the terminal is for us, who then close it
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, target], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip

    def call(self, argument: Any, time_limit_s: float | None = None) -> dict[str, Any]:
        """Call the function in a child of its own.

        Returns
        -------
        dict
            ``result``: what it gave; or ``reason``: why there is none (time limit, signal, last line of its errors).

        Raises
        ------
        HsiError
            When the worker itself is gone.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError, ValueError):  # the reply tells
            request = {"argument": argument, "time_limit_s": time_limit_s}
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        reply = self._process.stdout.readline()
        if not reply:
            raise HsiError(f"benchmark: a worker process ended (code {self._process.wait()})")
        answer: dict[str, Any] = json.loads(reply)
        return answer

    def close(self) -> None:
        """End the process, and the call that it is busy with."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


# ---- inside the worker -----------------------------------------------------------------------------------------


def function_of(target: str) -> Callable[[Any], Any]:
    """What ``module:name.name`` names; the libraries are loaded that its room needs (`Task.libraries`)."""
    module, _, name = target.partition(":")
    function: Callable[[Any], Any] = attrgetter(name)(import_module(module))
    for library in getattr(getattr(function, "__self__", None), "libraries", ()):
        import_module(library)
    return function


def serve(target: str) -> None:
    """Answer requests on standard input, one line of JSON each, until it ends."""
    function = function_of(target)
    gc.freeze()  # what is loaded is no child's to look through, nor to copy
    _adopt_orphans()
    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever prints must not answer in our place
    requests = os.fdopen(0, "rb", buffering=0)
    while line := requests.readline():
        request = json.loads(line)
        answer = _in_child(function, request["argument"], request["time_limit_s"])
        if answer is None:
            return
        replies.write(json.dumps(answer).encode() + b"\n")


def _in_child(function: Callable[[Any], Any], argument: Any, limit: float | None) -> dict[str, Any] | None:
    """The call's outcome; None when who asked has gone."""
    receive, send = os.pipe()
    with tempfile.TemporaryFile() as errors, os.fdopen(receive, "rb", buffering=0) as pipe:
        child = os.fork()
        if child == 0:
            _be_child(function, argument, send, errors)
        os.close(send)
        try:
            answer = _listen(pipe, limit)
        finally:
            for kill in (os.killpg, os.kill):  # the group too: children of its own
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            _end_orphans()
        if answer == {}:
            return {"reason": _death(status, errors)}
        return answer


def _adopt_orphans() -> None:
    """Descendants that leave their group become children of this process, where the system can do that (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def _end_orphans() -> None:
    """No process of a call outlives it: what it left behind could look on while later calls are judged."""
    for _ in range(1000):  # killing one hands us its children
        try:
            orphans = [
                int(path.parent.name) for path in Path("/proc").glob("[0-9]*/stat") if _parent_of(path) == os.getpid()
            ]
        except OSError:
            return
        if not orphans:
            return
        for process in orphans:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(process, signal.SIGKILL)
                os.waitpid(process, 0)


def _parent_of(stat: Path) -> int | None:
    try:
        return int(stat.read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):  # gone meanwhile
        return None


def _be_child(function: Callable[[Any], Any], argument: Any, send: int, errors: BinaryIO) -> None:
    code = 1
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(errors.fileno(), 1)
        os.dup2(errors.fileno(), 2)
        # when memory runs out, this process is the one to go
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000")
        reply = json.dumps({"result": function(argument)}).encode() + b"\n"
        with os.fdopen(send, "wb") as pipe:
            pipe.write(reply)
        code = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _listen(pipe: Any, limit: float | None) -> dict[str, Any] | None:
    """The child's reply, a reason when time is over, ``{}`` when it is silent, None when standard input ended."""
    deadline = None if limit is None else time.monotonic() + limit
    received = b""
    while not received.endswith(b"\n"):
        remaining = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready, _, _ = select.select([pipe, 0], [], [], remaining)
        if not ready:
            return {"reason": f"time limit: not done after {limit:g} s"}
        if 0 in ready:
            return None
        part = pipe.read(2**16)
        if not part:
            return {}
        received += part
    answer: dict[str, Any] = json.loads(received)
    return answer


def _death(status: int, errors: BinaryIO) -> str:
    errors.seek(0, os.SEEK_END)
    errors.seek(max(0, errors.tell() - 2000))
    return said_at_death(os.waitstatus_to_exitcode(status), errors.read())


def said_at_death(code: int, errors: bytes) -> str:
    """In words: the signal (a negative exit code) or the exit code, and the last line that a process said."""
    if code == -getattr(signal, "SIGKILL", 9):
        said = "killed (SIGKILL), as the system does when memory runs out"
    elif code < 0:
        said = f"crashed ({signal.Signals(-code).name})"
    else:
        said = f"ended with code {code}"
    lines = errors.decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f"{said}: {last}" if last else said


if __name__ == "__main__":
    serve(sys.argv[1])
