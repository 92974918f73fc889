"""Reading and writing cubes: one small module per format, found by what is in the file (`hsitools.io.readers`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hsitools.errors import FormatError, HsiError, InputError, require_type
from hsitools.io.labels import is_hdf5, strange
from hsitools.io.outputs import check_suffix
from hsitools.io.readers import all_readers, cube_formats, reader_of
from hsitools.progress import Progress, silent

if TYPE_CHECKING:
    from hsitools.cube import Cube


def open_cube(path: str | Path, *, variable: str | None = None, axes: str | None = None) -> Cube:
    """Open a cube of any known format; values stay on disk until they are read.

    Parameters
    ----------
    path : path
        Our HDF5 / NetCDF-4, any other HDF5, NetCDF (4 and classic) or MATLAB file with a cube in it, PRISMA ``.he5``,
        EnMAP, DESIS (image, metadata or folder), EMIT NetCDF, ENVI (header or data), GeoTIFF (extra ``geo``) or NumPy
        ``.npz``.
    variable : str, optional
        Which array is the cube, for files that hold several (HDF5, NetCDF, MATLAB).
    axes : str, optional
        Order of its axes, as ``"y,x,band"``, for files that do not name them.

    Raises
    ------
    FormatError
        When the file is missing, of no known format, damaged, or lacks what its format requires.
    InputError
        When its labels contradict its data, or it does not tell which array is the cube, or how its axes lie.

    Examples
    --------
    >>> from hsitools import save_cube, scene
    >>> save_cube(scene((16, 16), seed=0), "scene.h5")
    >>> cube = open_cube("scene.h5")
    >>> cube.select(window=(0, 4, 0, 8)).read().shape[1:]
    (4, 8)
    """
    require_type(path, (str, PathLike), "path", "the path of one cube (open_cubes takes several)")
    path = Path(path)
    found = strange(path) or ("no such file or folder" if not path.exists() else None)
    if found is not None:
        raise FormatError(f"{path}: found {found}, expected a cube")
    choice = {key: value for key, value in (("variable", variable), ("axes", axes)) if value is not None}
    with _said(path, "format"):
        name = reader_of(path)
        if name is None and variable is not None:
            from hsitools.io.formats import npz

            name = "hdf5" if is_hdf5(path) else "npz" if npz.holds_arrays(path) else None
        if name is None:
            what = "nothing known (a folder)" if path.is_dir() else "nothing known"
            raise FormatError(
                f"{path}: format: found {what}{_inside(path)}, expected a cube ('hsi formats' lists the kinds, "
                "'hsi info' says what else a file may be)"
            )
    read = all_readers()[name].read
    if choice and "axes" not in signature(read).parameters:
        raise InputError(f"{path}: --{next(iter(choice))}: found {next(iter(choice.values()))!r}, expected none: "
                         f"{name} files hold one cube, whose axes are known")  # fmt: skip
    with _said(path, name):
        cube: Cube = read(path, **choice)
    return cube


@contextmanager
def _said(path: Path, name: str) -> Iterator[None]:
    """Damaged files make the libraries beneath raise nearly anything: one line instead."""
    try:
        yield
    except HsiError:
        raise
    except Exception as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise FormatError(f"{path}: {name}: cannot be read; {said}") from error


def _inside(path: Path) -> str:
    """What is in a file of several arrays that no reader knows, and how to choose."""
    from hsitools.io.formats import hdf5, npz
    from hsitools.io.variables import contents

    if path.is_dir():
        kinds = Counter(item.suffix.lower() or "no suffix" for item in path.iterdir() if item.is_file())
        listed = ", ".join(f"{number} of {kind}" for kind, number in kinds.most_common(4)) or "no file"
        return f": {listed}; images are a cube where their names state wavelengths, as 450nm.tif"
    if npz.holds_arrays(path):
        return f" (inside: {contents(npz.variables(path))}; --variable chooses one of three axes)"
    if not is_hdf5(path):
        return ""
    kind = hdf5.declared_kind(path)
    if kind:
        return f" ({kind}, no cube; inside: {hdf5.listing(path)})"
    return f" (inside: {hdf5.listing(path)}; --variable chooses one of three axes)"


def open_cubes(paths: Sequence[str | Path]) -> list[Cube]:
    """Cubes from files and folders (every file in a folder that can be read), sorted by name.

    Raises
    ------
    FormatError
        When a path is missing or unreadable, or a folder holds no cube.

    Examples
    --------
    >>> from pathlib import Path
    >>> from hsitools import save_cube, scene
    >>> Path("scenes").mkdir()
    >>> for seed in (0, 1):
    ...     save_cube(scene((8, 8), seed=seed), f"scenes/{seed}.h5")
    >>> [cube.shape[1:] for cube in open_cubes(["scenes"])]
    [(8, 8), (8, 8)]
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


def save_cube(cube: Cube, path: str | Path, progress: Progress | None = None, *, cog: bool = False) -> None:
    """Write a cube, block by block, in the format that the suffix says; the file appears when it is whole.

    Parameters
    ----------
    cube : Cube
    path : path
        ``.h5``, ``.nc`` (NetCDF-4), ``.zarr`` (Zarr 3, extra ``zarr``), ``.hdr`` (ENVI; the data beside it as
        ``.img``), ``.tif`` (extra ``geo``).
    progress : callable, optional
        Called with (blocks done, blocks in all).
    cog : bool
        A ``.tif`` as a cloud-optimised GeoTIFF.

    Raises
    ------
    InputError
        When no format has this suffix, or the file cannot be written.

    Examples
    --------
    >>> import numpy as np
    >>> from hsitools import Cube, open_cube
    >>> save_cube(Cube(data=np.ones((2, 3, 4), np.float32), wavelength_nm=np.array([500, 600.0])), "ones.hdr")
    >>> open_cube("ones.hdr").wavelength_nm
    array([500., 600.])
    """
    from hsitools.cube import Cube

    Cube.require(cube)
    require_type(path, (str, PathLike), "path", "the path of a file, behind the cube")
    path = Path(path)
    module = writer_of(path)
    if cog and "cog" not in signature(module.write).parameters:
        raise InputError(f"{path}: --cog: found suffix {path.suffix!r}, expected .tif")
    module.write(cube, path, progress or silent, **({"cog": True} if cog else {}))


def writer_of(path: Path) -> Any:
    """The module that writes files of this suffix; raises `InputError` when there is none."""
    check_suffix(path, "cube")
    return next(item for item in all_readers().values() if path.suffix.lower() in getattr(item, "SUFFIXES", ()))


def describe(path: Path) -> dict[str, Any] | None:
    """What ``hsi info`` says of a cube; None when the file is something else."""
    path = Path(path)
    with _said(path, "format"):
        name = reader_of(path)
    if name is None:
        return None
    with _said(path, name):
        from hsitools.io.quality import quality

        cube: Cube = all_readers()[name].read(path)
        return {**cube.describe(), **quality(cube), "format": name}


def known_formats() -> list[dict[str, Any]]:
    """Every reader: its ``name``, what it ``reads`` (the first line of its module), and ``suffixes`` that it writes."""
    out = []
    for name, module in cube_formats().items():
        first = (module.__doc__ or "").partition("\n\n")[0].replace("\n", " ").replace("``", "").rstrip(".")
        out.append({"name": name, "reads": first, "suffixes": list(getattr(module, "SUFFIXES", ()))})
    return out
