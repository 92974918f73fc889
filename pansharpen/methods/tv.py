"""TV: fusion by total variation."""

from __future__ import annotations

import torch

from pansharpen.case import FusionCase
from pansharpen.families.variational import fuse_components
from pansharpen.registry import method


@method(
    "TV", family="model-based", tiled=False, consistent=True,
    paper="F. Palsson, J. R. Sveinsson, M. O. Ulfarsson, A new pansharpening algorithm based on total variation, IEEE "
    "GRSL 11(1), 2014",
)  # fmt: skip
def tv(case: FusionCase, *, rank: int = 10, iterations: int = 80) -> torch.Tensor:
    """Least squares to the decimated cube and to PAN, with the total variation of each spectral component.

    Principal components take the place of the paper's bands, and a maximum-likelihood λ that of its constants.
    """
    return fuse_components(case, joint=False, rank=rank, iterations=iterations)
