"""Hyperspectral pansharpening: a cube and a panchromatic image become one sharp cube, by many methods compared fairly.

`fuse` does it, `list_methods` says by what. Names are loaded when they are first used.
"""

from typing import TYPE_CHECKING

from hsitools.front_door import lazy_names

if TYPE_CHECKING:
    from pansharpen.case import FusionCase as FusionCase
    from pansharpen.comparison.judging import judge as judge
    from pansharpen.cubes import fuse as fuse
    from pansharpen.cubes import list_methods as list_methods
    from pansharpen.optics import Optics as Optics
    from pansharpen.pair.wald import real_case as real_case
    from pansharpen.pair.wald import simulated_case as simulated_case
    from pansharpen.registry import Method as Method
    from pansharpen.registry import method as method
    from pansharpen.tiled import Fused as Fused

_HOMES = {
    "fuse": "pansharpen.cubes", "list_methods": "pansharpen.cubes", "Method": "pansharpen.registry",
    "method": "pansharpen.registry", "Fused": "pansharpen.tiled", "FusionCase": "pansharpen.case",
    "Optics": "pansharpen.optics",
    "simulated_case": "pansharpen.pair.wald", "real_case": "pansharpen.pair.wald",
    "judge": "pansharpen.comparison.judging",
}  # fmt: skip
__all__ = list(_HOMES)
if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)
