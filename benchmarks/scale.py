"""Past one process: the same result by workers, their memory, what survives kill −9, and a plan for 10 000 products.

A strip of a PRISMA product is fused end to end by the command on one core, on all, and by two workers with a core each.
What each way costs before it does anything (imports, mostly) is measured by a small scene, and told apart: it is the
same for a product, which is many times larger: a quarter of one is fused too (``product``), half of which would be
longer than ten minutes. Two commands at once, a core each, that know nothing of each other, show what two cores of this
machine give (they share memory, caches and disk, if not the core itself): no two workers can be faster. Then workers
and commands are killed at random moments (`scale_kills`).

``python -m benchmarks.scale GSA`` does one part (`PARTS`); what each part measured is kept in a file, from which the
last part, ``plan``, makes its table. A part that is longer than its limit is ended, with all that it started.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import math
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.pansharpen_memory import PRODUCT, product_share, write_strip
from benchmarks.scale_kills import KILLS, kill_clients, kill_workers
from benchmarks.writing import NOW
from hsitools.io import open_cube, save_cube
from pansharpen.pair.alignment import placement
from pansharpen.registry import get
from pansharpen.tiled import LargeScene

#: Coarse pixels of each method's strip: two tiles at least for each of two workers.
STRIPS = {"GSA": (128, 512), "physics": (64, 512)}
#: Coarse pixels of a quarter of a product, in whole tiles.
QUARTER = (256, 1000)
#: Coarse pixels along each axis of the scene that costs nothing but the start.
SMALL = 32
#: Bands that are compared at a time: a chunk of our files.
COMPARED = 32
#: Options, whether the command has one core only, and the output's suffix.
WAYS: dict[str, tuple[tuple[str, ...], bool, str]] = {
    "one process, one core": ((), True, ".h5"),
    "one process, all cores": ((), False, ".h5"),
    "2 workers, a core each": (("--workers", "2"), False, ".h5"),
    "2 workers, Zarr": (("--workers", "2"), False, ".zarr"),
}
#: Ways of each method: of its strip, and of the quarter.
METHODS = {"GSA": tuple(WAYS), "physics": tuple(WAYS)[::2]}
SHORT = tuple(WAYS)[::2]
#: Parts, and seconds after which each is ended: some times what it takes on two idle cores.
PARTS = {"GSA": 600, "physics": 1200, "product": 2400, "workers": 400, "commands": 600, "plan": 60}
#: Seconds after which a command within a part is ended.
LIMIT_S = 1200
#: Wanted of two workers against one core.
WANTED = 1.7
#: The plan: products, cores of the cluster, and bytes of a product as it comes (L2D, compressed).
PRODUCTS, CORES, PRODUCT_BYTES = 10_000, (64, 256, 1024), 1.4e9
#: Of Linux' prctl: what a process's children leave behind becomes its own.
SUBREAPER = 36
#: What the parts measured.
KEPT = Path(tempfile.gettempdir()) / f"hsitools_scale_{os.getuid() if hasattr(os, 'getuid') else 0}"


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


def started(arguments: list[str], core: int | None = None) -> subprocess.Popen[bytes]:
    """A command that runs, on one core or on all."""
    environment = dict(os.environ) | ({} if core is None else {"OMP_NUM_THREADS": "1"})
    cores = os.sched_getaffinity(0)
    try:
        if core is not None:
            os.sched_setaffinity(0, {core})
        return subprocess.Popen(
            [sys.executable, "-c", NOW, *arguments, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=environment,
        )  # fmt: skip
    finally:
        os.sched_setaffinity(0, cores)


def ended(running: subprocess.Popen[bytes]) -> float:
    """Seconds of fusing of a command that has ended."""
    said, wrong = running.communicate()
    if running.returncode:
        sys.exit(f"{' '.join(map(str, running.args[3:]))}: ended with code {running.returncode}; {wrong.decode()}")
    return float(json.loads(said)["seconds"])


def measured(arguments: list[str], one_core: bool) -> tuple[float, float, float, float, float]:
    """Seconds of a command, of its fusing, of processors in all, and peak MiB of itself and of the largest worker."""
    # workers are not its children but those of a server that outlives it: counted once this process may wait for them
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    began, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    running = started(arguments, max(os.sched_getaffinity(0)) if one_core else None)
    peaks: dict[int, float] = {}
    while running.poll() is None:
        for process in [running.pid, *processes_below(running.pid)]:
            peaks[process] = max(peaks.get(process, 0.0), peak_mib(process))
        if time.perf_counter() - began > LIMIT_S:
            running.kill()
            sys.exit(f"hsi {' '.join(arguments)}: not ended in {LIMIT_S} s")
        time.sleep(0.1)
    fusing = ended(running)
    seconds = time.perf_counter() - began
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    processors = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    own = peaks.pop(running.pid, 0.0)
    return seconds, fusing, processors, own, max(peaks.values(), default=0.0)


def two_at_once(asked: list[str], folder: Path) -> float:
    """Seconds of fusing of two commands of one core each, the slower one's; NaN where there is one core."""
    cores = sorted(os.sched_getaffinity(0))[-2:]
    outs = [folder / f"at_once{core}.h5" for core in cores]
    if len(cores) < 2:
        return math.nan
    both = [started([*asked, "-o", str(out)], core) for core, out in zip(cores, outs, strict=True)]
    seconds = max([ended(running) for running in both])
    for out in outs:
        out.unlink()
    return seconds


