"""Reflectances of a few materials: smooth continua with absorption features where their physics puts them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hsitools.errors import InputError

Array = NDArray[np.float64]

#: Where the curves hold, nm.
LOW_NM, HIGH_NM = 350.0, 2600.0
#: Leaf and soil water, as (centre nm, width nm, relative depth).
WATER = ((970, 35, 0.10), (1200, 45, 0.18), (1450, 60, 0.75), (1940, 75, 1.0))
#: Leaf pigments, in the same terms: the blue bands and the red one of chlorophyll.
CHLOROPHYLL = ((430, 45, 0.85), (495, 35, 0.6), (665, 28, 1.0))
#: Ferric iron of soils and roof tiles.
IRON = ((480, 60, 0.7), (530, 40, 0.5), (870, 90, 0.6))
#: C–H bonds of asphalt, plastics and dry plants.
HYDROCARBON = ((1210, 25, 0.3), (1730, 30, 0.7), (2310, 35, 1.0))


@dataclass(frozen=True)
class Material:
    """A reflectance curve.

    Attributes
    ----------
    name : str
    continuum : tuple of (nm, reflectance)
        Control points of the curve without absorption.
    features : tuple of (centre nm, width nm, depth)
        Gaussian absorptions; a depth of 1 removes all light at the centre.
    """

    name: str
    continuum: tuple[tuple[float, float], ...]
    features: tuple[tuple[float, float, float], ...] = ()


def _scaled(features: tuple[tuple[float, float, float], ...], depth: float) -> tuple[tuple[float, float, float], ...]:
    return tuple((centre, width, depth * strength) for centre, width, strength in features)


MATERIALS = (
    Material("crop", ((350, 0.05), (550, 0.16), (690, 0.14), (730, 0.40), (780, 0.50), (1100, 0.50), (1650, 0.32),
                      (2200, 0.19), (2600, 0.08)), _scaled(CHLOROPHYLL, 0.72) + _scaled(WATER, 0.62)),
    Material("forest", ((350, 0.03), (550, 0.08), (690, 0.07), (735, 0.26), (780, 0.33), (1100, 0.34), (1650, 0.19),
                        (2200, 0.10), (2600, 0.05)), _scaled(CHLOROPHYLL, 0.75) + _scaled(WATER, 0.60)),
    Material("meadow", ((350, 0.06), (550, 0.17), (690, 0.18), (730, 0.31), (780, 0.38), (1100, 0.42), (1650, 0.36),
                        (2200, 0.25), (2600, 0.12)),
             _scaled(CHLOROPHYLL, 0.5) + _scaled(WATER, 0.45) + ((2100, 60, 0.12),)),
    Material("straw", ((350, 0.08), (550, 0.22), (800, 0.38), (1100, 0.47), (1650, 0.50), (2200, 0.40), (2600, 0.28)),
             ((1450, 60, 0.12), (1940, 70, 0.2), (1730, 25, 0.05), (2100, 55, 0.2), (2310, 35, 0.15))),
    Material("brown soil", ((350, 0.05), (550, 0.12), (800, 0.21), (1300, 0.31), (1800, 0.36), (2150, 0.36), (2600, 0.30)),
             _scaled(IRON, 0.15) + ((1415, 35, 0.12), (1915, 45, 0.25), (2207, 22, 0.12))),
    Material("clay soil", ((350, 0.09), (550, 0.22), (800, 0.35), (1300, 0.46), (1800, 0.50), (2150, 0.49), (2600, 0.38)),
             _scaled(IRON, 0.3) + ((1415, 30, 0.2), (1915, 45, 0.33), (2207, 20, 0.3), (2350, 25, 0.1))),
    Material("sand", ((350, 0.14), (550, 0.32), (800, 0.43), (1300, 0.52), (1800, 0.55), (2300, 0.54), (2600, 0.50)),
             ((480, 60, 0.1), (1915, 45, 0.1), (2340, 28, 0.1))),
    Material("clear water", ((350, 0.045), (450, 0.06), (550, 0.05), (620, 0.028), (700, 0.014), (760, 0.008), (900, 0.004),
                             (1300, 0.002), (2600, 0.001))),
    Material("turbid water", ((350, 0.04), (450, 0.07), (570, 0.12), (640, 0.10), (700, 0.085), (740, 0.035), (810, 0.04),
                              (900, 0.015), (1300, 0.003), (2600, 0.001)), ((675, 15, 0.15),)),
    Material("asphalt", ((350, 0.05), (550, 0.08), (800, 0.10), (1300, 0.13), (1700, 0.15), (2200, 0.16), (2600, 0.15)),
             _scaled(HYDROCARBON, 0.12)),
    Material("concrete", ((350, 0.13), (550, 0.27), (800, 0.32), (1300, 0.36), (1800, 0.38), (2200, 0.37), (2600, 0.33)),
             ((1415, 30, 0.06), (1940, 50, 0.12), (2340, 30, 0.12))),
    Material("tile roof", ((350, 0.05), (500, 0.08), (560, 0.13), (620, 0.27), (750, 0.34), (1300, 0.46), (1800, 0.50),
                           (2600, 0.45)), _scaled(IRON, 0.22) + ((2207, 25, 0.06),)),
    Material("metal roof", ((350, 0.30), (550, 0.43), (800, 0.47), (1040, 0.40), (1300, 0.50), (1800, 0.55), (2600, 0.56))),
    Material("blue roof", ((350, 0.12), (450, 0.34), (500, 0.26), (580, 0.10), (680, 0.12), (780, 0.34), (1300, 0.42),
                           (1650, 0.40), (2200, 0.30), (2600, 0.2)), _scaled(HYDROCARBON, 0.5)),
    Material("limestone", ((350, 0.28), (550, 0.52), (800, 0.62), (1300, 0.68), (1800, 0.68), (2200, 0.62), (2600, 0.45)),
             ((1415, 28, 0.05), (1915, 40, 0.1), (2160, 18, 0.04), (2340, 28, 0.3))),
)  # fmt: skip
NAMES = tuple(material.name for material in MATERIALS)


def check_wavelength(wavelength_nm: Array) -> Array:
    """Wavelengths inside the curves' range, or an `InputError`."""
    wavelength = np.atleast_1d(np.asarray(wavelength_nm, dtype=float))
    inside = np.isfinite(wavelength) & (wavelength >= LOW_NM) & (wavelength <= HIGH_NM)
    if wavelength.ndim != 1 or not inside.all():
        raise InputError(
            f"wavelength_nm: found {np.min(wavelength):g} to {np.max(wavelength):g}, "
            f"expected {LOW_NM:g} to {HIGH_NM:g} nm"
        )
    return wavelength


def library(wavelength_nm: Array, depth: float = 1.0) -> Array:
    """Reflectance of `MATERIALS` ``(material, wavelength)``; ``depth`` scales their absorptions."""
    from scipy.interpolate import PchipInterpolator

    wavelength = check_wavelength(wavelength_nm)
    out = np.empty((len(MATERIALS), len(wavelength)))
    for number, material in enumerate(MATERIALS):
        nodes, values = np.array(material.continuum).T
        curve = PchipInterpolator(nodes, values)(wavelength)
        for centre, width, strength in material.features:
            strength = min(depth * strength, 0.95)
            curve = curve * (1 - strength * np.exp(-0.5 * ((wavelength - centre) / width) ** 2))
        out[number] = curve
    return out
