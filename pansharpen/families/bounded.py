"""Least squares with bounds, from normal equations."""

from __future__ import annotations

import numpy as np
import torch


def nonnegative(gram: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Least squares with no negative weight: minimises ``xᵀ·gram·x/2 − xᵀ·right`` over ``x ≥ 0``.

    Once the Gram matrix is there, the number of pixels does not matter: each right-hand side is a small problem of its
    own for the active-set method of Lawson and Hanson.

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
    found = np.stack([[nnls(a, target, maxiter=30 * len(a))[0] for target in rows] for a, rows in pairs])
    return torch.as_tensor(found, dtype=gram.dtype, device=gram.device).mT / scale
