"""Inversion: held-out lines of the real captures, known scenes, the lawn under the sun, real Michelson interferograms."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from benchmarks.captures import DEVICES, load, shared_folder
from calibration.characterize import characterize
from calibration.inversion import registry
from calibration.inversion.lines import compare as compare_lines
from calibration.inversion.problem import Interferograms
from calibration.inversion.scenes import compare as compare_scenes
from calibration.inversion.scenes import scene_grid, score, simulate, spectra_on
from hsitools.io import open_cube

Array = NDArray[np.float64]
#: Scene, device and side of the crop.
SCENES = (("jasper_ridge", "imspoc_uv_1"), ("pavia_centre_crop", "imspoc_uv_2"))
SIDE = 64
LINE_METHODS = ["ridge", "ridge-discrepancy", "truncated-svd", "nonnegative", "gp", "sparse"]
SCENE_METHODS = ["ridge", "truncated-svd", "gp", "joint"]
SNRS = [30.0, 100.0, 300.0]


def show(records: list[dict[str, Any]]) -> None:
    """One line a record."""
    for record in records:
        cells = [f"{k} {v:.4g}" if isinstance(v, float) else str(v) for k, v in record.items()]
        print("  ".join(cells), flush=True)


def crop(name: str) -> Any:
    """A corner of a real scene."""
    cube = open_cube(shared_folder() / "data" / "scenes" / f"{name}.h5")
    return cube.with_data(cube.read()[:, :SIDE, :SIDE])


def held_out_lines() -> list[dict[str, Any]]:
    """The table of monochromator lines."""
    records = []
    for device in DEVICES:
        records += compare_lines(load(device), LINE_METHODS)
    return records


def known_scenes() -> list[dict[str, Any]]:
    """Exact matrices, and jasper with that of four fifths of the lines."""
    records = []
    for name, device in SCENES:
        capture = load(device)
        instrument = characterize(capture)
        records += compare_scenes(crop(name), instrument, SCENE_METHODS, snrs=SNRS)
        if name == "jasper_ridge":
            records += compare_scenes(
                crop(name), instrument, SCENE_METHODS, snrs=SNRS, kept_lines=0.8, capture=capture
            )  # fmt: skip
    return records


def lawn() -> list[dict[str, Any]]:
    """A lawn's radiance under the real sun, 64 draws of the noise, with and without the illumination known."""
    with h5py.File(shared_folder() / "data" / "instruments" / "spectra_known.h5") as file:
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        grass = next(n for n in names if "lawn" in n.lower() or "grass" in n.lower())
        sun = next(n for n in names if "sun" in n.lower() or "kurucz" in n.lower())
        print("lawn:", grass, sun)
        members = {n: file[n][()] for n in names}
    records = []
    for device in DEVICES[:2]:
        instrument = characterize(load(device))
        grid = 1000 / instrument.response.wavenumber[::-1]
        light, reflectance = (_curve(members, n, grid) for n in (sun, grass))
        truth = light * reflectance
        truth = np.repeat((truth / truth.mean())[:, None, None], 64, axis=2)
        for snr in SNRS[1:]:
            values, sigma = simulate(instrument, truth, grid, snr, np.random.default_rng(0))
            fitted = np.isfinite(values).all(axis=(1, 2))
            case = Interferograms(
                matrix=instrument.response.rows(fitted).matrix(grid), values=values[fitted], wavelength_nm=grid,
                noise_std=np.full(int(fitted.sum()), sigma),
            )  # fmt: skip
            for known in (False, True):
                seen = replace(case, illumination=light / light.mean()) if known else case
                for method in ("ridge", "gp"):
                    records.append(
                        {"case": "lawn", "instrument": device, "snr": snr, "illumination": known, "method": method,
                         **score(registry.get(method)(seen), truth)}
                    )  # fmt: skip
    return records


def _curve(members: dict[str, Array], name: str, grid: Array) -> Array:
    """A spectrum on the grid; its wavelengths lie beside it."""
    values = np.asarray(members[name], dtype=float)
    folder = name.rpartition("/")[0]
    axis = next(v for n, v in members.items() if n.startswith(folder) and "wavelength" in n and len(v) == len(values))
    step = np.gradient(grid)
    # means over what each wavelength of the grid stands for
    return np.array([_mean(axis, values, w - s / 2, w + s / 2) for w, s in zip(grid, step, strict=True)])


def _mean(axis: Array, values: Array, low: float, high: float) -> float:
    inside = values[(axis >= low) & (axis <= high)]
    return float(inside.mean()) if len(inside) else float(np.interp((low + high) / 2, axis, values))


def michelson() -> list[dict[str, Any]]:
    """Real interferograms of an FTIR microscope by our methods against the vendor's own spectra."""
    with h5py.File(shared_folder() / "data" / "instruments" / "ftir_agilent_ifg.h5") as file:
        data = {name: file[name][()].astype(float) for name in file}
    sigma, opd = data["vendor_wavenumber_per_cm"], data["opd_cm"]
    records = []
    for method in ("cosine", "ridge", "gp", "joint"):
        for name, vendor in (("interferogram", "vendor_spectrum"), ("background_interferogram", "vendor_background")):
            spectra = michelson_spectra(data[name], opd, sigma, method)
            reference = data[vendor].reshape(-1, len(sigma))
            mine = spectra.reshape(-1, len(sigma))
            correlation = [np.corrcoef(a, b)[0, 1] for a, b in zip(mine, reference, strict=True)]
            records.append(
                {
                    "case": f"michelson {name}", "method": method, "correlation_median": float(np.median(correlation)),
                    "correlation_least": float(np.min(correlation)),
                    "same_peak": float((mine.argmax(axis=1) == reference.argmax(axis=1)).mean()),
                }
            )  # fmt: skip
    return records


def michelson_spectra(interferograms: Array, opd_cm: Array, wavenumber: Array, method: str) -> Array:
    """Spectra ``(…, wavenumber)`` of one-sided interferograms of an under-sampled Michelson.

    The band that the sampling leaves is modelled as a grid of wavenumbers; the instrument's phase is taken from the
    double-sided part.
    """
    raise NotImplementedError


def speed() -> list[dict[str, Any]]:
    """319 interferometers × 451 lines to 128 × 128 pixels."""
    instrument = characterize(load("imspoc_uv_2"))
    cube = crop("jasper_ridge")
    grid = scene_grid(instrument, cube)
    truth = np.tile(spectra_on(cube, grid), (1, 2, 2))
    values, sigma = simulate(instrument, truth, grid, 100.0, np.random.default_rng(0))
    case = Interferograms(
        matrix=instrument.response.matrix(grid), values=values, noise_std=np.full(len(values), sigma), wavelength_nm=grid
    )
    records = []
    for method in ("gp", "joint"):
        registry.get(method)(replace(case, values=values[:, :16, :16]))  # imports are no part of it
        wall, work = time.perf_counter(), time.process_time()
        registry.get(method)(case)
        records.append(
            {"case": f"{values.shape[0]}×{len(grid)}, 128×128", "method": method,
             "seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - work}
        )  # fmt: skip
    return records


def main() -> list[dict[str, Any]]:
    """Print all tables and return their records."""
    records = []
    for table in (held_out_lines, known_scenes, lawn, speed):
        part = table()
        show(part)
        records += part
    return records


if __name__ == "__main__":
    main()
