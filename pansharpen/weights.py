"""Weights of trained nets: half-precision safetensors, and a JSON card that says what they are for; no pickle."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import hsitools
from hsitools.errors import FormatError, InputError
from hsitools.io.atomic import atomic_path

FORMAT = "hsitools-weights"
#: Weights that come with the package.
PRETRAINED = Path(__file__).with_name("pretrained")


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
    from safetensors.torch import save as to_bytes

    folder = Path(folder)
    content = to_bytes({name: value.detach().cpu().half().contiguous() for name, value in net.state_dict().items()})
    card = dataclasses.replace(card, sha256=hashlib.sha256(content).hexdigest())
    with atomic_path(folder / f"{card.method}.safetensors") as temporary:
        temporary.write_bytes(content)
    document = {"format": FORMAT} | dataclasses.asdict(card)
    with atomic_path(folder / f"{card.method}.json") as temporary:
        temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return card


def load_into(kind: type[torch.nn.Module], method: str, weights: str | Path | None) -> tuple[Any, Card]:
    """A net with its weights, and their card.

    Parameters
    ----------
    kind : class of net
        Called with the number of bands.
    method : str
    weights : path or None
        File (``.safetensors``), or folder with ``<method>.safetensors``; None takes those of the package.

    Raises
    ------
    FormatError
        When a file is missing, corrupt, or not as its card says.
    InputError
        When the weights are another method's, or there are none.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as from_bytes

    if weights is None and not (PRETRAINED / f"{method}.safetensors").is_file():
        raise InputError(f"{method}: weights: found none, {training_hint(method)}")
    path = PRETRAINED if weights is None else Path(weights)
    path = path / f"{method}.safetensors" if path.is_dir() else path
    if not path.is_file():
        raise FormatError(f"{path}: found no such file, expected the weights of {method}; {training_hint(method)}")
    card = read_card(path.with_suffix(".json"))
    if card.method != method:
        raise InputError(f"{path}: method: found weights of {card.method}, expected {method}")
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != card.sha256:
        raise FormatError(f"{path}: sha256: found {found[:12]}…, expected {card.sha256[:12]}… as its card says")
    try:
        state = {name: value.float() for name, value in from_bytes(content).items()}
        net = kind(card.n_bands)
        net.load_state_dict(state)
    except (SafetensorError, RuntimeError) as error:
        raise FormatError(f"{path}: expected weights of {method}; {' '.join(str(error).split())}") from None
    return net.eval(), card


def read_card(path: str | Path) -> Card:
    """The card in a JSON file, or a `FormatError`."""
    path = Path(path)
    if not path.is_file():
        raise FormatError(f"{path}: found no such file, expected the card of the weights beside them")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise FormatError(f"{path}: expected a card (JSON); {' '.join(str(error).split())}") from None
    if not isinstance(document, dict) or document.pop("format", None) != FORMAT:
        raise FormatError(f"{path}: format: expected {FORMAT!r}")
    names = {entry.name for entry in dataclasses.fields(Card)}
    if set(document) != names:
        different = sorted(set(document) ^ names)
        raise FormatError(f"{path}: {different[0]}: unknown or missing, expected {', '.join(sorted(names))}")
    for name in ("wavelength_nm", "fwhm_nm", "data"):
        if not isinstance(document[name], list):
            raise FormatError(f"{path}: {name}: found {type(document[name]).__name__}, expected a list")
        document[name] = tuple(document[name])
    if len(document["wavelength_nm"]) != len(document["fwhm_nm"]):
        raise FormatError(
            f"{path}: fwhm_nm: found {len(document['fwhm_nm'])}, expected {len(document['wavelength_nm'])}, one a band"
        )
    return Card(**document)
