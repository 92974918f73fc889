"""How the cube's pixels really lie and blur on PAN's grid, and how PAN is made up of the cube's components.

The low-pass PAN is linear in its response and nearly so in shift and blur: each step of Gauss and Newton regresses it
on the components and on its own derivatives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hsitools.sensor.separable import Separable, size_of
from hsitools.sensor.spatial import mtf_blur, mtf_decimate
from pansharpen.case import Scene, Tile
from pansharpen.families.statistics import Moments, moments, ratio_of

#: Usual deviations of shift (fine pixels, y and x) and MTF (relative change of the PSF's squared width) from what is
#: declared; where PAN is understood, the pair itself tells larger ones.
PRIOR = (0.3, 0.3, 0.15)
#: Gain, at half the coarse Nyquist frequency, of the blur that parts coarse details from the rest.
COARSE_DETAIL = 0.3
#: Of a residual that noise alone would explain, this share is still taken as PAN's error.
LEAST_SHARE = 0.1
#: Keeps a variance that is zero, of a PAN without contrast, from being divided by; far below any real one's square.
TINY = 1e-200
#: Area, in coarse pixels, over which what only PAN shows is alike: 1 leaves bands worse than interpolation where a
#: tenth of PAN is another scene, 4 costs 4 % where MTFs along both axes differ most.
STRUCTURE = 3
#: Coarse pixels that tell as much as one whose error is independent of the others'.
DEPENDENT = 4
#: Of a regression, relative to the components' unit variance.
RIDGE = 1e-6

#: Coarse components ``(batch, k, y, x)`` of a tile with its surroundings.
Components = Callable[[Tile], torch.Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class Registration:
    """What relates both images.

    Attributes
    ----------
    response, constant : Tensor, shape (k,), and float
        PAN of the components.
    unexplained : float
        Variance of PAN, at a coarse pixel, that its model leaves.
    shift : (float, float)
        Of the cube's samples against PAN's grid, fine pixels (y, x).
    blur : float
        The PSF's squared width over the declared one.
    """

    response: torch.Tensor
    constant: float
    unexplained: float
    shift: tuple[float, float]
    blur: float

    def gains(self, declared: Any) -> Any:
        """MTF at Nyquist, of the declared one."""
        return np.clip(np.asarray(declared, dtype=float) ** self.blur, 0.01, 0.97)

    def down(self, tile: Tile, declared: Any) -> Separable:
        """Blur and sampling as registered, for bands of such declared MTF."""
        optics = tile.optics
        return mtf_decimate(tile.fine_size, self.gains(declared), optics.ratio, optics.offset, shift=self.shift)


def register(scene: Scene, components: Components, rank: int, prior: torch.Tensor | None) -> Registration:
    """PAN's response to the components, and the shift and MTF that relate both images, by Gauss-Newton."""
    optics = scene.optics
    theta = np.array([*optics.shift, 0.0])
    start, limit = theta.copy(), np.array([2.0, 2.0, 1.0])
    step = np.array([0.25, 0.25, 0.1])

    def images(tile: Tile) -> Moments:
        low = [tile.see_pan(_down(tile, theta))]
        for axis in range(3):
            ends = [tile.see_pan(_down(tile, theta + sign * step * (np.arange(3) == axis))) for sign in (1, -1)]
            low.append((ends[0] - ends[1]) / (2 * step[axis]))
        own = components(tile)
        both = tile.crop_coarse(torch.cat([own, *low, *_derivatives(own)], 1))
        return moments(both, valid=tile.coarse_valid)

    for _ in range(8):  # three are usual
        sums = scene.sum(images)
        covariance, n = sums.covariance[0], float(sums.n)
        solution, _ = _regress(covariance, rank, n, theta - start, None)
        move = np.clip(-solution[rank:].cpu().numpy(), -1, 1)
        if np.all(np.abs(move) < 0.01):
            break
        theta = np.clip(theta + move, start - limit, start + limit)
    # a wrong response must not pass for a displacement: the declared one counts only now
    solution, unexplained = _regress(covariance, rank, n, theta - start, prior)
    response = solution[:rank]
    centre = sums.mean_x[0]
    return Registration(
        response=response, constant=float(centre[rank] - response @ centre[:rank]), unexplained=unexplained,
        shift=(float(theta[0]), float(theta[1])), blur=float(np.exp(theta[2])),
    )  # fmt: skip


def _derivatives(images: torch.Tensor) -> list[torch.Tensor]:
    """What shift along y and x, and a wider PSF, change of coarse images, but for factors."""
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1), mode="replicate")
    y = padded[..., :-2, 1:-1], padded[..., 2:, 1:-1]
    x = padded[..., 1:-1, :-2], padded[..., 1:-1, 2:]
    return [y[1] - y[0], x[1] - x[0], y[0] + y[1] + x[0] + x[1] - 4 * images]


