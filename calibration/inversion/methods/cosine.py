"""Inverse cosine transform at the fitted optical path differences."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibration.inversion.problem import Interferograms, Spectra
from calibration.inversion.registry import method
from hsitools.errors import InputError

Array = NDArray[np.float64]


def transform(values: Array, opd_um: Array, wavenumber: Array) -> Array:
    """Spectra ``(wavenumber, pixel)`` of interferograms ``(interferometer, pixel)`` by the inverse cosine transform.

    Each interferogram less its mean, apodised by a triangle that ends at the largest OPD, times the step that each OPD
    stands for: OPDs need not be even (µm; wavenumbers in µm⁻¹). Of a line of unit power through two-wave
    interferometers of full contrast the integral over wavenumber is one.
    """
    order = np.argsort(opd_um)
    opd = opd_um[order]
    step = np.gradient(opd)
    apodised = step * (1 - np.abs(opd) / (np.abs(opd[-1]) + step[-1]))
    centred = values[order] - values.mean(axis=0)
    return np.asarray(4 * np.cos(2 * np.pi * wavenumber[:, None] * opd) @ (apodised[:, None] * centred))


@method("cosine", paper="Inverse cosine transform, as in Fourier spectroscopy")
def cosine(case: Interferograms) -> Spectra:
    """Inverse cosine transform at the fitted, uneven OPDs; one gain for the spectrum, the matrix otherwise unused."""
    if case.opd_um is None:
        raise InputError("cosine: opd_um: found none, expected the OPD of each interferometer")
    # interferometers differ in brightness: each over what it shows of flat light
    level = np.abs(case.matrix.sum(axis=1))
    bright = level > 0
    pixels = case.pixels[bright] * (case.noise_std / level)[bright, None]
    shape = transform(pixels, case.opd_um[bright], 1000 / case.wavelength_nm)
    # per wavenumber to per wavelength
    shape *= (1000 / case.wavelength_nm**2)[:, None]
    # the transform knows neither gain nor contrast: one factor for all pixels makes the interferograms' size right
    predicted = case.matrix[bright] / level[bright, None] @ shape
    centred = predicted - predicted.mean(axis=0)
    power = float((centred**2).sum())
    gain = float((centred * (pixels - pixels.mean(axis=0))).sum()) / power if power > 0 else 0.0
    return case.spectra(gain * shape, None, parameters={"gain": gain})
