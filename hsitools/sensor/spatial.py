"""What an instrument does to space: MTF-matched blur, decimation, interpolation, and their adjoints.

All of these are separable and linear: one matrix along y and one along x. `Separable` holds the two as dense blocks on
the band of entries that is not zero, so that applying one is a few matrix products whatever the image size, its adjoint
is exactly the transposed products, and blur and decimation cost what their output costs. Tensors are
``(…, band, y, x)``.

Positions are in pixels of the fine grid: low-resolution pixel k lies at ``offset + ratio·k``. A detector that averages
``ratio`` fine pixels has offset ``(ratio − 1)/2``, the default everywhere; simulations in the literature sample at a
whole number, often ``ratio // 2``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hsitools.errors import InputError

Array = NDArray[np.float64]
Gains = tuple[float, ...]

#: Rows of an axis matrix that are multiplied at once; more waste zeros, fewer waste calls.
BLOCK = 64
#: The Gaussian is cut where it has fallen to exp(−TAIL²/2).
TAIL = 6.0
#: Odd half of the 23-tap interpolation filter (Aiazzi et al., IEEE TGRS 40(10), 2002), distance 1, 3, 5, …
TAPS_23 = (0.610668182370, -0.145397186478, 0.043619155884, -0.010385513306, 0.001615524292, -0.000120162964)


class AxisMatrix:
    """A banded matrix ``(out, in)`` for each of ``k`` kinds, applied along one axis as dense blocks.

    Parameters
    ----------
    weights : array, shape (k, out, width)
        Row i acts on inputs ``start[i] … start[i] + width − 1``; k is 1 (all bands alike) or the number of bands.
    start : array of int, shape (out,)
    n_in : int
        Inputs outside 0 … n_in − 1 stand for others inside, by ``fold``.
    fold : array of int
        Input of each place from ``start.min()`` on: how the border goes on.
    """

    def __init__(self, weights: Array, start: NDArray[np.int64], n_in: int, fold: Any) -> None:
        kinds, n_out, width = weights.shape
        self.n_in, self.n_out, self.kinds = n_in, n_out, kinds
        self.blocks: list[tuple[slice, slice, Array]] = []
        for first in range(0, n_out, BLOCK):
            rows = slice(first, min(first + BLOCK, n_out))
            places = fold(start[rows, None] + np.arange(width))
            low, high = int(places.min()), int(places.max()) + 1
            dense = np.zeros((kinds, rows.stop - rows.start, high - low))
            row = np.arange(rows.stop - rows.start)[:, None]
            for kind in range(kinds):
                # several places may fold onto one
                np.add.at(dense[kind], (row, places - low), weights[kind, rows])
            self.blocks.append((rows, slice(low, high), dense))
        self._cache: dict[Any, list[torch.Tensor]] = {}

    def _tensors(self, like: torch.Tensor) -> list[torch.Tensor]:
        key = (like.dtype, like.device)
        if key not in self._cache:
            # operators outlive the caller's mode: tensors made in inference mode would bar later training
            with torch.inference_mode(False):
                self._cache[key] = [
                    torch.as_tensor(block, dtype=like.dtype, device=like.device) for *_, block in self.blocks
                ]
        return self._cache[key]

    def along_y(self, x: torch.Tensor, *, transpose: bool = False) -> torch.Tensor:
        """``M x`` (or ``Mᵀ x``) along the axis before the last of ``(…, band, y, x)``."""
        out = x.new_zeros((*x.shape[:-2], self.n_in if transpose else self.n_out, x.shape[-1]))
        for (rows, columns, _), block in zip(self.blocks, self._tensors(x), strict=True):
            matrix = block[0] if self.kinds == 1 else block
            if transpose:
                out[..., columns, :] += matrix.mT @ x[..., rows, :]
            else:
                out[..., rows, :] = matrix @ x[..., columns, :]
        return out

    def along_x(self, x: torch.Tensor, *, transpose: bool = False) -> torch.Tensor:
        """``x Mᵀ`` (or ``x M``) along the last axis."""
        out = x.new_zeros((*x.shape[:-1], self.n_in if transpose else self.n_out))
        for (rows, columns, _), block in zip(self.blocks, self._tensors(x), strict=True):
            matrix = block[0] if self.kinds == 1 else block
            if transpose:
                out[..., columns] += x[..., rows] @ matrix
            else:
                out[..., rows] = x[..., columns] @ matrix.mT
        return out


@dataclass(frozen=True)
class Separable:
    """A linear operator that is a matrix along y and one along x.

    Attributes
    ----------
    y, x : AxisMatrix
    """

    y: AxisMatrix
    x: AxisMatrix

    def _check(self, values: torch.Tensor, shape: tuple[int, int]) -> None:
        kinds = max(self.y.kinds, self.x.kinds)
        if tuple(values.shape[-2:]) != shape or (kinds > 1 and values.shape[-3] != kinds):
            band = kinds if kinds > 1 else "band"
            raise InputError(f"image: found shape {tuple(values.shape)}, expected (…, {band}, {shape[0]}, {shape[1]})")

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Apply to ``(…, band, y, x)``; raises `InputError` for another shape than the operator's."""
        self._check(values, (self.y.n_in, self.x.n_in))
        # the axis that shrinks the more goes first
        if self.y.n_out * self.x.n_in <= self.x.n_out * self.y.n_in:
            return self.x.along_x(self.y.along_y(values))
        return self.y.along_y(self.x.along_x(values))

    def adjoint(self, values: torch.Tensor) -> torch.Tensor:
        """Transposed operator: ``⟨forward(a), b⟩ = ⟨a, adjoint(b)⟩``."""
        self._check(values, (self.y.n_out, self.x.n_out))
        return self.y.along_y(self.x.along_x(values, transpose=True), transpose=True)

    __call__ = forward


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


