"""Reading and writing cubes: one small module per format, found by what is in the file.

A format's module has ``can_read(path)`` and ``read(path) -> Cube``; those that write have ``SUFFIXES`` and
``write(cube, path, progress)``. Nothing is loaded until a file is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hsitools.errors import FormatError, HsiError, InputError

if TYPE_CHECKING:
    from hsitools.cube import Cube

#: Who is asked, in this order: products before the general formats that contain them.
READERS = ("prisma", "emit", "matlab", "native", "npz", "enmap", "geotiff", "envi")
WRITERS = ("native", "envi", "geotiff")
Progress = Callable[[int, int], None]


def _module(name: str) -> Any:
    return import_module(f"hsitools.io.{name}")


def _reader(path: Path) -> str | None:
    return next((name for name in READERS if _module(name).can_read(path)), None)


def open_cube(path: str | Path) -> Cube:
    """Open a cube of any known format; values stay on disk until they are read.

    Parameters
    ----------
    path : path
        Our HDF5 / NetCDF-4, PRISMA ``.he5``, EnMAP L2A (image, metadata or folder), ENVI (header or data), EMIT NetCDF,
        MATLAB ``.mat`` (v5, v7.3), GeoTIFF (extra ``geo``) or NumPy ``.npz``.

    Raises
    ------
    FormatError
        When the file is missing, of no known format, damaged, or lacks what its format requires.
    InputError
        When its labels contradict its data.
    """
    path = Path(path)
    if not path.exists():
        raise FormatError(f"{path}: found no such file or folder, expected a cube")
    name = "format"
    try:
        found = _reader(path)
        if found is None:
            raise FormatError(f"{path}: format: found nothing known, expected one of: {', '.join(READERS)}")
        name = found
        cube: Cube = _module(name).read(path)
    except HsiError:
        raise
    except Exception as error:
        # damaged files make the libraries beneath raise nearly anything
        said = " ".join(str(error).split()) or type(error).__name__
        raise FormatError(f"{path}: {name}: cannot be read; {said}") from error
    return cube


def open_cubes(paths: Sequence[str | Path]) -> list[Cube]:
    """Cubes from files and folders (every file in a folder that can be read), sorted by name.

    Raises
    ------
    FormatError
        When a path is missing or unreadable, or a folder holds no cube.
    """
    out: list[Cube] = []
    for path in map(Path, paths):
        if not path.is_dir():
            out.append(open_cube(path))
            continue
        found = []
        for file in sorted(path.iterdir()):
            try:
                found.append(open_cube(file))
            except InputError:
                continue
        if not found:
            raise FormatError(f"{path}: found no cube in this folder, expected some")
        out += found
    return out


def save_cube(cube: Cube, path: str | Path, progress: Progress | None = None) -> None:
    """Write a cube, block by block, in the format that the suffix says; the file appears when it is whole.

    Parameters
    ----------
    cube : Cube
    path : path
        ``.h5``, ``.nc`` (NetCDF-4), ``.hdr`` (ENVI; the data beside it as ``.img``), ``.tif`` (extra ``geo``).
    progress : callable, optional
        Called with (blocks done, blocks in all).

    Raises
    ------
    InputError
        When no format has this suffix, or the file cannot be written.
    """
    path = Path(path)
    suffixes = []
    for name in WRITERS:
        module = _module(name)
        suffixes += module.SUFFIXES
        if path.suffix.lower() in module.SUFFIXES:
            module.write(cube, path, progress or (lambda done, total: None))
            return
    raise InputError(f"{path}: output: found suffix {path.suffix!r}, expected one of {', '.join(suffixes)}")


def describe(path: Path) -> dict[str, Any] | None:
    """What ``hsi info`` says of a cube; None when the file is something else."""
    name = _reader(Path(path))
    if name is None:
        return None
    return {**open_cube(path).describe(), "format": name}
