"""What an instrument does to space: MTF-matched blur and decimation, and their adjoints.

Both are separable and linear (`hsitools.sensor.separable`); blur and decimation cost what their output costs. Positions
are in pixels of the fine grid: low-resolution pixel k lies at ``offset + ratio·k``. A detector that averages ``ratio``
fine pixels has offset ``(ratio − 1)/2``, the default everywhere; simulations in the literature sample at a whole
number, often ``ratio // 2``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hsitools.errors import InputError
from hsitools.sensor.coarse_grid import check_offset, check_ratio
from hsitools.sensor.separable import AxisMatrix, Separable, replicate
from hsitools.text import counted

Array = NDArray[np.float64]
Gains = tuple[float, ...]

#: The Gaussian is cut where it has fallen to exp(−TAIL²/2).
TAIL = 6.0


def mean_of_known(blur: Callable[[torch.Tensor], torch.Tensor], values: torch.Tensor) -> torch.Tensor:
    """A blur of unit gain over what is known (normalised convolution), NaN where most is not.

    Parameters
    ----------
    blur : callable
        Linear and without negative weights, such as `mtf_decimate`.
    values : Tensor, shape (…, band, y, x)
        NaN stands for no measurement; each voxel for itself.
    """
    known = torch.isfinite(values)
    if known.all():
        return blur(values)
    weight = blur(known.to(values.dtype))
    mean = blur(torch.where(known, values, 0)) / weight.clamp(min=1e-6)
    return torch.where(weight > 0.5, mean, torch.nan)


def mtf_sigma(gain: Any, ratio: float) -> Array:
    """Standard deviation (fine pixels) of the sampled Gaussian whose gain at the coarse Nyquist frequency is ``gain``.

    Parameters
    ----------
    gain : float or array
        MTF at 1/(2·ratio) cycles per fine pixel, in (0, 1).
    ratio : float
        Coarse pixel over fine pixel.

    Raises
    ------
    InputError
        When a gain is outside (0, 1).
    """
    gain = np.atleast_1d(np.asarray(gain, dtype=float))
    if not (np.all(gain > 0) and np.all(gain < 1)):
        raise InputError(f"mtf: found gains {gain.min():g} to {gain.max():g} at Nyquist, expected between 0 and 1")
    return np.array(_sigma(tuple(gain.tolist()), ratio))


# a search for a shift asks for the same gains at every step: hundreds of times in one fusion
@lru_cache(maxsize=256)
def _sigma(gains: Gains, ratio: float) -> Gains:
    gain = np.array(gains)
    low, high = np.full(gain.shape, 1e-3), np.full(gain.shape, 4.0 * ratio)
    # a narrow Gaussian's spectrum is aliased by the sampling: bisect on the true one
    for _ in range(60):
        middle = (low + high) / 2
        too_wide = _sampled_gain(middle, 1 / (2 * ratio)) < gain
        high, low = np.where(too_wide, middle, high), np.where(too_wide, low, middle)
    return tuple(((low + high) / 2).tolist())


def _sampled_gain(sigma: Array, frequency: float) -> Array:
    reach = math.ceil(TAIL * float(np.max(sigma))) + 1
    n = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 * (n / np.maximum(sigma, 1e-9)[:, None]) ** 2)
    return np.asarray((kernel * np.cos(2 * np.pi * frequency * n)).sum(1) / kernel.sum(1))


# a search along one axis leaves the other as it is
@lru_cache(maxsize=128)
def _gaussian_axis(
    n: int, gains: tuple[float, ...], ratio: int, step: int, offset: float, shifts: tuple[float, ...]
) -> AxisMatrix:  # fmt: skip
    """Rows: the normalised Gaussian at ``shift + offset + step·k``, for each k that without the shift is inside."""
    sigma = mtf_sigma(np.array(gains), ratio)
    count = int((n - 1 - offset + 1e-9) // step) + 1
    if count < 1:
        raise InputError(f"image: found {counted(n, 'pixel')}, expected more than the sampling offset {offset:g}")
    shift = np.array(shifts)
    centre = shift[:, None] + offset + step * np.arange(count)
    reach = math.ceil(TAIL * float(sigma.max()))
    start = np.ceil(centre.min(0)).astype(np.int64) - reach - 1
    width = 2 * reach + 2 + math.ceil(float(shift.max() - shift.min()))
    distance = start[:, None] + np.arange(width) - centre[..., None]
    weights = np.exp(-0.5 * (distance / sigma[:, None, None]) ** 2)
    return AxisMatrix(weights / weights.sum(axis=2, keepdims=True), start, n, replicate(n))


@lru_cache(maxsize=64)
def _mtf(
    shape: tuple[int, int], gains: tuple[Gains, Gains], ratio: int, step: int, offset: float,
    shift: tuple[Gains, Gains] = ((0.0,), (0.0,)),
) -> Separable:  # fmt: skip
    return Separable(*(
        _gaussian_axis(n, gain, ratio, step, offset, place)
        for n, gain, place in zip(shape, gains, shift, strict=True)
    ))  # fmt: skip


def _gains(gain: Any) -> tuple[Gains, Gains]:
    """Gains along y and x, each one number for all bands where these are equal."""
    values = np.atleast_1d(np.asarray(gain, dtype=float))
    if values.ndim > 2 or (values.ndim == 2 and values.shape[1] != 2):
        raise InputError(f"mtf: found shape {values.shape}, expected one number, (band,) or (band, 2) as (y, x)")
    return _along_axes(values[:, None].repeat(2, 1) if values.ndim == 1 else values)


def _along_axes(values: Array) -> tuple[Gains, Gains]:
    """``(band, 2)`` along y and x, each one number for all bands where these are equal."""
    y, x = (tuple(float(v) for v in (axis[:1] if np.all(axis == axis[0]) else axis)) for axis in values.T)
    return y, x


def mtf_blur(shape: tuple[int, int], gain: Any, ratio: int) -> Separable:
    """Blur by the PSF whose MTF at the coarse Nyquist frequency is ``gain``; the image keeps its size.

    Gaussian, separable, gain 1 at zero frequency and exactly ``gain`` at Nyquist; the border is replicated.

    Parameters
    ----------
    shape : (int, int)
        Size (y, x) of the images.
    gain : float or array, shape (band,) or (band, 2)
        The same in both directions, or along y and along x.
    ratio : int
    """
    return _mtf(tuple(shape), _gains(gain), check_ratio(ratio), 1, 0.0)


def mtf_decimate(
    shape: tuple[int, int], gain: Any, ratio: int, offset: float | None = None, *,
    shift: Any = (0.0, 0.0),
) -> Separable:  # fmt: skip
    """Blur as `mtf_blur` and sample at ``offset + ratio·k``, computing only the samples.

    Parameters
    ----------
    shape : (int, int)
        Size (y, x) of the fine images; any size, also no multiple of the ratio.
    gain : float or array, shape (band,) or (band, 2)
        The same in both directions, or along y and along x.
    ratio : int
    offset : float, optional
        Fine-pixel position of the first sample, 0 to ratio − 1; default (ratio − 1)/2.
    shift : (float, float) or array, shape (band, 2)
        Fine pixels (y, x) by which all samples, or those of each band, lie elsewhere: a cube misregistered to the fine
        grid.

    Raises
    ------
    InputError
        When the offset is outside the first coarse pixel, or a gain is outside (0, 1).
    """
    ratio = check_ratio(ratio)
    shifts = _along_axes(np.asarray(shift, dtype=float).reshape(-1, 2))
    return _mtf(tuple(shape), _gains(gain), ratio, ratio, check_offset(ratio, offset), shifts)


def decimate(shape: tuple[int, int], ratio: int, offset: int = 0) -> Separable:
    """Plain sampling at ``offset + ratio·k`` (whole offset), no blur."""
    ratio = check_ratio(ratio)
    if int(offset) != offset:
        raise InputError(f"offset: found {offset:g}, expected a whole number: sampling without blur has no other")
    check_offset(ratio, offset)
    axes = []
    for n in shape:
        place = np.arange(offset, n, ratio)
        axes.append(AxisMatrix(np.ones((1, len(place), 1)), place, n, replicate(n)))
    return Separable(*axes)
