"""What is found of a scene and said once, though a scene may be looked at several times."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def is_news(found: Mapping[str, Any], findings: dict[str, Any], key: str) -> bool:
    """Put what was found into the findings of a scene under a key; False where that is nothing, or stood there before.

    Examples
    --------
    >>> findings = {}
    >>> [is_news({"pan": 2}, findings, "clipped"), is_news({"pan": 2}, findings, "clipped"), findings]
    [True, False, {'clipped': {'pan': 2}}]
    """
    if not found or findings.get(key) == found:
        return False
    findings[key] = dict(found)
    return True
