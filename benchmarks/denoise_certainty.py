"""How true the denoiser's intervals are, scene by scene: shares of errors within what is stated for 68 and 95 %.

A "clean" crop of a real scene has noise of its own, which no restoration of it can know. So each line tells three
things: the errors as they are; with the crop's own noise added to the stated variance; and so, less each band's mean
error (stripes have a mean over columns, which nothing in the cube tells, and which all pixels of a band then share).
Last, of the band whose stated errors are the most wrong: the share of its squared error that is the crop's own residual
(what all other bands do not explain of it), and the correlation of neighbouring pixels in that: noise has none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from benchmarks.captures import shared_folder
from denoise.comparison.simulate import clean_cube, simulate
from denoise.restore import restore
from hsitools.estimation.band_noise import band_noise
from hsitools.estimation.covariance import gram
from hsitools.io import open_cube
from hsitools.scenes import scene
from hsitools.sensor.detector import read_out
from hsitools.sensor.presets import preset

Array = NDArray[Any]
#: What 0.1.0 gave, measured with the same code: 68 and 95 %, worst band.
FORMERLY = {
    ("enmap_potsdam_b", "b"): (0.576, 0.864, 0.357, 0.628), ("enmap_potsdam_b", "g"): (0.541, 0.841, 0.249, 0.514),
    ("jasper_ridge", "b"): (0.609, 0.882, 0.288, 0.521), ("jasper_ridge", "g"): (0.525, 0.803, 0.244, 0.451),
}  # fmt: skip
REAL = ("pavia", "jasper_ridge", "enmap_potsdam_b", "samson")
#: Sensors whose detectors look at a procedural scene, which has no noise of its own, and every how many of their bands.
PUSHBROOMS = {"finch": 4, "hyperion-ali": 2}
#: Cases of noise of real scenes; the seeds of noise and of the procedural scene, and its side in pixels.
CASES, SEED, SCENE_SEED, SIDE = ("b", "g"), 3, 31, 96
#: Samples of the posterior, as by default.
SAMPLES = 6


def load(name: str) -> tuple[Array, Array]:
    """Clean cube and wavelengths (nm) of a real scene."""
    if name == "pavia":
        with h5py.File(shared_folder() / "golden" / "denoise_pavia_centre.h5") as file:
            return file["clean"][...], np.linspace(430, 860, 102)
    cube = open_cube(shared_folder() / "data" / "scenes" / f"{name}.h5")
    values, bands = clean_cube(cube)
    return np.nan_to_num(values), np.asarray(cube.wavelength_nm)[bands]


def pushbroom(name: str) -> tuple[Array, Array, Array]:
    """A procedural scene, as a preset's detector reads it out with its stripes and defects, and wavelengths (nm)."""
    sensor = preset(name)
    assert sensor.noise is not None
    chosen = np.arange(0, sensor.n_bands, PUSHBROOMS[name])
    wavelength = np.asarray(sensor.response.centre_nm)[chosen]
    clean = np.asarray(scene((SIDE, SIDE), wavelength_nm=wavelength, seed=SCENE_SEED).read(), dtype=np.float32)
    rng = np.random.default_rng(SEED)
    noisy = read_out(sensor.noise.select(chosen), sensor.pattern(clean.shape, rng), clean, slice(0, SIDE), rng)[0]
    return clean, np.asarray(noisy, dtype=np.float32), wavelength


def observations(name: str) -> Iterator[tuple[str, Array, Array, Array, Array]]:
    """Case, clean and noisy cube, noise of the clean cube ``(band,)`` and wavelengths of a scene."""
    if name in PUSHBROOMS:
        clean, noisy, wavelength = pushbroom(name)
        yield "–", clean, noisy, np.zeros(len(clean)), wavelength
        return
    clean, wavelength = load(name)
    noise = band_noise(clean)
    for case in CASES:
        yield case, clean, simulate(clean, case, SEED)[0], noise, wavelength


def own_residual(clean: Array) -> Array:
    """What all other bands do not explain of each band ``(band, y, x)``."""
    flat = clean.reshape(len(clean), -1).astype(float)
    flat -= flat.mean(1, keepdims=True)
    inverse = np.linalg.inv(gram(flat) / flat.shape[1] + 1e-12 * np.eye(len(flat)))
    return np.asarray((inverse @ flat / np.diag(inverse)[:, None]).reshape(clean.shape))


def within(ratio: Array) -> tuple[float, ...]:
    """Shares of errors within 1 and 1.96 standard deviations, and these in the worst band."""
    shares = [(ratio < limit).mean((1, 2)) for limit in (1, 1.96)]
    return shares[0].mean(), shares[1].mean(), shares[0].min(), shares[1].min()


def _text(values: tuple[float, ...] | None) -> str:
    return "–" if values is None else "{:.3f}/{:.3f} worst {:.3f}/{:.3f}".format(*values)


def main(names: Sequence[str] = ()) -> None:
    """Print the lines of all scenes, or of those named."""
    print("diffusion: errors within the stated 68 / 95 %, and in the worst band (0.1.0 → as they are | with the clean "
          "crop's own noise | and less each band's mean error); the worst band: share of its error that is the crop's "
          "own residual, correlation of neighbours in that")  # fmt: skip
    for name in names or (*REAL, *PUSHBROOMS):
        for case, clean, noisy, noise, wavelength in observations(name):
            restored = restore(noisy, "diffusion", samples=SAMPLES, wavelength_nm=wavelength)
            assert restored.std is not None
            error = restored.estimate - clean
            both = np.hypot(restored.std, noise[:, None, None])
            level = np.mean(error, axis=(1, 2), keepdims=True)
            plain = within(np.abs(error) / restored.std)
            worst = int(np.argmin((np.abs(error) < restored.std).mean((1, 2))))
            line = f"  {name:16}{case}  {_text(FORMERLY.get((name, case)))} → {_text(plain)}"
            if noise.any():
                own, wrong = own_residual(clean)[worst], (error - level)[worst]
                explained = np.corrcoef(own.ravel(), wrong.ravel())[0, 1] ** 2
                beside = np.mean([np.mean(own[1:] * own[:-1]), np.mean(own[:, 1:] * own[:, :-1])]) / own.var()
                line += f" | {_text(within(np.abs(error) / both))}"
                print(f"{line} | {_text(within(np.abs(error - level) / both))}; band {worst}: {explained:.2f}, "
                      f"{beside:+.2f}", flush=True)  # fmt: skip
            else:
                print(f"{line} | none | {_text(within(np.abs(error - level) / both))}", flush=True)
