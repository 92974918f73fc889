"""What each part of the denoiser adds on the seven cases; the sensor known; clean cubes; how true intervals are."""

from __future__ import annotations

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.captures import shared_folder
from denoise.case import Known, Observation
from denoise.comparison.simulate import SEVEN
from denoise.latent.autoencoder import Autoencoder
from denoise.latent.evidence import evidence, whitened_residual
from denoise.latent.posterior import refine
from denoise.learning.denoiser_card import load_autoencoder
from denoise.restore import restore
from denoise.separation.estimate import separate

WAVELENGTH = np.linspace(430, 860, 102)
FULL_WELL, READ = 1e4, 30.0
Array = NDArray[np.float32]


def mpsnr(estimate: Array, clean: Array) -> float:
    """Mean over bands of the peak signal to noise ratio, dB; peak 1."""
    return float(np.mean(10 * np.log10(1 / np.mean((estimate - clean) ** 2, axis=(1, 2)))))


def main() -> dict[str, list[float]]:
    """Print the tables; return the rows of the first."""
    rows: dict[str, list[float]] = {}
    covered: list[tuple[float, float]] = []
    with h5py.File(shared_folder() / "golden" / "denoise_pavia_centre.h5") as file:
        clean = file["clean"][...]
        cases = {case: file[case][...] for case in SEVEN}
        truth = {name: file["g_truth"][name][...] for name in ("gain", "offset", "dead")}
    for values in cases.values():
        for name, score in _steps(values, clean).items():
            rows.setdefault(name, []).append(score)
        found = restore(values, "diffusion", samples=6, wavelength_nm=WAVELENGTH)
        assert found.std is not None
        error = np.abs(found.estimate - clean) / found.std
        covered.append((float((error < 1).mean()), float((error < 1.96).mean())))
    print("Pavia Centre, mean PSNR in dB, each part on top of those above")
    print(f"  {'':36}" + "".join(f"{case:>8}" for case in SEVEN) + "    mean")
    for name, scores in rows.items():
        print(f"  {name:36}" + "".join(f"{score:8.2f}" for score in scores) + f"{np.mean(scores):8.2f}")
    for share, column in ((68, 0), (95, 1)):
        print(f"  {f'% of voxels in {share} % intervals':36}" + "".join(f"{100 * row[column]:8.1f}" for row in covered))
    print("g with the sensor known               lowrank  diffusion   (wanted: 47.5)")
    sigma = np.sqrt(clean.mean((1, 2)) / FULL_WELL + (READ / FULL_WELL) ** 2)
    noise = {"sigma": sigma, "slope": np.full(len(clean), 1 / FULL_WELL)}
    for name, known in (("gain, offset, dead elements", truth), ("and photon and read noise", truth | noise)):
        scores = [
            mpsnr(restore(cases["g"], method, known=Known(**known), wavelength_nm=WAVELENGTH).estimate, clean)
            for method in ("lowrank", "diffusion")
        ]
        print(f"  {name:36}{scores[0]:7.2f}{scores[1]:11.2f}")
    back = [
        mpsnr(restore(clean, method, wavelength_nm=WAVELENGTH).estimate, clean) for method in ("lowrank", "diffusion")
    ]
    print(f"  {'a clean cube comes back at':36}{back[0]:7.2f}{back[1]:11.2f}")
    print("Autoencoder: mean PSNR in dB of a clean cube coded around a subspace estimate")
    for case in ("a", "g", "clean"):
        estimate, again = _coded(clean if case == "clean" else cases[case], clean)
        print(f"  {f'estimate of {case}: itself, coded':36}{estimate:7.2f}{again:11.2f}")
    return rows


def _steps(values: Array, clean: Array) -> dict[str, float]:
    given = Observation(values=values, valid=np.ones(values.shape, dtype=bool))
    classical, learned = separate(given), separate(given, learned=True)
    refined = refine(learned, WAVELENGTH)
    unit = learned.noise.sigma[:, None, None]

    def corrected(n: int | None) -> float:
        change = np.tensordot(refined.basis[:, :n], refined.correction[:n], axes=1)
        return mpsnr(learned.scene + unit * change, clean)

    return {
        "lowrank": mpsnr(classical.scene, clean), "+ learned outliers": mpsnr(learned.scene, clean),
        "+ latent flow in the subspace": corrected(learned.rank), "+ atoms of the autoencoder": corrected(None),
        "+ gate (diffusion)": mpsnr(refined.scene, clean),
    }  # fmt: skip


@torch.no_grad()
def _coded(values: Array, clean: Array) -> tuple[float, float]:
    found = separate(Observation(values=values, valid=np.ones(values.shape, dtype=bool)))
    unit = found.noise.sigma[:, None, None]
    _, basis = evidence(whitened_residual(found, WAVELENGTH), load_autoencoder()[0], atoms=10**6)
    residual = torch.as_tensor((clean - found.scene) / unit)
    decoded = Autoencoder.decode(Autoencoder.encode(residual, basis), basis).numpy()
    return mpsnr(found.scene, clean), mpsnr(found.scene + unit * decoded, clean)


if __name__ == "__main__":
    main()
