"""A cube larger than memory: time and memory of one strip of 224×1000×1000, as the whole would be restored."""

from __future__ import annotations

import subprocess
import sys

from denoise.strips import HALO, strip_size

#: The cube.
SHAPE = (224, 1000, 1000)
SCRIPT = """
import sys, tempfile, time
import numpy as np
import resource
from denoise.restore import restore_cube
from hsitools.io import open_cube, save_cube
from hsitools.scenes import scene
bands, height, columns, method, samples = (*map(int, sys.argv[1:4]), sys.argv[4], int(sys.argv[5]))
wavelength = np.linspace(420, 2450, bands)
with tempfile.TemporaryDirectory() as folder:
    clean = scene((height, columns), wavelength_nm=wavelength, seed=3)
    values = clean.read()
    values += 0.02 * np.random.default_rng(0).standard_normal(values.shape, dtype=np.float32)
    save_cube(clean.replace(data=values), folder + "/raw.h5")
    del values, clean
    began = time.perf_counter()
    save_cube(restore_cube(open_cube(folder + "/raw.h5"), method, samples=samples).estimate, folder + "/out.h5")
    print(time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def main() -> dict[str, tuple[float, float]]:
    """Print the table; return seconds and MiB by method."""
    bands, height, width = SHAPE
    columns = strip_size(SHAPE)[1]
    strips, voxels = -(-width // columns), bands * height * columns / 1e6
    print(f"One strip, {bands}×{height}×{columns}, of {strips} of {bands}×{height}×{width} (892 MiB of float32)")
    print(f"  {'':24}seconds   peak MiB   strips/s   Mvoxel/s   whole cube, minutes")
    out = {}
    for method, samples in (("lowrank", 0), ("diffusion", 0), ("diffusion", 2)):
        name = f"{method}, {samples} samples" if samples else method
        arguments = [str(bands), str(height), str(columns + 2 * HALO), method, str(samples)]
        done = subprocess.run([sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, check=True)
        seconds, peak = map(float, done.stdout.split()[:2])
        print(
            f"  {name:24}{seconds:7.1f}{peak:11.0f}{1 / seconds:11.4f}{voxels / seconds:11.2f}"
            f"{seconds * strips / 60:15.0f}"
        )
        out[name] = (seconds, peak)
    return out


if __name__ == "__main__":
    main()
