"""Gaussian process prior of each spectrum, pixel by pixel, in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.inversion.calibration_error import Allowed, allow
from calibration.inversion.prior import SAMPLE, SCALES, Prior, candidates
from calibration.inversion.problem import Interferograms, Spectra
from calibration.inversion.registry import Inside, method

Array = NDArray[np.float64]
Index = NDArray[np.intp]
#: Kernels whose mean weight over the sample is below this change neither spectra nor their error bars.
LEAST_WEIGHT = 0.02
#: The evidence counts by this root: spectra of scenes are no draws of any one kernel, and the one that fits most of a
#: spectrum best would speak for its fine structure too, of which data tell little. Set on pavia_university_lowres,
#: enmap_potsdam_b, abu_airport_1 and abu_urban_1 (coverage .93 to .98 becomes .96 to .99; errors change by −2 to 4 %).
ROOT = 3.0
#: Pixels at a time: arrays (wavelength, pixel) stay in the cache.
CHUNK = 512
#: Interferograms below this many standard deviations of the noise are turned in single precision, which errs by 6e-8 of
#: them: a hundredth of that deviation.
SINGLE = 1e5
#: Signal over noise, in variance, of directions that still move a spectrum: by a thousandth of their error bar.
TOLD = 1e-6


@dataclass(frozen=True, kw_only=True, eq=False)
class Learned:
    """Kernels that an image speaks for, and what a wrong calibration adds to its interferograms.

    Attributes
    ----------
    allowed : Allowed or None
    priors : list of Prior
    single : bool
        Whether single precision is enough for interferograms.
    """

    allowed: Allowed | None
    priors: list[Prior]
    single: bool = False
    reach: int = 0

    def __call__(self, case: Interferograms, inside: Inside | None = None) -> Spectra:
        """Invert pixels of the image."""
        case = case if inside is None else case.inside(inside)
        least = None if self.allowed is None else self.allowed.least_std(case)
        case = case if self.allowed is None else self.allowed.pixels(case)
        priors = [prior.of(case) for prior in self.priors]
        count = case.projected.shape[1]
        # pixel by pixel in memory
        estimate, std, shaken = np.empty((3, count, len(case.wavelength_nm)))
        kind: Any = np.float32 if self.single else np.float64
        projected = case.projected.astype(kind, copy=False)
        turns = [prior.eigen[1].T.astype(kind) for prior in priors]
        used, scales = np.zeros(len(priors)), np.zeros(count)
        for start in range(0, count, CHUNK):
            pixels = slice(start, min(start + CHUNK, count))
            data = [turn @ projected[:, pixels] for turn in turns]
            evidence, number = (
                np.stack(part) for part in zip(*map(_evidence, priors, [pixels] * len(priors), data), strict=True)
            )
            weights = _weights(evidence)
            used += weights.sum(axis=1)
            scales[pixels] = SCALES[number[evidence.argmax(axis=0), np.arange(number.shape[1])]]
            parts = mixture(priors, weights, number, data, case.noise_variance(pixels))
            for whole, part in zip((estimate, std, shaken), parts, strict=True):
                whole[pixels] = part
            if least is not None:
                # what all pixels have in common they all take for the spectrum's
                np.maximum(std[pixels], least[pixels], out=std[pixels])
        return case.spectra(
            estimate.T, std.T, shaken.T,
            parameters={
                "rule": "evidence",
                "kernels": {p.name: float(n / max(count, 1)) for p, n in zip(priors, used, strict=True)},
                "scale_median": float(np.median(scales)) if count else None,
                "calibration_scale": 0.0 if self.allowed is None else self.allowed.scale,
            },
        )  # fmt: skip


def learned(case: Interferograms, device: str = "cpu") -> Learned:
    """Which kernels an image speaks for."""
    allowed = allow(case) if case.noise_known else None
    case = case if allowed is None else allowed.case
    priors = candidates(case)
    count = case.projected.shape[1]
    sample = np.linspace(0, count - 1, min(count, SAMPLE)).astype(np.intp)
    shares = _weights(np.stack([_evidence(prior, sample)[0] for prior in priors])).mean(axis=1)
    kept = [prior for prior, share in zip(priors, shares, strict=True) if share >= LEAST_WEIGHT]
    return Learned(allowed=allowed, priors=kept, single=bool(np.linalg.norm(case.projected, axis=0).max() < SINGLE))


@method("gp", paper="Rasmussen and Williams, Gaussian Processes, MIT 2006, chapters 2 and 5", std=True, learn=learned)
def gp(case: Interferograms) -> Spectra:
    """Gaussian process over wavelength (× known illumination); kernels weighted by evidence, posterior error bars.

    Each pixel has the scale of largest evidence for each kernel, and the mean over kernels by their evidence: where
    its interferogram does not tell how smooth the spectrum is, the error bar says so.
    """
    return learned(case)(case)


def mixture(
    priors: list[Prior], weights: Array, number: Index, data: list[Array], noise: Array
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Mean over kernels, its standard deviation, and what of it the noise makes, ``(pixel, wavelength)`` each.

    Parameters
    ----------
    priors : list of Prior
    weights : array, shape (kernel, pixel)
    number : array of int, shape (kernel, pixel)
        Of each pixel's scale among `SCALES`.
    data : list of array, shape (k, pixel)
        The pixels in each kernel's eigenbasis.
    noise : array, shape (pixel,)
        Variance of each pixel's noise in units of what it is said to be.
    """
    # spectra in single precision: a millionth of them; sums of squares are of differences from the mean
    means = np.empty((len(priors), number.shape[1], len(priors[0].spectra)), dtype=np.float32)
    variance, shaken = np.zeros((2, *means.shape[1:]))
    pixel = np.arange(number.shape[1])
    for prior, weight, scale, part, mean in zip(priors, weights, number, data, means, strict=True):
        places, which = np.unique(scale, return_inverse=True)
        size = SCALES[places, None] * prior.unit
        told = size[-1] * prior.eigen[0] > TOLD
        signal = size * prior.eigen[0][told]
        # each scale by itself: a pixel does not depend on those beside it
        gain = np.where(signal > TOLD, size / (1 + signal), 0.0)
        scaled = part[told] * gain.T.astype(part.dtype)[:, which]
        np.matmul(scaled.T.astype(np.float32, copy=False), prior.single(told), out=mean)
        share = np.zeros((len(pixel), len(places)))
        share[pixel, which] = weight * noise
        power = prior.spectra[:, told].T ** 2
        variance += share @ np.maximum(np.diag(prior.covariance) * size - (size * gain) @ power, 0)
        shaken += share @ (gain**2 @ power)
    share = weights.astype(np.float32)
    mean = np.einsum("kn,knp->np", share, means)
    means -= mean
    between = np.einsum("kn,knp,knp->np", share, means, means)
    return mean, np.sqrt(np.maximum(variance + between, shaken)), np.sqrt(shaken)


def _evidence(prior: Prior, pixels: Index | slice, data: Array | None = None) -> tuple[Array, Index]:
    """Logarithm of the evidence ``(pixel,)`` at each pixel's best scale, and that scale's number."""
    log = prior.log_evidence(pixels, data)
    best = log.argmax(axis=0)
    return log[best, np.arange(log.shape[1])], best


def _weights(evidence: Array) -> Array:
    """Weights ``(kernel, pixel)`` in proportion to a root of the evidence."""
    weights = np.exp((evidence - evidence.max(axis=0)) / ROOT)
    return np.asarray(weights / weights.sum(axis=0))
