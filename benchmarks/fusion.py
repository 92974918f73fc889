"""Fusion where the sensor is not ideal: MTFs that differ by band and axis, holes, a real pair, an odd PAN, files.

Scenes that are never ranked: jasper_ridge, abu_airport_2, and the real pair of San Francisco.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from benchmarks.captures import shared_folder
from hsitools.cube import Cube
from hsitools.io import open_cube, save_cube
from hsitools.sensor import preset
from hsitools.sensor.separable import size_of
from hsitools.sensor.spatial import mtf_blur, mtf_decimate
from pansharpen.case import FusionCase
from pansharpen.comparison.judging import judge
from pansharpen.in_memory import fuse_case
from pansharpen.optics import Optics
from pansharpen.pair.holes import fill_nearest
from pansharpen.pair.wald import simulated_case
from pansharpen.tiled import fuse_cube

METHODS = ("EXP", "MTF-GLP-FS", "TV", "HySURE", "physics")
#: ERGAS and SAM of `physics` that 0.1.0 gives on the same cases (its commit 23c9e6c, one thread).
MTF_BEFORE = {
    "same, .30": (3.183, 6.42), "same, .35": (3.182, 6.39), "by band, .45 to .15": (3.695, 7.68),
    "y .16, x .45": (3.418, 6.94), "y .10, x .60": (3.719, 7.81),
}  # fmt: skip
#: ERGAS, detail correlation, percent negative, worst band over EXP.
PAIR_BEFORE = {
    "ratio 3, all ALI bands": (2.898, 0.982, 0.01, 0.764), "ratio 6, all ALI bands": (1.759, 0.991, 0.01, 0.746),
    "ratio 6, ALI 443–660 nm": (2.606, 0.957, 0.02, 0.938),
}  # fmt: skip
ODD_BEFORE = {0.005: (3.235, 0.550, 0.08), 0.02: (3.340, 0.526, 0.21), 0.05: (3.606, 0.466, 1.03)}
#: Share of the fused voxels that half a percent of missing coarse ones made NaN.
NAN_BEFORE = 0.727


def jasper(mtf: Any = None, *, noise: bool = False) -> FusionCase:
    """Jasper Ridge as PRISMA would see it, with an MTF of ours: (band,), (band, 2) or (y, x)."""
    sensor = preset("prisma")
    if mtf is not None:
        mtf = np.asarray(mtf, dtype=float)
        sensor = sensor.replace(mtf=np.broadcast_to(mtf, (sensor.n_bands, 2)).copy() if mtf.shape == (2,) else mtf)
    cube = open_cube(shared_folder() / "data" / "scenes" / "jasper_ridge.h5")
    return simulated_case(cube, sensor, ratio=6, noise=noise, seed=1)


def real_pair(ratio: int, bands: slice, gain: float = 0.25) -> FusionCase:
    """Real Hyperion degraded through its MTF; PAN is the mean of real ALI bands on the same grid."""
    with h5py.File(shared_folder() / "data" / "scenes" / "sanfrancisco_hyperion_ali.h5") as file:
        cube, sharp, wavelength = (np.asarray(file[name], dtype=float) for name in ("cube", "ms", "wavelength_nm"))
    height, width = (size // ratio * ratio for size in cube.shape[1:])
    truth = torch.as_tensor(cube[:, :height, :width], dtype=torch.float32)[None]
    pan = torch.as_tensor(sharp[bands, :height, :width].mean(0), dtype=torch.float32)[None, None]
    return FusionCase(
        coarse=mtf_decimate((height, width), gain, ratio)(truth), pan=pan, reference=truth,
        optics=Optics(ratio=ratio, mtf=gain, wavelength_nm=wavelength), name="San Francisco",
    )  # fmt: skip


def detail_correlation(case: FusionCase, fused: torch.Tensor) -> float:
    """Of the bands' mean and PAN, both without what a coarse pixel sees."""
    seen = fused.mean(1, keepdim=True)
    known = torch.isfinite(seen) & torch.isfinite(case.pan)

    def details(image: torch.Tensor) -> torch.Tensor:
        image = fill_nearest(image, known)
        return (image - mtf_blur(size_of(image), 0.3, case.optics.ratio)(image))[known]

    return float(torch.corrcoef(torch.stack([details(seen), details(case.pan)]))[0, 1])


def worst_band(case: FusionCase, fused: torch.Tensor) -> float:
    """Largest of the bands' errors over that of interpolation."""
    assert case.reference is not None
    r = case.optics.ratio
    inner = (..., slice(r, -r), slice(r, -r))
    error, plain = (
        (image - case.reference)[inner].square().mean((0, 2, 3)).sqrt() for image in (fused, fuse_case("EXP", case))
    )
    return float((error / plain).max())


def mtf_table() -> dict[str, dict[str, float]]:
    """ERGAS of each method under each MTF."""
    n = preset("prisma").n_bands
    both = np.stack([np.linspace(0.45, 0.15, n), np.linspace(0.15, 0.45, n)], axis=1)
    variants = {
        "same, .30": None, "same, .35": (0.35, 0.35), "by band, .45 to .15": np.linspace(0.45, 0.15, n),
        "y .16, x .45": (0.16, 0.45), "y .10, x .60": (0.10, 0.60), "by band, y down, x up": both,
    }  # fmt: skip
    out = {}
    print("MTF at Nyquist by band and axis; jasper_ridge as PRISMA sees it, ratio 6, no noise: ERGAS/SAM")
    for label, mtf in variants.items():
        case = jasper(mtf)
        scores = {name: judge(case, fuse_case(name, case), metrics=("ERGAS", "SAM")) for name in METHODS}
        out[label] = {name: values["ERGAS"].value for name, values in scores.items()}
        before = "physics 0.1.0 {:.3f}/{:.2f}".format(*MTF_BEFORE[label]) if label in MTF_BEFORE else ""
        texts = (f"{name} {values['ERGAS'].value:.3f}/{values['SAM'].value:.2f}" for name, values in scores.items())
        print(f"  {label:22} {'  '.join(texts)}  {before}")
    return out


