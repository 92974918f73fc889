"""physics: our own fusion, which uses the calibrated sensor.

The fine cube X is sought in the subspace of the coarse one, X = mean + E z, as the maximum a posteriori of

    ½ ‖D^½ (S B z − ζ)‖²          the coarse cube: blur B, sampling S; D the precision of each whitened component
  + λ/2 ‖v·z + c − PAN‖²          the panchromatic image
  + κ/2 Σ w_ij ‖z_i − z_j‖²       neighbours are alike unless PAN has an edge between them

which is quadratic: a sparse linear system, solved by a preconditioned Chebyshev iteration; once more after the weights
have been lowered where the first solution has edges that PAN does not see. What the sensor does not tell is estimated
from the pair: noise by the bands' redundancy, PAN's response in the subspace, and how the cube's pixels really lie
and blur on PAN's grid (shift, MTF), so that a wrong calibration does little harm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hsitools.sensor.spatial import Separable, mtf_decimate
from pansharpen.case import Optics, Scene, Tile
from pansharpen.registry import method
from pansharpen.statistics import Moments, mix, moments, per_band, solve

#: Most dimensions of the subspace.
RANK = 16
#: A component is used when its variance is so many times the largest that noise alone would give it.
SIGNAL = 1.5
#: Precision of the coarse data is capped here: blur and response are never known better than to a percent.
MAX_PRECISION = 3e3
#: κ: inverse variance of the step between neighbours without an edge, in units of the components' variance.
SMOOTHNESS = 10.0
#: Step of PAN that halves a weight, in PAN's standard deviations.
EDGE = 0.1
#: Step of the components, in their standard deviations, from which on a step costs no longer its square.
STEP = 0.1
#: How well shift (fine pixels, y and x) and MTF (relative change of the PSF's squared width) are known beforehand.
PRIOR = (1.0, 1.0, 0.5)
#: PAN's model error at a fine pixel over that measured at a coarse one, per unit of ratio (variance).
PAN_ERROR = 10.0
#: Relative error of values that are taken as exact.
ROUNDING, TINY = 1e-6, 1e-200
#: Weight that is left across the strongest edge.
LINK = 0.005
NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))
#: Of the solver. More steps change indices by less than a percent.
STEPS, CONDITION = 30, 60.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """What one pass over a scene learns: everything that a tile's system needs.

    Attributes
    ----------
    mean : Tensor, shape (1, band)
    basis : Tensor, shape (1, band, k)
        E; components have unit variance over the coarse cube.
    projection : Tensor, shape (1, k, band)
    precision : Tensor, shape (k,)
        Signal-to-noise ratio squared of each component.
    rest : Tensor, shape (1, band)
        Share of each band's variance outside the subspace that is no noise.
    response, constant : Tensor, shape (k,), and float
        PAN of the components.
    pan_precision : float
        λ.
    edge : float
        Square of the step in PAN that halves a weight.
    shift, gain : (float, float), float
        Of the cube's samples against PAN's grid, fine pixels (y, x); MTF at Nyquist.
    """

    mean: torch.Tensor
    basis: torch.Tensor
    projection: torch.Tensor
    precision: torch.Tensor
    rest: torch.Tensor
    response: torch.Tensor
    constant: float
    pan_precision: float
    edge: float
    shift: tuple[float, float]
    gain: float

    def components(self, coarse: torch.Tensor) -> torch.Tensor:
        """ζ of a coarse cube."""
        return mix(self.projection, coarse - per_band(self.mean, coarse))


@method(
    "physics", family="ours", consistent=True, batched=False, halo=16,
    paper="hsitools: maximum a posteriori in the cube's subspace, with the sensor's PSF, PAN response and noise",
)  # fmt: skip
def physics(scene: Scene) -> Any:
    """Subspace MAP with the sensor's PSF, PAN response and noise, and an edge-aware prior from PAN."""
    model = learn(scene)
    return scene.map(lambda tile: _fuse(tile, model))


# ---- what is learned from the whole scene ------------------------------------------------------------------------


