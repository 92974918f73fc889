"""The registry of fusion methods: each is a decorated function with its name, family, paper and what it needs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from hsitools.cube import Cube
from hsitools.errors import InputError
from hsitools.lookup import lookup

#: In the order in which tables list them.
FAMILIES = (
    "baseline", "component substitution", "multiresolution", "model-based", "supervised net", "zero-shot net", "ours",
)  # fmt: skip


#: What a method takes for a tile unless it says otherwise: what nets were measured to take, 12.5, and two more that
#: wait for the writer. What methods say is the peak of torch's own count over statistics and result, whatever holes and
#: MTFs, one more for the writer, and some margin.
HELD = 15


class Posterior(NamedTuple):
    """What a method that has error bars gives when it is asked for them: both through `Scene.map`.

    ``std`` is the standard deviation of each voxel's error, in the cube's units.
    """

    estimate: Any
    std: Any


class Fused(NamedTuple):
    """A fused cube, and the standard deviation of its voxels' errors where that was asked for.

    Both are computed where they are read or saved. An interval of 1.96 standard deviations either way is meant to hold
    95 % of the errors. Bands that no method sees have none: NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from hsitools import Cube
    >>> Fused(estimate=Cube(data=np.ones((2, 4, 4))), std=None).estimate.shape
    (2, 4, 4)
    """

    estimate: Cube
    std: Cube | None


@dataclass(frozen=True, kw_only=True)
class Method:
    """An entry of the registry.

    Attributes
    ----------
    name, family, paper : str
    function : callable
        Takes a `Scene` (and keyword options of its own) and gives the fused cube through `Scene.map`.
    trained : bool
        Needs weights trained beforehand.
    tiled : bool
        Uses nothing but `Scene.sum` and `Scene.map`, so that any scene can be fused in bounded memory.
    consistent : bool
        Claims that its result, seen through the sensor, is the cube that it was given.
    batched : bool
        Fuses a batch at once; else it is given one cube at a time.
    halo : int
        Coarse pixels of surroundings that a tile needs for its result to be that of the whole, at any ratio.
    reach : (int, int), optional
        Coarse and fine pixels of which the sum is enough, too: fewer coarse ones where the ratio is large.
    held : int
        What it takes for a tile, in cubes of the tile on the fine grid with surroundings: tiles are as large as memory
        allows.
    images : int
        What it takes beside, in images of one band, however many bands there are.
    own : int
        The same in cubes of the tile's own pixels: the result, and those that wait for the writer; none where tiles are
        a `Mixture`.
    std_held, std_images : int
        As ``held`` and ``images``, beside them, where the standard deviation is asked for too.

    Examples
    --------
    >>> from pansharpen import list_methods
    >>> first = list_methods()[0]
    >>> first.name, first.family, first.trained
    ('EXP', 'baseline', False)
    """

    name: str
    family: str
    paper: str
    function: Callable[..., Any]
    trained: bool = False
    tiled: bool = True
    consistent: bool = False
    batched: bool = True
    halo: int = 12
    reach: tuple[int, int] | None = None
    held: int = HELD
    images: int = 0
    own: int = 0
    std_held: int = HELD
    std_images: int = 0

    def halo_at(self, ratio: int) -> int:
        """Coarse pixels of surroundings at a ratio.

        Examples
        --------
        >>> from pansharpen.registry import get
        >>> [get("physics").halo_at(ratio) for ratio in (2, 3, 6)], get("GSA").halo_at(6)
        ([24, 24, 20], 12)
        """
        return self.halo if self.reach is None else min(self.halo, self.reach[0] + -(-self.reach[1] // ratio))

    @property
    def has_std(self) -> bool:
        """Whether it knows the standard deviation of its result: its function takes ``std``, and gives a `Posterior`.

        Examples
        --------
        >>> from pansharpen import list_methods
        >>> [entry.name for entry in list_methods() if entry.has_std]
        ['physics']
        """
        return "std" in inspect.signature(self.function).parameters

    def check(self, *, std: bool = False, weights: Any = None) -> None:
        """Raise `InputError` when error bars are asked for that the method has not, or it is given weights for nothing.

        To be called before anything is read: taking noise off a cube, and gathering statistics, take their time.
        """
        if weights is not None and not self.trained:
            raise InputError(f"{self.name}: weights: found {weights}, expected none: the method is not trained")
        if std and not self.has_std:
            able = ", ".join(entry.name for entry in METHODS.values() if entry.has_std)
            raise InputError(f"{self.name}: std: the method has no error bars, expected one of: {able}")

    @property
    def summary(self) -> str:
        """First line of the function's documentation."""
        return (self.function.__doc__ or "").strip().partition("\n")[0]


METHODS: dict[str, Method] = {}


def method(
    name: str,
    *,
    family: str,
    paper: str,
    trained: bool = False,
    tiled: bool = True,
    consistent: bool = False,
    batched: bool = True,
    halo: int = 12,
    reach: tuple[int, int] | None = None,
    held: int = HELD,
    images: int = 0,
    own: int = 0,
    std_held: int = HELD,
    std_images: int = 0,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function as a fusion method.

    Examples
    --------
    >>> from pansharpen.registry import METHODS
    >>> @method("Interpolated", family="baseline", paper="an example")
    ... def interpolated(scene):
    ...     '''The cube on PAN's grid.'''
    ...     return scene.map(lambda tile: tile.expanded)
    >>> METHODS.pop("Interpolated").summary  # and forgotten again
    "The cube on PAN's grid."
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        assert name not in METHODS
        assert family in FAMILIES
        METHODS[name] = Method(
            name=name, family=family, paper=paper, function=function, trained=trained, tiled=tiled,
            consistent=consistent, batched=batched, halo=halo, reach=reach, held=held, images=images, own=own,
            std_held=std_held, std_images=std_images,
        )  # fmt: skip
        return function

    return register


def get(name: str) -> Method:
    """The method of that name (any case); raises `InputError` with the nearest name when there is none."""
    return lookup(name, METHODS, "method")


def names(family: str | None = None) -> list[str]:
    """Names in the order of `FAMILIES`, of one family or all."""
    chosen = [entry for entry in METHODS.values() if family in (None, entry.family)]
    return [entry.name for entry in sorted(chosen, key=lambda entry: FAMILIES.index(entry.family))]
