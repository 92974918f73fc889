"""Fusion guided by the bands of another sensor: ranked scenes with Sentinel-2, and a real Hyperion and ALI pair.

Hours on one core: ``HSITOOLS_KEPT=FILE python -m benchmarks.guide samson`` does one scene (or ``pair``, and ``+METHOD``
some methods only), and ``HSITOOLS_KEPT=FILE python -m benchmarks guide`` the rest, and prints what is done already.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial

import h5py
import numpy as np
import torch

from benchmarks.captures import shared_folder
from benchmarks.kept import results
from benchmarks.scenes import RANKED
from hsitools.io import open_cube
from hsitools.sensor import preset
from hsitools.sensor.multispectral import band_table
from hsitools.sensor.spatial import mtf_decimate
from pansharpen.case import FusionCase, guided
from pansharpen.comparison.judging import judge
from pansharpen.guide import Guide
from pansharpen.in_memory import fuse_case
from pansharpen.optics import Optics
from pansharpen.pair.guides import response_rows
from pansharpen.pair.wald import simulated_case

#: Of that field, and what methods for PAN make of the mean of the sharp bands.
FIELD = ("EXP", "MTF-GLP-FS", "GLP-HS", "SFIM-HS", "CNMF", "FUSE", "HySURE", "physics")
INDICES = ("ERGAS", "SAM", "Q2n")
RATIOS = (3, 6)
SNR_DB = 35.0
#: Name of the real pair among scenes.
PAIR = "pair"


def simulated(scene: str, ratio: int) -> FusionCase:
    """The scene in a PRISMA-like sensor's bands, guided by Sentinel-2's of 10 and 20 m; the scene's pixels are 10 m."""
    path = shared_folder() / "data" / "scenes" / f"{scene}.h5"
    return simulated_case(open_cube(path), preset("prisma"), ratio=ratio, guide="sentinel-2", snr_db=SNR_DB)


def hyperion_ali(ratio: int) -> FusionCase:
    """Real Hyperion bands degraded after Wald, real ALI bands of the same date on the same grid."""
    with h5py.File(shared_folder() / "data" / "scenes" / "sanfrancisco_hyperion_ali.h5") as file:
        cube, bands = (torch.as_tensor(file[name][()].astype(np.float32))[None] for name in ("cube", "ms"))
        wavelength, centres = file["wavelength_nm"][()].astype(float), file["ms_wavelength_nm"][()]
    height, width = (size // 6 * 6 for size in cube.shape[-2:])
    cube, bands = cube[..., :height, :width], bands[..., :height, :width]
    ali = band_table("ali").sensor()
    known = ali.response.wavelength_nm
    chosen = [int(np.abs(known[:9] - centre).argmin()) for centre in centres]
    response = response_rows(ali.select(chosen), wavelength)
    optics = Optics(ratio=ratio, mtf=0.25, wavelength_nm=wavelength)
    coarse = mtf_decimate((height, width), 0.25, ratio)(cube)
    return guided(coarse, [Guide(image=bands, response=response, name="ALI")], optics, reference=cube)


def scores(case: FusionCase, method: str) -> list[float]:
    """ERGAS, SAM (degrees), Q2n, seconds."""
    began = time.perf_counter()
    fused = fuse_case(method, case)
    seconds = time.perf_counter() - began
    found = judge(case, fused, metrics=INDICES)
    return [found[name].value for name in INDICES] + [seconds]


def table(label: str, load: Callable[[], FusionCase], methods: Sequence[str]) -> dict[str, list[float]]:
    """Print a row a method as it is done, and return all scores by method."""
    case = cache(load)  # not read when all rows are kept

    def sizes() -> str:
        return f"{case().n_bands} bands, {case().tile.sharp.shape[1]} sharp ones"

    print(f"{label}: {results().get({'table': 'guide', 'case': label}, sizes)}")
    rows = {}
    for method in methods:
        of = {"table": "guide", "case": label, "method": method}
        rows[method] = results().get(of, lambda method=method: scores(case(), method))
        print(f"  {method:14}" + "{:8.3f}{:7.2f}{:8.4f}{:7.1f} s".format(*rows[method]), flush=True)
    best = [min(rows, key=lambda m: rows[m][0]), min(rows, key=lambda m: rows[m][1]),
            max(rows, key=lambda m: rows[m][2])]  # fmt: skip
    print(f"  best: {', '.join(f'{index} {method}' for index, method in zip(INDICES, best, strict=True))}", flush=True)
    return rows


def cases(wanted: Sequence[str]) -> Iterator[tuple[str, Callable[[], FusionCase]]]:
    """The real pair (``pair``) and scenes by name, at each ratio, under a heading."""
    if PAIR in wanted:
        print("Real Hyperion (degraded after Wald) and real ALI bands, San Francisco")
        yield from ((f"Hyperion and ALI, ratio {ratio}", partial(hyperion_ali, ratio)) for ratio in RATIOS)
    print(f"Scenes as a PRISMA-like sensor and Sentinel-2 see them, SNR {SNR_DB:g} dB in both")
    for scene in wanted:
        if scene != PAIR:
            yield from ((f"{scene}, ratio {ratio}", partial(simulated, scene, ratio)) for ratio in RATIOS)


def main(*wanted: str) -> dict[str, float]:
    """Print both tables, or some of it; return by how many percent ERGAS of `physics` lies below the best other method.

    Parameters
    ----------
    *wanted : str
        Scenes, or ``pair``; names of methods after a plus sign.
    """
    torch.set_num_threads(1)
    methods = [name[1:] for name in wanted if name.startswith("+")] or FIELD
    chosen = [name for name in wanted if not name.startswith("+")] or [PAIR, *RANKED]
    print("ERGAS, SAM (degrees), Q2n, seconds. MTF-GLP-FS is given the mean of the sharp bands for PAN.")
    print("0.1.0: had no guides.")
    gains = {}
    for label, load in cases(chosen):
        rows = table(label, load, methods)
        others = [row[0] for method, row in rows.items() if method != "physics"]
        if "physics" in rows and others:
            gains[label] = 100 * (1 - rows["physics"][0] / min(others))
    if gains:
        print(f"physics' ERGAS below that of the best other: {min(gains.values()):.0f} to {max(gains.values()):.0f} %")
    return gains


if __name__ == "__main__":
    main(*sys.argv[1:])
