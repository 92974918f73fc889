"""Products on disk to fused cubes on disk: one by all workers, or many, one a worker."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.cube import Cube
from hsitools.cube.agreement import require_comparable
from hsitools.cube.memory import keep_freed
from hsitools.cube.packed import ROOM, packed
from hsitools.errors import HsiError, InputError
from hsitools.io import open_cube, save_cube, writer_of
from hsitools.io.hashes import short_hash
from hsitools.io.outputs import beside, refuse_inputs
from hsitools.io.together import together
from hsitools.plugins import load_plugins
from hsitools.progress import Progress, silent
from hsitools.sensor import open_sensor
from hsitools.text import plain
from pansharpen.handover import written_together
from pansharpen.noisy import cube_without_noise
from pansharpen.pair.alignment import paired, windowed
from pansharpen.pair.case_files import convention as rules
from pansharpen.pair.case_files import open_pair
from pansharpen.pair.guide_files import windowed_guide
from pansharpen.registry import get
from pansharpen.tiled import fuse_pair

#: What a batch writes beside its cubes: of each product, by its cube's name, the run that made it and what it told.
RECORDS = "batch"
#: Share of a cube's root mean square above which a "standard deviation" may be a cube of values (its own is 1).
LARGE_ERROR = 0.5


@dataclass(frozen=True, kw_only=True)
class FusionOrder:
    """How products are to be fused: what ``hsi pansharpen run`` is asked for."""

    method: str
    pan: Path | None = None
    guide: tuple[Path, ...] = ()
    guide_sensor: str | None = None
    reproject: bool = False
    sensor: str | None = None
    window: Any = None
    weights: Path | None = None
    seed: int = 0
    convention: str = "hsitools"
    device: str = "auto"
    std: bool = False
    noise: str | None = None
    cube_std: Path | None = None
    dtype: str | None = None
    scale: float | None = None
    plugins: tuple[Path, ...] = ()

    def check(self) -> None:
        """Raise `InputError` for what the method cannot do, before anything is read."""
        load_plugins(self.plugins)
        get(self.method).check(std=self.std, weights=self.weights)

    @property
    def files(self) -> list[Path | str | None]:
        """Files that it names, beside the products."""
        return [self.pan, *self.guide, self.cube_std, self.sensor, self.weights, *self.plugins]

    @property
    def wish(self) -> str:
        """Name of what is asked for, whatever the product and its files' contents."""
        return short_hash(plain({**asdict(self), "window": str(self.window)}))

    def key(self, path: Path) -> str:
        """Name of the run that fuses a product."""
        from hsitools.scale.pieces import key_of

        return key_of({**asdict(self), "window": str(self.window)}, [path, *self.files])


def fuse_file(
    order: FusionOrder, path: Path, out: Path, *, client: Any = None, progress: Progress = silent,
    written: Progress = silent,
) -> dict[str, Any]:  # fmt: skip
    """Fuse a product into a file.

    Parameters
    ----------
    order : FusionOrder
    path, out : Path
    client : distributed.Client, optional
        Of workers that fuse its tiles, and keep them: see `hsitools.scale.pieces`.
    progress, written : callable
        Called with (tiles done, tiles in all) while statistics are gathered, and while tiles are fused and written.

    Returns
    -------
    dict
        What was done, as plain data.
    """
    keep_freed()
    order.check()
    instrument = None if order.sensor is None else open_sensor(order.sensor)
    cube, optics = open_pair(path, order.pan, rules(order.convention), instrument)
    guides = [windowed_guide(cube, open_cube(guide), order.window) for guide in order.guide]
    cube_std = _std_of_bands(order, cube)
    cube = paired(windowed(cube, order.window), reproject=order.reproject)
    began = time.perf_counter()
    doubt, has_pan = _doubt_of_std(order, cube_std, cube), cube.pan is not None
    if order.noise is not None:
        cube, cube_std = cube_without_noise(
            cube, order.noise, instrument, optics, guides=guides, guide_sensor=order.guide_sensor
        )  # fmt: skip
    fused, std = fuse_pair(
        cube, order.method, instrument, optics=optics, seed=order.seed, weights=order.weights, progress=progress,
        client=client, device=order.device, std=order.std, cube_std=cube_std, guides=guides,
        guide_sensor=order.guide_sensor, std_as_noise=order.noise is not None,
    )  # fmt: skip
    source = fused.data
    fused = fused if order.dtype is None else packed(fused, scale=order.scale, like=cube)
    if std is not None and order.dtype is not None:
        std = _packed_std(std, cube)
    kept = 0
    if client is None and std is not None:
        with together(out) as made:
            here = made / out.name
            written_together(
                source, lambda: save_cube(fused, here, written), lambda: save_cube(std, beside(here, "_std"))
            )  # fmt: skip
    elif client is None or fused.in_memory:
        save_cube(fused, out, written)
    else:
        from hsitools.scale.pieces import save_by_workers

        other = None if std is None else (std, beside(out, "_std"))
        kept = save_by_workers(fused, out, client, order.key(path), written, beside=other)
    names = (
        "sensor", "sensor_noise", "rounding_error", "pan_shift_pixels", "guides", "noise", "wild_samples",
        "clipped_samples", "clipped_guides", "unseen_by_guides", "rounded_contrast",
    )  # fmt: skip
    told = {name: fused.meta.get(name) for name in names}
    return {
        "method": fused.meta["pansharpened_by"], "out": str(out), "shape": list(fused.shape), "units": fused.units,
        "seconds": time.perf_counter() - began, "bad_bands": int((~fused.good).sum()), **told,
        "optics_in_file": optics is not None, "pan": has_pan, **({} if std is None else _said_of(std, out)),
        **({} if client is None else {"tiles_kept": kept}), **doubt, "missing": _missing(source, fused),
    }  # fmt: skip


