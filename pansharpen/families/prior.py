"""Deep image prior: an untrained net fitted to one image, as the upsampling step before a supervised net.

D. Ulyanov et al., Deep image prior, CVPR 2018; O. Sidorov, J. Y. Hardeberg, Deep hyperspectral prior, ICCVW 2019. The
published steps fit all bands, from nothing, for thousands of iterations on a GPU. Here the net makes what interpolation
lacks of the leading principal components, which hold nearly all of the signal. So it takes seconds on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.functional import interpolate, leaky_relu

from hsitools.progress import Progress
from pansharpen.case import FusionCase
from pansharpen.families.nets import conv, measure, silent
from pansharpen.families.statistics import moments, per_band, regression

#: Principal components, iterations, learning rate.
COMPONENTS, STEPS, LEARNING_RATE = 8, 200, 3e-3
#: Deviation of the noise that is added to the net's input at each step.
JITTER = 0.03
#: Halvings of the image, channels at each size, channels of noise that it starts from: small, so that a step on a CPU
#: takes tens of milliseconds.
DEPTH, WIDTH, NOISE_CHANNELS = 3, 32, 32


class Hourglass(nn.Module):
    """Encoder and decoder with skip connections, from noise to components."""

    def __init__(self, n_out: int) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            nn.Conv2d(NOISE_CHANNELS if level == 0 else WIDTH, WIDTH, 3, stride=2, padding=1) for level in range(DEPTH)
        )
        self.skip = nn.ModuleList(conv(NOISE_CHANNELS if level == 0 else WIDTH, 8, 1) for level in range(DEPTH))
        self.up = nn.ModuleList(conv(WIDTH + 8, WIDTH) for _ in range(DEPTH))
        self.norm = nn.ModuleList(nn.GroupNorm(4, WIDTH) for _ in range(2 * DEPTH))
        self.last = silent(conv(WIDTH, n_out, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(1, NOISE_CHANNELS, y, x)`` to ``(1, component, y, x)``; sizes are multiples of 2 ** DEPTH."""
        skipped = []
        for level, layer in enumerate(self.down):
            skipped.append(self.skip[level](x))
            x = leaky_relu(self.norm[level](layer(x)), 0.2)
        for level, layer in enumerate(self.up):
            x = interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = leaky_relu(self.norm[DEPTH + level](layer(torch.cat([x, skipped.pop()], 1))), 0.2)
        return self.last(x)


def with_prior(
    case: FusionCase, *, seed: int = 0, progress: Progress | None = None, pan_weight: float = 0.0,
    steps: int | None = None,
) -> FusionCase:  # fmt: skip
    """The case whose interpolated cube is replaced by one that the prior has upsampled.

    Parameters
    ----------
    case : FusionCase
    seed : int
        Of the net's first weights and its input.
    progress : callable, optional
        Called with (steps done, steps in all).
    pan_weight : float
        Weight of the spatial constraint: the result, through the regression of PAN on the components, must be PAN.
    steps : int, optional
        Default `STEPS`.
    """
    steps = STEPS if steps is None else steps
    singles = case.singles()
    done = 0

    def report() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, steps * len(singles))

    parts = [_upsampled(single, seed, pan_weight, steps, report) for single in singles]
    return case.replace(expanded=torch.cat(parts))


def _upsampled(case: FusionCase, seed: int, pan_weight: float, steps: int, report: Callable[[], None]) -> torch.Tensor:
    tile, scale = case.tile, measure(case)
    coarse = scale.cube(case.coarse)
    covariance = moments(coarse, valid=tile.coarse_valid).covariance
    values, vectors = torch.linalg.eigh(covariance)
    count = min(COMPONENTS, case.n_bands)
    basis = vectors[0, :, -count:].float()
    size = values[0, -count:].clamp(min=0).sqrt().float()
    live = size > 1e-3 * size[-1]
    if not live.any():
        return tile.expanded
    basis, size = basis[:, live], size[live]
    components = _mix(basis.T, coarse)
    pan = scale.pan(case.pan)
    weights, bias = (
        part.float()
        for part in regression(moments(torch.cat([components, scale.pan(tile.pan_coarse)], 1), valid=tile.coarse_valid))
    )
    start, down = tile.up()(components), tile.down(case.optics.mean_mtf())
    height, width = tile.fine_size
    whole = [-(-side // 2**DEPTH) * 2**DEPTH for side in (height, width)]
    draw = torch.Generator().manual_seed(seed)
    noise = torch.rand((1, NOISE_CHANNELS, *whole), generator=draw).to(pan) - 0.5
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        net = Hourglass(len(size)).to(pan.device)
        optimizer = torch.optim.Adam(net.parameters(), lr=LEARNING_RATE)
        for _ in range(steps):
            moved = noise + JITTER * torch.randn(noise.shape, generator=draw).to(noise)
            made = start + net(moved)[..., :height, :width] * size[:, None, None]
            loss = (down(made) - components).abs().mean()
            if pan_weight:
                explained = (weights[..., None, None] * made).sum(1, keepdim=True) + bias[..., None, None]
                loss = loss + pan_weight * (explained - pan).abs().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            report()
        with torch.no_grad():
            made = start + net(noise)[..., :height, :width] * size[:, None, None]
            change = _mix(basis, made - start)
    return tile.expanded + per_band(scale.std, change) * change


def _mix(weights: torch.Tensor, cube: torch.Tensor) -> torch.Tensor:
    return (weights @ cube.flatten(2)).unflatten(-1, cube.shape[-2:])