def _regress(
    covariance: torch.Tensor, rank: int, n: float, theta: np.ndarray, prior: torch.Tensor | None
) -> tuple[torch.Tensor, float]:
    """Coefficients of the components and of the three derivatives, and the residual variance.

    What PAN alone sees is in its derivatives too, and more blur would always make it smaller. So the derivatives count
    as far as those of the components' own PAN, on the coarse grid, explain them (instrumental variables).
    """
    predictors = torch.cat([torch.arange(rank), torch.arange(rank + 1, rank + 4)]).to(covariance.device)
    plain, plain_right = covariance[predictors][:, predictors], covariance[predictors, rank]
    own = covariance[rank, rank]
    start = torch.zeros_like(plain_right)
    ridge = torch.full_like(plain_right, RIDGE)
    response = torch.linalg.solve(plain[:rank, :rank] + torch.diag(ridge[:rank]), plain_right[:rank])
    # of all images, the components and the derivatives of their own PAN
    instruments = torch.block_diag(torch.eye(rank).to(response), *(response[:, None] for _ in range(3)))
    instruments = torch.cat([instruments[:rank], instruments.new_zeros(4, rank + 3), instruments[rank:]])
    joint = instruments.mT @ covariance
    power = joint @ instruments
    power = power + RIDGE * torch.diag(power.diagonal()) + TINY * torch.eye(rank + 3).to(power)
    explained = torch.linalg.solve(power, joint)
    gram, right = joint[:, predictors].mT @ explained[:, predictors], joint[:, predictors].mT @ explained[:, rank]
    if prior is not None:
        # the declared response counts as much as the scene's own evidence
        start[:rank], ridge[:rank] = prior, 1.0
    width = torch.as_tensor(PRIOR, dtype=gram.dtype, device=gram.device)
    free, independent = (max(pixels - rank - 3, 1.0) for pixels in (n, n / DEPENDENT))
    start[rank:] = torch.as_tensor(theta, dtype=gram.dtype, device=gram.device)
    residual = own + TINY
    for _ in range(3):
        # the priors of shift and blur weigh against what the data leave unexplained
        ridge[rank:] = residual / (independent * width**2)
        solution = start + torch.linalg.solve(gram + torch.diag(ridge), right - gram @ start)
        rest = own - 2 * solution @ plain_right + solution @ plain @ solution
        residual = n / free * rest.clamp(min=1e-12 * float(own) + TINY)
    return solution, float(residual)


def _down(tile: Tile, theta: np.ndarray) -> Separable:
    """Blur and sampling of the mean band under a shift and a relative change of the PSF's squared width."""
    optics = tile.optics
    gains = np.clip(optics.mean_gains() ** np.exp(theta[2]), 0.01, 0.97)
    return mtf_decimate(tile.fine_size, gains, optics.ratio, optics.offset, shift=(float(theta[0]), float(theta[1])))


def pan_error(scene: Scene, components: Components, pair: Registration, noise: float, pan_variance: float) -> float:
    """Variance, at a fine pixel, of what PAN's model cannot explain.

    The model's error can be seen at the coarse scale only: that part as it is, less what the cube's noise makes of it.
    Of PAN's finest details there, a share is left unexplained; those beyond are taken to be explained as well. Where
    PAN shows what no band does, these are structures and not noise, that neighbouring pixels share: the error counts
    for more, the larger its part of PAN.

    Parameters
    ----------
    noise : float
        Variance of ``response · components`` by the cube's noise.
    pan_variance : float
        Of PAN's pixels.
    """

    def powers(tile: Tile) -> Moments:
        down = pair.down(tile, tile.optics.mean_gains())
        pan = tile.see_pan(down)
        response = pair.response.to(pan)[:, None, None]
        rest = pan - pair.constant - (response * components(tile)).sum(1, keepdim=True)
        both = torch.cat([rest, pan], 1)
        blur = mtf_blur(size_of(both), COARSE_DETAIL, 2)
        return moments(tile.crop_coarse(both - blur(both)), valid=tile.coarse_valid)

    def details(tile: Tile) -> Moments:
        return moments(tile.pan - tile.pan_low, valid=tile.valid)

    coarse, fine = scene.sum(powers), scene.sum(details)
    rest, own = (coarse.xy[0].diagonal() / coarse.n.clamp(min=1)[0]).unbind()
    rest = torch.maximum(rest - noise * _noise_gain(), LEAST_SHARE * rest)
    share = float(ratio_of(rest[None], own[None]).clamp(max=1))
    visible = max(pair.unexplained - noise, LEAST_SHARE * pair.unexplained)
    error = visible + share * float(fine.xy / fine.n.clamp(min=1))
    part = min(error / max(pan_variance, TINY), 1.0)
    return error * (1 + part * STRUCTURE * scene.optics.ratio**2)


def _noise_gain() -> float:
    """What is left of the variance of white noise among coarse details."""
    size = 15
    point = torch.zeros(1, size, size, dtype=torch.float64)
    point[0, size // 2, size // 2] = 1
    return float((point - mtf_blur((size, size), COARSE_DETAIL, 2)(point)).square().sum())
