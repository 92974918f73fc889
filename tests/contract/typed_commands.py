"""All commands below a group of click."""

import click


def commands(command, names=()):
    """All commands that can be typed, by their whole name."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from commands(command.get_command(context, name), (*names, name))
    else:
        yield " ".join(names), command
