"""All pixels together: what spectra of this image are like, and what neighbours share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from calibration.inversion.calibration_error import Allowed, allow
from calibration.inversion.population import Population, learn
from calibration.inversion.problem import Interferograms, Spectra, noise_size
from calibration.inversion.registry import Inside, method

if TYPE_CHECKING:
    from calibration.inversion.spatial import Smoothing

Array = NDArray[np.float64]
#: Factors of the errors that all pixels share.
COMMON = 16


@dataclass(frozen=True, kw_only=True, eq=False)
class Learned:
    """What an image tells of its spectra, for all of its pixels or those of a part.

    Attributes
    ----------
    noise : float
        Factor of the noise's standard deviations.
    allowed : Allowed
    population : Population
    smoothing : Smoothing
    common : array, shape (wavelength, k)
        Root of the covariance of errors that all pixels share.
    others : list of array, shape (wavelength,)
        Variance that a calibration's error leaves in one share of each direction of `Allowed.others`.
    reach : int
        Pixels of surroundings that a part must have for its own to be as in the whole image.
    device : str
        Of torch, for the spatial part.
    """

    noise: float
    allowed: Allowed
    population: Population
    smoothing: Smoothing
    common: Array
    others: list[Array]
    reach: int
    device: str = "cpu"

    def __call__(self, case: Interferograms, inside: Inside | None = None) -> Spectra:
        """Invert pixels of the image."""
        population = self.population
        case = _with_noise(case, self.noise)
        shares = [(toward * case.noise_std) @ case.pixels for toward, _ in self.allowed.others]
        part = self.allowed.pixels(case)
        z, deviation = self.smoothing(
            population.components(part.projected), part.measured.reshape(part.shape), self.device
        )
        brightness = population.brightness(part.projected)
        if inside is not None:
            chosen = np.zeros(part.shape, dtype=bool)
            chosen[inside] = True
            chosen = chosen.ravel()[part.measured]
            z, deviation, brightness = z[:, chosen], deviation[:, chosen], brightness[chosen]
            shares = [share[chosen] for share in shares]
            part = part.inside(inside)
        estimate = population.columns @ z
        estimate += population.mean[:, None] * brightness
        variance = population.columns**2 @ deviation**2
        variance += population.rest[:, None]
        shared = population.mean_variance + (self.common**2).sum(axis=1)
        variance += shared[:, None] * brightness**2
        for share, error in zip(shares, self.others, strict=True):
            variance += error[:, None] * share**2
        return part.spectra(
            estimate, np.sqrt(variance, out=variance), common=self.common,
            parameters={
                "prior": population.prior, "rounds": population.rounds, "components": len(population.signal),
                "calibration_scale": self.allowed.scale,
            },
        )  # fmt: skip


def learned(case: Interferograms, device: str = "cpu") -> Learned:
    """Learn from an image: noise, population, how much neighbours help."""
    from calibration.inversion.spatial import REACH, choose, place

    device = place(device)
    noise = 1.0 if case.noise_known else noise_size(case)
    allowed = allow(_with_noise(case, noise), apart=True)
    case = allowed.case
    population = learn(allowed)
    data = population.components(case.projected)
    importance = (population.columns**2).sum(axis=0)
    smoothing = choose(data, population.signal, importance, case.measured.reshape(case.shape), device=device)
    gain = population.columns * (population.signal / (1 + population.signal)) @ population.analysis @ case.svd[0].T
    common = _common(gain, allowed.factors)
    others = [np.maximum(((gain @ error) * gain).sum(axis=1), 0) for _, error in allowed.others]
    return Learned(
        noise=noise, allowed=allowed, population=population, smoothing=smoothing, common=common, others=others,
        reach=REACH, device=device,
    )  # fmt: skip


def _with_noise(case: Interferograms, noise: float) -> Interferograms:
    return case if case.noise_known else replace(case, noise_std=case.noise_std * noise, noise_known=True)


@method(
    "joint", std=True, image=True, linear=False, learn=learned,
    paper="hsitools: mean and covariance of spectra learned from the image, edge-aware prior in their eigenbasis",
)  # fmt: skip
def joint(case: Interferograms) -> Spectra:
    """Spectra of the image as one population, learned under the noise, with an edge-aware spatial prior (default).

    A small image learns little, and the prior by evidence (smooth, or like procedural scenes) stays.
    """
    return learned(case)(case)


def _common(gain: Array, factors: Array) -> Array:
    """Root of the covariance of what a wrong calibration does to all pixels, ``(wavelength, k)``.

    Of its errors ``factors (interferometer, m)``, by what an estimate makes of interferograms.
    """
    if not factors.size:
        return np.zeros((len(gain), 0))
    left, values, _ = np.linalg.svd(gain @ factors, full_matrices=False)
    return np.asarray(left[:, :COMMON] * values[:COMMON])
