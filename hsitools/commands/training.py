"""Options and habits that the `train` commands share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from hsitools.commands.options import device_option
from hsitools.commands.outputs import OutputFolder
from hsitools.errors import InputError

Command = TypeVar("Command", bound=Callable[..., Any])

out_option = click.option("--out", "-o", type=OutputFolder(), required=True, help="Folder for weights and curves.")
_resume_option = click.option(
    "--resume/--no-resume", default=True, help="Go on from the checkpoint in the folder  [default: resume]."
)


def _seed(_context: click.Context, _parameter: click.Parameter, seed: int) -> int:
    if seed < 0:
        raise InputError(f"seed: found {seed}, expected a whole number of at least 0")
    return seed


def training_options(seed_of: str) -> Callable[[Command], Command]:
    """``--seed``, ``--resume`` and ``--device``; ``seed_of`` says what is drawn."""

    def decorate(command: Command) -> Command:
        seed = click.option("--seed", type=int, default=0, show_default=True, help=f"Of {seed_of}.", callback=_seed)
        return seed(_resume_option(device_option(command)))

    return decorate


def typed(command: str) -> str:
    """The command as it was typed, for cards, from its name's last word on."""
    word = command.split()[-1]
    arguments = sys.argv[sys.argv.index(word) + 1 :] if word in sys.argv else []
    return " ".join([command, *arguments])


def is_first_process() -> bool:
    """Whether this one of torchrun's processes is to print the result."""
    return int(os.environ.get("RANK", "0")) == 0
