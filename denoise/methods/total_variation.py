"""Total variation, band by band."""

from __future__ import annotations

import numpy as np

from denoise.case import Observation, Restoration
from denoise.registry import method
from hsitools.estimation.band_noise import band_noise


@method(
    "TV",
    paper="A. Chambolle, An algorithm for total variation minimization and applications, JMIV 20, 2004",
)  # fmt: skip
def total_variation(seen: Observation) -> Restoration:
    """Each band's total variation is minimised at a weight of its own noise; bands know nothing of one another."""
    from skimage.restoration import denoise_tv_chambolle

    sigma = band_noise(seen.values) if seen.sigma is None else seen.sigma
    unit = np.maximum(sigma, 1e-12)[:, None, None]
    images = [denoise_tv_chambolle(image, weight=2.0) for image in seen.values / unit]
    return Restoration(estimate=(np.stack(images) * unit).astype(np.float32))
