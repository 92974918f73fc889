"""``hsi pansharpen``: the zoo from the command line."""

from __future__ import annotations

from typing import Any

import click

from hsitools.options import emit_json, json_option


@click.group()
def pansharpen() -> None:
    """Fuse hyperspectral cubes with panchromatic images; compare methods; train nets."""


@pansharpen.command("list")
@json_option
def list_methods(as_json: bool) -> None:
    """Methods: family, what they need, paper."""
    import pansharpen.fuse  # noqa: F401  (registers them)
    from pansharpen.registry import METHODS, names

    rows: list[dict[str, Any]] = [
        {
            "name": entry.name, "family": entry.family, "needs_training": entry.trained, "any_band_count": True,
            "tiled": entry.tiled, "summary": entry.summary, "paper": entry.paper,
        }
        for entry in (METHODS[name] for name in names())
    ]  # fmt: skip
    if as_json:
        return emit_json(rows)
    width = max(len(row["name"]) for row in rows)
    family = None
    for row in rows:
        if row["family"] != family:
            family = row["family"]
            click.echo(f"{family}:")
        marks = [text for text, on in (("trained", row["needs_training"]), ("tiled", row["tiled"])) if on]
        click.echo(f"  {row['name']:<{width}}  {row['summary']}" + (f" [{', '.join(marks)}]" if marks else ""))
        click.echo(f"  {'':<{width}}  {row['paper']}")
    click.echo("every method takes any number of bands and any whole ratio; trained nets need weights for their sensor")
