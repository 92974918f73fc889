"""The denoiser's weights and their cards."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import hsitools
from hsitools import weights

if TYPE_CHECKING:
    from denoise.latent.autoencoder import Autoencoder
    from denoise.latent.flow import FlowNet

#: Stems of the files of the three stages, and of the outlier estimator.
AUTOENCODER, PRIOR, FLOW, OUTLIERS = "autoencoder", "prior", "flow", "outliers"
#: Weights that come with the package.
PRETRAINED = Path(__file__).parents[1] / "pretrained"
HINT = "needs training: hsi denoise train --stage 1 --out WEIGHTS/, then stages 2 and 3"


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a file of weights is for and where it comes from.

    Attributes
    ----------
    method : str
        ``"autoencoder"``, ``"prior"``, ``"flow"`` or ``"outliers"``.
    data, held_out, sensors : tuple of str
        Scenes, which of them were held out, and sensors.
    seed, steps, examples : int
    metrics : dict
        On the scenes held out.
    command, sha256, version : str
    """

    method: str
    data: tuple[str, ...]
    held_out: tuple[str, ...]
    seed: int
    steps: int
    examples: int
    sensors: tuple[str, ...] = ()
    metrics: dict[str, float] = field(default_factory=dict)
    command: str = ""
    sha256: str = ""
    version: str = hsitools.__version__


def load_autoencoder(folder: str | Path | None = None) -> tuple[Autoencoder, Card]:
    """The autoencoder of a folder, or of the package; see `hsitools.weights.load` for errors."""
    from denoise.latent.autoencoder import Autoencoder

    return weights.load(folder, AUTOENCODER, Card, lambda card: Autoencoder(), HINT, PRETRAINED)


def load_flow(folder: str | Path | None = None, stem: str = FLOW) -> tuple[FlowNet, Card]:
    """The flow of a folder, or of the package; see `hsitools.weights.load` for errors."""
    from denoise.latent.flow import FlowNet

    return weights.load(folder, stem, Card, lambda card: FlowNet(), HINT, PRETRAINED)
