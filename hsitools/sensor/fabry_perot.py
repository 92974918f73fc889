"""Transmittance of a Fabry-Perot interferometer, with analytic derivatives.

For a phase difference ``φ = 2π·σ·OPD − phase`` and a surface reflectivity ``R`` (Picone et al., Optics Express 31(14)
23066, 2023, section 2), with ``waves`` interfering beams:

===========  =======================================================  =========================
waves        relative transmittance                                   scaled to mean one by
===========  =======================================================  =========================
``inf``      1 / (1 + R² − 2R·cos φ)                                   1 − R²
``2``        1 + R² + 2R·cos φ                                         1 / (1 + R²)
``N``        (1 + R²ᴺ − 2Rᴺ·cos Nφ) / (1 + R² − 2R·cos φ)              (1 − R²) / (1 − R²ᴺ)
===========  =======================================================  =========================

The scaling makes the mean over a fringe equal to the gain, so that gain and reflectivity do not trade off. All
functions are element-wise over broadcast arrays and take NumPy arrays or torch tensors alike (any device).
"""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np

from hsitools.errors import InputError

#: Infinite number of waves: the Airy function.
AIRY = math.inf
#: Reflectivities are kept inside 0 < R < 1: below, a polynomial bends smoothly onto zero within R_SOFT of it, so that a
#: fit meets no kink there; above, it is cut short of the singular end.
R_SOFT, R_MAX = 0.005, 0.98
#: Samples that `cos_sin` takes at once.
_BLOCK = 8192
#: π/2 in three parts, the first of so few bits that its multiples are exact.
_QUARTER = (float(np.float32(math.pi / 2)), math.pi / 2 - float(np.float32(math.pi / 2)), 6.123233995736766e-17)
#: Taylor coefficients of (sin x − x) / x³ in x², the highest first: exact to 3·10⁻¹⁷ at π/4.
_SINE = [(-1) ** k / math.factorial(2 * k + 1) for k in range(8, 0, -1)]


def array_module(array: Any) -> Any:
    """``torch`` for a tensor, ``numpy`` otherwise (torch is never imported for it)."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and isinstance(array, torch.Tensor) else np


def check_waves(waves: float) -> float:
    """Return ``waves`` if it is ``inf`` or a whole number of at least two; raise `InputError` otherwise."""
    if waves == AIRY or (waves >= 2 and float(waves).is_integer()):
        return waves
    raise InputError(f"waves: found {waves!r}, expected a whole number of at least 2, or inf for the Airy function")


def bounded_reflectivity(raw: Any) -> tuple[Any, Any]:
    """Physical reflectivity of an unbounded polynomial's value, and its derivative with respect to that value."""
    xp = array_module(raw)
    root = xp.sqrt(raw * raw + 4 * R_SOFT * R_SOFT)
    value = 0.5 * (raw + root)
    inside = value < R_MAX
    return xp.where(inside, value, R_MAX), value / root * inside


def cos_sin(angle: Any) -> tuple[Any, Any]:
    """Cosine and sine to 2·10⁻¹⁵, for angles below 10⁸ rad.

    NumPy's own double-precision tangent, sine and cosine are vectorised on few processors and twice as slow as this on
    the others. Sums and products are vectorised on all: the angle, less whole turns, is divided
    by four, its sine is a Taylor polynomial, and two doublings lead back. Blocks stay in the cache.
    """
    if array_module(angle) is not np:
        return angle.cos(), angle.sin()
    angle = np.asarray(angle, dtype=float)
    cos, sin = np.empty(angle.shape), np.empty(angle.shape)
    flat, flat_cos, flat_sin = np.ascontiguousarray(angle).reshape(-1), cos.reshape(-1), sin.reshape(-1)
    for start in range(0, len(flat), _BLOCK):
        block = slice(start, start + _BLOCK)
        _cos_sin_block(flat[block], flat_cos[block], flat_sin[block])
    return cos, sin


def _cos_sin_block(angle: Any, cos: Any, sin: Any) -> None:
    """`cos_sin` of one contiguous block, into ``cos`` and ``sin``."""
    turns = np.rint(angle * (0.5 / math.pi))
    # a quarter of the angle within ±π/4: whole turns are then multiples of π/2
    x = 0.25 * angle
    for part in _QUARTER:
        x -= turns * part
    square = x * x
    s = np.full_like(x, _SINE[0])
    for coefficient in _SINE[1:]:
        s *= square
        s += coefficient
    s *= square
    s *= x
    s += x
    np.multiply(s, s, out=square)
    np.subtract(1, square, out=x)
    np.sqrt(x, out=x)
    # sin 2x = 2 sin x cos x, cos 2x = 1 − 2 sin² x, twice
    s *= x
    s *= 2
    square *= -2
    square += 1
    np.multiply(s, square, out=sin)
    sin *= 2
    np.multiply(s, s, out=cos)
    cos *= -2
    cos += 1


