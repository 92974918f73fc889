"""Images larger than memory: learned from a sample that is spread over them, inverted tile by tile, kept on disk."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.inversion.measurement import AnyMeasurement, Measurement
from calibration.inversion.problem import Interferograms, Spectra
from calibration.inversion.registry import Learned
from hsitools.cube.windows import Window, windows
from hsitools.errors import InputError
from hsitools.io.atomic import UNFINISHED, atomic_path, mapped
from hsitools.progress import Progress, silent
from hsitools.text import plain

Array = NDArray[np.float64]
#: Of all arrays of a tile, in double precision, with its surroundings.
TILE_BYTES = 2**30
#: Arrays (interferometer, pixel) that a tile with its surroundings needs at a time, and (wavelength, pixel) without.
HELD_MEASURED, HELD_SPECTRA = 4, 6
#: Pixels that a method learns from: more tell nothing new of spectra, noise and edges.
SAMPLE_PIXELS = 65536
#: Side of the blocks that a sample is made of: neighbours stay neighbours.
BLOCK = 64


def sample(measured: AnyMeasurement) -> Measurement:
    """The image itself, or blocks spread evenly over it, beside one another, where it has more than `SAMPLE_PIXELS`."""
    _, height, width = measured.shape
    if height * width <= SAMPLE_PIXELS:
        values = measured.read(slice(0, height), slice(0, width))
        return Measurement(
            values=values, noise_std=measured.noise_std, source=measured.source, alignment_std=measured.alignment_std
        )  # fmt: skip
    side = min(BLOCK, height, width)
    across = min(max(1, math.isqrt(SAMPLE_PIXELS) // side), width // side)
    down = min(max(1, SAMPLE_PIXELS // (across * side**2)), height // side)
    tops, lefts = (np.linspace(0, size - side, n).astype(int) for size, n in ((height, down), (width, across)))
    rows = [
        np.concatenate([measured.read(slice(top, top + side), slice(left, left + side)) for left in lefts], axis=2)
        for top in tops
    ]
    return Measurement(
        values=np.concatenate(rows, axis=1), noise_std=measured.noise_std, source=measured.source,
        alignment_std=measured.alignment_std,
    )  # fmt: skip


def tile_windows(shape: tuple[int, int, int], wavelengths: int, reach: int) -> list[Window]:
    """Tiles of an image ``(interferometer, y, x)`` of about `TILE_BYTES` each, and never smaller than their reach."""
    count, height, width = shape
    around, inside = 8 * HELD_MEASURED * count, 8 * HELD_SPECTRA * wavelengths
    if around * height * width + inside * height * width <= TILE_BYTES:
        return windows((height, width), (height, width), 0)
    # a tile much smaller than its surroundings would be all surroundings
    side = max(16, reach)
    while around * (2 * side + 2 * reach) ** 2 + inside * (2 * side) ** 2 <= TILE_BYTES:
        side *= 2
    return windows((height, width), (side, side), reach)


@dataclass(frozen=True, eq=False)
class Kept:
    """Layers of a result on disk, and which tiles of them are done: a run that was stopped goes on there.

    Parameters
    ----------
    folder : Path
        Made if need be.
    key : str
        What the result depends on: a folder of another key is begun anew.
    """

    folder: Path
    key: str
    done: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            self.folder.mkdir(exist_ok=True)
            if not _is_kept(self.folder):
                raise InputError(f"{self.folder}: parts: found something else, expected a new name for finished tiles")
            record = _record(self.folder)
            if record.get("key") == self.key:
                self.done.update(record["done"])
                return
            # new files: another run may still write into those that are there
            for name in LAYERS:
                (self.folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise InputError(f"{self.folder}: parts: cannot keep them there ({error.strerror})") from None
        self._write()

    def layer(self, name: str, shape: tuple[int, ...], dtype: Any = np.float32) -> NDArray[Any]:
        """A layer's file as an array."""
        path = self.folder / name
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if path.is_file() and path.stat().st_size == size:
            return np.memmap(path, dtype=dtype, mode="r+", shape=shape)
        # what was done of it is not there
        self.done.clear()
        return mapped(path, dtype, shape)

    def add(self, tile: str, pixels: int, parameters: dict[str, Any]) -> None:
        """Say that a tile is in the layers."""
        if _record(self.folder).get("key") != self.key:
            raise InputError(f"{self.folder}: parts: another run has begun there, expected one at a time")
        self.done[tile] = {"pixels": pixels, "parameters": plain(parameters)}
        self._write()

    def _write(self) -> None:
        with atomic_path(self.folder / DONE) as temporary:
            temporary.write_text(json.dumps({"key": self.key, "done": self.done}), encoding="utf-8")


