"""Components of an image that are alike in neighbouring pixels unless a guide has an edge between them.

Weights of pairs of neighbours, the Laplacian that they make, and a solver of the quadratic problem whose result at a
pixel depends on that pixel's surroundings only, so that tiles agree with the whole. Fusion (``physics``, whose guide is
PAN or several sharp bands) and inversion (``joint``, whose guide is its own first estimate) solve the same problem.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from hsitools.estimation.chebyshev import CONDITION, cached, chebyshev
from hsitools.estimation.links import NEIGHBOURS, Across, Offsets, Views, degree, laplacian, neighbours_at
from hsitools.sensor.separable import Separable

#: κ: inverse variance of the step between neighbours without an edge, in units of the components' variance. Of twelve
#: tuning cases of fusion 10 costs .6 % of ERGAS in the mean; 6 gains another .3 %, but costs an urban one .7 %.
SMOOTHNESS = 7.5
#: Step of the components, in their standard deviations, from which on a step costs no longer its square.
STEP = 0.1
#: Weight that is left across the strongest edge.
LINK = 0.005
#: Pixels whose small matrices are inverted at once: beyond some megabytes they only cost memory.
PIXELS_AT_ONCE = 2**16


def edge_weights(guide: torch.Tensor, edge: float) -> list[torch.Tensor]:
    """Weights of the pairs of neighbours in four directions: `LINK` + 1/(1 + step²/edge), over their distance.

    Of a guide ``(batch, channel, y, x)`` with several channels the squares of the steps add up, but for those that
    touch NaN: what a channel does not show is no edge.
    """
    out = []
    for offset in NEIGHBOURS:
        first, second = neighbours_at(guide.shape, offset)
        step = ((guide[second] - guide[first]) ** 2).nansum(1, keepdim=True)
        out.append((LINK + 1 / (1 + step / edge)) / float(np.hypot(*offset)))
    return out


def step_weights(z: torch.Tensor, step: float = STEP) -> list[torch.Tensor]:
    """1/√(1 + d²/step²) of the components' steps d between the same neighbours: total variation, one reweighting."""
    out = []
    for offset in NEIGHBOURS:
        first, second = neighbours_at(z.shape, offset)
        square = (z[second] - z[first]).square_().sum(1, keepdim=True) / float(np.hypot(*offset)) ** 2
        out.append((1 + square / step**2).rsqrt_())
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

        neighbours = Across(weights, NEIGHBOURS, z)

        def apply(step: torch.Tensor) -> torch.Tensor:
            around = torch.zeros_like(step)
            neighbours.add(around, step)
            return around.mul_(across).addcmul_(own, step, value=-1)

        # differences first: products of the whole would cancel to rounding errors
        residual = self.precision * data - (self.precision + pull) * z - self.smoothness * laplacian(z, weights)
        return chebyshev(residual.mul_(inverse), apply, z, CONDITION)


@dataclass(frozen=True, kw_only=True, eq=False)
class Sharp:
    """Sharp channels on one grid, each a sum of the components: PAN, or the bands of another sensor.

    Attributes
    ----------
    image : Tensor, shape (batch, m, y, x)
        What ``response · z`` should be, on the channels' own grid.
    response : Tensor, shape (m, k)
    precision : float, or Tensor that broadcasts to the image
        One over the variance of what is left; zero where nothing was measured.
    down : Separable or None
        From the fine grid to the channels' own; None where that is the fine grid itself.
    """

    image: torch.Tensor
    response: torch.Tensor
    precision: Any
    down: Separable | None = None

    def see(self, z: torch.Tensor) -> torch.Tensor:
        """The channels of components, ``(batch, m, y, x)``."""
        channels = _along(self.response, z)
        return channels if self.down is None else self.down(channels)

    def spread(self, channels: torch.Tensor) -> torch.Tensor:
        """Transpose of `see`, weighted by the precision: what each component gets of residuals of the channels."""
        weighted = self.precision * channels
        return _along(self.response.mT, weighted if self.down is None else self.down.adjoint(weighted))

    def bound(self) -> torch.Tensor:
        """Diagonal ``(batch, m, y, x)`` on the fine grid that `spread` of `see` never exceeds.

        On the channels' own grid it is exact; rows of a blur are means, so that by Gershgorin's circles its adjoint of
        the precision is one.
        """
        precision = torch.ones_like(self.image) * self.precision
        return precision if self.down is None else self.down.adjoint(precision)


@dataclass(frozen=True, kw_only=True, eq=False)
class Links:
    """Pairs of pixels beyond the neighbours that are taken to be alike.

    Attributes
    ----------
    weights : list of Tensor, shape (batch, 1, …)
        Of the pairs at each offset, without `SMOOTHNESS`; as the neighbours' are cut (`neighbours_at`).
    offsets
        One a weight.
    leading : int
        So many of the first components are linked.
    """

    weights: list[torch.Tensor]
    offsets: Offsets
    leading: int


