"""Whether spectra explain what was measured at all: frames of another instrument, or mirrored ones, none does."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from calibration.inversion.problem import Interferograms
from hsitools.text import counted

Array = NDArray[np.float64]
log = logging.getLogger(__name__)

#: Misfit, as a share of the mean, below which nothing is said: sub-images that are lit unevenly have as much.
SAID = 0.03
#: Times the noise of the mean over the pixels that a misfit must have to be none of it.
SIGMA = 5.0
#: Misfit in the instrument's order over the median of so many other orders, from which the order tells little. Broad
#: light has .01 to .06 of it, lines of real devices, whose model is wrong by a tenth, .15; another instrument of the
#: same design .7, a mirrored one 1.
ORDERS, SHUFFLED = 5, 0.4
#: Wavelengths of a first look: if a coarse spectrum explains the interferogram, so does a fine one.
COARSE = 64
#: Interferometers below which any order is explained.
LEAST = 8
#: Times its standard errors that a calibration may be wrong by before that is said: of captures and benches 3 at most.
FAR = 10.0


def say_unexplained(case: Interferograms, source: str, name: str) -> None:
    """Warn where no spectrum that is nowhere negative makes the mean interferogram, hardly better than in random order.

    Parameters
    ----------
    case : Interferograms
    source, name : str
        What was measured, and by which instrument, for the message.
    """
    count = len(case.matrix)
    if count < LEAST:
        return
    flat = case.values.reshape(count, -1)[:, case.measured]
    mean = flat.mean(axis=1)
    noise = float(np.sqrt((case.noise_std**2).mean() / flat.shape[1])) / max(float(mean.mean()), 1e-300)
    least = max(SAID, SIGMA * noise)
    coarse = case.matrix[:, :: max(1, case.matrix.shape[1] // COARSE)]
    if _misfit(coarse, mean) <= least:
        return
    misfit = _misfit(case.matrix, mean)
    rng = np.random.default_rng(0)
    shuffled = float(np.median([_misfit(coarse, mean[rng.permutation(count)]) for _ in range(ORDERS)]))
    if misfit > max(least, SHUFFLED * shuffled):
        log.warning(
            "%s: no spectrum explains the interferograms of %s to better than %.2g %% (in random order %.2g %%): are "
            "they of %s, neither mirrored nor turned?",
            source, counted(count, "interferometer"), 100 * misfit, 100 * shuffled, name or "this instrument",
        )  # fmt: skip


def say_far_off(calibration_scale: float, source: str, name: str) -> None:
    """Warn where smooth spectra explain what was measured only by a calibration many times as wrong as it says.

    Light in narrow lines alone does so: no smooth spectrum has them, and what they make passes for calibration errors.

    Parameters
    ----------
    calibration_scale : float
        Errors that were found, in the calibration's standard errors.
    source, name : str
        What was measured, and by which instrument, for the message.
    """
    if calibration_scale > FAR:
        log.warning(
            "%s: smooth spectra explain the interferograms only if the calibration of %s errs %.0f times as much as it "
            "says: is it light in narrow lines (--method sparse finds them), or has the instrument changed? Spectra "
            "may be wrong by many times their error bars",
            source, name or "this instrument", calibration_scale,
        )  # fmt: skip


def _misfit(matrix: Array, mean: Array) -> float:
    """Root mean square of what the best spectrum leaves of an interferogram, over its mean."""
    unit = float(mean.mean())
    if not unit > 0:
        return 0.0
    return float(nnls(matrix / unit, mean / unit, maxiter=20 * matrix.shape[1])[1]) / len(mean) ** 0.5
