"""Two layers of the same tiles, the estimate and its error bars, written at the same time: each tile is solved once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from hsitools.side_by_side import Stopped

Place = tuple[int, int]
#: Seconds after which who waits looks whether it was interrupted.
LOOKS = 0.2


class Handover:
    """Parts of a layer, from those who compute them to who writes them; so many are under way, or wait, at most.

    Both sides go through the parts in the same order.

    Parameters
    ----------
    room : int
        At least as many as are computed at the same time.
    """

    def __init__(self, room: int) -> None:
        self._room, self._changed = room, threading.Condition()
        self._under_way, self._given = set[Place](), set[Place]()
        self._closed = self._broken = False

    def begin(self, place: Place) -> None:
        """Wait until there is room for a part."""
        with self._changed:
            self._until(lambda: len(self._under_way) < self._room)
            self._under_way.add(place)

    def give(self, place: Place) -> None:
        """It is there."""
        self._change(lambda: self._given.add(place))

    def waited(self, place: Place) -> bool:
        """Wait for a part; whether it came, or nobody computes it any more."""
        with self._changed:
            self._until(lambda: place in self._given or self._closed)
            return place in self._given

    def done(self, place: Place) -> None:
        """It is written."""
        self._change(lambda: self._under_way.discard(place))

    def close(self) -> None:
        """No more will come."""
        self._change(lambda: setattr(self, "_closed", True))

    def break_off(self) -> None:
        """Something went wrong: who waits, or comes to wait, is stopped."""
        self._change(lambda: setattr(self, "_broken", True))

    def _change(self, change: Callable[[], Any]) -> None:
        with self._changed:
            change()
            self._changed.notify_all()

    def _until(self, ready: Callable[[], bool]) -> None:
        while not self._changed.wait_for(lambda: self._broken or ready(), LOOKS):
            pass
        if self._broken:
            raise Stopped


def written_together(source: Any, write: Callable[[], None], write_beside: Callable[[], None]) -> None:
    """Write a layer and the one that lies beside it, a thread each, with the tiles that the first computes.

    Parameters
    ----------
    source : FusedSource
        With another one ``beside`` it.
    write, write_beside : callable
        Write them, both by the same blocks.

    Raises
    ------
    BaseException
        Of whichever failed first; the other one is broken off.
    """
    other = source.beside
    own, other.at_once = other.at_once, 1
    # one that is written, and those that are computed meanwhile
    other.coming = coming = Handover(source.at_once + 1)

    def beside() -> None:
        try:
            write_beside()
        except BaseException:
            coming.break_off()
            raise

    try:
        with ThreadPoolExecutor(1) as apart:
            written = apart.submit(beside)
            try:
                write()
            except BaseException as error:
                coming.break_off()
                if isinstance(error, Stopped):
                    # by the other one, which says why
                    written.result()
                raise
            coming.close()
            written.result()
    finally:
        other.coming, other.at_once = None, own
