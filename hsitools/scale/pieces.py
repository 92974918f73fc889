"""A cube that is computed by tiles, written by all workers at once; tiles that are there are not computed again.

Each tile goes into a Zarr store beside the output, ``<out>.partial/cube.zarr``, whose chunks are cut so that no two
tiles share one; a mark says that it is whole. A Zarr output is that store, moved. Other formats are one file for one
writer, the client: for our own HDF5 layout workers pack the chunks themselves (`packed_tiles`), for the rest it copies
tiles out of the store in their order, as they come. When the client dies, the same command goes on.
"""

from __future__ import annotations

import glob
import json
import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from hsitools import __version__
from hsitools.cube import Cube, Stored
from hsitools.cube.sources import ArraySource, Bands, ScaledSource, computed_tile
from hsitools.cube.windows import tiles
from hsitools.errors import InputError
from hsitools.io import save_cube, writer_of
from hsitools.io.atomic import atomic_path, full_disk_said
from hsitools.io.conventions import layout
from hsitools.io.formats import native
from hsitools.io.formats import zarr as store_format
from hsitools.io.hashes import short_hash
from hsitools.io.readers import source_files
from hsitools.progress import Progress, silent
from hsitools.scale.packed_tiles import (
    TellingFile,
    TilePacker,
    cuts_no_chunk,
    is_kept,
    next_turn,
    put_in_place,
    unfinished_file,
)
from hsitools.scale.tasks import ordered
from hsitools.text import plain

Window = tuple[slice, slice]
#: Side of the tiles of a cube that is only copied, pixels: whole chunks of all our formats.
COPIED = 512
#: A chunk shorter than this share of the usual one makes too many files: whole tiles are chunks then.
SMALLEST = 0.25


def key_of(asked: Mapping[str, Any], files: Iterable[Path | str | None]) -> str:
    """Name of a run: what was asked of which files (path, size, time), by which version.

    Of a file whose reader opens others (an ENVI header's numbers), and of a folder, all count.
    """
    return short_hash([__version__, plain(dict(asked)), states_of(files)])


def states_of(files: Iterable[Path | str | None]) -> list[list[Any]]:
    """Path, size and time of all that opening these files reads; those that are not there are passed over."""
    named = [Path(file) for file in files if file is not None and Path(file).exists()]
    whole = [file for path in named for file in source_files(path)]
    return [[str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns] for file in whole]


def partial_folder(path: Path, key: str) -> Path:
    """Folder of a run's finished parts, beside its output; those of another run are removed."""
    folder = Path(f"{path}.partial")
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not (folder / "run.json").is_file()):
        raise InputError(f"{folder}: output: found something else, expected a new name for finished parts")
    try:
        if folder.is_dir():
            try:
                if json.loads((folder / "run.json").read_text(encoding="utf-8"))["key"] == key:
                    return folder
            except (OSError, ValueError, KeyError, TypeError):
                pass
            shutil.rmtree(folder)
        folder.mkdir()
    except OSError as error:
        raise InputError(f"{path}: output: cannot write there ({error.strerror or error})") from None
    with atomic_path(folder / "run.json") as temporary:
        temporary.write_text(json.dumps({"key": key}) + "\n", encoding="utf-8")
    return folder


