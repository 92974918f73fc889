"""Values as 16-bit integers with one scale and offset: half of float32's bytes, and a bound of the rounding error."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.cube.cube import Cube
from hsitools.cube.sources import Bands, ScaledSource, Source, as_source
from hsitools.errors import InputError
from hsitools.processors import threads

DTYPE = np.dtype(np.int16)
#: Stands for no measurement; values take the numbers above it.
NODATA = -32768
#: From -32767 to 32767.
STEPS = 65534
#: A result computed from a cube may leave the range of that cube by this share of it, on either side.
ROOM = 0.5


class PackedSource:
    """Another source's values as integers: offset + scale · number is within scale/2 of the value."""

    def __init__(self, source: Source, scale: float, offset: float, who: str, enough: float = 0.0) -> None:
        self.source, self.enough = source, enough
        self.scale, self.offset, self.who = scale, offset, who
        self.shape, self.dtype = source.shape, DTYPE

    def read(self, bands: Bands, rows: slice, columns: slice) -> NDArray[np.int16]:
        """See `Source`; raises `InputError` for a value beyond the numbers' range."""
        values = self.source.read(bands, rows, columns)
        out = np.empty(values.shape, dtype=DTYPE)
        # band by band, so that nothing leaves the caches, and beside one another
        with ThreadPoolExecutor(threads()) as pool:
            list(pool.map(self._round, values, out))
        return out

    def _round(self, values: NDArray[Any], out: NDArray[np.int16]) -> None:
        """Numbers of a band."""
        numbers = np.subtract(values, self.offset, dtype=np.float64)
        numbers /= self.scale
        np.rint(numbers, out=numbers)
        low, high = numbers.min(), numbers.max()
        if not np.isfinite(high - low):
            hole = ~np.isfinite(numbers)
            numbers[hole] = NODATA
            low, high = (np.min(numbers, where=~hole, initial=0), np.max(numbers, where=~hole, initial=0))
        for worst in (low, high):
            if abs(worst) > STEPS / 2:
                value, reach = self.offset + self.scale * worst, self.scale * STEPS / 2
                raise InputError(
                    f"{self.who}: int16: found the value {value:.6g}, expected {self.offset - reach:.6g} to "
                    f"{self.offset + reach:.6g}; choose float32, or a scale of "
                    f"{_upwards(max(self.enough, abs(value - self.offset) / (STEPS / 2))):.2g} or more"
                )
        np.copyto(out, numbers, casting="unsafe")


def _upwards(scale: float) -> float:
    """A scale of two digits that is not below this one."""
    step = 10.0 ** (math.floor(math.log10(scale)) - 1)
    return math.ceil(scale / step * (1 + 1e-9)) * step


def packed(cube: Cube, *, scale: float | None = None, like: Cube | None = None) -> Cube:
    """The cube with its values stored as 16-bit integers, one scale and offset for all.

    Parameters
    ----------
    cube : Cube
        Its physical values are packed; what is not finite and nodata stand as -32768.
    scale : float, optional
        Units of a step. Default the finest that holds all values, for which the cube is read once.
    like : Cube, optional
        A cube from whose range, widened by half of it on either side, the default scale is taken: for a cube that is
        computed where it is read, that which it comes from.

    Returns
    -------
    Cube
        Which differs from the values by at most ``meta["rounding_error"]``: half a step, and float32's own rounding.

    Raises
    ------
    InputError
        When no value is finite, or the scale is not positive; on reading, when a value does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> small = packed(Cube(data=np.array([[[0.0, 0.25, 1.0]]], dtype=np.float32)))
    >>> small.stored().dtype, f"{small.meta['rounding_error']:.1e}"
    (dtype('int16'), '7.7e-06')
    >>> bool(np.abs(small.read() - [[[0, 0.25, 1]]]).max() <= small.meta["rounding_error"])
    True
    """
    who = cube.who
    values = cube.physical()
    statistics = (values if like is None else like.physical()).statistics()
    if not statistics["n_valid"].any():
        raise InputError(f"{who}: int16: found no finite value, expected some to take a scale from")
    low, high = float(np.nanmin(statistics["min"])), float(np.nanmax(statistics["max"]))
    if like is not None:
        low, high = low - ROOM * (high - low), high + ROOM * (high - low)
    if scale is None:
        # a hair more than needed: rounding must not push the outermost values over the edge
        rounding = float(np.finfo(np.float32).eps) * max(abs(low), abs(high))
        scale = max((high - low) / STEPS, rounding, 1e-30) * (1 + 1e-6)
    elif not (np.isfinite(scale) and scale > 0):
        raise InputError(f"{who}: scale: found {scale}, expected a positive number")
    offset = (low + high) / 2
    numbers: Any = PackedSource(as_source(values.data), scale, offset, who, (high - low) / STEPS)
    # what is read back is float32, with a rounding of its own
    meta = cube.meta | {"rounding_error": scale / 2 + float(np.finfo(np.float32).eps) / 2 * max(abs(low), abs(high))}
    return values.replace(
        data=ScaledSource(numbers, scale, offset, nodata=NODATA), nodata=float("nan"), meta=meta
    )  # fmt: skip
