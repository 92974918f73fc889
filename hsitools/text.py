"""Values as plain data for JSON, and as words for people."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any


def plain(value: Any) -> Any:
    """Numbers, lists and dicts that JSON knows; NaN and infinities become null."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def counted(number: Any, thing: str) -> str:
    """``1 band``, ``2 bands``; of things whose plural ends in s."""
    return f"{number} {thing}" + ("" if number == 1 else "s")


def readable(value: Any) -> str:
    """A value for people: six digits, nothing but a dash for what is not known."""
    value = plain(value)
    if isinstance(value, list):
        return f"[{', '.join(readable(item) for item in value)}]"
    if isinstance(value, dict):
        return ", ".join(f"{key} {readable(item)}" for key, item in value.items())
    return f"{value:.6g}" if isinstance(value, float) else "–" if value is None else str(value)