def difference(one: Path, two: Path, all_bands: bool = True) -> float:
    """Largest difference of two cubes, or of some of their bands, share of the range; holes must agree."""
    first, second = open_cube(one), open_cube(two)
    largest, low, high = 0.0, np.inf, -np.inf
    for start in range(0, first.n_bands if all_bands else 1, COMPARED):
        bands = np.arange(start, min(start + COMPARED, first.n_bands))
        values, others = first.read(bands), second.read(bands)
        if not np.array_equal(np.isnan(values), np.isnan(others)):
            return float("inf")
        largest = max(largest, float(np.nanmax(np.abs(values - others))))
        low, high = min(low, float(np.nanmin(values))), max(high, float(np.nanmax(values)))
    return largest / (high - low)


def fusion(method: str, folder: Path, shape: tuple[int, int], ways: tuple[str, ...]) -> dict[str, float]:
    """A strip, or more of a product, by one method, each way."""
    strip, small, alone = folder / "strip.h5", folder / "small.h5", folder / "alone.h5"
    entry = get(method)
    write_strip(strip, shape)
    save_cube(open_cube(strip).select(window=(0, SMALL, 0, SMALL)), small)
    halo = entry.halo_at(placement(open_cube(strip)).ratio)
    scene = LargeScene(open_cube(strip), halo=halo, held=entry.held, images=entry.images, own=entry.own)
    tiles = len(scene.windows)
    print(f"  {method}, {shape[0]}×{shape[1]} coarse pixels in {tiles} tiles, {len(os.sched_getaffinity(0))} cores\n"
          f"    {'':<24}start, s   fusing, s   times   start, processor s   fusing, processor s   of one"
          "   difference/range   peak MiB: command   worker", flush=True)  # fmt: skip
    out: dict[str, float] = {}
    first, alone_processors = 0.0, 0.0
    asked = ["pansharpen", "run", method]
    # bytes go by pixels, arithmetic by those of tiles with surroundings, of which a strip has fewer
    share = product_share(method, strip)
    for way in ways:
        options, one_core, suffix = WAYS[way]
        target = folder / f"other{suffix}" if options else alone
        seconds, _, start, _, _ = measured([*asked, str(small), "-o", str(folder / f"start{suffix}"), *options],
                                           one_core)  # fmt: skip
        # what was written before is on the disk: it burdens none that comes after
        os.sync()
        _, fusing, processors, peak, worker = measured([*asked, str(strip), "-o", str(target), *options], one_core)
        first = first or fusing
        alone_processors = alone_processors or processors - start
        apart = f"{difference(alone, target, shape != QUARTER):.1e}" if options else ""
        print(f"    {way:<24}{seconds:8.1f}{fusing:12.1f}{first / fusing:8.2f}{start:21.1f}{processors - start:22.1f}"
              f"{(processors - start) / alone_processors:9.2f}{apart:>19}{peak:20.0f}{worker:9.0f}",
              flush=True)  # fmt: skip
        out |= {
            f"{way} seconds": fusing, f"{way} start processor s": start, f"{way} processor s": processors - start,
            f"{way} MiB": max(peak, worker),
        }  # fmt: skip
    workers = out["2 workers, a core each seconds"]
    print(f"    2 workers: {first / workers:.2f} × one core (wanted ≥ {WANTED}); times are of fusing, the start aside"
          f"\n    a product of {PRODUCT[0]}×{PRODUCT[1]}: {first * share / 60:.1f} minutes on one core, "
          f"{workers * share / 60:.1f} by 2 workers", flush=True)  # fmt: skip
    if shape != QUARTER:
        os.sync()
        print(f"    two commands at once, a core each: {2 * first / two_at_once([*asked, str(strip)], folder):.2f} × "
              "one core", flush=True)  # fmt: skip
    size = alone.stat().st_size / 1e6 * math.prod(PRODUCT) / math.prod(shape)
    return out | {"product": share, "product MB": size, "load": os.getloadavg()[0]}


