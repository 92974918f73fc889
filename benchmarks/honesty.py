"""What the benchmark's numbers are worth: a method that cheats, bands of noise, indices without a reference."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from scipy.stats import kendalltau

from benchmarks.captures import shared_folder
from benchmarks.scenes import HELD_OUT, RANKED
from hsitools.io import open_cube
from hsitools.metrics import Fusion, Registration, get
from hsitools.sensor import preset
from pansharpen.comparison.benchmark import Benchmark
from pansharpen.comparison.judging import RANKING_CLASS, SNR_CLASSES, band_snr, judge
from pansharpen.in_memory import fuse_case, select_bands
from pansharpen.pair.wald import simulated_case
from pansharpen.registry import METHODS

FUSED = (
    "EXP", "GSA", "BT-H", "BDSD-PC", "PRACS", "AWLP", "MTF-GLP-FS", "MTF-GLP-HPM", "MTF-GLP-HPM-R", "MF", "TV",
    "HySURE", "physics",
)  # fmt: skip
CLASSICAL = ("component substitution", "multiresolution")
#: Cubes that are spoiled, and by what angle their spectra are rotated, degrees.
SPOILED, ANGLE = ("MTF-GLP-FS", "physics"), 5.0
INDICES = ("QNR", "HQNR", "RQNR", "D_pan of 0.1.0", "D_pan", "ERGAS_est")
CHEAT = """
from pansharpen.registry import method

@method("cheat", family="ours", paper="none", tiled=False)
def cheat(scene):
    return scene.reference
