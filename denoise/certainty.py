"""How sure the restorer is: the spread of posterior samples, made true to errors on held-out scenes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from denoise.autoencoder import Autoencoder, from_blocks
from denoise.evidence import evidence
from denoise.examples import Example
from denoise.flow import FlowNet, condition, posterior_mean, sample

Array = NDArray[Any]
#: Samples and steps of the flow with which spread is calibrated and, by default, drawn.
SAMPLES, STEPS = 6, 5
#: Side of the neighbourhood whose samples are taken together, pixels.
NEIGHBOURS = 5
#: Components of an example that are looked at; more only take longer.
COMPONENTS = 12
#: Share of normally distributed errors within one standard deviation.
ONE_SIGMA = 0.6827


def beyond(bands: int, pixels: int) -> float:
    """Variance per voxel, units of the noise, of what is too faint to be found: a direction escapes while its variance
    is below about √(bands/pixels) of the noise's (see `denoise.estimate.subspace`). To be multiplied by how many do.
    """
    return float(np.sqrt(bands / pixels) / bands)


def spread_of(drawn: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    """Variance ``(n, y, x)`` of samples ``(sample, n, y, x)`` about the mean, of neighbours together: few samples tell
    little of one pixel.
    """
    variance = (drawn - mean).square().mean(dim=0)
    return torch.nn.functional.avg_pool2d(variance, NEIGHBOURS, 1, NEIGHBOURS // 2, count_include_pad=False)


@torch.no_grad()
def calibrate(net: FlowNet, coder: Autoencoder, examples: Sequence[Example], seed: int) -> dict[str, float]:
    """Factors ``spread`` and ``beyond`` of ``variance = spread · samples' variance + beyond · beyond()``.

    By least squares of squared errors on held-out examples, then scaled so that as many errors lie within one standard
    deviation as of a normal distribution. Returned beside them: the share of errors within 68 % and 95 % intervals,
    mean over examples.
    """
    rows, errors, spreads = [], [], []
    for number, example in enumerate(examples):
        seen, basis = evidence(example.seen, coder)
        given = condition(seen)
        chosen = slice(0, COMPONENTS)
        given = type(given)(*(part[chosen] for part in given))
        height, width = example.truth.shape[1:]
        generator = torch.Generator().manual_seed(seed + number)
        mean = from_blocks(posterior_mean(net, given).movedim(1, 0))[:, :height, :width]
        drawn = [from_blocks(sample(net, given, STEPS, generator).movedim(1, 0)) for _ in range(SAMPLES)]
        variance = spread_of(torch.stack(drawn)[..., :height, :width], mean)
        truth = torch.tensordot(basis.T, torch.as_tensor(example.truth), dims=1)
        # of components that are not looked at, the error is that of the classical estimate: left out
        rest = torch.as_tensor(example.truth) - torch.tensordot(basis[:, COMPONENTS:], truth[COMPONENTS:], dims=1)
        error = (rest - torch.tensordot(basis[:, chosen], mean, dims=1)).square()
        spread = torch.tensordot(basis[:, chosen] ** 2, variance, dims=1)
        faint = beyond(len(basis), height * width)
        rows.append((float(spread.mean()), faint, float(error.mean())))
        errors.append(error.sqrt().flatten())
        spreads.append((spread.flatten(), faint))
    from scipy.optimize import nnls

    table = np.array(rows)
    # relative: a scene of large errors counts as much as one of small ones
    found, _ = nnls(table[:, :2] / table[:, 2:], np.ones(len(table)))
    within = []
    for error, (spread, faint) in zip(errors, spreads, strict=True):
        std = (found[0] * spread + found[1] * faint).clamp(min=1e-12).sqrt()
        within.append(float(torch.quantile(_some(error / std), ONE_SIGMA)))
    scale = float(np.median(within)) ** 2
    found = found * scale
    covered = []
    for error, (spread, faint) in zip(errors, spreads, strict=True):
        ratio = error / (found[0] * spread + found[1] * faint).clamp(min=1e-12).sqrt()
        covered.append((float((ratio < 1).float().mean()), float((ratio < 1.96).float().mean())))
    inside, most = np.mean(covered, axis=0)
    return {"spread": float(found[0]), "beyond": float(found[1]), "within_68": float(inside), "within_95": float(most)}


def _some(values: torch.Tensor, count: int = 100_000) -> torch.Tensor:
    """As many as a quantile can be taken of."""
    return values[:: max(1, len(values) // count)]