def _missing(source: Any, fused: Cube) -> float | None:
    """Share of the fused voxels, of good bands, without a measurement; None where workers have them."""
    if isinstance(source, np.ndarray):
        return float(np.isnan(source[fused.good]).mean())
    return getattr(source, "missing", None)


def _said_of(std: Cube, out: Path) -> dict[str, Any]:
    """Where error bars are, and how far they were rounded."""
    return {"std": str(beside(out, "_std")), "std_rounding_error": std.meta.get("rounding_error")}


def _packed_std(std: Cube, cube: Cube) -> Cube:
    """A standard deviation as integers: none is larger than the range of the cube that it comes from."""
    range_ = cube.physical().statistics()
    span = float(np.nanmax(range_["max"]) - np.nanmin(range_["min"]))
    # `packed` leaves room on both sides: none below zero is wanted
    middle = Cube(data=np.array([[[ROOM * span, (1 + ROOM) * span]]]))
    return packed(std, like=middle)


def _std_of_bands(order: FusionOrder, cube: Cube) -> NDArray[np.float64] | None:
    """Standard deviation ``(band,)`` of a denoised cube's errors, of the file that the order names."""
    if order.cube_std is None:
        return None
    if order.noise is not None:
        raise InputError(f"{order.cube_std}: --cube-std: found --noise {order.noise} beside it, expected one of them")
    if not order.std:
        raise InputError(f"{order.cube_std}: --cube-std: goes into the error bars only, expected --std beside it")
    std = open_cube(order.cube_std)
    who = f"{order.cube_std}: --cube-std"
    if std.shape != cube.shape:
        shapes = ("×".join(map(str, image.shape)) for image in (std, cube))
        raise InputError("{}: found {}, expected {} as the cube".format(who, *shapes))
    require_comparable(std, cube, who, "the cube")
    return std_of_bands(windowed(std, order.window))


def _doubt_of_std(order: FusionOrder, deviation: NDArray[np.float64] | None, cube: Cube) -> dict[str, str]:
    """A warning where what is called standard deviations is as large as the cube's own values."""
    if order.cube_std is None or deviation is None:
        return {}
    level = cube.replace(pan=None).physical().statistics()
    measured = level["n_valid"] > 0
    share = deviation[measured] / np.maximum(np.hypot(level["mean"], level["std"])[measured], np.finfo(float).tiny)
    if not share.size or np.median(share) <= LARGE_ERROR:
        return {}
    return {
        "warning": f"{order.cube_std}: --cube-std: found {np.median(share):.2g} times the cube's own values in the "
        "median band, expected standard deviations of its errors"
    }


