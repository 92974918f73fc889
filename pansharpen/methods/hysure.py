"""HySURE: fusion in a spectral subspace with vector total variation."""

from __future__ import annotations

import torch

from pansharpen.case import FusionCase
from pansharpen.families.variational import fuse_components
from pansharpen.registry import method


@method(
    "HySURE", family="model-based", tiled=False, consistent=True,
    paper="M. Simões, J. Bioucas-Dias, L. B. Almeida, J. Chanussot, A convex formulation for hyperspectral image "
    "superresolution via subspace-based regularization, IEEE TGRS 53(6), 2015",
)  # fmt: skip
def hysure(case: FusionCase, *, rank: int = 10, iterations: int = 60) -> torch.Tensor:
    """Data terms of cube and PAN in a subspace, with a total variation that lets its components share edges."""
    return fuse_components(case, joint=True, rank=rank, iterations=iterations)
