"""The detector: from light to digital numbers, sampled and as a variance.

What happens to a pixel, in this order (EMVA Standard 1288, R4; J. R. Janesick, Photon Transfer, SPIE Press, 2007):
photons and dark current make electrons (Poisson), the well clips them, read-out adds its noise, the gain makes digital
numbers of them, the electronics add their offset, and the converter rounds and clips at 0 and 2^bits − 1. A pixel's own
response (PRNU) multiplies the light; its own offset comes with the electronics', so that it brings no photon noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.errors import InputError
from hsitools.sensor.pattern import Pattern

Array = NDArray[np.float64]
#: Beyond these, NumPy's Poisson numbers do not reach.
MOST_ELECTRONS = 1e18


@dataclass(frozen=True, kw_only=True, eq=False)
class Detector:
    """A detector in electrons; signals are in the cube's units, dark level subtracted.

    Attributes
    ----------
    electrons_per_unit : array, shape (band,), or float
        Photoelectrons for a value of one.
    dark_electrons : array, shape (band,), or float
        Mean electrons without light (dark current × integration time, and background); subtracted after read-out.
    read_noise : array, shape (band,), or float
        Standard deviation of the read-out, electrons.
    full_well : float
        Electrons, those of the dark current included, at which a pixel clips; infinite for none.
    bits : int
        Of the converter, whose codes are 0 to 2^bits − 1; 0 when it has no end that is known.
    electrons_per_dn : float or None
        Step of the converter. None: the full well over 2^bits; without bits nothing is rounded.
    bias : float or None
        Digital number that the electronics give without any electrons: signals clip below it at code 0. None: not
        known, but low enough that no noise is cut; codes are counted from it then.

    Raises
    ------
    InputError
        When a number is impossible, or the converter's step does not follow from the others.
    """

    electrons_per_unit: Any
    dark_electrons: Any = 0.0
    read_noise: Any = 0.0
    full_well: float = float("inf")
    bits: int = 0
    electrons_per_dn: float | None = None
    bias: float | None = None

    def __post_init__(self) -> None:
        for name in ("electrons_per_unit", "dark_electrons", "read_noise"):
            value = np.asarray(getattr(self, name), dtype=float)
            low = 0 if name != "electrons_per_unit" else np.nextafter(0, 1)
            if value.ndim > 1 or not (np.isfinite(value).all() and (value >= low).all()):
                raise InputError(f"noise: {name}: found {value!r}, expected numbers of at least 0, one or one a band")
            object.__setattr__(self, name, value)
        if not self.full_well > 0:
            raise InputError(f"noise: full_well: found {self.full_well}, expected positive electrons")
        if self.electrons_per_dn is not None and not 0 < self.electrons_per_dn < np.inf:
            raise InputError(f"noise: electrons_per_dn: found {self.electrons_per_dn}, expected a positive number")
        if not (0 <= self.bits <= 32 and int(self.bits) == self.bits) or (self.bits and not np.isfinite(self.step)):
            raise InputError(
                f"noise: bits: found {self.bits}, expected 0, or up to 32 with electrons_per_dn or a finite full_well "
                "that they divide"
            )
        if self.bias is not None:
            if not self.step:
                raise InputError(f"noise: bias: found {self.bias}, expected none without electrons_per_dn or bits")
            if not 0 <= self.bias <= (self.top_code if self.bits else np.finfo(float).max):
                raise InputError(f"noise: bias: found {self.bias}, expected 0 to the converter's last code")

    @property
    def step(self) -> float:
        """Electrons per digital number; 0 when nothing is rounded."""
        if self.electrons_per_dn is not None:
            return float(self.electrons_per_dn)
        return self.full_well / 2**self.bits if self.bits else 0.0

    @property
    def top_code(self) -> float:
        """Largest code of the converter; infinite without bits."""
        return 2.0**self.bits - 1 if self.bits else np.inf

    @property
    def saturation(self) -> Array:
        """Value (cube units, dark level subtracted) at which well or converter clip, ``(band,)`` or one number."""
        last = (self.top_code - (self.bias or 0.0)) * self.step if self.bits else np.inf
        return np.asarray((min(self.full_well, last) - self.dark_electrons) / self.electrons_per_unit)

    @property
    def full_from(self) -> Array:
        """Lowest value (cube units, dark level subtracted) that a clipped voxel reads, ``(band,)`` or one number.

        A full well is read with noise; what is stored of a converter's last code is rounded. Infinite where nothing
        clips.
        """
        well = (self.full_well - self.dark_electrons - 3 * self.read_noise) / self.electrons_per_unit
        return np.asarray(np.minimum(self.saturation * (1 - 1e-6), well))

    def variance(self, signal: Any, bands: Any = slice(None)) -> Any:
        """Variance of `sample` at each voxel ``(band, y, x)``, units², clipping left out; arrays or tensors."""
        gain, dark, read = (_column(value, bands, signal) for value in self._coefficients)
        electrons = (signal * gain).clip(0) + dark
        return (electrons + read**2 + self.step**2 / 12) / gain**2

    def sample(
        self, signal: NDArray[Any], rng: np.random.Generator, bands: Any = slice(None), *, offset: Any = 0.0
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Draw a measurement of ``signal`` ``(band, y, x)``.

        Parameters
        ----------
        signal : array, shape (band, y, x)
            Light, each pixel's own response included; below zero there is none. NaN stays.
        rng : numpy Generator
        bands : index, optional
            Which of the detector's bands these are.
        offset : array, broadcast against ``signal``
            Of the electronics, cube units: it shifts the reading and has no noise.

        Returns
        -------
        values : array of float32
            In the cube's units, dark level and bias subtracted, offset left in.
        saturated : array of bool
            Where the well was full or the converter at its last code.

        Raises
        ------
        InputError
            When there are more electrons than can be drawn.
        """
        signal = np.asarray(signal, dtype=float)
        gain, dark, read = (_column(value, bands, signal) for value in self._coefficients)
        unknown = np.isnan(signal)
        mean = np.maximum(np.where(unknown, 0.0, signal) * gain, 0.0) + dark
        if np.isfinite(self.full_well):
            # a well filled many times over is full, whatever the photons' noise
            mean = np.minimum(mean, self.full_well + 20 * np.sqrt(self.full_well) + 400)
        if mean.size and mean.max() > MOST_ELECTRONS:
            raise InputError(f"signal: found {mean.max():.3g} electrons, expected at most {MOST_ELECTRONS:g}")
        electrons = rng.poisson(mean).astype(float)
        saturated = electrons >= self.full_well
        np.minimum(electrons, self.full_well, out=electrons)
        electrons += read * rng.standard_normal(mean.shape) + offset * gain
        if self.step:
            bias = self.bias or 0.0
            code = np.rint(electrons / self.step + bias)
            saturated |= code >= self.top_code
            code = np.clip(code, -np.inf if self.bias is None else 0.0, self.top_code)
            electrons = (code - bias) * self.step
        values = ((electrons - dark) / gain).astype(np.float32)
        return np.where(unknown, np.float32(np.nan), values), saturated & ~unknown

    @property
    def _coefficients(self) -> tuple[Array, Array, Array]:
        return self.electrons_per_unit, self.dark_electrons, self.read_noise

    def select(self, bands: Any) -> Detector:
        """The detector of some bands."""
        picked = [value if value.ndim == 0 else value[bands] for value in self._coefficients]
        return Detector(
            electrons_per_unit=picked[0], dark_electrons=picked[1], read_noise=picked[2], full_well=self.full_well,
            bits=self.bits, electrons_per_dn=self.electrons_per_dn, bias=self.bias,
        )  # fmt: skip


