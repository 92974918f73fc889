"""Fusion guided by the bands of another sensor: ranked scenes with Sentinel-2, and a real Hyperion and ALI pair."""

from __future__ import annotations

import sys
import time

import h5py
import numpy as np
import torch

from benchmarks.captures import shared_folder
from benchmarks.scenes import RANKED
from hsitools.io import open_cube
from hsitools.sensor import preset
from hsitools.sensor.multispectral import band_table
from hsitools.sensor.spatial import mtf_decimate
from pansharpen.case import guided
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


def simulated(scene, ratio):
    """The scene in a PRISMA-like sensor's bands, guided by Sentinel-2's of 10 and 20 m; the scene's pixels are 10 m."""
    path = shared_folder() / "data" / "scenes" / f"{scene}.h5"
    return simulated_case(open_cube(path), preset("prisma"), ratio=ratio, guide="sentinel-2", snr_db=SNR_DB)


def hyperion_ali(ratio):
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


def scores(case, method):
    """ERGAS, SAM (degrees), Q2n, seconds."""
    began = time.perf_counter()
    fused = fuse_case(method, case)
    seconds = time.perf_counter() - began
    found = judge(case, fused, metrics=INDICES)
    return [found[name].value for name in INDICES] + [seconds]


def table(cases, methods):
    """Print a row a method as it is done, and return all scores by case and method."""
    out = {}
    for label, case in cases:
        print(f"{label}: {case.n_bands} bands, {case.tile.sharp.shape[1]} sharp ones")
        for method in methods:
            out[label, method] = scores(case, method)
            print(f"  {method:14}" + "{:8.3f}{:7.2f}{:8.4f}{:7.1f} s".format(*out[label, method]), flush=True)
        rows = {method: out[label, method] for method in methods}
        best = [min(rows, key=lambda m: rows[m][0]), min(rows, key=lambda m: rows[m][1]),
                max(rows, key=lambda m: rows[m][2])]  # fmt: skip
        print(f"  best: {', '.join(f'{index} {method}' for index, method in zip(INDICES, best, strict=True))}")
        sys.stdout.flush()
    return out


def main() -> dict[str, float]:
    """Print both tables; return by how many percent ERGAS of `physics` lies below the best other method."""
    print("ERGAS, SAM (degrees), Q2n, seconds. MTF-GLP-FS is given the mean of the sharp bands for PAN.")
    print("0.1.0: had no guides.")
    print("Real Hyperion (degraded after Wald) and real ALI bands, San Francisco")
    pairs = [(f"Hyperion and ALI, ratio {ratio}", hyperion_ali(ratio)) for ratio in RATIOS]
    out = table(pairs, FIELD)
    print(f"Scenes as a PRISMA-like sensor and Sentinel-2 see them, SNR {SNR_DB:g} dB in both")
    cases = ((f"{scene}, ratio {ratio}", simulated(scene, ratio)) for scene in RANKED for ratio in RATIOS)
    out |= table(cases, FIELD)
    gains = {}
    for label in dict.fromkeys(label for label, _ in out):
        best = min(score[0] for (where, method), score in out.items() if where == label and method != "physics")
        gains[label] = 100 * (1 - out[label, "physics"][0] / best)
    print(f"physics' ERGAS below that of the best other: {min(gains.values()):.0f} to {max(gains.values()):.0f} %")
    return gains


if __name__ == "__main__":
    main()
