"""Gaussian priors of spectra, and which of them interferograms speak for.

Smooth spectra are Gaussian processes over wavelength with Matérn's covariance of order 3/2: differentiable, but free to
bend at an absorption; white ones are what ridge regression believes. With a known illumination the process multiplies
it. The evidence is the density of a pixel's interferogram under prior and noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from calibration.inversion.problem import Interferograms

Array = NDArray[np.float64]

#: Lengths of correlation tried, nm: from the width of a line to that of the band, a factor of two apart.
LENGTHS = (20.0, 40.0, 80.0, 160.0, 320.0)
#: Variances tried, per unit of what makes signal and noise alike: from nothing to a signal-to-noise of 3e5.
SCALES = np.logspace(-3, 11, 57)
#: Share of the smooth process that is added to a library of other scenes: nothing is exactly like them.
UNLIKE = 0.1
#: Below the library's first wavelength its spectra stay as they are there, this far (nm).
BEYOND = 60.0
#: Pixels that choose the kernel of an image.
SAMPLE = 1024


def matern(wavelength_nm: Array, length_nm: float) -> Array:
    """Matérn covariance of order 3/2, ``(wavelength, wavelength)``, of unit variance."""
    distance = np.sqrt(3) * np.abs(wavelength_nm[:, None] - wavelength_nm) / length_nm
    return np.asarray((1 + distance) * np.exp(-distance))


def white(wavelength_nm: Array) -> Array:
    """Covariance of white spectra: variance falls with what a sample stands for, so that the grid does not matter."""
    return np.diag(1 / np.abs(np.gradient(wavelength_nm)))


def candidates(case: Interferograms) -> dict[str, Array]:
    """Covariances by name, times the illumination's."""
    light = case.light
    kernels = {"white": white(case.wavelength_nm)}
    kernels |= {f"Matern {length:g} nm": matern(case.wavelength_nm, length) for length in LENGTHS}
    return {name: light[:, None] * kernel * light for name, kernel in kernels.items()}


def smooth_kernels(case: Interferograms) -> dict[str, Array]:
    """Covariances of spectra of scenes: smooth, or like procedural scenes and a bit smooth, times the illumination."""
    kernels = {f"Matern {length:g} nm": matern(case.wavelength_nm, length) for length in LENGTHS}
    library = library_covariance(case.wavelength_nm)
    if library is not None:
        level = float(np.trace(library)) / len(library)
        kernels |= {f"library, {name}": library + UNLIKE * level * kernel for name, kernel in kernels.items()}
    light = case.light
    return {name: light[:, None] * kernel * light for name, kernel in kernels.items()}


def library_covariance(wavelength_nm: Array) -> Array | None:
    """Second moments of the spectra of procedural scenes, of mean one; None on grids that they do not cover."""
    known, scenes = _library_spectra()
    if wavelength_nm[0] < known[0] - BEYOND or wavelength_nm[-1] > known[-1]:
        return None
    spectra = []
    for values in scenes:
        place = np.clip(wavelength_nm, known[0], None)
        left = np.clip(np.searchsorted(known, place) - 1, 0, len(known) - 2)
        share = ((place - known[left]) / (known[left + 1] - known[left]))[:, None]
        spectra.append((1 - share) * values[left] + share * values[left + 1])
    columns = np.concatenate(spectra, axis=1)
    columns /= columns.mean()
    return np.asarray(columns @ columns.T / columns.shape[1])


@cache
def _library_spectra() -> tuple[Array, list[Array]]:
    """Wavelengths (nm) of procedural scenes, and the spectra ``(wavelength, pixel)`` of each."""
    from hsitools.scenes import procedural_scenes

    cubes = procedural_scenes(8, 32)
    assert cubes[0].wavelength_nm is not None
    return cubes[0].wavelength_nm, [cube.read().reshape(cube.n_bands, -1).astype(float) for cube in cubes]


