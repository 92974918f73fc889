"""How sure a characterized transmittance is, and what else is known of the errors at each line.

Three things make a transmittance uncertain. The parameters' covariance, through the derivatives. Which model: the
models that held-out lines cannot tell from the chosen one predict something else, and their spread, weighted by how
well they did, is the model's (`calibration.model_choice`). And for a measurement, its own noise. They add in squares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.fitting.fit_state import Fit
from calibration.fitting.noise import noise_shape
from calibration.fitting.posterior import influence
from calibration.fitting.refine import CHUNK_SAMPLES, NormalPlan
from calibration.fitting.scaled_rows import ScaledRows
from hsitools.sensor.spectral import FabryPerotResponse

Array = NDArray[np.float64]

#: Members of the file, with their units.
_UNITS = {"row_noise": "intensity units of the capture", "line_noise": "1", "model_spread": "1", "shift": "um-1"}
#: Members that files of before do not have.
_LATER = {"residual": "intensity units of the capture"}


@dataclass(frozen=True, kw_only=True)
class LineErrors:
    """What a characterization knows of its lines beside the transmittance.

    Attributes
    ----------
    row_noise : array, shape (interferometer,)
        Standard deviation of the noise of a measured intensity, in the capture's units; rms over the lines.
    line_noise : array, shape (line,)
        Standard deviation of the noise at each line relative to it.
    model_spread : array, shape (line,)
        Standard deviation between models that the data cannot tell apart, relative to ``response.gain_scale``.
    shift : array, shape (line,)
        What the lines' wavenumbers are too small by, µm⁻¹, as the interferometers together show; zero when it was not
        looked for.
    residual : array, shape (interferometer, line), or None
        Measured less fitted intensity as the fit counted it, zero where it did not: interferometers that err together
        at a line show in it. None in files of before.
    """

    row_noise: Array
    line_noise: Array
    model_spread: Array
    shift: Array
    residual: Array | None = None

    @classmethod
    def of(cls, fit: Fit, data: ScaledRows, model_spread: Array | None) -> LineErrors:
        """Noise and shift of a fit."""
        psi, _ = influence(data.intensity - fit.values(data), data.weight, fit.loss)
        spread = np.zeros(len(data.wavenumber)) if model_spread is None else model_spread
        return cls(
            row_noise=np.where(data.usable, np.sqrt(fit.variance) * data.level, np.nan),
            line_noise=np.sqrt(noise_shape(psi, data.weight, fit.variance)), model_spread=spread, shift=fit.shift,
            residual=(np.where(data.usable, data.level, 0.0)[:, None] * psi).astype(np.float32),
        )  # fmt: skip

    def write(self, group: Any) -> None:
        """Write into an open HDF5 group."""
        for name, unit in _UNITS.items():
            group.create_dataset(name, data=getattr(self, name)).attrs["units"] = unit
        for name, unit in _LATER.items():
            if getattr(self, name) is not None:
                data = group.create_dataset(name, data=getattr(self, name), compression="gzip", shuffle=True)
                data.attrs["units"] = unit

    @classmethod
    def read(cls, group: Any) -> LineErrors:
        """Read what `write` wrote; raises `KeyError` for a missing member."""
        later = {name: group[name][()] for name in _LATER if name in group}
        return cls(**{name: group[name][()] for name in _UNITS}, **later)

    def noise(self, wavenumber: Array, lines: Array) -> Array:
        """Standard deviation of the noise of intensities at some wavenumbers, ``(interferometer, wavenumber)``.

        ``lines`` are the wavenumbers of the calibrated lines, µm⁻¹.
        """
        return np.asarray(self.row_noise[:, None] * np.interp(wavenumber, lines, self.line_noise))


def transmittance_stderr(
    response: FabryPerotResponse, covariance: Array, wavelength_nm: Array, model_spread: Array | None = None
) -> Array:
    """Standard error of `FabryPerotResponse.transmittance`, ``(interferometer, wavelength)``.

    Parameters
    ----------
    covariance : array, shape (interferometer, parameter, parameter)
    model_spread : array, shape (line,), optional
        As in `LineErrors`.

    Raises
    ------
    InputError
        When a wavelength lies outside the calibrated band.
    """
    sampled = response.sampled(wavelength_nm)
    curve = np.interp(sampled.wavenumber, response.wavenumber, response.curve)
    variance = np.empty((len(response.theta), len(sampled.wavenumber)))
    plan = NormalPlan.of(sampled)
    step = max(1, 4 * CHUNK_SAMPLES // (len(curve) * response.model.n_parameters))
    for start in range(0, len(variance), step):
        rows = slice(start, start + step)
        theta = response.theta[rows]
        _, fields = sampled.fields(theta, np.broadcast_to(curve, (len(theta), len(curve))))
        jacobian = plan.jacobian(fields)
        variance[rows] = ((jacobian @ covariance[rows]) * jacobian).sum(axis=2)
    if model_spread is not None:
        variance += np.interp(sampled.wavenumber, response.wavenumber, model_spread) ** 2
    return np.asarray(np.abs(response.gain_scale)[:, None] * np.sqrt(np.maximum(variance, 0)))
