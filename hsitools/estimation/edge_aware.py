"""Components of an image that are alike in neighbouring pixels unless a guide has an edge between them.

Weights of pairs of neighbours, the Laplacian that they make, and a solver of the quadratic problem whose result at a
pixel depends on that pixel's surroundings only, so that tiles agree with the whole. Fusion (``physics``, whose guide is
PAN) and inversion (``joint``, whose guide is its own first estimate) solve the same problem.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hsitools.sensor.separable import Separable

#: κ: inverse variance of the step between neighbours without an edge, in units of the components' variance.
SMOOTHNESS = 10.0
#: Step of the components, in their standard deviations, from which on a step costs no longer its square.
STEP = 0.1
#: Weight that is left across the strongest edge.
LINK = 0.005
#: Offsets (y, x) to half of the eight neighbours: each pair of pixels is linked once.
NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))
#: Of the solver. More steps change indices by less than a percent.
STEPS, CONDITION = 30, 60.0


def edge_weights(guide: torch.Tensor, edge: float) -> list[torch.Tensor]:
    """Weights of the pairs of neighbours in four directions: `LINK` + 1/(1 + step²/edge), over their distance.

    Of a guide ``(batch, channel, y, x)`` with several channels the squares of the steps add up.
    """
    out = []
    for offset in NEIGHBOURS:
        first, second = _pair(guide.shape, offset)
        step = ((guide[second] - guide[first]) ** 2).sum(1, keepdim=True)
        out.append((LINK + 1 / (1 + step / edge)) / float(np.hypot(*offset)))
    return out


def step_weights(z: torch.Tensor) -> list[torch.Tensor]:
    """1/√(1 + step²/STEP²) of the components' steps between the same neighbours: total variation, one reweighting."""
    out = []
    for offset in NEIGHBOURS:
        first, second = _pair(z.shape, offset)
        step = (z[second] - z[first]).square_().sum(1, keepdim=True) / float(np.hypot(*offset)) ** 2
        out.append((1 + step / STEP**2).rsqrt_())
    return out


def _pair(shape: torch.Size, offset: tuple[int, int]) -> tuple[Any, Any]:
    """Index of every pixel that has a neighbour at ``offset``, and of that neighbour."""
    height, width = shape[-2:]
    dy, dx = offset
    first = (..., slice(0, height - dy), slice(max(0, -dx), width - max(0, dx)))
    second = (..., slice(dy, height), slice(max(0, dx), width + min(0, dx)))
    return first, second


def laplacian(image: torch.Tensor, weights: list[torch.Tensor]) -> torch.Tensor:
    """Gradient of ½ Σ w_ij (z_i − z_j)²."""
    out = torch.zeros_like(image)
    for weight, offset in zip(weights, NEIGHBOURS, strict=True):
        first, second = _pair(image.shape, offset)
        flow = weight * (image[second] - image[first])
        out[second] += flow
        out[first] -= flow
    return out


def degree(weights: list[torch.Tensor], like: torch.Tensor) -> torch.Tensor:
    """Sum of the weights at each pixel, of the shape of ``like``."""
    out = torch.zeros_like(like)
    for weight, offset in zip(weights, NEIGHBOURS, strict=True):
        first, second = _pair(like.shape, offset)
        out[first] += weight
        out[second] += weight
    return out


@dataclass(frozen=True, kw_only=True, eq=False)
class Pixels:
    """Components measured in each pixel by itself, with unit variance beforehand.

    Attributes
    ----------
    precision : Tensor, shape (k, 1, 1) or (1, k, y, x)
        Of each component's measurement; zero where nothing was measured.
    smoothness : Tensor, shape (k, 1, 1)
        κ of each component: inverse variance of the step between neighbours without an edge.
    """

    precision: torch.Tensor
    smoothness: torch.Tensor

    def solve(self, data: torch.Tensor, weights: list[torch.Tensor], z: torch.Tensor) -> torch.Tensor:
        """The components for measured ones ``data`` and given weights, from a start ``z``."""
        links = degree(weights, data[:, :1])
        pull = 1 / (1 + self.smoothness)
        # Gershgorin: the Laplacian is at most twice its diagonal
        inverse = 1 / (self.precision + pull + 2 * self.smoothness * links)
        own, across = inverse * (self.precision + pull + self.smoothness * links), inverse * self.smoothness

        def apply(step: torch.Tensor) -> torch.Tensor:
            around = torch.zeros_like(step)
            for weight, offset in zip(weights, NEIGHBOURS, strict=True):
                first, second = _pair(step.shape, offset)
                around[first].addcmul_(weight, step[second])
                around[second].addcmul_(weight, step[first])
            return around.mul_(across).neg_().addcmul_(own, step)

        # differences first: products of the whole would cancel to rounding errors
        residual = self.precision * data - (self.precision + pull) * z - self.smoothness * laplacian(z, weights)
        return chebyshev(residual.mul_(inverse), apply, z, CONDITION)


