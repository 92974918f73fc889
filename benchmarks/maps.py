"""Per-pixel maps: 64×64 pixels × 32 interferometers; rate and memory, against one lmfit fit per pixel, same run."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.measure import run
from calibration import simulated_bench as bench
from calibration.fitting.lmfit_engine import fit_row
from hsitools.sensor.polynomial import Band
from hsitools.sensor.transmittance import SampledModel, TransmittanceModel

SIZE, INTERFEROMETERS, LINES, SAMPLE = 64, 32, 91, 40
#: The model that ``hsi calibrate --per-pixel`` fits unless told otherwise.
MODEL = TransmittanceModel(degree_gain=2, degree_reflectivity=2)


def main() -> dict[str, float]:
    """Print and return the figures."""
    import h5py

    rng = np.random.default_rng(0)
    instrument = bench.simulate_instrument(
        INTERFEROMETERS, rng=rng, opd_offset_um=4.0, opd_step_um=0.5, dispersion_rad=0.0
    )
    wavenumber = bench.lines(LINES)
    pixels = bench.pixel_stack(instrument, wavenumber, size=SIZE, rng=rng)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stack.h5"
        with h5py.File(path, "w") as file:
            file["pixels"], file["wavenumber"] = pixels, wavenumber
        _, peak, document = run("calibrate", str(path), "--per-pixel", "--out", f"{folder}/maps.h5", "--json")
        result = json.loads(document)
        seconds = result["seconds"]
        with h5py.File(Path(folder) / "maps.h5") as file:
            opd = file["opd_um"][()]
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE // 2
    radius = np.hypot(y, x) / (SIZE / 2 * np.sqrt(2))
    truth = instrument.opd_um[:, None, None] * np.cos(np.arctan(radius * np.tan(np.radians(8.0))))
    right = float(np.mean(np.abs(opd - truth) < 0.5 / wavenumber.max()))

    sampled = SampledModel(MODEL, Band.of(wavenumber), wavenumber)
    column = MODEL.slices["phase"].start + 1
    theta = np.zeros(MODEL.n_parameters)
    theta[0], theta[MODEL.slices["reflectivity"].start] = 1, 0.25
    middle, one = SIZE // 2, np.ones(LINES)
    began = time.perf_counter()
    for number in np.linspace(0, INTERFEROMETERS - 1, SAMPLE).astype(int):
        intensity = pixels[number, :, middle, middle].astype(float)
        start = theta.copy()
        start[column] = 2 * np.pi * sampled.band.half_width * truth[number, middle, middle]
        start[column - 1] = 2 * np.pi * sampled.band.centre * truth[number, middle, middle] - 0.6
        fit_row(sampled, start, intensity / intensity.mean(), one, one)
    lmfit_rate = SAMPLE / (time.perf_counter() - began)
    rate = result["n_pixels"] / seconds
    print(f"Maps: {result['n_pixels']} pixels × {LINES} lines, {MODEL.n_parameters} parameters each")
    print(f"  ours   {seconds:7.1f} s   {rate:8.0f} fits/s   peak memory of the process {peak:.0f} MiB")
    print(f"  lmfit  {result['n_pixels'] / lmfit_rate:7.0f} s   {lmfit_rate:8.0f} fits/s   (from {SAMPLE} pixels)")
    print(f"  ratio  {rate / lmfit_rate:.0f}×  (target ≥ 20×); right fringe order in {100 * right:.2f} % of the pixels")
    return {"seconds": seconds, "ratio": rate / lmfit_rate, "right": right, "peak_mib": peak}


if __name__ == "__main__":
    main()
