"""Fringes seen through a spectral line of finite width, with analytic derivatives.

A fringe of group path ``L = dφ/dσ / 2π`` loses contrast over a line of finite width: harmonic *m* of its series is
multiplied by the Fourier transform of the line's shape at ``m·L``. The series of a fringe of unit mean (see
`hsitools.sensor.fabry_perot`) is ``1 + 2 Σ c_m cos mφ`` with ``c_m = Rᵐ`` for infinitely many waves (Airy) and
``c_m = (Rᵐ − R²ᴺ⁻ᵐ) / (1 − R²ᴺ)``, m < N, for N waves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.errors import InputError
from hsitools.sensor.fabry_perot import AIRY, array_module, check_waves, cos_sin

Array = NDArray[np.float64]

SHAPES = ("gaussian", "triangular")
#: Harmonics are summed until those left change no value by more than this share of the mean.
TOLERANCE = 3e-7
#: Harmonics between two looks at which rows need more.
STRIDE = 3
#: Full width at half maximum of a Gaussian in standard deviations.
FWHM_SIGMA = math.sqrt(8 * math.log(2))


@dataclass(frozen=True, kw_only=True)
class LineShape:
    """Shape and width of a monochromator's line.

    Parameters
    ----------
    width : float or array, shape (line,)
        Full width at half maximum in wavenumber, µm⁻¹.
    shape : str
        ``"gaussian"``, or ``"triangular"`` as two equal slits make it.

    Raises
    ------
    InputError
        On an unknown shape.
    """

    width: Any
    shape: str = "gaussian"

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise InputError(f"line shape: found {self.shape!r}, expected one of {', '.join(SHAPES)}")

    @classmethod
    def of_wavelength(cls, width_nm: float | Array, wavenumber: Array, shape: str = "gaussian") -> LineShape:
        """From the full width at half maximum in nm, at lines of the given wavenumbers (µm⁻¹)."""
        return cls(width=np.asarray(width_nm) / 1000 * np.asarray(wavenumber) ** 2, shape=shape)

    def contrast(self, path_um: Any, harmonic: int = 1) -> Any:
        """What is left of the contrast of one harmonic at a group path (µm): the line's Fourier transform."""
        return self._transform(path_um, harmonic)[0]

    def _transform(self, path_um: Any, harmonic: int) -> tuple[Any, Any]:
        """Fourier transform at ``harmonic · path`` and its derivative with respect to ``path``."""
        xp = array_module(path_um)
        scale = harmonic * math.pi * self.width
        angle = scale * path_um
        if self.shape == "gaussian":
            value = xp.exp(-2 / FWHM_SIGMA**2 * angle * angle)
            return value, -4 / FWHM_SIGMA**2 * scale * angle * value
        small = abs(angle) < 1e-3
        safe = xp.where(small, angle * 0 + 1, angle)
        sinc = xp.where(small, 1 - angle * angle / 6, xp.sin(safe) / safe)
        slope = xp.where(small, -2 / 3 * angle, 2 * sinc * (xp.cos(safe) - sinc) / safe)
        return sinc * sinc, scale * slope

    def on(self, device: Any) -> LineShape:
        """The same with its widths on a torch device."""
        import torch

        return LineShape(width=torch.as_tensor(np.asarray(self.width, dtype=float), device=device), shape=self.shape)


