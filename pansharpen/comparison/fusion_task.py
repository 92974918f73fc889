"""Fusion as the engine of comparisons sees it: a case's way to a method and back to the judge."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hsitools.comparison.task import Task, keep_arrays
from hsitools.io import open_cube
from hsitools.sensor.sensor import Sensor
from pansharpen.case import FusionCase
from pansharpen.comparison.judging import judge_classes
from pansharpen.comparison.pictures import case_details, details
from pansharpen.guide import Guide
from pansharpen.in_memory import fuse_case
from pansharpen.optics import Optics
from pansharpen.pair.case_files import convention, read_case
from pansharpen.pair.wald import degraded, real_case, simulated_case
from pansharpen.registry import METHODS, Method

#: The images of a case that a method may see.
SHOWN_IMAGES = ("coarse", "pan", "expanded", "valid", "pan_valid")


@dataclasses.dataclass(frozen=True)
class LoadedCase:
    """A case with what it was made from (see `pansharpen.comparison.benchmark.FusionPlan.cells`)."""

    case: FusionCase
    made_from: Mapping[str, Any]


class FusionTask(Task):
    """What pansharpening plugs into `hsitools.comparison`."""

    path = "pansharpen.comparison.fusion_task:FUSION"
    libraries = ("h5py", "numpy.random", "scipy.fft", "scipy.ndimage", "scipy.special")

    @property
    def methods(self) -> Mapping[str, Method]:
        """The zoo."""
        return METHODS

    def load(self, case: Mapping[str, Any], folder: Path) -> LoadedCase:
        """See `Task.load`; raises `InputError` when the source cannot serve."""
        sensor = None if case["sensor"] is None else Sensor.load(folder / "sensor.h5")
        rules = convention(case["convention"])
        if case["kind"] == "case":
            pair = read_case(case["source"], rules, sensor)
        elif case["kind"] == "product":
            pair = real_case(open_cube(case["source"]), sensor)
        else:
            assert sensor is not None
            pair = simulated_case(
                open_cube(case["source"]), sensor, ratio=case["ratio"], noise=bool(case["noise"]), seed=case["seed"],
                guide=case.get("guide"), snr_db=case.get("snr_db"), scale=case.get("scale"),
            )  # fmt: skip
        if case["protocol"] == "full":
            pair = pair.replace(reference=None)
        elif pair.reference is None:
            pair = degraded(pair)
        return LoadedCase(pair, case)

    def show(self, loaded: LoadedCase, path: Path) -> dict[str, Any]:
        """See `Task.show`: sizes of the case."""
        write_pair(path, loaded.case)
        height, width = loaded.case.pan.shape[-2:]
        return {"bands": loaded.case.n_bands, "height": height, "width": width}

    def judge(self, loaded: LoadedCase, result: NDArray[Any], job: Mapping[str, Any]) -> dict[str, Any]:
        """See `Task.judge` and `judge_classes`; keeps pictures for the report."""
        case, rules = loaded.case, convention(loaded.made_from["convention"])
        expected = (len(case.coarse), case.n_bands, *case.pan.shape[-2:])
        if result.shape != expected:
            raise ValueError(f"found shape {result.shape}, expected {expected}")
        fused = torch.from_numpy(result).to(job["device"])
        case = case if job["device"] == "cpu" else case.to(job["device"])
        record = judge_classes(case, fused, rules, job["indices"])
        cells = Path(job["folder"]) / "cells"
        keep_arrays(cells / f"{job['key']}.npz", details(case, fused, rules))
        shared = cells / f"case-{job['case_key']}.npz"
        if not shared.exists():
            keep_arrays(shared, case_details(case))
        return record

    def read(self, path: Path, device: str) -> FusionCase:
        """See `Task.read`."""
        case = read_pair(path)
        return case if device == "cpu" else case.to(device)

    def apply(self, entry: Method, observed: FusionCase, job: Mapping[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
        """See `Task.apply`."""
        return fuse_case(entry, observed, seed=job["seed"], weights=job["weights"]), {}


FUSION = FusionTask()


def write_pair(path: Path, case: FusionCase) -> None:
    """Write what a method may see of a case: both images and the optics. No reference, no name, no file of origin."""
    values = {name: getattr(case, name) for name in SHOWN_IMAGES} | {
        f"optics.{field.name}": getattr(case.optics, field.name) for field in dataclasses.fields(Optics)
    }
    values["pan_made"] = case.pan_made or None
    for number, guide in enumerate(case.guides):
        values |= {f"guide.{number}.{field.name}": getattr(guide, field.name) for field in dataclasses.fields(Guide)}
    arrays: dict[str, Any] = {name: np.asarray(value) for name, value in values.items() if value is not None}
    with path.open("wb") as stream:
        np.savez(stream, **arrays)


def read_pair(path: Path) -> FusionCase:
    """What `write_pair` wrote."""
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    optics = {name.partition(".")[2]: value for name, value in arrays.items() if name.startswith("optics.")}
    tuples = {field.name for field in dataclasses.fields(Optics) if isinstance(field.default, tuple)}
    plain: dict[str, Any] = {
        name: value.item() if value.ndim == 0 else tuple(value.tolist()) if name in tuples else value
        for name, value in optics.items()
    }
    guides: list[Guide] = []
    while f"guide.{len(guides)}.image" in arrays:
        start = f"guide.{len(guides)}."
        own: dict[str, Any] = {
            name.removeprefix(start): value.item() if value.ndim == 0 else value
            for name, value in arrays.items() if name.startswith(start)
        }  # fmt: skip
        own["offset"] = tuple(own["offset"].tolist())
        own |= {name: torch.from_numpy(own[name]) for name in ("image", "valid") if name in own}
        guides.append(Guide(**own))
    images: dict[str, Any] = {name: torch.from_numpy(arrays[name]) for name in SHOWN_IMAGES if name in arrays}
    return FusionCase(optics=Optics(**plain), guides=tuple(guides), pan_made="pan_made" in arrays, **images)
