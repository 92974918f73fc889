"""``hsi info``: what a file is."""

from pathlib import Path

import click

from hsitools.commands.options import axes_option, emit_json, emit_table, json_option, variable_option


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@variable_option
@axes_option
@json_option
def info(path: Path, variable: str | None, axes: str | None, as_json: bool) -> None:
    """Say what PATH is: its kind, sizes, units and quality."""
    from hsitools.file_kinds import describe
    from hsitools.io import open_cube

    chosen = variable is not None or axes is not None
    facts = open_cube(path, variable=variable, axes=axes).describe() if chosen else describe(path)
    if as_json:
        emit_json(facts)
    else:
        emit_table(facts)


@click.command()
@json_option
def formats(as_json: bool) -> None:
    """List the formats that cubes are read from, and written to."""
    from hsitools.io import known_formats

    listed = known_formats()
    if as_json:
        emit_json(listed)
        return
    for entry in listed:
        written = f"  (written: {', '.join(entry['suffixes'])})" if entry["suffixes"] else ""
        click.echo(f"{entry['name']:<9} {entry['reads']}{written}")