def chebyshev(
    residual: torch.Tensor, apply: Callable[[torch.Tensor], torch.Tensor], z: torch.Tensor, condition: float
) -> torch.Tensor:
    """`STEPS` steps of Chebyshev's iteration for a preconditioned spectrum in [1/``condition``, 1].

    No scalar depends on the data, unlike in conjugate gradients: what a pixel becomes depends on its surroundings only.
    Directions below the interval stay nearer to the start.

    Parameters
    ----------
    residual : Tensor
        Preconditioned residual at the start; overwritten.
    apply : callable
        The preconditioned operator.
    z : Tensor
        The start.
    condition : float
    """
    low, high = 1 / condition, 1.0
    centre, half = (high + low) / 2, (high - low) / 2
    rho = half / centre
    step = residual / centre
    z = z + step
    for _ in range(STEPS - 1):
        residual -= apply(step)
        last, rho = rho, 1 / (2 * centre / half - rho)
        step = step.mul_(rho * last).add_(residual, alpha=2 * rho / half)
        z += step
    return z


@dataclass(frozen=True, kw_only=True, eq=False)
class DataTerms:
    """What cube and PAN say of the components of a tile.

    Attributes
    ----------
    down : Separable
        Blur and sampling.
    precision : Tensor, shape (k, 1, 1) or (1, k, y, x)
        Of the coarse components; zero where nothing was measured.
    pan : Tensor, shape (1, 1, y, x)
        What ``response · z`` should be.
    response : Tensor, shape (k,)
    pan_precision : float, or Tensor, shape (1, 1, y, x)
        Zero where PAN was not measured.
    condition : float
        Of the preconditioned system, up to which directions are solved for.
    """

    down: Separable
    precision: torch.Tensor
    pan: torch.Tensor
    response: torch.Tensor
    pan_precision: Any
    condition: float = CONDITION

    def solve(self, data: torch.Tensor, weights: list[torch.Tensor], z: torch.Tensor) -> torch.Tensor:
        """The components for coarse components ``data`` and given weights, from a start ``z``.

        By `chebyshev`.
        """
        pan, down, trust = self.pan, self.down, self.pan_precision
        precision = self.precision.to(pan)
        response = self.response.to(pan)[:, None, None]
        weights = [SMOOTHNESS * weight for weight in weights]
        around = degree(weights, pan)
        # the rows of a blur are means and those of a Laplacian sum to zero: by Gershgorin, blur and prior are at most
        # these diagonals, and with PAN's exact term the preconditioned system lies below one
        inverse = 1 / (down.adjoint(precision.expand_as(data)) + 2 * around)
        share = trust / (1 + trust * _along(response, response * inverse))

        def precondition(residual: torch.Tensor) -> torch.Tensor:
            residual *= inverse
            # Sherman and Morrison, for PAN's term
            return residual.addcmul_(inverse, response * (share * _along(response, residual)), value=-1)

        def apply(step: torch.Tensor) -> torch.Tensor:
            out = down.adjoint(precision * down(step))
            out.addcmul_(response, trust * _along(response, step))
            out.addcmul_(around, step)
            for weight, offset in zip(weights, NEIGHBOURS, strict=True):
                first, second = _pair(step.shape, offset)
                out[first].addcmul_(weight, step[second], value=-1)
                out[second].addcmul_(weight, step[first], value=-1)
            return out

        # differences first: products of the whole would cancel to rounding errors
        residual = down.adjoint(precision * (data - down(z)))
        residual.addcmul_(response, trust * (pan - _along(response, z)))
        residual = precondition(residual.sub_(laplacian(z, weights)))
        return chebyshev(residual, lambda step: precondition(apply(step)), z, self.condition)


def _along(response: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """PAN of the components, ``(batch, 1, y, x)``."""
    return (response[:, 0, 0] @ z.flatten(2)).unflatten(-1, z.shape[-2:])[:, None]
