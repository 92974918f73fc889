"""Files of training examples, each made from its own seed; which scenes are held out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from hsitools.errors import FormatError
from hsitools.io.atomic import atomic_path
from hsitools.learning.workers import Worker
from hsitools.progress import Progress

Content = TypeVar("Content")
#: Every so many-th scene is held out: the fifth that is usual.
HELD_OUT = 5


def held_out(count: int) -> list[int]:
    """Numbers of the scenes held out: every fifth; of fewer the last."""
    return list(range(HELD_OUT - 1, count, HELD_OUT)) or [count - 1]


def example_sets(
    cubes: Sequence[Content], make: Callable[[Sequence[Content], np.random.Generator], Mapping[str, Any]],
    folders: tuple[Path, Path], counts: tuple[int, int], seed: int, progress: Progress | None, worker: Worker,
) -> tuple[list[Path], list[Path]]:  # fmt: skip
    """Files of examples to learn from, and of those held out to judge by; made where missing.

    Each is made from its own seed, so that any process can make any; all wait until all are there.

    Parameters
    ----------
    cubes : sequence
        What examples are made of; see `held_out`.
    make : callable
        An example's arrays, from some cubes by random numbers.
    folders : (path, path)
        Made when missing.
    counts : (int, int)
    seed : int
    progress : callable or None
        Called with (examples done, examples in all), of each folder.
    worker : Worker
    """
    apart = held_out(len(cubes))
    parts = [cube for number, cube in enumerate(cubes) if number not in apart], [cubes[number] for number in apart]
    sets: list[list[Path]] = []
    for place, (part, folder, count) in enumerate(zip(parts, folders, counts, strict=True)):
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{number:05d}.npz" for number in range(count)]
        for number in range(worker.rank, count, worker.world):
            if not paths[number].is_file():
                save_arrays(paths[number], make(part, np.random.default_rng([seed + place, number])))
            if progress is not None and worker.first:
                progress(number + 1, count)
        sets.append(paths)
    worker.wait()
    return sets[0], sets[1]


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
