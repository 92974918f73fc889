"""How a coarse cube lies on its panchromatic image's grid: shift and MTF, found from the pair itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hsitools.estimation.rounding import above_rounding
from hsitools.sensor.separable import Separable, size_of
from hsitools.sensor.spatial import mtf_decimate

#: How well shift (fine pixels, y and x) and MTF (relative change of the PSF's squared width) are known beforehand.
PRIOR = (1.0, 1.0, 0.15)
#: Coarse pixels that tell as much as one whose error is independent of the others'.
DEPENDENT = 4
#: Steps of the finite differences, and the farthest that is believed.
STEP, FARTHEST = (0.25, 0.25, 0.1), (2.0, 2.0, 1.0)
#: Principal components of the cube that PAN is regressed on, at most, and pixels that each of them asks for.
COMPONENTS, PIXELS_EACH = 8, 12


@dataclass(frozen=True, kw_only=True)
class Registration:
    """Shift of the coarse pixels on the fine grid (y, x; fine pixels), and what to raise each band's MTF to."""

    shift: tuple[float, float] = (0.0, 0.0)
    power: float = 1.0

    def gains(self, mtf: Any) -> Any:
        """The bands' MTF gains as the pair has them."""
        gains = np.asarray(mtf, dtype=float) ** self.power
        return np.clip(gains, 0.01, 0.97) if self.power != 1 else mtf


def register(
    coarse: torch.Tensor,
    pan: torch.Tensor,
    mtf: Any,
    ratio: int,
    offset: float | None,
    *,
    pan_gain: float,
    valid: torch.Tensor | None = None,
) -> Registration:
    """Shift and MTF by which PAN, seen through the cube's optics, is best made of the cube's bands.

    Gauss-Newton: each step regresses the low-pass PAN on the cube's first principal components and on its own
    derivatives, whose priors (`PRIOR`) hold it where the pair tells nothing. What PAN alone sees is in its derivatives
    too, and more blur would always make it smaller: so these count as far as the derivatives of the PAN that the cube
    makes explain them (instrumental variables).

    Parameters
    ----------
    coarse : Tensor, shape (band, y, x)
    pan : Tensor, shape (1, ratio·y, ratio·x)
    mtf : float or array, shape (band,) or (band, 2)
        Gain at the coarse Nyquist frequency as declared.
    ratio : int
    offset : float or None
        As of `hsitools.sensor.spatial.mtf_decimate`.
    pan_gain : float
        PAN's own gain at its Nyquist frequency: PAN needs that much less blur to look like the cube.
    valid : Tensor of bool, shape (y, x), optional
    """
    keep = torch.ones(coarse.shape[-2:], dtype=torch.bool, device=coarse.device)
    if valid is not None:
        keep = torch.nn.functional.max_pool2d((~valid).double()[None, None], 3, 1, 1)[0, 0] == 0
    # filters reach over the border there, and over the edges of holes
    keep[0], keep[-1], keep[:, 0], keep[:, -1] = False, False, False, False
    n = int(keep.sum())
    rank = min(COMPONENTS, len(coarse), n // PIXELS_EACH)
    if rank < 1:
        return Registration()
    images = _components(coarse.double(), keep, rank)
    parts = images[:, keep]
    theta, pan, declared = np.zeros(3), pan.double(), float(np.mean(mtf))
    pan_coarse = pan_gain ** (1 / ratio**2)  # its gain at the coarse Nyquist frequency
    for _ in range(6):
        seen = [_low(pan, declared, pan_coarse, theta, ratio, offset)[0, keep]]
        if not above_rounding(seen[0].var(), seen[0].mean()):
            # flat but for rounding: it tells nothing
            return Registration()
        for axis, step in enumerate(STEP):
            move = step * (np.arange(3) == axis)
            ends = [_low(pan, declared, pan_coarse, theta + sign * move, ratio, offset)[0, keep] for sign in (1, -1)]
            seen.append((ends[0] - ends[1]) / (2 * step))
        target, *slopes = (image - image.mean() for image in seen)
        response = torch.linalg.lstsq(parts.mT, target[:, None]).solution[:, 0]
        made = _derivatives(torch.einsum("k,kyx->yx", response, images))[:, keep]
        instruments = torch.cat([parts, made - made.mean(1, keepdim=True)])
        change = _regress(torch.cat([parts, torch.stack(slopes)]), instruments, target, rank, theta)
        moved = np.clip(theta + np.clip(change, -1, 1), -np.array(FARTHEST), FARTHEST)
        done, theta = np.all(np.abs(moved - theta) < 0.01), moved
        if done:
            break
    return Registration(shift=(float(theta[0]), float(theta[1])), power=float(np.exp(theta[2])))


def _components(values: torch.Tensor, keep: torch.Tensor, rank: int) -> torch.Tensor:
    """First principal components ``(rank, y, x)`` of bands in units of their deviations, by the pixels to keep."""
    mean, deviation = values[:, keep].mean(1), values[:, keep].std(1).clamp(min=1e-300)
    values = (values - mean[:, None, None]) / deviation[:, None, None]
    vectors = torch.linalg.eigh(values[:, keep] @ values[:, keep].mT)[1][:, -rank:]
    return torch.einsum("bk,byx->kyx", vectors, values)


def _derivatives(image: torch.Tensor) -> torch.Tensor:
    """What shift along y and x, and a wider PSF, change of a coarse image, but for factors, ``(3, y, x)``."""
    near = torch.nn.functional.pad(image[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    above, below, before, behind = near[:-2, 1:-1], near[2:, 1:-1], near[1:-1, :-2], near[1:-1, 2:]
    return torch.stack([below - above, behind - before, above + below + before + behind - 4 * image])


def _low(
    pan: torch.Tensor, declared: float, pan_coarse: float, theta: NDArray[np.float64], ratio: int, offset: float | None
) -> torch.Tensor:
    gain = float(np.clip(declared ** np.exp(theta[2]) / pan_coarse, 0.01, 0.97))
    shift = (float(theta[0]), float(theta[1]))
    operator: Separable = mtf_decimate(size_of(pan), gain, ratio, offset, shift=shift)
    return operator.forward(pan)


def _regress(
    predictors: torch.Tensor, instruments: torch.Tensor, target: torch.Tensor, rank: int, theta: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How far shift and MTF are to move: less the slopes' coefficients, held by their priors."""
    power = instruments @ instruments.mT
    power = power + 1e-9 * torch.diag(power.diagonal().clamp(min=1e-300))
    mixed = predictors @ instruments.mT
    explained = mixed @ torch.linalg.solve(power, instruments)
    gram, right = explained @ predictors.mT, explained @ target
    width = torch.as_tensor(PRIOR, dtype=gram.dtype, device=gram.device)
    start = torch.zeros_like(right)
    start[rank:] = torch.as_tensor(theta, dtype=gram.dtype, device=gram.device)
    ridge = 1e-9 * gram.diagonal().clamp(min=1e-300)
    residual = target.square().mean()
    for _ in range(3):
        # the priors weigh against what the data leave unexplained
        ridge[rank:] = (DEPENDENT * residual / width**2).clamp(min=1e-300)
        solution = start + torch.linalg.solve(gram + torch.diag(ridge), right - gram @ start)
        residual = (target - solution @ predictors).square().mean()
    return -solution[rank:].cpu().numpy()
