"""The directive ``command-help``: a section for each ``hsi`` command with what its ``--help`` prints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

from hsitools.commands.root import hsi

logger = logging.getLogger(__name__)
#: Columns of a help text: what fits beside both side bars.
WIDTH = 74


def leaves(command: click.Command, context: click.Context) -> Iterator[tuple[click.Context, click.Command]]:
    """The command, and all commands below it, in the order in which its help lists them."""
    yield context, command
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner is not None and not inner.hidden:
                below = click.Context(
                    inner, info_name=name, parent=context, terminal_width=WIDTH, max_content_width=WIDTH
                )  # fmt: skip
                yield from leaves(inner, below)


class CommandHelp(SphinxDirective):
    """One section for each command; the root's own is first."""

    def run(self) -> list[nodes.Node]:
        """Sections with a literal block each."""
        root = click.Context(hsi, info_name="hsi", terminal_width=WIDTH, max_content_width=WIDTH)
        out: list[nodes.Node] = []
        for context, command in leaves(hsi, root):
            if (command.help or "").startswith("(not available"):
                logger.warning("%s: %s", context.command_path, command.help)
            section = nodes.section(ids=[context.command_path.replace(" ", "-")])
            section += nodes.title(text=context.command_path)
            section += nodes.literal_block(text=command.get_help(context), language="text")
            self.state.document.note_explicit_target(section, section)
            out.append(section)
        return out


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directive."""
    app.add_directive("command-help", CommandHelp)
    return {"parallel_read_safe": True}
