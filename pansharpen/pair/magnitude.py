"""Values so small or large that float32 does not hold their squares: methods see them times a power of two."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from hsitools.cube import Cube
from hsitools.cube.sources import ScaledSource, as_source
from hsitools.estimation.heights import Levels
from pansharpen.guide import Guide
from pansharpen.optics import Optics
from pansharpen.pair.guide_files import PlacedGuide

#: Levels within which values are given to methods as they are: the least of their details, squared, are numbers too.
ORDINARY = (1e-6, 1e8)
#: Largest exponent of a factor that float32 holds, and whose inverse it holds.
MOST = 126


def power_of(levels: Levels) -> float:
    """Power of two that brings an image of such levels near one; 1 where they are ordinary.

    Times a power of two no value is rounded, so that results in other units are the same to the last bit.

    Examples
    --------
    >>> power_of(Levels(np.array([3e-20]), np.array([1e-21]))) == 2.0**65
    True
    >>> power_of(Levels(np.array([4000.0]), np.array([100.0])))
    1.0
    """
    size = float((np.abs(levels.centre) + levels.deviation).max(initial=0))
    if not np.isfinite(size) or size == 0 or ORDINARY[0] <= size <= ORDINARY[1]:
        return 1.0
    return float(2.0 ** np.clip(-np.round(np.log2(size)), -MOST, MOST))


class Powers(NamedTuple):
    """What the images of a scene are multiplied by, each by its own."""

    cube: float
    pan: float
    guides: tuple[float, ...]

    @classmethod
    def of(cls, levels: Sequence[Levels], pan_made: bool) -> Powers:
        """Of the levels of cube, PAN and guides, in this order; a PAN that is made of guides is in their units."""
        cube, pan, *guides = map(power_of, levels)
        return cls(cube, pan, tuple(pan if pan_made else guide for guide in guides))

    @property
    def ordinary(self) -> bool:
        """Whether all images are given as they are."""
        return all(power == 1 for power in (self.cube, self.pan, *self.guides))

    def optics(self, optics: Optics) -> Optics:
        """What is told of cube and PAN, of them so multiplied."""
        powers = {
            "noise_variance": self.cube**2, "error_variance": self.cube**2, "full_scale": self.cube,
            "pan_variance": self.pan**2, "pan_full_scale": self.pan, "pan_response": self.pan / self.cube,
        }  # fmt: skip
        return dataclasses.replace(optics, **_times(optics, powers))

    def guide(self, number: int, guide: Guide) -> Guide:
        """One of the guides, so multiplied."""
        power = self.guides[number]
        powers = {"image": power, "noise_variance": power**2, "response": power / self.cube}
        return dataclasses.replace(guide, **_times(guide, powers))

    def placed(self, guides: Sequence[PlacedGuide]) -> tuple[PlacedGuide, ...]:
        """The guides of a scene that is read window by window, so multiplied."""
        return tuple(
            dataclasses.replace(
                guide, cube=times(guide.cube, self.guides[number]), template=self.guide(number, guide.template)
            )
            for number, guide in enumerate(guides)
        )


def _times(what: Any, powers: dict[str, float]) -> dict[str, Any]:
    """Those of some values that are told, each times a power."""
    told = {name: getattr(what, name) for name in powers}
    return {name: value * powers[name] for name, value in told.items() if value is not None}


def times(image: Cube, power: float) -> Cube:
    """An image whose values are read times a power; one in physical units."""
    return image if power == 1 else image.replace(data=ScaledSource(as_source(image.data), power))
