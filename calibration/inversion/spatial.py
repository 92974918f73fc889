"""Neighbours help one another: components of spectra under an edge-aware prior whose strength the data choose.

Each component has its own smoothness, the one with the least estimate of the error (Stein's unbiased risk estimate,
Annals of Statistics 9(6), 1981), which is also its error bar: what the prior claims of itself is not needed.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from hsitools.estimation.edge_aware import Pixels, degree, edge_weights, step_weights

Array = NDArray[np.float64]

#: Smoothness tried, in units of the component's precision at unit variance: from none to a tie of whole fields.
SMOOTHNESS = (0.0, 0.3, 1.0, 3.0, 10.0, 30.0)
#: Step of the guide that halves a weight, as a share of its standard deviation; noise comes on top.
EDGE = 0.1
#: Passes: the first takes its guide from single pixels, the next from the pass before.
PASSES = 2


def restore(
    data: Array, signal: Array, importance: Array, measured: NDArray[np.bool_], seed: int = 0
) -> tuple[Array, Array]:
    """Components of an image and their standard deviations.

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

    Returns
    -------
    estimate, std : array, shape (k, measured pixel)
    """
    image = torch.zeros((1, len(data), *measured.shape))
    inside = torch.as_tensor(measured)
    image[0, :, inside] = torch.as_tensor(data, dtype=torch.float32)
    precision = torch.as_tensor(signal, dtype=torch.float32)[:, None, None]
    shown = precision * inside
    alone = image * (precision / (1 + precision))
    channel = torch.as_tensor(np.sqrt(importance / importance.sum()), dtype=torch.float32)[:, None, None]
    generator = torch.Generator().manual_seed(seed)
    probe = torch.randint(0, 2, image.shape, generator=generator).to(image) * 2 - 1
    probe *= inside
    count = int(inside.sum())
    guide, noise = alone, float((channel[:, 0, 0] ** 2 * (precision / (1 + precision) ** 2)[:, 0, 0]).sum())
    weights: list[torch.Tensor] = []
    for _ in range(PASSES):
        edge = EDGE**2 + 2 * noise
        weights = edge_weights(guide * channel, edge)
        if guide is not alone:
            weights = [w * a for w, a in zip(weights, step_weights(guide * channel), strict=True)]
        best = torch.full((len(data),), torch.inf)
        kept, smooth = alone.clone(), torch.zeros(len(data))
        for value in SMOOTHNESS:
            if value == 0:
                estimate, response = alone, probe * (precision / (1 + precision))
            else:
                terms = Pixels(precision=shown, smoothness=torch.full_like(precision, value))
                estimate = terms.solve(image, weights, alone)
                response = terms.solve(probe, weights, probe * (precision / (1 + precision)))
            # in units of the noise
            misfit = ((image - estimate) ** 2 * shown).sum((0, 2, 3))
            freedom = (probe * response).sum((0, 2, 3))
            risk = misfit / count - 1 + 2 * freedom / count
            better = risk < best
            best = torch.where(better, risk, best)
            smooth = torch.where(better, torch.full_like(smooth, value), smooth)
            kept = torch.where(better[:, None, None], estimate, kept)
        guide, noise = kept, 0.25 * noise
    # the risk is a mean over the image: where there are few or weak links more is left to the pixel
    links = degree(weights, kept[:, :1]) * smooth[:, None, None]
    local = 1 / (precision + 1 / (1 + smooth[:, None, None]) + links)
    floor = 0.1 * local[0][:, inside].mean(1)
    level = torch.maximum(best / precision[:, 0, 0], floor)
    local = local * (level / local[0][:, inside].mean(1))[:, None, None]
    return kept[0][:, inside].double().numpy(), local[0][:, inside].sqrt().double().numpy()
