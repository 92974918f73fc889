"""Samples that the detector cut off: their light is known to be at least so much (J. Tobin, Econometrica 26, 1958).

Left out, they take along all samples near the ceiling that noise raised, and keep those that it lowered: what is left
bends fringes' tops, makes reflectivity and gain too low, and lets fringes of twice the path difference pass. A sample
at a ceiling c under Gaussian noise σ has the likelihood Φ(a), a = (fit − c) / σ: it pulls the fit by σ·h and holds it
by h·(h + a), h = φ(a)/Φ(a), as a measured sample does where the fit lies far below c, and not at all far above.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.captures.capture import MonochromaticCapture

Array = NDArray[np.float64]

#: Passes of the fixed point that the noise is: it contracts by the share of the samples near the ceiling.
PASSES = 12


@dataclass(frozen=True, kw_only=True)
class CutOff:
    """Which ``samples`` ``(batch, line)`` are cut off at their intensities, and the noise ``sigma`` ``(batch, 1)``."""

    samples: NDArray[np.bool_]
    sigma: Array

    @classmethod
    def of(cls, samples: NDArray[np.bool_], residual: Array, weight: Array, used: float) -> CutOff:
        """With each row's most likely noise, from its residuals, ``used`` parameters having been fitted to them.

        Squares of measured samples alone are too small near the ceiling; with those of the samples above it, as the
        noise makes them expected, σ² = Σr² / (n + Σ a·h).
        """
        squares = (weight * residual**2).sum(axis=1, keepdims=True)
        count = np.maximum(weight.sum(axis=1, keepdims=True) - used, 1)
        cut = cls(samples=samples, sigma=np.sqrt(squares / count) + 1e-12)
        for _ in range(PASSES):
            a, h, _ = cut._hazard(residual)
            above = np.zeros_like(residual)
            above[samples] = a * h
            told = np.maximum(count + above.sum(axis=1, keepdims=True), 0.5 * count)
            cut = cls(samples=samples, sigma=np.sqrt(squares / told) + 1e-12)
        return cut

    def take(self, rows: NDArray[np.intp] | list[int]) -> CutOff:
        """Those of some rows."""
        return CutOff(samples=self.samples[rows], sigma=self.sigma[rows])

    def terms(self, residual: Array, limits: tuple[Array, Array] | None = None) -> tuple[Array, Array, Array]:
        """Cost, pull and curvature ``(batch, line)`` where fits lie ``residual`` below the ceiling; 0 elsewhere.

        ``limits`` ``(batch, 1)``: from where on the cost grows linearly, and where no more.
        """
        below = residual[self.samples]
        if limits is not None:
            linear, last = (np.broadcast_to(limit, residual.shape)[self.samples] for limit in limits)
            beyond, wild = np.minimum(below, last) - np.minimum(below, linear), below > last
            residual = np.minimum(residual, limits[0])
        a, h, log = self._hazard(residual)
        sigma = np.broadcast_to(self.sigma, residual.shape)[self.samples]
        cost, pull, curvature = np.zeros((3, *residual.shape))
        cost[self.samples] = -2 * sigma**2 * log
        pull[self.samples] = sigma * h
        curvature[self.samples] = np.clip(h * (h + a), 0, 1)
        if limits is not None:
            cost[self.samples] += 2 * pull[self.samples] * beyond
            pull[self.samples] *= ~wild
            curvature[self.samples] *= below <= linear
        return cost, pull, curvature

    def _hazard(self, residual: Array) -> tuple[Array, Array, Array]:
        """How many σ the fit lies above the ceiling, φ/Φ and log Φ of it, of the samples that are cut off."""
        from scipy.special import log_ndtr

        sigma = np.broadcast_to(self.sigma, residual.shape)[self.samples]
        # farther below φ and Φ are equal to the last digit, farther above φ is nothing
        a = np.clip(-residual[self.samples] / sigma, -1e3, 37.0)
        log = log_ndtr(a)
        return a, np.exp(-0.5 * a * a - log) / np.sqrt(2 * np.pi), log


def cut_off_samples(capture: MonochromaticCapture) -> NDArray[np.bool_]:
    """Samples ``(row, line)`` that saturated at one number, their row's or that of all, which no measured one passes.

    Where one pixel of a window saturates, or the number is not in the file, it is not known which light is lost.
    """
    if capture.saturated is None:
        return np.zeros_like(capture.mask)
    lost = capture.saturated & ~capture.mask
    lowest = np.min(capture.intensity, axis=1, keepdims=True, where=lost, initial=np.inf)
    highest = np.max(capture.intensity, axis=1, keepdims=True, where=lost, initial=0.0)
    measured = np.max(capture.intensity, axis=1, keepdims=True, where=capture.mask, initial=-np.inf)
    at_one = (lowest == highest) & (highest > 0) & (highest >= measured)
    # of one sample it is not told whether its number is a ceiling
    same = lost & (capture.intensity == highest.max())
    several = (lost.sum(axis=1, keepdims=True) > 1) | (same & (same.sum() > 1)).any(axis=1, keepdims=True)
    return np.asarray(lost & at_one & several)
