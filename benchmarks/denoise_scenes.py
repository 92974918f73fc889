"""Denoising of scenes, seeds and noise levels that nothing was tuned on, and of real noisy cubes; peers beside."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import denoise.methods  # noqa: F401  (registers them)
from benchmarks.captures import shared_folder
from denoise.commands.benchmark import print_gains
from denoise.comparison.before_after import compare
from denoise.comparison.before_after_figures import write
from denoise.comparison.judging import measure
from denoise.comparison.report import PEERS, gains
from denoise.comparison.simulate import CASES, SEVEN, clean_cube, simulate
from denoise.registry import METHODS
from hsitools.comparison.task import OK
from hsitools.io import open_cube

OURS = tuple(name for name in ("lowrank", "diffusion") if name in METHODS)
#: Real noisy cubes, and the bands where it shows: asked for, or found.
REAL: dict[str, Any] = {
    "abu_urban_3": None, "abu_urban_1": None, "pavia_centre_crop": range(0, 5), "aviris_gator_vi": None,
    "abu_beach_1": None,
}  # fmt: skip
#: Of the noise that is simulated; not the golden file's.
SEED = 11


def scenes() -> Iterator[tuple[str, np.ndarray, dict[str, float], tuple[str, ...]]]:
    """Name, clean cube, settings of the noise, cases."""
    folder = shared_folder() / "data" / "scenes"
    for name in ("jasper_ridge", "enmap_potsdam_b"):
        yield name, clean_cube(open_cube(folder / f"{name}.h5"))[0], {}, tuple(CASES)
    with h5py.File(shared_folder() / "golden" / "denoise_pavia_centre.h5") as file:
        pavia = file["clean"][...]
    for level in (0.5, 1.0, 1.5):
        yield f"pavia, noise × {level:g}", pavia, {"level": level}, tuple(CASES)
    yield "pavia, jitter .03", pavia, {"jitter": 0.03}, tuple("def")


def main(figures: Path | None = None) -> dict[str, float]:
    """Print the tables; return what each of our methods gains on the best peer, mean over cases a–g and scenes, dB.

    With a folder, restore the real cubes too and write their figures there.
    """
    records = []
    for name, clean, settings, cases in scenes():
        rows = []
        for case in cases:
            noisy, _ = simulate(clean, case, SEED, **settings)
            for method in (*PEERS, *OURS):
                row = measure(clean, noisy, method, f"{name}: {case}")
                rows.append({"scene": name, "case": case, "status": OK, **row})
        print_gains(rows)
        if "finch" in cases:
            for part in (1.0, 1 / 3):
                changed = {**settings, "level": part * settings.get("level", 1.0)}
                noisy, truth = simulate(clean, "finch", SEED, **changed)
                # all of the noise: measured above
                found = (
                    {row["method"]: row for row in rows if row["case"] == "finch"} if part == 1
                    else {method: measure(clean, noisy, method) for method in (*PEERS, *OURS)}
                )  # fmt: skip
                plain = np.where(truth.outlier, noisy, noisy - truth.offset[:, None]).astype(np.float32)
                found["the same without stripes"] = measure(clean, plain, OURS[-1])
                angles = ", ".join(f"{name} {row['sam_bright_deg']:.2f}" for name, row in found.items())
                print(f"  finch, Gaussian noise × {part:.2g}, SAM on bright pixels, degrees: {angles}")
        if set(SEVEN) <= set(cases):  # a mean of d, e, f alone would flatter
            records += rows
    if figures is not None:
        for name, bands in REAL.items():
            for method in OURS:
                found = compare(open_cube(shared_folder() / "data" / "scenes" / f"{name}.h5"), method, bands)
                write(found, figures)
                print(found.text())
    means = {method: float(np.mean([gain.mean for gain in gains(records) if gain.method == method])) for method in OURS}
    print(
        "gain on the best peer of each case, mean: " + ", ".join(f"{m} {value:+.2f} dB" for m, value in means.items())
    )
    return means


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
