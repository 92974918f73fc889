"""One cell of a benchmark: a method on a case, its indices, time and memory, and what the report draws of it."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import gc
import hashlib
import importlib.util
import json
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hsitools.cube import Cube
from hsitools.errors import HsiError, InputError
from hsitools.figures import rgb_bands
from hsitools.io import open_cube
from hsitools.io.atomic import atomic_path
from hsitools.sensor.sensor import Sensor
from pansharpen.case import FusionCase
from pansharpen.fuse import fuse
from pansharpen.protocol import Convention, convention, degraded, judge, read_case, real_case, simulated_case
from pansharpen.registry import get

PROTOCOLS = ("reduced", "full")
#: What a source is: a scene that a sensor is to see, a cube with its own PAN, a case file.
KINDS = ("scene", "product", "case")
#: Longest side of the pictures that are kept of a fused cube, fine pixels.
PICTURE = 160
#: Share of the darkest and of the brightest values that a picture clips, percent.
CLIPPED = 2.0


@dataclass(frozen=True, kw_only=True)
class Cell:
    """All that decides a cell's numbers.

    Attributes
    ----------
    case : str
        Name for tables.
    source, sha256 : str
        File, and the hash of what is in it.
    kind : str
        One of `KINDS`.
    ratio : int or None
        None where the source cannot be read.
    noise : bool or None
        Whether the simulated sensor has noise; None where nothing is simulated.
    protocol : str
        ``reduced``: against a reference, which is the scene, the case file's truth, or the cube itself when both it and
        PAN are degraded once more (Wald). ``full``: as it is, without reference.
    method, convention : str
    seed : int
    sensor : str or None
        Fingerprint of the sensor.
    device : str
        As torch names it.
    """

    case: str
    source: str
    sha256: str
    kind: str
    ratio: int | None
    noise: bool | None
    protocol: str
    method: str
    convention: str
    seed: int
    sensor: str | None
    device: str = "cpu"

    @cached_property
    def key(self) -> str:
        """Hash of all settings: the name of the cell's files."""
        return _hash(dataclasses.asdict(self))

    @cached_property
    def case_key(self) -> str:
        """The same without the method: cells of one case share it."""
        return _hash({**dataclasses.asdict(self), "method": ""})


