"""The linear part of a sensor on tensors: forward and adjoint, for solvers."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from hsitools.errors import InputError
from hsitools.sensor.parts import SensorParts
from hsitools.sensor.separable import Separable
from hsitools.sensor.spatial import mtf_blur, mtf_decimate

Array = NDArray[np.float64]


class SensorOperator:
    """A sensor bound to a scene's wavelengths and size.

    ``forward`` maps ``(…, wavelength, y, x)`` to ``(…, band, y/ratio, x/ratio)``: spectral response, blur and sampling,
    smile and keystone. ``pan_forward`` maps it to ``(…, 1, y, x)``. Each has its exact adjoint.

    Parameters
    ----------
    sensor : Sensor
    wavelength_nm : array, shape (wavelength,)
    shape : (int, int)
        Fine pixels (y, x).
    """

    def __init__(self, sensor: SensorParts, wavelength_nm: Array, shape: tuple[int, int]) -> None:
        self.sensor, self.shape = sensor, shape
        self._matrix = np.asarray(sensor.response.matrix(np.asarray(wavelength_nm, dtype=float)))
        self._blur: Separable | None = None
        if sensor.mtf is not None:
            self._blur = mtf_decimate(shape, sensor.mtf, sensor.ratio, sensor.offset)
        self._pan: tuple[Array, Separable] | None = None
        if sensor.pan is not None:
            matrix = np.asarray(sensor.pan.matrix(np.asarray(wavelength_nm, dtype=float)))
            self._pan = matrix, mtf_blur(shape, sensor.pan_mtf, 1)

    @staticmethod
    def _mix(matrix: Array, cube: torch.Tensor, *, transpose: bool = False) -> torch.Tensor:
        weights = torch.as_tensor(matrix.T if transpose else matrix, dtype=cube.dtype, device=cube.device)
        if cube.shape[-3] != weights.shape[1]:
            raise InputError(f"cube: found {cube.shape[-3]} bands, expected {weights.shape[1]}")
        return (weights @ cube.flatten(-2)).unflatten(-1, cube.shape[-2:])

    def forward(self, scene: torch.Tensor) -> torch.Tensor:
        """Noise-free measurement of a scene."""
        out = self._mix(self._matrix, scene)
        if self._blur is not None:
            out = self._blur(out)
        return out if self.sensor.distortion is None else self.sensor.distortion.forward(out)

    def adjoint(self, values: torch.Tensor) -> torch.Tensor:
        """Transposed `forward`."""
        if self.sensor.distortion is not None:
            values = self.sensor.distortion.adjoint(values)
        if self._blur is not None:
            values = self._blur.adjoint(values)
        return self._mix(self._matrix, values, transpose=True)

    def pan_forward(self, scene: torch.Tensor) -> torch.Tensor:
        """Noise-free panchromatic image of a scene; raises `InputError` when the sensor has none."""
        matrix, blur = self._pan_parts
        return blur(self._mix(matrix, scene))

    def pan_adjoint(self, image: torch.Tensor) -> torch.Tensor:
        """Transposed `pan_forward`."""
        matrix, blur = self._pan_parts
        return self._mix(matrix, blur.adjoint(image), transpose=True)

    @property
    def _pan_parts(self) -> tuple[Array, Separable]:
        if self._pan is None:
            raise InputError(f"{self.sensor.name}: pan: missing, expected a panchromatic response")
        return self._pan
