"""FUSE: the Gaussian posterior in closed form, by a Sylvester equation."""

from __future__ import annotations

import torch

from pansharpen.case import FusionCase
from pansharpen.families.statistics import mix, moments
from pansharpen.families.variational import DataStep, problem
from pansharpen.registry import method

#: Of the details' covariance: keeps its inverse finite where the cube has no details.
RIDGE = 1e-3


@method(
    "FUSE", family="model-based", tiled=False, consistent=True,
    paper="Q. Wei, N. Dobigeon, J.-Y. Tourneret, Fast fusion of multi-band images based on solving a Sylvester "
    "equation, IEEE TIP 24(11), 2015",
)  # fmt: skip
def fuse_sylvester(case: FusionCase, *, rank: int = 10) -> torch.Tensor:
    """Data terms of cube and sharp channels in a subspace, with a Gaussian prior around the interpolated cube.

    The paper's Fourier transform asks for periodic images; here blur and sampling are diagonal through A·Aᵀ, with true
    borders. The prior's covariance is that of what interpolation lacks of the coarse cube one scale further down.
    """
    system = problem(case, rank)
    tile = case.tile
    coarse = system.coarse
    low = torch.nn.functional.avg_pool2d(coarse, 3, stride=1, padding=1, count_include_pad=False)
    covariance = moments(coarse - low, valid=tile.coarse_valid).covariance
    level = covariance.diagonal(dim1=1, dim2=2).mean(1)[:, None, None].clamp(min=1e-12)
    unit = torch.eye(covariance.shape[-1]).to(covariance)
    pull = torch.linalg.inv(covariance + RIDGE * level * unit)
    around = mix(system.analysis, tile.expanded.double() - system.mean[..., None, None])
    fused = system.cube(DataStep(system, pull, torch.float64)(around)).to(case.coarse.dtype)
    return fused + tile.up()(case.coarse - tile.down()(fused))
