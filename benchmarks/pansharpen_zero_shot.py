"""The zero-shot nets at their full schedules on the two golden cases, beside the published rows."""

from __future__ import annotations

import time

import torch

from benchmarks.captures import shared_folder
from pansharpen.comparison.judging import judge
from pansharpen.in_memory import fuse_case
from pansharpen.pair.case_files import convention, read_case

INDICES = ("ERGAS", "SAM", "Q2n")
NAMES = ("EXP", "R-PNN", "PCA-Z-PNN", "rho-PNN")
#: Of the published toolbox (``shared/peers.md``, section 2).
PUBLISHED = {
    "jasper159_r6": {"R-PNN, 1/5 of its steps": (5.0595, 10.3597, 0.76512), "PCA-Z-PNN": (5.3101, 9.9301, 0.75347)},
    "jasper159_r4": {"EXP": (6.9549, 7.9652, 0.81644)},
}


def main() -> dict[tuple[str, str], list[float]]:
    """Print and return the indices by (method, case)."""
    rules, out = convention("toolbox"), {}
    for name, rows in PUBLISHED.items():
        case = read_case(shared_folder() / "golden" / f"{name}.npz", rules)
        print(f"{name}, {torch.get_num_threads()} threads{'ERGAS':>20}{'SAM °':>9}{'Q2n':>9}{'seconds':>9}")
        for label, values in rows.items():
            print(f"  published {label:<30}" + "".join(f"{value:9.4f}" for value in values))
        for method in NAMES:
            began = time.perf_counter()
            found = judge(case, fuse_case(method, case), rules)
            seconds = time.perf_counter() - began
            out[method, name] = [found[index].value for index in INDICES]
            print(f"  ours      {method:<30}" + "".join(f"{v:9.4f}" for v in out[method, name]) + f"{seconds:9.1f}")
    return out


if __name__ == "__main__":
    main()
