"""Guides of a cube: how their channels are made up of its bands, and what an imager sees of a scene."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hsitools.cube import Cube
from hsitools.errors import InputError
from hsitools.sensor.bands import MIN_COVERAGE, SpectralResponse, resample
from hsitools.sensor.multispectral import BandTable
from hsitools.sensor.sensor import Sensor
from hsitools.sensor.spatial import mean_of_known, mtf_blur, mtf_decimate
from pansharpen.guide import Guide

Array = NDArray[np.float64]


def covered(response: SpectralResponse, wavelength_nm: Array) -> NDArray[np.bool_]:
    """Channels ``(channel,)`` of whose response the wavelengths of a cube see about a half or more."""
    return np.asarray(response.coverage(np.sort(wavelength_nm)) >= MIN_COVERAGE)


def response_rows(sensor: Sensor, wavelength_nm: Array) -> Array:
    """How a cube's bands make up each channel of a sensor, ``(channel, band)``; NaN outside the cube's range."""
    out = np.full((sensor.n_bands, len(wavelength_nm)), np.nan)
    inside = np.flatnonzero(covered(sensor.response, wavelength_nm))
    order = np.argsort(wavelength_nm)
    if inside.size:
        out[np.ix_(inside, order)] = sensor.select(inside).response.matrix(wavelength_nm[order])
    return out


def usable(table: BandTable, ratio: int, wavelength_nm: Array) -> list[tuple[int, NDArray[np.int64]]]:
    """Channels of an imager that can guide a cube, by the size of their pixels on the finest one's grid.

    Those finer than the cube and inside its range.

    Raises
    ------
    InputError
        When there are none.
    """
    finest = table.pixel_m.min()
    sizes = np.round(table.pixel_m / finest).astype(int)
    inside = covered(table.response(), wavelength_nm)
    out = [(int(size), np.flatnonzero((sizes == size) & inside)) for size in np.unique(sizes) if size < ratio]
    out = [(size, channels) for size, channels in out if channels.size]
    if not out or out[0][0] != 1:
        low, high = np.min(wavelength_nm), np.max(wavelength_nm)
        raise InputError(
            f"guide: {table.name}: found no band of {finest:g} m inside the cube's range of {low:.0f} to "
            f"{high:.0f} nm, expected one"
        )
    return out


def simulated_guides(
    scene: Cube, table: BandTable, ratio: int, wavelength_nm: Array, *, rng: np.random.Generator,
    noise: bool = True, snr_db: float | None = None,
) -> tuple[Guide, ...]:  # fmt: skip
    """What an imager sees of a scene whose pixels are those of its finest bands, one guide for each size of pixels.

    Parameters
    ----------
    scene : Cube
        In the sensor's units (reflectance).
    table : BandTable
    ratio : int
        Of the cube: coarser channels are of no use.
    wavelength_nm : array, shape (band,)
        Of the cube's bands.
    rng : numpy Generator
    noise : bool
        With the imager's noise.
    snr_db : float, optional
        White noise of this signal-to-noise ratio in every channel instead, decibels.
    """
    sensor, known = table.sensor(), np.asarray(scene.wavelength_nm, dtype=float)
    size = (scene.shape[1], scene.shape[2])
    rows = response_rows(sensor, wavelength_nm)
    seen_all = covered(sensor.response, known)
    out = []
    for pixels, channels in usable(table, ratio, wavelength_nm):
        channels = channels[seen_all[channels]]
        if not channels.size:
            continue
        part = sensor.select(channels)
        sharp = torch.as_tensor(np.ascontiguousarray(resample(scene, part.response).read(), dtype=np.float32))
        blur: Any = mtf_blur(size, part.mtf, 1) if pixels == 1 else mtf_decimate(size, part.mtf, pixels)
        image = mean_of_known(blur, sharp[None])[0].double().numpy()
        variance = None
        if snr_db is not None:
            variance = noise_of(image, snr_db)
            image = image + np.sqrt(variance)[:, None, None] * rng.standard_normal(image.shape)
        elif noise and part.noise is not None:
            image = part.noise.sample(image, rng)[0]
            variance = np.ravel(part.noise.variance(np.nanmean(image, axis=(1, 2))[:, None, None]))
        out.append(Guide(
            image=torch.as_tensor(image, dtype=torch.float32)[None], ratio=pixels, mtf=part.mtf,
            response=rows[channels], noise_variance=variance, wavelength_nm=part.response.wavelength_nm,
            name=f"{table.name}, pixels of {table.pixel_m[channels[0]]:g} m",
        ))  # fmt: skip
    return tuple(out)


def noise_of(image: Any, snr_db: float) -> Array:
    """Variance ``(band,)`` of white noise at so many decibels below each band's mean square."""
    power = np.nanmean(np.square(np.asarray(image, dtype=float)), axis=(-2, -1))
    return np.asarray(power / 10 ** (snr_db / 10))
