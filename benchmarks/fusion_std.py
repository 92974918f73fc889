"""Do the error bars of fusion cover: ranked scenes, ratios 4 and 6, with noise and without, and with a wrong MTF.

In parts: ``HSITOOLS_KEPT=FILE python -m benchmarks.fusion_std samson``; ``python -m benchmarks fusion_std`` the rest.
The constants of `pansharpen.physics.error_scale` were set on the tuning scenes of `benchmarks.scenes` alone.
"""

from __future__ import annotations

import sys
import time
from functools import partial

import numpy as np
import torch
from scipy.stats import spearmanr

from benchmarks.captures import shared_folder
from benchmarks.kept import results
from benchmarks.scenes import RANKED
from hsitools.io import open_cube
from hsitools.sensor import preset
from pansharpen.case import FusionCase
from pansharpen.in_memory import posterior_of
from pansharpen.pair.wald import simulated_case

#: Gains at Nyquist over those that the method is told.
WRONG_MTF = (0.7, 1.3)
#: Every so many voxels take part in a rank correlation.
STEP = 11


def observed(name: str, ratio: int, *, noise: bool, mtf: float = 1.0) -> FusionCase:
    """A scene as a PRISMA-like sensor sees it whose MTF is another than it says."""
    cube, sensor = open_cube(shared_folder() / "data" / "scenes" / f"{name}.h5"), preset("prisma")
    case = simulated_case(cube, sensor.replace(mtf=mtf * sensor.mtf), ratio=ratio, noise=noise, seed=1)
    told = simulated_case(cube, sensor, ratio=ratio, noise=False, seed=1).optics.mtf if mtf != 1 else case.optics.mtf
    return case.replace(optics=type(case.optics)(**{**vars(case.optics), "mtf": told}))


def scores(case: FusionCase) -> tuple[float, float, float, float]:
    """Shares within 95 % intervals: mean of the bands, mean of their worst tenth; rank correlations of std and error.

    Of voxels, and of pixels (root mean square over bands in units of each band's own).
    """
    assert case.reference is not None
    r = case.optics.ratio
    estimate, std = posterior_of("physics", case)
    error, spread = (
        image[0, :, r:-r, r:-r].double().numpy() for image in (estimate - case.reference, std)
    )  # fmt: skip
    # pixels that were measured, of what fills a scene's corners nothing is known
    known = np.isfinite(error).all(0)
    error, spread = error[:, known], spread[:, known]
    share = np.sort((np.abs(error) < 1.96 * spread).mean(1))
    voxels = spearmanr(np.abs(error).ravel()[::STEP], spread.ravel()[::STEP])[0]
    maps = ((image**2 / (image**2).mean(1, keepdims=True)).mean(0) for image in (error, spread))
    return float(share.mean()), float(share[: max(len(share) // 10, 1)].mean()), voxels, spearmanr(*maps)[0]


def main(*scenes: str) -> dict[str, float]:
    """Print the table, of some scenes or all; return how many of its rows are as wanted."""
    torch.set_num_threads(1)
    print("physics --std on ranked scenes as PRISMA sees them: share of the true values within 95 % intervals (all")
    print("bands; their worst tenth), rank correlation of standard deviation and error (voxels; pixels)")
    print("wanted: .91 to .98, at least .85, at least .5; 0.1.0 has no error bars")
    rows = []
    for name in scenes or RANKED:
        kinds = [(ratio, noise, 1.0) for ratio in (4, 6) for noise in (False, True)]
        for ratio, noise, mtf in kinds + [(6, True, mtf) for mtf in WRONG_MTF]:
            began = time.perf_counter()
            of = {"table": "fusion_std", "scene": name, "ratio": ratio, "noise": noise, "mtf": mtf}
            case = partial(observed, name, ratio, noise=noise, mtf=mtf)
            found = results().get(of, lambda case=case: scores(case()))
            rows.append(found)
            said = f"{name}, {ratio}, {'noise' if noise else 'none'}" + (f", MTF × {mtf:g}" if mtf != 1 else "")
            numbers = "{:6.3f}{:7.3f}{:7.2f}{:6.2f}".format(*found)
            print(f"  {said:44}{numbers}   {time.perf_counter() - began:5.1f} s", flush=True)
    table = np.array(rows)
    good = (table[:, 0] >= 0.91) & (table[:, 0] <= 0.98), table[:, 1] >= 0.85, table[:, 2] >= 0.5, table[:, 3] >= 0.5
    counts = [int(part.sum()) for part in good]
    print(f"  of {len(table)}: coverage as wanted {counts[0]}, worst tenth {counts[1]}, rank of voxels {counts[2]}, "
          f"of pixels {counts[3]}; mean coverage {table[:, 0].mean():.3f}")  # fmt: skip
    return {"covered": float(good[0].mean()), "worst": float(good[1].mean()), "ranked": float(good[2].mean())}


if __name__ == "__main__":
    main(*sys.argv[1:])
