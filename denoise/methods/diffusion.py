"""The diffusion path: the classical estimate refined by the latent flow, where the gate lets it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from denoise.case import Observation, Restoration
from denoise.methods.lowrank import findings
from denoise.registry import method
from denoise.separation.estimate import separate
from denoise.separation.rare import find_rare


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
    from denoise.latent.autoencoder import wavelengths_of
    from denoise.latent.posterior import refine

    found = separate(seen, learned=True, device=device)
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
