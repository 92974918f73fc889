"""The detector's noise: photons, dark current, read-out, quantisation, saturation; sampled, and as a variance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.errors import InputError

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class DetectorNoise:
    """Noise of a detector, in electrons; ``signal`` is in the cube's units.

    Attributes
    ----------
    electrons_per_unit : array, shape (band,), or float
        Photoelectrons for a value of one.
    dark_electrons : array, shape (band,), or float
        Mean electrons without light (dark current and background) in one integration; subtracted after read-out.
    read_noise : array, shape (band,), or float
        Standard deviation of the read-out, electrons.
    full_well : float
        Electrons at which the signal clips; infinite for none.
    bits : int
        Of the converter, whose range is the full well; 0 for no quantisation.
    """

    electrons_per_unit: Any
    dark_electrons: Any = 0.0
    read_noise: Any = 0.0
    full_well: float = float("inf")
    bits: int = 0

    def __post_init__(self) -> None:
        for name in ("electrons_per_unit", "dark_electrons", "read_noise"):
            value = np.asarray(getattr(self, name), dtype=float)
            low = 0 if name != "electrons_per_unit" else np.nextafter(0, 1)
            if value.ndim > 1 or not (np.isfinite(value).all() and (value >= low).all()):
                raise InputError(f"noise: {name}: found {value!r}, expected numbers of at least 0, one or one a band")
            object.__setattr__(self, name, value)
        if not self.full_well > 0:
            raise InputError(f"noise: full_well: found {self.full_well}, expected positive electrons")
        if self.bits < 0 or (self.bits and not np.isfinite(self.full_well)):
            raise InputError(f"noise: bits: found {self.bits}, expected 0, or a finite full_well that they divide")

    @property
    def step(self) -> float:
        """Electrons per digital number; 0 without quantisation."""
        return self.full_well / 2**self.bits if self.bits else 0.0

    def variance(self, signal: Any, bands: Any = slice(None)) -> Any:
        """Variance of `sample` at each voxel ``(band, y, x)``, units², clipping left out; arrays or tensors."""
        gain, dark, read = (_column(value, bands, signal) for value in self._coefficients)
        electrons = (signal * gain).clip(0) + dark
        return (electrons + read**2 + self.step**2 / 12) / gain**2

    def sample(
        self, signal: NDArray[Any], rng: np.random.Generator, bands: Any = slice(None)
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Draw a measurement of ``signal`` ``(band, y, x)``.

        Returns
        -------
        values : array of float32
            In the cube's units, dark level subtracted. Negative noise is kept: converters have an offset for it.
        saturated : array of bool
        """
        gain, dark, read = (_column(value, bands, signal) for value in self._coefficients)
        mean = np.maximum(signal * gain, 0) + dark
        electrons = rng.poisson(mean).astype(np.float64)
        electrons += read * rng.standard_normal(mean.shape)
        saturated = electrons >= self.full_well
        np.minimum(electrons, self.full_well, out=electrons)
        if self.bits:
            electrons = np.rint(electrons / self.step) * self.step
        return ((electrons - dark) / gain).astype(np.float32), saturated

    @property
    def _coefficients(self) -> tuple[Array, Array, Array]:
        return self.electrons_per_unit, self.dark_electrons, self.read_noise

    def select(self, bands: Any) -> DetectorNoise:
        """The noise of some bands."""
        picked = [value if value.ndim == 0 else value[bands] for value in self._coefficients]
        return DetectorNoise(
            electrons_per_unit=picked[0], dark_electrons=picked[1], read_noise=picked[2], full_well=self.full_well,
            bits=self.bits,
        )  # fmt: skip


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
