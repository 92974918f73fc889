"""Geometry errors of a pushbroom spectrometer: smile (wavelength over columns) and keystone (columns over bands)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hsitools.errors import InputError

if TYPE_CHECKING:
    import torch

    from hsitools.sensor.separable import AxisMatrix


@dataclass(frozen=True, kw_only=True)
class Distortion:
    """Smile and keystone.

    Attributes
    ----------
    smile_bands : float
        Shift of the spectrum at the edge of the swath, in bands; it grows with the square of the distance from the
        centre.
    keystone_pixels : float
        Shift across track between the first and the last band, pixels, in proportion to the band.
    """

    smile_bands: float = 0.0
    keystone_pixels: float = 0.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.smile_bands) and np.isfinite(self.keystone_pixels)):
            raise InputError("distortion: found a value that is not finite, expected bands and pixels")

    def forward(self, cube: torch.Tensor) -> torch.Tensor:
        """Distort ``(…, band, y, x)``; values beyond the edge repeat the last."""
        return self._keystone(self._smile(cube, transpose=False), transpose=False)

    def adjoint(self, cube: torch.Tensor) -> torch.Tensor:
        """Transposed operator."""
        return self._smile(self._keystone(cube, transpose=True), transpose=True)

    def _smile(self, cube: torch.Tensor, *, transpose: bool) -> torch.Tensor:
        if self.smile_bands == 0:
            return cube
        bands, width = cube.shape[-3], cube.shape[-1]
        across = np.linspace(-1, 1, width) if width > 1 else np.zeros(1)
        matrix = _shift(bands, self.smile_bands * across**2)
        # columns are the kinds, bands the axis: (…, x, band, y)
        turned = (matrix.transposed if transpose else matrix).along_y(cube.movedim(-1, -3))
        return turned.movedim(-3, -1)

    def _keystone(self, cube: torch.Tensor, *, transpose: bool) -> torch.Tensor:
        if self.keystone_pixels == 0:
            return cube
        bands = cube.shape[-3]
        shift = self.keystone_pixels * (np.linspace(-0.5, 0.5, bands) if bands > 1 else np.zeros(1))
        matrix = _shift(cube.shape[-1], shift)
        return (matrix.transposed if transpose else matrix).along_x(cube)


def _shift(n: int, shift: NDArray[np.float64]) -> AxisMatrix:
    """Linear interpolation at ``i + shift``, one matrix ``(n, n)`` for each shift."""
    from hsitools.sensor.separable import AxisMatrix

    whole = int(np.floor(shift.min()))
    reach = int(np.ceil(shift.max())) - whole + 2
    place = shift - whole
    taps = np.arange(reach)
    weights = np.maximum(1 - np.abs(taps[None] - place[:, None]), 0)
    stacked = np.repeat(weights[:, None, :], n, axis=1)
    return AxisMatrix(stacked, np.arange(n) + whole, n, lambda places: np.clip(places, 0, n - 1))
