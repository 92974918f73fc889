"""The blind noise model as other rooms take it: a cube's posterior mean, and how sure it is (`hsitools.noise`)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from denoise.case import Observation, Restoration
from denoise.latent.certainty import pattern
from denoise.methods.lowrank import restoration
from denoise.registry import Method
from denoise.restore import restore
from denoise.separation.estimate import Separation, separate
from denoise.separation.smooth import smooth
from denoise.separation.spikes import spikes
from hsitools.estimation.observed import Observed

#: Size of the probe that tells the smoother's derivative, in standard deviations of the noise: far above rounding, far
#: below what changes which patches are alike.
PROBE = 0.1


def observe(values: NDArray[Any], sharp: NDArray[Any]) -> Observed:
    """Take noise, column offsets and outliers off a cube, by help of images that have hardly any.

    The images are further bands of the cube: what it has in common with them is scene.

    Parameters
    ----------
    values : array, shape (band, y, x)
        NaN stands for no measurement.
    sharp : array, shape (m, y, x)
        Such as a panchromatic image as the cube's optics see it.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> scene = np.linspace(1, 2, 40)[:, None] * np.linspace(1, 3, 40)
    >>> clean = scene * np.linspace(0.5, 1, 12)[:, None, None]
    >>> seen = observe(clean + 0.1 * rng.standard_normal(clean.shape), scene[None])
    >>> error = np.mean((seen.values - clean) ** 2)
    >>> bool(error < 0.1**2 / 4), bool(0.2 < np.mean(seen.variance) / error < 5)
    (True, True)
    """
    values = np.asarray(values, dtype=np.float32)
    valid = np.isfinite(values)
    spike = spikes(np.where(valid, values, 0), valid)
    cube = np.concatenate([np.where(spike, np.nan, values), np.asarray(sharp, dtype=np.float32)])
    restored = restore(cube, Method(name="lowrank", paper="", function=_with_std), spiked=False)
    bands = len(values)
    variance = np.zeros(bands)
    if restored.std is not None:
        variance = np.nan_to_num(np.square(restored.std[:bands, 0, 0], dtype=float))
    mask = spike | ~valid
    if restored.mask is not None:
        mask |= restored.mask[:bands]
    estimate = np.where(valid.any(0), restored.estimate[:bands], np.float32(np.nan))
    return Observed(values=estimate, variance=variance, mask=mask)


def _with_std(seen: Observation) -> Restoration:
    """`lowrank`, with one standard deviation for each band."""
    found = separate(seen)
    std = np.sqrt(band_variance(found)).astype(np.float32)
    return replace(restoration(found), std=np.broadcast_to(std[:, None, None], seen.values.shape))


def band_variance(found: Separation) -> NDArray[np.float32]:
    """Mean variance ``(band,)`` of the errors of a separation's scene.

    Of a posterior mean under white noise, the posterior's variance is the noise's times the mean's derivative (M. C. K.
    Tweedie; B. Efron, JASA 106, 2011), which one random probe tells. Besides come column offsets that may be scene.
    """
    whitened, directions = found.whitened, found.directions
    scores = (directions.T @ whitened.reshape(len(whitened), -1)).reshape(-1, *whitened.shape[1:])
    pixels = found.noise.pixels
    probe = np.random.default_rng(0).choice(np.array([-1, 1], np.float32), scores.shape)
    probe = pixels.back(probe)
    change = smooth(scores + np.float32(PROBE) * probe, pixels).best - found.scores.best
    derivative = np.clip((change * probe).mean((1, 2)) / PROBE, 0, 1)
    noise = found.noise
    return np.asarray(noise.sigma**2 * (directions**2 @ derivative) + pattern(found, found.scene).mean((1, 2)))
