"""Live bands among all bands of a cube, and a method's units against the cube's: what a restoration goes through."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from denoise.case import NoiseModel
from denoise.separation.counts import Counts


def of_live(value: NDArray[Any] | None, live: NDArray[np.bool_]) -> NDArray[Any] | None:
    """The live bands' part."""
    return None if value is None else np.asarray(value)[live]


def among_all(part: NDArray[Any], live: NDArray[np.bool_], rest: Any) -> NDArray[Any]:
    """An array of the live bands among all bands."""
    out = np.full((len(live), *part.shape[1:]), rest, dtype=part.dtype)
    out[live] = part
    return out


def mask_of_all(
    mask: NDArray[np.bool_] | None, live: NDArray[np.bool_], valid: NDArray[np.bool_]
) -> NDArray[np.bool_]:  # fmt: skip
    """True where nothing was measured, in bands that are not live too."""
    return ~valid if mask is None else ~valid | among_all(mask, live, False)


def in_cube_units(noise: NoiseModel, scale: float, live: NDArray[np.bool_]) -> NoiseModel:
    """A noise model of the live bands, in units of their spread, for all bands in the cube's units."""
    s = np.float32(scale)
    return NoiseModel(
        sigma=among_all(noise.sigma * s, live, np.nan), slope=among_all(noise.slope * s, live, 0),
        gain=among_all(noise.gain, live, 1), offset=among_all(noise.offset * s, live, 0),
        offset_std=among_all(noise.offset_std * s, live, 0),
        dead=among_all(noise.dead, live, False), outlier=among_all(noise.outlier, live, False),
        pixels=noise.pixels,
    )  # fmt: skip


def noise_of_counts(
    noise: NoiseModel, counts: Counts, estimate: NDArray[np.float32], live: NDArray[np.bool_]
) -> NoiseModel:  # fmt: skip
    """The noise of counts in the cube's units: its variance grows with the signal."""
    level = estimate.mean((1, 2), dtype=float)
    sigma = np.sqrt(counts.gain * level + counts.read_variance).astype(np.float32)
    return dataclasses.replace(
        noise, sigma=among_all(sigma, live, np.nan), slope=among_all(counts.gain.astype(np.float32), live, 0)
    )
