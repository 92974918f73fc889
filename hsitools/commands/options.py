"""Options and output that every sub-command shares."""

from __future__ import annotations

import copy
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from hsitools.errors import InputError
from hsitools.progress import Progress
from hsitools.text import plain, readable

Command = TypeVar("Command", bound=Callable[..., Any])

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")

plugin_option = click.option(
    "--plugin", "plugins", type=click.Path(path_type=Path), multiple=True, metavar="FILE",
    help="Python file that registers methods or indices of yours.",
)  # fmt: skip
workers_option = click.option(
    "--workers", type=click.IntRange(min=1), metavar="N", help="Processes of this machine that share the work (Dask)."
)
scheduler_option = click.option(
    "--scheduler", metavar="ADDRESS", help="Dask scheduler whose workers do it, as tcp://host:8786."
)
device_option = click.option(
    "--device", default="auto", show_default=True, metavar="DEVICE", help="auto (a GPU where there is one), cpu, cuda.",
)  # fmt: skip
cell_device_option = click.option(
    "--device", default="cpu", show_default=True, metavar="DEVICE",
    help="Where methods run: cpu, auto (a GPU where there is one), cuda.",
)  # fmt: skip
variable_option = click.option("--variable", metavar="NAME", help="Which array of the file is the cube.")
dtype_option = click.option(
    "--dtype", type=click.Choice(["int16"]), is_eager=True,
    help="Store values as integers with a scale; the rounding error is said.",
)  # fmt: skip
axes_option = click.option("--axes", metavar="ORDER", help="Order of its axes, as y,x,band.")


def out_option(kind: click.ParamType, what: str, **settings: Any) -> Callable[[Command], Command]:
    """``--out``, also ``-o``: of one kind (`hsitools.commands.outputs`), and what is written there."""
    return click.option("-o", "--out", type=kind, help=what, **settings)


def methods_option(default: str, of: str = "") -> Callable[[Command], Command]:
    """``--methods`` of a benchmark (`hsitools.comparison.plan.chosen_names`)."""
    words = f"{of}names, several or with commas, or all  [default: {default}]."
    return click.option("--methods", multiple=True, metavar="NAMES", help=words[0].upper() + words[1:])


class Seed(click.IntRange):
    """A whole number from 0 on, refused in the words of the functions that take one."""

    def __init__(self) -> None:
        super().__init__(min=0)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """As click; raises `InputError`."""
        try:
            return int(super().convert(value, param, ctx))
        except click.BadParameter:
            raise InputError(f"seed: found {value}, expected a whole number of at least 0") from None


def seed_option(of: str, default: int = 0) -> Callable[[Command], Command]:
    """``--seed``, and what is drawn with it."""
    return click.option("--seed", type=Seed(), default=default, show_default=True, help=of)


#: Seconds that nobody takes for work.
NOTICED = 1.0


class SeveralValues(click.Command):
    """A command some of whose options take several values: ``--cases a b`` is ``--cases a --cases b``."""

    def __init__(self, *arguments: Any, several: tuple[str, ...], **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.several = several

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click, with each value given its option's name."""
        out: list[str] = []
        name = None
        for place, token in enumerate(args):
            if token.startswith("-"):
                name = token.partition("=")[0] if token.partition("=")[0] in self.several else None
                alone = place + 1 == len(args) or args[place + 1].startswith("-")
                if token not in self.several or alone:
                    out.append(token)
            else:
                out += [token] if name is None else [name, token]
        return super().parse_args(ctx, out)


def emit_json(document: Any) -> None:
    """Print one JSON document, in letters that standard output knows."""
    any_letter = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().startswith("utf")
    click.echo(json.dumps(plain(document), indent=2, allow_nan=False, ensure_ascii=not any_letter))


def emit_table(document: dict[str, Any]) -> None:
    """Print aligned ``name  value`` lines."""
    width = max((len(name) for name in document), default=0)
    for name, value in document.items():
        click.echo(f"{name:<{width}}  {_one_line(readable(value))}")


def _one_line(text: str) -> str:
    """An attribute may be a whole table, whose lines would look like names."""
    lines = [" ".join(line.split()) for line in text.splitlines()]
    return "; ".join(line for line in lines if line) if len(lines) > 1 else text


def range_option(_context: click.Context, _parameter: click.Parameter, text: str | None) -> tuple[float, float] | None:
    """``LOW:HIGH`` as two numbers (click callback)."""
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(":"))
    except ValueError:
        raise click.BadParameter(f"found {text!r}, expected LOW:HIGH, as 400:1000") from None
    if not low < high:
        raise click.BadParameter(f"found {text!r}, expected LOW below HIGH")
    return low, high


