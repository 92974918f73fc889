"""What each part of `physics` adds: switched off in turn, on the golden case, tuning scenes, and pairs as they come."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from scipy.ndimage import shift

from benchmarks.captures import shared_folder
from benchmarks.fusion import real_pair
from benchmarks.fusion_pairs import bent
from hsitools.cube import Cube
from hsitools.io import open_cube
from hsitools.sensor import preset
from pansharpen.case import FusionCase
from pansharpen.comparison.judging import RANKING_CLASS, band_snr, judge
from pansharpen.in_memory import fuse_case, select_bands
from pansharpen.methods import physics
from pansharpen.pair.case_files import Convention, convention, read_case
from pansharpen.pair.wald import simulated_case
from pansharpen.physics import registration, relation, sharp_pan, subspace

INDICES = ("ERGAS", "SAM", "Q2n")
#: Tuning scenes, as PRISMA sees them at ratio 6.
SCENES = ("jasper_ridge", "abu_beach_2", "abu_urban_4")
#: Share of the truth's values that an atmospheric correction which takes too much makes negative.
NEGATIVE = 0.05
#: Fine pixels along x between the bands at both ends of a scene whose bands lie beside one another.
APART = 1.25
Change = tuple[Any, str, Any]


def ones(scene: Any, *_: Any) -> torch.Tensor:
    """Trust in every detail."""
    return torch.ones(1, scene.n_bands, dtype=torch.float64)


#: What is put in the place of what, to switch a part off.
PARTS: dict[str, list[Change]] = {
    "all of it": [],
    "PAN's own MTF stays on": [(physics, "with_sharp_pan", lambda scene: scene)],
    "a declared MTF is believed": [(sharp_pan, "own_mtf", lambda scene: scene.optics.pan_mtf)],
    "no gain by local noise of PAN": [(sharp_pan, "TINY", np.inf)],
    "components by levels alone": [(subspace, "_even", lambda *found: found[:3])],
    "no links": [(relation, "STRENGTH", 1e-9)],
    "no field of displacements": [(registration, "_bent", lambda *_: None)],
    "bands taken as lying on one another": [(physics, "band_places", lambda *_: None)],
    "details trusted": [(physics, "detail_trust", ones)],
    "no bound": [(physics, "_bounded", lambda scene: False)],
    "always a bound": [(physics, "_bounded", lambda scene: True)],
}


def observed(name: str) -> FusionCase:
    """A scene as PRISMA sees it, with its noise."""
    cube = open_cube(shared_folder() / "data" / "scenes" / f"{name}.h5")
    return simulated_case(cube, preset("prisma"), ratio=6, noise=True, seed=0)


def apart(name: str) -> FusionCase:
    """A scene of 430 to 860 nm whose bands lie beside one another, in proportion to the wavelength."""
    cube = open_cube(shared_folder() / "data" / "scenes" / f"{name}.h5")
    wavelength = np.asarray(cube.wavelength_nm)
    bands = np.flatnonzero((wavelength >= 430) & (wavelength <= 860) & cube.good)
    bands = bands[np.argsort(wavelength[bands])]
    place = APART * np.linspace(-0.5, 0.5, len(bands))
    images = cube.select(bands=bands).physical().read()
    moved = [shift(band, (0, by), order=3, mode="nearest") for band, by in zip(images, place, strict=True)]
    displaced = Cube(data=np.array(moved, dtype=np.float32), wavelength_nm=wavelength[bands])
    return simulated_case(displaced, preset("prisma"), ratio=4, noise=True, seed=0)


def too_dark(case: FusionCase) -> FusionCase:
    """The case with so much taken off each band that some of its truth is negative."""
    assert case.reference is not None
    assert case.optics.pan_response is not None
    off = torch.quantile(case.reference[0, :, ::2, ::2].flatten(1), NEGATIVE, dim=1)
    from_pan = float(torch.as_tensor(case.optics.pan_response, dtype=off.dtype) @ off)
    level = off[:, None, None]
    return case.replace(coarse=case.coarse - level, reference=case.reference - level, pan=case.pan - from_pan)


def golden(pan_mtf: float | None = None) -> FusionCase:
    """The golden case, whose PAN is sharp, with an MTF declared for it or none."""
    case = read_case(shared_folder() / "golden" / "jasper159_r6.npz", convention("toolbox"))
    return case.replace(optics=dataclasses.replace(case.optics, pan_mtf=pan_mtf))


#: Cases by name; golden ones are judged in the toolbox's conventions.
CASES: dict[str, Callable[[], FusionCase]] = {
    "golden": golden,
    "golden, an MTF declared that is not PAN's": partial(golden, 0.2),
    **{name: partial(observed, name) for name in SCENES},
    "abu_urban_1, too dark": lambda: too_dark(observed("abu_urban_1")),
    "abu_airport_1, bands apart, ratio 4": partial(apart, "abu_airport_1"),
    "abu_urban_4, bands apart, ratio 4": partial(apart, "abu_urban_4"),
    "jasper_ridge, bent": lambda: bent(observed("jasper_ridge"), np.random.default_rng(1)),
    "San Francisco, real bands of 443–660 nm as PAN": lambda: real_pair(6, slice(0, 4)),
}


def scores(case: FusionCase, rules: Convention) -> tuple[float, ...]:
    """ERGAS, SAM and Q2n on the bands that hold signal."""
    fused = fuse_case("physics", case.replace(findings={}))
    keep = np.arange(case.n_bands)
    if case.optics.noise_variance is not None:
        keep = np.flatnonzero(band_snr(case)[0] > RANKING_CLASS)
    values = judge(select_bands(case, keep), fused[:, keep], rules, INDICES)
    return tuple(values[name].value for name in INDICES)


def main() -> dict[str, float]:
    """Print the table; return ERGAS of each part switched off over that of the whole, mean of the cases."""
    torch.set_num_threads(1)
    print("physics with each part switched off in turn, ratio 6, PRISMA with noise: ERGAS, SAM (degrees), Q2n;")
    print("bands of SNR > 10; no ranked scene is among them")
    ratios: dict[str, list[float]] = {label: [] for label in PARTS}
    for name, make in CASES.items():
        case, rules = make(), convention("toolbox" if name.startswith("golden") else "hsitools")
        print(f"  {name}", flush=True)
        whole = 0.0
        for label, changes in PARTS.items():
            with contextlib.ExitStack() as stack:
                for owner, attribute, value in changes:
                    stack.enter_context(patch.object(owner, attribute, value))
                ergas, sam, q2n = scores(case, rules)
            whole = whole or ergas
            ratios[label].append(ergas / whole)
            print(f"    {label:32}{ergas:8.3f}{sam:8.3f}{q2n:8.4f}  {100 * (ergas / whole - 1):+6.1f} %", flush=True)
    out = {label: float(np.mean(values)) for label, values in ratios.items()}
    print("  ERGAS over that of the whole, mean of the cases; worst")
    for label, values in ratios.items():
        print(f"    {label:32}{out[label]:8.3f}{max(values):8.3f}")
    return out


if __name__ == "__main__":
    main()
