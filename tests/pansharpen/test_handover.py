"""The estimate and its error bars, written at the same time: each tile is computed once, and few wait."""

import threading
from contextlib import closing

import numpy as np
import pytest

from hsitools.cube import Cube, Stored
from pansharpen.handover import written_together
from pansharpen.tiled import LargeScene

WHOLE = np.arange(2), slice(0, 40), slice(0, 60)


@pytest.fixture
def layers(monkeypatch):
    """Six tiles of two layers, none of which may be kept until it is read; what was computed, in turn."""
    monkeypatch.setattr("pansharpen.fused_source.KEPT_BYTES", 0)
    monkeypatch.setattr("hsitools.cube.stored.BLOCK_BYTES", 4 * 2 * 7 * 20)
    rng = np.random.default_rng(0)
    values = rng.random((2, 20, 30)).astype(np.float32) + 1
    cube = Cube(data=values, pan=Cube(data=rng.random((1, 40, 60)).astype(np.float32) + 1))
    scene, calls = LargeScene(cube, halo=1, side=10), []
    scene.at_once = 2

    def layer(factor):
        def function(tile):
            calls.append((factor, tile.corner))
            return factor * tile.expanded

        return scene.map(function)

    first, other = layer(1), layer(3)
    whole = first.read(*WHOLE)
    first, calls[:] = layer(1), []
    first.beside = other
    return first, other, whole, calls


def written(source, out):
    with closing(Stored(data=source, scale=np.ones(2), offset=np.zeros(2), nodata=None).blocks(4)) as blocks:
        for rows, columns, values in blocks:
            out[:, rows, columns] = values


def test_each_tile_of_both_is_computed_once_and_few_wait(layers):
    first, other, whole, calls = layers
    outs, waiting = np.zeros_like(whole), []

    class Slow(np.ndarray):
        def __setitem__(self, place, values):
            waiting.append(len(other._ahead))
            super().__setitem__(place, values)

    slow = np.zeros_like(whole).view(Slow)
    written_together(first, lambda: written(first, outs), lambda: written(other, slow))
    np.testing.assert_array_equal(outs, whole)
    np.testing.assert_array_equal(np.asarray(slow), 3 * whole)
    assert len(calls) == len(set(calls)) == 12
    # two that are computed at a time, and the one that is written
    assert max(waiting) <= 3
    assert not first._ahead
    assert not other._ahead
    assert (other.coming, other.at_once) == (None, 2)


@pytest.mark.parametrize("fails", ["first", "other"])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_who_fails_stops_the_other(layers, fails, error):
    first, other, whole, _ = layers
    ended = []

    def write(source, name):
        class Full(np.ndarray):
            def __setitem__(self, place, values):
                if name == fails and place[1].start >= 20:
                    raise error("no room")
                super().__setitem__(place, values)

        try:
            written(source, np.zeros_like(whole).view(Full))
        finally:
            ended.append(name)

    before = threading.active_count()
    with pytest.raises(error, match="no room"):
        written_together(first, lambda: write(first, "first"), lambda: write(other, "other"))
    assert sorted(ended) == ["first", "other"]
    assert threading.active_count() == before


def test_who_comes_after_the_last_computes_alone(layers):
    first, other, whole, calls = layers
    out = np.zeros_like(whole)
    written_together(first, lambda: None, lambda: written(other, out))
    np.testing.assert_array_equal(out, 3 * whole)
    assert len(calls) == 6