def fringe(phase_difference: Any, reflectivity: Any, waves: float = AIRY) -> Any:
    """Fringe of unit mean.

    Parameters
    ----------
    phase_difference : array
        φ in radians.
    reflectivity : array
        R, broadcast against ``phase_difference``, 0 < R < 1.
    waves : float
        Number of interfering waves, ``inf`` for the Airy function.

    Raises
    ------
    InputError
        If ``waves`` is neither ``inf`` nor a whole number of at least 2.
    """
    return fringe_derivatives(phase_difference, reflectivity, waves)[0]


def fringe_derivatives(phase_difference: Any, reflectivity: Any, waves: float = AIRY) -> tuple[Any, Any, Any]:
    """Fringe of unit mean and its derivatives with respect to φ and R (see `fringe`)."""
    check_waves(waves)
    r = reflectivity
    cos, sin = cos_sin(phase_difference)
    r2 = r * r
    if waves == 2:
        scale = 1 / (1 + r2)
        amplitude = 2 * r * scale
        return 1 + amplitude * cos, -amplitude * sin, 2 * (1 - r2) * scale * scale * cos
    inverse = 1 / (1 + r2 - 2 * r * cos)
    airy = (1 - r2) * inverse
    airy_phase = -2 * airy * r * sin * inverse
    airy_r = -2 * (r + airy * (r - cos)) * inverse
    if waves == AIRY:
        return airy, airy_phase, airy_r
    # N waves are the Airy function times a second fringe, of N times the phase and reflectivity Rᴺ.
    n = int(waves)
    rn = r**n
    cos_n, sin_n = cos_sin(n * phase_difference)
    scale = 1 / (1 - rn * rn)
    numerator = 1 + rn * rn - 2 * rn * cos_n
    ratio = numerator * scale
    ratio_r = n * r ** (n - 1) * (2 * (rn - cos_n) + 2 * rn * ratio) * scale
    return airy * ratio, airy_phase * ratio + airy * (2 * n * rn * sin_n) * scale, airy_r * ratio + airy * ratio_r


def transmittance(wavenumber: Any, opd_um: Any, phase: Any, reflectivity: Any, gain: Any, waves: float = AIRY) -> Any:
    """Transmittance of an interferometer, element-wise.

    Parameters
    ----------
    wavenumber : array
        σ in µm⁻¹.
    opd_um : array
        Optical path difference in µm.
    phase : array
        Phase offset in radians.
    reflectivity, gain : array
        R, and the mean of the transmittance over a fringe.
    waves : float
        Number of interfering waves, ``inf`` for the Airy function.
    """
    return gain * fringe(2 * math.pi * wavenumber * opd_um - phase, reflectivity, waves)


def transmittance_derivatives(
    wavenumber: Any, opd_um: Any, phase: Any, reflectivity: Any, gain: Any, waves: float = AIRY
) -> tuple[Any, dict[str, Any]]:
    """`transmittance` and its derivatives by name: ``opd_um``, ``phase``, ``reflectivity``, ``gain``."""
    value, by_phase, by_r = fringe_derivatives(2 * math.pi * wavenumber * opd_um - phase, reflectivity, waves)
    slope = gain * by_phase
    return gain * value, {
        "opd_um": 2 * math.pi * wavenumber * slope,
        "phase": -slope,
        "reflectivity": gain * by_r,
        "gain": value,
    }


def finesse(reflectivity: Any) -> Any:
    """Reflectivity finesse of an Airy fringe, ``π√R / (1 − R)``: fringe period over its full width at half maximum."""
    return math.pi * array_module(reflectivity).sqrt(reflectivity) / (1 - reflectivity)


def contrast(reflectivity: Any, waves: float = AIRY) -> Any:
    """Fringe visibility (max − min) / (max + min).

    ``2R/(1+R²)`` for two waves and for the Airy function alike; for N waves the extremes at φ = 0 and at the smallest
    value over a fringe are searched on a grid, since the minimum has no closed form for odd N.
    """
    check_waves(waves)
    if waves in (2, AIRY):
        return 2 * reflectivity / (1 + reflectivity * reflectivity)
    r = np.asarray(reflectivity, dtype=float)
    values = fringe(np.linspace(0, np.pi, 721), r[..., None], waves)
    high, low = values.max(axis=-1), values.min(axis=-1)
    return (high - low) / (high + low)
