"""Levels of bands far beyond their contrast, which float32 would round away: taken off first, and put back last."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from denoise.case import NoiseModel
from hsitools.estimation.heights import levels

#: Deviations of its band that a level may be: float32 then rounds to less than 10⁻⁵ of one.
MOST = 100.0
#: Distances between numbers next to one another up to which a contrast is their rounding.
ROUNDINGS = 8


def pedestal(values: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float64]:
    """What a level ``(band,)`` has more than `MOST` deviations of its band, by their median; zero of usual bands.

    What is left of a level grows with it up to that, so that no scene is treated as another one for its units' zero.
    """
    centre, deviation = levels(values, valid)
    beyond = np.where(deviation > 0, np.maximum(np.abs(centre) - MOST * deviation, 0), 0)
    return np.asarray(np.sign(centre) * beyond)


def without(values: NDArray[Any], level: NDArray[np.float64]) -> NDArray[np.float32]:
    """Values ``(band, y, x)`` less the levels, computed in float64."""
    out = np.empty(values.shape, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        np.subtract(values, level[:, None, None], out=out, casting="unsafe")
    return out


def of_rounding(values: NDArray[Any], highest: float) -> float:
    """Contrast that values of that type (float32 at least) may have by rounding alone, up to a highest magnitude."""
    return float(ROUNDINGS * np.finfo(np.result_type(np.float32, values)).eps * highest)


def noise_with(noise: NoiseModel, level: NDArray[np.float64]) -> NoiseModel:
    """A noise model of the values with their levels: a gain about another zero has another offset."""
    if not level.any():
        return noise
    return dataclasses.replace(noise, offset=noise.offset - ((noise.gain - 1) * level[:, None]).astype(np.float32))
