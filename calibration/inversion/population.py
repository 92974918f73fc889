"""Mean and covariance of an image's spectra, learned from its interferograms.

In the eigenbasis of a first prior (smooth processes by evidence) the instrument is diagonal: coordinate j of a pixel is
``√Λ_j u_j + noise`` of unit variance. Expectation maximisation moves the covariance of u, but only along directions
in which the sample covariance differs from the model's by more than chance (Marchenko and Pastur's edges) and more than
a wrong calibration can make; it ends when there is none. So it neither runs into the noise nor shrinks what it is not
told about.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.inversion.calibration_error import Allowed
from calibration.inversion.prior import Prior, likeliest_sum, mean_posterior, priors_of, smooth_kernels

Array = NDArray[np.float64]

#: Coordinates kept: those whose mean over the pixels could be told from noise, and at most this many.
COORDINATES = 160
#: Rounds of expectation maximisation at most, and how much further than it says each goes: it comes slowly to its end.
ROUNDS, RELAXATION = 300, 1.8
#: Where the calibration is wrong more rounds learn only its error: fewest and most, and pixels for each between. Where
#: a pixel tells little a round goes as far as the square of its signal-to-noise, and N pixels tell a variance to 1/√N.
#: Set on enmap_potsdam_b, aviris_gator_vi, abu_urban_1 and pavia_university_lowres with four fifths of the lines, where
#: 5 to 80 rounds differ by a tenth at most.
ROUNDS_WRONG, PIXELS_A_ROUND = (20, 60), 70
#: Components kept: signal-to-noise (variances) of a pixel below which even its whole neighbourhood tells little.
LEAST_SIGNAL = 2e-3
#: Pixels from which the covariance is learned; more say nothing new.
SAMPLE = 65536


@dataclass(frozen=True, kw_only=True, eq=False)
class Population:
    """Spectra as ``brightness · mean + columns @ z``, components z of unit variance, and an unseen rest.

    Attributes
    ----------
    mean : array, shape (wavelength,)
    columns : array, shape (wavelength, k)
    signal : array, shape (k,)
        Signal-to-noise ratio squared of each component in a pixel.
    analysis : array, shape (k, svd)
        Turns projected pixels into components with noise of variance 1/signal.
    offset : array, shape (k,)
        What the mean interferogram makes there.
    toward : array, shape (svd,), or None
        Of projected pixels their brightness, a share of the mean interferogram; None where it is one.
    rest : array, shape (wavelength,)
        Variance that no component tells.
    mean_variance : array, shape (wavelength,)
        What an error of the mean leaves in a pixel of brightness one.
    prior : str
    rounds : int
    """

    mean: Array
    columns: Array
    signal: Array
    analysis: Array
    offset: Array
    toward: Array | None
    rest: Array
    mean_variance: Array
    prior: str
    rounds: int

    def components(self, projected: Array) -> Array:
        """Measured components ``(k, pixel)`` of projected pixels."""
        return np.asarray(self.analysis @ projected - self.offset[:, None] * self.brightness(projected))

    def brightness(self, projected: Array) -> Array:
        """Share of the mean interferogram in each projected pixel, ``(pixel,)``."""
        return np.ones(projected.shape[1]) if self.toward is None else np.asarray(self.toward @ projected)


def learn(allowed: Allowed) -> Population:
    """Mean and covariance of the spectra.

    Parameters
    ----------
    allowed : Allowed
        The case, and errors that all its pixels share: they do not average out, and show as a few directions that are
        no spectra.
    """
    case = allowed.case
    doubt = None
    if allowed.covariance is None:
        spectrum, doubt = mean_posterior(case, priors_of(case, smooth_kernels(case)))
        prior = likeliest_sum(case, spectrum)
    else:
        prior = Prior(name="by the mean interferogram", covariance=allowed.covariance, case=case)
    size, vectors = prior.eigen
    count = case.projected.shape[1]
    kept = np.flatnonzero(size * count > 0.1)[:COORDINATES]
    if not len(kept):
        kept = np.arange(1)
    size = np.maximum(size[kept], np.finfo(float).tiny)
    root = np.sqrt(size)
    spectra = prior.spectra[:, kept] / root
    toward, brightness = None, np.ones(count)
    if allowed.scale > 0:
        # what pixels differ by in brightness alone follows the mean interferogram, wrong calibration or not
        average = case.projected.mean(axis=1)
        toward = average / max(float(average @ average), 1e-300)
        brightness = toward @ case.projected
    step = max(1, count // SAMPLE)
    data, level = vectors[:, kept].T @ case.projected[:, ::step], brightness[::step]
    used = data.shape[1]
    dimension = len(kept)
    shared = vectors[:, kept].T @ (case.svd[0].T @ allowed.factors)
    highest = (1 + np.sqrt(dimension / used)) ** 2 + allowed.unlike
    lowest = max(0.0, 1 - np.sqrt(dimension / used)) ** 2
    covariance = np.eye(dimension)
    weight = float(level @ level)
    average = data @ level / weight
    second = data @ data.T / used
    rounds = 0
    # what is wrong without the evidence's finding it is learned all the same
    exact = allowed.scale == 0 and (case.calibration_std is None or not case.calibration_std.any())
    enough = ROUNDS if exact else np.clip(used / PIXELS_A_ROUND, *ROUNDS_WRONG)
    while rounds < enough:
        rounds += 1
        seen = root[:, None] * covariance * root + np.eye(dimension)
        # apart from the rest, the mean of just these pixels counts; else that of all that might have been
        spread = np.eye(dimension) if allowed.scale > 0 else seen
        mean, mean_covariance = _mean(root, spread, average, weight, shared)
        # of a wrong calibration the mean interferogram is not what the mean spectrum makes
        centre = average if allowed.scale > 0 else root * mean
        # the second moment about the centre
        sample = second + weight / used * (np.outer(centre - average, centre - average) - np.outer(average, average))
        lower = np.linalg.cholesky(seen)
        whitened = np.linalg.solve(lower, np.linalg.solve(lower, sample).T)
        values, directions = np.linalg.eigh(0.5 * (whitened + whitened.T))
        change = np.where((values > highest) | (values < lowest), values - 1, 0.0)
        if not change.any():
            break
        # a covariance stays one as long as no direction loses more than all that the prior has there
        change = np.maximum(RELAXATION * change, -1.0)
        turn = covariance @ (root[:, None] * np.linalg.solve(lower.T, directions))
        covariance = covariance + (turn * change) @ turn.T
        covariance = 0.5 * (covariance + covariance.T)
    signal, turn = np.linalg.eigh(root[:, None] * covariance * root)
    signal, turn = signal[::-1], turn[:, ::-1]
    told = max(1, int((signal > LEAST_SIGNAL).sum()))
    signal, turn = signal[:told].copy(), turn[:, :told]
    columns = spectra @ (covariance @ (root[:, None] * turn)) / np.sqrt(signal)
    analysis = (turn / np.sqrt(signal)).T @ vectors[:, kept].T
    rest = np.diag(prior.covariance) - (spectra**2).sum(axis=1)
    rest = rest + ((spectra @ covariance) * spectra).sum(axis=1) - (columns**2).sum(axis=1)
    # what pixels differ by says nothing of how wrong their mean is: that is one spectrum, of a kernel of its own
    unsure = ((spectra @ mean_covariance) * spectra).sum(axis=1) if doubt is None else np.diag(doubt)
    return Population(
        mean=spectra @ mean, columns=columns, signal=signal, analysis=analysis,
        offset=(turn / np.sqrt(signal)).T @ centre, toward=toward, rest=np.maximum(rest, 0),
        mean_variance=np.maximum(unsure, 0), prior=prior.name, rounds=rounds,
    )  # fmt: skip


def _mean(root: Array, spread: Array, average: Array, weight: float, shared: Array) -> tuple[Array, Array]:
    """Mean of u and its covariance, of unit variance beforehand, from the average of pixels of a total weight."""
    noise = spread / weight + shared @ shared.T
    gain = root[:, None] * np.linalg.inv(np.diag(root**2) + noise)
    return np.asarray(gain @ average), np.asarray(np.eye(len(root)) - gain * root)