def broadened_derivatives(
    phase_difference: Any, reflectivity: Any, path_um: Any, line: LineShape, waves: float = AIRY
) -> tuple[Any, Any, Any, Any]:
    """Fringe of unit mean seen through a line, and its derivatives with respect to φ, R and the group path.

    Parameters
    ----------
    phase_difference, reflectivity, path_um : array, shape (batch, line)
        φ in radians, 0 < R < 1, and the group path dφ/dσ / 2π in µm.
    line : LineShape
    waves : float
        Number of interfering waves, ``inf`` for the Airy function.

    Notes
    -----
    The series is summed until what is left, ``2 Rᵐ⁺¹ T(m+1) / (1 − R)`` at most, is below `TOLERANCE`; rows that are
    there already are left out of further terms.
    """
    check_waves(waves)
    xp = array_module(phase_difference)
    totals = [0 * phase_difference for _ in range(4)]
    rows = np.arange(len(phase_difference)) if xp is np else xp.arange(len(phase_difference), device=totals[0].device)
    series = _Series(phase_difference, reflectivity, path_um, line, waves)
    last = AIRY if waves == AIRY else waves - 1
    while len(rows):
        series.add_harmonic()
        if series.m < last and series.m % STRIDE:
            continue
        # a row that was never determined (NaN) has no bound, and would never end
        ended = ~(series.bound() > (TOLERANCE if series.m < last else math.inf))
        if bool(ended.any()):
            for total, part in zip(totals, series.sums, strict=True):
                total[rows[ended]] = part[ended]
            rows = rows[~ended]
            series.keep(~ended)
    value, by_phase, by_r, by_path = totals
    if line.shape == "gaussian":
        by_path = by_path * (-4 / FWHM_SIGMA**2 * (math.pi * line.width) ** 2 * path_um)
    return 1 + 2 * value, -2 * by_phase, 2 * by_r / reflectivity, 2 * by_path


class _Series:
    """Partial sums over the harmonics of some rows: Σ c_m T_m cos mφ, and its derivatives (by −φ, log R, path)."""

    def __init__(self, phase: Any, r: Any, path: Any, line: LineShape, waves: float) -> None:
        self.line, self.waves, self.m = line, waves, 0
        self.r, self.path = r, path
        self.cos, self.sin = cos_sin(phase)
        # of harmonic m: cos mφ, sin mφ, Rᵐ
        self.wave_cos, self.wave_sin, self.power = 0 * phase + 1, 0 * phase, 0 * phase + 1
        self.sums = [0 * phase for _ in range(4)]
        if line.shape == "gaussian":
            # T_m = q^(m²), and its next factor q^(2m+1)
            self.step = line.contrast(path)
            self.square = self.step * self.step
            self.transform = 0 * phase + 1

    def add_harmonic(self) -> None:
        """Add the next harmonic."""
        self.m += 1
        m = self.m
        cos = self.wave_cos * self.cos - self.wave_sin * self.sin
        self.wave_sin = self.wave_cos * self.sin + self.wave_sin * self.cos
        self.wave_cos = cos
        self.power = self.power * self.r
        value, phase, reflectivity, path = self.sums
        coefficient, growth = (self.power, m) if self.waves == AIRY else self._finite(m)
        if self.line.shape == "gaussian":
            self.transform *= self.step
            self.step *= self.square
            coefficient = coefficient * self.transform
            damped = coefficient * self.wave_cos
            # dT/dpath is m² T times a factor common to all harmonics: multiplied in at the end
            path += (m * m) * damped
        else:
            transform, slope = self.line._transform(self.path, m)
            path += coefficient * slope * self.wave_cos
            coefficient = coefficient * transform
            damped = coefficient * self.wave_cos
        value += damped
        reflectivity += growth * damped
        coefficient *= self.wave_sin
        coefficient *= m
        phase += coefficient

    def _finite(self, m: int) -> tuple[Any, Any]:
        """Coefficient of harmonic m of N waves, and how fast its logarithm grows with that of R."""
        twice = 2 * int(self.waves)
        all_waves, mirrored = self.r**twice, self.r ** (2 * (int(self.waves) - m))
        growth = (m - (twice - m) * mirrored) / (1 - mirrored) + twice * all_waves / (1 - all_waves)
        return self.power * (1 - mirrored) / (1 - all_waves), growth

    def bound(self) -> Any:
        """Bound of the harmonics not yet added, shape ``(row,)``."""
        left = 2 * self.power * self.r / (1 - self.r)
        if self.line.shape == "gaussian":
            left = left * self.transform * self.step
        return left.max(axis=1) if isinstance(left, np.ndarray) else left.max(dim=1).values

    def keep(self, rows: Any) -> None:
        """Go on with some of the rows."""
        for name, value in vars(self).items():
            if getattr(value, "ndim", 0) == 2:
                setattr(self, name, value[rows])
        self.sums = [part[rows] for part in self.sums]
