"""``hsi info``: what a file is."""

from pathlib import Path

import click

from hsitools.options import emit_json, emit_table, json_option


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@json_option
def info(path: Path, as_json: bool) -> None:
    """Say what PATH is: its kind, sizes, units and quality."""
    from hsitools.formats import describe

    found = describe(path)
    if as_json:
        emit_json(found)
    else:
        emit_table(found)