def _hash(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def load_case(cell: Cell, sensor: Sensor | None) -> FusionCase:
    """The case of a cell; raises `InputError` when the source cannot serve."""
    rules = convention(cell.convention)
    if cell.kind == "case":
        case = read_case(cell.source, rules, sensor)
    elif cell.kind == "product":
        case = real_case(open_cube(cell.source), sensor)
    else:
        assert sensor is not None
        case = simulated_case(
            open_cube(cell.source), sensor, ratio=cell.ratio, noise=bool(cell.noise), seed=cell.seed
        )  # fmt: skip
    if cell.protocol == "full":
        return case.replace(reference=None)
    return degraded(case) if case.reference is None else case


# ---- measuring -------------------------------------------------------------------------------------------------


def run_job(job: dict[str, Any]) -> dict[str, Any]:
    """Measure a cell, in a process of its own (see `pansharpen.isolation`).

    Parameters
    ----------
    job : dict
        ``cell`` (fields of `Cell`), ``folder`` of the benchmark (its ``sensor.h5``, ``cells/``), ``weights``,
        ``threads``, ``memory_limit_mib``, ``plugins``.

    Returns
    -------
    dict
        ``status`` (``ok`` or why not), ``values`` by index, ``seconds``, ``cpu_seconds``, ``peak_mib``, sizes.
        Seconds are of one call of `fuse` in a fresh process, so that operators are built and nothing is cached; CPU
        seconds are of all its threads. ``peak_mib`` is the method's own: the most memory during the call beyond what
        was in use with the case loaded, result included, code pages of libraries not (on a GPU: allocated there);
        None where the system does not tell.
    """
    cell, folder = Cell(**job["cell"]), Path(job["folder"])
    if job["threads"]:
        torch.set_num_threads(job["threads"])
    for plugin in job["plugins"]:
        load_plugin(plugin)
    entry = get(cell.method)
    record: dict[str, Any] = {}
    try:
        sensor = None if cell.sensor is None else Sensor.load(folder / "sensor.h5")
        case = load_case(cell, sensor)
        case = case if cell.device == "cpu" else case.to(cell.device)
    except Exception as error:
        return {**record, "status": f"unusable: {_said(error)}"}
    rules = convention(cell.convention)
    height, width = case.pan.shape[-2:]
    record |= {"bands": case.n_bands, "height": height, "width": width}
    # thread pools and libraries start with the first large operation, which is no method's cost
    warm = torch.ones(512, 512, device=cell.device)
    (warm @ warm).sum().item()
    del warm
    try:
        with _measured(record, cell.device), _memory_limit(job["memory_limit_mib"]):
            fused = fuse(entry, case, seed=cell.seed, weights=job["weights"])
    except (MemoryError, RuntimeError) as error:
        said = ("out of memory", "allocate memory", "bad_alloc")
        full = isinstance(error, MemoryError) or any(text in str(error) for text in said)
        return {**record, **_failure(error, "out of memory: " if full else "")}
    except Exception as error:
        untrained = entry.trained and job["weights"] is None and isinstance(error, HsiError)
        return {**record, **_failure(error, "needs training: " if untrained else "")}
    try:
        found = judge(case, fused, rules)
    except Exception as error:
        return {**record, **_failure(error, "cannot be judged: ")}
    record["values"] = {name: evaluation.value for name, evaluation in found.items()}
    record["excluded"] = {name: evaluation.excluded for name, evaluation in found.items() if evaluation.excluded}
    _keep(folder / "cells" / f"{cell.key}.npz", details(case, fused, rules))
    shared = folder / "cells" / f"case-{cell.case_key}.npz"
    if not shared.exists():
        _keep(shared, case_details(case))
    return {**record, "status": "ok"}


def _said(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, HsiError) else f"{type(error).__name__}: {text}"


def _failure(error: BaseException, prefix: str) -> dict[str, Any]:
    return {"status": f"{prefix}{_said(error)[:500]}", "traceback": "".join(traceback.format_exception(error))[-4000:]}


def _keep(path: Path, arrays: dict[str, Any]) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays)


_PLUGINS: set[str] = set()


def load_plugin(path: str) -> None:
    """Import, once, a Python file that registers methods; raises `InputError` when it cannot be imported."""
    path = str(Path(path).resolve())
    if path in _PLUGINS:
        return
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    if spec is None or spec.loader is None or not Path(path).is_file():
        raise InputError(f"{path}: found no such file, expected Python code that registers methods (.py)")
    try:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    except Exception as error:
        raise InputError(f"{path}: cannot be imported; {type(error).__name__}: {error}") from error
    _PLUGINS.add(path)


def _memory() -> dict[str, float]:
    """MiB of this process by the kernel's names; empty where there is no ``/proc``."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in lines)
    return {name: int(value.split()[0]) / 1024 for name, value in pairs if value.strip().endswith(" kB")}


@contextlib.contextmanager
def _measured(record: dict[str, Any], device: str) -> Iterator[None]:
    """Write time and peak memory of the body into the record, also when it fails."""
    gpu = device if device.startswith("cuda") else None
    gc.collect()
    if gpu is not None:
        torch.cuda.synchronize(gpu)
        torch.cuda.reset_peak_memory_stats(gpu)
        held = torch.cuda.memory_allocated(gpu)
    with contextlib.suppress(OSError, AttributeError):
        # memory that loading the case left free would hide what the method takes; then the peak starts anew
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    before = _memory()
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        yield
    finally:
        if gpu is not None:
            torch.cuda.synchronize(gpu)
        record["seconds"], record["cpu_seconds"] = time.perf_counter() - wall, time.process_time() - cpu
        after = _memory()
        record["peak_mib"] = None
        if gpu is not None:
            record["peak_mib"] = (torch.cuda.max_memory_allocated(gpu) - held) / 2**20
        elif "VmHWM" in after and "RssFile" in after:
            code = max(0.0, after["RssFile"] - before["RssFile"])
            record["peak_mib"] = max(0.0, after["VmHWM"] - before["VmRSS"] - code)


@contextlib.contextmanager
def _memory_limit(limit_mib: float | None) -> Iterator[None]:
    """Allocations beyond the limit fail inside the body, where the system can do that (Linux)."""
    used = _memory().get("VmData")
    if limit_mib is None or used is None:
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = int((used + limit_mib) * 2**20)
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


# ---- what the report draws -------------------------------------------------------------------------------------


def _window(case: FusionCase) -> tuple[slice, slice]:
    """The middle of the scene, at most `PICTURE` fine pixels on each side."""
    starts = [max(0, (size - PICTURE) // 2) for size in case.pan.shape[-2:]]
    return slice(starts[0], starts[0] + PICTURE), slice(starts[1], starts[1] + PICTURE)


def _colours(case: FusionCase) -> tuple[list[int], NDArray[np.float64]]:
    """Bands of red, green and blue, and ``(3, 2)`` their range: the case's own, so that all methods share it."""
    shown = case.coarse if case.reference is None else case.reference
    bands = list(rgb_bands(Cube(data=shown[0].cpu().numpy(), wavelength_nm=case.optics.wavelength_nm)))
    values = shown[0, bands].flatten(1).double().cpu().numpy()
    return bands, np.nanpercentile(values, [CLIPPED, 100 - CLIPPED], axis=1).T


