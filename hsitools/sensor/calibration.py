"""Measured gain and offset of each element of a pushbroom's detector, and which elements are broken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.errors import InputError
from hsitools.sensor.pattern import Pattern
from hsitools.text import counted

Array = NDArray[np.float64]
#: Datasets of a calibration file.
MAPS = ("gain", "offset", "dead")


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    """What each detector element makes of the scene: ``value = gain · scene + offset``.

    Attributes
    ----------
    gain : array, shape (band, column)
        Relative; above zero where an element is not dead.
    offset : array, shape (band, column)
        In the cube's units.
    dead : array of bool, shape (band, column)
        Broken elements, which do not follow the scene (dead, hot, stuck). Their gain and offset mean nothing, and may
        be missing (NaN): they are set to 1 and 0 then.
    source : str
        Where the numbers come from.

    Raises
    ------
    InputError
        When shapes differ, or a working element's gain or offset is impossible.
    """

    gain: Array
    offset: Array
    dead: NDArray[np.bool_]
    source: str = ""

    def __post_init__(self) -> None:
        maps = {name: np.asarray(getattr(self, name)) for name in MAPS}
        shape = maps["gain"].shape
        for name, value in maps.items():
            if value.ndim != 2 or value.shape != shape or not value.size:
                expected = "(band, column)" if name == "gain" else f"{shape}, that of gain"
                raise InputError(f"calibration: {name}: found shape {value.shape}, expected {expected}")
            if value.dtype.kind not in "biuf":
                raise InputError(f"calibration: {name}: found {value.dtype}, expected numbers")
        if not np.isin(maps["dead"], (0, 1)).all():
            raise InputError("calibration: dead: found other values than 0 and 1, expected a mask")
        dead = maps["dead"].astype(bool)
        object.__setattr__(self, "dead", dead)
        for name, neutral in (("gain", 1.0), ("offset", 0.0)):
            value = maps[name].astype(float)
            value = np.where(dead & ~np.isfinite(value), neutral, value)
            unknown = np.count_nonzero(~np.isfinite(value))
            if unknown:
                raise InputError(
                    f"calibration: {name}: found {counted(unknown, 'element')} not finite, expected these to be dead"
                )
            object.__setattr__(self, name, value)
        low = float(np.min(self.gain, where=~dead, initial=np.inf))
        if not low > 0:
            raise InputError(f"calibration: gain: found {low:g}, expected more than 0 where an element is not dead")

    @property
    def n_bands(self) -> int:
        """Bands."""
        return int(self.gain.shape[0])

    @property
    def n_columns(self) -> int:
        """Columns."""
        return int(self.gain.shape[1])

    def select(self, bands: Any) -> Calibration:
        """The calibration of some bands (anything that indexes an array and keeps its axis)."""
        return Calibration(
            gain=self.gain[bands], offset=self.offset[bands], dead=self.dead[bands], source=self.source
        )  # fmt: skip

    def pattern(self, height: int) -> Pattern:
        """The fixed pattern of this detector in cubes of so many rows; broken elements read zero."""
        nothing = np.zeros(self.gain.shape)
        return Pattern(
            gain=self.gain, offset=self.offset, drift=nothing, walk=np.zeros(height), start=nothing.astype(int),
            stop=np.full(self.gain.shape, height), dead=self.dead, hot=np.zeros_like(self.dead),
            lost=np.zeros(height, dtype=bool),
        )  # fmt: skip

    def summary(self) -> str:
        """One line for people."""
        works = ~self.dead
        # a detector with no working element left has no gain to speak of
        spread = (
            f"gain {self.gain[works].mean():.4g} ± {self.gain[works].std():.2g}, "
            f"offset {self.offset[works].mean():.2g} ± {self.offset[works].std():.2g}, "
            if works.any()
            else ""
        )
        return f"{counted(self.n_columns, 'column')}, {spread}{np.count_nonzero(self.dead)} dead elements" + (
            f", {self.source}" if self.source else ""
        )
