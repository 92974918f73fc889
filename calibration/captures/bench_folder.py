"""What a bench has left: raw frames, a capture or a characterization, by itself or in a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calibration import characterization
from calibration.captures import capture, frames
from hsitools.errors import FormatError, InputError
from hsitools.io.labels import strange

#: Kinds of files, in the order in which they are made.
FRAMES, CAPTURE, CHARACTERIZATION = "raw frames", "monochromatic capture", "characterization"


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A file (or folder of arrays) and which kind it is."""

    path: Path
    kind: str


def open_bench(path: str | Path) -> Bench:
    """Say what a path is; of a folder the one file that is something.

    Raises
    ------
    FormatError
        When nothing of a bench is there.
    InputError
        When a folder holds several.
    """
    path = Path(path)
    expected = f"expected {FRAMES} (HDF5), a {CAPTURE}, a folder of either, or a {CHARACTERIZATION}"
    if not path.exists():
        raise FormatError(f"{path}: bench: found no such file or folder, {expected}")
    kind = _kind(path)
    if kind is not None:
        return Bench(path=path, kind=kind)
    if not path.is_dir():
        raise FormatError(f"{path}: bench: found {strange(path) or 'another kind of file'}, {expected}")
    inside = [(file, _kind(file)) for file in sorted(path.iterdir()) if not file.name.startswith(".")]
    benches = [Bench(path=file, kind=what) for file, what in inside if what is not None]
    if not benches:
        raise FormatError(f"{path}: bench: found none of its files to be one, {expected}")
    if len(benches) > 1:
        names = ", ".join(f"{bench.path.name} ({bench.kind})" for bench in benches)
        raise InputError(f"{path}: bench: found {names}, expected one of them: name the file itself")
    return benches[0]


def _kind(path: Path) -> str | None:
    kinds: dict[str, Callable[[Path], dict[str, Any] | None]] = {
        CHARACTERIZATION: characterization.describe, CAPTURE: capture.describe, FRAMES: _frames,
    }  # fmt: skip
    for kind, describe in kinds.items():
        if path.is_dir() and kind != CAPTURE:
            continue
        try:
            described = describe(path)
        except OSError as error:
            raise FormatError(f"{path}: bench: cannot be read; {' '.join(str(error).split())}") from None
        if described is not None:
            return kind
    return None


def _frames(path: Path) -> dict[str, Any] | None:
    """As `frames.describe`, but frames without lines are a scene's, not the bench's."""
    described = frames.describe(path)
    return described if described is not None and "n_lines" in described else None