def _stretched(image: torch.Tensor, limits: NDArray[np.float64]) -> NDArray[np.uint8]:
    """``(channel, y, x)`` as ``(y, x, channel)`` of 0 to 255."""
    low, high = limits[:, 0, None, None], limits[:, 1, None, None]
    values = (image.double().cpu().numpy() - low) / np.maximum(high - low, 1e-12)
    return np.rint(255 * np.clip(np.nan_to_num(values), 0, 1)).astype(np.uint8).transpose(1, 2, 0)


def details(case: FusionCase, fused: torch.Tensor, rules: Convention) -> dict[str, NDArray[Any]]:
    """What the report draws of a fused cube.

    Returns
    -------
    dict
        ``rgb`` uint8 (y, x, 3); ``rmse`` (band,) and ``error`` (y, x), root mean squares over pixels and over
        bands of the difference to the reference, or, without one, of the fused cube as the sensor would see it to the
        coarse cube.
    """
    bands, limits = _colours(case)
    fused = fused.clone() if rules.clip is None else fused.clamp(*rules.clip)
    window = _window(case)
    if case.reference is not None:
        start, stop = rules.border or (case.optics.ratio, case.optics.ratio)
        difference = fused - case.reference
        inner = difference[..., start : case.pan.shape[-2] - stop, start : case.pan.shape[-1] - stop]
        drawn = difference[..., window[0], window[1]]
    else:
        # NaN would spread along the filters' rows
        difference = case.tile.down()(torch.nan_to_num(fused)) - case.coarse
        inner = drawn = difference[..., 1:-1, 1:-1] if min(difference.shape[-2:]) > 2 else difference
    rmse = inner.double().square().nanmean((-2, -1)).sqrt()[0]
    error = drawn.double().square().nanmean(1).sqrt()[0]
    return {
        "rgb": _stretched(fused[0, bands][:, window[0], window[1]], limits), "rmse": rmse.cpu().numpy(),
        "error": error.cpu().numpy().astype(np.float32),
    }  # fmt: skip


def case_details(case: FusionCase) -> dict[str, NDArray[Any]]:
    """What the report draws of a case: ``pan`` uint8 (y, x, 1), ``reference`` as `details`' ``rgb`` where known,
    ``wavelength_nm`` (band,) where known, ``level`` (band,) the mean of each band.
    """
    window = _window(case)
    pan = case.pan[0]
    limits = np.nanpercentile(pan.double().cpu().numpy(), [CLIPPED, 100 - CLIPPED])[None]
    out: dict[str, NDArray[Any]] = {"pan": _stretched(pan[:, window[0], window[1]], limits)}
    if case.reference is not None:
        bands, colours = _colours(case)
        out["reference"] = _stretched(case.reference[0, bands][:, window[0], window[1]], colours)
    if case.optics.wavelength_nm is not None:
        out["wavelength_nm"] = np.asarray(case.optics.wavelength_nm)
    level = case.coarse if case.reference is None else case.reference
    return out | {"level": level[0].double().flatten(1).nanmean(1).cpu().numpy()}
