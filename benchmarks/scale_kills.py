"""What survives kill −9 of workers and of the command that leads them: a slow cube, written by two workers under fire.

Light, so that a process that is killed is soon replaced: the cube is computed without torch, by the same tasks, tiles
and marks as a fused one.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.cube import Cube
from hsitools.io import open_cube
from hsitools.scale.cluster import cluster
from hsitools.scale.pieces import save_by_workers

#: Kills of each kind.
KILLS = 20
#: Tiles of the cube, and seconds that each takes: a run of two workers is a few seconds long.
TILE, TILES, SECONDS = (64, 64), (8, 8), 0.1
#: Seconds between kills, drawn evenly: of workers, so that each comes back in between; of the command, so that some die
#: before their first tile and others at their last.
BETWEEN, LIFE = (0.5, 3.0), (1.5, 8.0)
#: Of two workers that write the cube, as a process of its own.
COMMAND = """
import sys
from pathlib import Path
from benchmarks.scale_kills import write
if __name__ == "__main__":
    write(Path(sys.argv[1]))
"""


class Slow:
    """A cube that takes its time (see `hsitools.cube.sources.Source`)."""

    tile = TILE
    shape = (3, TILE[0] * TILES[0], TILE[1] * TILES[1])
    dtype = np.dtype(np.float32)

    def read(self, bands: Any, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Values of a window."""
        time.sleep(SECONDS)
        return expected()[bands, rows, columns]


def expected() -> NDArray[np.float32]:
    """All values of `Slow`."""
    return np.random.default_rng(0).random(Slow.shape).astype(np.float32)


def write(out: Path, client: Any = None) -> int:
    """Write the slow cube by two workers; tiles that were there already."""
    if client is not None:
        return save_by_workers(Cube(data=Slow()), out, client, "kills")
    with cluster(workers=2) as made:
        return write(out, made)


def right(out: Path) -> bool:
    """Whether the file holds what it should."""
    return bool(np.array_equal(open_cube(out).read(), expected()))


def kill_workers(folder: Path, told: Callable[[str], None]) -> tuple[int, int]:
    """Kills of workers that runs survived with the same result, negative where one did not; runs."""
    chance, kills, runs, over = random.Random(0), 0, 0, threading.Event()
    with cluster(workers=2) as client:

        def fire() -> None:
            nonlocal kills
            while kills < KILLS and not over.wait(chance.uniform(*BETWEEN)):
                # of the processes themselves, as a worker that dies cannot be asked
                victims = [nanny.pid for nanny in client.cluster.workers.values() if nanny.pid is not None]
                if victims:
                    os.kill(chance.choice(victims), signal.SIGKILL)
                    kills += 1
                    told(f"{kills} of {KILLS} workers killed, {runs} runs to their end")

        thread = threading.Thread(target=fire)
        thread.start()
        try:
            while thread.is_alive():
                out = folder / f"fire{runs}.h5"
                write(out, client)
                runs += 1
                if not right(out):
                    return -kills, runs
        finally:
            over.set()
            thread.join()
    return kills, runs


def kill_clients(folder: Path, told: Callable[[str], None]) -> tuple[int, int, int]:
    """Kills of the command that its next run went on from, with the same result; finished runs; tiles kept."""
    chance, kills, runs, kept = random.Random(1), 0, 0, 0
    out = folder / "client.h5"
    marks = Path(f"{out}.partial") / "done"
    while kills < KILLS or not out.exists():
        kept += len(list(marks.glob("*")))
        running = subprocess.Popen([sys.executable, "-c", COMMAND, str(out)], stderr=subprocess.DEVNULL)
        try:
            running.wait(chance.uniform(*LIFE) if kills < KILLS else None)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()
            kills += 1
            told(f"{kills} of {KILLS} commands killed, {runs} runs to their end, {kept} tiles kept")
            continue
        runs += 1
        if running.returncode or not right(out):
            return -kills, runs, kept
        if kills < KILLS:
            out.unlink()
    return kills, runs, kept
