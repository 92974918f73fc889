"""A cube that is computed by tiles, written by all workers at once; tiles that are there are not computed again.

Each tile goes into a Zarr store beside the output, ``<out>.partial/cube.zarr``, whose chunks are cut so that no two
tiles share one; a mark says that it is whole. A Zarr output is that store, moved. Other formats are one file for one
writer, the client: for our own HDF5 layout workers pack the chunks themselves (`packed_tiles`), for the rest it copies
tiles out of the store in their order, as they come. When the client dies, the same command goes on.
"""

from __future__ import annotations

import shutil
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from hsitools import __version__
from hsitools.cube import Cube, Stored
from hsitools.cube.sources import ArraySource, Bands, ScaledSource, computed_tile, computing_source
from hsitools.cube.windows import tiles
from hsitools.io import save_cube, writer_of
from hsitools.io.atomic import full_disk_said
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
from hsitools.scale.parts import Run, partial_folder
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


def save_by_workers(
    cube: Cube, path: Path, client: Any, key: str, progress: Progress = silent, *,
    beside: tuple[Cube, Path] | None = None,
) -> int:  # fmt: skip
    """Write a cube as `hsitools.io.save_cube` does, its tiles computed and kept by workers.

    Parameters
    ----------
    cube : Cube
        Computed where it is read, by tiles, or on disk; no PAN.
    path : Path
        In a folder that all workers share.
    client : distributed.Client
    key : str
        Of the run (`key_of`): finished tiles of the same one, and of the same size, are taken.
    progress : callable
        Called with (tiles done, tiles in all).
    beside : (Cube, Path), optional
        Another layer of the same tiles, as error bars are, and where it goes: who computes a tile computes it of both.

    Returns
    -------
    int
        Tiles that were there already.

    Raises
    ------
    InputError
        When no format has this suffix, or the folder cannot be written.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        asked = [(cube, path)] if beside is None else [(cube, path), beside]
        layers = [_Layer(one, out, key) for one, out in asked]
        parts = layers[0].parts
        kept = set[int].intersection(*(layer.kept for layer in layers))
        todo = [number for number in range(len(parts)) if number not in kept]
        work = Layers(works=[layer.work for layer in layers], kept=[frozenset(layer.kept) for layer in layers])

        def told(done: int, _total: int) -> None:
            progress(len(kept) + done, len(parts))

        progress(len(kept), len(parts))
        with closing(ordered(client, work, todo, told, places=todo)) as arriving:
            coming = _Coming(todo, arriving)
            for layer in layers:
                layer.write(coming)
        # when all are whole: a command that is killed before has lost none of them
        for layer in layers:
            layer.publish()
        for layer in layers:
            shutil.rmtree(layer.folder, ignore_errors=True)
    return len(kept)


class _Coming:
    """Tiles of all layers, by number, in their order."""

    def __init__(self, todo: list[int], arriving: Iterator[Any]) -> None:
        self._waiting, self._arriving = deque(todo), arriving

    def until(self, number: int) -> int:
        """Wait until a tile, and all before it, are there."""
        while self._waiting and self._waiting[0] <= number:
            next(self._arriving)
            self._waiting.popleft()
        return number


class _Layer:
    """A cube and the file that it goes to: what workers do for it, and what this process does.

    Parameters
    ----------
    cube, path, key
        As of `save_by_workers`.
    """

    def __init__(self, cube: Cube, path: Path, key: str) -> None:
        if writer_of(path) is store_format:
            store_format.check_place(path)
        self.cube, self.path = cube if cube.scale_factor is None else cube.physical(), path
        self.tile = computed_tile(self.cube.data) or (COPIED, COPIED)
        height, width = self.cube.shape[1:]
        self.parts = list(tiles((height, width), self.tile[0] * self.tile[1], self.tile))
        # tiles of another size, as for another number of workers, are not those of the same number
        self.folder = partial_folder(path, short_hash([key, self.tile]))
        marks, chunk = self.folder / "done", native.chunks_of(self.cube.shape)
        marks.mkdir(exist_ok=True)
        self.in_chunks = writer_of(path) is native and cuts_no_chunk(self.tile, (height, width), chunk[1:])
        self.kept = {number for number in range(len(self.parts)) if (marks / str(number)).exists()}
        self.work: TilePacker | TileWriter
        run = Run.of(self.folder)
        if self.in_chunks:
            self.kept = {number for number in self.kept if is_kept(self.folder, number)}
            plan = layout(self.cube, str(path))
            self.stored = plan.stored
            self.work = TilePacker(
                stored=plan.stored, dtype=plan.dtype, chunk=chunk, folder=self.folder, marks=marks, parts=self.parts,
                run=run,
            )  # fmt: skip
            self._unfinished = unfinished_file(self.folder, next_turn(self.folder))
        else:
            store = self.folder / "cube.zarr"
            self.array, self.stored = _store(self.cube, store, self.tile, str(path))
            self.work = TileWriter(stored=self.stored, store=store, marks=marks, parts=self.parts, run=run)

    def write(self, coming: _Coming) -> None:
        """Put all tiles where they belong, as they come."""
        if self.in_chunks:
            numbers = (coming.until(number) for number in range(len(self.parts)))
            turn = int(self._unfinished.stem)
            with full_disk_said(self.path), TellingFile(self._unfinished) as file:
                native.write_there(
                    self.cube, file, str(self.path),
                    lambda data, _: put_in_place(data, file, self.folder, turn, numbers),
                )  # fmt: skip
        elif writer_of(self.path) is store_format:
            coming.until(len(self.parts))
        else:
            data: Any = Arriving(self.array, self.tile, self.parts, coming)
            if not self.stored.uniform or self.stored.scale[0] != 1:
                data = ScaledSource(data, self.stored.scale, self.stored.offset, self.stored.nodata)
            save_cube(self.cube.replace(data=data), self.path)

    def publish(self) -> None:
        """Give the file its name, where it has none yet."""
        if self.in_chunks:
            self._unfinished.replace(self.path)
        elif writer_of(self.path) is store_format:
            store_format.finished(self.folder / "cube.zarr", self.path)


@dataclass(frozen=True, kw_only=True)
class Layers:
    """What a worker does with a tile, by number: all of its layers that are not there, from one computation."""

    works: list[Any]
    kept: list[frozenset[int]]

    def __call__(self, number: int) -> None:
        """Do it."""
        todo = [work for work, kept in zip(self.works, self.kept, strict=True) if number not in kept]
        if len(todo) > 1:
            first, *others = (computing_source(work.stored.data) for work in todo)
            first.ahead(*todo[0].parts[number], together=others)
        for work in todo:
            work(number)


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
    run: Run

    def __call__(self, number: int) -> None:
        """Do it."""
        import zarr

        # to open a store that is gone would make a folder for it
        self.run.require()
        array = zarr.open_array(self.store / "cube", mode="r+")
        blocks = self.stored.tile_blocks(*self.parts[number], array.dtype.itemsize, array.chunks[1:])
        with closing(blocks):
            for rows, columns, values in blocks:
                self.run.require()
                array[:, rows, columns] = values
        self.run.require()
        (self.marks / str(number)).touch()


class Arriving:
    """The cube of a store whose tiles come one after another, in their order (see `hsitools.cube.sources.Source`)."""

    def __init__(self, array: Any, tile: tuple[int, int], parts: list[Window], coming: _Coming) -> None:
        self.source = ArraySource(array)
        self.shape, self.dtype = self.source.shape, self.source.dtype
        #: Writers go by it.
        self.tile = tile
        self._parts, self._coming = parts, coming

    def read(self, bands: Bands, rows: slice, columns: slice) -> NDArray[Any]:
        """Values of a window, once all tiles that it touches are there."""
        for number, part in enumerate(self._parts):
            if all(
                own.start < asked.stop and asked.start < own.stop
                for own, asked in zip(part, (rows, columns), strict=True)
            ):
                self._coming.until(number)
        return self.source.read(bands, rows, columns)
