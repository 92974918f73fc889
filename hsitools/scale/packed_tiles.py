"""Tiles for a file of our HDF5 layout: workers compute and pack them, the client puts the packed bytes in place."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
            sizes = np.array([len(data) for data in packed])
            np.savez(file, places=np.array(places), sizes=sizes, data=np.frombuffer(b"".join(packed), np.uint8))
        (self.marks / str(number)).touch()


def tile_file(folder: Path, number: int) -> Path:
    """Where a tile's packed chunks are kept."""
    return folder / f"{number}.npz"


def put_in_place(data: Any, folder: Path, numbers: Iterator[int]) -> None:
    """Packed tiles, by number as they come, into an HDF5 data set of the same chunks and filters."""
    for number in numbers:
        with np.load(tile_file(folder, number)) as tile:
            places, sizes, packed = tile["places"], tile["sizes"], tile["data"]
        ends: NDArray[np.int64] = np.cumsum(sizes)
        for place, size, end in zip(places, sizes, ends, strict=True):
            data.id.write_direct_chunk(tuple(int(at) for at in place), packed[end - size : end])
