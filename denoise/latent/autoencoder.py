"""The autoencoder: a cube's residual around its subspace estimate, as few spectral components of 2×2 pixels each.

What a latent is: ``z[c, k, y, x]``, where ``k`` counts spectral directions — those of the scene's own subspace, then
atoms that were learned as functions of wavelength — and ``c`` the four coefficients of a 2×2 block of pixels (Haar).
All directions are orthonormal in units of the noise, so white noise of the cube is white noise of the latent, and
decoding is the transpose of encoding. Any band count, any spacing: an atom is sampled at the wavelengths at hand.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

#: Atoms, the most useful first.
ATOMS = 32
#: Cycles per micrometre of the features that atoms are made of: fine ones follow absorption edges.
CYCLES = 24
#: Micrometres that a cube of unknown wavelengths is taken to span.
UNKNOWN_UM = (0.4, 1.0)


class Autoencoder(nn.Module):
    """Spectral atoms as functions of wavelength, learned; Haar blocks in space.

    Parameters
    ----------
    atoms : int
    width : int
        Hidden units.
    """

    def __init__(self, atoms: int = ATOMS, width: int = 64) -> None:
        super().__init__()
        self.frequency: torch.Tensor
        self.register_buffer("frequency", torch.arange(CYCLES) * 0.5)
        self.layers = nn.Sequential(
            nn.Linear(2 * CYCLES, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, atoms)
        )
        self.straight = nn.Linear(2 * CYCLES, atoms)

    def basis(self, directions: torch.Tensor, wavelength_nm: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """Orthonormal directions ``(band, k + atoms)``: those given, then the atoms beyond them.

        Parameters
        ----------
        directions : tensor, shape (band, k)
            Orthonormal, of noise-whitened spectra.
        wavelength_nm : tensor, shape (band,)
        sigma : tensor, shape (band,)
            Noise of the bands: atoms are functions of the spectrum itself, whitened like it.
        """
        phase = 2 * torch.pi * self.frequency * (wavelength_nm[:, None] / 1000)
        features = torch.cat([torch.cos(phase), torch.sin(phase)], dim=1)
        atoms = (self.layers(features) + self.straight(features)) * (sigma.median() / sigma)[:, None]
        room = len(directions) - directions.shape[1]
        both = torch.cat([directions, atoms[:, :room]], dim=1)
        q, r = torch.linalg.qr(both)
        # the factorisation may turn directions round
        return q * torch.sign(torch.diagonal(r) + 1e-30)

    @staticmethod
    def encode(residual: torch.Tensor, basis: torch.Tensor) -> torch.Tensor:
        """Latents ``(4, k, y/2, x/2)`` of whitened residuals ``(band, y, x)``; even sizes."""
        return to_blocks(torch.tensordot(basis.T, residual, dims=1))

    @staticmethod
    def decode(latent: torch.Tensor, basis: torch.Tensor) -> torch.Tensor:
        """Whitened residuals ``(band, y, x)`` of latents: the transpose of `encode`, its inverse within the basis."""
        return torch.tensordot(basis, from_blocks(latent), dims=1)


def to_blocks(images: torch.Tensor) -> torch.Tensor:
    """Haar coefficients ``(4, …, y/2, x/2)`` of images ``(…, y, x)``; an orthonormal map."""
    top, bottom = images[..., ::2, :], images[..., 1::2, :]
    a, b, c, d = top[..., ::2], top[..., 1::2], bottom[..., ::2], bottom[..., 1::2]
    return torch.stack([a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d]) / 2


def from_blocks(blocks: torch.Tensor) -> torch.Tensor:
    """Images of Haar coefficients: the inverse of `to_blocks`."""
    mean, across, along, both = blocks
    top = torch.stack([mean + across + along + both, mean - across + along - both], dim=-1).flatten(-2)
    bottom = torch.stack([mean + across - along - both, mean - across - along + both], dim=-1).flatten(-2)
    return torch.stack([top, bottom], dim=-2).flatten(-3, -2) / 2


def wavelengths_of(wavelength_nm: NDArray[Any] | None, bands: int) -> torch.Tensor:
    """Wavelengths ``(band,)`` in nm as the net sees them; unknown ones are spread over a usual span."""
    if wavelength_nm is None or not np.isfinite(wavelength_nm).all():
        return torch.linspace(*UNKNOWN_UM, bands) * 1000
    return torch.as_tensor(np.asarray(wavelength_nm), dtype=torch.float32)