def plan() -> None:
    """Print what 10 000 products need, from what the parts measured."""
    print(
        f"  {PRODUCTS} products of {PRODUCT[0]}×{PRODUCT[1]} coarse pixels, one core a worker, `--batch`\n"
        "  method     cores   hours   memory, GiB   read, TB   kept beside, TB   written, TB   written, GB/s"
    )
    said = []
    for method in METHODS:
        kept = KEPT / f"{method}.json"
        if not kept.exists():
            print(f"  {method}: not measured, expected `python -m benchmarks.scale {method}` before")
            continue
        rate = json.loads(kept.read_text(encoding="utf-8"))
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(kept.stat().st_mtime))
        said.append(f"  {method}: a strip of {STRIPS[method][0]}×{STRIPS[method][1]}, {when}, at its end "
                    f"{rate['load']:.1f} processes at work")  # fmt: skip
        way = next(iter(WAYS))
        for cores in CORES:
            # of the processor alone, as the machine that measured may have been busy; a worker starts once
            hours = PRODUCTS * rate["product"] * rate[f"{way} processor s"] / cores / 3600
            size = PRODUCTS * rate["product MB"] / 1e6
            # one product in work a core
            print(f"  {method:<9}{cores:7}{hours:8.1f}{cores * rate[f'{way} MiB'] / 1024:14.0f}"
                  f"{PRODUCTS * PRODUCT_BYTES / 1e12:11.0f}{size / PRODUCTS * cores:18.1f}{size:14.0f}"
                  f"{size * 1e3 / hours / 3600:15.1f}")  # fmt: skip
    print("\n".join(said))


def told(text: str) -> None:
    """Say how far it is."""
    print(f"    {text}", file=sys.stderr, flush=True)


def part(name: str, folder: Path) -> None:
    """Measure and print one part."""
    began = time.perf_counter()
    if name == "plan":
        plan()
        return
    if name in METHODS:
        out = fusion(name, folder, STRIPS[name], METHODS[name])
    elif name == "product":
        out = {}
        for method in METHODS:
            out |= {f"{method} {key}": value for key, value in fusion(method, folder, QUARTER, SHORT).items()}
    elif name == "workers":
        kills, runs = kill_workers(folder, told)
        print(f"  workers killed by kill -9: {kills} of {KILLS} survived, in {runs} runs, "
              f"{time.perf_counter() - began:.0f} s", flush=True)  # fmt: skip
        out = {"kills": kills}
    else:
        died, finished, kept = kill_clients(folder, told)
        print(f"  commands killed by kill -9: {died} of {KILLS} survived, {finished} runs to their end, "
              f"{kept} tiles taken from killed ones, {time.perf_counter() - began:.0f} s", flush=True)  # fmt: skip
        out = {"kills": died}
    KEPT.mkdir(exist_ok=True)
    (KEPT / f"{name}.json").write_text(json.dumps(out), encoding="utf-8")


def bounded(name: str) -> None:
    """A part in a process of its own, ended with all that it started when it is longer than its limit."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        running = subprocess.Popen([sys.executable, "-m", "benchmarks.scale", name, folder], start_new_session=True)
        try:
            if running.wait(PARTS[name]):
                print(f"  {name}: ended with code {running.returncode}", flush=True)
        except subprocess.TimeoutExpired:
            print(f"  {name}: not ended in {PARTS[name]} s", flush=True)
        finally:
            # what a killed command left, too
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
            running.wait()


def main(names: list[str] | None = None) -> None:
    """Print the tables of some parts, or of all."""
    # whoever ends this ends what it started, and leaves no gigabytes behind
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    for name in names or PARTS:
        if name not in PARTS:
            sys.exit(f"benchmarks.scale: found {name!r}, expected some of {', '.join(PARTS)}")
        bounded(name)


if __name__ == "__main__":
    if sys.argv[2:] and Path(sys.argv[2]).is_absolute():
        part(sys.argv[1], Path(sys.argv[2]))
    else:
        main(sys.argv[1:])
