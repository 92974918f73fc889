"""Cubes larger than memory: restored strip by strip as they are read, neighbours passing into one another."""

from __future__ import annotations

import json
import logging
import math
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from denoise.case import Restoration
from denoise.said import of_strips
from hsitools.cube import Cube
from hsitools.cube.memory import require_memory
from hsitools.cube.sources import Bands
from hsitools.cube.windows import Window, windows
from hsitools.errors import InputError
from hsitools.io.atomic import atomic_path, made_scratch, mapped
from hsitools.progress import Progress, silent
from hsitools.text import plain

log = logging.getLogger(__name__)
#: Values (float32) of a strip with its surroundings, and its pixels; methods then stay below 3 GB.
STRIP_BYTES, STRIP_PIXELS = 128 * 2**20, 160_000
#: Columns and rows of surroundings of a strip.
HALO = 16
#: Strips (float32) that methods hold at least while they restore one: `lowrank` has 21.5, all that it tells apart in
#: double precision.
HELD = 21
#: What strips give to the whole.
LAYERS = ("estimate", "std", "mask", "structure")


class RestoredSource:
    """A restored cube, strip by strip as it is read (see `hsitools.cube.sources.Source`).

    Neighbouring strips share `HALO` columns or rows on both sides of their border, over which one passes into the
    other. What is restored is kept on disk, where the system keeps temporary files: each strip is restored once,
    whatever the order of reading.

    Parameters
    ----------
    cube : Cube
        In physical units.
    restored : callable
        Restores values ``(band, y, x)`` of some columns.
    strip : (int, int)
        Rows and columns of a strip, see `strip_size`.
    samples : bool
        Whether there is a standard deviation to keep.
    progress : callable, optional
        Called with (strips done, strips in all).
    client : distributed.Client, optional
        Of workers that restore all strips, once the first is asked for (`hsitools.scale`).
    kept : Path, optional
        Folder, of these and the client, for strips that are restored: those that it holds are not restored again.

    Attributes
    ----------
    std, mask : array, shape (band, y, x), or None
        Standard deviation and mask; filled in with the strips. None without samples.
    structure : array of uint8, shape (1, y, x)
        Pixels whose residual held structure in the strip that they lie in; filled in with the strips.
    """

    def __init__(
        self, cube: Cube, restored: Callable[[NDArray[Any], slice], Restoration], strip: tuple[int, int],
        samples: bool, progress: Progress | None, client: Any = None, kept: Path | None = None,
    ) -> None:  # fmt: skip
        self.cube, self.restored, self.progress, self.client = cube, restored, progress or silent, client
        self.shape = cube.shape
        self.dtype = np.dtype(np.float32)
        #: What is computed at a time: writers go by it.
        self.tile = strip
        self.windows = windows(cube.shape[1:], strip, HALO)
        self._require_memory()
        self._done, self._broken = [False] * len(self.windows), False
        self._said: dict[int, dict[str, Any]] = {}
        self._folder = made_scratch(Path(tempfile.gettempdir()) / "hsi-denoise")
        self._parts = self._folder if kept is None else kept
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._new("estimate", np.float32)
        self.std = self._new("std", np.float32) if samples else None
        self.mask = self._new("mask", np.uint8) if samples else None
        self.structure = np.zeros((1, *self.shape[1:]), dtype=np.uint8)

    def _require_memory(self) -> None:
        """Refuse strips that would end each worker that takes one; smaller ones would be of another result."""
        pixels = max(
            math.prod(part.stop - part.start for part in (one.wide_rows, one.wide_columns)) for one in self.windows
        )
        needed = HELD * 4 * self.shape[0] * pixels
        if self.client is None:
            return require_memory(needed, self.cube.who, use="a strip of it")
        from hsitools.scale.cluster import memory_of_task

        limit = memory_of_task(self.client)
        if limit is not None and needed > limit:
            raise InputError(
                f"{self.cube.who}: memory: a strip of it, about {needed / 2**30:.1f} GiB needed, found "
                f"{limit / 2**30:.1f} GiB for each worker; fewer workers have more each"
            )
        return None

    def _new(self, name: str, dtype: Any) -> NDArray[Any]:
        return mapped(self._folder / name, dtype, self.shape)

    def _kept(self, name: str, mode: Literal["r", "r+"]) -> NDArray[Any]:
        """A layer's file as an array. Not held for long: what was touched of it counts as memory."""
        dtype = np.uint8 if name == "mask" else np.float32
        return np.memmap(self._folder / name, dtype=dtype, mode=mode, shape=self.shape)

    def read(self, bands: Bands, rows: slice, columns: slice) -> NDArray[np.float32]:
        """Values of a window; every strip that reaches into it is restored, unless it was before.

        Raises `InputError` after a strip was cut off while it was added to the others.
        """
        if self._broken:
            who = self.cube.who
            raise InputError(f"{who}: found a strip that was added half, expected a new restoration")
        # workers do not wait for a writer to ask
        asked = [self.client is not None or window.reaches(rows, columns) for window in self.windows]
        todo = [number for number, done in enumerate(self._done) if not done and asked[number]]
        for number, part in zip(todo, self._restorations(todo), strict=True):
            self._add(number, part)
        return np.array(self._kept("estimate", "r")[:, rows, columns][bands])

    def _restorations(self, numbers: list[int]) -> Iterator[Restoration]:
        """Strips by number, in this order, whoever restores them."""
        done = sum(self._done)
        work = Restorer(cube=self.cube, restored=self.restored, windows=self.windows)
        if self.client is None:
            for more, number in enumerate(numbers, 1):
                yield work(number)
                self.progress(done + more, len(self.windows))
            return
        from hsitools.scale.tasks import ordered

        def told(more: int, _total: int) -> None:
            self.progress(done + more, len(self.windows))

        for file in ordered(self.client, work.keeping(self._parts), numbers, told):
            yield loaded(file)

    def _add(self, number: int, part: Restoration) -> None:
        window = self.windows[number]
        place = (slice(None), window.wide_rows, window.wide_columns)
        weight = window.weight((self.shape[1], self.shape[2]), HALO).astype(np.float32)
        # what was added half must not be added again
        self._broken = True
        self._kept("estimate", "r+")[place] += weight * part.estimate
        if self.std is not None:
            self._kept("std", "r+")[place] += weight * (np.nan if part.std is None else part.std)
            self._kept("mask", "r+")[place] |= np.uint8(0) if part.mask is None else part.mask.view(np.uint8)
        if part.structure is not None:
            # a strip has the last word on its own pixels: its surroundings it sees in part only
            inside = (slice(None), window.rows, window.columns)
            rows, columns = (
                slice(own.start - wide.start, own.stop - wide.start)
                for own, wide in ((window.rows, window.wide_rows), (window.columns, window.wide_columns))
            )
            self.structure[inside] = part.structure[rows, columns]
        self._broken, self._done[number] = False, True
        self._said[number] = part.provenance
        if all(self._done) and (warning := self.findings().get("warning")):
            log.warning("%s: %s", self.cube.who, warning)

    def findings(self) -> dict[str, Any]:
        """What the strips found that are restored so far: see `denoise.said.of_strips`."""
        sizes = [math.prod(part.stop - part.start for part in (one.rows, one.columns)) for one in self.windows]
        return of_strips([(sizes[number], self._said[number]) for number in sorted(self._said)])


