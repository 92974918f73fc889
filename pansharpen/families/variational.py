"""Fusion as an inverse problem: what cube and sharp channels say of a few spectral components, and total variation.

The scene is ``mean + basis z`` with k component images z. It minimises::

    Σᵢ dᵢ/2 ‖A zᵢ − yᵢ‖² + Σ_c ‖p_c·z − q_c‖²/(2 v_c) + λ TV(z)

A is the optics' blur and sampling (exact borders and offset), y the coarse cube's components, q PAN or the channels of
other sharp images, p their responses to the components. Components are principal axes of the coarse cube, scaled by
their gradients, so that one λ serves all. The solver is the alternating direction method of multipliers with two exact
steps: the two data terms together, since A Aᵀ is small and separable; and the coupling of z with its gradients, a
cosine transform.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from hsitools.estimation.nonnegative import nonnegative
from hsitools.sensor.separable import AxisMatrix, Separable
from pansharpen.case import FusionCase, Tile
from pansharpen.families.statistics import mix, moments, per_band, ratio_of

#: Components are divided by their gradient to this power: 1 makes them equal, 0 leaves them in the cube's units.
#: From .65 to .85, ERGAS of the seven real cases that were tried stays within about 2 % of the best of .5 to 1.
FLATTENING = 0.75
#: Part of the detail that the model is trusted to: no MTF, no response is known better. It also bounds the condition.
TRUST = 0.01
#: Pull of PAN's response towards what the sensor tells, as a part of the mean variance of a band.
RIDGE = 1e-3
#: Iterations between two corrections where the bands' MTFs differ.
CORRECTION = 10
#: Divisions by zero contrast stay finite; far below any image in any unit, its square included.
TINY = 1e-100


# ---- total variation -------------------------------------------------------------------------------------------


def gradient(images: torch.Tensor) -> torch.Tensor:
    """Forward differences ``(batch, 2, band, y, x)`` of ``(batch, band, y, x)`` along y and x; zero at the end."""
    out = images.new_zeros((len(images), 2, *images.shape[1:]))
    out[:, 0, :, :-1] = images[..., 1:, :] - images[..., :-1, :]
    out[:, 1, :, :, :-1] = images[..., 1:] - images[..., :-1]
    return out


def gradient_adjoint(field: torch.Tensor) -> torch.Tensor:
    """Transpose of `gradient`."""
    y, x = field[:, 0, :, :-1], field[:, 1, :, :, :-1]
    out = torch.zeros_like(field[:, 0])
    out[..., :-1, :] -= y
    out[..., 1:, :] += y
    out[..., :-1] -= x
    out[..., 1:] += x
    return out


def magnitude(field: torch.Tensor, joint: bool) -> torch.Tensor:
    """Length of the gradient at each pixel: of all bands together, or ``(batch, 1, band, y, x)`` of each."""
    squares = field.square()
    total = squares[:, :1] + squares[:, 1:]
    return (total.sum(2, keepdim=True) if joint else total).sqrt()


def _cosines(n: int, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine transform ``(n, n)``, in which differences with a free border are diagonal, and their squares ``(n,)``."""
    frequency = np.pi * np.arange(n) / n
    matrix = np.cos(frequency[:, None] * (np.arange(n) + 0.5))
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    return torch.as_tensor(matrix).to(like), torch.as_tensor(2 - 2 * np.cos(frequency)).to(like)


class GradientCoupling:
    """Solves ``(1 + DᵀD) z = b`` for the gradient D, exactly."""

    def __init__(self, like: torch.Tensor) -> None:
        self.y, y = _cosines(like.shape[-2], like)
        self.x, x = _cosines(like.shape[-1], like)
        self.inverse = 1 / (1 + y[:, None] + x)

    def __call__(self, right: torch.Tensor) -> torch.Tensor:
        """The solution z for ``right`` (batch, band, y, x)."""
        return self.y.mT @ (self.inverse * (self.y @ right @ self.x.mT)) @ self.x


# ---- what is known ---------------------------------------------------------------------------------------------


def sharp_responses(case: FusionCase) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """`pan_response` of every channel of `Tile.sharp`: ``(batch, m, band)``, ``(batch, m)``, ``(batch, m)``."""
    parts = [] if case.pan_made else [pan_response(case)]
    for number, guide in enumerate(case.guides):
        parts += [_response(case.tile.with_pan_of(number, channel)) for channel in range(guide.n_channels)]
    responses, offsets, rests = zip(*parts, strict=True)
    return torch.stack(responses, 1), torch.cat(offsets, 1), torch.cat(rests, 1)


