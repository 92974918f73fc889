"""What writing a fused product costs: 0.1.0 itself, its way with today's arithmetic, packed by threads, integers.

A strip of a PRISMA product is fused end to end by the command, in one run. 0.1.0 is taken out of this repository; it
wrote by HDF5's filters, chunk after chunk. The whole product's time is said as if all went by the pixels of its tiles,
surroundings included, of which a strip has none above and below: bytes are fewer. Processor seconds tell the same where
others are at work. A command that fails is said, and the others go on.
"""

from __future__ import annotations

import math
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.pansharpen_memory import METHODS, PRODUCT, STRIP, product_share, write_strip

#: ``hsi`` as it is, and with the writer of 0.1.0 in place of the threads.
NOW = "import sys; from hsitools.commands.root import main; main(sys.argv[1:])"
BEFORE = """
import sys
import hsitools.io.formats.native as native
class OneAfterAnother:
    def __init__(self, data): self.data = data
    def __enter__(self): return self
    def __exit__(self, *error): pass
    def write(self, corner, values):
        self.data[tuple(slice(a, a + n) for a, n in zip(corner, values.shape))] = values
native.ChunkWriter = OneAfterAnother
from hsitools.commands.root import main
main(sys.argv[1:])
"""
#: 0.1.0, and what runs it.
COMMIT, OLD = "23c9e6c", "import sys; from pansharpen.cli import pansharpen; pansharpen(sys.argv[2:])"
WAYS = {
    "0.1.0": (OLD, ()), "0.1.0's writer": (BEFORE, ()), "now": (NOW, ()), "now, int16": (NOW, ("--dtype", "int16")),
}  # fmt: skip
#: Wanted of "now" against 0.1.0; against its writer alone where there is no repository to take it from.
WANTED = {"GSA": 4.0, "MTF-GLP-FS": 4.0, "physics": 2.5}
WANTED_MINUTES = 6


def processor_seconds() -> float:
    """Of all processes that this one started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def take_out(folder: Path) -> bool:
    """0.1.0 into a folder; whether this is a repository that has it."""
    archive = subprocess.run(["git", "archive", COMMIT], cwd=Path(__file__).parent.parent, capture_output=True)
    if not archive.returncode:
        folder.mkdir()
        subprocess.run(["tar", "x", "-C", str(folder)], input=archive.stdout, check=True)
    return not archive.returncode


def main() -> dict[str, float]:
    """Print and return seconds, times as fast, and size of the file."""
    # whoever ends this ends its command too, and leaves no gigabytes behind
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    out: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        has_old = take_out(folder / "old")
        write_strip(folder / "strip.h5", STRIP)
        print(f"  strip of {STRIP[0]}×{STRIP[1]} coarse pixels; the product has {PRODUCT[0]}×{PRODUCT[1]} "
              f"(wanted ≤ {WANTED_MINUTES} minutes)")  # fmt: skip
        print(f"  {'':<12} {'written by':<16} {'seconds':>8} {'times':>6} {'wanted':>7} {'processor s':>12} {'MB':>6} "
              f"{'product, min':>13}", flush=True)  # fmt: skip
        for method in METHODS:
            first, share = math.nan, product_share(method, folder / "strip.h5")
            for way, (code, options) in WAYS.items():
                if code == OLD and not has_old:
                    continue
                target = folder / "out.h5"
                began, used = time.perf_counter(), processor_seconds()
                done = subprocess.run(
                    [sys.executable, "-c", code, "pansharpen", "run", method, str(folder / "strip.h5"), "-o",
                     str(target), *options],
                    capture_output=True, text=True, cwd=folder / "old" if code == OLD else None,
                )  # fmt: skip
                if done.returncode:
                    print(f"  {method:<12} {way:<16} ended with code {done.returncode}; {done.stderr.strip()}",
                          flush=True)  # fmt: skip
                    continue
                seconds, used = time.perf_counter() - began, processor_seconds() - used
                first = seconds if math.isnan(first) else first
                size = target.stat().st_size / 1e6
                minutes = math.nan if code == OLD else seconds * share / 60
                wanted = f"≥ {WANTED[method]:g}" if way == "now" else ""
                times = f"{first / seconds:6.2f} {wanted:>7} {used:12.1f}"
                print(f"  {method:<12} {way:<16} {seconds:8.1f} {times} {size:6.0f} {minutes:13.1f}", flush=True)
                out |= {
                    f"{method} {way} seconds": seconds, f"{method} {way} MB": size,
                    f"{method} {way} processor s": used,
                }  # fmt: skip
                target.unlink()
    return out


if __name__ == "__main__":
    main()
