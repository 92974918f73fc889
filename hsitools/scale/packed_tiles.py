"""Tiles for a file of our HDF5 layout: workers compute and pack them, the client puts the packed bytes in place.

A tile lies in a file of its own only until it is in place: that file is the next one's then, with its memory and its
room on the disk (pages that the system has to find anew take as long as packing).
Where its chunks are in the file that is being written is noted: a command that goes on after a killed one finds them.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hsitools.cube import Stored
from hsitools.io.atomic import atomic_path
from hsitools.io.packing import chunk_parts, packed_chunk
from hsitools.processors import threads
from hsitools.scale.parts import Run


def cuts_no_chunk(tile: tuple[int, int], shape: tuple[int, int], chunk: tuple[int, int]) -> bool:
    """Whether no two tiles share a chunk."""
    return all(own >= size or own % part == 0 for own, size, part in zip(tile, shape, chunk, strict=True))


@dataclass(frozen=True, kw_only=True)
class TilePacker:
    """What a worker does with a tile, by number: computes it, packs its chunks, keeps them and marks it as whole."""

    stored: Stored
    dtype: np.dtype[Any]
    chunk: tuple[int, int, int]
    folder: Path
    marks: Path
    parts: list[tuple[slice, slice]]
    run: Run | None = None

    def __call__(self, number: int) -> None:
        """Do it."""
        places: list[tuple[int, ...]] = []
        packed: list[bytes] = []
        blocks = self.stored.tile_blocks(*self.parts[number], self.dtype.itemsize, self.chunk[1:])
        with closing(blocks), ThreadPoolExecutor(threads()) as pool:
            for rows, columns, values in blocks:
                pieces = chunk_parts((0, rows.start, columns.start), np.asarray(values, dtype=self.dtype), self.chunk)
                corners, parts = zip(*pieces, strict=True)
                places += corners
                packed += pool.map(lambda part: packed_chunk(part, self.chunk), parts)
        with (
            atomic_path(tile_file(self.folder, number)) as temporary,
            temporary.open("r+b" if _reused(self.folder, temporary) else "wb") as file,
        ):
            # where each goes, then one after the other: gigabytes that are neither joined nor summed up again
            np.save(file, np.array([(*place, len(data)) for place, data in zip(places, packed, strict=True)]))
            file.writelines(packed)
            file.truncate()
            if self.run is not None:
                self.run.require()
        (self.marks / str(number)).touch()


def _reused(folder: Path, path: Path) -> bool:
    """Whether a file that is no longer needed could be moved here, to be written over."""
    # ext4 writes a file to the disk at once that takes the place of another
    path.unlink()
    for free in folder.glob("*.free"):
        try:
            free.replace(path)
        except (FileNotFoundError, PermissionError):
            # another worker was first
            continue
        return True
    return False


def tile_file(folder: Path, number: int) -> Path:
    """Where a tile's packed chunks are kept until they are in place."""
    return folder / f"{number}.chunks"


def place_file(folder: Path, number: int) -> Path:
    """Where it stands where they are."""
    return folder / f"{number}.places"


def unfinished_file(folder: Path, turn: int) -> Path:
    """The HDF5 file that the command writes in its turn: one, two where it goes on after a killed one, …"""
    return folder / f"{turn}.h5"


def next_turn(folder: Path) -> int:
    """Number of a command that writes into this folder now."""
    return 1 + max((int(path.stem) for path in folder.glob("*.h5")), default=0)


def is_kept(folder: Path, number: int) -> bool:
    """Whether a tile's chunks are there: not where the file that holds them became the output already."""
    if tile_file(folder, number).exists():
        return True
    places = place_file(folder, number)
    return places.exists() and unfinished_file(folder, int(np.load(places)[0, -1])).exists()


class TellingFile(io.FileIO):
    """A new file for HDF5 to write through, which tells where a chunk was put.

    HDF5 itself goes through all chunks to find one, so that writing would take the square of their number.

    Parameters
    ----------
    path : path
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+")
        #: Of the bytes that were written last, as many as `size`.
        self.address = -1
        self.size = -1

    def write(self, data: Any) -> int:
        """All of it, which a disk that is nearly full may take in parts."""
        if len(data) == self.size:
            self.address = self.tell()
        done = 0
        while done < len(data):
            done += super().write(data[done:]) or 0
        return done


def put_in_place(data: Any, file: TellingFile, folder: Path, turn: int, numbers: Iterable[int]) -> None:
    """Packed tiles, by number as they come, into the data set of the same chunks and filters of this turn's file."""
    for number in numbers:
        places = []
        for place, packed in packed_chunks(folder, number):
            file.address, file.size = -1, len(packed)
            data.id.write_direct_chunk(place, packed)
            assert file.address >= 0, "HDF5 writes a chunk as a whole, at once"
            places.append((*place, len(packed), file.address, turn))
        with atomic_path(place_file(folder, number)) as temporary, temporary.open("wb") as note:
            np.save(note, np.array(places))
        own = tile_file(folder, number)
        if own.exists():
            own.replace(own.with_suffix(".free"))


def packed_chunks(folder: Path, number: int) -> Iterator[tuple[tuple[int, ...], bytes]]:
    """Place and packed bytes of each chunk of a tile, from its own file or from where a killed command put them."""
    own = tile_file(folder, number)
    if own.exists():
        with own.open("rb") as file:
            for *place, size in np.load(file).tolist():
                yield tuple(place), file.read(size)
        return
    places = np.load(place_file(folder, number)).tolist()
    with unfinished_file(folder, places[0][-1]).open("rb") as file:
        for *place, size, offset, _ in places:
            file.seek(offset)
            yield tuple(place), file.read(size)
