"""Examples of the latent prior: residuals of clean scenes, observed by many instruments and taken apart as any cube."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from denoise.case import Observation
from denoise.latent.evidence import WhitenedResidual, whitened_residual
from denoise.learning.example_files import example_arrays
from denoise.separation.estimate import separate
from hsitools.cube import Cube
from hsitools.errors import InputError
from hsitools.identity import cube_fingerprint, fingerprint
from hsitools.sensor import Sensor
from hsitools.sensor.detector import read_out
from hsitools.sensor.legacy_names import former_names
from hsitools.sensor.pattern import Defects, Stripes
from hsitools.text import counted

Array = NDArray[Any]
#: Largest side of an example (pixels) and bands of one; smaller ones are learned from faster.
SIDE, BANDS = 80, 100
#: Share of examples with pixels of 2×2, and the least side of these.
COARSE, COARSE_SIDE = 0.3, 40


@dataclass(frozen=True, kw_only=True)
class Example:
    """What an observation of a scene leaves of it, and the true residual ``(band, y, x)`` in units of the noise."""

    whitened: WhitenedResidual
    truth: Array


def clean_values(cube: Cube, use: NDArray[np.bool_] | None = None) -> tuple[Array, NDArray[np.bool_]]:
    """Values ``(band, y, x)`` in [0, 1] of a scene's bands that hold more than noise everywhere, and which these are.

    Parameters
    ----------
    cube : Cube
    use : array of bool, shape (band,), optional
        Bands to choose from, of the good ones.

    Raises
    ------
    InputError
        When fewer than eight bands have signal.
    """
    values = cube.physical().read().astype(np.float32)
    good = cube.good & np.isfinite(values).all(axis=(1, 2)) & (True if use is None else use)
    mean = np.nan_to_num(values).reshape(len(values), -1).mean(axis=1)
    good &= mean > 0.05 * np.median(mean[good]) if good.any() else False
    if good.sum() < 8:
        raise InputError(
            f"{cube.who}: good: found {counted(good.sum(), 'band')} with signal everywhere, expected at least 8"
        )
    return np.clip(values[good] / np.percentile(values[good], 99.9), 0, 1), good


def clean_cubes(scenes: Sequence[Cube]) -> list[tuple[Array, Array]]:
    """`clean_values` of scenes with their wavelengths (nm).

    Raises
    ------
    InputError
        When a scene has no wavelengths or fewer than eight usable bands.
    """
    out = []
    for cube in scenes:
        if cube.wavelength_nm is None:
            raise InputError(f"{cube.who}: wavelength_nm: not known, expected a wavelength for every band")
        values, use = clean_values(cube, np.isfinite(cube.wavelength_nm))
        out.append((values, cube.wavelength_nm[use]))
    return out


def observe(clean: Array, rng: np.random.Generator, sensors: Sequence[Sensor] = ()) -> Array:
    """One draw of an instrument looking at a clean cube: any mixture of what instruments do.

    With sensors, one of them in four draws, in its own bands' noise, stripes and defects.
    """
    if sensors and rng.random() < 0.25:
        return _by_sensor(clean, sensors[int(rng.integers(len(sensors)))], rng)
    bands, height, width = clean.shape
    level = float(np.exp(rng.uniform(np.log(0.004), np.log(0.35))))
    sigma = level * np.asarray(np.ones(bands) if rng.random() < 0.3 else rng.uniform(0.15, 1, bands))
    variance = np.broadcast_to(sigma[:, None, None] ** 2, clean.shape)
    if rng.random() < 0.4:
        variance = variance * (0.2 + clean / max(float(clean.mean()), 1e-3))
    stripes = Stripes()
    if rng.random() < 0.5:
        stripes = Stripes(
            gain=rng.choice([0, 0.02, 0.05]), offset=rng.uniform(0, 0.15) * rng.choice([0.1, 1]),
            columns=rng.choice([0.1, 0.3, 1]), bands=rng.choice([0.33, 1]), clusters=int(rng.choice([0, 4])),
            band_noise=1.0, fragments=rng.choice([1, 1, 0.5]),
        )  # fmt: skip
    defects = Defects(dead=rng.choice([0, 0, 0.005, 0.03]), hot=rng.choice([0, 0, 0.005]))
    pattern = defects.draw(stripes.draw(clean.shape, rng), rng)
    rows = slice(0, height)
    values = pattern.apply(clean, rows) + np.sqrt(variance) * rng.standard_normal(clean.shape)
    values = np.where(pattern.broken(rows), pattern.hot[:, None] * rng.uniform(0.4, 1), values)
    if rng.random() < 0.3:
        jitter = rng.choice([0, 0.03])
        struck = rng.permutation(bands)[: bands // 3]
        for band in struck:
            hit = rng.random((height, width)) < rng.choice([0.02, 0.1, 0.3, 0.5])
            salt = rng.random((height, width)) < 0.5
            values[band][hit] = salt[hit] + jitter * rng.standard_normal(int(hit.sum()))
    return np.asarray(values, dtype=np.float32)


def _by_sensor(clean: Array, sensor: Sensor, rng: np.random.Generator) -> Array:
    """Noise, stripes and defects of a sensor, whose bands are spread over those at hand."""
    if sensor.noise is None:
        raise InputError(f"{sensor.name}: noise: missing, expected a sensor with noise to learn from")
    chosen = np.linspace(0, sensor.n_bands - 1, len(clean)).round().astype(int)
    pattern, rows = sensor.pattern(clean.shape, rng), slice(0, clean.shape[1])
    detector = sensor.noise.select(chosen)
    hot = None if np.isfinite(detector.saturation).all() else 1.0
    return read_out(detector, pattern, clean, rows, rng, hot=hot)[0]


def make_example(clean: Array, wavelength_nm: Array, rng: np.random.Generator, sensors: Sequence[Sensor]) -> Example:
    """A random crop of a cube in random bands, observed and taken apart."""
    bands, height, width = clean.shape
    most = min(bands, int(rng.integers(30, BANDS)))
    if rng.random() < 0.5:
        first = rng.integers(0, bands - most + 1)
        chosen = np.arange(first, first + most)
    else:
        chosen = np.sort(rng.permutation(bands)[:most])
    # now and then from twice as far: other textures, and less noise of their own
    coarse = 2 if min(height, width) >= 2 * COARSE_SIDE and rng.random() < COARSE else 1
    side = min(SIDE, height // coarse, width // coarse) * coarse
    y0, x0 = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
    part = clean[chosen, y0 : y0 + side, x0 : x0 + side]
    if coarse > 1:
        part = part.reshape(most, side // coarse, coarse, side // coarse, coarse).mean((2, 4))
    values = observe(part, rng, sensors)
    scale = np.float32(values.std())
    observation = Observation(values=(values / scale).astype(np.float32), valid=np.ones(values.shape, dtype=bool))
    separation = separate(observation)
    truth = (part / scale - separation.scene) / separation.noise.sigma[:, None, None]
    return Example(whitened=whitened_residual(separation, wavelength_nm[chosen]), truth=truth.astype(np.float32))


def example_content(example: Example) -> dict[str, Array]:
    """Arrays of an example's file, most of them in half precision."""
    what = example.whitened
    return {
        "residual": _half(what.residual), "variance": _half(what.variance), "truth": _half(example.truth),
        "directions": what.directions, "best": what.best.astype(np.float32), "single": what.single,
        "joint": what.joint, "sigma": what.sigma, "wavelength_nm": what.wavelength_nm,
    }  # fmt: skip


