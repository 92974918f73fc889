"""Parts of an image with surroundings: they cover it once, meet what is asked for, and pass into one another."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsitools.cube import memory
from hsitools.cube.memory import require_memory
from hsitools.cube.windows import windows
from hsitools.errors import InputError

SHAPES = st.tuples(st.integers(1, 60), st.integers(1, 60))


@given(SHAPES, st.tuples(st.integers(8, 30), st.integers(8, 30)), st.integers(1, 4))
def test_weights_add_up_to_one(shape, part, halo):
    total, times = np.zeros(shape), np.zeros(shape)
    for window in windows(shape, part, halo):
        total[window.wide_rows, window.wide_columns] += window.weight(shape, halo)
        times[window.rows, window.columns] += 1
    assert (times == 1).all()
    # a last part narrower than the surroundings is no border that two share
    if all(size % side >= 2 * halo or size % side == 0 for size, side in zip(shape, part, strict=True)):
        np.testing.assert_allclose(total, 1, rtol=1e-12)


@given(SHAPES, st.integers(1, 30), st.integers(0, 9), st.integers(1, 4))
def test_surroundings_begin_with_a_whole_block(shape, side, halo, step):
    for window in windows(shape, (side, side), halo, step):
        for own, wide in ((window.rows, window.wide_rows), (window.columns, window.wide_columns)):
            assert wide.start % step == 0
            assert max(own.start - halo, 0) - wide.start in range(step)


@given(SHAPES, st.integers(3, 20), st.integers(1, 4), st.data())
def test_overlaps_put_a_window_together(shape, side, ratio, data):
    """Parts of a coarse image, each known on a grid finer by the ratio, give any window of the fine image."""
    image = np.arange(ratio**2 * shape[0] * shape[1]).reshape(ratio * shape[0], ratio * shape[1])
    asked = []
    for size in image.shape:
        start = data.draw(st.integers(0, size - 1))
        asked.append(slice(start, data.draw(st.integers(start + 1, size))))
    rows, columns = asked
    out = np.full((rows.stop - rows.start, columns.stop - columns.start), -1)
    for window in windows(shape, (side, side), 2):
        fine = [slice(ratio * own.start, ratio * own.stop) for own in (window.rows, window.columns)]
        shared = window.overlap(rows, columns, ratio)
        if shared is not None:
            own, there = shared
            assert (out[there] == -1).all()
            out[there] = image[tuple(fine)][own]
    np.testing.assert_array_equal(out, image[rows, columns])


def test_a_part_reaches_as_far_as_its_surroundings():
    _, second = windows((10, 20), (10, 10), 3)
    assert second.reaches(slice(0, 1), slice(0, 8))
    assert not second.reaches(slice(0, 1), slice(0, 7))


def test_memory_that_no_machine_has_is_refused():
    require_memory(1, "cube")
    with pytest.raises(InputError, match=r"cube: memory: it is held whole, about 953674.3 GiB needed, .*; take less"):
        require_memory(1024 * 10**12, "cube", use="it is held whole", advice="take less")


def test_memory_of_systems_that_tell_it_otherwise(monkeypatch):
    psutil = pytest.importorskip("psutil")

    def unknown(name):
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(memory, "_LIMIT", [])
    monkeypatch.setattr("os.sysconf", unknown, raising=False)
    total = psutil.virtual_memory().total
    assert memory.SHARE * total - 1 <= memory.memory_limit() <= total
    # without the extra `scale`
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert memory.memory_limit() is None