@dataclass(frozen=True, kw_only=True)
class Restorer:
    """Restores a strip, by its number, with its surroundings."""

    cube: Cube
    restored: Callable[[NDArray[Any], slice], Restoration]
    windows: list[Window]

    def __call__(self, number: int) -> Restoration:
        """Do it."""
        window = self.windows[number]
        values = self.cube.read(rows=window.wide_rows, columns=window.wide_columns)
        if _empty(values[self.cube.good]):
            nothing = {"nodata": 1.0}
            return Restoration(estimate=values.astype(np.float32), mask=~np.isfinite(values), provenance=nothing)
        return self.restored(values, window.wide_columns)

    def keeping(self, folder: Path) -> Callable[[int], Path]:
        """The same into a file of a folder, unless it is there; what workers do."""
        from hsitools.scale.parts import Run

        run = Run.of(folder)

        def restore_into(number: int) -> Path:
            path = folder / f"strip-{number}.npz"
            run.require()
            if not path.exists():
                part = self(number)
                arrays = {name: getattr(part, name) for name in LAYERS}
                arrays["said"] = np.array(json.dumps(plain(part.provenance)))
                with atomic_path(path) as temporary, temporary.open("wb") as file:
                    np.savez(file, **{name: array for name, array in arrays.items() if array is not None})
                    run.require()
            return path

        return restore_into


def loaded(path: Path) -> Restoration:
    """A strip as `Restorer.keeping` wrote it."""
    with np.load(path, allow_pickle=False) as file:
        layers = {name: file[name] for name in file.files}
    said = json.loads(str(layers.pop("said")))
    return Restoration(**layers, provenance=said)


def strip_size(shape: tuple[int, int, int], strip_bytes: int = STRIP_BYTES) -> tuple[int, int]:
    """Rows and columns of a strip less its surroundings: whole columns, or squares of scenes too long for these."""
    bands, height, width = shape
    pixels = min(strip_bytes // (4 * bands), STRIP_PIXELS)
    columns = pixels // height - 2 * HALO
    if columns >= 2 * HALO:
        return height, min(columns, width)
    side = max(2 * HALO, int(np.sqrt(pixels)) - 2 * HALO)
    return min(side, height), min(side, width)


def _empty(values: NDArray[Any]) -> bool:
    """Whether there is no signal at all, as beyond a scene's edge."""
    return not (np.isfinite(values) & (values != 0)).any()
