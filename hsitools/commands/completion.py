"""``hsi completion``: tab completion for the shell."""

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for SHELL.

    For example: eval "$(hsi completion bash)"
    """
    from click.shell_completion import get_completion_class

    from hsitools.commands.root import hsi

    kind = get_completion_class(shell)
    if kind is not None:
        click.echo(kind(hsi, {}, "hsi", "_HSI_COMPLETE").source())
