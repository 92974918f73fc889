"""What the supervised nets share: the base class, normalisation, losses, and fusion with trained weights.

Every net predicts details to add to the interpolated cube. It takes each band in units of its own standard deviation
over the scene, and its details are in units of what PAN explains of the band at the coarse scale (deviation times
correlation with PAN). So one net serves any units, atmosphere and brightness; a band without contrast, or uncorrelated
with PAN, gets no details; and one that falls where PAN rises gets them with the right sign, which no filter of a few
pixels could tell.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import nn

from hsitools.progress import Progress
from pansharpen.case import Scene, Tile
from pansharpen.families.statistics import per_band
from pansharpen.learning.fusion_card import FusionCard, load_net

NETS: dict[str, type[Net]] = {}
#: A standard deviation below this share of the mean is rounding.
FLAT = 1e-6


# ---- losses ----------------------------------------------------------------------------------------------------


def mse(predicted: torch.Tensor, truth: torch.Tensor, values: Any) -> torch.Tensor:
    """Mean square error."""
    return nn.functional.mse_loss(predicted, truth)


def l1(predicted: torch.Tensor, truth: torch.Tensor, values: Any) -> torch.Tensor:
    """Mean absolute error."""
    return nn.functional.l1_loss(predicted, truth)


def mse_and_angle(predicted: torch.Tensor, truth: torch.Tensor, values: Any) -> torch.Tensor:
    """0.9 × mean square error + 0.1 × (1 − cosine of the spectral angle), the latter of physical spectra."""
    cosine = nn.functional.cosine_similarity(values(predicted), values(truth), dim=1, eps=1e-6)
    return 0.9 * mse(predicted, truth, values) + 0.1 * (1 - cosine).mean()


# ---- base class and blocks -------------------------------------------------------------------------------------


class Net(nn.Module):
    """Base of the supervised nets.

    Class attributes are the published training settings.
    """

    method: ClassVar[str]
    learning_rate: ClassVar[float]
    batch: ClassVar[int]
    epochs: ClassVar[int]
    weight_decay: ClassVar[float] = 0.0
    #: The learning rate falls tenfold every so many epochs.
    decay_epochs: ClassVar[int | None] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        NETS[cls.method] = cls

    def forward(self, base: torch.Tensor, pan: torch.Tensor, spectrum: torch.Tensor) -> torch.Tensor:
        """Details ``(batch, band, y, x)`` from the normalised interpolated cube, PAN and mean spectrum, all batched."""
        raise NotImplementedError

    @staticmethod
    def loss(predicted: torch.Tensor, truth: torch.Tensor, values: Any) -> torch.Tensor:
        """Loss of normalised cubes; ``values`` turns such a cube into physical ones."""
        raise NotImplementedError

    @classmethod
    def upsampled(cls, scene: Any, *, seed: int = 0, progress: Progress | None = None) -> Any:
        """The scene, whose interpolated cube some nets replace."""
        return scene


def conv(n_in: int, n_out: int, size: int = 3) -> nn.Conv2d:
    """Convolution that keeps the size; beyond the border lies the scene's mean."""
    return nn.Conv2d(n_in, n_out, size, padding=size // 2)


def silent(layer: nn.Conv2d) -> nn.Conv2d:
    """A last layer that starts at zero: training starts at interpolation."""
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


# ---- normalisation ---------------------------------------------------------------------------------------------


class Spread(NamedTuple):
    """Sums over pixels: count (batch, 1), values, squares and products with PAN (batch, channel), float64."""

    n: torch.Tensor
    total: torch.Tensor
    square: torch.Tensor
    product: torch.Tensor


class Scale(NamedTuple):
    """Means and deviations over a scene: of the bands (batch, band), and of the low-pass PAN (batch, 1).

    ``correlation`` (batch, band) is that of the bands with the low-pass PAN.
    """

    mean: torch.Tensor
    std: torch.Tensor
    correlation: torch.Tensor
    pan_mean: torch.Tensor
    pan_std: torch.Tensor

    def cube(self, values: torch.Tensor) -> torch.Tensor:
        """Bands with mean zero and deviation one."""
        return _normalised(values, self.mean, self.std)

    def pan(self, values: torch.Tensor) -> torch.Tensor:
        """PAN in units of its low-pass part's deviation."""
        return _normalised(values, self.pan_mean, self.pan_std)

    @property
    def spectrum(self) -> torch.Tensor:
        """Mean spectrum with mean square one, ``(batch, band)``."""
        level = self.mean.square().mean(1, keepdim=True).sqrt()
        return (self.mean / torch.where(level > 0, level, 1)).float()


def _normalised(values: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    return (values - per_band(mean, values)) * per_band(_inverse(std), values)


def _inverse(std: torch.Tensor) -> torch.Tensor:
    return torch.where(std > 0, 1 / torch.where(std > 0, std, 1), 0)


def measure(scene: Scene) -> Scale:
    """Mean and deviation of a scene's bands and of its PAN, where valid."""

    def sums(tile: Tile) -> Spread:
        values = torch.cat([tile.coarse, tile.pan_coarse], 1).flatten(2).double()
        keep = tile.coarse_valid
        if keep is None:
            n = values.new_full((len(values), 1), values.shape[-1])
        else:
            values, n = values * keep.flatten(2), keep.flatten(1).sum(1, keepdim=True).double()
        return Spread(n, values.sum(-1), values.square().sum(-1), (values * values[:, -1:]).sum(-1))

    over_all = scene.sum(sums)
    mean = over_all.total / over_all.n
    std = (over_all.square / over_all.n - mean.square()).clamp(min=0).sqrt()
    std = torch.where(std > FLAT * mean.abs(), std, 0)
    correlation = (over_all.product / over_all.n - mean * mean[:, -1:]) * _inverse(std) * _inverse(std[:, -1:])
    return Scale(mean[:, :-1], std[:, :-1], correlation[:, :-1], mean[:, -1:], std[:, -1:])


# ---- fusion ----------------------------------------------------------------------------------------------------


def fuse_with_weights(
    kind: type[Net], scene: Scene, weights: str | Path | None, *, seed: int = 0,
    progress: Progress | None = None,
) -> Any:  # fmt: skip
    """Fuse a scene by a net with trained weights (see `pansharpen.learning.fusion_card.load_net`)."""
    net, card = load_net(kind, kind.method, weights)
    return fuse_by(net, card, scene, seed=seed, progress=progress)


def fuse_by(net: Net, card: FusionCard, scene: Any, *, seed: int = 0, progress: Progress | None = None) -> Any:
    """Fuse a scene by a net: interpolated cube plus details; bands and ratio must fit the card."""
    into, back = (torch.as_tensor(numbers) for numbers in card.match(scene.optics, scene.n_bands))
    scene = net.upsampled(scene, seed=seed, progress=progress)
    with torch.no_grad():
        scale = measure(scene)

        @torch.no_grad()  # called later, where a scene is read from disk
        def fused(tile: Tile) -> torch.Tensor:
            base, device = tile.wide_expanded, tile.wide_expanded.device
            there, here = into.to(device), back.to(device)
            details = net.to(device)(
                scale.cube(base)[:, there], scale.pan(tile.wide_pan), scale.spectrum.to(device)[:, there]
            )
            return tile.expanded + per_band(scale.std * scale.correlation, base) * tile.crop(details)[:, here]

        return scene.map(fused)
