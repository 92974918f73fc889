"""What a denoiser is given, and what it gives: observation, noise model, restoration."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from denoise.separation.pixel_noise import WHITE, PixelNoise
from hsitools.errors import InputError


@dataclass(frozen=True, kw_only=True, eq=False)
class Known:
    """What a sensor tells of a cube's noise; None where it tells nothing.

    Attributes
    ----------
    sigma : array, shape (band,)
        Noise at the mean of each band, cube units.
    slope : array, shape (band,)
        Growth of its variance with the signal, cube units.
    gain, offset : array, shape (band, x)
        Of detector elements: ``value = gain · scene + offset``.
    dead : array of bool, shape (band, x)
        Elements that do not follow the scene.
    full_scale : array, shape (band,)
        Value at which the detector clips, cube units as measured; infinite where it does not.
    """

    sigma: NDArray[Any] | None = None
    slope: NDArray[Any] | None = None
    gain: NDArray[Any] | None = None
    offset: NDArray[Any] | None = None
    dead: NDArray[np.bool_] | None = None
    full_scale: NDArray[Any] | None = None

    def check(self, shape: tuple[int, int, int], who: str) -> None:
        """Raise `InputError` unless it is of a cube of that shape (band, y, x)."""
        for name in ("sigma", "slope", "gain", "offset", "dead", "full_scale"):
            value = getattr(self, name)
            expected = shape[:1] if name in ("sigma", "slope", "full_scale") else (shape[0], shape[2])
            if value is not None and np.shape(value) != expected:
                raise InputError(f"{who}: {name}: found shape {np.shape(value)}, expected {expected}")
            if value is not None and name != "full_scale" and not np.isfinite(value).all():
                raise InputError(f"{who}: {name}: found values that are not finite, expected numbers")
        if self.sigma is not None and not (self.sigma >= 0).all():
            raise InputError(f"{who}: sigma: found {np.min(self.sigma):g}, expected at least 0")
        if self.gain is not None:
            followed = self.gain if self.dead is None else self.gain[~self.dead]
            if followed.size and not followed.min() > 0:
                raise InputError(f"{who}: gain: found {followed.min():g}, expected more than 0 where not dead")

    def of_columns(self, columns: slice) -> Known:
        """What is known of some columns."""
        maps = {name: getattr(self, name) for name in ("gain", "offset", "dead")}
        cut: dict[str, Any] = {name: None if value is None else value[:, columns] for name, value in maps.items()}
        return replace(self, **cut)


@dataclass(frozen=True, kw_only=True, eq=False)
class Observation:
    """A noisy cube in memory.

    Attributes
    ----------
    values : array of float32, shape (band, y, x)
        Finite everywhere, in units of the cube's own spread (see `denoise.restore.restore`); no band without signal.
    valid : array of bool, shape (band, y, x)
        Voxels that hold a measurement.
    sigma, slope : array, shape (band,), or None
        Noise at the band's mean and growth of its variance with the signal, where the sensor tells them.
    calibrated : bool
        Gains and offsets of detector elements are known and gone: none are to be looked for.
    clipped : array of bool, shape (band, y, x), or None
        Voxels of which the value is a lower bound: the detector's full scale.
    counts : bool
        Values are stabilised counts (`separation.counts`): often repeated and far ones are data, not outliers.
    wavelength_nm : array, shape (band,), or None

    Raises
    ------
    InputError
        When shapes do not fit one another.

    Examples
    --------
    >>> import numpy as np
    >>> values = np.ones((3, 8, 8), np.float32)
    >>> Observation(values=values, valid=np.ones(values.shape, bool)).sigma is None  # no sensor told of the noise
    True
    """

    values: NDArray[np.float32]
    valid: NDArray[np.bool_]
    sigma: NDArray[np.float32] | None = None
    slope: NDArray[np.float32] | None = None
    calibrated: bool = False
    clipped: NDArray[np.bool_] | None = None
    counts: bool = False
    wavelength_nm: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        shape = self.values.shape
        if len(shape) != 3 or self.valid.shape != shape:
            raise InputError(f"observation: valid: found shape {self.valid.shape}, expected that of values, {shape}")
        if self.clipped is not None and self.clipped.shape != shape:
            raise InputError(f"observation: clipped: found shape {self.clipped.shape}, expected {shape}")
        for name in ("sigma", "slope", "wavelength_nm"):
            value = getattr(self, name)
            if value is not None and np.shape(value) != shape[:1]:
                raise InputError(f"observation: {name}: found {np.shape(value)}, expected {shape[:1]}, one a band")


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
    offset_std : array, shape (band, x)
        Standard deviation of the part of ``offset`` that may as well be scene, cube units.
    dead : array of bool, shape (band, x)
        Elements that do not follow the scene (dead, hot, stuck).
    outlier : array of bool, shape (band, y, x)
        Voxels that carry no signal: invalid, of dead elements, impulses.
    pixels : PixelNoise
        How the noise is alike in neighbouring pixels, as of an image that was resampled.
    row_gain, row_offset : array, shape (band, y), or None
        Of rows, where these had some (`denoise.rows`): then ``gain · (row_gain · scene + row_offset) + offset``.

    Examples
    --------
    >>> import numpy as np
    >>> from denoise.restore import restore
    >>> values = 1 + 0.1 * np.random.default_rng(0).standard_normal((8, 48, 48)).astype(np.float32)
    >>> noise = restore(values + np.linspace(0, 1, 48, dtype=np.float32), "lowrank").noise
    >>> bool(np.allclose(noise.sigma, 0.1, rtol=0.2))
    True
    """

    sigma: NDArray[np.float32]
    slope: NDArray[np.float32]
    gain: NDArray[np.float32]
    offset: NDArray[np.float32]
    offset_std: NDArray[np.float32]
    dead: NDArray[np.bool_]
    outlier: NDArray[np.bool_]
    pixels: PixelNoise = WHITE
    row_gain: NDArray[np.float32] | None = None
    row_offset: NDArray[np.float32] | None = None


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
    structure : array of bool, shape (y, x), or None
        Pixels whose residual held more than noise (see `denoise.separation.rare`), of methods that look for such.
    provenance : dict
        Method, path taken, and what it found, plain data.

    Examples
    --------
    >>> import numpy as np
    >>> Restoration(estimate=np.ones((3, 8, 8), np.float32)).std is None  # no samples were drawn
    True
    """

    estimate: NDArray[np.float32]
    std: NDArray[np.float32] | None = None
    mask: NDArray[np.bool_] | None = None
    noise: NoiseModel | None = None
    structure: NDArray[np.bool_] | None = None
    provenance: dict[str, Any] = field(default_factory=dict)
