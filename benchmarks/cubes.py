"""A PRISMA-size product (239×1000×1000 with PAN 6000×6000): time of ``hsi info``, memory of a windowed convert."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.products import write_prisma

#: Runs a command line and prints its process's largest memory (VmHWM: ru_maxrss would begin with the parent's).
MEASURE = """
import sys
from hsitools.cli import main
try:
    main(sys.argv[1:])
finally:
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    print("PEAK", status["VmHWM"].split()[0], file=sys.stderr)
"""


def run(*arguments: str) -> tuple[float, float]:
    """Seconds and peak MiB of one ``hsi`` command."""
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", MEASURE, *arguments], capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - began
    return seconds, float(done.stderr.split("PEAK")[1]) / 1024


def main() -> dict[str, float]:
    """Print and return the figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        product = folder / "scene.he5"
        write_prisma(product, rows=1000, columns=1000, compression=None)
        print(f"PRISMA-size product, {product.stat().st_size / 2**20:.0f} MiB")
        out: dict[str, float] = {}
        window = str(folder / "window.h5")
        for label, *command in (
            ("hsi info", "info", str(product)),
            ("convert 400:1000 nm, 512×512", "convert", str(product), window, "--bands", "400:1000",
             "--window", "0:512,0:512"),
            ("convert everything", "convert", str(product), str(folder / "all.h5")),
            ("quicklook", "quicklook", str(product), "-o", str(folder / "rgb.png")),
        ):  # fmt: skip
            seconds, peak = run(*command)
            print(f"  {label:<30} {seconds:7.2f} s   {peak:6.0f} MiB at most")
            out[label] = seconds
            out[f"{label} MiB"] = peak
        print("  (targets: info < 1 s, windowed convert < 1 GB)")
    return out


if __name__ == "__main__":
    main()