def _half(values: Array) -> Array:
    return np.clip(values, -6e4, 6e4).astype(np.float16)


def load_example(path: Path) -> Example:
    """Read an example; raises `FormatError` when it is none."""
    with example_arrays(path) as parts:
        plain = {name: value.astype(np.float32) for name, value in parts.items()}
        truth = plain.pop("truth")
        return Example(whitened=WhitenedResidual(**plain), truth=truth)


def data_name(
    scenes: Sequence[Cube], cubes: Sequence[tuple[Array, Array]], sensors: Sequence[Sensor], out: Path
) -> str:  # fmt: skip
    """Name of the data that examples come from, for checkpoints and for the examples' folders.

    Where ``out`` holds examples of a training that 0.1.0 began with the same data, it is the name that they have there:
    a hash of all values of the clean ``cubes``, which is the same on one machine only.
    """
    digest = hashlib.sha256()
    for values, wavelength in cubes:
        digest.update(np.ascontiguousarray(values).tobytes())
        digest.update(np.ascontiguousarray(wavelength).tobytes())
    for names in itertools.product(*map(former_names, sensors)):
        former = digest.copy()
        former.update("".join(names).encode())
        if any(out.glob(f"examples-{former.hexdigest()[:16]}-*")):
            return former.hexdigest()[:16]
    return fingerprint((tuple(map(cube_fingerprint, scenes)), tuple(sensors)))
