"""Where `physics` stands on the ranked scenes: against the best other method of each cell, zero-shot nets included.

Six scenes as a PRISMA-like sensor sees them, ratios 6 and 4, with its noise and without, judged on the bands that hold
signal. Hours in all, most of them the nets'. ``HSITOOLS_KEPT`` names a folder where finished cells stay: a run that was
stopped goes on there, with methods whose code has changed done anew, and ``python -m benchmarks.ranked --shown`` prints
what there is of it; ``python -m benchmarks.ranked physics TV HySURE`` runs and compares these alone, in minutes.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.captures import shared_folder
from benchmarks.scenes import RANKED
from hsitools.comparison.benchmark import RECORDS
from hsitools.comparison.ranking import Row, goodness
from hsitools.comparison.task import OK
from pansharpen.comparison.benchmark import Benchmark, default_methods
from pansharpen.comparison.table import RANKED as INDICES
from pansharpen.comparison.table import RANKED_ON, by_case, ranking_name
from pansharpen.registry import METHODS, names

#: The nets come last: what the others say is there within the hour.
STAGES = {
    "others": default_methods,
    "zero_shot": lambda: [name for name in names() if METHODS[name].family == "zero-shot net"],
}
#: Share by which the best other may be better and still be called as good.
NEAR = 0.03


def stage(folder: Path, methods: list[str]) -> Benchmark:
    """The benchmark of some methods in a folder, begun or gone on with."""
    if (folder / "benchmark.json").exists() or (folder / RECORDS).exists():
        return Benchmark.open(folder)
    scenes = [shared_folder() / "data" / "scenes" / f"{scene}.h5" for scene in RANKED]
    return Benchmark.create(folder, scenes=scenes, methods=methods, ratios=(6, 4), noises=(True, False), threads=1)


def rows_of(folder: Path, chosen: list[str], *, run: bool) -> list[Row]:
    """Finished cells of all stages, or of the chosen methods; ``run`` does those that are not first."""
    rows = []
    stages = {"-".join(chosen): lambda: chosen} if chosen else STAGES
    for name, methods in stages.items():
        made = stage(folder / name, methods())
        if run:
            made.run(progress=lambda done, total: print(f"\r{done}/{total} ", end="", file=sys.stderr, flush=True))
        rows += made.rows()
    return rows


def show(rows: list[Row]) -> dict[str, Any]:
    """Print a line for each case in which `physics` is done; return the share in which it is best, by index."""
    indices = INDICES["reduced"]
    print(f"physics / best other of how many methods, {RANKED_ON}; PRISMA; * is the best")
    print(f"  {'scene, ratio, noise':36}" + "".join(f"{index:^42}" for index in indices))
    behind: dict[str, list[float]] = {index: [] for index in indices}
    for group in by_case([row for row in rows if row["status"] == OK]).values():
        own = next((row for row in group if row["method"] == "physics"), None)
        others = [row for row in group if row["method"] != "physics"]
        if own is None or not others:
            continue
        case = f"{own['case']}, {own['ratio']}, {'noise' if own['noise'] else 'none'}"
        line = f"  {case:32}{len(others):4}"
        for index in indices:
            column = ranking_name(index, group)
            best = min(others, key=lambda row: goodness(index, row[column]))
            # errors for indices that are best at zero; likenesses as they are
            larger, smaller = (own, best) if index != "Q2n" else (best, own)
            share = larger[column] / smaller[column] - 1
            behind[index].append(share)
            mark = "*" if share <= 0 else " "
            line += f"{own[column]:9.4f}{mark} {best[column]:8.4f} {best['method']:14}{100 * share:+6.1f} %"
        print(line)
    for index, shares in behind.items():
        best, near = (sum(share <= limit for share in shares) for limit in (0.0, NEAR))
        print(f"  {index}: best in {best} of {len(shares)} cells, within {100 * NEAR:.0f} % of the best in {near}; "
              f"worst {100 * max(shares, default=0.0):+.1f} %")  # fmt: skip
    return {index: sum(share <= 0 for share in shares) / max(len(shares), 1) for index, shares in behind.items()}


def main(chosen: list[str] | None = None, *, run: bool = True) -> dict[str, Any]:
    """Do what is not done, and print the table."""
    kept = os.environ.get("HSITOOLS_KEPT")
    if kept is not None:
        return show(rows_of(Path(kept), chosen or [], run=run))
    with tempfile.TemporaryDirectory() as folder:
        return show(rows_of(Path(folder), chosen or [], run=run))


if __name__ == "__main__":
    main([word for word in sys.argv[1:] if word != "--shown"], run="--shown" not in sys.argv[1:])
