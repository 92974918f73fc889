"""Denoising where it was wrong in 0.1.0: rank over SNR, counts, saturation, certainty, planted targets.

Tables and scenes by name: ``python -m benchmarks.denoise_right coverage samson finch``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from benchmarks import denoise_certainty
from benchmarks.captures import shared_folder
from benchmarks.denoise_certainty import load
from denoise.restore import restore
from hsitools.io import open_cube

Array = NDArray[Any]
Mask = NDArray[np.bool_]
#: What 0.1.0 gave, measured with the same code: SNR to (rank, error in σ).
OLD_RANK = {50: (5, 0.10), 200: (5, 0.12), 1000: (75, 0.28), 2000: (95, 0.36), 5000: (101, 0.39), 10_000: (101, 1.94)}
AMPLITUDES = (1.0, 2.5, 5.0, 10.0)
#: Absorptions of methane, nm: centre and depth.
METHANE = ((2255, 0.5), (2278, 0.6), (2298, 0.8), (2317, 1), (2332, 0.9), (2349, 0.8), (2370, 0.7))
SCENES = ("pavia", "jasper_ridge", "enmap_potsdam_b", "aviris_gator_vi")
#: Side of the middle of a scene in which targets are planted, pixels.
PLANTED = 72


def rank_table() -> None:
    """A scene of five spectra at SNRs."""
    rng = np.random.default_rng(0)
    spectra = np.abs(rng.normal(1, 0.3, (200, 5)))
    shares = np.stack([gaussian_filter(rng.standard_normal((64, 64)), 3) for _ in range(5)])
    shares = np.exp(shares / shares.std())
    scene = np.tensordot(spectra, shares / shares.sum(0), 1)
    print("a scene of rank 5, 200×64×64, lowrank: rank, error in σ (0.1.0 → now), seconds")
    for snr, (rank, error) in OLD_RANK.items():
        sigma = scene.mean() / snr
        noisy = (scene + sigma * rng.standard_normal(scene.shape)).astype(np.float32)
        began = time.perf_counter()
        found = restore(noisy, "lowrank")
        seconds = time.perf_counter() - began
        now = np.sqrt(np.mean((found.estimate - scene) ** 2)) / sigma
        print(f"  SNR {snr:>6}: {rank:>3} → {found.provenance['rank']:>3}   {error:.2f} → {now:.2f}   {seconds:5.1f} s")


def real_table() -> None:
    """Counts and saturation of real detectors."""
    folder = shared_folder() / "data" / "scenes"
    for method in ("lowrank", "diffusion"):
        counts = open_cube(folder / "lsm_cells_5dyes.h5").read().astype(np.float32)
        found = restore(counts, method)
        ratio = found.estimate.sum((1, 2), dtype=float) / counts.sum((1, 2), dtype=float)
        whole = found.estimate.sum(dtype=float) / counts.sum(dtype=float)
        print(f"lsm_cells_5dyes, {method}: totals × 1.36 → {whole:.4f}, single bands × 35 → "
              f"{ratio.min():.4f} … {ratio.max():.4f}, outliers .57 → {found.provenance['outliers']:.3f}")  # fmt: skip
    titan = open_cube(folder / "vims_titan_raw.h5").read().astype(np.float32)
    found = restore(titan, "lowrank")
    at = found.estimate[titan == 4095]
    print(f"vims_titan_raw, voxels at 4095: −1970 … 15374 → {at.min():.0f} … {at.max():.0f}, "
          f"saturated {found.provenance['saturated']:.3f}")  # fmt: skip


def holes_table() -> None:
    """What was measured beside holes, and what other bands say of those: 20 dB, with stripes and without."""
    print("holes, lowrank, errors in σ: of what was measured (without any); where a third of the bands is missing")
    for name in ("jasper_ridge", "abu_urban_1"):
        true = load(name)[0][::3, :64, :64].astype(float)
        bands, height, width = true.shape
        rng = np.random.default_rng(0)
        sigma = np.sqrt((true**2).mean((1, 2), keepdims=True)) / 10
        blobs, (y, x) = gaussian_filter(rng.standard_normal((height, width)), 4), np.mgrid[:height, :width]
        kinds = {"clouds": blobs > np.quantile(blobs, 0.7), "rows": y < height // 3, "corner": x + y > 1.2 * width}
        striped = 2 * sigma * rng.standard_normal((bands, 1, width)) * (rng.random(width) < 0.3)
        for label, offset in (("even", 0), ("striped", striped)):
            seen = true + offset + sigma * rng.standard_normal(true.shape)

            def errors(
                missing: Mask, seen: Array = seen, true: Array = true, sigma: Array = sigma
            ) -> tuple[float, float]:
                found = restore(np.where(missing, np.nan, seen).astype(np.float32), "lowrank")
                square = np.square((found.estimate - true) / sigma)
                return [float(np.sqrt(square[part].mean())) if part.any() else 0.0 for part in (~missing, missing)]

            whole = errors(np.zeros(true.shape, dtype=bool))[0]
            for kind, pixels in kinds.items():
                every = np.broadcast_to(pixels, true.shape)
                third = every & (np.arange(bands) % 3 == 1)[:, None, None]
                block = every & (np.arange(bands) // (bands // 3) == 1)[:, None, None]
                beside = errors(every)[0]
                print(f"  {name:14}{label:9}{kind:8} {beside:.2f} ({whole:.2f})   every third {errors(third)[1]:.2f}, "
                      f"a block {errors(block)[1]:.2f}", flush=True)  # fmt: skip


def targets(wavelength: Array) -> dict[str, Array]:
    """Absorptions ``(band,)``: one broad one, and a comb of narrow lines; near 2200 and 2300 nm, where bands are."""
    spacing, low, span = np.abs(np.gradient(wavelength)), wavelength.min(), np.ptp(wavelength)

    def line(centre: float, width: float) -> Array:
        return np.asarray(np.exp(-0.5 * ((wavelength - centre) / np.maximum(width, 0.6 * spacing)) ** 2))

    if wavelength.max() > METHANE[-1][0]:
        return {"mineral": line(2200, 25), "methane": np.sum([depth * line(at, 7) for at, depth in METHANE], axis=0)}
    lines = ((1, 0.8), (0.8, 0.82), (0.6, 0.835), (0.9, 0.85), (0.5, 0.787), (0.3, 0.4))
    comb = np.sum([depth * line(low + at * span, 0.004 * span) for depth, at in lines], axis=0)
    return {"mineral": line(low + 0.62 * span, 0.03 * span), "methane": comb}


def matched_filter(cube: Array, without: Array, target: Array, where: Mask, error: Array, alone: bool) -> Array:
    """Amplitude, SNR and AUC of a matched filter.

    Parameters
    ----------
    cube, without : array, shape (band, y, x)
        With the target planted, and without.
    target : array, shape (band,)
    where : array of bool, shape (y, x)
    error : array, shape (band,)
        Variance added to the covariance: none, or what is still wrong of a restored cube, as it is stated.
    alone : bool
        Mean and covariance of the pixels without target, else of all.
    """
    flat, planted = cube.reshape(len(cube), -1).astype(float), where.ravel()
    learned = flat[:, ~planted] if alone else flat
    weights = np.linalg.solve(np.cov(learned) + np.diag(error), target)
    weights /= weights @ target
    scores = weights @ (flat - learned.mean(1, keepdims=True))
    own, rest = scores[planted], scores[~planted]
    rank = np.argsort(np.argsort(scores))[planted]
    area = (rank.sum() - len(own) * (len(own) - 1) / 2) / (len(own) * len(rest))
    amplitude = (weights @ (cube - without)[:, where]).mean()
    return np.array([amplitude, (own.mean() - rest.mean()) / rest.std(), area])


def through(weights: Array, change: Array, where: Mask) -> float:
    """Response of given weights ``(band,)`` to what a target changed."""
    return float((weights @ change[:, where]).mean())


def target_table(scenes: Sequence[str] = ()) -> None:
    """Planted targets, Gaussian noise of .03; amplitude is the response with the target less that without."""
    print("planted targets, lowrank: matched filter before → after, its mean and covariance those of the pixels "
          "without target of the cube it is applied to; [the same with the stated error added to the covariance]; "
          "amplitude kept by that filter [with the error], and by the observed cube's. 0.1.0 kept .01–.02 at 2.5 σ and "
          ".05–.08 at 5 σ, SNR 2.5 → 1.1–1.8")  # fmt: skip
    for name in scenes or SCENES:
        clean, wavelength = load(name)
        edges = [max(size - PLANTED, 0) // 2 for size in clean.shape[1:]]
        clean = clean[:, edges[0] : edges[0] + PLANTED, edges[1] : edges[1] + PLANTED]
        rng = np.random.default_rng(7)
        sigma = 0.03 * rng.uniform(0.6, 1.4, len(clean))
        base = clean + sigma[:, None, None] * rng.standard_normal(clean.shape)
        height, width = clean.shape[1:]
        y, x = np.mgrid[:height, :width]
        plume = (y - 0.45 * height) ** 2 + (x - 0.55 * width) ** 2 < 18
        single = np.zeros_like(plume)
        single[rng.integers(5, height - 5, 10), rng.integers(5, width - 5, 10)] = True
        covariance = np.cov(base.reshape(len(base), -1))
        without = restore(base.astype(np.float32), "lowrank", wavelength_nm=wavelength).estimate
        nothing = np.zeros(len(base))
        for kind, shape in targets(wavelength).items():
            target = -shape * clean.mean((1, 2))
            target = target / np.sqrt(target @ np.linalg.solve(covariance, target))
            for where, size in ((plume, "plume"), (single, "pixels")):
                for times in AMPLITUDES:
                    noisy = (base + times * target[:, None, None] * where).astype(np.float32)
                    restored = restore(noisy, "lowrank", wavelength_nm=wavelength)
                    stated = restored.provenance["error_left"] * restored.noise.sigma**2
                    before = matched_filter(noisy, base, target, where, nothing, True)
                    cells, own = [], []
                    for error in (nothing, stated):
                        after = matched_filter(restored.estimate, without, target, where, error, True)
                        own.append(f"{after[0] / before[0]:.2f}")
                        cells.append(f"SNR {before[1]:5.2f} → {after[1]:6.2f}  AUC {before[2]:.3f} → {after[2]:.3f}")
                    weights = np.linalg.solve(np.cov(noisy[:, ~where]), target)
                    change = restored.estimate - without
                    kept = through(weights, change, where) / through(weights, noisy - base, where)
                    structure = np.zeros_like(where) if restored.structure is None else restored.structure
                    print(f"  {name:16}{kind} {size:6} {times:4g} σ  {cells[0]}  [{cells[1]}]  "
                          f"kept {own[0]} [{own[1]}], {kept:5.2f}  named {(structure & where).sum()}/{where.sum()}, "
                          f"elsewhere {(structure & ~where).sum()}", flush=True)  # fmt: skip


TABLES: dict[str, Callable[..., None]] = {
    "rank": rank_table, "real": real_table, "holes": holes_table, "coverage": denoise_certainty.main,
    "targets": target_table,
}  # fmt: skip


def main(names: Sequence[str] = ()) -> None:
    """Print all tables, or those named, of all scenes or of those named: ``coverage targets pavia``."""
    scenes = [name for name in names if name not in TABLES]
    for name in [name for name in names if name in TABLES] or TABLES:
        if name in ("coverage", "targets"):
            TABLES[name](scenes)
        elif not scenes:
            TABLES[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
