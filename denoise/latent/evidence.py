"""From a separation of scene and instrument to what the latent flow takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from denoise.latent.autoencoder import Autoencoder
from denoise.latent.flow import FEATURES, MULTIPLE, Evidence
from denoise.separation.estimate import Separation

Array = NDArray[Any]
#: Atoms beyond the scene's own subspace that the flow restores; fainter ones drown.
USED_ATOMS = 4


@dataclass(frozen=True, kw_only=True)
class WhitenedResidual:
    """What remains of a separation when its scene is taken out, in units of the noise.

    Attributes
    ----------
    residual : array, shape (band, y, x)
        Observation less scene; zero where nothing was measured.
    variance : array, shape (band, y, x)
        Of the noise, one where the signal is the band's mean; zero where nothing was measured.
    directions : array, shape (band, k)
    best, single, joint : array, shape (k, y, x)
    sigma, wavelength_nm : array, shape (band,)
    """

    residual: Array
    variance: Array
    directions: Array
    best: Array
    single: Array
    joint: Array
    sigma: Array
    wavelength_nm: Array


def whitened_residual(separation: Separation, wavelength_nm: Array) -> WhitenedResidual:
    """Take the scene out of a separation."""
    noise = separation.noise
    unit = noise.sigma[:, None, None]
    scene = separation.scene / unit
    level = scene - scene.mean((1, 2), keepdims=True)
    # slope is variance per signal; both in units of the band's noise
    variance = np.maximum(1 + (noise.slope / noise.sigma)[:, None, None] * level, 0.1)
    variance = np.where(noise.outlier, 0, variance / noise.gain[:, None] ** 2)
    return WhitenedResidual(
        residual=np.where(noise.outlier, 0, separation.whitened - scene).astype(np.float32),
        variance=variance.astype(np.float32), directions=separation.directions, best=separation.scores.best,
        single=separation.scores.single, joint=separation.scores.joint, sigma=noise.sigma, wavelength_nm=wavelength_nm,
    )  # fmt: skip


def evidence(whitened: WhitenedResidual, coder: Autoencoder, atoms: int = USED_ATOMS) -> tuple[Evidence, torch.Tensor]:
    """What the flow takes of a residual, and the basis ``(band, n)`` of its components.

    Images are widened to multiples of `MULTIPLE` by repeating edges.
    """
    directions = torch.as_tensor(whitened.directions)
    rank = directions.shape[1]
    wavelength = torch.as_tensor(np.asarray(whitened.wavelength_nm), dtype=torch.float32)
    basis = coder.basis(directions, wavelength, torch.as_tensor(whitened.sigma))[:, : rank + atoms]
    n = basis.shape[1]
    residual, variance = (torch.as_tensor(item).flatten(1) for item in (whitened.residual, whitened.variance))
    size = whitened.residual.shape[1:]
    observed = (basis.T @ residual).reshape(n, *size)
    power = (basis**2).T
    spread = (power @ variance).clamp(min=0).sqrt().reshape(n, *size)
    share = (power @ (variance > 0).float()).reshape(n, *size)

    def whole(scores: Array) -> torch.Tensor:
        out = torch.zeros(n, *size)
        out[:rank] = torch.as_tensor(scores)
        return out

    images = [observed, whole(whitened.best), whole(whitened.single), whole(whitened.joint), spread, share]
    observed, best, single, joint, spread, share = map(_widened, images)
    um = wavelength / 1000
    centre = power @ um
    features = torch.stack(
        [
            torch.log(best.std(dim=(1, 2)) + 0.1), torch.log(observed.std(dim=(1, 2)) + 0.1),
            (torch.arange(n) >= rank).float(), share.mean(dim=(1, 2)), spread.mean(dim=(1, 2)),
            torch.log((basis.diff(dim=0) ** 2).sum(0) + 1e-3), centre, (power @ um**2 - centre**2).clamp(min=0).sqrt(),
        ], dim=1,
    )  # fmt: skip
    assert features.shape[1] == FEATURES
    return Evidence(observed, best, single, joint, spread, share, features), basis


def _widened(images: torch.Tensor) -> torch.Tensor:
    height, width = images.shape[1:]
    below, right = -height % MULTIPLE, -width % MULTIPLE
    return functional.pad(images[None], (0, right, 0, below), mode="replicate")[0] if below or right else images