def size_of(image: torch.Tensor) -> tuple[int, int]:
    """(y, x) of a tensor ``(…, y, x)``."""
    return int(image.shape[-2]), int(image.shape[-1])


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
    low, high = np.full(gain.shape, 1e-3), np.full(gain.shape, 4.0 * ratio)
    # a narrow Gaussian's spectrum is aliased by the sampling: bisect on the true one
    for _ in range(60):
        middle = (low + high) / 2
        too_wide = _sampled_gain(middle, 1 / (2 * ratio)) < gain
        high, low = np.where(too_wide, middle, high), np.where(too_wide, low, middle)
    return (low + high) / 2


def _sampled_gain(sigma: Array, frequency: float) -> Array:
    reach = math.ceil(TAIL * float(np.max(sigma))) + 1
    n = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 * (n / np.maximum(sigma, 1e-9)[:, None]) ** 2)
    return np.asarray((kernel * np.cos(2 * np.pi * frequency * n)).sum(1) / kernel.sum(1))


def check_ratio(ratio: Any) -> int:
    """A whole ratio of at least one, or an `InputError`."""
    if int(ratio) != ratio or ratio < 1:
        raise InputError(f"ratio: found {ratio}, expected a whole number of at least 1")
    return int(ratio)


def centred_offset(ratio: int) -> float:
    """Where a detector pixel that covers ``ratio`` fine pixels has its centre."""
    return (ratio - 1) / 2


def _replicate(n: int) -> Any:
    return lambda places: np.clip(places, 0, n - 1)


def _symmetric(n: int) -> Any:
    def fold(places: NDArray[np.int64]) -> NDArray[np.int64]:
        places = np.mod(places, 2 * n)
        return np.minimum(places, 2 * n - 1 - places)

    return fold


