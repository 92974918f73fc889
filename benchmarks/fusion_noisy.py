"""Noisy, striped cubes: fused as they are, denoised first, denoised last, or jointly, on ranked scenes.

What is denoised last must be told its noise: a fused cube is a sum of a few components and what is smooth beside them,
so that its bands foretell one another exactly, and errors of the components look like a scene. The fusion's error bars
say how large they are.

The constants of `denoise.observed` and `denoise.separation.spikes` were set on tuning scenes (`benchmarks.scenes`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import torch

from benchmarks.captures import shared_folder
from benchmarks.scenes import RANKED
from denoise.case import Known
from denoise.restore import restore
from hsitools.io import open_cube
from hsitools.metrics import evaluate
from hsitools.sensor import preset
from pansharpen.case import FusionCase
from pansharpen.in_memory import fuse_case, posterior_of
from pansharpen.noisy import without_noise
from pansharpen.pair.wald import simulated_case

#: The first four; all of them by name.
SCENES = RANKED[:4]
RATIO, SNR_DB = 4, 20.0
#: Share of the columns that are striped, and their offsets in standard deviations of the noise, each band's by itself.
STRIPED, OFFSET = 0.3, 2.0
#: Share of the voxels that are 0 or half again the band's largest value.
IMPULSES = 0.003
WAYS = ("as is", "denoise, fuse", "fuse, denoise", "jointly")


def observed(name: str, *, impulses: bool, seed: int = 1) -> FusionCase:
    """A scene at ratio 4 as PRISMA's optics see it, by a detector of 20 dB with stripes."""
    cube = open_cube(shared_folder() / "data" / "scenes" / f"{name}.h5")
    case = simulated_case(cube, preset("prisma"), ratio=RATIO, noise=False)
    clean, random = case.coarse[0].double().numpy(), np.random.default_rng(seed)
    bands, _, width = clean.shape
    sigma = np.sqrt(np.nanmean(clean**2, (1, 2), keepdims=True) / 10 ** (SNR_DB / 10))
    striped = random.random(width) < STRIPED
    offset = OFFSET * sigma * random.standard_normal((bands, 1, width)) * striped
    values = clean + offset + sigma * random.standard_normal(clean.shape)
    if impulses:
        hit = random.random(clean.shape) < IMPULSES
        extreme = 1.5 * random.integers(0, 2, clean.shape) * np.nanmax(clean, (1, 2), keepdims=True)
        values = np.where(hit, extreme, values)
    return case.replace(coarse=torch.as_tensor(values.astype(np.float32))[None])


def fused(case: FusionCase) -> Iterator[torch.Tensor]:
    """The fused cubes, in the order of `WAYS`."""

    def denoised(cube: torch.Tensor, known: Known | None = None) -> torch.Tensor:
        return torch.as_tensor(restore(cube[0].numpy(), "lowrank", known=known).estimate)[None]

    plain, std = posterior_of("physics", case)
    yield plain
    yield fuse_case("physics", case.replace(coarse=denoised(case.coarse)))
    yield denoised(plain, Known(sigma=std[0].double().square().nanmean((1, 2)).sqrt().numpy()))
    yield fuse_case("physics", without_noise(case, "blind"))


def main(scenes: tuple[str, ...] = SCENES) -> dict[str, float]:
    """Print the table; return in how many rows the joint form is best on both indices."""
    torch.set_num_threads(1)
    print(f"cubes of {SNR_DB:g} dB, {STRIPED:.0%} of the columns striped, ratio {RATIO}: ERGAS / SAM by physics;")
    print("denoiser lowrank, told the fusion's error bars where it comes last; wanted: jointly best on both;")
    print("0.1.0 has the first three columns' ways only")
    print(f"  {'scene':36}" + "".join(f"{way:>17}" for way in WAYS))
    best = []
    for impulses in (False, True):
        for name in scenes:
            began, case, found = time.perf_counter(), observed(name, impulses=impulses), []
            assert case.reference is not None
            print(f"  {name + (', .3 % impulses' if impulses else ''):36}", end="", flush=True)
            for result in fused(case):
                index = evaluate(
                    result[0].numpy(), case.reference[0].numpy(), ratio=RATIO, border=RATIO, metrics=("ERGAS", "SAM")
                )  # fmt: skip
                found.append((index["ERGAS"].value, index["SAM"].value))
                print(f"{found[-1][0]:10.3f}/{found[-1][1]:6.3f}", end="", flush=True)
            print(f"   {time.perf_counter() - began:5.1f} s", flush=True)
            best.append(np.argmin(found, axis=0) == len(WAYS) - 1)
    ergas, sam = np.sum(best, axis=0)
    print(f"  of {len(best)}: jointly best on ERGAS {ergas}, on SAM {sam}")
    return {"ergas": ergas / len(best), "sam": sam / len(best)}


if __name__ == "__main__":
    main()
