"""The linear part of a multi-aperture camera on tensors: forward and adjoint, for solvers and accelerators."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from hsitools.devices import device_named
from hsitools.errors import InputError

Array = NDArray[np.float64]


class Camera(Protocol):
    """What is used of a `hsitools.sensor.MultiApertureCamera`."""

    @property
    def size(self) -> int:
        """Side of a sub-image, pixels."""

    @property
    def response(self) -> Any:
        """Of its interferometers."""

    def field(self) -> tuple[Array, Array]:
        """Cos θ and relative illumination of each pixel of a sub-image."""

    def rings(self, wavelength_nm: Array) -> Iterable[tuple[NDArray[np.intp], NDArray[np.intp], Array]]:
        """Interferometers, pixels, and the response of the ones in the others."""


class CameraOperator:
    """A camera bound to a scene's wavelengths: light of its sub-images to interferograms, in batches.

    ``forward`` maps ``(…, wavelength, y, x)`` to ``(…, interferometer, y, x)`` as
    `MultiApertureCamera.interferograms` does; ``adjoint`` is its exact transpose. What comes in is taken to the device
    and the precision of the operator.

    Parameters
    ----------
    camera : MultiApertureCamera
    wavelength_nm : array, shape (wavelength,)
    device : str
        See `hsitools.devices.device_named`.
    dtype : torch.dtype
        ``float64`` agrees with the camera to rounding, ``float32`` to 1e-5 of the largest value.

    Raises
    ------
    InputError
        When wavelengths leave the calibrated band, or the device is not there.

    Notes
    -----
    The responses of pixels at all distances from the centre are kept: interferometers × wavelengths values each.
    """

    def __init__(
        self, camera: Camera, wavelength_nm: Array, device: str = "cpu",
        dtype: torch.dtype = torch.float64,
    ) -> None:  # fmt: skip
        self.size, self.shape = camera.size, (camera.response.n_bands, len(wavelength_nm))
        self.device, self.dtype = device_named(device), dtype

        def there(values: Array) -> torch.Tensor:
            return torch.as_tensor(np.ascontiguousarray(values)).to(self.device, dtype)

        self._illumination = there(camera.field()[1].ravel())
        self._rings = [
            (torch.as_tensor(rows).to(self.device), torch.as_tensor(members).to(self.device), there(matrix))
            for rows, members, matrix in camera.rings(np.asarray(wavelength_nm, dtype=float))
        ]

    def forward(self, light: torch.Tensor) -> torch.Tensor:
        """Noise-free interferograms of light."""
        pixels = self._pixels(light, self.shape[1], "wavelengths")
        out = pixels.new_zeros((*pixels.shape[:-2], self.shape[0], pixels.shape[-1]))
        for rows, members, matrix in self._rings:
            out[..., rows[:, None], members] = matrix @ pixels[..., members]
        return (out * self._illumination).unflatten(-1, (self.size, self.size))

    def adjoint(self, interferograms: torch.Tensor) -> torch.Tensor:
        """Transposed `forward`."""
        pixels = self._pixels(interferograms, self.shape[0], "interferometers") * self._illumination
        out = pixels.new_zeros((*pixels.shape[:-2], self.shape[1], pixels.shape[-1]))
        for rows, members, matrix in self._rings:
            out[..., members] += matrix.T @ pixels[..., rows[:, None], members]
        return out.unflatten(-1, (self.size, self.size))

    def _pixels(self, image: torch.Tensor, count: int, what: str) -> torch.Tensor:
        if image.ndim < 3 or tuple(image.shape[-3:]) != (count, self.size, self.size):
            raise InputError(
                f"{what}: found shape {tuple(image.shape)}, expected (…, {count}, {self.size}, {self.size})"
            )
        return image.to(self.device, self.dtype).flatten(-2)
