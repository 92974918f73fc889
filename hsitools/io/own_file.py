"""HDF5 files of our own: each says its format and version, and whatever is wrong with one is told in one line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

from hsitools.errors import FormatError, require_type
from hsitools.io.atomic import atomic_path
from hsitools.io.formats.hdf5 import open_hdf5
from hsitools.io.labels import is_hdf5
from hsitools.io.outputs import check_suffix


def declared_format(path: str | Path) -> str:
    """What an HDF5 file says it is; empty when it says nothing or the path is something else."""
    if not is_hdf5(Path(path)):
        return ""
    import h5py

    with h5py.File(path, "r") as file:
        return str(file.attrs.get("format", ""))


@contextmanager
def new_own(path: str | Path) -> Iterator[Any]:
    """A new HDF5 file that fits in memory: it is made there, and written at once when it is whole.

    HDF5's own writing ends the process where a disk fills up, and leaves its parts behind.

    Raises
    ------
    InputError
        When the name has the suffix of another format, and as of `hsitools.io.atomic.atomic_path`.
    """
    import h5py

    check_suffix(path, "hdf5")
    with atomic_path(path) as temporary:
        with h5py.File(str(temporary), "w", driver="core", backing_store=False) as file:
            yield file
            file.flush()
            image = file.id.get_file_image()
        temporary.write_bytes(image)


#: How HDF5 names what a file lacks.
MISSING = re.compile(r"(?:object|attribute:?) '([^']+)'")
#: What makes a file of the second format of one of the first.
WAYS = {
    ("hsitools-characterization", "hsitools-sensor"): "hsi sensor from",
    ("hsitools-frames", "hsitools-capture"): "hsi capture extract",
}


def _way_on(declared: Any, expected: str) -> str:
    way = WAYS.get((str(declared), expected))
    return f" ({way} makes one of it)" if way else ""


@contextmanager
def open_own(path: str | Path, format_name: str, version: int, kind: str, *, also: str = "") -> Iterator[Any]:
    """An open file of one of our formats.

    Parameters
    ----------
    path : path
    format_name : str
        Its attribute ``format``.
    version : int
        The newest that this toolbox reads.
    kind : str
        What it is, for messages: ``"a sensor"``.
    also : str
        What else than a file may stand there: ``"folder"``.

    Raises
    ------
    FormatError
        When there is no such file, it is of another format or of a newer version, or a member is missing, the latter
        also while the caller reads from it.
    """
    require_type(path, (str, PathLike), "path", f"that of {kind}")
    place = f"file or {also}" if also else "file"
    try:
        with open_hdf5(path) as file:
            declared = file.attrs.get("format")
            if declared != format_name:
                shown = (
                    f"none (a file of another kind; `hsi info {path}` says of which)"
                    if declared is None
                    else repr(declared)
                )
                raise FormatError(
                    f"{path}: format: found {shown}, expected {format_name!r}{_way_on(declared, format_name)}"
                )
            if not file.attrs["version"] <= version:
                raise FormatError(
                    f"{path}: version: found {file.attrs['version']}, expected {version} or less; update hsitools"
                )
            yield file
    except FileNotFoundError:
        raise FormatError(f"{path}: found no such {place}, expected {kind}") from None
    except KeyError as error:
        # HDF5 tells the name between words of its own
        named = MISSING.search(str(error.args[0]))
        said = f"{named[1]}: missing, expected in {kind}" if named else f"expected {kind}; {error.args[0]}"
        raise FormatError(f"{path}: {said}") from None
    except OSError as error:
        raise FormatError(f"{path}: expected {kind} (HDF5); {' '.join(str(error).split())}") from None
