"""A peer: what a user can install and combine today, whitened SVD with non-local means on the eigenimages."""

from __future__ import annotations

import numpy as np

from denoise.case import Observation, Restoration
from denoise.registry import method
from denoise.separation.smooth import MIN_SIZE
from hsitools.estimation.band_noise import band_noise
from hsitools.estimation.covariance import subspace


@method(
    "svd-nlm",
    paper="L. Zhuang, J. M. Bioucas-Dias, Fast hyperspectral image denoising and inpainting based on low-rank and "
    "sparse representations, IEEE JSTARS 11(3), 2018, with non-local means (A. Buades et al., CVPR 2005) for BM3D",
)  # fmt: skip
def svd_nlm(seen: Observation) -> Restoration:
    """Peer: whitened by the bands' noise, non-local means on eigenimages; nothing is known of stripes and outliers."""
    from skimage.restoration import denoise_nl_means

    values = seen.values
    sigma = band_noise(values) if seen.sigma is None else seen.sigma
    unit = np.maximum(sigma, 1e-6 * np.sqrt((values**2).mean())).astype(np.float32)
    if not np.isfinite(unit).all():  # too few pixels to see any noise
        return Restoration(estimate=values)
    whitened = (values / unit[:, None, None]).reshape(len(values), -1)
    directions = subspace(whitened)
    images = (directions.T @ whitened).reshape(-1, *values.shape[1:])
    if min(values.shape[1:]) >= MIN_SIZE:
        images = np.stack(
            [
                denoise_nl_means(image, patch_size=5, patch_distance=6, h=0.8, sigma=1.0, fast_mode=True)
                for image in images
            ]
        )
    estimate = unit[:, None, None] * (directions @ images.reshape(len(images), -1)).reshape(values.shape)
    return Restoration(estimate=estimate.astype(np.float32), provenance={"rank": len(images)})
