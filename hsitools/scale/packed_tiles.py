"""Tiles for a file of our HDF5 layout: workers compute and pack them, the client puts the packed bytes in place."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hsitools.cube import Stored
from hsitools.io.atomic import atomic_path
from hsitools.io.packing import chunk_parts, packed_chunk
from hsitools.processors import threads


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

    def __call__(self, number: int) -> None:
        """Do it."""
        rows, columns = self.parts[number]
        values = np.asarray(self.stored.read(rows, columns), dtype=self.dtype)
        places, pieces = zip(*chunk_parts((0, rows.start, columns.start), values, self.chunk), strict=True)
        with ThreadPoolExecutor(threads()) as pool:
            packed = list(pool.map(lambda piece: packed_chunk(piece, self.chunk), pieces))
        with atomic_path(tile_file(self.folder, number)) as temporary, temporary.open("wb") as file:
            # where each goes, then one after the other: gigabytes that are neither joined nor summed up again
            np.save(file, np.array([(*place, len(data)) for place, data in zip(places, packed, strict=True)]))
            file.writelines(packed)
        (self.marks / str(number)).touch()


def tile_file(folder: Path, number: int) -> Path:
    """Where a tile's packed chunks are kept."""
    return folder / f"{number}.chunks"


def put_in_place(data: Any, folder: Path, numbers: Iterator[int]) -> None:
    """Packed tiles, by number as they come, into an HDF5 data set of the same chunks and filters."""
    for number in numbers:
        with tile_file(folder, number).open("rb") as file:
            for *place, size in np.load(file).tolist():
                data.id.write_direct_chunk(tuple(place), file.read(size))
