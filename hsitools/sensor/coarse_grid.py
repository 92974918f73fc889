"""Where coarse pixels lie on a fine grid: pixel k at ``offset + ratio·k``."""

from __future__ import annotations

from typing import Any

from hsitools.errors import InputError


def check_ratio(ratio: Any, who: str = "") -> int:
    """A whole ratio of at least one, or an `InputError`."""
    if int(ratio) != ratio or ratio < 1:
        raise InputError(f"{who}ratio: found {ratio}, expected a whole number of at least 1")
    return int(ratio)


def centred_offset(ratio: int) -> float:
    """Where a detector pixel that covers ``ratio`` fine pixels has its centre."""
    return (ratio - 1) / 2


def check_offset(ratio: int, offset: float | None, who: str = "") -> float:
    """The offset as a number, the detector's centre by default.

    Raises `InputError` outside the first coarse pixel, whose fine pixels are 0 to ratio − 1: beyond it the last sample
    would lie outside the image.
    """
    offset = centred_offset(ratio) if offset is None else float(offset)
    if not 0 <= offset <= ratio - 1:
        raise InputError(f"{who}offset: found {offset:g}, expected 0 to {ratio - 1} at ratio {ratio}")
    return offset
