"""How large tiles are, and how many of them are computed beside one another: what memory and surroundings allow."""

from __future__ import annotations

import heapq
import itertools
import math
from dataclasses import dataclass
from typing import Any

from hsitools.cube.memory import memory_limit
from pansharpen.kept_tiles import kept_bytes

#: What tiles that are computed beside one another take at most, however much memory there is: larger ones are hardly
#: faster.
TILE_BYTES = 6.6 * 2**30
#: Share of a tile's time that several threads do not make shorter: two tiles by a thread each take three quarters of
#: what they take by both, one after the other.
ALONE = 1 / 3
#: Of tiles that take up to such a share more than the least time, those of least memory are taken: to fault it in
#: costs as much as a tenth of a strip. But only once: the share is at most that of one tile, or so, of those that a
#: thread goes through.
NEARLY, TILE = 0.2, 0.8
#: Tiles are whole chunks of our files, fine pixels.
CHUNK = 64
#: Tiles for each thread of the workers at least, where the scene is large enough: none waits long for the last one.
#: More would be smaller tiles, each with as many surroundings: with a halo of 24, 64² pixels cost 1.6 times 128².
TILES_EACH = 2


@dataclass(frozen=True, kw_only=True)
class Takes:
    """Bytes that a method takes for a tile, by its coarse pixels.

    Attributes
    ----------
    wide : float
        For each, surroundings included.
    own : float
        For each of the tile's own, beside that.
    """

    wide: float
    own: float = 0.0

    @classmethod
    def of(cls, bands: int, ratio: int, *, held: int, images: int, own: int) -> Takes:
        """Of a method's numbers (`pansharpen.registry.Method`), for a cube of so many bands."""
        pixel = 4.0 * ratio**2
        return cls(wide=pixel * (held * bands + images), own=pixel * own * bands)


def tile_sides(
    shape: tuple[int, int], ratio: int, halo: int, takes: Takes, threads: int, client: Any = None
) -> tuple[tuple[int, int], int]:  # fmt: skip
    """Coarse pixels of a tile, along y and x, and how many are computed at once.

    Of what memory allows, nearly the least work: few surroundings, which end at the scene's borders, and as many tiles
    at once as pay.

    Parameters
    ----------
    shape : (int, int)
        Of the scene, coarse pixels.
    ratio, halo : int
    takes : Takes
    threads : int
        Of this process.
    client : distributed.Client, optional
        Of workers, each of whose threads computes a tile at a time.

    Examples
    --------
    >>> tile_sides((64, 1000), 6, 20, Takes(wide=100_000, own=60_000), threads=1)
    ((64, 160), 1)
    """
    unit = CHUNK // math.gcd(CHUNK, ratio)
    room = _tile_bytes(client)
    workers = 0 if client is None else sum(client.nthreads().values())
    fitting: list[tuple[float, float, tuple[int, int], int, float]] = []
    for rows, columns in itertools.product(*(_sides(size, unit) for size in shape)):
        sides = rows, columns
        axes = list(zip(sides, shape, strict=True))
        tiles = math.prod(-(-size // side) for side, size in axes)
        each = takes.wide * math.prod(min(side + 2 * halo, size) for side, size in axes)
        each += takes.own * math.prod(min(side, size) for side, size in axes)
        if sides != (unit, unit) and (each > room or tiles < TILES_EACH * workers):
            continue
        at_once = max(1, min(threads, tiles, int(room // each)))
        work: float = _longest(_wide(rows, shape[0], halo), _wide(columns, shape[1], halo), workers or at_once)
        if not workers:
            work *= ALONE + (1 - ALONE) * at_once / threads
        fitting.append((work, each * at_once, sides, at_once, tiles / (workers or at_once)))
    least, *_, each_does = min(fitting)
    nearly = [part for part in fitting if part[0] <= (1 + min(NEARLY, TILE / each_does)) * least]
    _, _, sides, at_once, _ = min(nearly, key=lambda part: part[1])
    return sides, at_once


def _wide(side: int, size: int, halo: int) -> list[int]:
    """Pixels of each tile along an axis, surroundings included."""
    return [min(first + side + halo, size) - max(first - halo, 0) for first in range(0, size, side)]


def _longest(rows: list[int], columns: list[int], at_once: int) -> int:
    """Pixels of the tiles that fall to one of so many who take the next whenever they are done: to the last of them."""
    done = [0] * at_once
    for tile in itertools.product(rows, columns):
        heapq.heapreplace(done, done[0] + math.prod(tile))
    return max(done)


def _sides(size: int, unit: int) -> list[int]:
    """Sides that cut an axis into tiles of one size, as far as chunks let them: a narrow last one costs as much."""
    return sorted({-(-size // number // unit) * unit for number in range(1, -(-size // unit) + 1)})


def _tile_bytes(client: Any) -> float:
    """Bytes that a tile may take, here or at each worker, beside those that are kept."""
    limit = memory_limit()
    if client is not None:
        from hsitools.scale.cluster import memory_of_task

        limit = memory_of_task(client)
    return TILE_BYTES if limit is None else min(TILE_BYTES, limit - kept_bytes(limit))
