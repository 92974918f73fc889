"""The estimate and its error bars, written at the same time: each tile is computed once, and few wait."""

import threading
from contextlib import closing

import numpy as np
import pytest

from hsitools.cube import Cube, Stored
from hsitools.io import open_cube
from hsitools.scale.pieces import save_by_workers
from pansharpen.handover import written_together
from pansharpen.kept_tiles import LastTile
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


# ---- by workers ----------------------------------------------------------------------------------------------------


@pytest.fixture
def solutions(monkeypatch):
    """Six tiles of an estimate and its error bars, which share what each tile was solved for; what was solved, and by.

    One process does what workers would; no tile is kept from pass to pass.
    """
    monkeypatch.setattr("pansharpen.kept_tiles.KEPT_BYTES", 0)
    monkeypatch.setattr("hsitools.scale.pieces.ordered", lambda _, work, items, *__, **___: (work(i) for i in items))
    rng = np.random.default_rng(0)
    values = rng.random((2, 64, 192)).astype(np.float32) + 1
    cube = Cube(data=values, pan=Cube(data=rng.random((1, 128, 384)).astype(np.float32) + 1))
    scene, once, solved = LargeScene(cube, halo=1, side=32), LastTile(), []

    def solve(tile):
        solved.append(tile.corner)
        return tile.expanded

    def layer(factor):
        return Cube(data=scene.map(lambda tile: factor * once.of(tile, solve, at_last=factor > 1)))

    both = layer(1), layer(3)
    # which is gone through for these first
    assert not scene.wild.said
    return *both, scene, solved


@pytest.mark.parametrize("suffix", [".h5", ".zarr", ".tif"])
def test_workers_solve_each_tile_once_for_both(solutions, tmp_path, suffix):
    pytest.importorskip("zarr")
    estimate, bars, scene, solved = solutions
    outs = [tmp_path / f"out{name}{suffix}" for name in ("", "_std")]
    assert save_by_workers(estimate, outs[0], None, "key", beside=(bars, outs[1])) == 0
    assert len(solved) == len(set(solved)) == len(scene.windows) == 12
    assert not estimate.data._ahead
    assert not bars.data._ahead
    whole = estimate.read()
    for out, factor in zip(outs, (1, 3), strict=True):
        np.testing.assert_array_equal(open_cube(out).read(), factor * whole)
    assert sorted(tmp_path.iterdir()) == sorted(outs)


def test_a_layer_that_is_there_is_not_computed_again(solutions, tmp_path, monkeypatch):
    """Of a command that was killed: tiles of both, of one of both, and of neither."""
    estimate, bars, scene, solved = solutions
    outs = tmp_path / "out.h5", tmp_path / "out_std.h5"

    def killed(_client, work, items, *_, **__):
        for item in items[:4]:
            yield work(item)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("hsitools.scale.pieces.ordered", killed)
        with pytest.raises(KeyboardInterrupt):
            save_by_workers(estimate, outs[0], None, "key", beside=(bars, outs[1]))
    (tmp_path / "out_std.h5.partial" / "done" / "2").unlink()
    assert not any(out.exists() for out in outs)
    assert save_by_workers(estimate, outs[0], None, "key", beside=(bars, outs[1])) == 3
    # the third one once more, for its error bars alone
    corners = [(window.wide_rows.start, window.wide_columns.start) for window in scene.windows]
    assert solved == corners[:4] + corners[2:3] + corners[4:]
    np.testing.assert_array_equal(open_cube(outs[1]).read(), 3 * open_cube(outs[0]).read())
