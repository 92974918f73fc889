"""The figures of the home page and of README, one a room, drawn from simulated data.

``python docs/figures.py docs/images`` draws those that README shows; the site's are drawn when it is built.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hsitools import Sensor, preset, scene
from hsitools.figures import quicklook
from hsitools.plot import COLOURS, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Dots per inch: sharp on a page of 900 pixels, and below 200 kB a file.
DPI = 80


def bare(axes: object, title: str) -> None:
    """An image's axes without ticks."""
    axes.set(title=title, xticks=[], yticks=[])  # type: ignore[attr-defined]
    axes.grid(False)  # type: ignore[attr-defined]


def calibration_figure() -> Figure:
    """One interferometer's fit, its residual, and the errors of all OPDs in units of their standard errors."""
    from calibration import characterize
    from calibration import simulated_bench as bench
    from calibration.figures import fitted
    from hsitools.sensor.transmittance import TransmittanceModel

    rng = np.random.default_rng(7)
    instrument = bench.simulate_instrument(60, rng=rng, rows=6)
    capture = bench.capture(instrument, bench.lines(201), rng=rng, noise=0.05)
    result = characterize(capture, TransmittanceModel(degree_gain=3, degree_reflectivity=3, degree_phase=3))
    row, x = 30, capture.wavelength_nm
    level = capture.intensity[row].mean()
    figure, (left, right) = new_figure(10, 3.4, ncols=2, width_ratios=[1.7, 1])
    left.plot(x, capture.intensity[row] / level, ".", ms=3, color="0.45", label="measured")
    left.plot(x, fitted(result, capture)[row] / level, color=COLOURS[1], label="fit")
    left.set(
        title=f"One interferometer: OPD {result.opd_um[row]:.3f} ± {result.opd_stderr_um[row]:.3f} µm",
        xlabel="wavelength / nm", ylabel="intensity / mean",
    )  # fmt: skip
    left.legend(ncols=2)
    error = 1000 * (result.opd_um - instrument.opd_um)
    right.errorbar(result.opd_um, error, 1960 * result.opd_stderr_um, fmt=".", ms=4, lw=0.8, color=COLOURS[0])
    right.axhline(0, color="0.5", lw=0.8)
    right.set(title="All of them: error and 95 % interval", xlabel="OPD / µm", ylabel="OPD − truth / nm")
    return figure


def sensor_figure() -> Figure:
    """A procedural scene and what the PRISMA preset makes of it."""
    view = scene((180, 180), seed=0).load()
    observed = preset("prisma").observe(view, np.random.default_rng(1))
    figure, axes = new_figure(9, 3.2, ncols=3)
    pictures = {"scene, 5 m": view, "hyperspectral cube, 30 m": observed, "panchromatic image, 5 m": observed.pan}
    for ax, (title, picture) in zip(axes, pictures.items(), strict=True):
        ax.imshow(quicklook(picture))
        bare(ax, title)
    return figure


def fusion_figure() -> Figure:
    """Beyond PAN's range (2200, 1650, 1050 nm): the coarse cube, two methods, and the truth."""
    from pansharpen import fuse

    view, sensor = scene((180, 180), seed=3), preset("prisma")
    observed = sensor.observe(view, np.random.default_rng(1))
    truth = sensor.replace(ratio=1, mtf=None, pan=None, noise=None).forward(view).read()
    bands = [int(np.argmin(np.abs(observed.wavelength_nm - nm))) for nm in (2200, 1650, 1050)]
    low, high = np.percentile(truth[bands], [1, 99], axis=(1, 2))
    figure, axes = new_figure(11, 2.9, ncols=4)
    cubes = {
        "cube, 30 m": observed.physical().read(),
        "GSA": fuse(observed, method="GSA", sensor=sensor).read(),
        "physics": fuse(observed, method="physics", sensor=sensor).read(),
        "truth, 5 m": truth,
    }
    for ax, (title, values) in zip(axes, cubes.items(), strict=True):
        picture = (values[bands] - low[:, None, None]) / (high - low)[:, None, None]
        share = values.shape[1] // 2
        ax.imshow(np.clip(picture, 0, 1).transpose(1, 2, 0)[:share, :share])
        bare(ax, title)
    return figure


def denoising_figure() -> Figure:
    """A striped noisy band, the estimate, and how sure it is beside how wrong it is."""
    from denoise import restore_cube
    from hsitools.sensor import Defects, DetectorNoise, GaussianResponse, Stripes

    wavelength = np.linspace(430, 2350, 40)
    view = scene((64, 64), wavelength_nm=wavelength, seed=3).load()
    sensor = Sensor(
        name="pushbroom", response=GaussianResponse(centre_nm=wavelength, width_nm=np.full(len(wavelength), 40.0)),
        noise=DetectorNoise(electrons_per_unit=4e3, read_noise=120.0), stripes=Stripes(gain=0.01, offset=0.02),
        defects=Defects(dead=0.004),
    )  # fmt: skip
    clean = sensor.replace(noise=None, stripes=None, defects=None).forward(view).read()
    observed = sensor.observe(view, np.random.default_rng(7))
    values, restored = observed.read(), restore_cube(observed, samples=6)
    estimate, std = restored.estimate.read(), restored.std.read()
    band = 5
    grey = {"cmap": "gray", "vmin": np.percentile(clean[band], 1), "vmax": np.percentile(clean[band], 99)}
    spread = {"cmap": "magma", "vmin": 0, "vmax": 2 * np.percentile(std[band], 95)}
    figure, axes = new_figure(11, 2.9, ncols=4)
    pictures = (
        (f"as measured, {wavelength[band]:.0f} nm", values[band], grey), ("estimate", estimate[band], grey),
        ("standard deviation", std[band], spread), ("true error", np.abs(estimate - clean)[band], spread),
    )  # fmt: skip
    for ax, (title, image, look) in zip(axes, pictures, strict=True):
        shown = ax.imshow(image, **look)
        bare(ax, title)
    figure.colorbar(shown, ax=axes[2:].tolist(), label="reflectance")
    return figure


FIGURES = {
    "calibration": calibration_figure, "sensor": sensor_figure, "fusion": fusion_figure, "denoising": denoising_figure,
}  # fmt: skip


def draw(folder: str | Path, *, anew: bool = True) -> list[Path]:
    """Draw all figures into a folder; with ``anew=False`` only those that are missing."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, make in FIGURES.items():
        path = folder / f"{name}.png"
        if anew or not path.exists():
            save_figure(make(), path, dpi=DPI)
        paths.append(path)
    return paths


if __name__ == "__main__":
    print(*draw(sys.argv[1] if len(sys.argv) > 1 else "docs/images"), sep="\n")
