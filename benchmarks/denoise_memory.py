"""A cube larger than memory: time and memory of one strip of 224×1000×1000, as the whole would be restored."""

from __future__ import annotations

import subprocess
import sys

#: The cube; its strips hold this many columns of their own (see `denoise.restore.STRIP_BYTES`).
SHAPE, COLUMNS = (224, 1000, 1000), 117
SCRIPT = """
import sys, tempfile, time
import numpy as np
from denoise.protocol import peak_mib
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
    print(time.perf_counter() - began, peak_mib())
"""


def main() -> dict[str, tuple[float, float]]:
    """Print the table; return seconds and MiB by method."""
    bands, height, width = SHAPE
    strips = -(-width // COLUMNS)
    print(f"One strip, {bands}×{height}×{COLUMNS}, of {strips} of {bands}×{height}×{width} (892 MiB of float32)")
    print(f"  {'':24}seconds   peak MiB   strips/s   whole cube, minutes")
    out = {}
    for name, method, samples in (("lowrank", "lowrank", 0), ("diffusion", "diffusion", 0)):
        arguments = [str(bands), str(height), str(COLUMNS + 32), method, str(samples)]
        done = subprocess.run([sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, check=True)
        seconds, peak = map(float, done.stdout.split()[:2])
        print(f"  {name:24}{seconds:7.1f}{peak:11.0f}{1 / seconds:11.4f}{seconds * strips / 60:15.0f}")
        out[name] = (seconds, peak)
    return out


if __name__ == "__main__":
    main()