"""


def cheating() -> str:
    """What the benchmark says of a method that returns the truth."""
    with tempfile.TemporaryDirectory() as name:
        plugin = Path(name) / "cheat.py"
        plugin.write_text(CHEAT)
        case = shared_folder() / "golden" / "jasper159_r6.npz"
        made = Benchmark.create(Path(name) / "out", cases=[case], methods=["cheat"], plugins=[plugin])
        made.run()
        (row,) = made.rows()
    return row["status"] if row["ERGAS"] is None else f"ERGAS {row['ERGAS']:.3f}"


def rotated(cube: torch.Tensor, angle: float) -> torch.Tensor:
    """Every spectrum turned by one rotation, from the mean spectrum towards a slope of it; ``(1, band, y, x)``."""
    mean = cube.double().nanmean((0, 2, 3))
    first = mean / mean.norm()
    second = torch.linspace(-1, 1, len(mean), dtype=torch.float64) * mean
    second = second - first * (first @ second)
    second = second / second.norm()
    along, across = (torch.einsum("k,nkyx->nyx", axis, cube.double())[:, None] for axis in (first, second))
    c, s = np.cos(np.deg2rad(angle)) - 1, np.sin(np.deg2rad(angle))
    turn = first[:, None, None] * (c * along - s * across) + second[:, None, None] * (s * along + c * across)
    return (cube + turn).to(cube.dtype)


def spoiled(name: str, cube: torch.Tensor, plain: torch.Tensor) -> dict[str, torch.Tensor]:
    """A fused cube spoiled in five ways; ``plain`` is the interpolated one."""
    n = cube.shape[1]
    block = cube.clone()
    block[:, n // 3 : 2 * n // 3] = plain[:, n // 3 : 2 * n // 3]
    return {
        f"{name}, details × 1.5": plain + 1.5 * (cube - plain), f"{name}, details × 0.5": plain + 0.5 * (cube - plain),
        f"{name}, shifted by a pixel": cube.roll(1, 2), f"{name}, a third of the bands EXP": block,
        f"{name}, spectra rotated": rotated(cube, ANGLE),
    }  # fmt: skip


def without_reference(case, fused: torch.Tensor) -> dict[str, float]:
    """Indices at full resolution, signed so that smaller is better."""
    optics = case.optics
    settings = {
        "ratio": optics.ratio, "mtf": optics.mtf, "pan_mtf": optics.mean_mtf(), "offset": optics.offset,
        "border": optics.ratio, "noise_variance": optics.noise_variance,
    }  # fmt: skip
    images = fused[0], case.coarse[0], case.pan[0]
    now = Fusion.of(*images, pan_own_mtf=optics.pan_mtf, **settings).registered()
    # as the literature has them, and D_pan as it was: the pair as declared, PAN without an own blur
    before = Fusion.of(*images, pan_own_mtf=0.999, registration=Registration(), **settings)

    def value(name: str, fusion: Fusion) -> float:
        return float(get(name).function(fusion).value[0])

    spectral, classic, spatial, regressed = (
        1 - value(name, before) for name in ("D_lambda", "D_lambda_classic", "D_s", "D_sR")
    )
    return {
        "QNR": -classic * spatial, "HQNR": -spectral * spatial, "RQNR": -spectral * regressed,
        "D_pan of 0.1.0": value("D_pan", before), "D_pan": value("D_pan", now), "ERGAS_est": value("ERGAS_est", now),
    }  # fmt: skip


def measure(scene: str, ratio: int) -> tuple[dict, dict, dict]:
    """ERGAS of the methods by class of bands; Kendall's τ of each index; the truth's place among all cubes by it."""
    path = shared_folder() / "data" / "scenes" / f"{scene}.h5"
    case = simulated_case(open_cube(path), preset("prisma"), ratio=ratio, noise=True, seed=0)
    snr, _ = band_snr(case)
    fused = {name: fuse_case(name, case) for name in FUSED}
    classes = {}
    for threshold in (0, *SNR_CLASSES):
        keep = np.flatnonzero(snr > threshold)
        part = select_bands(case, keep)
        classes[threshold] = {
            name: judge(part, cube[:, keep], metrics=["ERGAS"])["ERGAS"].value for name, cube in fused.items()
        } | {"bands": len(keep)}
    cubes = dict(fused)
    for name in SPOILED:
        cubes |= spoiled(name, fused[name], fused["EXP"])
    keep = np.flatnonzero(snr > RANKING_CLASS)
    part = select_bands(case, keep)
    true = [judge(part, cube[:, keep], metrics=["ERGAS"])["ERGAS"].value for cube in cubes.values()]
    values_of = [without_reference(part, cube[:, keep]) for cube in cubes.values()]
    truth = without_reference(part, part.reference)
    tau = {name: float(kendalltau(true, [values[name] for values in values_of]).statistic) for name in INDICES}
    place = {name: 1 + sum(values[name] < truth[name] for values in values_of) for name in INDICES}
    return classes, tau, place


def main(scenes: tuple[str, ...] = (*RANKED, *HELD_OUT), ratios: tuple[int, ...] = (4, 6)) -> dict[str, float]:
    """Print and return the mean τ of each index."""
    print("A method that returns scene.reference: 0.1.0 ERGAS 0.000, first; now:", cheating())
    print("\nERGAS, PRISMA with noise: physics below the best of component substitution and multiresolution, %")
    print(
        f"  {'scene, ratio':26}{'bands':>12}{'all (0.1.0)':>12}" + "".join(f"{f'SNR > {c}':>12}" for c in SNR_CLASSES)
    )
    taus, places = [], []
    for scene in scenes:
        for ratio in ratios:
            classes, tau, place = measure(scene, ratio)
            gains = []
            for values in classes.values():
                best = min(values[name] for name in FUSED if METHODS[name].family in CLASSICAL)
                gains.append(100 * (1 - values["physics"] / best))
            share = f"{classes[RANKING_CLASS]['bands']} of {classes[0]['bands']}"
            print(f"  {f'{scene}, {ratio}':26}{share:>12}" + "".join(f"{gain:12.1f}" for gain in gains), flush=True)
            taus.append((scene, ratio, tau))
            places.append(place)
    count = len(FUSED) + 5 * len(SPOILED)
    print(f"\nFull resolution, no reference: Kendall's τ with ERGAS's order of {count} cubes: {len(FUSED)} methods,")
    print("two of them spoiled in five ways; the truth's mean and worst place, if it is judged too")
    print(f"(all on bands of SNR > {RANKING_CLASS})")
    print(f"  {'':26}" + "".join(f"{name:>16}" for name in INDICES))
    for scene, ratio, tau in taus:
        print(f"  {f'{scene}, {ratio}':26}" + "".join(f"{tau[name]:16.2f}" for name in INDICES))
    means = {name: float(np.mean([tau[name] for *_, tau in taus])) for name in INDICES}
    print(f"  {'mean':26}" + "".join(f"{means[name]:16.2f}" for name in INDICES))
    worst = (f"{np.mean([p[name] for p in places]):.1f} / {max(p[name] for p in places)}" for name in INDICES)
    print(f"  {'place of the truth':26}" + "".join(f"{text:>16}" for text in worst))
    return means


if __name__ == "__main__":
    main(tuple(sys.argv[1:]) or (*RANKED, *HELD_OUT))
