"""Bands whose residual is more than noise are told."""

from __future__ import annotations

import numpy as np

from denoise.restore import restore
from denoise.separation.structured_bands import structured
from hsitools.scenes import scene


def test_structure_is_told_from_noise() -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:60, :80]
    lines = 2.0 * (((y - 0.4 * x) % 20) < 3)
    residual = rng.standard_normal((4, 60, 80)).astype(np.float32)
    residual[1] += lines - lines.mean()
    residual[2] *= 100
    keep = np.ones(residual.shape, dtype=bool)
    restored = 3 * rng.standard_normal(residual.shape).astype(np.float32)
    assert structured(residual, keep, restored).tolist() == [False, True, False, False]
    # next to what the band holds it does not matter
    assert not structured(residual, keep, 1000 * restored).any()
    # masked voxels do not count
    keep[1] = lines == 0
    residual[1] = np.where(keep[1], residual[0], 50)
    assert not structured(residual, keep, restored)[1]
    assert not structured(residual[:, :10], keep[:, :10], restored[:, :10]).any()


def test_slanted_lines_of_one_band_are_told() -> None:
    """As AVIRIS scenes have them once they were turned to north: neither scene nor stripes of columns."""
    clean = scene((64, 72), wavelength_nm=np.linspace(430, 860, 40), seed=77).read()
    noisy = clean + 0.02 * np.random.default_rng(1).standard_normal(clean.shape, dtype=np.float32)
    assert restore(noisy, "lowrank").provenance["doubtful_bands"] == []
    y, x = np.mgrid[:64, :72]
    noisy[17] += 0.3 * np.sin((y - 0.35 * x) * 0.9) * (np.sin((y - 0.35 * x) * 0.13) > 0.2)
    assert restore(noisy, "lowrank").provenance["doubtful_bands"] == [17]
