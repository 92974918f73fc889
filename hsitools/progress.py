"""How far a long computation is: what every function that takes long tells its caller."""

from __future__ import annotations

from collections.abc import Callable

#: Called with (steps done, steps in all) after each step.
Progress = Callable[[int, int], None]


def silent(done: int, total: int) -> None:
    """Tell nobody."""