def pan_response(case: FusionCase) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Nonnegative weights of the bands that make up PAN, its offset, and the variance of what they leave.

    Regression of the coarse PAN on the bands, drawn towards the sensor's response where the case tells it.

    Returns
    -------
    Tensors of float64, shape (batch, band), (batch, 1), (batch, 1)
    """
    return _response(case.tile)


def _response(tile: Tile) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    sums = moments(torch.cat([tile.coarse, tile.pan_coarse], 1), valid=tile.coarse_valid)
    covariance = sums.covariance
    bands, cross, variance = covariance[:, :-1, :-1], covariance[:, :-1, -1], covariance[:, -1, -1]
    told = torch.zeros_like(cross)
    if tile.optics.pan_response is not None:
        told = told + torch.as_tensor(tile.optics.pan_response, dtype=told.dtype, device=told.device)
        # it may be in other units than the bands
        power = torch.einsum("ni,nij,nj->n", told, bands, told)
        told = told * ratio_of((told * cross).sum(1, keepdim=True), power[:, None]).clamp(min=0)
    ridge = RIDGE * bands.diagonal(dim1=1, dim2=2).mean(1).clamp(min=torch.finfo(bands.dtype).tiny)
    gram = bands + torch.diag_embed(ridge[:, None].expand_as(cross))
    right = cross + ridge[:, None] * told
    response = nonnegative(gram, right[..., None])[..., 0]
    offset = sums.mean_x[:, -1:] - (response * sums.mean_x[:, :-1]).sum(1, keepdim=True)
    rest = variance - 2 * (response * cross).sum(1) + torch.einsum("ni,nij,nj->n", response, bands, response)
    return response, offset, rest.clamp(min=0)[:, None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """The data terms, in component coordinates.

    Attributes
    ----------
    optics : Separable
        Blur by the bands' mean MTF, and sampling.
    mean : Tensor, shape (batch, band)
    basis : Tensor, shape (batch, band, k)
        Component images to the cube's units.
    analysis : Tensor, shape (batch, k, band)
        The cube's units to components.
    coarse : Tensor, shape (batch, k, y, x)
    weight : Tensor, shape (batch, k)
        d, one over the variance of ``coarse``.
    sharp : Tensor, shape (batch, m, ratio·y, ratio·x)
        q, what PAN (or each channel of the guides) says of ``rows · z``.
    rows : Tensor, shape (batch, m, k)
    sharp_variance : Tensor, shape (batch, m)
    """

    optics: Separable
    mean: torch.Tensor
    basis: torch.Tensor
    analysis: torch.Tensor
    coarse: torch.Tensor
    weight: torch.Tensor
    sharp: torch.Tensor
    rows: torch.Tensor
    sharp_variance: torch.Tensor

    def value(self, z: torch.Tensor) -> torch.Tensor:
        """The two data terms, ``(batch,)``."""
        coarse = per_band(self.weight, z) * (self.optics(z) - self.coarse.to(z.dtype)) ** 2
        sharp = (mix(self.rows, z) - self.sharp.to(z.dtype)) ** 2 / per_band(self.sharp_variance, z)
        return (coarse.flatten(1).sum(1) + sharp.flatten(1).sum(1)) / 2

    def cube(self, z: torch.Tensor) -> torch.Tensor:
        """The scene of component images, ``(batch, band, y, x)``."""
        return mix(self.basis, z) + per_band(self.mean, z)


def mean_optics(case: FusionCase) -> Separable:
    """The optics with one MTF for all bands."""
    mtf = np.asarray(case.optics.mtf, dtype=float)
    return case.tile.down(mtf if mtf.ndim == 0 else mtf.mean(0, keepdims=True))


def problem(case: FusionCase, rank: int) -> Problem:
    """Principal components of the coarse cube (noise whitened where it is known), and the data's precision.

    The variance of a component is the noise's, estimated from the directions that are left out, and the part of its
    detail that the optics don't explain (`TRUST`).
    """
    tile, optics = case.tile, case.optics
    response, offset, sharp_left = sharp_responses(case)
    sums = moments(tile.coarse, valid=tile.coarse_valid).require_some()
    mean, power = sums.mean_x, sums.xy.diagonal(dim1=1, dim2=2).mean(1, keepdim=True) / sums.n
    scale = torch.ones_like(mean)
    if optics.noise_variance is not None:
        variance = torch.as_tensor(optics.noise_variance, dtype=scale.dtype, device=scale.device)
        scale = scale * variance.clamp(min=1e-6 * float(variance.mean())).sqrt()
    values, vectors = torch.linalg.eigh(sums.covariance / (scale[..., None] * scale[:, None]))
    rank = min(rank, case.n_bands)
    values, vectors = values.clamp(min=0), vectors[..., -rank:].flip(-1)
    noise = values[:, :-rank].sum(1, keepdim=True) / max(case.n_bands - rank, 1)
    noise = noise.clamp(min=0.0 if optics.noise_variance is None else 1.0)
    components = mix((vectors / scale[..., None]).mT, tile.coarse.double() - per_band(mean, tile.coarse.double()))

    detail = gradient(components).square().mean((1, 3, 4)).sqrt()
    # a flat cube has no gradients: any scale will do, but for rounding
    rounding = 1e-6 * (power / scale.square().mean(1, keepdim=True)).sqrt() + TINY
    detail = detail.clamp(min=rounding)
    top = detail.amax(1, keepdim=True)
    unit = top * (detail / top) ** FLATTENING
    variance = (noise + (TRUST * detail) ** 2) / unit**2
    basis = vectors * unit[:, None] * scale[..., None]
    sharp = tile.sharp.double()
    low = tile.up()(tile.down(optics.mean_gains())(sharp))
    fine = (sharp - low).square().mean((2, 3))
    told = torch.as_tensor(_told_variances(case)).to(fine)
    variance_left = torch.maximum(sharp_left, told) + TRUST**2 * fine
    return Problem(
        optics=mean_optics(case), mean=mean, basis=basis, analysis=(vectors / unit[:, None] / scale[..., None]).mT,
        coarse=components / per_band(unit, components), weight=1 / variance,
        sharp=sharp - per_band(offset + (response * mean[:, None]).sum(2), sharp), rows=response @ basis,
        sharp_variance=variance_left + 1e-12 * sharp.square().mean((2, 3)) + TINY,
    )  # fmt: skip


def _told_variances(case: FusionCase) -> list[float]:
    """Noise of each sharp channel as far as it is known, else zero."""
    own = [] if case.pan_made else [case.optics.pan_variance]
    guides = [guide.variance(channel) for guide in case.guides for channel in range(guide.n_channels)]
    return [value or 0.0 for value in own + guides]


def _gram(axis: AxisMatrix, like: torch.Tensor) -> torch.Tensor:
    """``M Mᵀ`` of an axis matrix, ``(out, out)``."""
    rows = axis.along_y(torch.eye(axis.n_in, dtype=torch.float64, device=like.device))
    return rows @ rows.mT


class DataStep:
    """Minimiser of the data terms plus ``ρ/2 ‖z − v‖²``, exactly; ρ may be a matrix ``(batch, k, k)``.

    In coordinates where both the weights d and ρ + Σ p pᵀ/v are diagonal, the normal equations are ``1 + δᵢ AᵀA``,
    whose inverse is ``1 − δᵢ Aᵀ (1 + δᵢ A Aᵀ)⁻¹ A``; and A Aᵀ is a product of one small matrix along y and one along x.
    """

    def __init__(self, system: Problem, rho: torch.Tensor, dtype: torch.dtype) -> None:
        rows = system.rows / system.sharp_variance.sqrt()[..., None]
        pull = rho if rho.ndim == 3 else torch.diag_embed(rho.expand(len(rows), rows.shape[-1]))
        penalty = pull + rows.mT @ rows
        inverse = torch.linalg.inv(torch.linalg.cholesky(penalty))
        delta, turn = torch.linalg.eigh(inverse @ torch.diag_embed(system.weight) @ inverse.mT)
        delta = delta.clamp(min=0)[..., None, None]
        self.system, back = system, inverse.mT @ turn
        self.back, self.pull = back.to(dtype), (back.mT @ pull).to(dtype)
        (y, along_y), (x, along_x) = (
            torch.linalg.eigh(_gram(axis, rows)) for axis in (system.optics.y, system.optics.x)
        )
        self.along_y, self.along_x = along_y.to(dtype), along_x.to(dtype)
        self.filter = (delta / (1 + delta * (y.clamp(min=0)[:, None] * x.clamp(min=0)))).to(dtype)
        self.set(system.coarse)

    def set(self, coarse: torch.Tensor) -> None:
        """Take other coarse data."""
        system = self.system
        right = system.optics.adjoint(per_band(system.weight, coarse) * coarse)
        right = right + mix((system.rows / system.sharp_variance[..., None]).mT, system.sharp.to(right.dtype))
        self.right = mix(self.back.mT, right.to(self.back.dtype))

    def __call__(self, v: torch.Tensor) -> torch.Tensor:
        """The minimiser for ``v`` (batch, k, y, x)."""
        right = self.right + mix(self.pull, v)
        reduced = self.along_y.mT @ self.system.optics(right) @ self.along_x
        reduced = self.along_y @ (self.filter * reduced) @ self.along_x.mT
        return mix(self.back, right - self.system.optics.adjoint(reduced))


# ---- the method ------------------------------------------------------------------------------------------------


def start(case: FusionCase, system: Problem) -> torch.Tensor:
    """Interpolated components, moved by the least that agrees with the sharp channels: ``(batch, k, y, x)``."""
    z = mix(system.analysis, case.tile.expanded.double() - per_band(system.mean, system.coarse))
    power = system.rows @ system.rows.mT + torch.diag_embed(system.sharp_variance)
    gain = torch.linalg.solve(power, system.rows).mT
    return z + mix(gain, system.sharp - mix(system.rows, z))


def prior_weight(case: FusionCase, system: Problem, joint: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """λ and the mean gradient, of shape (batch, 1) when joint, else (batch, k).

    Gradients of length g in n dimensions follow exp(−λ g) with λ = n / mean g. Their mean is that of the interpolated
    components, times what PAN's fine gradients are to those of its low-pass image.
    """
    tile = case.tile
    z = mix(system.analysis, tile.expanded.double() - per_band(system.mean, system.coarse))
    length = magnitude(gradient(z), joint).mean((-2, -1))[:, 0]
    pan, low = (magnitude(gradient(image.double()), True).mean((1, 2, 3, 4)) for image in (tile.pan, tile.pan_low))
    sharper = ratio_of(pan, low).clamp(min=1)[:, None]
    # components have gradients of about one to a coarse pixel, unless the cube is flat
    length = (length * sharper).clamp(min=1e-3 / case.optics.ratio)
    return 2 * (z.shape[1] if joint else 1) / length, length


def minimise(case: FusionCase, system: Problem, *, joint: bool, iterations: int) -> torch.Tensor:
    """Component images ``(batch, k, y, x)`` of least data terms and total variation.

    Parameters
    ----------
    case : FusionCase
    system : Problem
    joint : bool
        Vector total variation: the gradient's length is over all components, so that they share their edges.
        Otherwise each component has its own.
    iterations : int
    """
    dtype = case.coarse.dtype
    lam, length = prior_weight(case, system, joint)
    rho = lam.mean(1, keepdim=True) / length.mean(1, keepdim=True)
    threshold = (lam / rho).to(dtype)[:, None, :, None, None]
    data = DataStep(system, rho, dtype)
    z = start(case, system).to(dtype)
    couple = GradientCoupling(z)
    exact = case.tile.down()
    fit, edges = z, gradient(z)
    fit_dual, edge_dual = torch.zeros_like(fit), torch.zeros_like(edges)
    for step in range(iterations):
        z = couple(fit - fit_dual + gradient_adjoint(edges - edge_dual))
        fit_dual += z
        fit = data(fit_dual)
        fit_dual -= fit
        edge_dual += gradient(z)
        edges = edge_dual * (1 - threshold / magnitude(edge_dual, joint).clamp(min=TINY)).clamp(min=0)
        edge_dual -= edges
        if exact is not system.optics and step % CORRECTION == CORRECTION - 1:
            # bands with their own MTF: the data as the mean optics would have seen them
            cube = system.cube(fit)
            apart = (system.optics(cube) - exact(cube)).to(system.coarse.dtype)
            data.set(system.coarse + mix(system.analysis, apart))
    return fit


def fuse_components(case: FusionCase, *, joint: bool, rank: int, iterations: int) -> torch.Tensor:
    """Minimise, and give back what the components leave of the coarse cube: ``(batch, band, y, x)``."""
    system = problem(case, rank)
    fused = system.cube(minimise(case, system, joint=joint, iterations=iterations))
    return fused + case.tile.up()(case.coarse - case.tile.down()(fused))
