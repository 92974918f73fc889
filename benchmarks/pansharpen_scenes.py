"""Fusion of the ranked real scenes as a PRISMA-like sensor sees them: ratios 4 and 6, with and without its noise."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.captures import shared_folder
from benchmarks.scenes import RANKED
from hsitools.comparison.ranking import goodness
from pansharpen.commands.benchmark import print_ranking
from pansharpen.comparison.benchmark import Benchmark
from pansharpen.comparison.table import RANKED_ON, by_case, ranking_name
from pansharpen.registry import METHODS

#: Shown beside the best method of the first two families; all take part in the ranks.
SHOWN = ("EXP", "HySURE", "TV", "physics")
CLASSICAL = ("component substitution", "multiresolution")


def text(row) -> str:
    """ERGAS, SAM and Q2n of a row of the table, over the bands that hold signal."""
    ergas, sam, q2n = (row[ranking_name(name, [row])] for name in ("ERGAS", "SAM", "Q2n"))
    return f"{ergas:7.2f}{sam:6.2f}{q2n:6.3f}"


def main() -> dict[str, float]:
    """Print and return the mean gain in ERGAS of physics on the best classical method, in percent."""
    folder = shared_folder() / "data" / "scenes"
    with tempfile.TemporaryDirectory() as name:
        made = Benchmark.create(
            Path(name) / "results", scenes=[folder / f"{scene}.h5" for scene in RANKED], ratios=(4, 6),
            noises=(True, False), threads=1,
        )  # fmt: skip
        made.run()
        rows = made.rows()
    print(f"ERGAS, SAM (degrees), Q2n on {RANKED_ON}; the scene's pixels are PAN's, the reference is the")
    print("scene in the sensor's bands")
    heads = "".join(f"{head:^21}" for head in (SHOWN[0], "best classical", *SHOWN[1:]))
    print(f"  {'scene, ratio, noise':33}{heads}")
    gains = []
    for group in by_case(rows).values():
        found = {row["method"]: row for row in group}
        classical = (row for row in group if METHODS[row["method"]].family in CLASSICAL)
        ergas = ranking_name("ERGAS", group)
        best = min(classical, key=lambda row: goodness("ERGAS", row[ergas]))
        shown = [found[SHOWN[0]], best, *(found[method] for method in SHOWN[1:])]
        label = f"{group[0]['case']}, {group[0]['ratio']}, {'noise' if group[0]['noise'] else 'none'}"
        print(f"  {label:33}" + "  ".join(map(text, shown)) + f"   classical: {best['method']}")
        gains.append(100 * (1 - found["physics"][ergas] / best[ergas]))
    print_ranking(rows)
    mean = sum(gains) / len(gains)
    print(f"  ERGAS of physics against the best classical method of each case: {mean:.0f} % lower on average, "
          f"{min(gains):.0f} to {max(gains):.0f} %")  # fmt: skip
    return {"gain": mean}


if __name__ == "__main__":
    main()
