"""Weights of the supervised nets: what their cards say, and which bands of a cube they take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hsitools.errors import InputError
from hsitools.learning.card import Card
from hsitools.learning.weights import Registry


@dataclass(frozen=True, kw_only=True)
class FusionCard(Card):
    """What a supervised net's weights are for.

    Metrics are those of the scenes held out, beside those of interpolation (``"EXP …"``).

    Attributes
    ----------
    wavelength_nm, fwhm_nm : tuple of float
        The net's bands.
    ratio : int
    sensor, sensor_hash : str
        Name and fingerprint of the sensor that it was trained for.
    epochs : int
    """

    wavelength_nm: tuple[float, ...]
    fwhm_nm: tuple[float, ...]
    ratio: int
    sensor: str
    sensor_hash: str
    epochs: int

    def __post_init__(self) -> None:
        if len(self.fwhm_nm) != self.n_bands:
            raise InputError(f"fwhm_nm: found {len(self.fwhm_nm)}, expected {self.n_bands}, one a band")

    @property
    def n_bands(self) -> int:
        """Bands of the net."""
        return len(self.wavelength_nm)

    def match(self, optics: Any, n_bands: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Which of a cube's bands each of the net's bands takes, and which of the net's each of the cube's.

        The cube may lack bands (the nearest that it has stands in), but none may be far from all of the net's.

        Parameters
        ----------
        optics : Optics
            Ratio and wavelengths of the cube.
        n_bands : int

        Returns
        -------
        array, shape (net's band,); array, shape (cube's band,)

        Raises
        ------
        InputError
            When ratio or bands are not those of the weights.
        """
        if optics.ratio != self.ratio:
            raise InputError(
                f"{self.method}: ratio: found {optics.ratio}, expected {self.ratio} as of the weights; "
                + training_hint(self.method)
            )
        if optics.wavelength_nm is None:
            if n_bands != self.n_bands:
                raise InputError(
                    f"{self.method}: bands: found {n_bands} of unknown wavelength, expected {self.n_bands} as of the "
                    f"weights; {training_hint(self.method)}"
                )
            return np.arange(n_bands), np.arange(n_bands)
        distance = np.abs(np.array(self.wavelength_nm)[:, None] - np.asarray(optics.wavelength_nm)[None])
        back = distance.argmin(axis=0)
        off = distance.min(axis=0) / np.array(self.fwhm_nm)[back]
        if np.any(off > 1):
            worst = int(np.argmax(off))
            raise InputError(
                f"{self.method}: wavelength_nm: found {optics.wavelength_nm[worst]:.1f} nm in band {worst}, expected a "
                f"band of the weights (for {self.sensor}; the nearest is at {self.wavelength_nm[back[worst]]:.1f} nm); "
                + training_hint(self.method)
            )
        return distance.argmin(axis=1), back


def training_hint(method: str) -> str:
    """What to do without fitting weights."""
    return f"needs training on your sensor: hsi pansharpen train {method} --sensor SENSOR.h5 --out WEIGHTS/"


WEIGHTS = Registry(pretrained=Path(__file__).parents[1] / "pretrained", card=FusionCard, hint=training_hint)


def load_net(kind: type[torch.nn.Module], method: str, weights: str | Path | None) -> tuple[Any, FusionCard]:
    """A net with its weights, and their card; see `hsitools.learning.weights.Registry.load`.

    Parameters
    ----------
    kind : class of net
        Called with the number of bands.
    method : str
    weights : path or None
        File, or folder; None takes those of the package.
    """
    return WEIGHTS.load(method, lambda card: kind(card.n_bands), weights)
