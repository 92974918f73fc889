"""A scene that several files of tests look at."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

BANDS, SIDE, RANK = 60, 48, 5


def mixture(bands: int = BANDS, side: int = SIDE, seed: int = 0) -> np.ndarray:
    """A scene of `RANK` spectra in smooth shares."""
    rng = np.random.default_rng(seed)
    spectra = np.abs(rng.normal(1, 0.3, (bands, RANK)))
    shares = np.exp(np.stack([gaussian_filter(rng.standard_normal((side, side)), 3) for _ in range(RANK)]) * 8)
    return np.asarray(np.tensordot(spectra, shares / shares.sum(0), 1))
