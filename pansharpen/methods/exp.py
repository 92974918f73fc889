"""EXP: interpolation only."""

from __future__ import annotations

from typing import Any

from pansharpen.case import Scene
from pansharpen.registry import method


@method(
    "EXP", family="baseline", held=3, images=20,
    paper="B. Aiazzi et al., IEEE TGRS 40(10), 2002 (the interpolation filter)",
)  # fmt: skip
def exp(scene: Scene) -> Any:
    """The cube interpolated to the fine grid; what every method must beat."""
    return scene.map(lambda tile: tile.expanded)
