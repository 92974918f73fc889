"""How large tiles are, and how many of them are computed beside one another: what memory and surroundings allow."""

from __future__ import annotations

import math
from typing import Any

from hsitools.cube.memory import memory_limit
from pansharpen.kept_tiles import kept_bytes

#: What tiles that are computed beside one another take at most, however much memory there is: larger ones are hardly
#: faster.
TILE_BYTES = 6.6 * 2**30
#: Tiles are computed beside one another as long as each is so many times its surroundings: two by a thread each take
#: three quarters of what one takes by both, but smaller ones have more surroundings.
LEAST_SIDE = 4
#: Tiles are whole chunks of our files, fine pixels.
CHUNK = 64
#: Tiles for each thread of the workers at least, where the scene is large enough: none waits long for the last one.
#: More would be smaller tiles, each with as many surroundings: with a halo of 24, 64² pixels cost 1.6 times 128².
TILES_EACH = 2


def tile_sides(
    shape: tuple[int, int], ratio: int, halo: int, pixel_bytes: float, threads: int, client: Any = None
) -> tuple[tuple[int, int], int]:  # fmt: skip
    """Coarse pixels of a tile, along y and x, and how many are computed at once.

    Parameters
    ----------
    shape : (int, int)
        Of the scene, coarse pixels.
    ratio, halo : int
    pixel_bytes : float
        What a method takes for a coarse pixel of a tile, surroundings included.
    threads : int
        Of this process.
    client : distributed.Client, optional
        Of workers, each of whose threads computes a tile at a time.
    """
    unit = CHUNK // math.gcd(CHUNK, ratio)
    room = _tile_bytes(client) / pixel_bytes
    for at_once in range(threads, 0, -1):
        side = max(int((math.sqrt(room / at_once) - 2 * halo) // unit), 1) * unit
        if side >= LEAST_SIDE * halo:
            break
    wanted = at_once if client is None else TILES_EACH * sum(client.nthreads().values())
    while side > unit and math.prod(-(-size // side) for size in shape) < wanted:
        side -= unit
    # of one size, as far as chunks let them: a narrow last one has as many surroundings
    height, width = (-(-size // -(-size // side) // unit) * unit for size in shape)
    return (height, width), at_once


def _tile_bytes(client: Any) -> float:
    """Bytes that a tile may take, here or at each worker, beside those that are kept."""
    limit = memory_limit()
    if client is not None:
        from hsitools.scale.cluster import memory_of_task

        limit = memory_of_task(client)
    return TILE_BYTES if limit is None else min(TILE_BYTES, limit - kept_bytes(limit))
