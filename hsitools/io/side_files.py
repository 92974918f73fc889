"""Files that a run wrote beside an output (error bars, masks) go when another run writes that output without them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from hsitools.errors import HsiError
from hsitools.io.atomic import remove
from hsitools.io.outputs import beside, files_of

#: What is written beside cubes, whatever the command.
PARTS = ("_std", "_mask", "_structure", "_common.csv")
#: What says in a cube that a method of ours made it.
MAKERS = ("denoised_by", "pansharpened_by", "inverted_by")


class SideFiles:
    """Files beside an output that a run finds there before it begins.

    Parameters
    ----------
    out : Path
        The output.
    inputs : iterable of Path
        Files that the run reads: they stay.
    """

    def __init__(self, out: Path, inputs: Iterable[Path] = ()) -> None:
        spared = {path.resolve() for path in inputs}
        files = [file for file in (beside(out, part) for part in PARTS) if file.exists()]
        self._before = {file: _state(file) for file in files if file.resolve() not in spared}
        pixels = _pixels_if_ours(out) if self._before else None
        self._ours = {file for file in self._before if pixels is not None and _goes_with(file, pixels)}

    def remove_stale(self) -> tuple[list[Path], list[Path]]:
        """Files that the run did not write: those that went, as the former output's own, and those left in place."""
        stale = [file for file, state in self._before.items() if file.exists() and _state(file) == state]
        gone = [file for file in stale if file in self._ours]
        for file in gone:
            for part in files_of(file):
                remove(part)
        return gone, [file for file in stale if file not in self._ours]


def _state(file: Path) -> tuple[int, int, int]:
    """What changes when a file is written: outputs are new files that take the name."""
    status = file.stat()
    return status.st_ino, status.st_mtime_ns, status.st_size


def _pixels_if_ours(out: Path) -> tuple[int, ...] | None:
    """Rows and columns of a cube that a method of ours made; None where there is no such cube."""
    from hsitools.io import open_cube

    try:
        cube = open_cube(out)
    except (HsiError, OSError):
        return None
    return cube.shape[1:] if any(cube.meta.get(maker) for maker in MAKERS) else None


def _goes_with(file: Path, pixels: tuple[int, ...]) -> bool:
    """Whether a file of such a name can be of the run that made a cube of these rows and columns."""
    from hsitools.io import open_cube

    try:
        if file.suffix == ".csv":
            with open(file, encoding="utf-8") as table:
                return table.readline().startswith("wavelength_nm,factor_0")
        return open_cube(file).shape[1:] == pixels
    except (HsiError, OSError, UnicodeDecodeError):
        return False
