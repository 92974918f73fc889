"""SR-D against the same mathematics one patch and band at a time, in float64, in the same run.

The plain version runs on a few bands and is scaled to all of them. Both must agree, but for patches where two atoms
match equally well within rounding.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hsitools.sensor.separable import size_of
from hsitools.sensor.spatial import mtf_blur
from pansharpen.case import FusionCase
from pansharpen.in_memory import fuse_case, select_bands
from pansharpen.methods.sr_d import ATOMS, FAINT, LEANING, NEW
from pansharpen.pair.case_files import convention, read_case

SHARED = Path(os.environ.get("HSITOOLS_SHARED", Path(__file__).resolve().parents[2] / "shared"))
BANDS = 4


def plain_pursuit(signal: Any, atoms: Any, count: int, barred: Any = ()) -> Any:
    """Coefficients ``(atom,)``: match, least squares, residual, again."""
    chosen: list[int] = []
    values = np.zeros(0)
    residual = signal
    for _ in range(count):
        match = np.abs(atoms @ residual)
        match[list(barred)] = -1
        best = int(np.argmax(match))
        span = atoms[chosen].T
        outside = atoms[best] - span @ np.linalg.lstsq(span, atoms[best], rcond=None)[0] if chosen else atoms[best]
        if match[best] <= 0 or np.linalg.norm(outside) <= NEW:
            break
        chosen.append(best)
        values = np.linalg.lstsq(atoms[chosen].T, signal, rcond=None)[0]
        residual = signal - atoms[chosen].T @ values
    out = np.zeros(len(atoms))
    out[chosen] = values
    return out


def plain_sr_d(case: FusionCase, *, patch: int = 3, count: int = 4) -> torch.Tensor:
    """SR-D of a case with a batch of one, a loop over patches inside a loop over bands."""
    tile, r, mtf = case.tile, case.optics.ratio, case.optics.mean_mtf()
    blur = mtf_blur(size_of(case.coarse), mtf, r)
    coarse = tile.coarse.double()
    pan, fine = tile.pan_coarse.double(), (tile.pan - tile.pan_low).double()[0, 0].numpy()
    detail, pan_detail = (coarse - blur(coarse))[0].numpy(), (pan - blur(pan))[0, 0].numpy()
    level = float(tile.pan.double().square().mean().sqrt())
    places = [(i, j) for i in range(pan.shape[-2] - patch + 1) for j in range(pan.shape[-1] - patch + 1)]
    size = patch * r
    taper = np.sin(np.pi * np.arange(1, size + 1) / (size + 1)) ** 2
    window = np.outer(taper, taper)

    def coarse_patch(image: Any, place: Any) -> Any:
        return image[place[0] : place[0] + patch, place[1] : place[1] + patch].ravel()

    def fine_patch(place: Any) -> Any:
        return fine[place[0] * r : place[0] * r + size, place[1] * r : place[1] * r + size]

    own = [coarse_patch(pan_detail, place) for place in places]
    energy = np.array([patch_ @ patch_ for patch_ in own])
    faint = (patch * FAINT * level) ** 2
    lean = LEANING * energy.mean() + faint
    kept = [k for k in np.argsort(-energy, kind="stable")[:ATOMS] if energy[k] > faint]
    atoms = np.array([own[k] / np.sqrt(energy[k]) for k in kept])
    fine_atoms = np.array([fine_patch(places[k]) / np.sqrt(energy[k]) for k in kept])

    above = below = 0.0
    for k in kept:
        near = [n for n, other in enumerate(kept) if np.max(np.abs(np.subtract(places[k], places[other]))) < patch]
        predicted = np.tensordot(plain_pursuit(own[k], atoms, count - 1, near), fine_atoms, 1)
        above += float((predicted * fine_patch(places[k])).sum())
        below += float((predicted**2).sum())
    worth = min(max(above / below, 0.0), 1.0)

    low, high = tile.pan_low.double().flatten(), tile.pan.double().flatten()
    spread = float(((low - low.mean()) * (high - high.mean())).mean())
    out = tile.expanded.double().numpy().copy()
    for band in range(case.n_bands):
        expanded = tile.expanded[0, band].double().flatten()
        gain = float(((expanded - expanded.mean()) * (high - high.mean())).mean()) / spread
        total, weight = np.zeros(fine.shape), np.zeros(fine.shape)
        for k, place in enumerate(places):
            signal = coarse_patch(detail[band], place)
            local = (signal @ own[k] + lean * gain) / (energy[k] + lean)
            coefficients = plain_pursuit(signal - local * own[k], atoms, count - 1)
            found = local * fine_patch(place) + worth * np.tensordot(coefficients, fine_atoms, 1)
            at = np.s_[place[0] * r : place[0] * r + size, place[1] * r : place[1] * r + size]
            total[at] += window * found
            weight[at] += window
        out[0, band] += total / weight
    return torch.as_tensor(out)


def compare(case: FusionCase, bands: int = BANDS) -> dict[str, float]:
    """Seconds of ours and of the plain version (scaled to all bands), and their distance, relative to the details."""
    fuse_case("SR-D", case)  # warm: operators, imports
    times = []
    for _ in range(3):
        began = time.perf_counter()
        ours = fuse_case("SR-D", case.replace())
        times.append(time.perf_counter() - began)
    few = np.linspace(0, case.n_bands - 1, min(bands, case.n_bands)).astype(int)
    part = select_bands(case, torch.as_tensor(few))
    began = time.perf_counter()
    plain = plain_sr_d(part)
    seconds = (time.perf_counter() - began) * case.n_bands / len(few)
    apart = (ours[:, few].double() - plain).flatten()
    details = (plain - part.tile.expanded.double()).flatten()
    return {
        "ours": min(times), "plain": seconds, "apart": float(apart.norm() / details.norm()),
        "equal": float((apart.abs() < 1e-3 * details.std()).double().mean()),
    }  # fmt: skip


def main() -> None:
    """Print seconds, ratio and agreement on both golden cases, on one thread."""
    torch.set_num_threads(1)
    print(f"SR-D, float32, all patches and bands at once, against one patch and band at a time ({BANDS} bands, scaled)")
    for name in ("jasper159_r6", "jasper159_r4"):
        case = read_case(SHARED / "golden" / f"{name}.npz", convention("toolbox"))
        r = compare(case)
        print(
            f"  {name:<14}{r['ours']:>8.3f} s  plain {r['plain']:>8.1f} s  {r['plain'] / r['ours']:>6.0f}×   "
            f"apart {r['apart']:.1e} of the details; {r['equal']:.2%} of values equal"
        )


if __name__ == "__main__":
    main()
