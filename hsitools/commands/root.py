"""The ``hsi`` command: a group whose sub-commands come from entry points, one file each."""

from __future__ import annotations

import _thread
import difflib
import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import click

from hsitools import __version__
from hsitools.commands.outputs import spare_inputs
from hsitools.errors import HsiError, no_room

COMMANDS = "hsitools.commands"


class Terminated(KeyboardInterrupt):
    """Another program asked this one to end, as schedulers do: what was begun is cleared away as by Ctrl-C."""


class Interrupted(Exception):
    """The user, or another program, stopped a command."""


def _terminate(number: int, frame: Any) -> None:
    raise Terminated


@contextmanager
def _orderly_end() -> Iterator[None]:
    """Meanwhile SIGTERM ends the command as Ctrl-C does, where nobody else handles it."""
    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    unraisable = sys.unraisablehook
    if ours:
        signal.signal(signal.SIGTERM, _terminate)
        sys.unraisablehook = _tell_anew
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            sys.unraisablehook = unraisable


def _tell_anew(unraisable: Any) -> None:
    """Python drops what is raised within callbacks of its own (of weak references): an interrupt is told once more."""
    stopped = unraisable.exc_value
    if not isinstance(stopped, KeyboardInterrupt):
        return sys.__unraisablehook__(unraisable)
    number = signal.SIGTERM if isinstance(stopped, Terminated) else signal.SIGINT
    # a little later, by when the callback has ended
    threading.Timer(0.05, _thread.interrupt_main, (number,)).start()
    return None


def _terminate_at_once() -> None:
    """In processes that are forked off: they are ended from here, and have nothing of their own to clear away."""
    if signal.getsignal(signal.SIGTERM) is _terminate:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_terminate_at_once)


class EntryPointGroup(click.Group):
    """Sub-commands from the entry-point group ``hsitools.commands``, loaded only when needed."""

    def _points(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=COMMANDS)}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all installed sub-commands."""
        return sorted(self._points())

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Load one sub-command; one that cannot be imported says so instead of breaking the others."""
        point = self._points().get(name)
        if point is None:
            return None
        try:
            command: click.Command = point.load()
        except Exception as error:
            return _broken(name, error)
        return spare_inputs(command)

    def invoke(self, ctx: click.Context) -> Any:
        """As click, which would print an empty line when the user interrupts."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stopped:
            raise Interrupted from stopped

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click, with the nearest name when there is no such command."""
        if args and args[0] not in self._points() and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; expected one of {', '.join(self.list_commands(ctx))}"
            raise click.UsageError(f"no such command {args[0]!r}{hint}")
        return super().resolve_command(ctx, args)


def _broken(name: str, error: Exception) -> click.Command:
    @click.command(name, help=f"(not available: {error})", context_settings={"ignore_unknown_options": True})
    @click.argument("rest", nargs=-1)
    def command(rest: tuple[str, ...]) -> None:
        raise HsiError(f"{name}: not available: {error}") from error

    return command


class Once(logging.Filter):
    """Lets a line pass once: what is opened, or looked at, in two steps of a command is said in the first."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[tuple[int, str]] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether nobody has said this at this level."""
        line = record.levelno, record.getMessage()
        new = line not in self._said
        self._said.add(line)
        return new


@click.group(cls=EntryPointGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="hsi")
@click.option("-v", "--verbose", count=True, help="Say more (-vv: debug and tracebacks).")
@click.option("-q", "--quiet", is_flag=True, help="Say only errors.")
def hsi(verbose: int, quiet: bool) -> None:
    """Hyperspectral instruments: calibrate, model, fuse, denoise."""
    level = logging.ERROR if quiet else (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    logging.basicConfig(level=level, format="hsi: %(levelname)s: %(message)s", stream=sys.stderr, force=True)
    for handler in logging.getLogger().handlers:
        handler.addFilter(Once())
    # debug is for our own rooms, not for every library beneath
    for name in ("matplotlib", "h5py", "PIL"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # what GDAL doubts of a damaged file's tags is several lines before the one that counts
    logging.getLogger("rasterio").setLevel(logging.DEBUG if verbose > 1 else logging.ERROR)


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; errors are one line on standard error, exit code 2 (1 for a fault of ours)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    # threads that spin for long while they wait stand still where somebody else has one of the processors: beside one
    # busy process fusion took a hundred times as long; so many turns cost nothing without (read when torch is loaded)
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    # a letter that a terminal does not know is no fault
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        with _orderly_end():
            code = hsi.main(args=arguments, prog_name="hsi", standalone_mode=False)
    except click.exceptions.Exit as done:
        code = done.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        code = 2
    except click.ClickException as error:
        click.echo(f"hsi: error: {' '.join(error.format_message().split())}", err=True)
        code = 2
    except HsiError as error:
        # libraries beneath, HDF5 for one, say things in several lines
        click.echo(f"hsi: error: {' '.join(str(error).split())}", err=True)
        code = 2
    except (Interrupted, KeyboardInterrupt, click.Abort) as stopped:
        asked = isinstance(stopped, Terminated) or isinstance(stopped.__cause__, Terminated)
        click.echo("hsi: terminated" if asked else "hsi: interrupted", err=True)
        code = 143 if asked else 130
    except BrokenPipeError:
        # the reader of our output went away, as with `| head`
        sys.stderr.close()
        code = 0
    except Exception as error:
        words = no_room(error)
        if words is not None:
            # of scratch files and standard output, which have no name for the user
            click.echo(f"hsi: error: output: cannot be written ({words})", err=True)
            sys.exit(2)
        if any(a.startswith("-v") for a in arguments):
            raise
        click.echo(f"hsi: internal error: {type(error).__name__}: {error} (run with -v for the traceback)", err=True)
        code = 1
    sys.exit(code if isinstance(code, int) else 0)
