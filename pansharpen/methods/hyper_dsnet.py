"""Hyper-DSNet: fixed high-pass templates of PAN, deep-shallow fusion, spectral attention."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import conv2d, pad, relu

from pansharpen.case import Scene
from pansharpen.families.nets import Net, conv, fuse_with_weights, l1, silent
from pansharpen.registry import method

#: 3×3 high-pass templates along y, whose transposes act along x.
SOBEL = ((-1, -2, -1), (0, 0, 0), (1, 2, 1))
#: As Sobel, without its weight along x.
PREWITT = ((-1, -1, -1), (0, 0, 0), (1, 1, 1))
#: The plain difference of neighbours.
DIFFERENCE = ((0, -1, 0), (0, 1, 0), (0, 0, 0))
#: The two diagonals of Roberts.
ROBERTS = (((-1, 0, 0), (0, 1, 0), (0, 0, 0)), ((0, -1, 0), (1, 0, 0), (0, 0, 0)))
#: The sum of second differences.
LAPLACE = ((0, 1, 0), (1, -4, 1), (0, 1, 0))


class HyperDSNet(Net):
    """Details of PAN by five templates; 3, 5 and 7 pixel filters; layers that narrow with depth; spectral attention."""

    method = "Hyper-DSNet"
    learning_rate, batch, epochs = 1e-4, 32, 5000
    loss = staticmethod(l1)
    SIZES, SCALE_FEATURES, DEEP = (3, 5, 7), 16, (32, 16, 8, 8)

    def __init__(self, n_bands: int) -> None:
        super().__init__()
        axes = [torch.tensor(kernel, dtype=torch.float32) for kernel in (SOBEL, PREWITT, DIFFERENCE)]
        kernels = [part for kernel in axes for part in (kernel, kernel.T)]
        kernels += [torch.tensor(kernel, dtype=torch.float32) for kernel in (*ROBERTS, LAPLACE)]
        self.templates: torch.Tensor
        self.register_buffer("templates", torch.stack(kernels)[:, None], persistent=False)
        self.scales = torch.nn.ModuleList(conv(n_bands + 7, self.SCALE_FEATURES, size) for size in self.SIZES)
        widths = (len(self.SIZES) * self.SCALE_FEATURES, *self.DEEP)
        self.deep = torch.nn.ModuleList(conv(*pair) for pair in pairwise(widths))
        self.last = silent(conv(sum(widths), n_bands, 1))
        squeezed = max(n_bands // 4, 1)
        self.attention = torch.nn.Sequential(
            torch.nn.Linear(n_bands, squeezed), torch.nn.ReLU(), torch.nn.Linear(squeezed, n_bands), torch.nn.Sigmoid()
        )

    def details(self, pan: torch.Tensor) -> torch.Tensor:
        """Edge strengths by Sobel, Prewitt, Roberts and Laplace, and the two differences, ``(batch, 6, y, x)``."""
        found = conv2d(pad(pan, (1, 1, 1, 1), mode="replicate"), self.templates.to(pan.dtype))
        sobel, prewitt, roberts = (found[:, pair].abs().mean(1, keepdim=True) for pair in ([0, 1], [2, 3], [6, 7]))
        return torch.cat([sobel, prewitt, roberts, found[:, 8:].abs(), found[:, 4:6]], 1)

    def forward(self, base: torch.Tensor, pan: torch.Tensor, spectrum: torch.Tensor) -> torch.Tensor:
        """See `Net.forward`."""
        seen = torch.cat([pan, self.details(pan), base], 1)
        x = torch.cat([relu(layer(seen)) for layer in self.scales], 1)
        levels = [x]
        for layer in self.deep:
            levels.append(relu(layer(levels[-1])))
        return self.last(torch.cat(levels, 1)) * self.attention(spectrum)[..., None, None]


@method(
    "Hyper-DSNet", family="supervised net", trained=True,
    paper="Y.-W. Zhuo, T.-J. Zhang, J.-F. Hu, H.-X. Dou, T.-Z. Huang, L.-J. Deng, A deep-shallow fusion network with "
    "multidetail extractor and spectral attention for hyperspectral pansharpening, IEEE JSTARS 15, 2022",
)  # fmt: skip
def hyper_dsnet(scene: Scene, *, weights: str | Path | None = None) -> Any:
    """Fixed high-pass templates of PAN, filters of three sizes, deep-shallow fusion and spectral attention."""
    return fuse_with_weights(HyperDSNet, scene, weights)
