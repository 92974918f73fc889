"""Spectral responses: how much of each wavelength reaches each band or interferometer."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.errors import InputError
from hsitools.sensor.polynomial import Band
from hsitools.sensor.transmittance import SampledModel, TransmittanceModel

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class FabryPerotResponse:
    """Spectral response of a set of characterized Fabry-Perot interferometers.

    Attributes
    ----------
    model : TransmittanceModel
    band : Band
        Where the polynomials hold; asking outside it is an error.
    theta : array, shape (interferometer, parameter)
        Parameters, in the order of ``model.slices``.
    gain_scale : array, shape (interferometer,)
        Turns the gain polynomial into the transmittance relative to the flat field.
    wavenumber, flat : array, shape (line,) and (interferometer, line)
        Flat field on the calibration's wavenumbers (µm⁻¹), in the capture's intensity units.
    curve : array, shape (line,)
        Gain correction shared by all interferometers.
    """

    model: TransmittanceModel
    band: Band
    theta: Array
    gain_scale: Array
    wavenumber: Array
    flat: Array
    curve: Array

    @property
    def n_bands(self) -> int:
        """Number of interferometers."""
        return len(self.theta)

    @property
    def wavelength_nm(self) -> None:
        """Interferometers see all wavelengths: none is theirs."""
        return None

    @property
    def fwhm_nm(self) -> None:
        """See `wavelength_nm`."""
        return None

    def coverage(self, wavelength_nm: Array) -> Array:
        """One where the wavelengths lie inside the calibrated band, else zero."""
        low, high = 1000 / self.band.high, 1000 / self.band.low
        wavelength = np.asarray(wavelength_nm, dtype=float)
        inside = bool(np.all((wavelength >= low - 1e-6) & (wavelength <= high + 1e-6)))
        return np.full(self.n_bands, float(inside))

    def sampled(self, wavelength_nm: Array) -> SampledModel:
        """The model on given wavelengths (nm).

        Raises
        ------
        InputError
            When a wavelength lies outside the calibrated band.
        """
        wavelength = np.atleast_1d(np.asarray(wavelength_nm, dtype=float))
        low, high = 1000 / self.band.high, 1000 / self.band.low
        slack = 1e-6 * (high - low)
        if not np.all((wavelength >= low - slack) & (wavelength <= high + slack)):
            raise InputError(
                f"wavelength_nm: found {wavelength.min():g} to {wavelength.max():g}, "
                f"expected inside the calibrated band {low:.2f} to {high:.2f} nm"
            )
        return SampledModel(self.model, self.band, 1000 / wavelength)

    @property
    def opd_um(self) -> Array:
        """Optical path difference of each interferometer on axis, µm."""
        return np.asarray(self.theta[:, self.model.slices["phase"].start + 1] / (2 * np.pi * self.band.half_width))

    def off_axis(self, cos_theta: float) -> FabryPerotResponse:
        """The same interferometers under an angle inside the cavity: the OPD becomes OPD·cos θ."""
        theta = self.theta.copy()
        phase = self.model.slices["phase"].start
        # δ = 2πσ·OPD − φ with σ = centre + half_width·x: the loss of OPD moves degrees 0 and 1
        loss = 2 * np.pi * self.opd_um * (1 - cos_theta)
        theta[:, phase] -= loss * self.band.centre
        theta[:, phase + 1] -= loss * self.band.half_width
        return dataclasses.replace(self, theta=theta)

    def transmittance(self, wavelength_nm: Array) -> Array:
        """Transmittance relative to the flat field, shape ``(interferometer, wavelength)``."""
        sampled = self.sampled(wavelength_nm)
        ones = np.broadcast_to(self._interpolate(self.curve, sampled), (len(self.theta), len(sampled.wavenumber)))
        return self.gain_scale[:, None] * sampled.values(self.theta, ones)

    def matrix(self, wavelength_nm: Array) -> Array:
        """Response ``(interferometer, wavelength)`` in the capture's intensity units: flat field × transmittance."""
        sampled = self.sampled(wavelength_nm)
        flat = np.stack([self._interpolate(row, sampled) for row in self.flat])
        return flat * self.transmittance(wavelength_nm)

    def forward(self, spectrum: Array, wavelength_nm: Array) -> Array:
        """Interferogram ``(…, interferometer)`` of spectra ``(…, wavelength)``."""
        return np.asarray(spectrum) @ self.matrix(wavelength_nm).T

    def adjoint(self, interferogram: Array, wavelength_nm: Array) -> Array:
        """Adjoint of `forward`: ``(…, interferometer)`` to ``(…, wavelength)``."""
        return np.asarray(interferogram) @ self.matrix(wavelength_nm)

    def _interpolate(self, values: Array, sampled: SampledModel) -> Array:
        return np.interp(sampled.wavenumber, self.wavenumber, values)

    def write(self, group: Any) -> None:
        """Write into an open HDF5 group."""
        group.attrs["model"] = json.dumps(self.model.to_dict())
        group.attrs["band_per_um"] = [self.band.low, self.band.high]
        for name, unit in (
            ("theta", "Legendre coefficients; gain and reflectivity dimensionless, phase in rad"),
            ("gain_scale", "1"),
            ("wavenumber", "um-1"),
            ("flat", "intensity units of the capture"),
            ("curve", "1"),
        ):
            data = group.create_dataset(name, data=getattr(self, name))
            data.attrs["units"] = unit

    @classmethod
    def read(cls, group: Any) -> FabryPerotResponse:
        """Read what `write` wrote; raises `KeyError` for a missing member."""
        low, high = (float(value) for value in group.attrs["band_per_um"])
        return cls(
            model=TransmittanceModel.from_dict(json.loads(group.attrs["model"])),
            band=Band(low=low, high=high),
            **{name: group[name][()] for name in ("theta", "gain_scale", "wavenumber", "flat", "curve")},
        )
