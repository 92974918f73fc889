"""Coarse images on a finer grid by four kernels, images a little aside: separable operators with exact adjoints."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.errors import InputError
from hsitools.sensor.coarse_grid import check_offset, check_ratio
from hsitools.sensor.separable import AxisMatrix, Separable, from_dense, symmetric

Array = NDArray[np.float64]
#: Odd half of the 23-tap interpolation filter (Aiazzi et al., IEEE TGRS 40(10), 2002), distance 1, 3, 5, …
TAPS_23 = (0.610668182370, -0.145397186478, 0.043619155884, -0.010385513306, 0.001615524292, -0.000120162964)


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
    offset = check_offset(ratio, offset)
    out_shape = (shape[0] * ratio, shape[1] * ratio) if out_shape is None else out_shape
    if method not in INTERPOLATORS:
        raise InputError(f"method: found {method!r}, expected one of {', '.join(INTERPOLATORS)}")
    return _interpolator(tuple(shape), ratio, (offset + shift[0], offset + shift[1]), method, tuple(out_shape))


@lru_cache(maxsize=8)
def displace(shape: tuple[int, int], places: tuple[tuple[float, float], ...]) -> Separable:
    """Each image of a stack aside by its own displacement: the result at a pixel is the image there plus ``places``.

    Parameters
    ----------
    shape : (int, int)
        Size (y, x) of the images.
    places : tuple of (float, float)
        Of each image along y and x, pixels. Lagrange's polynomial is taken through the 12 nearest pixels.

    Examples
    --------
    >>> import torch
    >>> ramp = torch.arange(40.0, dtype=torch.float64).expand(2, 40, 40)
    >>> aside = displace((40, 40), ((0.0, 0.5), (0.0, -2.0)))(ramp)
    >>> [round(float(value), 6) for value in aside[:, 20, 20]]
    [20.5, 18.0]
    """
    along = zip(*places, strict=True)
    return Separable(*(_displaced_axis(n, np.array(place)) for n, place in zip(shape, along, strict=True)))


def _displaced_axis(n: int, place: Array) -> AxisMatrix:
    start = np.floor(place).astype(np.int64) - len(TAPS_23) + 1
    weights = _lagrange(place - start)
    own = np.zeros((len(place), int(start.max() - start.min()) + weights.shape[1]))
    for node, weight in enumerate(weights.T):
        own[np.arange(len(place)), start - start.min() + node] = weight
    return AxisMatrix(
        np.broadcast_to(own[:, None], (len(place), n, own.shape[1])), np.arange(n) + start.min(), n, symmetric(n)
    )


def _lagrange(at: Array) -> Array:
    """Weights ``(place, node)`` of a polynomial through nodes 0 … 11, at places among them."""
    nodes = np.arange(2 * len(TAPS_23))
    distance = at[:, None] - nodes
    others = nodes[None, :] != nodes[:, None]
    factors = np.where(others, distance[:, None] / np.where(others, nodes[:, None] - nodes, 1), 1.0)
    return np.asarray(factors.prod(2))


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
    return AxisMatrix(weights[None], start, n, symmetric(n))


def _polynomial_axis(n: int, ratio: int, offset: float, n_out: int) -> AxisMatrix:
    at = (np.arange(n_out) - offset) / ratio
    start = np.floor(at).astype(np.int64) - len(TAPS_23) + 1
    weights = _lagrange(at - start)
    return AxisMatrix(weights[None], start, n, symmetric(n))


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
        fold = symmetric(size)
        for tap, weight in enumerate(TAPS_23):
            for side in (-1, 1):
                source = (odd + side * (2 * tap + 1) - place) // 2
                np.add.at(step, (odd, fold(source)), weight)
        # the published coefficients sum to one only to 1e-7
        step[odd] /= step[odd].sum(axis=1, keepdims=True)
        matrix = step @ matrix
    return from_dense(_fit(matrix, n_out))


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
    return from_dense(np.where(whole, 1.0, kernel))


def _fit(matrix: Array, n_out: int) -> Array:
    """Cut rows, or repeat the last one, to the size asked for."""
    return matrix[np.minimum(np.arange(n_out), len(matrix) - 1)]


INTERPOLATORS = {
    "bicubic": _bicubic_axis, "polynomial": _polynomial_axis, "23tap": _tap23_axis, "ideal": _ideal_axis,
}  # fmt: skip
