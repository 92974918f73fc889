"""The benchmark: noisy cubes with their clean one, restored and judged."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from denoise.restore import restore
from hsitools.errors import FormatError
from hsitools.metrics import evaluate

#: What is measured, by the names that records have.
INDICES = {"mpsnr": "PSNR", "mssim": "SSIM", "sam_deg": "SAM"}


def benchmark(path: str | Path, method: str, cases: tuple[str, ...] | None = None) -> Iterator[dict[str, Any]]:
    """Restore each case of a file blindly, with the same settings.

    Parameters
    ----------
    path : path
        HDF5 with ``clean`` and noisy cubes (band, y, x) under other names, as `make_noise_cases.py` writes.
    method : str
    cases : tuple of str, optional
        Default all, in the file's order.

    Yields
    ------
    dict
        ``case``, ``method``, ``mpsnr`` (dB), ``mssim``, ``sam_deg``, ``seconds``, ``peak_mib`` (largest memory of this
        process so far), ``path`` (the way that the method took).

    Raises
    ------
    FormatError
        When the file or a case is missing, or a case's shape is not that of the clean cube.
    """
    import h5py

    path = Path(path)
    if not path.is_file() or not h5py.is_hdf5(path):
        raise FormatError(f"{path}: found no HDF5 file, expected one with a clean cube and its noisy cases")
    with h5py.File(path) as file:
        cubes = [name for name, item in file.items() if isinstance(item, h5py.Dataset) and item.ndim == 3]
        if "clean" not in cubes:
            raise FormatError(f"{path}: clean: missing, expected a cube (band, y, x) of that name")
        clean = file["clean"][...]
        for name in cases or tuple(name for name in cubes if name != "clean"):
            if name not in cubes or file[name].shape != clean.shape:
                raise FormatError(f"{path}: {name}: found no cube of shape {clean.shape}, expected one of {cubes}")
            noisy = file[name][...].astype(np.float32)
            began = time.perf_counter()
            found = restore(noisy, method, who=f"{path}: {name}")
            seconds = time.perf_counter() - began
            scores = evaluate(found.estimate, clean, metrics=INDICES.values())
            yield {
                "case": name, "method": found.provenance["method"],
                **{key: scores[index].value for key, index in INDICES.items()},
                "seconds": seconds, "peak_mib": peak_mib(), "path": found.provenance["path"],
            }  # fmt: skip


def peak_mib() -> float:
    """Largest memory of this process so far, MiB."""
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak / (2**20 if sys.platform == "darwin" else 2**10))