@dataclass(frozen=True, kw_only=True, eq=False)
class DataTerms:
    """What the cube and sharp channels say of the components of a tile.

    Attributes
    ----------
    down : Separable
        Blur and sampling.
    precision : Tensor, shape (k, 1, 1) or (1, k, y, x)
        Of the coarse components; zero where nothing was measured.
    sharp : sequence of Sharp
        At least one.
    condition : float
        Of the preconditioned system, up to which directions are solved for.
    steps : int, optional
        Of the iteration; default `hsitools.estimation.chebyshev.STEPS`.
    """

    down: Separable
    precision: torch.Tensor
    sharp: Sequence[Sharp]
    condition: float = CONDITION
    steps: int | None = None

    def of(self, components: slice, z: torch.Tensor) -> DataTerms:
        """What they say of some components alone, the others being as in ``z``."""
        sharp = []
        for part in self.sharp:
            others = part.response.to(z).clone()
            others[:, components] = 0
            rest = part.image - replace(part, response=others).see(z)
            sharp.append(replace(part, image=rest, response=part.response[:, components]))
        return replace(self, precision=self.precision[..., components, :, :], sharp=sharp)

    def system(self, weights: list[torch.Tensor], like: torch.Tensor, links: Links | None = None) -> System:
        """The quadratic problem for components like these, ``(batch, k, y, x)``, and given weights and links."""
        return System(self, weights, like, links)

    def solve(
        self, data: torch.Tensor, weights: list[torch.Tensor], z: torch.Tensor, links: Links | None = None
    ) -> torch.Tensor:
        """The components for coarse components ``data`` and given weights and links, from a start ``z``.

        By `chebyshev`.
        """
        system = self.system(weights, z, links)
        return chebyshev(system.start(data, z), system.iterated(), z, self.condition, self.steps)


