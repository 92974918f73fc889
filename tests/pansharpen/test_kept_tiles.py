"""Tiles that are kept from pass to pass: read once, of bounded size, and without any change of a result."""

import pickle

import numpy as np
import pytest
import torch

from hsitools.cube import Cube
from hsitools.cube import memory as memory_of
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


@pytest.mark.parametrize(("bands", "held", "images"), [(2, 3, 60), (40, 3, 60), (20, 15, 0)])
def test_tiles_are_as_large_as_what_they_take_lets_them(bands, held, images, monkeypatch):
    """Cubes of the bands and images that are as many for any; in whole chunks, and none much narrower than others."""
    room = 10_000_000
    monkeypatch.setattr("pansharpen.tile_sides._tile_bytes", lambda _: room)
    height, width = 64, 424
    pan = Cube(data=np.ones((1, RATIO * height, RATIO * width), dtype=np.float32))
    cube = Cube(data=np.ones((bands, height, width), dtype=np.float32), pan=pan)
    tiles = LargeScene(cube, halo=2, held=held, images=images)

    def takes(columns):
        return 4 * (held * bands + images) * (RATIO * (columns + 4)) ** 2

    sizes = [part.columns.stop - part.columns.start for part in tiles.windows if part.rows.start == 0]
    room /= tiles.at_once
    assert takes(max(sizes)) <= room
    # one fewer would be too large
    assert takes(-(-width // max(1, len(sizes) - 1) // SIDE) * SIDE) > room or len(sizes) == 1
    assert all(size == sizes[0] and size % SIDE == 0 for size in sizes[:-1])
    assert len(sizes) * SIDE > len(sizes) * sizes[0] - width
    assert tiles.tile_size == (RATIO * min(height, sizes[0]), RATIO * sizes[0])


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
