"""Legendre polynomials on a scaled band.

Instrument parameters vary smoothly with wavenumber. On a band scaled to [-1, 1] Legendre polynomials stay well
conditioned at any degree used here, and being orthogonal under a uniform weight they give the degree-1 coefficient of
the phase a meaning of its own: the mean slope over the band, which is the optical path difference, whatever the
dispersion of higher degree.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import NDArray

from hsitools.errors import InputError

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Band:
    """A wavenumber interval (µm⁻¹) and its map to [-1, 1]."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high:
            raise InputError(f"band: found {self.low:g} to {self.high:g} µm⁻¹, expected 0 < low < high")

    @classmethod
    def of(cls, wavenumber: Array) -> Band:
        """Smallest band that holds all of ``wavenumber`` (µm⁻¹)."""
        return cls(low=float(np.min(wavenumber)), high=float(np.max(wavenumber)))

    @property
    def centre(self) -> float:
        """Middle of the band, µm⁻¹."""
        return 0.5 * (self.low + self.high)

    @property
    def half_width(self) -> float:
        """Half of the band's width, µm⁻¹."""
        return 0.5 * (self.high - self.low)

    @property
    def width(self) -> float:
        """Width of the band, µm⁻¹; its inverse is the OPD of one fringe, µm."""
        return self.high - self.low

    @property
    def opd_per_radian(self) -> float:
        """OPD, µm, of a phase whose degree-1 coefficient is one radian."""
        return 1 / (2 * np.pi * self.half_width)

    def scale(self, wavenumber: Array) -> Array:
        """Wavenumber (µm⁻¹) to [-1, 1]."""
        return (np.asarray(wavenumber, dtype=float) - self.centre) / self.half_width

    def vander(self, wavenumber: Array, degree: int) -> Array:
        """Legendre basis, shape ``(line, degree + 1)``."""
        return np.asarray(legendre.legvander(self.scale(wavenumber), degree), dtype=float)


@lru_cache(maxsize=32)
def product_tensor(degree: int) -> Array:
    """Expansion of products of Legendre polynomials in Legendre polynomials.

    ``t[i, j, k]`` such that ``P_i P_j = Σ_k t[i, j, k] P_k``, shape ``(degree+1, degree+1, 2·degree+1)``. It turns
    every block of a normal matrix into 2·degree+1 moments of one field, so that a batched fit stores no Jacobian.
    """
    nodes, weights = legendre.leggauss(2 * degree + 2)
    values = legendre.legvander(nodes, 2 * degree)
    norm = (2 * np.arange(2 * degree + 1) + 1) / 2
    low = values[:, : degree + 1]
    return np.einsum("qi,qj,qk,q,k->ijk", low, low, values, weights, norm, optimize=True)


@lru_cache(maxsize=32)
def derivative_matrix(degree: int) -> Array:
    """Derivatives of Legendre polynomials in Legendre polynomials: ``P'_j = Σ_k d[j, k] P_k``, square."""
    out = np.zeros((degree + 1, degree + 1))
    for j in range(1, degree + 1):
        series = legendre.legder(np.eye(degree + 1)[j])
        out[j, : len(series)] = series
    return out
