"""Inverse cosine transform at the fitted optical path differences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.inversion.problem import Interferograms, Spectra
from calibration.inversion.registry import Inside, method
from hsitools.errors import InputError
from hsitools.text import counted

Array = NDArray[np.float64]
#: Fewest path differences that have a step between them.
LEAST = 2


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


@dataclass(frozen=True)
class Learned:
    """The one factor between the transform and spectra, of the image."""

    gain: float
    reach: int = 0

    def __call__(self, case: Interferograms, inside: Inside | None = None) -> Spectra:
        """Transform pixels of the image."""
        case = case if inside is None else case.inside(inside)
        return case.spectra(self.gain * _shape(case)[0], None, parameters={"gain": self.gain})


def learned(case: Interferograms, device: str = "cpu") -> Learned:
    """The transform knows neither gain nor contrast: one factor for all pixels makes the interferograms' size right."""
    shape, pixels, matrix = _shape(case)
    predicted = matrix @ shape
    centred = predicted - predicted.mean(axis=0)
    power = float((centred**2).sum())
    return Learned(float((centred * (pixels - pixels.mean(axis=0))).sum()) / power if power > 0 else 0.0)


def _shape(case: Interferograms) -> tuple[Array, Array, Array]:
    """The transform ``(wavelength, pixel)``, and the interferograms and matrix that it was made of."""
    if case.opd_um is None:
        raise InputError("cosine: opd_um: found none, expected the OPD of each interferometer")
    # interferometers differ in brightness: each over what it shows of flat light
    level = np.abs(case.matrix.sum(axis=1))
    bright = level > 0
    if bright.sum() < LEAST:
        raise InputError(
            f"cosine: found {counted(bright.sum(), 'interferometer')}, expected at least {LEAST} path differences"
        )
    pixels = case.pixels[bright] * (case.noise_std[bright] / level[bright])[:, None]
    shape = transform(pixels, case.opd_um[bright], 1000 / case.wavelength_nm)
    # per wavenumber to per wavelength
    shape *= (1000 / case.wavelength_nm**2)[:, None]
    return shape, pixels, case.matrix[bright] / level[bright, None]


@method("cosine", paper="Inverse cosine transform, as in Fourier spectroscopy", learn=learned)
def cosine(case: Interferograms) -> Spectra:
    """Inverse cosine transform at the fitted, uneven OPDs; one gain for the spectrum, the matrix otherwise unused."""
    return learned(case)(case)