def scale_option(context: click.Context, _parameter: click.Parameter, text: str) -> float | None:
    """``auto`` (None) or a positive number, beside ``--dtype`` alone (click callback)."""
    if text == "auto":
        return None
    # it is eager, and so there already
    if context.params.get("dtype") is None:
        raise click.UsageError("--scale goes with --dtype")
    try:
        return float(text)
    except ValueError:
        raise click.BadParameter(f"found {text!r}, expected auto or a number, as 1e-4") from None


def refuse_typed(beside: str, *names: str) -> None:
    """Raise a usage error for an option that was typed where it does nothing, instead of ignoring it."""
    context = click.get_current_context()
    for parameter in context.command.params:
        source = context.get_parameter_source(str(parameter.name))
        if parameter.name in names and source is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{parameter.opts[0]} has no effect beside {beside}; leave it out")


step_option = click.option(
    "--scale", default="auto", show_default=True, callback=scale_option, help="Of --dtype: units of a step."
)


def rounding_said(error: float, units: str) -> str:
    """How far integers are from the values that they store."""
    return f"rounded by at most {error:.2g} {'' if units == '1' else units}".rstrip()


def hidden(command: click.Command) -> click.Command:
    """The command to be added by another name too, of which help says nothing."""
    again = copy.copy(command)
    again.hidden = True
    return again


def window_option(_context: click.Context, _parameter: click.Parameter, text: str | None) -> tuple[slice, slice] | None:
    """``Y0:Y1,X0:X1`` as two slices; ends may be left out (click callback)."""
    if text is None:
        return None
    try:
        rows, columns = (
            slice(*(int(end) if end.strip() else None for end in part.split(":"))) for part in text.split(",")
        )
        if ":" not in text.split(",")[0] or ":" not in text.split(",")[1]:
            raise ValueError
    except (ValueError, TypeError):
        raise click.BadParameter(f"found {text!r}, expected Y0:Y1,X0:X1, as 0:512,0:512") from None
    return rows, columns


def whole_name(file_or_preset: str | None) -> str | None:
    """The whole path of a file, for workers who may stand in another folder; a preset's name as it is."""
    if file_or_preset is None or not Path(file_or_preset).is_file():
        return file_or_preset
    return str(Path(file_or_preset).resolve())


@contextmanager
def drawn(what: str) -> Iterator[None]:
    """Says of a page or a figure, which no bar counts, that it is being drawn, and how long that took."""
    began, seen = time.perf_counter(), sys.stderr.isatty()
    if seen:
        click.echo(f"hsi: drawing {what} … ", nl=False, err=True)
    yield
    seconds = time.perf_counter() - began
    if seen:
        click.echo(f"{seconds:.1f} s", err=True)
    elif seconds > NOTICED:
        click.echo(f"hsi: note: {what}: drawn in {seconds:.1f} s", err=True)


@contextmanager
def progress_bar(name: str) -> Iterator[Progress]:
    """A progress callback (done, total) that draws on a terminal and is silent elsewhere."""
    from tqdm import tqdm

    bar = tqdm(desc=name, disable=not sys.stderr.isatty(), leave=False)

    def progress(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    try:
        yield progress
    finally:
        bar.close()
