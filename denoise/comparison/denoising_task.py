"""Denoising as the engine of comparisons sees it: a noisy cube's way to a method and back to the judge."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from denoise.comparison.judging import judged
from denoise.comparison.simulate import clean_cube, simulate
from denoise.registry import METHODS, Method
from denoise.restore import restore
from hsitools.comparison.task import Task
from hsitools.io import open_cube


class CleanAndNoisy(NamedTuple):
    """A clean cube and what was made of it, both (band, y, x)."""

    clean: NDArray[Any]
    noisy: NDArray[Any]


class DenoisingTask(Task):
    """What denoising plugs into `hsitools.comparison`."""

    path = "denoise.comparison.denoising_task:DENOISING"
    libraries = ("numpy.random", "scipy.fft", "scipy.ndimage", "scipy.sparse", "scipy.special", "skimage.restoration")

    @property
    def methods(self) -> Mapping[str, Method]:
        """The registry."""
        return METHODS

    def load(self, case: Mapping[str, Any], folder: Path) -> CleanAndNoisy:
        """See `Task.load`: a file's own case, or one that is simulated on a scene."""
        if case["kind"] == "cases":
            with h5py.File(case["source"]) as file:
                return CleanAndNoisy(file["clean"][...], file[case["case"]][...].astype(np.float32))
        clean = clean_cube(open_cube(case["source"]))[0]
        return CleanAndNoisy(clean, simulate(clean, case["case"], case["seed"])[0])

    def show(self, loaded: CleanAndNoisy, path: Path) -> dict[str, Any]:
        """See `Task.show`."""
        with path.open("wb") as stream:
            np.savez(stream, noisy=loaded.noisy)
        return {}

    def judge(self, loaded: CleanAndNoisy, result: NDArray[Any], job: Mapping[str, Any]) -> dict[str, Any]:
        """See `Task.judge` and `judged`."""
        if result.shape != loaded.clean.shape:
            raise ValueError(f"found shape {result.shape}, expected {loaded.clean.shape}")
        return {"values": judged(loaded.clean, result, job["indices"])}

    def read(self, path: Path, device: str) -> NDArray[Any]:
        """See `Task.read`."""
        with np.load(path, allow_pickle=False) as archive:
            noisy: NDArray[Any] = archive["noisy"]
        return noisy

    def apply(self, entry: Method, observed: NDArray[Any], job: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """See `Task.apply`: the estimate, and the path that the method took."""
        weights = job["weights"] if entry.trained else None
        restored = restore(observed, entry, device=job["device"], weights=weights)
        return restored.estimate, {"path": restored.provenance["path"]}


DENOISING = DenoisingTask()