@dataclass(frozen=True, kw_only=True, eq=False)
class Prior:
    """A zero-mean Gaussian prior in the eigenbasis of its whitened interferograms.

    Attributes
    ----------
    name : str
    covariance : array, shape (wavelength, wavelength)
        Of unit scale: the scale belongs to pixel or image.
    case : Interferograms
    """

    name: str
    covariance: Array
    case: Interferograms

    @cached_property
    def eigen(self) -> tuple[Array, Array]:
        """Eigenvalues (k,) and vectors (k, k) of the covariance that the interferograms' projections have."""
        _, values, right = self.case.svd
        seen = values[:, None] * (right.T @ self.covariance @ right) * values
        variances, vectors = np.linalg.eigh(0.5 * (seen + seen.T))
        return np.maximum(variances[::-1], 0), vectors[:, ::-1]

    @property
    def unit(self) -> float:
        """Scale at which the strongest direction is as strong as the noise."""
        return float(1 / max(self.eigen[0][0], 1e-300))

    @cached_property
    def spectra(self) -> Array:
        """Covariance between spectra and the eigenbasis of interferograms, ``(wavelength, k)``."""
        _, values, right = self.case.svd
        return np.asarray(self.covariance @ (right * values) @ self.eigen[1])

    def log_evidence(self, squares: Array, beyond: Array) -> Array:
        """Logarithm of the evidence ``(scale, pixel)`` for each of `SCALES`, up to a constant.

        ``squares`` (k, pixel) of the projections in the eigenbasis, ``beyond`` (pixel,) outside of the matrix's range.
        Where only the noise's proportions are known its size is the one that makes the evidence largest.
        """
        variances = 1 + SCALES[:, None] * self.unit * self.eigen[0]
        misfit = (1 / variances) @ squares + beyond
        n = len(self.case.whitened)
        if not self.case.noise_known:
            misfit = n * np.log(np.maximum(misfit, 1e-300) / n)
        return np.asarray(-0.5 * misfit - 0.5 * np.log(variances).sum(axis=1)[:, None])

    def coordinates(self, pixels: NDArray[np.intp] | slice = slice(None)) -> Array:
        """Projections of the pixels in the eigenbasis, ``(k, pixel)``."""
        return np.asarray(self.eigen[1].T @ self.case.projected[:, pixels])

    def posterior(self, pixels: NDArray[np.intp], scale: NDArray[np.intp]) -> tuple[Array, Array, Array]:
        """Mean, its standard deviation and what of it the noise makes, ``(wavelength, pixel)`` each.

        For the `SCALES` of number ``scale`` of each pixel.
        """
        data = self.coordinates(pixels)
        size = SCALES * self.unit
        variances = 1 + size[:, None] * self.eigen[0]
        mean = self.spectra @ (data * (size[:, None] / variances)[scale].T)
        noise = np.ones(len(scale))
        if not self.case.noise_known:
            noise = ((data**2 / variances[scale].T).sum(axis=0) + self.case.beyond[pixels]) / len(self.case.whitened)
        told = (self.spectra**2) @ (size[:, None] ** 2 / variances).T
        variance = np.maximum(np.diag(self.covariance)[:, None] * size - told, 0)
        shaken = (self.spectra**2) @ (size[:, None] / variances).T ** 2
        return mean, np.sqrt(variance[:, scale] * noise), np.sqrt(shaken[:, scale] * noise)


def best_prior(case: Interferograms, kernels: dict[str, Array]) -> Prior:
    """The prior with the largest evidence over a sample of the pixels, each at its best scale."""
    count = case.projected.shape[1]
    sample = np.linspace(0, count - 1, min(count, SAMPLE)).astype(np.intp)
    priors = [Prior(name=name, covariance=kernel, case=case) for name, kernel in kernels.items()]

    def evidence(prior: Prior) -> float:
        log = prior.log_evidence(prior.coordinates(sample) ** 2, case.beyond[sample])
        return float(log.max(axis=0).sum())

    return max(priors, key=evidence)
