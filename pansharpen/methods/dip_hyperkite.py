"""DIP-HyperKite: deep image prior with a spatial constraint, then an over-complete residual net."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import interpolate, leaky_relu, max_pool2d

from hsitools.progress import Progress
from pansharpen.case import FusionCase
from pansharpen.families.nets import Net, conv, fuse_with_weights, l1, silent
from pansharpen.families.prior import with_prior
from pansharpen.registry import method


class HyperKite(Net):
    """Over-complete: the encoder enlarges instead of shrinking, so that filters keep to finer and finer details.

    Without the batch normalisation of the paper: inputs are normalised by scene, and a batch of two has no statistics.
    """

    method = "DIP-HyperKite"
    learning_rate, batch, epochs = 1e-3, 2, 2500
    loss = staticmethod(l1)
    weight_decay, decay_epochs = 1e-4, 1000
    WIDTHS = (32, 64, 128)
    #: Of the prior's spatial constraint.
    PAN_WEIGHT = 0.6
    #: Fine pixels that are enlarged at a time when fusing, and those that a result may depend on around them.
    BLOCK, REACH = 96, 8

    def __init__(self, n_bands: int) -> None:
        super().__init__()
        a, b, c = self.WIDTHS
        self.encoder = nn.ModuleList([conv(n_bands + 1, a), conv(a, b), conv(b, c)])
        self.middle = conv(c, c)
        self.decoder = nn.ModuleList([conv(2 * c, b), conv(2 * b, a), conv(2 * a, a)])
        self.last = silent(conv(a, n_bands, 1))

    def forward(self, base: torch.Tensor, pan: torch.Tensor, spectrum: torch.Tensor) -> torch.Tensor:
        """See `Net.forward`; block by block when nothing is learned: enlarged features are 64 times larger."""
        x = torch.cat([base, pan], 1)
        if torch.is_grad_enabled():
            return self._details(x)
        height, width = x.shape[-2:]
        out = torch.empty_like(base)
        for top in range(0, height, self.BLOCK):
            for left in range(0, width, self.BLOCK):
                y0, x0 = max(top - self.REACH, 0), max(left - self.REACH, 0)
                y1, x1 = min(top + self.BLOCK, height), min(left + self.BLOCK, width)
                part = self._details(x[..., y0 : y1 + self.REACH, x0 : x1 + self.REACH])
                out[..., top:y1, left:x1] = part[..., top - y0 : y1 - y0, left - x0 : x1 - x0]
        return out

    @classmethod
    def upsampled(cls, scene: FusionCase, *, seed: int = 0, progress: Progress | None = None) -> FusionCase:
        """By the deep prior of the coarse cube and of PAN."""
        return with_prior(scene, seed=seed, progress=progress, pan_weight=cls.PAN_WEIGHT)

    def _details(self, x: torch.Tensor) -> torch.Tensor:
        levels: list[torch.Tensor] = []
        for layer in self.encoder:
            levels.append(leaky_relu(layer(_enlarged(x) if levels else x), 0.2))
            x = levels[-1]
        x = leaky_relu(self.middle(_enlarged(x)), 0.2)
        for layer in self.decoder:
            x = leaky_relu(layer(torch.cat([max_pool2d(x, 2), levels.pop()], 1)), 0.2)
        return self.last(x)


def _enlarged(x: torch.Tensor) -> torch.Tensor:
    return interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


@method(
    "DIP-HyperKite", family="supervised net", trained=True, tiled=False,
    paper="W. G. C. Bandara, J. M. J. Valanarasu, V. M. Patel, Hyperspectral pansharpening based on improved deep "
    "image prior and residual reconstruction, IEEE TGRS 60, 2022 (arXiv 2107.02630)",
)  # fmt: skip
def dip_hyperkite(
    scene: FusionCase, *, weights: str | Path | None = None, seed: int = 0,
    progress: Progress | None = None,
) -> Any:  # fmt: skip
    """Upsampling by a deep image prior that must also explain PAN, then an over-complete net of residual details."""
    return fuse_with_weights(HyperKite, scene, weights, seed=seed, progress=progress)
