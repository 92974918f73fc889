"""HSpeNet: densely connected net with a branch of PAN's details and a spectral branch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import relu

from pansharpen.case import Scene
from pansharpen.families.nets import Net, conv, fuse_with_weights, mse_and_angle, silent
from pansharpen.registry import method


class HSpeNet(Net):
    """PAN less its learned low-pass part, beside spectral features, through densely connected 3×3 layers."""

    method = "HSpeNet"
    learning_rate, batch, epochs = 1e-4, 64, 4000
    loss = staticmethod(mse_and_angle)
    GROWTH, LAYERS = 16, 5

    def __init__(self, n_bands: int, features: int = 64) -> None:
        super().__init__()
        grow = self.GROWTH
        self.low_pass = torch.nn.Sequential(conv(1, grow), torch.nn.ReLU(), conv(grow, grow), torch.nn.ReLU())
        self.spectral = torch.nn.Sequential(
            conv(n_bands, features, 1), torch.nn.ReLU(), conv(features, features, 1), torch.nn.ReLU()
        )
        self.dense = torch.nn.ModuleList(conv(features + grow * (1 + layer), grow) for layer in range(self.LAYERS))
        self.last = silent(conv(features + grow * (1 + self.LAYERS), n_bands, 1))

    def forward(self, base: torch.Tensor, pan: torch.Tensor, spectrum: torch.Tensor) -> torch.Tensor:
        """See `Net.forward`."""
        x = torch.cat([pan - self.low_pass(pan), self.spectral(base)], 1)
        for layer in self.dense:
            x = torch.cat([x, relu(layer(x))], 1)
        return self.last(x)


@method(
    "HSpeNet", family="supervised net", trained=True,
    paper="L. He, J. Zhu, J. Li, D. Meng, J. Chanussot, A. Plaza, Spectral-fidelity convolutional neural networks for "
    "hyperspectral pansharpening, IEEE JSTARS 13, 2020",
)  # fmt: skip
def hspenet(scene: Scene, *, weights: str | Path | None = None) -> Any:
    """Densely connected net on PAN's details and spectral features; its loss has the spectral angle in it."""
    return fuse_with_weights(HSpeNet, scene, weights)
