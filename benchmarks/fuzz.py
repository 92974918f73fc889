"""Ten thousand damaged files of all formats: what is opened, what is refused, and nothing else.

Each input is a good file of `tests.hsitools.io.test_fuzz` that was cut, or had bytes flipped, zeroed, repeated or
moved, or lines of its text exchanged. Faults are a traceback, a crash of the process, an error of several lines or one
that does not name the file, and ten seconds without an answer (the HDF5 library can loop within itself on damaged
heaps: such a child is ended). `python -m benchmarks.fuzz 300` takes fewer.
"""

from __future__ import annotations

import logging
import multiprocessing
import resource
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.products import copy_product
from hsitools.errors import HsiError
from hsitools.io import open_cube

#: Inputs in all, of one child process, and what counts as no answer (seconds).
INPUTS, BATCH, PATIENCE = 10_200, 150, 10
#: The largest window that is read, bytes.
WINDOW = 50e6


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """A file's bytes, damaged in one of several ways."""
    out, size = bytearray(content), len(content)
    start, length = (int(value) for value in (rng.integers(size), rng.integers(1, 65)))
    kind = int(rng.integers(7))
    if kind == 0:
        return bytes(out[:start])
    if kind == 1:
        for place in rng.integers(size, size=length):
            out[int(place)] = int(rng.integers(256))
    elif kind == 2:
        out[start : start + length] = bytes(len(out[start : start + length]))
    elif kind == 3:
        out[start:start] = out[max(0, start - length) : start]
    elif kind == 4:
        del out[start : start + length]
    elif kind == 5:
        # numbers that lie: sizes, offsets and counts are four or eight bytes
        value = int(rng.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**16, 255]))
        out[start : start + 4] = value.to_bytes(4, "little")
    else:
        lines = bytes(out).split(b"\n")
        one, other = (int(value) for value in rng.integers(len(lines), size=2))
        lines[one], lines[other] = lines[other], lines[one][: int(rng.integers(len(lines[one]) + 1))]
        return b"\n".join(lines)
    return bytes(out)


def outcome(path: Path) -> str:
    """What becomes of one file: "opened", "refused", or the fault."""
    try:
        cube = open_cube(path)
        cube.describe()
        _, height, width = cube.shape
        part = cube.select(window=(0, min(4, height), 0, min(4, width)))
        if part.nbytes < WINDOW:
            part.read()
        if cube.pan is not None:
            cube.pan.select(window=(0, 1, 0, 1)).read()
        return "opened"
    except HsiError as error:
        said = str(error)
        return "refused" if "\n" not in said and path.stem.split(".")[0] in said else f"unclear message: {said[:200]}"
    except Exception as error:
        return f"traceback: {type(error).__name__}: {error}"[:300]


def _batch(folder: Path, names: list[str], first: int, last: int, pipe: Any) -> None:
    """Inputs ``first`` to ``last`` (not included): sends what becomes of each, then the memory that they took, KiB."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    sys.unraisablehook = lambda _: None
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(first, last):
        source = Path(names[number % len(names)])
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            path = copy_product(source, Path(scratch) / "copy")
            path.write_bytes(damaged(path.read_bytes(), np.random.default_rng(number)))
            pipe.send(outcome(path))
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start)


def main(inputs: int = INPUTS) -> dict[str, Any]:
    """Print and return the counts."""
    from tests.hsitools.io.test_fuzz import FORMATS, build

    counts: Counter[str] = Counter()
    per_format: dict[str, Counter[str]] = {}
    faults, peak = 0, 0.0
    # rasterio and its like once, not in every child
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as name:
        good = build(Path(name))
        names = [str(good[format_]) for format_ in FORMATS]
        number = 0
        while number < inputs:
            last = min(inputs, number + BATCH)
            here, there = context.Pipe(duplex=False)
            child = context.Process(target=_batch, args=(Path(name), names, number, last, there))
            child.start()
            there.close()
            while True:
                try:
                    said = here.recv() if here.poll(PATIENCE) else "no answer"
                except EOFError:
                    said = "crash"
                if not isinstance(said, str):
                    peak = max(peak, said / 1024)
                    break
                kind = said.partition(":")[0]
                counts[kind] += 1
                file = Path(names[number % len(names)]).name[-24:]
                per_format.setdefault(file, Counter())[kind] += 1
                if kind not in ("opened", "refused"):
                    faults += 1
                    print(f"  {file}, input {number}: {said}", flush=True)
                number += 1
                if kind in ("no answer", "crash"):
                    break
            child.kill()
            child.join()
    print(f"{sum(counts.values())} damaged files of {len(per_format)} formats")
    for file, found in per_format.items():
        print(f"  {file:<26} " + "  ".join(f"{kind} {count}" for kind, count in sorted(found.items())))
    row = "  {:<28} {:>8}  {:>8}"
    print(row.format("", "0.1.0", "now"))
    # 0.1.0 was not fuzzed with these inputs
    for label, key in (("tracebacks", "traceback"), ("no answer in 10 s", "no answer"), ("crashes", "crash"),
                       ("messages unclear", "unclear message")):  # fmt: skip
        print(row.format(label, "–", counts[key]))
    print(row.format("MiB more at most", "–", f"{peak:.0f}"))
    return {"counts": dict(counts), "faults": faults, "peak_mib": peak}


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
