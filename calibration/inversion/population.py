"""Mean and covariance of an image's spectra, learned from its interferograms.

In the eigenbasis of a first prior (a smooth process by evidence) the instrument is diagonal: coordinate j of a pixel is
``√Λ_j u_j + noise`` of unit variance. Expectation maximisation moves the covariance of u, but only along directions
in which the sample covariance differs from the model's by more than chance (Marchenko and Pastur's edges) and more than
a wrong calibration can make; it ends when there is none. So it neither runs into the noise nor shrinks what it is not
told about.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.inversion.prior import LENGTHS, SCALES, Prior, library_covariance, matern
from calibration.inversion.problem import Interferograms

Array = NDArray[np.float64]

#: Coordinates kept: those whose mean over the pixels could be told from noise, and at most this many.
COORDINATES = 160
#: Rounds of expectation maximisation at most.
ROUNDS = 60
#: Components kept: signal-to-noise (variances) of a pixel below which even its whole neighbourhood tells little.
LEAST_SIGNAL = 2e-3
#: Share of the smooth process that is added to a library of other scenes: nothing is exactly like them.
UNLIKE = 0.1
#: Pixels from which the covariance is learned; more say nothing new.
SAMPLE = 65536


@dataclass(frozen=True, kw_only=True, eq=False)
class Population:
    """Spectra as independent components of unit variance: ``mean + columns @ z`` and an unseen rest.

    Attributes
    ----------
    mean : array, shape (wavelength,)
    columns : array, shape (wavelength, k)
    signal : array, shape (k,)
        Signal-to-noise ratio squared of each component in a pixel.
    analysis : array, shape (k, svd)
        Turns projected pixels into components with noise of variance 1/signal.
    offset : array, shape (k,)
        What the mean makes there.
    rest : array, shape (wavelength,)
        Variance that no component tells.
    mean_variance : array, shape (wavelength,)
        Of the mean.
    prior : str
    rounds : int
    """

    mean: Array
    columns: Array
    signal: Array
    analysis: Array
    offset: Array
    rest: Array
    mean_variance: Array
    prior: str
    rounds: int

    def components(self, projected: Array) -> Array:
        """Measured components ``(k, pixel)`` of projected pixels."""
        return np.asarray(self.analysis @ projected - self.offset[:, None])


def first_prior(case: Interferograms) -> tuple[Prior, float]:
    """The smooth process, or the library beside it, with the largest evidence at one scale for the image."""
    light = case.light
    kernels = {f"Matern {length:g} nm": matern(case.wavelength_nm, length) for length in LENGTHS}
    library = library_covariance(case.wavelength_nm)
    if library is not None:
        level = float(np.trace(library)) / len(library)
        kernels |= {f"library, {name}": library + UNLIKE * level * kernel for name, kernel in kernels.items()}
    count = case.projected.shape[1]
    sample = np.linspace(0, count - 1, min(count, 1024)).astype(np.intp)
    best: tuple[float, Prior, float] | None = None
    for name, kernel in kernels.items():
        prior = Prior(name=name, covariance=light[:, None] * kernel * light, case=case)
        log = prior.log_evidence(prior.coordinates(sample) ** 2, case.beyond[sample]).sum(axis=1)
        top = int(log.argmax())
        if best is None or log[top] > best[0]:
            best = float(log[top]), prior, float(SCALES[top] * prior.unit)
    assert best is not None
    return best[1], best[2]


def learn(case: Interferograms, calibration_share: float = 0.0) -> Population:
    """Mean and covariance of the spectra.

    Parameters
    ----------
    case : Interferograms
        Of known noise.
    calibration_share : float
        Share of the noise's variance that is the calibration's: the same in all pixels up to brightness, so that it
        does not average out, and shows as a few directions that are no spectra.
    """
    prior, scale = first_prior(case)
    variances, vectors = prior.eigen
    count = case.projected.shape[1]
    size = scale * variances
    kept = np.flatnonzero(size * count > 0.1)[:COORDINATES]
    if not len(kept):
        kept = np.arange(1)
    size = size[kept]
    root = np.sqrt(size)
    spectra = np.sqrt(scale) * prior.spectra[:, kept] / np.sqrt(variances[kept])
    data = vectors[:, kept].T @ case.projected[:, :: max(1, count // SAMPLE)]
    used = data.shape[1]
    bright = (case.projected**2).sum(axis=0)
    uneven = float(bright.mean() / max(np.sqrt(bright).mean() ** 2, 1e-300) - 1)
    dimension = len(kept)
    systematic = calibration_share * dimension
    highest = (1 + np.sqrt(dimension / used)) ** 2 + systematic * uneven
    lowest = max(0.0, 1 - np.sqrt(dimension / used)) ** 2
    covariance = np.eye(dimension)
    average = data.mean(axis=1)
    rounds = 0
    for rounds in range(1, ROUNDS + 1):
        seen = root[:, None] * covariance * root + np.eye(dimension)
        mean, mean_covariance = _mean(root, seen, average, used, calibration_share)
        away = data - (root * mean)[:, None]
        sample = away @ away.T / used
        lower = np.linalg.cholesky(seen)
        whitened = np.linalg.solve(lower, np.linalg.solve(lower, sample).T)
        values, directions = np.linalg.eigh(0.5 * (whitened + whitened.T))
        change = np.where((values > highest) | (values < lowest), values - 1, 0.0)
        if not change.any():
            break
        turn = covariance @ (root[:, None] * np.linalg.solve(lower.T, directions))
        covariance = covariance + (turn * change) @ turn.T
        covariance = 0.5 * (covariance + covariance.T)
    signal, turn = np.linalg.eigh(root[:, None] * covariance * root)
    signal, turn = signal[::-1], turn[:, ::-1]
    told = max(1, int((signal > LEAST_SIGNAL).sum()))
    signal, turn = signal[:told].copy(), turn[:, :told]
    columns = spectra @ (covariance @ (root[:, None] * turn)) / np.sqrt(signal)
    analysis = (turn / np.sqrt(signal)).T @ vectors[:, kept].T
    rest = scale * np.diag(prior.covariance) - (spectra**2).sum(axis=1)
    rest = rest + ((spectra @ covariance) * spectra).sum(axis=1) - (columns**2).sum(axis=1)
    return Population(
        mean=spectra @ mean, columns=columns, signal=signal, analysis=analysis,
        offset=(turn / np.sqrt(signal)).T @ (root * mean), rest=np.maximum(rest, 0),
        mean_variance=((spectra @ mean_covariance) * spectra).sum(axis=1), prior=prior.name, rounds=rounds,
    )  # fmt: skip


def _mean(root: Array, seen: Array, average: Array, count: int, calibration_share: float) -> tuple[Array, Array]:
    """Mean of u and its covariance, of unit variance beforehand, from the average of ``count`` pixels."""
    noise = seen / count + calibration_share * np.eye(len(root))
    gain = root[:, None] * np.linalg.inv(np.diag(root**2) + noise)
    return np.asarray(gain @ average), np.asarray(np.eye(len(root)) - gain * root)
