"""The diffusion path: the classical estimate refined by the latent flow, where the gate lets it."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from denoise.case import Observation, Restoration
from denoise.methods.lowrank import findings, restoration
from denoise.registry import method
from denoise.separation.estimate import Separation, separate
from denoise.separation.rare import find_rare
from hsitools.side_by_side import one_torch_thread

#: Share of the measured voxels taken for outliers from which on the learned estimator is doubted: detectors lose a few
#: in a hundred, and of more a band's histogram says as much.
DOUBTED = 0.2
#: Pixels up to which the nets take one thread: two wait for one another at every step where other programs keep the
#: processors busy (32×32 pixels there: 41 s instead of 3).
ALONE = 4096


@method(
    "diffusion",
    paper="ours, after I. Vyse et al., Beyond the visible: jointly attending to spectral and spatial dimensions with "
    "HSI-Diffusion for the FINCH spacecraft, arXiv 2406.10724",
    samples=True,
)
def diffusion(
    seen: Observation, *, samples: int = 0, seed: int = 0, weights: str | Path | None = None,
    device: str = "cpu",
) -> Restoration:  # fmt: skip
    """Classical estimate, then a latent flow for what it misses; samples give the standard deviation of each voxel."""
    import torch  # noqa: F401  (its threads are counted where it is loaded)

    with one_torch_thread() if seen.values[0].size <= ALONE else contextlib.nullcontext():
        return _refined(seen, samples, seed, weights, device)


def _refined(seen: Observation, samples: int, seed: int, weights: str | Path | None, device: str) -> Restoration:
    from denoise.latent.autoencoder import wavelengths_of
    from denoise.latent.posterior import refine

    found = separate(seen, learned=True, device=device)
    if (share := _outliers(seen, found)) > DOUBTED:
        classical = separate(seen)
        if (few := _outliers(seen, classical)) < share / 2:
            fallen = restoration(classical)
            note = (
                f"the learned estimator took {share:.0%} of the voxels for outliers, histograms of bands {few:.2%}: "
                "restored by lowrank"
            )
            return replace(fallen, provenance=fallen.provenance | {"path": "lowrank", "note": note})
    wavelength = wavelengths_of(seen.wavelength_nm, len(seen.values)).numpy()
    refined = refine(found, wavelength, samples=samples, seed=seed, weights=weights, device=device)
    rare = find_rare(found, refined.scene, refined.basis)
    passed = refined.trust.max() > 0
    said = findings(found, rare) | {
        "path": "diffusion" if passed else "lowrank", "trust": float(refined.trust.mean()),
        "error_saved": float(refined.gain), "samples": samples,
    }  # fmt: skip
    return Restoration(
        estimate=refined.scene + rare.added, mask=found.noise.outlier, noise=found.noise, structure=rare.pixels,
        std=None if refined.std is None else np.sqrt(refined.std**2 + rare.variance), provenance=said,
    )  # fmt: skip


def _outliers(seen: Observation, separation: Separation) -> float:
    """Share of outliers among the voxels that were measured, and not clipped."""
    measured = seen.valid if seen.clipped is None else seen.valid & ~seen.clipped
    return float((separation.noise.outlier & measured).sum() / max(measured.sum(), 1))
