"""A scene's file to interferograms whose pixels see the same: hot pixels by the dark frames, sub-images aligned."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration.characterization import Characterization
from calibration.inversion.alignment_errors import without_alignment_errors
from calibration.inversion.field import cosine_of, gain_of, on_axis
from calibration.inversion.live_rows import live_rows
from calibration.inversion.measurement import NO_FLAT, AnyMeasurement, CubeMeasurement, open_flat, open_measurement
from calibration.inversion.sub_image_registration import (
    NEGLIGIBLE,
    Registration,
    aligned_images,
    brightness_projection,
    precision,
    register,
    smooth_covariance,
    without_borders,
)  # fmt: skip
from hsitools.errors import InputError

Array = NDArray[np.float64]
#: Common field of view that is left, as a share of a sub-image, below which the layout is not that of the frame.
LEAST_FIELD = 0.25
#: Share of saturated samples that takes much of the common field: in forty sub-images rarely the same pixels.
MUCH_SATURATED = 0.01
#: Beyond the largest circle in a sub-image, pixels whose mean is not so many standard errors above zero see no light.
DARK_SIGMA = 4.0
#: Noise relative to the signal where one frame does not tell it: of no more weight than predicting hot pixels.
UNKNOWN_NOISE = 0.02


@dataclass(frozen=True, kw_only=True, eq=False)
class SceneMeasurement:
    """Aligned interferograms, and what was found on the way.

    Attributes
    ----------
    measurement : Measurement or CubeMeasurement
        NaN beyond the common field of view.
    registration : Registration or None
        None of an interferogram cube, whose pixels are taken to see the same.
    hot_share : float
        Share of the sub-images' pixels that are hot; they were predicted from the other sub-images.
    """

    measurement: AnyMeasurement
    registration: Registration | None
    hot_share: float = 0.0


def open_scene(
    path: str | Path, instrument: Characterization, flat: str | Path | None = None
) -> SceneMeasurement:  # fmt: skip
    """Open raw frames (aligned) or an interferogram cube (as it is).

    Where the instrument's layout says lens and pixels, the frames' pixels are taken to the axis (`field`).

    Parameters
    ----------
    path : path
    instrument : Characterization
    flat : path, optional
        Raw frames of an even scene under the calibration lamp: tells vignetting and dead pixels.

    Raises
    ------
    FormatError
        When the file is missing or neither.
    InputError
        When it is of another instrument, saturated, or without a dark frame, or the sub-images share no field of view.
    """
    # what is wrong with the flat is told before anything is computed
    even = None if flat is None else open_flat(flat, instrument)
    measurement = open_measurement(path, instrument)
    if isinstance(measurement, CubeMeasurement) or measurement.hot is None:
        if even is not None:
            raise InputError(f"{flat}: flat: {NO_FLAT}")
        return SceneMeasurement(measurement=measurement, registration=None)
    hot = measurement.hot
    values, noise = measurement.values.copy(), measurement.noise_std
    layout = instrument.layout
    cosine = None if layout is None else cosine_of(layout, values.shape[1])
    response = instrument.response
    # a dead sub-image has no structure to be aligned by
    rows, unlit = live_rows(instrument, np.where(hot, np.nan, values), noise, str(path))
    values[unlit] = np.nan
    wavelength = 1000 / response.wavenumber[::-1]
    matrix = response.rows(rows).matrix(wavelength)
    if even is not None:
        gain = gain_of(even.values[rows], response.rows(rows), cosine)
        dead = ~np.isfinite(gain)
        hot = hot.copy()
        hot[rows] |= dead
        values[rows] /= np.where(dead, 1, gain)
        if noise is not None:
            noise = noise.copy()
            noise[rows] *= np.sqrt(np.nanmean(1 / gain**2, axis=(1, 2)))
    valid = np.isfinite(values[rows]) & ~hot[rows]
    registration = register(values[rows], valid, brightness_projection(matrix, wavelength))
    level = np.nanmean(np.where(valid, values[rows], np.nan), axis=(1, 2))
    least = 1e-9 * np.nanmax(np.abs(level))
    relative = np.full(len(rows), UNKNOWN_NOISE) if noise is None else noise[rows] / np.maximum(level, least)
    told = precision(matrix, wavelength, relative)
    aligned, factor = aligned_images(values[rows], hot[rows], registration, told)
    saturated = float((~np.isfinite(measurement.values[rows]) & ~hot[rows]).mean())
    _check_field(aligned, saturated, path, instrument.name)
    aligned = without_borders(aligned, told)
    remaining = None
    if registration.largest(values.shape[1]) > NEGLIGIBLE:
        aligned, remaining = without_alignment_errors(aligned, smooth_covariance(matrix, wavelength), relative * factor)
    _check_field(aligned, saturated, path, instrument.name)
    if cosine is not None:
        spread = np.maximum(relative * np.maximum(level, 0), 1e-9 * np.abs(level).max())
        aligned = on_axis(aligned, response.rows(rows), cosine, spread)
    aligned[:, without_light(aligned)] = np.nan
    values[rows] = aligned
    if noise is not None:
        noise = noise.copy()
        noise[rows] *= factor
    alignment = None
    if remaining is not None:
        alignment = np.zeros(len(values))
        alignment[rows] = remaining
    return SceneMeasurement(
        measurement=replace(measurement, values=values, noise_std=noise, alignment_std=alignment),
        registration=registration, hot_share=float(hot.mean()),
    )  # fmt: skip


def _check_field(aligned: Array, saturated: float, path: str | Path, name: str) -> None:
    """Raise `InputError` where aligned sub-images share too few pixels, ``saturated`` the share of their samples."""
    shared = float(np.isfinite(aligned).all(axis=0).mean())
    if shared < LEAST_FIELD:
        reason = f"are they of {name}?"
        if saturated > MUCH_SATURATED:
            reason = f"{100 * saturated:.0f} % of the samples are saturated, take a shorter exposure"
        raise InputError(
            f"{path}: frames: found that {100 * shared:.0f} % of the field of view is common to all sub-images, "
            f"expected at least {100 * LEAST_FIELD:.0f} %: {reason}"
        )


def without_light(aligned: Array) -> NDArray[np.bool_]:
    """Pixels ``(y, x)`` in the corners of sub-images ``(interferometer, y, x)`` where the lens's disc has ended.

    A dark pixel inside the disc is measured, as is a corner that light reaches.
    """
    count, height, width = aligned.shape
    y, x = np.ogrid[:height, :width]
    outside = np.hypot(y - (height - 1) / 2, x - (width - 1) / 2) > min(height, width) / 2
    corners = aligned[:, outside]
    # fringes scatter, too, but by less than the light that they are of
    error = corners.std(axis=0) / count**0.5
    dark = np.zeros(outside.shape, dtype=bool)
    dark[outside] = corners.mean(axis=0) <= DARK_SIGMA * error
    return dark
