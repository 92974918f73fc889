"""Values as plain data for JSON, and as words for people."""

from __future__ import annotations

import codecs
import math
from pathlib import Path
from typing import Any

#: Marks at the beginning of texts, the longer ones first, as one begins with another.
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip


def decoded(raw: bytes) -> str:
    """A text file that others wrote, in whatever of the usual encodings: Unicode's (by its mark, or UTF-8), Latin-1.

    Examples
    --------
    >>> [decoded("µm".encode(encoding)) for encoding in ("utf-8", "utf-8-sig", "utf-16", "latin-1")]
    ['µm', 'µm', 'µm', 'µm']
    """
    for mark, encoding in MARKS:
        if raw.startswith(mark):
            return raw.decode(encoding, errors="replace")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


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
    """A value for people: six digits, nothing but a dash for what is not known.

    Examples
    --------
    >>> readable({"ratio": 1 / 3, "pan": None, "units": ""})
    'ratio 0.333333, pan –, units –'
    """
    value = plain(value)
    if isinstance(value, list):
        return f"[{', '.join(readable(item) for item in value)}]"
    if isinstance(value, dict):
        return ", ".join(f"{key} {readable(item)}" for key, item in value.items())
    return f"{value:.6g}" if isinstance(value, float) else "–" if value is None else str(value) or "–"
