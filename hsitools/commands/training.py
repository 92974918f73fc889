"""Options and habits that the `train` commands share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import click

from hsitools.commands.options import Command, device_option, out_option, seed_option
from hsitools.commands.outputs import OutputFolder

weights_out_option = out_option(OutputFolder(), "Folder for weights and curves.", required=True)
_resume_option = click.option(
    "--resume/--no-resume", default=True, help="Go on from the checkpoint in the folder  [default: resume]."
)


def training_options(seed_of: str) -> Callable[[Command], Command]:
    """``--seed``, ``--resume`` and ``--device``; ``seed_of`` says what is drawn."""

    def decorate(command: Command) -> Command:
        return seed_option(f"Of {seed_of}.")(_resume_option(device_option(command)))

    return decorate


def typed(command: str) -> str:
    """The command as it was typed, for cards, from its name's last word on."""
    word = command.split()[-1]
    arguments = sys.argv[sys.argv.index(word) + 1 :] if word in sys.argv else []
    return " ".join([command, *arguments])


def is_first_process() -> bool:
    """Whether this one of torchrun's processes is to print the result."""
    return int(os.environ.get("RANK", "0")) == 0
