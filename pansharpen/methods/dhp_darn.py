"""DHP-DARN: deep hyperspectral prior, then a dual-attention residual net."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import relu

from hsitools.progress import Progress
from pansharpen.case import FusionCase
from pansharpen.families.nets import Net, conv, fuse_with_weights, l1, silent
from pansharpen.families.prior import with_prior
from pansharpen.registry import method


class Attention(nn.Module):
    """Residual block whose features are weighted by channel and by pixel, side by side."""

    def __init__(self, features: int, squeeze: int = 16) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(features, features), nn.ReLU(), conv(features, features))
        narrow = max(features // squeeze, 1)
        self.channel = nn.Sequential(conv(features, narrow, 1), nn.ReLU(), conv(narrow, features, 1), nn.Sigmoid())
        self.pixel = nn.Sequential(conv(features, 1, 1), nn.Sigmoid())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The block's output, same shape."""
        found = self.body(x)
        return x + found * self.channel(found.mean((2, 3), keepdim=True)) + found * self.pixel(found)


class DARN(Net):
    """A first layer, attention blocks, and a last layer that reconstructs the details."""

    method = "DHP-DARN"
    learning_rate, batch, epochs = 1e-3, 64, 1500
    loss = staticmethod(l1)
    BLOCKS = 4

    def __init__(self, n_bands: int, features: int = 64) -> None:
        super().__init__()
        self.first = conv(n_bands + 1, features)
        self.blocks = nn.Sequential(*(Attention(features) for _ in range(self.BLOCKS)))
        self.last = silent(conv(features, n_bands))

    def forward(self, base: torch.Tensor, pan: torch.Tensor, spectrum: torch.Tensor) -> torch.Tensor:
        """See `Net.forward`."""
        return self.last(self.blocks(relu(self.first(torch.cat([base, pan], 1)))))

    @classmethod
    def upsampled(cls, scene: FusionCase, *, seed: int = 0, progress: Progress | None = None) -> FusionCase:
        """By the deep prior of the coarse cube alone."""
        return with_prior(scene, seed=seed, progress=progress)


@method(
    "DHP-DARN", family="supervised net", trained=True, tiled=False,
    paper="Y. Zheng, J. Li, Y. Li, J. Guo, X. Wu, J. Chanussot, Hyperspectral pansharpening using deep prior and dual "
    "attention residual network, IEEE TGRS 58(11), 2020",
)  # fmt: skip
def dhp_darn(
    scene: FusionCase, *, weights: str | Path | None = None, seed: int = 0,
    progress: Progress | None = None,
) -> Any:  # fmt: skip
    """Upsampling by an untrained net fitted to the image, then residual blocks with channel and spatial attention."""
    return fuse_with_weights(DARN, scene, weights, seed=seed, progress=progress)
