"""Least squares without negative weights, from normal equations."""

from __future__ import annotations

import numpy as np
import torch


def nonnegative(gram: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Least squares with no negative weight: minimises ``xᵀ·gram·x/2 − xᵀ·right`` over ``x ≥ 0``.

    Once the Gram matrix is there, the number of pixels does not matter: each right-hand side is a small problem of its
    own for the active-set method of C. L. Lawson and R. J. Hanson (Solving Least Squares Problems, 1974).

    Parameters
    ----------
    gram : Tensor, shape (batch, p, p)
    right : Tensor, shape (batch, p, q)

    Returns
    -------
    Tensor, shape (batch, p, q), float64
    """
    from scipy.optimize import nnls

    scale = gram.diagonal(dim1=-2, dim2=-1).sqrt()
    scale = torch.where(scale > 0, scale, 1)[..., None]
    values, vectors = torch.linalg.eigh(gram / scale / scale.mT)
    # bands that repeat one another leave directions of rounding errors only
    floor = values[..., -1:].clamp(min=1e-300) * gram.shape[-1] * torch.finfo(gram.dtype).eps
    root = torch.maximum(values, floor).sqrt()
    factor = (vectors * root[:, None]).mT.cpu().numpy()
    targets = ((vectors / root[:, None]).mT @ (right / scale)).mT.cpu().numpy()
    pairs = zip(factor, targets, strict=True)
    # SciPy's default of 3 turns a weight is too few for many bands that nearly repeat one another
    weights = [[nnls(a, target, maxiter=30 * len(a))[0] for target in rows] for a, rows in pairs]
    return torch.as_tensor(np.array(weights), dtype=gram.dtype, device=gram.device).mT / scale
