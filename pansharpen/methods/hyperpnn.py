"""HyperPNN: spectrally predictive convolutional net."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import relu

from pansharpen.case import Scene
from pansharpen.families.nets import Net, conv, fuse_with_weights, mse, silent
from pansharpen.registry import method


class HyperPNN(Net):
    """Two 1×1 layers predict spectral features, three 3×3 layers add PAN's structure, two 1×1 layers lead to bands."""

    method = "HyperPNN"
    learning_rate, batch, epochs = 1e-4, 64, 5000
    loss = staticmethod(mse)

    def __init__(self, n_bands: int, features: int = 64) -> None:
        super().__init__()
        self.spectral = torch.nn.ModuleList([conv(n_bands, features, 1), conv(features, features, 1)])
        self.spatial = torch.nn.ModuleList(conv(features + extra, features) for extra in (1, 0, 0))
        self.hidden, self.last = conv(features, features, 1), silent(conv(features, n_bands, 1))

    def forward(self, base: torch.Tensor, pan: torch.Tensor, spectrum: torch.Tensor) -> torch.Tensor:
        """See `Net.forward`."""
        x = base
        for layer in self.spectral:
            x = relu(layer(x))
        inner = torch.cat([x, pan], 1)
        for layer in self.spatial:
            inner = relu(layer(inner))
        return self.last(relu(self.hidden(x + inner)))


@method(
    "HyperPNN", family="supervised net", trained=True,
    paper="L. He, J. Zhu, J. Li, A. Plaza, J. Chanussot, B. Li, HyperPNN: hyperspectral pansharpening via spectrally "
    "predictive convolutional neural networks, IEEE JSTARS 12(8), 2019",
)  # fmt: skip
def hyperpnn(scene: Scene, *, weights: str | Path | None = None) -> Any:
    """Convolutional net of 1×1 spectral and 3×3 spatial layers, with a skip around the spatial ones."""
    return fuse_with_weights(HyperPNN, scene, weights)
