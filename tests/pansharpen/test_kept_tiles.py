"""Tiles that are kept from pass to pass: read once, of bounded size, and without any change of a result."""

import pickle

import numpy as np
import pytest
import torch

from hsitools.cube import Cube
from hsitools.cube import memory as memory_of
from hsitools.cube.windows import windows
from pansharpen import kept_tiles
from pansharpen.kept_tiles import TILES, kept_bytes, size_of_images
from pansharpen.tile_sides import _tile_bytes
from pansharpen.tiled import LargeScene

RATIO, SIDE = 2, 32


class Counted:
    """A cube's values, which counts how often they are read."""

    def __init__(self, values):
        self.values, self.reads = values, 0
        self.shape, self.dtype = values.shape, values.dtype

    def read(self, bands, rows, columns):
        self.reads += 1
        return self.values[bands, rows, columns]


@pytest.fixture
def scene():
    draw = np.random.default_rng(4)
    values = draw.random((3, SIDE, 2 * SIDE)).astype(np.float32)
    values[1, 3, 40] = np.nan
    pan = Cube(data=draw.random((1, RATIO * SIDE, 2 * RATIO * SIDE)).astype(np.float32))
    made = LargeScene(Cube(data=Counted(values), pan=pan), halo=2, side=SIDE)
    assert len(made.windows) == 2
    # which is gone through for these first
    assert not made.wild.said
    # looked through once, before any pass
    assert not made.wild.said
    return made


@pytest.mark.parametrize(
    ("bands", "held", "images", "own", "height"),
    [(2, 3, 60, 0, 64), (40, 3, 60, 0, 64), (20, 15, 0, 0, 64), (40, 0, 60, 4, 64), (10, 0, 60, 4, 400)],
)
def test_tiles_take_no_more_than_there_is_and_hardly_more_time_than_any_others(
    bands, held, images, own, height, monkeypatch
):
    """Their surroundings, as far as the scene goes, are arithmetic too; in whole chunks."""
    room, threads, width = 10_000_000, 2, 424
    monkeypatch.setattr("pansharpen.tile_sides._tile_bytes", lambda _: room)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    pan = Cube(data=np.ones((1, RATIO * height, RATIO * width), dtype=np.float32))
    cube = Cube(data=np.ones((bands, height, width), dtype=np.float32), pan=pan)
    tiles = LargeScene(cube, halo=2, held=held, images=images, own=own)

    def pixels(part, wide):
        sides = (part.wide_rows, part.wide_columns) if wide else (part.rows, part.columns)
        return RATIO**2 * (sides[0].stop - sides[0].start) * (sides[1].stop - sides[1].start)

    def seconds(parts):
        """Of all tiles in rounds, each by its share of the threads, of which a third of its work has no use."""
        takes = [4 * ((held * bands + images) * pixels(p, True) + own * bands * pixels(p, False)) for p in parts]
        at_once = min(int(room // max(takes)), len(parts), threads)
        if not at_once:
            return np.inf
        each = np.mean([pixels(part, True) for part in parts]) * (1 / 3 + 2 / 3 * at_once / threads)
        return -(-len(parts) // at_once) * each

    assert all(size % (RATIO * SIDE) == 0 for size in tiles.tile_size)
    sides = range(SIDE, max(height, width) + SIDE, SIDE)
    # a narrow last tile has fewer surroundings beside it than the rest
    best = min(seconds(windows((height, width), (y, x), 2)) for y in sides for x in sides)
    assert seconds(tiles.windows) <= 1.25 * best


def reads(scene) -> int:
    return scene.cube.data.reads


def total(scene) -> torch.Tensor:
    return scene.sum(lambda tile: tile.expanded.sum((0, 2, 3)))


def test_each_tile_is_read_once_whatever_the_passes(scene):
    before = reads(scene)
    first = total(scene)
    assert reads(scene) == before + 2
    # the same values, and not what a pass made of them: that would be as large as the fused cube
    torch.testing.assert_close(total(scene), first, rtol=0, atol=0)
    assert reads(scene) == before + 2
    tile = TILES.get(scene.key, scene.windows[0])
    assert tile is scene.tile(scene.windows[0])
    held = sum(value.nbytes for value in vars(tile).values() if isinstance(value, torch.Tensor))
    assert held <= size_of_images(tile) + tile.coarse.nbytes + tile.pan.nbytes
    assert "expanded" not in vars(tile)
    read = scene.map(lambda tile: tile.expanded)
    read.read(np.arange(3), slice(0, RATIO * SIDE), slice(0, 2 * RATIO * SIDE))
    assert reads(scene) == before + 2
    assert "expanded" not in vars(tile)


def test_no_more_is_kept_than_fits_and_the_oldest_scene_makes_room(scene, monkeypatch):
    size = size_of_images(scene._tile(scene.windows[0]))
    monkeypatch.setattr(kept_tiles, "KEPT_BYTES", 1.5 * size)
    before, first = reads(scene), total(scene)
    torch.testing.assert_close(total(scene), first, rtol=0, atol=0)
    # the first one is kept, and stays
    assert reads(scene) == before + 3
    other = LargeScene(scene.cube, halo=2, side=SIDE)
    total(other)
    assert TILES.get(scene.key, scene.windows[0]) is None
    assert TILES.get(other.key, scene.windows[0]) is not None
    key, window = other.key, scene.windows[0]
    del other
    assert TILES.get(key, window) is None


def test_kept_tiles_are_part_of_what_memory_allows(monkeypatch):
    assert kept_bytes(None) == kept_tiles.KEPT_BYTES
    assert kept_bytes(2**20) < 2**20 / 8
    monkeypatch.setattr(memory_of, "_LIMIT", [2**30])
    assert _tile_bytes(None) + kept_bytes(2**30) == 2**30


def test_a_worker_s_thread_computes_one_tile_at_a_time(scene):
    """Or each of its threads would have a team of its own, each with the memory of a tile."""
    scene.at_once = 2
    fused = scene.map(lambda tile: tile.expanded)
    assert fused.at_once == 2
    assert pickle.loads(pickle.dumps(scene)).at_once == 1
    assert fused.__getstate__()["at_once"] == 1
