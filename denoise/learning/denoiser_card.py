"""Weights of the denoiser's nets: the autoencoder and the flow of the latent prior, and the outlier estimator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hsitools.learning.card import Card
from hsitools.learning.weights import Registry

if TYPE_CHECKING:
    from denoise.latent.autoencoder import Autoencoder
    from denoise.latent.flow import FlowNet

#: Stems of the files of the three stages, and of the outlier estimator.
AUTOENCODER, PRIOR, FLOW, OUTLIERS = "autoencoder", "prior", "flow", "outliers"


@dataclass(frozen=True, kw_only=True)
class DenoiserCard(Card):
    """What a denoiser's net was learned from.

    Attributes
    ----------
    examples : int
        Observations learned from.
    sensors : tuple of str
        Whose noise and patterns some of them had.
    """

    examples: int
    sensors: tuple[str, ...] = ()


def training_hint(method: str) -> str:
    """What to do without fitting weights."""
    if method == OUTLIERS:
        return "needs training: hsi denoise train-outliers --out WEIGHTS/"
    return "needs training: hsi denoise train --stage 1 --out WEIGHTS/, then stages 2 and 3"


WEIGHTS = Registry(pretrained=Path(__file__).parents[1] / "pretrained", card=DenoiserCard, hint=training_hint)


def load_autoencoder(folder: str | Path | None = None) -> tuple[Autoencoder, DenoiserCard]:
    """The autoencoder of a folder, or of the package; see `hsitools.learning.weights.Registry.load` for errors."""
    from denoise.latent.autoencoder import Autoencoder

    return WEIGHTS.load(AUTOENCODER, lambda card: Autoencoder(), folder)


def load_flow(folder: str | Path | None = None, stem: str = FLOW) -> tuple[FlowNet, DenoiserCard]:
    """The flow of a folder, or of the package; see `hsitools.learning.weights.Registry.load` for errors."""
    from denoise.latent.flow import FlowNet

    return WEIGHTS.load(stem, lambda card: FlowNet(), folder)
