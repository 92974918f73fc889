"""How sure a characterized transmittance is: its own band, and the band of a measured line.

Three things make a transmittance uncertain. The parameters' covariance, through the derivatives. Which model: the
models that held-out lines cannot tell from the chosen one predict something else, and their spread, weighted by how
well they did, is the model's (`calibration.model_choice`). And for a measurement, its own noise. They add in squares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from calibration.fitting.refine import CHUNK_SAMPLES, NormalPlan
from calibration.fitting.uncertainty import influence, noise_shape
from hsitools.errors import InputError

if TYPE_CHECKING:
    from calibration.characterization import Characterization
    from calibration.fitting.fit import Fit
    from calibration.fitting.rows import Problem

Array = NDArray[np.float64]


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
    """

    row_noise: Array
    line_noise: Array
    model_spread: Array
    shift: Array

    @classmethod
    def of(cls, fit: Fit, problem: Problem, model_spread: Array | None) -> LineErrors:
        """Noise and shift of a fit."""
        psi, _ = influence(problem.intensity - fit.values(problem), problem.weight, fit.loss)
        spread = np.zeros(len(problem.wavenumber)) if model_spread is None else model_spread
        return cls(
            row_noise=np.where(problem.usable, np.sqrt(fit.variance) * problem.level, np.nan),
            line_noise=np.sqrt(noise_shape(psi, problem.weight, fit.variance)), model_spread=spread, shift=fit.shift,
        )  # fmt: skip

    def write(self, group: Any) -> None:
        """Write into an open HDF5 group."""
        for name, unit in _UNITS.items():
            group.create_dataset(name, data=getattr(self, name)).attrs["units"] = unit

    @classmethod
    def read(cls, group: Any) -> LineErrors:
        """Read what `write` wrote; raises `KeyError` for a missing member."""
        return cls(**{name: group[name][()] for name in _UNITS})


_UNITS = {"row_noise": "intensity units of the capture", "line_noise": "1", "model_spread": "1", "shift": "um-1"}


def true_wavelength_nm(result: Characterization, nominal_nm: Array) -> Array:
    """Wavelengths (nm) of lines that the monochromator calls ``nominal_nm``, kept inside the calibrated band."""
    wavenumber = 1000 / np.atleast_1d(np.asarray(nominal_nm, dtype=float))
    if result.lines is not None:
        wavenumber = wavenumber + np.interp(wavenumber, result.wavenumber, result.lines.shift)
    return 1000 / np.clip(wavenumber, result.response.band.low, result.response.band.high)


def transmittance_stderr(result: Characterization, wavelength_nm: Array) -> Array:
    """Standard error of `Characterization.transmittance`, ``(interferometer, wavelength)``.

    Parameters' covariance and model spread; of files written before there was one, the covariance alone.

    Raises
    ------
    InputError
        When a wavelength lies outside the calibrated band.
    """
    response = result.response
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
        variance[rows] = ((jacobian @ result.covariance[rows]) * jacobian).sum(axis=2)
    if result.lines is not None:
        variance += np.interp(sampled.wavenumber, result.wavenumber, result.lines.model_spread) ** 2
    return np.asarray(np.abs(response.gain_scale)[:, None] * np.sqrt(np.maximum(variance, 0)))


def measurement_stderr(result: Characterization, wavelength_nm: Array) -> Array:
    """Standard error of one measured line's intensity over its flat field about the transmittance.

    The transmittance's own and the noise of a measurement like those of the calibration, ``(interferometer,
    wavelength)``; infinite where the flat field is zero.

    Raises
    ------
    InputError
        When a wavelength lies outside the calibrated band, or the file was written before noise was kept.
    """
    if result.lines is None:
        raise InputError(f"{result.name}: lines: found no noise in this characterization, expected one written by 0.2")
    own = transmittance_stderr(result, wavelength_nm)
    wavenumber = 1000 / np.atleast_1d(np.asarray(wavelength_nm, dtype=float))
    flat = np.stack([np.interp(wavenumber, result.wavenumber, row) for row in result.response.flat])
    noise = result.lines.row_noise[:, None] * np.interp(wavenumber, result.wavenumber, result.lines.line_noise)
    with np.errstate(divide="ignore"):
        return np.asarray(np.hypot(own, noise / flat))


def transmittance_band(
    result: Characterization, wavelength_nm: Array, *, coverage: float = 0.95, measured: bool = False
) -> tuple[Array, Array]:
    """Lower and upper edge of the transmittance's band, ``(interferometer, wavelength)`` each.

    Parameters
    ----------
    wavelength_nm : array, shape (wavelength,)
        True wavelengths; of lines as the monochromator calls them, `true_wavelength_nm`.
    coverage : float
        Share of the values that the band is to hold, 0 to 1.
    measured : bool
        The band of measured intensity over flat field, noise included, instead of the transmittance's own.

    Raises
    ------
    InputError
        When the coverage is no share, or as `transmittance_stderr` and `measurement_stderr`.
    """
    if not 0 < coverage < 1:
        raise InputError(f"coverage: found {coverage!r}, expected between 0 and 1")
    from statistics import NormalDist

    middle = result.transmittance(wavelength_nm)
    stderr = (measurement_stderr if measured else transmittance_stderr)(result, wavelength_nm)
    half = NormalDist().inv_cdf(0.5 + 0.5 * coverage) * stderr
    return middle - half, middle + half
