"""Files about to be written: what would fail after the work, or destroy what the work reads, is told before."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from hsitools.errors import HsiError, InputError, require_type

#: Formats whose output is a folder.
STORES = (".zarr",)
#: What names of files may end in, by what is written; formats of cubes say so themselves.
SUFFIXES = {"hdf5": (".h5", ".hdf5"), "table": (".csv",), "picture": (".png",), "records": (".jsonl", ".ndjson")}


def suffixes_of(kind: str) -> tuple[str, ...]:
    """What names of files of a kind (of `SUFFIXES`, or ``cube``) end in."""
    if kind != "cube":
        return SUFFIXES[kind]
    from hsitools.io.readers import all_readers

    return tuple(suffix for module in all_readers().values() for suffix in getattr(module, "SUFFIXES", ()))


def check_suffix(path: str | Path, kind: str) -> None:
    """Raise `InputError` where a name says that something else is in the file than will be."""
    require_type(path, (str, os.PathLike), "path", "that of a file to write")
    found, able = Path(path).suffix, suffixes_of(kind)
    if found.lower() not in able:
        one_of = "one of " if len(able) > 1 else ""
        raise InputError(f"{path}: output: found suffix {found!r}, expected {one_of}{', '.join(able)}")


def beside(out: Path, part: str) -> Path:
    """A file beside an output: its name with ``part`` (``_std``), of its format or that of ``part`` (``_a.csv``)."""
    ending = Path(part).suffix
    return out.with_name(f"{out.stem}{part.removesuffix(ending)}{ending or out.suffix}")


def check_file(path: Path, what: str = "output") -> None:
    """Raise `InputError` where no file of this name can be written."""
    folder = path.parent
    if path.is_dir() and path.suffix.lower() not in STORES:
        raise InputError(f"{path}: {what}: found a folder, expected a file name")
    # ``no/../x`` is beside no folder, although its name could be made shorter
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{path}: {what}: cannot write there ({folder} is a file, expected a folder)")
    if not folder.is_dir():
        raise InputError(f"{path}: {what}: cannot write there (found no folder {folder}, expected an existing one)")
    if not os.access(folder, os.W_OK):
        raise InputError(f"{path}: {what}: cannot write there (no permission in {folder})")


def check_folder(path: Path, what: str = "output") -> None:
    """Raise `InputError` where no folder of this name is, or can be made."""
    above = path
    while not above.exists() and above != above.parent:
        above = above.parent
    if not above.is_dir():
        raise InputError(f"{path}: {what}: cannot make the folder ({above} is a file)")
    if not os.access(above, os.W_OK):
        raise InputError(f"{path}: {what}: cannot make the folder (no permission in {above})")


@contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """A folder that is made for what comes; gone again where the work was stopped before it wrote anything."""
    fresh = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        if fresh:
            # only an empty one goes
            with suppress(OSError):
                folder.rmdir()


def refuse_inputs(outputs: Mapping[str, Sequence[Path]], inputs: Iterable[str | Path]) -> None:
    """Raise an `InputError` for an output that is a file read by the same run, or another one of its outputs.

    Parameters
    ----------
    outputs : dict of str to sequence of Path
        By the option that names them.
    inputs : iterable of str or Path
        Names that are no files (presets) are passed over.
    """
    read = [Path(item) for item in inputs if str(item) and Path(item).exists()]
    written: dict[Path, str] = {}
    for option, paths in outputs.items():
        for path in (file for name in paths for file in files_of(name)):
            other = written.setdefault(path.absolute(), option)
            if other != option:
                raise InputError(f"{path}: {option}: found the file of {other}, expected another one")
            # into a folder that is read results may go, but not over a store, which is a folder too
            if path.is_file() or (path.is_dir() and path.suffix):
                for item in read:
                    if path.samefile(item) or _header_or_data(path, item):
                        raise InputError(f"{path}: {option}: found the input itself, expected another file")


def files_of(out: Path) -> list[Path]:
    """What stands on the disk when a cube of this name was written: ENVI's is two files."""
    return [out, out.with_suffix(".img")] if out.suffix.lower() == ".hdr" else [out]


def _header_or_data(out: Path, item: Path) -> bool:
    """Whether an output is the header of an input, or its data."""
    if out.suffix.lower() not in (".hdr", ".img") or out.parent.resolve() != item.parent.resolve():
        return False
    stems = {item.name.lower(), item.stem.lower(), Path(item.stem).stem.lower()}
    if not stems & {out.stem.lower(), Path(out.stem).stem.lower()}:
        return False
    from hsitools.io.readers import reader_of

    try:
        return reader_of(item) in ("envi", "desis", "hyperion")
    except (OSError, HsiError):
        return False
