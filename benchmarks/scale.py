"""Past one process: the same result by workers, their memory, what survives kill −9, and a plan for 10 000 products.

A strip of a PRISMA product is fused end to end by the command: with 0.1.0's writer, alone, and by two workers into one
file and into a Zarr store. Then workers and commands are killed at random moments (`scale_kills`).
"""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.pansharpen_memory import PRODUCT, write_strip
from benchmarks.scale_kills import KILLS, kill_clients, kill_workers
from benchmarks.writing import BEFORE, NOW
from hsitools.io import open_cube
from pansharpen.registry import get
from pansharpen.tiled import LargeScene

#: Coarse pixels of the strip: two tiles of one process, eight smaller ones of two workers.
STRIP = (64, 128)
WAYS = {
    "alone, 0.1.0's writer": (BEFORE, (), ".h5"), "alone": (NOW, (), ".h5"),
    "2 workers": (NOW, ("--workers", "2"), ".h5"), "2 workers, Zarr": (NOW, ("--workers", "2"), ".zarr"),
}  # fmt: skip
#: Ways of each method: `writing` has 0.1.0's writer of all.
METHODS = {"GSA": tuple(WAYS), "physics": ("alone", "2 workers")}
#: The plan: products, cores of the cluster, and bytes of a product as it comes (L2D, compressed).
PRODUCTS, CORES, PRODUCT_BYTES = 10_000, (64, 256, 1024), 1.4e9


def processes_below(parent: int) -> list[int]:
    """Processes that a process started, and those that these started."""
    out = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == parent:
                child = int(path.parent.name)
                out += [child, *processes_below(child)]
    return out


def peak_mib(process: int) -> float:
    """Largest memory of a process so far."""
    try:
        status = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
        return int(status["VmHWM"].split()[0]) / 1024
    except (OSError, KeyError):
        return 0.0


def measured(code: str, arguments: list[str]) -> tuple[float, float, float, float]:
    """Seconds of a command, of processors in all, peak MiB of itself, and of the largest process that it started."""
    began, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    running = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    peaks: dict[int, float] = {}
    while running.poll() is None:
        for process in [running.pid, *processes_below(running.pid)]:
            peaks[process] = max(peaks.get(process, 0.0), peak_mib(process))
        time.sleep(0.2)
    if running.returncode:
        sys.exit(f"hsi {' '.join(arguments)}: ended with code {running.returncode}")
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    processors = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    return time.perf_counter() - began, processors, peaks.pop(running.pid), max(peaks.values(), default=0.0)


def difference(one: Path, two: Path) -> float:
    """Largest difference of two cubes, share of the range; holes must agree."""
    first, second = open_cube(one).read(), open_cube(two).read()
    if not np.array_equal(np.isnan(first), np.isnan(second)):
        return float("inf")
    return float(np.nanmax(np.abs(first - second)) / (np.nanmax(first) - np.nanmin(first)))


def plan(rates: dict[str, float], peaks: dict[str, float], sizes: dict[str, float]) -> None:
    """Print what 10 000 products need, of pixels a second of one processor."""
    print(
        f"  plan for {PRODUCTS} products of {PRODUCT[0]}×{PRODUCT[1]} coarse pixels, from `alone`, processor seconds:"
    )
    print("  method    cores   hours   memory, GiB   read, TB   kept beside, TB   written, TB")
    for method, rate in rates.items():
        for cores in CORES:
            hours = PRODUCTS * PRODUCT[0] * PRODUCT[1] / (rate * cores) / 3600
            memory = cores * peaks[method] / 1024
            size = sizes[method] * PRODUCTS / 1e12
            # what is kept beside outputs in work, one product a core
            beside = sizes[method] * cores / 1e12
            print(f"  {method:<9}{cores:6}{hours:8.1f}{memory:14.0f}{PRODUCTS * PRODUCT_BYTES / 1e12:11.0f}"
                  f"{beside:18.1f}{size:15.0f}")  # fmt: skip


def told(text: str) -> None:
    """Say how far it is."""
    print(f"    {text}", file=sys.stderr, flush=True)


def main() -> dict[str, float]:
    """Print the tables; return what was measured."""
    out: dict[str, float] = {}
    rates, peaks, sizes = {}, {}, {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_strip(folder / "strip.h5", STRIP)
        print(f"  strip of {STRIP[0]}×{STRIP[1]} coarse pixels, {os.cpu_count()} cores; targets: 1e-5")
        print(
            f"  {'':<9}{'':<24}seconds   times   processor s   tiles/s   difference/range   peak MiB: command   worker"
        )
        for method, ways in METHODS.items():
            first, alone = 0.0, folder / "alone.h5"
            tiles = len(LargeScene(open_cube(folder / "strip.h5"), halo=get(method).halo).windows)
            for way in ways:
                code, options, suffix = WAYS[way]
                target = alone if way == "alone" else folder / f"other{suffix}"
                arguments = ["pansharpen", "run", method, str(folder / "strip.h5"), "-o", str(target), *options]
                seconds, processors, peak, worker = measured(code, arguments)
                first = first or seconds
                apart = f"{difference(alone, target):.1e}" if options else ""
                print(f"  {method:<9}{way:<24}{seconds:7.1f}{first / seconds:8.2f}{processors:13.1f}"
                      f"{tiles / seconds:9.2f}{apart:>19}{peak:20.0f}{worker:9.0f}", flush=True)  # fmt: skip
                out |= {f"{method} {way} seconds": seconds, f"{method} {way} worker MiB": worker}
                if way == "alone":
                    rates[method], peaks[method] = STRIP[0] * STRIP[1] / processors, peak
                    sizes[method] = alone.stat().st_size * PRODUCT[0] * PRODUCT[1] / (STRIP[0] * STRIP[1])
        plan(rates, peaks, sizes)
        began = time.perf_counter()
        kills, runs = kill_workers(folder, told)
        seconds = time.perf_counter() - began
        print(f"  workers killed by kill -9: {kills} of {KILLS} survived, in {runs} runs, {seconds:.0f} s", flush=True)
        began = time.perf_counter()
        died, finished, kept = kill_clients(folder, told)
        seconds = time.perf_counter() - began
        print(f"  commands killed by kill -9: {died} of {KILLS} survived, {finished} runs to their end, "
              f"{kept} tiles taken from killed ones, {seconds:.0f} s", flush=True)  # fmt: skip
    return out | {"worker kills": kills, "client kills": died}


if __name__ == "__main__":
    main()