def _gaussian_axis(
    n: int, gains: tuple[float, ...], ratio: int, step: int, offset: float, shift: float
) -> AxisMatrix:  # fmt: skip
    """Rows: the normalised Gaussian at ``shift + offset + step·k``, for each k that without the shift is inside."""
    sigma = mtf_sigma(np.array(gains), ratio)
    count = int((n - 1 - offset + 1e-9) // step) + 1
    if count < 1:
        raise InputError(f"image: found {n} pixels, expected more than the sampling offset {offset:g}")
    centre = shift + offset + step * np.arange(count)
    reach = math.ceil(TAIL * float(sigma.max()))
    start = np.ceil(centre).astype(np.int64) - reach - 1
    distance = start[:, None] + np.arange(2 * reach + 2) - centre[:, None]
    weights = np.exp(-0.5 * (distance[None] / sigma[:, None, None]) ** 2)
    return AxisMatrix(weights / weights.sum(axis=2, keepdims=True), start, n, _replicate(n))


@lru_cache(maxsize=64)
def _mtf(
    shape: tuple[int, int], gains: tuple[Gains, Gains], ratio: int, step: int, offset: float,
    shift: tuple[float, float] = (0.0, 0.0),
) -> Separable:  # fmt: skip
    y = _gaussian_axis(shape[0], gains[0], ratio, step, offset, shift[0])
    same = shape[0] == shape[1] and gains[0] == gains[1] and shift[0] == shift[1]
    return Separable(y, y if same else _gaussian_axis(shape[1], gains[1], ratio, step, offset, shift[1]))


def _gains(gain: Any) -> tuple[Gains, Gains]:
    """Gains along y and x, each one number for all bands where these are equal."""
    values = np.atleast_1d(np.asarray(gain, dtype=float))
    if values.ndim > 2 or (values.ndim == 2 and values.shape[1] != 2):
        raise InputError(f"mtf: found shape {values.shape}, expected one number, (band,) or (band, 2) as (y, x)")
    axes = (values, values) if values.ndim == 1 else (values[:, 0], values[:, 1])
    y, x = (tuple(float(v) for v in (axis[:1] if np.all(axis == axis[0]) else axis)) for axis in axes)
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
    shift: tuple[float, float] = (0.0, 0.0),
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
        Fine-pixel position of the first sample, 0 ≤ offset < ratio; default (ratio − 1)/2.
    shift : (float, float)
        Fine pixels (y, x) by which all samples lie elsewhere: a cube misregistered to the fine grid.

    Raises
    ------
    InputError
        When the offset is outside the first coarse pixel, or a gain is outside (0, 1).
    """
    ratio = check_ratio(ratio)
    return _mtf(tuple(shape), _gains(gain), ratio, ratio, _check_offset(ratio, offset), shift)


def _check_offset(ratio: int, offset: float | None) -> float:
    offset = centred_offset(ratio) if offset is None else float(offset)
    if not 0 <= offset < ratio:
        raise InputError(f"offset: found {offset:g}, expected 0 ≤ offset < ratio {ratio}")
    return offset


def decimate(shape: tuple[int, int], ratio: int, offset: int = 0) -> Separable:
    """Plain sampling at ``offset + ratio·k`` (whole offset), no blur."""
    ratio = check_ratio(ratio)
    if int(offset) != offset:
        raise InputError(f"offset: found {offset:g}, expected a whole number: sampling without blur has no other")
    _check_offset(ratio, offset)
    axes = []
    for n in shape:
        place = np.arange(offset, n, ratio)
        axes.append(AxisMatrix(np.ones((1, len(place), 1)), place, n, _replicate(n)))
    return Separable(*axes)


@lru_cache(maxsize=16)
def window_mean(shape: tuple[int, int], taps: tuple[float, ...]) -> Separable:
    """Weighted mean over every whole window of ``len(taps)``² pixels; weights are the outer product of the taps."""
    weights = np.array(taps) / np.sum(taps)
    axes = []
    for n in shape:
        start = np.arange(n - len(taps) + 1)
        axes.append(AxisMatrix(np.broadcast_to(weights, (1, len(start), len(taps))), start, n, _replicate(n)))
    return Separable(*axes)


# ---- interpolation -----------------------------------------------------------------------------------------------


def interpolate(
    shape: tuple[int, int], ratio: int, offset: float | None = None, *, method: str = "bicubic",
    out_shape: tuple[int, int] | None = None, shift: tuple[float, float] = (0.0, 0.0),
) -> Separable:  # fmt: skip
    """Interpolate coarse images onto the fine grid.

    Parameters
    ----------
    shape : (int, int)
        Size (y, x) of the coarse images.
    ratio : int
    offset : float, optional
        Fine-pixel position of the first coarse pixel; default (ratio − 1)/2.
    method : str
        ``"bicubic"``: Keys' kernel with a = −1/2 and a symmetric border, MATLAB's ``imresize`` at the default offset.
        ``"23tap"``: the polynomial half-band filter of the pansharpening literature, applied once per octave; for
        ratios 2, 4, 8 and whole offsets, the only ones for which it is defined.
        ``"polynomial"``: the same idea for every ratio and offset: Lagrange's polynomial through the 12 nearest
        samples, which at ratio 2 is the 23-tap filter.
        ``"ideal"``: trigonometric (Fourier) interpolation, exact for periodic images.
    out_shape : (int, int), optional
        Fine size; default ratio × coarse size.
    shift : (float, float)
        Fine pixels (y, x) by which all coarse pixels lie elsewhere, as in `mtf_decimate`.

    Raises
    ------
    InputError
        For an unknown method, or 23tap where it is not defined.
    """
    ratio = check_ratio(ratio)
    offset = _check_offset(ratio, offset)
    out_shape = (shape[0] * ratio, shape[1] * ratio) if out_shape is None else out_shape
    if method not in INTERPOLATORS:
        raise InputError(f"method: found {method!r}, expected one of {', '.join(INTERPOLATORS)}")
    return _interpolator(tuple(shape), ratio, (offset + shift[0], offset + shift[1]), method, tuple(out_shape))


@lru_cache(maxsize=64)
def _interpolator(shape: Any, ratio: int, offset: tuple[float, float], method: str, out_shape: Any) -> Separable:
    build = INTERPOLATORS[method]
    return Separable(*(build(n, ratio, at, out) for n, at, out in zip(shape, offset, out_shape, strict=True)))


def _bicubic_axis(n: int, ratio: int, offset: float, n_out: int) -> AxisMatrix:
    at = (np.arange(n_out) - offset) / ratio
    start = np.floor(at).astype(np.int64) - 1
    distance = np.abs(at[:, None] - start[:, None] - np.arange(4))
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    weights = np.where(distance <= 1, near, np.where(distance <= 2, far, 0.0))
    return AxisMatrix(weights[None], start, n, _symmetric(n))


def _polynomial_axis(n: int, ratio: int, offset: float, n_out: int) -> AxisMatrix:
    at = (np.arange(n_out) - offset) / ratio
    nodes = np.arange(2 * len(TAPS_23))
    start = np.floor(at).astype(np.int64) - len(TAPS_23) + 1
    distance = (at - start)[:, None] - nodes
    weights = np.ones((n_out, len(nodes)))
    for node in nodes:
        others = nodes != node
        weights[:, node] = np.prod(distance[:, others] / (node - nodes[others]), axis=1)
    return AxisMatrix(weights[None], start, n, _symmetric(n))


def _tap23_axis(n: int, ratio: int, offset: float, n_out: int) -> AxisMatrix:
    octaves = ratio.bit_length() - 1
    if 2**octaves != ratio or ratio == 1 or offset != int(offset):
        raise InputError(
            f"23tap: found ratio {ratio} and offset {offset:g}, expected ratio 2, 4 or 8 and a whole offset; "
            "use bicubic or ideal"
        )
    matrix = np.eye(n)
    # the binary digits of the offset say on which of two places the samples go at each octave
    for octave in range(octaves):
        place = (int(offset) >> (octaves - 1 - octave)) & 1
        size = len(matrix)
        step = np.zeros((2 * size, size))
        step[place::2] = np.eye(size)
        odd = np.arange(1 - place, 2 * size, 2)
        fold = _symmetric(size)
        for tap, weight in enumerate(TAPS_23):
            for side in (-1, 1):
                source = (odd + side * (2 * tap + 1) - place) // 2
                np.add.at(step, (odd, fold(source)), weight)
        # the published coefficients sum to one only to 1e-7
        step[odd] /= step[odd].sum(axis=1, keepdims=True)
        matrix = step @ matrix
    return _from_dense(_fit(matrix, n_out))


def _ideal_axis(n: int, ratio: int, offset: float, n_out: int) -> AxisMatrix:
    at = (np.arange(n_out) - offset) / ratio
    distance = at[:, None] - np.arange(n)
    angle = np.pi * distance
    # Dirichlet kernel; for even n the Nyquist term is a cosine
    with np.errstate(divide="ignore", invalid="ignore"):
        below = n * (np.tan(angle / n) if n % 2 == 0 else np.sin(angle / n))
        kernel = np.sin(angle) / below
    kernel = np.where(np.abs(np.sin(angle / n)) < 1e-12, np.round(np.cos(angle)) ** (1 - n % 2) * 1.0, kernel)
    whole = np.abs(np.mod(distance + n / 2, n) - n / 2) < 1e-9
    return _from_dense(np.where(whole, 1.0, kernel))


def _fit(matrix: Array, n_out: int) -> Array:
    """Cut rows, or repeat the last one, to the size asked for."""
    return matrix[np.minimum(np.arange(n_out), len(matrix) - 1)]


def _from_dense(matrix: Array) -> AxisMatrix:
    n_in = matrix.shape[1]
    used = matrix != 0
    first = used.argmax(axis=1)
    width = int((n_in - used[:, ::-1].argmax(axis=1) - first).max())
    first = np.minimum(first, n_in - width)
    weights = np.take_along_axis(matrix, first[:, None] + np.arange(width), axis=1)
    return AxisMatrix(weights[None], first.astype(np.int64), n_in, _replicate(n_in))


INTERPOLATORS = {
    "bicubic": _bicubic_axis, "polynomial": _polynomial_axis, "23tap": _tap23_axis, "ideal": _ideal_axis,
}  # fmt: skip