#: Files of `Kept`.
LAYERS, DONE = ("estimate", "std", "noise_std", "mask"), "done.json"


def _record(folder: Path) -> dict[str, Any]:
    """What a folder of `Kept` says of itself; empty where it does not."""
    try:
        record = json.loads((folder / DONE).read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return record if isinstance(record, dict) and {"key", "done"} == set(record) else {}


def _is_kept(folder: Path) -> bool:
    """Whether a folder holds finished tiles and nothing else, or nothing."""
    names = {path.name for path in folder.iterdir() if not UNFINISHED.fullmatch(path.name)}
    return not names or (names <= {*LAYERS, DONE} and bool(_record(folder)))


def remove_kept(folder: Path) -> None:
    """Remove the folder of `Kept`, if there is one: what somebody else calls so stays."""
    if folder.is_dir() and _record(folder) and _is_kept(folder):
        shutil.rmtree(folder)


def invert_tiles(
    measured: AnyMeasurement, fitted: NDArray[np.intp], case: Interferograms, learned: Learned,
    tiles: list[Window], finish: Callable[[Spectra], Spectra], kept: Kept, progress: Progress = silent,
    client: Any = None,
) -> Spectra:  # fmt: skip
    """Spectra of an image, tile by tile, on disk.

    Parameters
    ----------
    measured : Measurement or CubeMeasurement
    fitted : array of int
        Interferometers of the case.
    case : Interferograms
        Of the sample that was learned from.
    learned : Learned
    tiles : list of Window
    finish : callable
        What is done to spectra of a tile before they are kept.
    kept : Kept
    progress : callable
        Called with (tiles done, tiles in all).
    client : distributed.Client, optional
        Of workers that see the cube (`hsitools.scale.cluster`); default this process.
    """
    # of the sample only what is known of the matrix goes along
    work = partial(_tile, measured, fitted, case.with_values(case.values[:, :1, :1]), learned, finish)
    first = work(tiles[0])
    # which layers there are the first tile tells
    whole = _layers(first, measured.shape[1:], kept)
    todo = [window for window in tiles[1:] if _name(window) not in kept.done]
    for window, part in zip([tiles[0], *todo], chain([first], _each(work, todo, client)), strict=True):
        place = (slice(None), window.rows, window.columns)
        for name_of in ("estimate", "std", "noise_std"):
            layer = getattr(whole, name_of)
            if layer is not None:
                layer[place] = getattr(part, name_of)
                layer.flush()
        whole.mask[place[1:]] = part.mask
        whole.mask.flush()  # type: ignore[attr-defined]
        kept.add(_name(window), int(part.mask.sum()), part.parameters)
        progress(len(kept.done), len(tiles))
    done = list(kept.done.values())
    parameters = merged([entry["parameters"] for entry in done], [entry["pixels"] for entry in done])
    return replace(whole, parameters=parameters)


def _name(window: Window) -> str:
    return f"{window.rows.start},{window.columns.start}"


def _tile(
    measured: AnyMeasurement, fitted: NDArray[np.intp], case: Interferograms, learned: Learned,
    finish: Callable[[Spectra], Spectra], window: Window,
) -> Spectra:  # fmt: skip
    values = measured.read(window.wide_rows, window.wide_columns)[fitted]
    above, _, before, _ = window.margin
    size = window.rows.stop - window.rows.start, window.columns.stop - window.columns.start
    return finish(learned(case.with_values(values), (slice(above, above + size[0]), slice(before, before + size[1]))))


def _each(work: Callable[[Window], Spectra], tiles: list[Window], client: Any) -> Iterable[Spectra]:
    """Spectra of tiles in their order, whoever inverts them."""
    if client is None:
        return map(work, tiles)
    from hsitools.scale.tasks import ordered

    return ordered(client, work, tiles)


def _layers(part: Spectra, shape: tuple[int, int], kept: Kept) -> Spectra:
    size = len(part.wavelength_nm), *shape
    layers: dict[str, Any] = {
        name: None if getattr(part, name) is None else kept.layer(name, size)
        for name in ("estimate", "std", "noise_std")
    }
    return replace(part, **layers, mask=kept.layer("mask", shape, np.bool_))


def merged(parts: list[dict[str, Any]], pixels: list[int]) -> dict[str, Any]:
    """Parameters of tiles as those of the image: means of numbers by pixels, all else as in the first."""
    out: dict[str, Any] = {}
    for name, first in parts[0].items():
        values = [part.get(name) for part in parts]
        if isinstance(first, dict):
            out[name] = merged(values, pixels)  # type: ignore[arg-type]
        elif isinstance(first, float) and all(isinstance(value, int | float) for value in values):
            out[name] = float(np.average(np.array(values, dtype=float), weights=np.maximum(pixels, 1e-9)))
        else:
            out[name] = first
    return out