def neighbour_noise(covariance: torch.Tensor) -> torch.Tensor:
    """Noise variance ``(band,)``: what each band keeps to itself beside its (up to four) nearest bands.

    After Roger and Arnold, Int. J. Remote Sens. 17(10), 1996, with few regressors so that few pixels suffice.
    """
    n = len(covariance)
    own = covariance.diagonal()
    if n < 8:
        # too few bands to tell noise from what only one band sees
        return 1e-4 * own
    step = torch.tensor([-2, -1, 1, 2])
    near = torch.arange(n)[:, None] + step
    # at the ends the window lies on one side
    near = torch.where(near < 0, near + 5, torch.where(near >= n, near - 5, near)).to(covariance.device)
    gram = covariance[near[:, :, None], near[:, None, :]]
    right = covariance[near, torch.arange(n, device=covariance.device)[:, None]][..., None]
    explained = (right.mT @ solve(gram, right))[:, 0, 0]
    return (own - explained).clamp(min=0)


def learn(scene: Scene) -> Model:
    """Subspace, noise, PAN's response, registration and blur of a scene (a batch of one)."""
    cube = scene.sum(lambda tile: moments(tile.coarse, valid=tile.coarse_valid))
    pan = scene.sum(lambda tile: moments(tile.pan, valid=tile.valid))
    optics = scene.optics
    covariance, n = cube.covariance[0], float(cube.n)
    # float32 values say no more than this, nor does a band without contrast
    floor = (ROUNDING * cube.mean_x[0].abs().max()) ** 2
    noise = _noise(optics, covariance).clamp(min=float(floor))
    basis, projection, precision = _subspace(covariance, noise, n)
    mean = cube.mean_x
    left = covariance.diagonal() - ((projection[0] @ covariance) * basis[0].mT).sum(0)
    rest = (1 - noise / left.clamp(min=1e-30)).clamp(0, 1)[None]
    pan_variance, pan_floor = float(pan.covariance), float((ROUNDING * pan.mean_x) ** 2)
    prior = None
    if optics.pan_response is not None:
        prior = torch.as_tensor(optics.pan_response, dtype=mean.dtype, device=mean.device) @ basis[0]
    given = _register(scene, mean, projection, prior)
    error = PAN_ERROR * optics.ratio * given.residual + (optics.pan_variance or 0.0)
    error = max(error, float(given.response @ given.response) / MAX_PRECISION, pan_floor)
    edge = max(EDGE**2 * pan_variance, pan_floor) + 2 * (optics.pan_variance or 0.0)
    return Model(
        mean=mean, basis=basis, projection=projection, precision=precision, rest=rest, response=given.response,
        constant=given.constant, pan_precision=1 / error, edge=edge, shift=given.shift, gain=given.gain,
    )  # fmt: skip


def _noise(optics: Optics, covariance: torch.Tensor) -> torch.Tensor:
    if optics.noise_variance is None:
        noise = neighbour_noise(covariance)
    else:
        noise = torch.as_tensor(optics.noise_variance, dtype=covariance.dtype, device=covariance.device)
    return torch.maximum(noise, 1e-6 * covariance.diagonal())


