"""What single pixels can tell of known scenes: the best linear estimate, given the scene's own mean and covariance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.inversion import SCENES, SNRS, WANTED_SCENES, crop, instrument_of, simulated
from calibration.inversion import registry
from calibration.inversion.problem import Interferograms
from calibration.inversion.scenes import scene_on_lines, score

Array = NDArray[np.float64]


def limit(case: Interferograms, truth: Array) -> float:
    """The nrmse of the Wiener estimate of each pixel by itself, by the very mean and covariance of the true spectra."""
    matrix, spectra = case.matrix, truth.reshape(len(truth), -1)
    mean, covariance = spectra.mean(axis=1, keepdims=True), np.cov(spectra)
    seen = matrix @ covariance @ matrix.T + np.diag(case.noise_std**2)
    off = case.values.reshape(len(matrix), -1) - matrix @ mean
    estimate = mean + covariance @ matrix.T @ np.linalg.solve(seen, off)
    return float(np.sqrt(((estimate - spectra) ** 2).mean()) / spectra.std())


def main() -> None:
    """Print the table."""
    print("nrmse: best linear estimate of single pixels by the scene's mean and covariance; `joint`, blind; wanted")
    for name, device in SCENES:
        instrument = instrument_of(device)
        grid, truth = scene_on_lines(instrument, crop(name))
        for snr, wanted in zip(SNRS, WANTED_SCENES[name, False], strict=True):
            case = simulated(instrument, truth, grid, snr)
            blind = score(registry.get("joint")(case), truth)["nrmse"]
            print(f"{name:20} {device}  snr {snr:3.0f}   {limit(case, truth):.4f}   {blind:.4f}   {wanted}", flush=True)


if __name__ == "__main__":
    main()
