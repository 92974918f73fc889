"""Posterior of each row by itself: residual variance and covariance of the parameters, for any loss."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibration.fitting.cut_off import CutOff
from calibration.fitting.refine import HUBER, WILD, Prior, Refinement, huber_scale

Array = NDArray[np.float64]


def inverse(normal: Array) -> Array:
    """Inverse of positive matrices ``(batch, p, p)`` of whatever scale; singular directions stay finite."""
    diagonal = np.einsum("bii->bi", normal)
    scale = np.sqrt(np.where(diagonal > 0, diagonal, 1))
    scaled = normal / scale[:, :, None] / scale[:, None, :]
    inverted = np.linalg.inv(scaled + 1e-12 * np.eye(normal.shape[1]))
    return np.asarray(inverted / scale[:, :, None] / scale[:, None, :])


def influence(residual: Array, weight: Array, loss: str, cut_off: CutOff | None = None) -> tuple[Array, Array]:
    """Weighted residuals as the loss counts them, ψ, and how they grow with the residual, ψ′, ``(batch, line)``."""
    limits = None
    psi, slope = weight * residual, weight
    if loss != "linear":
        limit, magnitude = huber_scale(residual, weight), np.abs(residual)
        limits = limit, limit * (WILD / HUBER)
        kept = weight * (magnitude <= limits[1])
        psi, slope = kept * np.clip(residual, -limit, limit), weight * (magnitude < limit)
    if cut_off is not None:
        _, pull, curvature = cut_off.terms(residual, limits)
        psi, slope = psi + pull, slope + curvature
    return psi, slope


def posterior(
    refinement: Refinement, residual: Array, weight: Array, prior: Prior | None, free: NDArray[np.bool_],
    loss: str = "linear", cut_off: CutOff | None = None,
) -> tuple[Array, Array]:  # fmt: skip
    """Residual variance per unit weight and posterior covariance of each row, as rounds of learning need them.

    The variance is that of the residuals as the loss counts them, ``Σψ² / Σψ′``: with wild samples under the Huber loss
    it is that of the others. The degrees of freedom are those that the data, not the prior, determine:
    ``tr(H_data · H⁻¹)``, and those that are held (``free`` False) at an estimate from the same data.
    """
    inverted = inverse(refinement.normal)
    inverted[:, ~free, :] = 0
    inverted[:, :, ~free] = 0
    used = float(refinement.normal.shape[1]) + np.zeros(len(residual))
    if prior is not None:
        used = used - np.einsum("bij,bji->b", prior.precision, inverted)
    psi, slope = influence(residual, weight, loss, cut_off)
    count, total = (weight > 0).sum(axis=1), weight.sum(axis=1)
    # per unit weight: a sample of weight w has the variance of the row over w
    squares = np.divide(psi * psi, weight, out=np.zeros_like(psi), where=weight > 0).sum(axis=1)
    if cut_off is not None:
        # a sample at the ceiling counts as far as it holds the fit: the mean of ψ² is that of ψ′ times the variance
        held = (slope * cut_off.samples).sum(axis=1)
        count, total = count + held, total + held
        squares = squares + (psi * psi * cut_off.samples).sum(axis=1)
    share = np.maximum(slope.sum(axis=1), 1e-300) / np.maximum(total, 1e-300)
    variance = squares / np.maximum(count - used, 1) / share
    return variance, inverted * variance[:, None, None]
