"""What a fit of all rows is made of: each row's parameters, and what the rows share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.fitting.cut_off import CutOff
from calibration.fitting.line_width import LineWidth
from calibration.fitting.refine import CHUNK_SAMPLES, Prior
from calibration.fitting.scaled_rows import ScaledRows
from hsitools.sensor.transmittance import SampledModel

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What all rows share: gain correction and wavenumber correction (µm⁻¹), ``(line,)``, and an estimated line."""

    curve: Array
    shift: Array
    line_width: LineWidth | None = None

    def applied(self, sampled: SampledModel) -> SampledModel:
        """The model at the corrected wavenumbers, through the estimated line."""
        line = sampled.line
        if self.line_width is not None:
            line = self.line_width.line(sampled.wavenumber)
        if not self.shift.any() and line is sampled.line:
            return sampled
        return SampledModel(sampled.model, sampled.band, sampled.wavenumber + self.shift, line=line)


@dataclass(frozen=True, kw_only=True)
class Fit:
    """State of a fit: parameters, posterior covariance, residual variance, and what they came with.

    ``sampled`` is the model at the lines as corrected by the shared ``shift``, through the monochromator's line;
    ``curve`` and ``shift`` ``(line,)`` are the shared gain correction and wavenumber correction (µm⁻¹).
    """

    sampled: SampledModel
    theta: Array
    covariance: Array
    variance: Array
    converged: NDArray[np.bool_]
    prior: Prior | None
    curve: Array
    shift: Array
    iterations: int
    loss: str = "linear"
    line_width: LineWidth | None = None  # when it was estimated
    between: Array | None = None  # covariance between minima that are as likely, (row, parameter, parameter)
    cut_off: CutOff | None = None  # samples at the ceiling, and the noise there
    fitted: Array | None = None  # its values, when they are known already

    def values(self, data: ScaledRows) -> Array:
        """Fitted intensity, scaled as the data is."""
        return self.fitted if self.fitted is not None else modelled(self.sampled, self.theta, data.flat * self.curve)


def modelled(sampled: SampledModel, theta: Array, flat: Array) -> Array:
    """`SampledModel.values` in chunks that stay in the cache."""
    step = max(1, CHUNK_SAMPLES // flat.shape[1])
    starts = range(0, len(theta), step)
    return np.concatenate([sampled.values(theta[k : k + step], flat[k : k + step]) for k in starts])