def _subspace(
    covariance: torch.Tensor, noise: torch.Tensor, n: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    """Basis, projection and precision of the components that stand out of the noise."""
    deviation = noise.sqrt()
    values, vectors = torch.linalg.eigh(covariance / deviation[:, None] / deviation)
    values, vectors = values.flip(0), vectors.flip(1)
    # Marchenko and Pastur: the largest eigenvalue of pure noise
    limit = SIGNAL * (1 + (len(covariance) / n) ** 0.5) ** 2
    rank = int((values[:RANK] > limit).sum().clamp(min=1))
    values, vectors = values[:rank], vectors[:, :rank]
    signal = (values - 1).clamp(min=1e-3).sqrt()
    basis = vectors * deviation[:, None] * signal
    projection = (vectors / deviation[:, None] / signal).mT
    return basis[None], projection[None], (signal**2).clamp(max=MAX_PRECISION)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Registered:
    response: torch.Tensor
    constant: float
    residual: float
    shift: tuple[float, float]
    gain: float


def _register(scene: Scene, mean: torch.Tensor, projection: torch.Tensor, prior: torch.Tensor | None) -> _Registered:
    """PAN's response in the subspace, and the shift and MTF that relate both images, by Gauss-Newton.

    The low-pass PAN is linear in its response and nearly so in shift and blur: each step regresses it on the
    components and on its own derivatives.
    """
    optics = scene.optics
    declared, rank = optics.mean_mtf(), projection.shape[1]
    theta = np.zeros(3)
    step = np.array([0.25, 0.25, 0.1])

    def images(tile: Tile) -> Moments:
        low = [_down(tile, declared, theta)(tile.wide_pan)]
        for axis in range(3):
            ends = [
                _down(tile, declared, theta + sign * step * (np.arange(3) == axis))(tile.wide_pan) for sign in (1, -1)
            ]
            low.append((ends[0] - ends[1]) / (2 * step[axis]))
        own = mix(projection, tile.coarse - per_band(mean, tile.coarse))
        return moments(torch.cat([own, tile.crop_coarse(torch.cat(low, 1))], 1), valid=tile.coarse_valid)

    for _ in range(8):  # three are usual
        found = scene.sum(images)
        covariance, n = found.covariance[0], float(found.n)
        solution, _ = _regress(covariance, rank, n, theta, None)
        move = np.clip(-solution[rank:].cpu().numpy(), -1, 1)
        if np.all(np.abs(move) < 0.01):
            break
        theta = np.clip(theta + move, (-2, -2, -1), (2, 2, 1))
    # a wrong response must not pass for a displacement: the declared one counts only now
    solution, residual = _regress(covariance, rank, n, theta, prior)
    response = solution[:rank]
    centre = found.mean_x[0]
    constant = float(centre[rank] - response @ centre[:rank])
    return _Registered(
        response=response, constant=constant, residual=residual, shift=(float(theta[0]), float(theta[1])),
        gain=_gain(declared, theta),
    )  # fmt: skip


def _regress(
    covariance: torch.Tensor, rank: int, n: float, theta: np.ndarray, prior: torch.Tensor | None
) -> tuple[torch.Tensor, float]:
    """Coefficients of the components and of the three derivatives, and the residual variance."""
    predictors = torch.cat([torch.arange(rank), torch.arange(rank + 1, rank + 4)]).to(covariance.device)
    gram, right = covariance[predictors][:, predictors], covariance[predictors, rank]
    own = covariance[rank, rank]
    start = torch.zeros_like(right)
    ridge = torch.full_like(right, 1e-6)
    if prior is not None:
        # the declared response counts as much as the scene's own evidence
        start[:rank], ridge[:rank] = prior, 1.0
    width = torch.as_tensor(PRIOR, dtype=gram.dtype, device=gram.device)
    start[rank:] = torch.as_tensor(theta, dtype=gram.dtype, device=gram.device)
    residual = own + TINY
    for _ in range(3):
        # the priors of shift and blur weigh against what the data leave unexplained
        ridge[rank:] = residual / (n * width**2)
        solution = start + torch.linalg.solve(gram + torch.diag(ridge), right - gram @ start)
        residual = (own - 2 * solution @ right + solution @ gram @ solution).clamp(min=1e-12 * float(own) + TINY)
    return solution, float(residual)


def _gain(declared: float, theta: np.ndarray) -> float:
    return float(np.clip(declared ** np.exp(theta[2]), 0.01, 0.97))


def _down(tile: Tile, declared: float, theta: np.ndarray) -> Separable:
    """Blur and sampling under a shift and a relative change of the PSF's squared width."""
    optics = tile.optics
    return mtf_decimate(
        tile.fine_size, _gain(declared, theta), optics.ratio, optics.offset, shift=(float(theta[0]), float(theta[1]))
    )


# ---- one tile ----------------------------------------------------------------------------------------------------


def edge_weights(pan: torch.Tensor, edge: float) -> list[torch.Tensor]:
    """Weights of the pairs of neighbours in four directions: `LINK` + 1/(1 + step²/edge), over their distance."""
    out = []
    for offset in NEIGHBOURS:
        first, second = _pair(pan.shape, offset)
        step = pan[second] - pan[first]
        out.append((LINK + 1 / (1 + step**2 / edge)) / float(np.hypot(*offset)))
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


def _fuse(tile: Tile, model: Model) -> torch.Tensor:
    like = tile.wide_pan
    down = mtf_decimate(tile.fine_size, model.gain, tile.optics.ratio, tile.optics.offset, shift=model.shift)
    data = model.components(tile.wide_coarse)
    weights = edge_weights(like, model.edge)
    z = _solve(down, weights, data, like, model, tile.up()(data))
    # where PAN is even but the first solution is not, there is an edge too
    weights = [w * a for w, a in zip(weights, step_weights(z), strict=True)]
    z = tile.crop(_solve(down, weights, data, like, model, z))
    cube = mix(model.basis, z) + per_band(model.mean, z)
    # what the subspace leaves out, as far as it is no noise
    left = tile.wide_coarse - per_band(model.mean, like) - mix(model.basis, data)
    return cube + tile.crop(tile.up()(per_band(model.rest, like) * left))


def _solve(
    down: Separable, weights: list[torch.Tensor], data: torch.Tensor, pan: torch.Tensor, model: Model, z: torch.Tensor
) -> torch.Tensor:
    """The components for given weights, from a start ``z``.

    `STEPS` steps of Chebyshev's iteration for a preconditioned spectrum in [1/`CONDITION`, 1]. No scalar depends on the
    data, unlike in conjugate gradients: what a pixel becomes depends on its surroundings only, and tiles agree with the
    whole. Directions below the interval stay nearer to the start.
    """
    precision = model.precision.to(pan)[:, None, None]
    response = model.response.to(pan)[:, None, None]
    weights = [SMOOTHNESS * weight for weight in weights]
    around = degree(weights, pan)
    # the rows of a blur are means and those of a Laplacian sum to zero: by Gershgorin, blur and prior are at most
    # these diagonals, and with PAN's exact term the preconditioned system lies below one
    inverse = 1 / (precision * down.adjoint(torch.ones_like(data[:, :1])) + 2 * around)
    share = model.pan_precision / (1 + model.pan_precision * _along(response, response * inverse))

    def precondition(residual: torch.Tensor) -> torch.Tensor:
        residual *= inverse
        # Sherman and Morrison, for PAN's term
        return residual.addcmul_(inverse, response * (share * _along(response, residual)), value=-1)

    def apply(step: torch.Tensor) -> torch.Tensor:
        out = down.adjoint(precision * down(step))
        out.addcmul_(response, _along(response, step), value=model.pan_precision)
        out.addcmul_(around, step)
        for weight, offset in zip(weights, NEIGHBOURS, strict=True):
            first, second = _pair(step.shape, offset)
            out[first].addcmul_(weight, step[second], value=-1)
            out[second].addcmul_(weight, step[first], value=-1)
        return out

    # differences first: products of the whole would cancel to rounding errors
    residual = down.adjoint(precision * (data - down(z)))
    residual.addcmul_(response, pan - model.constant - _along(response, z), value=model.pan_precision)
    residual = precondition(residual.sub_(laplacian(z, weights)))
    low, high = 1 / CONDITION, 1.0
    centre, half = (high + low) / 2, (high - low) / 2
    rho = half / centre
    step = residual / centre
    z = z + step
    for _ in range(STEPS - 1):
        residual -= precondition(apply(step))
        last, rho = rho, 1 / (2 * centre / half - rho)
        step = step.mul_(rho * last).add_(residual, alpha=2 * rho / half)
        z += step
    return z


def _along(response: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """PAN of the components, ``(batch, 1, y, x)``."""
    return (response[:, 0, 0] @ z.flatten(2)).unflatten(-1, z.shape[-2:])[:, None]
