"""Tiles that are computed where they are read: any part is the whole's, which is what its formula says."""

import numpy as np
import pytest
import torch

from hsitools.cube import Cube, Stored
from hsitools.sensor.interpolation import displace, interpolate
from hsitools.sensor.separable import Separable
from pansharpen.fused_source import _lost
from pansharpen.mixture import Mixture
from pansharpen.tile_sides import _longest, _wide
from pansharpen.tiled import LargeScene

SHAPE, RATIO = (9, 11), 3


def dense(matrix, n):
    """The matrix of one axis of an operator for band 0 … as rows of what it makes of unit vectors."""
    return [matrix.along_x(torch.eye(n, dtype=torch.float64).expand(max(1, matrix.kinds), n, n))[k].T.numpy()
            for k in range(matrix.kinds)]  # fmt: skip


@pytest.mark.parametrize("moves", [False, True])
@pytest.mark.parametrize("bounded", [False, True])
def test_any_part_is_what_the_formula_says(moves, bounded, monkeypatch):
    monkeypatch.setattr("hsitools.estimation.chebyshev.CACHED_BYTES", 2000)
    monkeypatch.setattr("pansharpen.families.statistics.BLOCK_BYTES", 1500)
    rng, fine = np.random.default_rng(0), tuple(RATIO * size for size in SHAPE)
    basis, coarse, images = rng.normal(size=(5, 2)), rng.normal(size=(5, *SHAPE)), rng.normal(size=(2, *fine))
    up = interpolate(SHAPE, RATIO, None, method="polynomial", out_shape=fine)
    values = np.einsum("bk,kyx->byx", basis, images)
    values += np.einsum("yi,bij,xj->byx", *dense(up.y, SHAPE[0]), coarse, *dense(up.x, SHAPE[1]))
    move = None
    if moves:
        places = rng.uniform(-1, 1, (5, 2))
        move = displace(fine, tuple(map(tuple, places.tolist()))).outputs(slice(6, 21), slice(3, 30))
        values = np.einsum("byi,bij,bxj->byx", dense(move.y, fine[0]), values, dense(move.x, fine[1]))
    expected = np.maximum(values, 0) if bounded else values
    mixture = Mixture(
        basis=torch.as_tensor(basis)[None], images=torch.as_tensor(images)[None],
        coarse=torch.as_tensor(coarse)[None], up=up, move=move, bounded=bounded,
    )  # fmt: skip
    np.testing.assert_allclose(mixture.whole()[0], expected, atol=1e-12)
    for bands, rows, columns in (
        (slice(None), slice(0, 15), slice(20, 27)),
        (torch.tensor([3, 0]), slice(7, 12), slice(0, 27)),
    ):
        part = mixture.part(bands, rows, columns)
        np.testing.assert_allclose(part[0], expected[bands][:, rows, columns], atol=1e-12)


def test_an_operator_cut_to_the_inputs_it_acts_on():
    part = displace((90, 200), ((0.3, -0.7), (0.1, 0.9))).outputs(slice(70, 80), slice(0, 5))
    (y, rows), (x, columns) = part.y.cut(), part.x.cut()
    assert rows.start > 20
    assert columns.stop < 100
    image = torch.as_tensor(np.random.default_rng(0).normal(size=(2, 90, 200)))
    torch.testing.assert_close(Separable(y, x)(image[:, rows, columns]), part(image), rtol=0, atol=1e-14)


def scene_with_holes():
    """Two tiles by three, a band that is dead, holes in bands and in PAN."""
    rng = np.random.default_rng(1)
    values = (rng.random((4, 20, 30)) + 1).astype(np.float32)
    values[1], values[2, 3:6, 8:13], values[3, :, 29] = 0, np.nan, np.nan
    pan = (rng.random((1, 40, 60)) + 1).astype(np.float32)
    pan[0, 17:24, 30:33] = np.nan
    return LargeScene(Cube(data=values, pan=Cube(data=pan)), halo=2, side=10)


def test_writers_go_through_parts_of_tiles_that_are_computed_once(monkeypatch):
    scene, calls = scene_with_holes(), []

    def function(tile):
        calls.append(tile.corner)
        return tile.expanded

    whole = scene.map(function).read(np.arange(4), slice(0, 40), slice(0, 60))
    assert np.isnan(whole[:, 17:24, 30:33]).sum() == 3 * 21  # of the dead band PAN takes nothing
    np.testing.assert_array_equal(np.isnan(whole[2, 6:12, 16:26]), True)
    source = scene.map(function)
    calls.clear()
    # as a window of rows is a tile here, blocks are parts of them
    monkeypatch.setattr("hsitools.cube.stored.BLOCK_BYTES", 4 * 4 * 7 * 20)
    stored = Stored(data=source, scale=np.ones(4), offset=np.zeros(4), nodata=None)
    found = np.zeros_like(whole)
    blocks = 0
    for rows, columns, values in stored.blocks(4):
        found[:, rows, columns] = values
        blocks += 1
    np.testing.assert_array_equal(found, whole)
    assert blocks == 6 * 3
    assert len(calls) == len(set(calls)) == 6
    assert not source._ahead
    tile = np.concatenate([values for *_, values in stored.tile_blocks(slice(20, 40), slice(40, 60), 4)], 1)
    np.testing.assert_array_equal(tile, whole[:, 20:40, 40:60])


def test_what_is_missing_is_counted_without_the_fine_mask():
    scene = scene_with_holes()
    for window in scene.windows:
        tile = scene.tile(window)
        measured = tile.measured.expand(1, 3, 20, 20) if tile.measured is not None else torch.ones(1, 3, 20, 20)
        lost, size = _lost(tile, scene.n_bands)
        assert (round(lost, 6), size) == (float((~measured.bool()).sum()), measured.numel())
        part = tile.measured_in(slice(3, 9), slice(11, 20))
        if part is not None:
            torch.testing.assert_close(part.expand(1, 3, 6, 9), measured[..., 3:9, 11:20])


def test_the_time_of_tiles_is_that_of_who_ends_last():
    """Two take the next tile whenever they are done: 12, 14, 14, 6 rows wide of 10 columns."""
    wide = _wide(10, 34, 2)
    assert wide == [12, 14, 14, 6]
    # one takes 12 and then 14, the other one 14 and then 6
    assert _longest(wide, [10], 2) == 260
    assert _longest(wide, [10], 1) == 460
    assert _longest(wide, [10], 9) == 140
