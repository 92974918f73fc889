"""Files of training examples, each made from its own seed; which scenes are held out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.errors import FormatError
from hsitools.io.atomic import atomic_path
from hsitools.learning.workers import Worker
from hsitools.progress import Progress

#: Every so many-th scene is held out: the fifth that is usual.
HELD_OUT = 5


def held_out(count: int) -> list[int]:
    """Numbers of the scenes held out: every fifth; of fewer the last."""
    return list(range(HELD_OUT - 1, count, HELD_OUT)) or [count - 1]


def example_files(
    count: int, seed: int, folder: str | Path, make: Callable[[np.random.Generator], Mapping[str, Any]],
    progress: Progress | None = None, worker: Worker | None = None,
) -> list[Path]:  # fmt: skip
    """Files of ``count`` examples, made where missing; each from its own seed, so that any process can make any.

    Parameters
    ----------
    count, seed : int
    folder : path
        Made when missing.
    make : callable
        An example's arrays, by its random numbers.
    progress : callable, optional
        Called with (examples done, examples in all).
    worker : Worker, optional
        Makes its share only; see that all are there by `Worker.wait`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:05d}.npz" for number in range(count)]
    rank, world = (0, 1) if worker is None else (worker.rank, worker.world)
    for number in range(rank, count, world):
        if not paths[number].is_file():
            save_arrays(paths[number], make(np.random.default_rng([seed, number])))
        if progress is not None and rank == 0:
            progress(number + 1, count)
    return paths


def save_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write an example's file."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)


@contextlib.contextmanager
def example_arrays(path: Path) -> Iterator[dict[str, NDArray[Any]]]:
    """Arrays of an example's file; what is wrong with them, here or in the block, is a `FormatError`."""
    try:
        with np.load(path) as file:
            yield {name: file[name] for name in file.files}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{path}: expected a training example; {' '.join(str(error).split())}") from None
