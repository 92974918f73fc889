"""Neighbours help one another: components of spectra under an edge-aware prior whose strength the data choose.

Each component has its own smoothness, the one with the least estimate of the error (Stein's unbiased risk estimate,
Annals of Statistics 9(6), 1981), which is also its error bar: what the prior claims of itself is not needed. Links go
by the data, so that the degrees of freedom are those of the whole estimate, found by shaking the data a little (S.
Ramani, T. Blu and M. Unser, IEEE Transactions on Image Processing 17(9), 2008).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from hsitools.errors import InputError
from hsitools.estimation.chebyshev import STEPS
from hsitools.estimation.edge_aware import Pixels, degree, edge_weights, step_weights

Array = NDArray[np.float64]

#: Smoothness tried, in units of the component's precision at unit variance: from none to a tie of whole fields.
SMOOTHNESS = (0.0, 0.3, 1.0, 3.0, 10.0, 30.0)
#: Step of the guide that halves a weight, as a share of its standard deviation; noise comes on top.
EDGE = 0.1
#: Passes: the first takes its guide from single pixels, the next from the pass before.
PASSES = 2
#: Surroundings that reach into a pixel: in each pass the solver's steps, one of them as the guide's neighbour.
REACH = PASSES * (STEPS + 2)
#: Standard deviation of the shaking that tells the degrees of freedom, in those of the noise.
SHAKE = 0.1
#: Components at a time: images of a few stay in the cache.
TOGETHER = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class Smoothing:
    """How much neighbours help each component, chosen on an image, to be applied to it or to others of its kind.

    Attributes
    ----------
    precision : Tensor, shape (k, 1, 1)
        Of each component in a pixel.
    channel : Tensor, shape (k, 1, 1)
        Weight of each component in an edge.
    smoothness : tuple of Tensor, shape (k,)
        Of each pass.
    risk : Tensor, shape (k,)
        Estimate of the squared error, in units of the noise's variance; empty before it is chosen.
    spread : Tensor, shape (k,)
        Mean over the image of the variance that links and precision make.
    """

    precision: torch.Tensor
    channel: torch.Tensor
    smoothness: tuple[torch.Tensor, ...] = ()
    risk: torch.Tensor
    spread: torch.Tensor

    def alone(self, image: torch.Tensor) -> torch.Tensor:
        """What a pixel tells by itself."""
        return image * (self.precision / (1 + self.precision))

    def weights(self, guide: torch.Tensor, number: int) -> list[torch.Tensor]:
        """Weights of neighbours in pass ``number``, by a guide of the pass before."""
        shrunk = self.precision / (1 + self.precision) ** 2
        noise = float((self.channel**2 * shrunk).sum()) * 0.25**number
        weights = edge_weights(guide * self.channel, EDGE**2 + 2 * noise)
        if number:
            weights = [w * a for w, a in zip(weights, step_weights(guide * self.channel), strict=True)]
        return weights

    def solve(
        self, image: torch.Tensor, inside: torch.Tensor, weights: list[torch.Tensor], smoothness: torch.Tensor
    ) -> torch.Tensor:  # fmt: skip
        """The components under given links; those without smoothness by themselves."""
        out = self.alone(image)
        for part in torch.nonzero(smoothness)[:, 0].split(TOGETHER):
            terms = Pixels(precision=self.precision[part] * inside, smoothness=smoothness[part, None, None])
            out[:, part] = terms.solve(image[:, part], weights, out[:, part])
        return out

    def variances(self, weights: list[torch.Tensor], like: torch.Tensor) -> torch.Tensor:
        """Variance that precision and links make, ``(1, k, y, x)``."""
        smooth = self.smoothness[-1][:, None, None]
        return 1 / (self.precision + 1 / (1 + smooth) + degree(weights, like[:, :1]) * smooth)

    def __call__(self, data: Array, measured: NDArray[np.bool_], device: str = "cpu") -> tuple[Array, Array]:
        """Components ``(k, measured pixel)`` of an image and their standard deviations, see `choose`."""
        image, inside = _image(data, measured, device)
        guide, weights = self.alone(image), list[torch.Tensor]()
        for number, smoothness in enumerate(self.smoothness):
            weights = self.weights(guide, number)
            guide = self.solve(image, inside, weights, smoothness)
        # the risk is a mean over the image: where there are few or weak links more is left to the pixel
        local = self.variances(weights, guide)
        level = torch.maximum(self.risk / self.precision[:, 0, 0], 0.1 * self.spread)
        std = (local * (level / self.spread)[:, None, None])[0][:, inside].sqrt()
        return guide[0][:, inside].double().cpu().numpy(), std.double().cpu().numpy()


def place(device: str) -> str:
    """The device of torch: ``auto`` is a GPU where there is one; raises `InputError` where it is not there."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError):
        raise InputError(f"device: found {device!r}, which torch does not see here, expected auto or cpu") from None
    return device


