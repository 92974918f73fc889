"""What a denoiser is given, and what it gives: observation, noise model, restoration."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.errors import InputError


@dataclass(frozen=True, kw_only=True, eq=False)
class Observation:
    """A noisy cube in memory.

    Attributes
    ----------
    values : array of float32, shape (band, y, x)
        Finite everywhere, in units of the cube's own spread (see `denoise.restore.restore`); no band without signal.
    valid : array of bool, shape (band, y, x)
        Voxels that hold a measurement.
    sigma : array, shape (band,), or None
        Noise, where the sensor tells it.

    Raises
    ------
    InputError
        When shapes do not fit one another.
    """

    values: NDArray[np.float32]
    valid: NDArray[np.bool_]
    sigma: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        shape = self.values.shape
        if len(shape) != 3 or self.valid.shape != shape:
            raise InputError(f"observation: valid: found shape {self.valid.shape}, expected that of values, {shape}")
        if self.sigma is not None and self.sigma.shape != shape[:1]:
            raise InputError(f"observation: sigma: found shape {self.sigma.shape}, expected {shape[:1]}, one a band")


@dataclass(frozen=True, kw_only=True, eq=False)
class NoiseModel:
    """Noise and fixed pattern of a cube: ``value = gain · scene + offset + noise``, where it is no outlier.

    The noise has the variance ``sigma² + slope · (scene − the band's mean scene)``.

    Attributes
    ----------
    sigma : array, shape (band,)
        Standard deviation of the noise at the band's mean, cube units.
    slope : array, shape (band,)
        Growth of the variance with the signal, cube units; photon noise has one.
    gain, offset : array, shape (band, x)
        Of detector elements.
    dead : array of bool, shape (band, x)
        Elements that do not follow the scene (dead, hot, stuck).
    outlier : array of bool, shape (band, y, x)
        Voxels that carry no signal: invalid, of dead elements, impulses.
    """

    sigma: NDArray[np.float32]
    slope: NDArray[np.float32]
    gain: NDArray[np.float32]
    offset: NDArray[np.float32]
    dead: NDArray[np.bool_]
    outlier: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class Restoration:
    """A restored cube.

    Attributes
    ----------
    estimate : array of float32, shape (band, y, x)
    std : array of float32, shape (band, y, x), or None
        Posterior standard deviation, of methods that know it.
    mask : array of bool, shape (band, y, x), or None
        Voxels whose measurement was not used; the estimate there is a prediction. None when the method masks none.
    noise : NoiseModel or None
        Where the method estimates one.
    provenance : dict
        Method, path taken, and what it found, plain data.
    """

    estimate: NDArray[np.float32]
    std: NDArray[np.float32] | None = None
    mask: NDArray[np.bool_] | None = None
    noise: NoiseModel | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
