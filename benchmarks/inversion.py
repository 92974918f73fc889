"""Inversion: held-out lines of real captures, known scenes, a lawn under the sun, real Michelson interferograms."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from benchmarks.captures import DEVICES, load, shared_folder
from calibration.characterization import Characterization
from calibration.inversion import registry
from calibration.inversion.kept import Kept
from calibration.inversion.lines import compare as compare_lines
from calibration.inversion.problem import Interferograms
from calibration.inversion.scenes import compare as compare_scenes
from calibration.inversion.scenes import fewer_lines, scene_on_lines, score, simulate
from calibration.pipeline import characterize
from hsitools.io import open_cube

Array = NDArray[np.float64]
#: Scene, device and side of the crop.
SCENES = (("jasper_ridge", "imspoc_uv_1"), ("pavia_centre_crop", "imspoc_uv_2"))
SIDE = 64
LINE_METHODS = ["ridge", "truncated-svd", "nonnegative", "gp", "sparse"]
#: Folds of the lines that are shown, and of how many: each costs five characterizations; all five come from
#: ``hsi invert benchmark --capture DIR --folds 5``.
SHOWN_FOLDS, FOLDS = 2, 5
SCENE_METHODS = ["ridge", "gp", "joint"]
SNRS = [30.0, 100.0, 300.0]
#: Scenes that nothing of the inversion was looked at on, and devices that see them.
UNSEEN = (("salton_sea", "imspoc_uv_1"), ("enmap_potsdam_b", "imspoc_uv_2"))
#: What is wanted of the recommended method (`sparse` for lines, `joint` for scenes): exact %, median nm, gross %.
WANTED_LINES = {"imspoc_uv_1": (98, 0.15, 0), "imspoc_uv_2": (95, 0.03, 3), "wfai_1": (99, 0.02, 0)}
KEPT_LINES = 0.8
#: Scenes and devices with the matrix of four fifths of the lines: nothing was set on any but the first.
FEWER_LINES = (
    ("jasper_ridge", "imspoc_uv_1"), ("samson", "imspoc_uv_1"), ("salton_sea", "imspoc_uv_1"),
    ("enmap_potsdam_a", "imspoc_uv_1"), ("pavia_centre_crop", "imspoc_uv_2"), ("samson", "imspoc_uv_2"),
    ("salton_sea", "imspoc_uv_2"), ("sandiego_airport", "imspoc_uv_2"),
)  # fmt: skip
#: nrmse at `SNRS`, by scene and whether the matrix is of four fifths of the lines.
WANTED_SCENES = {
    ("jasper_ridge", False): (0.046, 0.023, 0.0128), ("pavia_centre_crop", False): (0.17, 0.095, 0.052),
    ("jasper_ridge", True): (0.065, 0.055, 0.050),
}  # fmt: skip
#: The same of the lawn at SNR 100 and 300, by device and whether the light is known, by `gp`.
WANTED_LAWN = {
    ("imspoc_uv_1", False): (0.16, 0.10), ("imspoc_uv_1", True): (0.10, 0.043),
    ("imspoc_uv_2", False): (0.36, 0.19), ("imspoc_uv_2", True): (0.20, 0.074),
}  # fmt: skip
#: CPU seconds on 128 × 128 pixels.
WANTED_SECONDS = {"gp": 3.0, "joint": 10.0}


@cache
def results() -> Kept:
    """Results as they come: in the file that ``HSITOOLS_KEPT`` names a run that was stopped goes on."""
    path = os.environ.get("HSITOOLS_KEPT")
    return Kept(None if path is None else Path(path))


@cache
def instrument_of(device: str) -> Characterization:
    """A real device, characterized on all its lines."""
    return characterize(load(device))


@cache
def fewer_lines_of(device: str) -> Characterization:
    """The same on four fifths of them, for all scenes."""
    return fewer_lines(instrument_of(device), KEPT_LINES, 0, load(device))


def say(done: int, total: int) -> None:
    """Show on standard error that something happens."""
    print(f"\r{done}/{total} ", end="", file=sys.stderr, flush=True)


def show(records: list[dict[str, Any]]) -> None:
    """One line a record, what is wanted beside."""
    print("\r", end="", file=sys.stderr, flush=True)
    for record in records:
        cells = [
            f"{k} {v:.4g}" if isinstance(v, float) else f"{v}" if v is not None else "–" for k, v in record.items()
        ]
        print("  ".join(cells), flush=True)


def crop(name: str) -> Any:
    """A corner of a real scene."""
    cube = open_cube(shared_folder() / "data" / "scenes" / f"{name}.h5")
    return cube.with_data(cube.read()[:, :SIDE, :SIDE])


def held_out_lines() -> None:
    """The table of monochromator lines."""
    print(
        f"Held-out lines ({SHOWN_FOLDS} of {FOLDS} folds), grid independent of them; wanted of `sparse`: "
        "energy 1 ± .02, coverage .90 to .98",
        flush=True,
    )
    columns = (
        "exact_percent", "position_nm_median", "gross_percent", "gross_unflagged_percent", "fwhm_nm", "energy",
        "sidelobe", "coverage95_energy", "coverage95_position", "seconds",
    )  # fmt: skip
    for device in DEVICES:
        exact, position, gross = WANTED_LINES[device]
        wanted = f"(wanted {exact} %, {position} nm, gross {gross} %)"
        for record in compare_lines(
            load(device), LINE_METHODS, folds=FOLDS, first=SHOWN_FOLDS, kept=results(), progress=say
        ):
            row = {"case": device, "method": record["method"], **{name: record[name] for name in columns}}
            show([row | ({"wanted": wanted} if record["method"] == "sparse" else {})])


def known_scenes() -> None:
    """Exact matrices, and those of four fifths of the lines."""
    print("Scenes, nrmse over the truth's deviation; wanted of `joint`")
    for name, device in SCENES:
        _scene(name, device, kept=False)
    print("Instrument characterized on four fifths of its lines; wanted of `joint`: coverage at least .90")
    for name, device in FEWER_LINES:
        _scene(name, device, kept=True)
    print("Scenes that were not looked at before")
    for name, device in UNSEEN:
        _scene(name, device, kept=False)


def _scene(name: str, device: str, *, kept: bool) -> None:
    more: dict[str, Any] = {"kept_lines": KEPT_LINES, "fewer": partial(fewer_lines_of, device)} if kept else {}
    for record in compare_scenes(
        crop(name), instrument_of(device), SCENE_METHODS, snrs=SNRS, kept=results(), progress=say, **more
    ):
        wanted = WANTED_SCENES.get((name, kept))
        beside = {}
        if wanted is not None and record["method"] == "joint":
            beside = {"wanted": wanted[SNRS.index(record["snr"])]}
        show([record | {"case": name} | beside])


def simulated(instrument: Characterization, truth: Array, grid: Array, snr: float) -> Interferograms:
    """A known scene as the interferometers that have a fit see it, noise and matrix exact."""
    values, sigma = simulate(instrument, truth, grid, snr, np.random.default_rng(0))
    fitted = np.isfinite(values).all(axis=(1, 2))
    return Interferograms(
        matrix=instrument.response.rows(fitted).matrix(grid), values=values[fitted], wavelength_nm=grid,
        noise_std=np.full(int(fitted.sum()), sigma),
    )  # fmt: skip


def lawn() -> None:
    """A lawn's radiance under the real sun, 64 draws of the noise, with and without the sun known.

    The sun is its mean over each step of the grid, or its value there: with all its fine lines, as peers' probe had it.
    """
    with h5py.File(shared_folder() / "data" / "instruments" / "spectra_known.h5") as file:
        sun, light = file["sun_wavelength_nm"][()], file["sun_irradiance"][()]
        axis, grass = file["reflectance_wavelength_nm"][()], file["reflectance"][0]
    print("A lawn under the sun; wanted of `gp`")
    for device in DEVICES[:2]:
        instrument = instrument_of(device)
        grid = 1000 / instrument.response.wavenumber[::-1]
        steps = np.gradient(grid)
        means = np.array([_mean(sun, light, w - s / 2, w + s / 2) for w, s in zip(grid, steps, strict=True)])
        for told, known_light in (("means", means), ("points", np.interp(grid, sun, light))):
            truth = known_light * np.interp(grid, axis, grass)
            truth = np.repeat((truth / truth.mean())[:, None, None], 64, axis=2)
            for snr in SNRS[1:]:
                _lawn_rows(instrument, truth, grid, known_light, snr, {"instrument": device, "sun": told})


def _lawn_rows(
    instrument: Characterization, truth: Array, grid: Array, known_light: Array, snr: float, about: dict[str, str]
) -> None:
    case = simulated(instrument, truth, grid, snr)
    for known in (False, True):
        seen = replace(case, illumination=known_light / known_light.mean()) if known else case
        for method in ("ridge", "gp"):
            record: dict[str, Any] = {
                "case": "lawn", **about, "snr": snr, "light known": known, "method": method,
                **score(registry.get(method)(seen), truth),
            }  # fmt: skip
            if method == "gp":
                record["wanted"] = WANTED_LAWN[about["instrument"], known][SNRS.index(snr) - 1]
            show([record])


def _mean(axis: Array, values: Array, low: float, high: float) -> float:
    inside = values[(axis >= low) & (axis <= high)]
    return float(inside.mean()) if len(inside) else float(np.interp((low + high) / 2, axis, values))


def michelson() -> None:
    """Real interferograms of an FTIR microscope by our methods, against the vendor's background and absorbance."""
    with h5py.File(shared_folder() / "data" / "instruments" / "ftir_agilent_ifg.h5") as file:
        data = {name: file[name][()].astype(float) for name in file}
    print("Real interferograms of a Michelson against the vendor's spectra; wanted: correlation .999, the same peaks")
    sigma, opd = data["vendor_wavenumber_per_cm"], data["opd_cm"]
    for method in ("pseudo-inverse", "truncated-svd", "ridge", "gp"):
        sample, empty = (
            michelson_spectra(data[name].reshape(-1, len(opd)), opd, sigma, method)
            for name in ("interferogram", "background_interferogram")
        )
        absorbance = -np.log10(np.clip(sample / empty, 1e-6, None))
        for name, mine, vendor in (
            ("background", empty, data["vendor_background"]), ("absorbance", absorbance, data["vendor_spectrum"])
        ):  # fmt: skip
            reference = vendor.reshape(-1, len(sigma))
            correlation = [np.corrcoef(a, b)[0, 1] for a, b in zip(mine, reference, strict=True)]
            show([
                {
                    "case": f"Michelson, {name}", "method": method, "correlation": float(np.median(correlation)),
                    "correlation_all": float(np.corrcoef(mine.ravel(), reference.ravel())[0, 1]),
                    "correlation_least": float(np.min(correlation)),
                    "same_peak": float((mine.argmax(axis=1) == reference.argmax(axis=1)).mean()),
                }
            ])  # fmt: skip


