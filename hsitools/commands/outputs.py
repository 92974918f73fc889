"""Types of options that name what a command writes, and the command that looks at them before it begins."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import click


class Output(click.Path):
    """A file or a folder to write."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """As click, but for the empty name that a shell makes of a variable that is not set: it is no folder."""
        if value == "":
            self.fail("found '', expected a name", param, ctx)
        return super().convert(value, param, ctx)


class OutputFile(Output):
    """A file to write.

    Parameters
    ----------
    kind : str
        What is in it, and so what its name may end in: ``cube``, or one of `hsitools.io.outputs.SUFFIXES`.
    parts : str
        What else is written beside it: ``_std``, ``_common.csv``.
    folder_with : str, optional
        Parameter beside which it is a folder.
    """

    def __init__(self, kind: str, *parts: str, folder_with: str | None = None) -> None:
        super().__init__()
        self.kind, self.parts, self.folder_with = kind, parts, folder_with

    def check(self, path: Path, parameters: dict[str, Any]) -> list[Path]:
        """The files that will be written; raises `InputError` where they cannot be."""
        from hsitools.io.outputs import beside, check_file, check_folder, check_suffix

        if self.folder_with is not None and parameters.get(self.folder_with):
            check_folder(path)
            return []
        check_suffix(path, self.kind)
        check_file(path)
        return [path, *(beside(path, part) for part in self.parts)]

    def has_parts(self, parameters: dict[str, Any]) -> bool:
        """Whether the command writes something beside it."""
        return bool(self.parts) and not (self.folder_with is not None and parameters.get(self.folder_with))


class OutputFolder(Output):
    """A folder to write into, made if need be."""

    def check(self, path: Path, parameters: dict[str, Any]) -> list[Path]:
        """No file that has to be spared; raises `InputError` where there can be no such folder."""
        from hsitools.io.outputs import check_folder

        check_folder(path)
        return []

    def has_parts(self, parameters: dict[str, Any]) -> bool:
        """No file beside a folder is of its run."""
        return False


def spare_inputs(command: click.Command) -> click.Command:
    """The command, or group with all of its commands, that looks at its outputs before it begins."""
    for below in getattr(command, "commands", {}).values():
        spare_inputs(below)
    if command.callback is not None and not isinstance(command.callback, _Spared):
        command.callback = _Spared(command)
    return command


class _Spared:
    """A command's function behind the check of its outputs: that they can be written, and over no input."""

    def __init__(self, command: click.Command) -> None:
        function: Any = command.callback
        self.function = function
        self.outputs: dict[str | None, tuple[OutputFile | OutputFolder, str]] = {
            parameter.name: (parameter.type, parameter.opts[-1])
            for parameter in command.params
            if isinstance(parameter.type, OutputFile | OutputFolder)
        }
        functools.update_wrapper(self, function)

    def __call__(self, *arguments: Any, **parameters: Any) -> Any:
        if not self.outputs:
            return self.function(*arguments, **parameters)
        inputs = self._inputs(parameters)
        self._check(parameters, inputs)
        from hsitools.io.side_files import SideFiles

        before = [
            SideFiles(parameters[name], map(Path, inputs))
            for name, (kind, _) in self.outputs.items()
            if name is not None and parameters.get(name) is not None and kind.has_parts(parameters)
        ]
        done = self.function(*arguments, **parameters)
        for side_files in before:
            removed, others = side_files.remove_stale()
            for file in removed:
                click.echo(f"hsi: note: {file}: removed, it was of the cube that was written over", err=True)
            for file in others:
                click.echo(f"hsi: note: {file}: was there before, and is not of this run", err=True)
        return done

    def _inputs(self, parameters: dict[str, Any]) -> list[str | Path]:
        """Whatever may be the name of a file that is read."""
        return [
            path
            for name, value in parameters.items()
            if name not in self.outputs
            for path in (value if isinstance(value, tuple) else (value,))
            if isinstance(path, (str, Path))
        ]

    def _check(self, parameters: dict[str, Any], inputs: list[str | Path]) -> None:
        from hsitools.io.outputs import refuse_inputs

        written = {
            option if option.startswith("-") else option.upper(): kind.check(parameters[name], parameters)
            for name, (kind, option) in self.outputs.items()
            if name is not None and parameters.get(name) is not None
        }
        refuse_inputs(written, inputs)
