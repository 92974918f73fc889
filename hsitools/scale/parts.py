"""The folder of a run's finished parts beside its output, and whose it is."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from hsitools.errors import InputError
from hsitools.io.atomic import atomic_path, unfinished

#: Says whose a folder is.
RUN = "run.json"


def partial_folder(path: Path, key: str) -> Path:
    """Folder of a run's finished parts, beside its output; those of another run are removed."""
    folder = Path(f"{path}.partial")
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not (folder / RUN).is_file()):
        raise InputError(f"{folder}: output: found something else, expected a new name for finished parts")
    try:
        if folder.is_dir():
            try:
                if json.loads((folder / RUN).read_text(encoding="utf-8"))["key"] == key:
                    return folder
            except (OSError, ValueError, KeyError, TypeError):
                pass
            # aside first: tasks of a command that was stopped may still write there
            shutil.rmtree(folder.replace(unfinished(folder)), ignore_errors=True)
        folder.mkdir()
    except OSError as error:
        raise InputError(f"{path}: output: cannot write there ({error.strerror or error})") from None
    with atomic_path(folder / RUN) as temporary:
        temporary.write_text(json.dumps({"key": key}) + "\n", encoding="utf-8")
    return folder


@dataclass(frozen=True)
class Run:
    """The run that a folder of finished parts is of, as its tasks know it.

    A task that was begun is done at a scheduler's workers even when its command was killed; by then the folder may be
    another command's, which would take what it finds there for its own.
    """

    folder: Path
    said: bytes | None

    @classmethod
    def of(cls, folder: Path) -> Run:
        """The run that it is of now."""
        return cls(folder, _said(folder))

    def require(self) -> None:
        """Raise `InputError` where it is another's by now, or gone."""
        if _said(self.folder) != self.said:
            raise InputError(f"{self.folder}: output: another run has begun there, expected one at a time")


def _said(folder: Path) -> bytes | None:
    try:
        return (folder / RUN).read_bytes()
    except OSError:
        return None
