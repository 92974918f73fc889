"""Isolated calls where no process can fork (Windows): a new interpreter for each, some seconds instead of milliseconds.

What is missing beside `hsitools.comparison.worker`: memory limits and peaks, which the system does not tell, and an end
to processes that a call has started itself.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

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
        try:
            reply, said = self._process.communicate(json.dumps(argument).encode(), timeout=time_limit_s)
        except subprocess.TimeoutExpired:
            self.close()
            return {"reason": f"time limit: not done after {time_limit_s:g} s"}
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
    return Worker(target) if hasattr(os, "fork") else SpawnedWorker(target)


def answer_once(target: str) -> None:
    """Answer the request on standard input."""
    reply = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not answer in our place
    result = function_of(target)(json.load(sys.stdin))
    reply.write(json.dumps({"result": result}).encode())
    reply.close()


if __name__ == "__main__":
    answer_once(sys.argv[1])
