"""Isolated calls where no process can fork (Windows), or may (macOS): a new interpreter for each, which takes seconds.

What is missing beside `hsitools.comparison.worker`: memory limits and peaks, which the system does not tell, and an end
to processes that a call has started itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from typing import Any, BinaryIO

from hsitools.comparison.worker import Worker, function_of, said_at_death


class SpawnedWorker:
    """Calls of one function, each in an interpreter of its own; see `Worker`, whose place it takes.

    Parameters
    ----------
    target : str
        ``module:name.name``.
    """

    def __init__(self, target: str) -> None:
        self._target = target
        self._process: subprocess.Popen[bytes] | None = None

    def call(self, argument: Any, time_limit_s: float | None = None) -> dict[str, Any]:
        """See `Worker.call`."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, self._target], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )  # fmt: skip
        # open as long as somebody waits: to `communicate` there is none, or it would close it
        asked, self._process.stdin = self._process.stdin, None
        assert asked is not None
        try:
            with contextlib.suppress(OSError):  # the reply tells
                asked.write(json.dumps(argument).encode() + b"\n")
                asked.flush()
            reply, said = self._process.communicate(timeout=time_limit_s)
        except subprocess.TimeoutExpired:
            self.close()
            return {"reason": f"time limit: not done after {time_limit_s:g} s"}
        finally:
            with contextlib.suppress(OSError):
                asked.close()
        code, self._process = self._process.returncode, None
        if code or not reply:
            return {"reason": said_at_death(code, said)}
        answer: dict[str, Any] = json.loads(reply)
        return answer

    def close(self) -> None:
        """End the call that it is busy with."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()


def worker_of(target: str) -> Worker | SpawnedWorker:
    """The worker that this system can have."""
    # what macOS computes with (Accelerate) ends or hangs in a process that was forked
    forks = hasattr(os, "fork") and sys.platform != "darwin"
    return Worker(target) if forks else SpawnedWorker(target)


def answer_once(target: str) -> None:
    """Answer the request on standard input, unless it ends before: who asked was killed."""
    reply = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not answer in our place
    requests = os.fdopen(os.dup(0), "rb")
    function, request = function_of(target), json.loads(requests.readline())
    threading.Thread(target=_end_with, args=[requests], daemon=True).start()
    result = function(request)
    reply.write(json.dumps({"result": result}).encode())
    reply.close()


def _end_with(requests: BinaryIO) -> None:
    """End this process when there is nobody who could ask more."""
    requests.read()
    os._exit(1)


if __name__ == "__main__":
    answer_once(sys.argv[1])
