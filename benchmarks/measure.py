"""Seconds and memory of one ``hsi`` command, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import time

#: Prints the largest memory of the process itself (VmHWM; ru_maxrss would begin with that of the parent).
MEASURE = """
import sys
from hsitools.commands.root import main
try:
    main(sys.argv[1:])
finally:
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    print("PEAK", status["VmHWM"].split()[0], file=sys.stderr)
"""


def run(*arguments: str) -> tuple[float, float, str]:
    """Seconds, peak MiB and standard output."""
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", MEASURE, *arguments], capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - began
    return seconds, float(done.stderr.split("PEAK")[1]) / 1024, done.stdout