def michelson_spectra(interferograms: Array, opd_cm: Array, wavenumber: Array, method: str) -> Array:
    """Spectra ``(pixel, wavenumber)`` of one-sided interferograms ``(pixel, OPD)`` of a Michelson, 1/cm.

    The phase is that of the mean's double-sided part (Mertz); the estimate is seen with the vendor's apodisation.
    """
    centred = interferograms - interferograms.mean(axis=1, keepdims=True)
    mean = centred.mean(axis=0)
    zero = int(np.abs(mean).argmax())
    path = (np.arange(len(opd_cm)) - zero) * (opd_cm[1] - opd_cm[0])
    grid = np.arange(700.0, 3900.0, 8.0)
    taper = np.clip(1 - np.abs(np.arange(len(path)) - zero) / (zero + 1), 0, 1)
    phase = np.angle((mean * taper) @ np.exp(-2j * np.pi * np.outer(path, grid)))
    matrix = np.cos(2 * np.pi * np.outer(path, grid) + phase)[:, ::-1]
    case = Interferograms(
        matrix=matrix, values=centred.T[:, :, None], noise_std=np.ones(len(path)), noise_known=False,
        wavelength_nm=1e7 / grid[::-1],
    )  # fmt: skip
    estimate = registry.get(method)(case).estimate[::-1, :, 0]
    # Blackman-Harris, three terms
    share = np.pi * np.abs(path[zero:]) / path[-1]
    window = 0.42323 + 0.49755 * np.cos(share) + 0.07922 * np.cos(2 * share)
    seen = np.cos(2 * np.pi * np.subtract.outer(wavenumber, grid)[..., None] * path[zero:]) @ (2 * window)
    return np.asarray((seen @ estimate).T)


def speed() -> None:
    """319 interferometers × 451 lines to 128 × 128 pixels."""
    print("Speed, CPU seconds wanted beside")
    instrument = instrument_of("imspoc_uv_2")
    cube = crop("jasper_ridge")
    grid, truth = scene_on_lines(instrument, cube)
    truth = np.tile(truth, (1, 2, 2))
    case = simulated(instrument, truth, grid, 100.0)
    for method in ("gp", "joint"):
        registry.get(method)(case.inside((slice(16), slice(16))))  # imports are no part of it
        wall, work = time.perf_counter(), time.process_time()
        registry.get(method)(case)
        show([
            {"case": f"{len(case.values)}×{len(grid)}, 128×128", "method": method,
             "seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - work,
             "wanted": WANTED_SECONDS[method]}
        ])  # fmt: skip


def main() -> None:
    """Print all tables."""
    for table in (known_scenes, lawn, michelson, speed, held_out_lines):
        table()


if __name__ == "__main__":
    main()
