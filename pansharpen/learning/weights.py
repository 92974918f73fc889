"""What the weights of trained nets are for: their cards, and which bands of a cube they take."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import hsitools
import hsitools.weights
from hsitools.errors import InputError

#: Weights that come with the package.
PRETRAINED = Path(__file__).parents[1] / "pretrained"


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a file of weights is for and where it comes from.

    Attributes
    ----------
    method : str
    wavelength_nm, fwhm_nm : tuple of float
        The net's bands.
    ratio : int
    sensor, sensor_hash : str
        Name and fingerprint of the sensor that it was trained for.
    data : tuple of str
        Scenes.
    seed, epochs, steps : int
    metrics : dict
        On the scenes held out, beside those of interpolation (``"EXP …"``).
    command : str
        What made it.
    sha256 : str
        Of the weights' file.
    version : str
        Of hsitools.
    """

    method: str
    wavelength_nm: tuple[float, ...]
    fwhm_nm: tuple[float, ...]
    ratio: int
    sensor: str
    sensor_hash: str
    data: tuple[str, ...]
    seed: int
    epochs: int
    steps: int
    metrics: dict[str, float] = field(default_factory=dict)
    command: str = ""
    sha256: str = ""
    version: str = hsitools.__version__

    def __post_init__(self) -> None:
        if len(self.fwhm_nm) != self.n_bands:
            raise InputError(f"fwhm_nm: found {len(self.fwhm_nm)}, expected {self.n_bands}, one a band")

    @property
    def n_bands(self) -> int:
        """Bands of the net."""
        return len(self.wavelength_nm)

    def match(self, optics: Any, n_bands: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Which of a cube's bands each of the net's bands takes, and which of the net's each of the cube's.

        The cube may lack bands (the nearest that it has stands in), but has none that the net does not know.

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


def save(net: torch.nn.Module, card: Card, folder: str | Path) -> Card:
    """Write ``<method>.safetensors`` and ``<method>.json`` into a folder; the card comes back with the file's hash."""
    return hsitools.weights.save(net, card, folder, card.method)


def load_into(kind: type[torch.nn.Module], method: str, weights: str | Path | None) -> tuple[Any, Card]:
    """A net with its weights, and their card; see `hsitools.weights.load`.

    Parameters
    ----------
    kind : class of net
        Called with the number of bands.
    method : str
    weights : path or None
        File (``.safetensors``), or folder with ``<method>.safetensors``; None takes those of the package.
    """
    return hsitools.weights.load(
        weights, method, Card, lambda card: kind(card.n_bands), training_hint(method), PRETRAINED
    )


def read_card(path: str | Path) -> Card:
    """The card in a JSON file, or a `FormatError`."""
    return hsitools.weights.read_card(path, Card)
