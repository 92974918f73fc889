"""Denoising of seven noise cases on a real scene, blind, one setting for all; the published peers' best rows beside."""

from __future__ import annotations

import denoise.methods  # noqa: F401  (registers them)
from benchmarks.captures import shared_folder
from benchmarks.denoise_published import WITH_TRUTH, best_published
from denoise.comparison.benchmark import benchmark
from denoise.comparison.report import PEERS
from denoise.comparison.simulate import SEVEN
from denoise.registry import METHODS


def main() -> dict[str, float]:
    """Print the table; return what the last of our methods gains on the best peer of each case, dB."""
    path = shared_folder() / "golden" / "denoise_pavia_centre.h5"
    print("Pavia Centre, 102×104×120: mean PSNR in dB; mean of the cases; seconds and MiB of the whole row")
    print(f"  {'':32}" + "".join(f"{case:>8}" for case in (*SEVEN, "mean")))
    ours: dict[str, float] = {}
    for method in (*PEERS, "TV", *(name for name in ("lowrank", "diffusion") if name in METHODS)):
        rows = {row["case"]: row for row in benchmark(path, method, SEVEN)}
        ours = {case: rows[case]["mpsnr"] for case in SEVEN}
        seconds, peak = sum(row["seconds"] for row in rows.values()), max(row["peak_mib"] for row in rows.values())
        print(f"  {method:32}{_row(ours)}{seconds:8.1f}{peak:6.0f}")
    best = {case: best_published(case) for case in SEVEN}
    print(f"  {'best published row of each case':32}{_row(best)}")
    print(f"  {'known mask, sigma, calibration':32}{_row(WITH_TRUTH)}")
    return {case: ours[case] - best[case] for case in SEVEN}


def _row(values: dict[str, float]) -> str:
    cells = [f"{values[case]:8.2f}" if case in values else f"{'–':>8}" for case in SEVEN]
    return "".join(cells) + (f"{sum(values.values()) / len(SEVEN):8.2f}" if len(values) == len(SEVEN) else f"{'–':>8}")


if __name__ == "__main__":
    main()
