"""Error bars that two halves of the interferometers speak for.

Sub-images of raw frames are aligned and resampled, and what that leaves is no noise of pixels: it follows the scene,
and a population of spectra learns it. No model tells how large it is, but two halves of the interferometers do, each
of which makes spectra by itself: a quarter of their squared difference is the mean squared error of their mean,
without what both have in common (the prior, of which a method's own error bars must tell). All interferometers together
are taken to be as good as that mean.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calibration.inversion.problem import Interferograms, Spectra
from calibration.inversion.registry import Inside, Learned, Method

Array = NDArray[np.float64]
#: Interferometers of a half that tell spectra by themselves.
LEAST = 6


@dataclass(frozen=True, kw_only=True, eq=False)
class Widened:
    """What a method has learned from an image, with larger error bars.

    Attributes
    ----------
    learned : Learned
    factor : array, shape (wavelength,)
        Of the standard deviations.
    """

    learned: Learned
    factor: Array

    @property
    def reach(self) -> int:
        """Surroundings of a part, pixels."""
        return self.learned.reach

    def __call__(self, case: Interferograms, inside: Inside | None = None) -> Spectra:
        """Invert pixels of the image."""
        spectra = self.learned(case, inside)
        assert spectra.std is not None
        parameters = {**spectra.parameters, "std_factor_median": float(np.median(self.factor))}
        return replace(spectra, std=spectra.std * self.factor[:, None, None], parameters=parameters)


def widened(method: Method, case: Interferograms, learned: Learned, device: str = "cpu") -> Learned:
    """Error bars no smaller than what two halves of the interferometers tell, wavelength by wavelength.

    As they are where the method gives none or there are too few interferometers.
    """
    count = len(case.noise_std)
    if not method.std or count < 2 * LEAST:
        return learned
    # neighbouring path differences go to different halves: both see fine and coarse fringes
    order = np.arange(count) if case.opd_um is None else np.argsort(case.opd_um)
    halves = []
    for first in (0, 1):
        half = case.of(np.sort(order[first::2]))
        halves.append(method.learned(half, device)(half).estimate)
    whole = learned(case)
    assert whole.std is not None
    apart = 0.25 * ((halves[0] - halves[1])[:, whole.mask] ** 2).mean(axis=1)
    told = (whole.std[:, whole.mask] ** 2).mean(axis=1)
    return Widened(learned=learned, factor=np.sqrt(np.maximum(apart / np.maximum(told, 1e-300), 1.0)))