def std_of_bands(std: Cube) -> NDArray[np.float64]:
    """Root mean square ``(band,)`` of a cube of standard deviations over the pixels that have one; zero without any."""
    square = np.square(std.physical().read(), dtype=np.float64).reshape(std.n_bands, -1)
    count = np.isfinite(square).sum(1)
    return np.asarray(np.sqrt(np.nansum(square, axis=1) / np.maximum(count, 1)))


def fuse_files(
    order: FusionOrder, paths: Sequence[Path], folder: Path, suffix: str = ".h5", *, client: Any = None,
    progress: Progress = silent,
) -> list[dict[str, Any]]:  # fmt: skip
    """Fuse products, each into a cube of its name in a folder (made if need be); one that fails stops no other.

    A product whose cube is there already, of the same run, is not fused again; one that has changed since is. A cube
    that was made by another order, or by nobody knows what, stays, and its record says so.

    Parameters
    ----------
    order : FusionOrder
    paths : sequence of Path
    folder : Path
    suffix : str
        Format of the cubes.
    client : distributed.Client, optional
        Of workers that take a product each.
    progress : callable
        Called with (products done, products in all).

    Returns
    -------
    list of dict
        As of `fuse_file`, with ``path`` and ``status``: ``ok``, ``kept``, or why there is no cube.

    Raises
    ------
    InputError
        When two products have one name, no format has this suffix, or the folder cannot be written.
    """
    order.check()
    outs = [folder / f"{path.stem}{suffix}" for path in paths]
    for path, out in zip(paths, outs, strict=True):
        if outs.count(out) > 1:
            raise InputError(f"{path}: --batch: found another product of this name, expected names to differ")
    stds = [beside(out, "_std") for out in outs if order.std]
    refuse_inputs({"--out": outs + stds}, [*paths, *(file for file in order.files if file is not None)])
    writer_of(outs[0])
    records = folder / f".{RECORDS}"
    try:
        records.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: output: cannot make the folder ({error.strerror or error})") from None
    work = partial(_fuse_one, order, records)
    pairs = list(zip(paths, outs, strict=True))
    if client is not None:
        from hsitools.scale.tasks import ordered

        # workers may stand elsewhere
        pairs = [(path.resolve(), out.resolve()) for path, out in pairs]
        return list(ordered(client, work, pairs, progress))
    done = []
    for pair in pairs:
        done.append(work(pair))
        progress(len(done), len(pairs))
    return done


def _fuse_one(order: FusionOrder, records: Path, pair: tuple[Path, Path]) -> dict[str, Any]:
    from hsitools.comparison.benchmark import write_json
    from hsitools.scale.pieces import states_of

    path, out = pair
    record, key = records / f"{out.name}.json", order.key(path)
    outs = [out, *([beside(out, "_std")] if order.std else [])]
    there = states_of(outs)
    if out.exists() and record.exists():
        told: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
        if told.get("wish") != order.wish:
            made = f"the cube that {told['method']} made with other options"
            return {"path": str(path), "status": _taken(out, made, order)}
        if all(file.exists() for file in outs):
            written = told.get("written", [])
            # a run that was killed between its record and its files left what was there before
            if any(state not in written + told.get("before", []) for state in there):
                changed = "a file that was written since a batch made it"
                return {"path": str(path), "status": _taken(out, changed, order)}
            if there == written and told["key"] == key:
                return told | {"status": "kept"}
    elif out.exists():
        return {"path": str(path), "status": _taken(out, "a file that no batch made", order)}
    try:
        with together(out) as made_in:
            told = fuse_file(order, path, made_in / out.name) | {"status": "ok"}
            open_cube(made_in / out.name)
            told |= {"path": str(path), "key": key, "wish": order.wish, "out": str(out), "before": there}
            told |= {"std": str(outs[1])} if order.std else {}
            # before the files take their places: one that is killed then knows its own
            written = states_of(made_in / file.name for file in outs)
            scratch, folder = str(made_in.resolve()), str(out.parent.resolve())
            told["written"] = [[folder + file.removeprefix(scratch), *state] for file, *state in written]
            write_json(record, told)
    except (HsiError, FloatingPointError) as error:
        return {"path": str(path), "status": str(error)}
    return told


def _taken(out: Path, holder: str, order: FusionOrder) -> str:
    return (
        f"{out}: --batch: found {holder}, expected another --out for {order.method}, or none of this name (remove it)"
    )
