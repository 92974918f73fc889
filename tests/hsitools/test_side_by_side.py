"""Items that threads compute beside one another."""

import threading
from contextlib import closing

import numpy as np
import pytest

from hsitools.cube.stored import Stored
from hsitools.side_by_side import side_by_side


def test_results_come_in_order_and_only_so_many_are_under_way():
    both, lock, begun, taken = threading.Barrier(2, timeout=60), threading.Lock(), [], 0
    under_way = threading.Semaphore(0)

    def work(item):
        with lock:
            begun.append(item)
            ahead = len(begun) - taken
        under_way.release()
        # two at a time, or the barrier breaks
        both.wait()
        return item, ahead

    for number, (item, ahead) in enumerate(side_by_side(work, range(8), 2)):
        assert item == number
        # two, and the one that is made use of
        assert ahead <= 3
        if number in (1, 3, 5):
            # no thread waits for who makes use of a result: two have begun beside those that were taken
            for _ in range(4 if number == 1 else 2):
                assert under_way.acquire(timeout=60)
        taken = number + 1
    assert sorted(begun) == list(range(8))


@pytest.mark.parametrize("at_once", [1, 3])
def test_what_goes_wrong_is_said_at_its_turn(at_once):
    def work(item):
        if item == 2:
            raise ValueError("at two")
        return item

    got = []
    with pytest.raises(ValueError, match="at two"):
        got.extend(side_by_side(work, range(6), at_once))
    assert got == [0, 1]


def test_who_stops_does_not_wait_for_what_is_under_way():
    begun, never = threading.Event(), threading.Event()
    ended = []

    def work(item):
        if not item:
            return item
        try:
            begun.set()
            while not never.is_set():
                pass
        finally:
            ended.append(item)

    with closing(side_by_side(work, [0, 1, 1, 1], 2)) as results:
        assert next(results) == 0
        assert begun.wait(60)
    assert ended
    assert set(ended) == {1}


def test_torch_threads_are_shared_and_given_back():
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(5)
        assert list(side_by_side(lambda _: torch.get_num_threads(), range(3), 2)) == [2, 2, 2]
        assert torch.get_num_threads() == 5
    finally:
        torch.set_num_threads(before)


def test_two_who_share_torch_threads_at_a_time_give_them_back():
    """The second begins while the first has set its share, and ends last."""
    torch = pytest.importorskip("torch")
    before, told = torch.get_num_threads(), []
    begun, ended = threading.Event(), threading.Event()

    def second():
        with closing(side_by_side(lambda _: torch.get_num_threads(), range(3), 2)) as results:
            told.append(next(results))
            begun.set()
            ended.wait(60)
        told.append(torch.get_num_threads())

    try:
        torch.set_num_threads(6)
        thread = threading.Thread(target=second)
        with closing(side_by_side(abs, range(3), 2)) as results:
            next(results)
            thread.start()
            begun.wait(60)
        ended.set()
        thread.join()
        told.append(torch.get_num_threads())
        thread = threading.Thread(target=lambda: told.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert told == [3, 6, 6, 6]
    finally:
        torch.set_num_threads(before)


def test_a_thread_of_a_team_has_no_team():
    """Or there would be four under way where two are allowed."""

    def work(item):
        own = threading.get_ident()
        return item, set(side_by_side(lambda _: threading.get_ident(), range(4), 2)) == {own}

    assert list(side_by_side(work, range(4), 2)) == [(item, True) for item in range(4)]


class Computed:
    """A cube of row numbers that is computed by tiles, two at a time."""

    shape, dtype, tile, at_once = (1, 40, 8), np.dtype(np.float32), (8, 8), 2

    def __init__(self):
        self.both = threading.Barrier(2, timeout=60)

    def read(self, bands, rows, columns):
        if rows.start < 32:
            self.both.wait()
        return np.broadcast_to(np.arange(rows.start, rows.stop, dtype=np.float32)[None, :, None], (1, 8, 8))


def test_writers_are_given_tiles_that_threads_compute_ahead(monkeypatch):
    monkeypatch.setattr("hsitools.cube.stored.BLOCK_BYTES", 4 * 8 * 8)
    stored, told = Stored(data=Computed(), scale=np.ones(1), offset=np.zeros(1), nodata=None), []
    blocks = list(stored.blocks(4, progress=lambda *done: told.append(done)))
    np.testing.assert_array_equal(np.concatenate([values for *_, values in blocks], 1)[0, :, 0], np.arange(40))
    assert told == [(done, 5) for done in range(1, 6)]
