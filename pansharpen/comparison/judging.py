"""What knows a case's truth: loading it, judging fused cubes by it, and what the report draws of both.

Runs in processes (see `pansharpen.comparison.isolation`) that no method's code ever enters.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hsitools.cube import Cube
from hsitools.figures import rgb_bands
from hsitools.io import open_cube
from hsitools.io.atomic import atomic_path
from hsitools.sensor.sensor import Sensor
from pansharpen.case import FusionCase
from pansharpen.comparison.cells import Cell, failure, reason_of, write_pair
from pansharpen.comparison.classes import judge_classes
from pansharpen.comparison.protocol import Convention, convention, degraded, read_case, real_case, simulated_case

#: Longest side of the pictures that are kept of a fused cube, fine pixels.
PICTURE = 160
#: Share of the darkest and of the brightest values that a picture clips, percent.
CLIPPED = 2.0


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


def judge_side(job: dict[str, Any]) -> dict[str, Any]:
    """Do what needs the truth: show a case to the method's side, or judge what that gave back.

    Parameters
    ----------
    job : dict
        ``cell`` (fields of `Cell`), ``folder`` of the benchmark (its ``sensor.h5``, ``cells/``), and either ``pair``
        (where to write what a method may see) or ``fused`` (what it made of that), ``threads``.

    Returns
    -------
    dict
        ``status`` (``ok`` or why not); sizes of the case; of a fused cube ``values`` by index, ``excluded``, ``snr``
        (see `pansharpen.comparison.classes`).
    """
    cell, folder = Cell(**job["cell"]), Path(job["folder"])
    if job["threads"]:
        torch.set_num_threads(job["threads"])
    try:
        sensor = None if cell.sensor is None else Sensor.load(folder / "sensor.h5")
        case = load_case(cell, sensor)
        if "pair" in job:
            write_pair(Path(job["pair"]), case)
            height, width = case.pan.shape[-2:]
            return {"status": "ok", "bands": case.n_bands, "height": height, "width": width}
    except Exception as error:
        return {"status": f"unusable: {reason_of(error)}"}
    rules = convention(cell.convention)
    try:
        fused = _fused(Path(job["fused"]), case).to(cell.device)
        case = case if cell.device == "cpu" else case.to(cell.device)
        record = judge_classes(case, fused, rules)
    except Exception as error:
        return failure(error, "cannot be judged: ")
    _keep(folder / "cells" / f"{cell.key}.npz", details(case, fused, rules))
    shared = folder / "cells" / f"case-{cell.case_key}.npz"
    if not shared.exists():
        _keep(shared, case_details(case))
    return {**record, "status": "ok"}


def _fused(path: Path, case: FusionCase) -> torch.Tensor:
    values = torch.from_numpy(np.load(path, allow_pickle=False))
    expected = (len(case.coarse), case.n_bands, *case.pan.shape[-2:])
    if tuple(values.shape) != expected:
        raise ValueError(f"found shape {tuple(values.shape)}, expected {expected}")
    return values


def _keep(path: Path, arrays: dict[str, Any]) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **arrays)


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
