"""Options and output that every sub-command shares."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import click

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")


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


def emit_json(document: Any) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(plain(document), indent=2, allow_nan=False, ensure_ascii=False))


def emit_table(document: dict[str, Any]) -> None:
    """Print aligned ``name  value`` lines."""
    width = max((len(name) for name in document), default=0)
    for name, value in document.items():
        value = plain(value)
        text = f"{value:.6g}" if isinstance(value, float) else "–" if value is None else str(value)
        click.echo(f"{name:<{width}}  {text}")