def choose(
    data: Array, signal: Array, importance: Array, measured: NDArray[np.bool_], seed: int = 0, device: str = "cpu"
) -> Smoothing:  # fmt: skip
    """The smoothness of each component, by an image.

    Parameters
    ----------
    data : array, shape (k, measured pixel)
        Components of unit variance, measured with noise of variance 1/``signal``.
    signal : array, shape (k,)
    importance : array, shape (k,)
        Weight of each component in an edge: its share in the spectra.
    measured : array of bool, shape (y, x)
    seed : int
        Of the probes of the risk estimate.
    device : str
        Of torch.
    """
    image, inside = _image(data, measured, device)
    precision = torch.as_tensor(signal, dtype=torch.float32).to(device)[:, None, None]
    channel = torch.as_tensor(np.sqrt(importance / importance.sum()), dtype=torch.float32).to(device)[:, None, None]
    nothing = torch.zeros(len(data), device=device)
    made = Smoothing(precision=precision, channel=channel, risk=nothing, spread=nothing)
    generator = torch.Generator().manual_seed(seed)
    probe = torch.randint(0, 2, image.shape, generator=generator).to(image) * 2 - 1
    # a small part of the noise: what it moves through links that the data choose counts as well
    shake = SHAKE * probe * inside / precision.sqrt()
    shaken = image + shake
    count = int(inside.sum())
    power = (image**2 * precision * inside).sum((0, 2, 3)) / count
    guides, weights = [made.alone(part) for part in (image, shaken)], list[torch.Tensor]()
    left = nothing
    for number in range(PASSES):
        weights, moved = (made.weights(guide, number) for guide in guides)
        best, kept, smooth = torch.full_like(nothing, torch.inf), guides, nothing
        for value in SMOOTHNESS:
            same = torch.full_like(nothing, value)
            estimate, other = (
                made.solve(part, inside, links, same) for part, links in ((image, weights), (shaken, moved))
            )
            # in units of the noise
            misfit = ((image - estimate) ** 2 * precision * inside).sum((0, 2, 3))
            freedom = (shake * (other - estimate) * precision).sum((0, 2, 3)) / SHAKE**2
            risk = misfit / count - 1 + 2 * freedom / count
            better = risk < best
            best, smooth = torch.where(better, risk, best), torch.where(better, same, smooth)
            left = torch.where(better, misfit / count, left)
            kept = [
                torch.where(better[:, None, None], new, old) for new, old in zip((estimate, other), kept, strict=True)
            ]
        guides = kept
        made = replace(made, smoothness=(*made.smoothness, smooth), risk=best)
    made = replace(made, risk=best + left * (without_chance(power, precision[:, 0, 0], count) - 1))
    return replace(made, spread=made.variances(weights, guides[0])[0][:, inside].mean(1))


def without_chance(power: torch.Tensor, precision: torch.Tensor, count: int) -> torch.Tensor:
    """What measured powers of components ``(k,)``, in units of the noise, are multiplied by to be what they should be.

    The population says one plus their ``precision``, of which the latter may be wrong by as much as it is; ``count``
    pixels show that with chance. Far below the noise chance is many times the risk that is looked for.
    """
    expected = 1 + precision
    share = precision**2 / (precision**2 + 2 * expected**2 / count)
    return share + (1 - share) * expected / power.clamp(min=1e-20)


def _image(data: Array, measured: NDArray[np.bool_], device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Measured components as an image ``(1, k, y, x)``, zero elsewhere, and where they are measured."""
    inside = torch.as_tensor(measured).to(device)
    image = torch.zeros((1, len(data), *measured.shape), device=device)
    image[0, :, inside] = torch.as_tensor(data, dtype=torch.float32).to(device)
    return image, inside
