"""Denoising of seven noise cases on a real scene, blind, one setting for all; the published peers' best rows beside."""

from __future__ import annotations

from benchmarks.captures import shared_folder
from denoise.protocol import benchmark

CASES = "abcdefg"
#: Mean PSNR (dB) of peers (peers.md): the best that a user can install, case by case, and what knowing the truth gives.
PEERS = {
    "best peer of each case": (38.4, 38.2, 37.3, 36.1, 31.0, 30.6, 43.6),
    "known mask, sigma, calibration": (None, 37.7, 37.5, 37.2, 37.1, 36.3, 46.2),
}
METHODS = ("column-median", "TV", "lowrank")


def main() -> dict[str, float]:
    """Print the table; return what `lowrank` gains on the best peer of each case, dB."""
    path = shared_folder() / "golden" / "denoise_pavia_centre.h5"
    print("Pavia Centre, 102×104×120: mean PSNR in dB; seconds and MiB of the whole row")
    print(f"  {'':32}" + "".join(f"{case:>8}" for case in CASES))
    ours: dict[str, float] = {}
    for method in METHODS:
        rows = {row["case"]: row for row in benchmark(path, method, tuple(CASES))}
        seconds, peak = sum(row["seconds"] for row in rows.values()), max(row["peak_mib"] for row in rows.values())
        print(
            f"  {method:32}" + "".join(f"{rows[case]['mpsnr']:8.2f}" for case in CASES) + f"{seconds:8.1f}{peak:6.0f}"
        )
        ours = {case: rows[case]["mpsnr"] for case in CASES}
    for name, values in PEERS.items():
        print(f"  {name:32}" + "".join(f"{'–' if value is None else value:>8}" for value in values))
    return {case: ours[case] - best for case, best in zip(CASES, PEERS["best peer of each case"], strict=True)}


if __name__ == "__main__":
    main()