#: What files of sensors, and their fingerprints, have called it since 0.1.0.
Detector.__name__ = "DetectorNoise"
#: Its name in programs of 0.1.0.
DetectorNoise = Detector


def read_out(
    detector: Detector | None, pattern: Pattern, light: NDArray[Any], rows: slice, rng: np.random.Generator, *,
    hot: Any = None,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:  # fmt: skip
    """What a pushbroom's detector with a fixed pattern makes of ``light``: each effect at its place.

    Gains multiply the light, offsets come with the electronics. Dead elements see no light but have the detector's
    noise; hot ones are full, or read ``hot``; lost lines are zero.

    Parameters
    ----------
    detector : Detector or None
        None: no noise, and nothing saturates.
    pattern : Pattern
    light : array, shape (band, y, x)
    rows : slice
        Which of the pattern's rows these are.
    rng : numpy Generator
    hot : array, shape (band, x), or broadcast against it, optional
        What hot elements read but for their noise, cube units. Default: the detector's saturation, which must be finite
        then where elements are hot.

    Returns
    -------
    values : array of float32, shape (band, y, x)
    saturated : array of bool, shape (band, y, x)
    """
    gain, offset = pattern.on(rows)
    dead, is_hot = pattern.dead[:, None], pattern.hot[:, None]
    # NaN stays NaN: no measurement
    signal = np.where((dead | is_hot) & ~np.isnan(light), 0.0, light * gain)
    offset = np.where(dead, 0.0, offset)
    if hot is not None:
        offset = np.where(is_hot, np.broadcast_to(hot, pattern.hot.shape)[:, None], offset)
    if detector is None:
        values, saturated = (signal + offset).astype(np.float32), np.zeros(signal.shape, dtype=bool)
    else:
        values, saturated = detector.sample(signal, rng, offset=offset)
        if hot is None and pattern.hot.any():
            full = detector.saturation if detector.saturation.ndim == 0 else detector.saturation[:, None, None]
            full_here = is_hot & ~np.isnan(signal)
            values = np.where(full_here, full, values).astype(np.float32)
            saturated |= full_here
    lost = pattern.lost[rows][None, :, None] & ~np.isnan(signal)
    return np.where(lost, np.float32(0), values), saturated & ~lost


def _column(value: Array, bands: Any, like: Any) -> Any:
    """A coefficient that broadcasts over ``(band, y, x)``, of the kind of ``like``."""
    column = value if value.ndim == 0 else value[bands][:, None, None]
    if isinstance(like, np.ndarray):
        return column
    import torch

    return torch.as_tensor(column, dtype=like.dtype, device=like.device)


def electrons_for_snr(snr: Array, level: float, read_noise: float) -> Array:
    """Electrons per unit with which a signal of ``level`` has the given SNR under photon and read noise.

    From SNR² = N²/(N + r²): N is the positive root.
    """
    snr = np.asarray(snr, dtype=float)
    electrons = snr * (snr + np.sqrt(snr**2 + 4 * read_noise**2)) / 2
    return np.asarray(electrons / level)