class System:
    """The linear system of `DataTerms` and a prior's weights, with its preconditioner.

    Parameters
    ----------
    terms : DataTerms
    weights : list of Tensor
        Of the pairs of neighbours, without `SMOOTHNESS`.
    like : Tensor, shape (batch, k, y, x)
        Of the components' shape and type.
    links : Links, optional
        Beyond the neighbours.
    """

    def __init__(
        self, terms: DataTerms, weights: list[torch.Tensor], like: torch.Tensor, links: Links | None = None
    ) -> None:
        self.down, self.precision = terms.down, terms.precision.to(like)
        self.sharp = [replace(part, response=part.response.to(like)) for part in terms.sharp]
        # as they are: multiplied where they are used, which costs nothing, they are not held twice
        self.weights = weights
        around = degree(weights, like[:, :1]).mul_(SMOOTHNESS)
        #: Components, and the sum of the weights at each pixel of theirs.
        self.around = [(slice(None), around)]
        self.neighbours = Across(self.weights, NEIGHBOURS, like)
        self.links, self.linked, self.leading = links, None, slice(0)
        if links is not None:
            self.leading = slice(links.leading)
            self.linked = Across(links.weights, links.offsets, like[:, self.leading])
            both = around + SMOOTHNESS * degree(links.weights, like[:, :1], links.offsets)
            self.around = [(self.leading, both), (slice(links.leading, None), around)]
        # the rows of a blur are means and those of a Laplacian sum to zero: by Gershgorin, blur and prior are at most
        # these diagonals, and with the sharp channels' terms the preconditioned system lies below one
        coarse = self.precision.expand(len(like), like.shape[1], self.down.y.n_out, self.down.x.n_out)
        bound = self.down.adjoint(coarse)
        for components, sums in self.around:
            bound[:, components].add_(sums, alpha=2)
        self.inverse = bound.reciprocal_()
        self.response = torch.cat([part.response for part in self.sharp])
        self.share = _share(self.response, self.inverse, torch.cat([part.bound() for part in self.sharp], 1))
        #: Of one channel, what it takes off each component.
        self.gain = self.inverse * self.response[0][:, None, None] if len(self.response) == 1 else None

    def precondition(self, residual: torch.Tensor, sharp: torch.Tensor | None = None) -> torch.Tensor:
        """Inverse of the bound, by Woodbury's formula for the sharp channels; overwrites its argument.

        Of channels on the fine grid the residual may be apart, ``sharp (batch, m, y, x)``, without their precision: the
        bound takes off what they add but for a part, and at weakly linked pixels rounding would leave 1e-4.
        """
        residual = residual.contiguous()
        pixels, inverse = residual.flatten(2), self.inverse.flatten(2)
        for part in cached(pixels.shape[-1], residual, each=pixels.shape[1]):
            own = pixels[..., part].mul_(inverse[..., part])
            channels = self.response @ own
            if sharp is not None:
                channels -= sharp.flatten(2)[..., part]
            if self.gain is not None:
                channels *= self.share[:, 0].flatten(2)[..., part]
                own.addcmul_(self.gain.flatten(2)[..., part], channels, value=-1)
            else:
                channels = (self.share.flatten(3)[..., part] * channels[:, None]).sum(2)
                own.addcmul_(inverse[..., part], self.response.mT @ channels, value=-1)
        return residual

    def start(self, data: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """Preconditioned residual at ``z``."""
        out = self._rest_of_residual(data, z)
        return self.precondition(out, self._apart(out, [part.image - part.see(z) for part in self.sharp]))

    def preconditioned(self, step: torch.Tensor) -> torch.Tensor:
        """Minus the preconditioned matrix times ``step``: adding products is a fourth faster than taking them off."""
        return self.iterated()(step)

    def iterated(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """The same for an iteration, whose every result takes the place of the one before.

        Of a step that is another one in the same memory, windows are known already.
        """
        known: tuple[torch.Tensor, torch.Tensor, Views] | None = None

        def apply(step: torch.Tensor) -> torch.Tensor:
            nonlocal known
            if known is None or known[0] is not step:
                out = step.new_empty(step.shape)
                known = step, out, self._views(out, step)
            out = self._less(step, known[1], known[2])
            return self.precondition(out, self._apart(out, [part.see(step).neg_() for part in self.sharp]))

        return apply

    def apply(self, step: torch.Tensor) -> torch.Tensor:
        """The system's matrix: data terms and prior."""
        out = step.new_empty(step.shape)
        self._less(step, out, self._views(out, step)).neg_()
        for part in self.sharp:
            out += part.spread(part.see(step))
        return out

    def residual(self, data: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """Right side less matrix times ``z``, for coarse components ``data``."""
        out = self._rest_of_residual(data, z)
        for part in self.sharp:
            out += part.spread(part.image - part.see(z))
        return out

    def _apart(self, out: torch.Tensor, channels: list[torch.Tensor]) -> torch.Tensor:
        """Channels of the fine grid, zero for others, which `out` gets."""
        apart = []
        for part, image in zip(self.sharp, channels, strict=True):
            if part.down is None:
                apart.append(image)
            else:
                out += part.spread(image)
                apart.append(out.new_zeros(len(out), image.shape[1], *out.shape[2:]))
        return torch.cat(apart, 1)

    def _views(self, out: torch.Tensor, step: torch.Tensor) -> Views:
        """Windows of all links."""
        own = self.neighbours.views(out, step)
        return own if self.linked is None else own + self.linked.views(out[:, self.leading], step[:, self.leading])

    def _less(self, step: torch.Tensor, out: torch.Tensor, views: Views) -> torch.Tensor:
        """Minus the matrix, without sharp channels, times ``step``: ``out``, whose windows are ``views``."""
        self.down.adjoint(-self.precision * self.down(step), out)
        for components, sums in self.around:
            out[:, components].addcmul_(sums, step[:, components], value=-1)
        for own, weights, across in views:
            own.addcmul_(weights, across, value=SMOOTHNESS)
        return out

    def _rest_of_residual(self, data: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """The residual without sharp channels."""
        # differences first: products of the whole would cancel to rounding errors
        out = self.down.adjoint(self.precision * (data - self.down(z)))
        self.neighbours.add_steps(out, z, SMOOTHNESS)
        if self.linked is not None:
            self.linked.add_steps(out[:, self.leading], z[:, self.leading], SMOOTHNESS)
        return out


def _share(response: torch.Tensor, inverse: torch.Tensor, trust: torch.Tensor) -> torch.Tensor:
    """``(T⁻¹ + V D⁻¹ Vᵀ)⁻¹`` of each pixel, ``(batch, m, m, y, x)``, for responses V, D⁻¹ = ``inverse``, T = ``trust``.

    As √T (1 + √T V D⁻¹ Vᵀ √T)⁻¹ √T, which a precision of zero does not break.
    """
    m = len(response)
    if m == 1:
        return (trust / (1 + trust * _along(response.square(), inverse)))[:, None]
    products = (response[:, None] * response).flatten(0, 1)
    root = trust.sqrt()
    out = _along(products, inverse).unflatten(1, (m, m)) * root[:, None] * root[:, :, None]
    flat = out.flatten(3)
    unit = torch.eye(m, dtype=torch.float64, device=out.device)
    for first in range(0, flat.shape[-1], PIXELS_AT_ONCE):
        part = flat[..., first : first + PIXELS_AT_ONCE]
        part.copy_(torch.linalg.inv(unit + part.movedim(-1, 1).double()).movedim(1, -1))
    return out * root[:, None] * root[:, :, None]


def _along(weights: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Weighted sums ``(batch, m, y, x)`` of images ``(batch, k, y, x)``, for weights ``(m, k)``."""
    return (weights @ images.flatten(2)).unflatten(-1, images.shape[-2:])