def save_by_workers(cube: Cube, path: Path, client: Any, key: str, progress: Progress = silent) -> int:
    """Write a cube as `hsitools.io.save_cube` does, its tiles computed and kept by workers.

    Parameters
    ----------
    cube : Cube
        Computed where it is read, by tiles, or on disk; no PAN.
    path : Path
        In a folder that all workers share.
    client : distributed.Client
    key : str
        Of the run (`key_of`): finished tiles of the same one are taken.
    progress : callable
        Called with (tiles done, tiles in all).

    Returns
    -------
    int
        Tiles that were there already.

    Raises
    ------
    InputError
        When no format has this suffix, or the folder cannot be written.
    """
    if writer_of(path) is store_format:
        store_format.check_place(path)
    if cube.scale_factor is not None:
        cube = cube.physical()
    tile = computed_tile(cube.data) or (COPIED, COPIED)
    height, width = cube.shape[1:]
    parts = list(tiles((height, width), tile[0] * tile[1], tile))
    folder = partial_folder(path, key)
    # what a killed command was writing: see `hsitools.io.atomic`
    for stale in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        if stale.is_file():
            stale.unlink(missing_ok=True)
    store, marks = folder / "cube.zarr", folder / "done"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        marks.mkdir(exist_ok=True)
        in_chunks = writer_of(path) is native and cuts_no_chunk(tile, (height, width), native.chunks_of(cube.shape)[1:])
        kept = {number for number in range(len(parts)) if (marks / str(number)).exists()}
        if in_chunks:
            kept = {number for number in kept if is_kept(folder, number)}
        todo = [number for number in range(len(parts)) if number not in kept]
        if in_chunks:
            plan = layout(cube, str(path))
            work: Any = TilePacker(
                stored=plan.stored, dtype=plan.dtype, chunk=native.chunks_of(cube.shape), folder=folder, marks=marks,
                parts=parts,
            )  # fmt: skip
        else:
            array, stored = _store(cube, store, tile, str(path))
            work = TileWriter(stored=stored, store=store, marks=marks, parts=parts)

        def told(done: int, _total: int) -> None:
            progress(len(kept) + done, len(parts))

        progress(len(kept), len(parts))
        with closing(ordered(client, work, todo, told, places=todo)) as arriving:
            if in_chunks:
                numbers = (number for number in range(len(parts)) if number in kept or next(arriving, None) is None)
                turn = next_turn(folder)
                unfinished = unfinished_file(folder, turn)
                with full_disk_said(path):
                    with TellingFile(unfinished) as file:
                        native.write_there(
                            cube, file, str(path), lambda data, _: put_in_place(data, file, folder, turn, numbers)
                        )  # fmt: skip
                    unfinished.replace(path)
            elif writer_of(path) is store_format:
                for _ in arriving:
                    pass
                store_format.finished(store, path)
            else:
                data: Any = Arriving(array, tile, parts, set(kept), arriving)
                if not stored.uniform or stored.scale[0] != 1:
                    data = ScaledSource(data, stored.scale, stored.offset, stored.nodata)
                save_cube(cube.replace(data=data), path)
    shutil.rmtree(folder, ignore_errors=True)
    return len(kept)


def _store(cube: Cube, store: Path, tile: tuple[int, int], who: str) -> tuple[Any, Stored]:
    """The store to be filled, whole or not there, and the numbers that fill it."""
    import zarr

    if store.exists():
        return zarr.open_array(store / "cube", mode="r"), layout(cube, who).stored
    making = store.with_name("making")
    shutil.rmtree(making, ignore_errors=True)
    chunk = [
        _chunk(part, size, usual) for part, size, usual in zip(tile, cube.shape[1:], store_format.CHUNK, strict=True)
    ]
    _, stored = store_format.created(cube, making, who, (chunk[0], chunk[1]))
    making.replace(store)
    return zarr.open_array(store / "cube", mode="r"), stored


def _chunk(tile: int, size: int, usual: int) -> int:
    """Pixels of a chunk along an axis, of which a tile holds a whole number."""
    if tile >= size:
        return min(usual, size)
    fits = max(length for length in range(1, min(tile, usual) + 1) if tile % length == 0)
    return fits if fits >= SMALLEST * usual else tile


@dataclass(frozen=True, kw_only=True)
class TileWriter:
    """What a worker does with a tile, by number: computes it, writes its chunks, and marks it as whole."""

    stored: Stored
    store: Path
    marks: Path
    parts: list[Window]

    def __call__(self, number: int) -> None:
        """Do it."""
        import zarr

        array = zarr.open_array(self.store / "cube", mode="r+")
        blocks = self.stored.tile_blocks(*self.parts[number], array.dtype.itemsize, array.chunks[1:])
        with closing(blocks):
            for rows, columns, values in blocks:
                array[:, rows, columns] = values
        (self.marks / str(number)).touch()


class Arriving:
    """The cube of a store whose tiles come one after another, in their order (see `hsitools.cube.sources.Source`)."""

    def __init__(
        self, array: Any, tile: tuple[int, int], parts: list[Window], done: set[int], coming: Iterator[Any]
    ) -> None:
        self.source = ArraySource(array)
        self.shape, self.dtype = self.source.shape, self.source.dtype
        #: Writers go by it.
        self.tile = tile
        self._parts, self._done, self._coming = parts, done, coming
        self._next = (number for number in range(len(parts)) if number not in done)

    def read(self, bands: Bands, rows: slice, columns: slice) -> NDArray[Any]:
        """Values of a window, once all tiles that it touches are there."""
        for number, part in enumerate(self._parts):
            if all(
                own.start < asked.stop and asked.start < own.stop
                for own, asked in zip(part, (rows, columns), strict=True)
            ):
                while number not in self._done:
                    next(self._coming)
                    self._done.add(next(self._next))
        return self.source.read(bands, rows, columns)
