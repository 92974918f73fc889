"""Finished parts beside an output: taken by the same run only, and written by no other."""

from __future__ import annotations

import numpy as np
import pytest

from denoise.case import Restoration
from denoise.strips import Restorer
from hsitools.cube.windows import windows
from hsitools.errors import InputError
from hsitools.scale.parts import partial_folder
from hsitools.scale.pieces import _Layer
from tests.scale.computed_cube import VALUES, computed


def tiled(tile):
    cube = computed(VALUES)
    cube.data.tile = tile
    return cube


@pytest.mark.parametrize(("suffix", "larger"), [(".zarr", (16, 12)), (".h5", (30, 40))])
def test_finished_tiles_of_another_size_are_not_taken(tmp_path, suffix, larger):
    out = tmp_path / f"out{suffix}"
    first = _Layer(tiled((8, 12)), out, "key")
    for number in range(5):
        first.work(number)
    assert _Layer(tiled((8, 12)), out, "key").kept == set(range(5))
    # as when another number of workers goes on, each with more memory or less
    other = _Layer(tiled(larger), out, "key")
    assert other.kept == set()
    for number in range(len(other.parts)):
        other.work(number)
    if suffix == ".zarr":
        np.testing.assert_array_equal(other.array[:], VALUES + 1)


@pytest.mark.parametrize(("suffix", "tile"), [(".zarr", (8, 12)), (".h5", (30, 40)), ("strip", (30, 40))])
def test_a_task_whose_run_is_over_leaves_nothing_to_the_next(tmp_path, suffix, tile):
    out, cube = tmp_path / f"out{suffix}", tiled(tile)
    if suffix == "strip":
        part = Restoration(estimate=VALUES, provenance={})
        restorer = Restorer(cube=cube, restored=lambda values, columns: part, windows=windows((30, 40), tile, 0))
        work = restorer.keeping(partial_folder(out, "first"))
    else:
        work = _Layer(cube, out, "first").work
    work(0)
    # as a scheduler's workers, who do not know that the command was killed and another one begun
    folder = partial_folder(out, "second")
    with pytest.raises(InputError, match="another run has begun there"):
        work(0)
    assert [path.name for path in tmp_path.rglob("*")] == [folder.name, "run.json"]