def hole_table() -> dict[str, float]:
    """Share of NaN, and the error at what was measured over that without holes."""
    case, rng = jasper(), np.random.default_rng(0)
    shape = tuple(case.coarse.shape)
    swir = np.zeros(shape, dtype=bool)
    swir[:, 63:, :, 3:5] = True
    kinds = {".5 % of the voxels": rng.random(shape) < 0.005, "10 % of the voxels": rng.random(shape) < 0.1,
             "two columns of the SWIR": swir}  # fmt: skip
    names = ("EXP", "GSA", "MTF-GLP-FS", "BDSD-PC", "SR-D", "HySURE", "physics")
    whole = {name: fuse_case(name, case) for name in names}
    out = {}
    print(f"holes in the coarse cube: NaN in the result (0.1.0: {NAN_BEFORE:.1%} for .5 %), RMSE elsewhere over whole")
    for label, lost in kinds.items():
        holes = case.replace(coarse=case.coarse.masked_fill(torch.as_tensor(lost), torch.nan))
        line = []
        for name in names:
            fused = fuse_case(name, holes)
            kept = torch.isfinite(fused)
            error, plain = ((image - case.reference)[kept].square().mean() for image in (fused, whole[name]))
            line.append(f"{name} {float((error / plain).sqrt()):.3f}")
        out[label] = float((~kept).float().mean())
        print(f"  {label:24} {100 * lost.mean():5.1f} % lost, {100 * out[label]:5.1f} % NaN  {'  '.join(line)}")
    return out


def pair_table() -> None:
    """A real pair, after Wald."""
    print("real pair: Hyperion degraded, PAN the mean of real ALI bands: ERGAS, detail correlation, negative %, worst")
    print("band's error over EXP's")
    kinds = {"ratio 3, all ALI bands": (3, slice(None)), "ratio 6, all ALI bands": (6, slice(None)),
             "ratio 6, ALI 443–660 nm": (6, slice(0, 4))}  # fmt: skip
    for label, (ratio, bands) in kinds.items():
        case = real_pair(ratio, bands)
        print(f"  {label:26} {'physics 0.1.0':14} {'{:.3f}  {:.3f}  {:.2f}  {:.3f}'.format(*PAIR_BEFORE[label])}")
        for name in ("MTF-GLP-FS", "HySURE", "physics"):
            fused = fuse_case(name, case)
            error = judge(case, fused, metrics=("ERGAS",))["ERGAS"].value
            negative = 100 * float((fused < 0).float().mean())
            row = f"{error:.3f}  {detail_correlation(case, fused):.3f}  {negative:.2f}  {worst_band(case, fused):.3f}"
            print(f"  {'':26} {name:14} {row}")


def odd_pan_table() -> None:
    """PAN that sees something which the cube does not."""
    print("PAN of which a share of the variance (at a coarse pixel) is another scene's: ERGAS, detail correlation,")
    print("negative %; jasper_ridge, ratio 6")
    case = jasper()
    with h5py.File(shared_folder() / "data" / "scenes" / "abu_airport_2.h5") as file:
        other = torch.as_tensor(np.asarray(file["cube"][150], dtype=float))
    other = other[: case.pan.shape[-2], : case.pan.shape[-1]][None, None]
    down = case.tile.down(0.3)
    power = down(case.pan.double()).var() / down(other).var()
    for share, before in ODD_BEFORE.items():
        pan = case.pan.double() + (share * power).sqrt() * (other - other.mean())
        odd = case.replace(pan=pan.float())
        fused = fuse_case("physics", odd)
        error, negative = judge(odd, fused, metrics=("ERGAS",))["ERGAS"].value, 100 * float((fused < 0).float().mean())
        now = f"{error:.3f}  {detail_correlation(odd, fused):.3f}  {negative:.2f}"
        print(f"  {share:.1%}  0.1.0 {'{:.3f}  {:.3f}  {:.2f}'.format(*before)}   now {now}")


def file_table() -> dict[str, float]:
    """`run` on files against the benchmark's cell: the same sensor, the same result."""
    case, sensor = jasper(noise=True), preset("prisma")
    cube = Cube(
        data=case.coarse[0].numpy(), wavelength_nm=case.optics.wavelength_nm, units="1",
        pan=Cube(data=case.pan[0].numpy(), units="1"),
    )  # fmt: skip
    out = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pair.h5"
        save_cube(cube, path)
        for name in ("GSA", "TV", "physics"):
            cell, run = fuse_case(name, case)[0].numpy(), fuse_cube(open_cube(path), name, sensor).read()
            untold = fuse_cube(open_cube(path).replace(units=""), name, sensor).read()
            out[name] = float(np.abs(run - cell).max() / np.abs(cell).max())
            before = float(np.abs(untold - cell).max() / np.abs(cell).max())
            print(
                f"  {name:8} largest difference of run --sensor and the benchmark: {out[name]:.1e}; "
                f"noise untold, as in 0.1.0: {before:.1e}"
            )
    return out


def main() -> None:
    """Print all tables."""
    torch.set_num_threads(1)
    mtf_table()
    print()
    hole_table()
    print()
    pair_table()
    print()
    odd_pan_table()
    print()
    file_table()


if __name__ == "__main__":
    main()
