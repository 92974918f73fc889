"""The diffusion restorer: classical estimate, latent flow around it, the gate between them, and certainty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from denoise.latent.autoencoder import from_blocks
from denoise.latent.certainty import STEPS, beyond, missed, noise_level, pattern, shared, spikes, spread_of, turned
from denoise.latent.evidence import WhitenedResidual, evidence, whitened_residual
from denoise.latent.flow import Condition, Evidence, channels_of, posterior_mean, sample
from denoise.learning.denoiser_card import load_autoencoder, load_flow
from denoise.separation.columns import doubt_of_nearest
from denoise.separation.estimate import Separation
from denoise.separation.missing import doubt_of_missing, holes, whole_pixels
from denoise.separation.pixel_noise import PixelNoise
from denoise.separation.smooth import smooth
from hsitools.cube.memory import require_memory
from hsitools.devices import whole_convolutions

Array = NDArray[Any]
#: Components that the net sees together; more go in turns.
TOGETHER = 16
#: Size of the perturbation by which the estimators' response to noise is probed, standard deviations of the noise.
PROBE = 0.1
#: Share of the samples' variance that stays whatever Stein's estimate says: it is an estimate as well.
LEAST_SPREAD = 0.35
#: Share of a band that other bands tell, at least.
LEAST_TOLD = 0.1
#: Factor by which the noise's variance is usually wrong at most: bands' regressions on one another cost 1-2 %.
NOISE_WRONG = 1.05
#: Factor by which the noise's variance may be wrong; the gate assumes what favours the classical estimate.
DOUBT = 1.1


@dataclass(frozen=True, kw_only=True)
class Refined:
    """What the flow makes of a classical estimate.

    Attributes
    ----------
    scene : array, shape (band, y, x)
    std : array, shape (band, y, x), or None
    basis : array, shape (band, n)
        Whitened directions of the components: those of the subspace, then atoms.
    correction : array, shape (n, y, x)
        The flow's correction of the components.
    trust : array, shape (n,)
        Share of it that the gate lets through.
    gain : float
        Squared error that this saves, of that of the classical estimate within the components; estimated.
    """

    scene: Array
    std: Array | None
    basis: Array
    correction: Array
    trust: Array
    gain: float


@torch.no_grad()
@whole_convolutions()
def refine(
    separation: Separation, wavelength_nm: Array, *, samples: int = 0, seed: int = 0, weights: Any = None,
    device: str = "cpu",
) -> Refined:  # fmt: skip
    """Refine a separation's scene by the latent flow.

    The gate is Stein's unbiased estimate of the squared error (C. Stein, Annals of Statistics 9(6), 1981; divergence by
    one random probe, S. Ramani, T. Blu, M. Unser, IEEE TIP 17(9), 2008): it weighs how consistent the whitened residual
    of each estimate is with the noise, and how much of that agreement is fitted noise. A component's correction passes
    by the share that makes the estimated error least; with a share of zero the classical estimate remains.

    Smoother and flow are for white noise, and see images without what pixels share of it; the probe has it.

    The flow's net runs on ``device`` (as torch names it), in single precision there as here; the rest, which takes
    little, on the processor.
    """
    coder, (flow, card) = load_autoencoder(weights)[0], load_flow(weights)
    flow = flow.to(device)
    whitened = whitened_residual(separation, wavelength_nm)
    components, basis = evidence(whitened, coder)
    height, width = whitened.residual.shape[1:]
    pixels = separation.noise.pixels
    independent = height * width / pixels.area
    # drawn, and side by side for their spread
    needed = 2 * 4 * samples * len(basis) * height * width
    require_memory(needed, "samples", use=f"{samples} posterior samples", advice="6 will do")

    def mean_of(what: Evidence) -> torch.Tensor:
        parts = [posterior_mean(flow, part) for part in _parts(channels_of(_white(what, pixels)), device)]
        return _images(torch.cat(parts).cpu(), height, width, pixels)

    correction = mean_of(components)
    trust, saved, error, noise_share = _gate(separation, whitened, components, basis, correction, mean_of)
    corrected = correction * trust[:, None, None]
    unit = separation.noise.sigma[:, None, None]
    scene = separation.scene + unit * torch.tensordot(basis, corrected, dims=1).numpy()
    std = None
    if samples:
        metrics = card.metrics
        generator = torch.Generator().manual_seed(seed)
        conditions = _parts(channels_of(_white(components, pixels)), device)
        drawn = [
            _images(
                torch.cat([sample(flow, part, STEPS, generator) for part in conditions]).cpu(), height, width, pixels
            )
            for _ in range(samples)
        ]
        # what the gate held back is as uncertain as it is large
        variance = metrics["spread"] * spread_of(torch.stack(drawn), correction)
        variance += ((1 - trust[:, None, None]) * correction).square()
        faint = metrics["beyond"] * beyond(len(basis), independent)
        # as much as Stein's estimate says that each component still has
        remaining = pooled((error - saved) / (height * width), independent)
        variance *= (remaining / variance.mean(dim=(1, 2)).clamp(min=1e-12)).clamp(min=LEAST_SPREAD)[:, None, None]
        # beyond the components: what they miss themselves is in Stein's estimate
        residual = np.where(separation.noise.outlier, 0, separation.whitened - scene / unit).astype(np.float32)
        rest = torch.as_tensor(residual)
        rest = rest - torch.tensordot(basis, torch.tensordot(basis.T, rest, dims=1), dims=1)
        level = noise_level(rest, torch.as_tensor(whitened.variance), basis, pixels.area)
        variance *= 1 + noise_share[:, None, None] * (level - 1)
        whole = torch.tensordot(basis**2, variance, dims=1)
        # a voxel that was not measured has the leverage h of its band no longer: what errs by h of its noise where it
        # was errs by h / (1 - h); of pixels that lack many bands `doubt_of_missing` knows more
        lacking = holes(separation.noise.outlier)
        complete = whole_pixels(lacking)
        single = separation.noise.outlier & (complete | ~lacking)
        told = np.maximum(1 - np.square(separation.directions).sum(1), LEAST_TOLD)[:, None, None]
        whole = whole / torch.as_tensor(np.where(single, told, 1).astype(np.float32))
        # what neighbouring pixels or bands share of it (less the components, bands would share their absence); no less
        # than what is too faint to be found in any cube
        measured = 1 - separation.noise.outlier.mean((1, 2))
        scene_missed = np.maximum(
            missed(rest.numpy(), ~separation.noise.outlier, pixels),
            shared(residual, measured**0.5, pixels.area),
        )
        whole += torch.as_tensor(scene_missed).clamp(min=faint)[:, None, None] + torch.as_tensor(turned(separation))
        # what was not measured is what other bands say, no surer than these: elements without any value, and holes
        doubt = doubt_of_nearest(separation.whitened, np.asarray(separation.noise.outlier.all(1)))
        whole = torch.maximum(whole, torch.as_tensor(doubt)[:, None])
        doubt = doubt_of_missing(separation.whitened, separation.directions, lacking, complete)
        whole = torch.maximum(whole, torch.as_tensor(np.where(lacking, doubt[:, None, None], 0)))
        std = np.sqrt(unit**2 * whole.numpy() + pattern(separation, scene))
    return Refined(
        scene=scene.astype(np.float32), std=std, basis=basis.numpy(), correction=correction.numpy(),
        trust=trust.numpy(), gain=float(saved.sum()) / max(float(error.clamp(min=0).sum()), 1e-30),
    )  # fmt: skip


def _gate(
    separation: Separation, whitened: WhitenedResidual, components: Evidence, basis: torch.Tensor,
    correction: torch.Tensor, mean_of: Any,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    """Shares of the correction, the squared error that they save, that of the classical estimate, and the share of this
    that is noise which passed (the rest is scene that did not); each ``(n,)``.
    """
    n, (height, width) = len(correction), correction.shape[1:]
    rng = np.random.default_rng(0)
    pixels = separation.noise.pixels
    drawn = pixels.back(rng.standard_normal(whitened.variance.shape).astype(np.float32))
    noise = np.sqrt(whitened.variance) * drawn
    probe = torch.tensordot(basis.T, torch.as_tensor(noise), dims=1)
    rank = separation.rank
    scores = torch.tensordot(torch.as_tensor(separation.directions).T, torch.as_tensor(separation.whitened), dims=1)
    moved = smooth((scores + PROBE * probe[:rank]).numpy().astype(np.float32), pixels)
    best = torch.as_tensor(separation.scores.best)
    change = torch.zeros_like(correction)
    change[:rank] = torch.as_tensor(moved.best) - best
    size = components.best.shape[1:]

    def widened(images: torch.Tensor) -> torch.Tensor:
        below, right = size[0] - height, size[1] - width
        return torch.nn.functional.pad(images[None], (0, right, 0, below), mode="replicate")[0]

    def whole(images: Array) -> torch.Tensor:
        out = torch.zeros(n, *size)
        out[:rank] = widened(torch.as_tensor(images))
        return out

    # what the net would have taken
    observed = components.observed + widened(PROBE * probe - change)
    shifted = components._replace(
        observed=observed, best=whole(moved.best), single=whole(moved.single), joint=whole(moved.joint)
    )
    response = (probe * (mean_of(shifted) - correction)).sum(dim=(1, 2)) / PROBE
    own = (probe * change).sum(dim=(1, 2)) / PROBE
    residual = components.observed[:, :height, :width]
    power = correction.square().sum(dim=(1, 2))
    expected = components.spread[:, :height, :width].square().sum(dim=(1, 2))
    # noise that the classical residual does not show is not there
    shown = (residual.square().sum(dim=(1, 2)) / expected.clamp(min=1e-12)).clamp(max=1 / DOUBT)
    doubted = torch.where(response > 0, DOUBT * response, shown * response)
    agreement = (residual * correction).sum(dim=(1, 2)) - doubted
    trust = (agreement / power.clamp(min=1e-12)).clamp(0, 1)
    saved = 2 * trust * agreement - trust**2 * power
    # noise is stronger in directions that it helped to choose
    adapted = torch.ones(n)
    values = scores.square().mean(dim=(1, 2)).double().numpy()
    adapted[:rank] = torch.as_tensor(spikes(values, len(basis) * pixels.area / (height * width))[1])
    scale = noise_scale(whitened, basis, float((adapted - 1).sum()))
    error = residual.square().sum(dim=(1, 2)) - scale * adapted * (expected - 2 * own)
    # what does not stand out of chance is not let through
    trust = torch.where(saved > 0, trust, torch.zeros_like(trust))
    # a filter of gain g (its posterior mean errs by g) lets g² of the noise pass
    passed = change.square().sum(dim=(1, 2)) / PROBE**2 / own.clamp(min=1e-12)
    return trust, saved.clamp(min=0), error, torch.where(own > 0, passed, torch.zeros_like(own)).clamp(0, 1)


def pooled(errors: torch.Tensor, pixels: float) -> torch.Tensor:
    """Squared errors ``(n,)`` of components as Stein's estimate says, no less than zero; faint ones are taken together.

    The noise's own power in a component differs from its mean by chance as much as a faint component errs at all: of
    one it says nothing, and without its negative values it would say too much.
    """
    faint = errors < 3 * (2 / pixels) ** 0.5
    return torch.where(faint, errors[faint].mean() if faint.any() else errors, errors).clamp(min=0)


def noise_scale(whitened: WhitenedResidual, basis: torch.Tensor, taken: float = 0.0) -> float:
    """Variance of the noise beyond the components, in that which is assumed, if the components took as many
    directions' noise as ``taken`` besides their own.

    A percent of it is as much as the whole squared error of a faint component. Beyond `NOISE_WRONG` it is not the noise
    that is wrong but scene that was missed.
    """
    residual, variance = (torch.as_tensor(item).flatten(1) for item in (whitened.residual, whitened.variance))
    beyond_basis = residual.square().sum() - (basis.T @ residual).square().sum()
    expected = ((1 - basis.square().sum(dim=1)) @ variance).sum()
    expected -= taken * variance.mean(dim=0).sum()
    return float((beyond_basis / expected.clamp(min=1e-12)).clamp(1 / NOISE_WRONG, NOISE_WRONG))


def _parts(condition: Condition, device: str) -> list[Condition]:
    n = len(condition.observed)
    moved = [part.to(device) for part in condition]
    return [Condition(*(part[first : first + TOGETHER] for part in moved)) for first in range(0, n, TOGETHER)]


def _images(latents: torch.Tensor, height: int, width: int, noise: PixelNoise) -> torch.Tensor:
    return torch.as_tensor(noise.back(from_blocks(latents.movedim(1, 0))[:, :height, :width].numpy()))


def _white(what: Evidence, noise: PixelNoise) -> Evidence:
    """Evidence as it is of white noise."""
    names = ("observed", "best", "single", "joint")
    return what._replace(**{name: torch.as_tensor(noise.whitened(getattr(what, name).numpy())) for name in names})
