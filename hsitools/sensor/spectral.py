"""Spectral response of interferometers: how much of each wavelength reaches each of them.

**Units.** A spectrum is a density over wavelength, relative to the calibration's light: one at all wavelengths is the
light of one calibration line, spread evenly over the calibrated band, of width B in nm. The interferogram of a spectrum
s is the mean over that band, ``1/B ∫ flat(λ)·transmittance(λ)·s(λ) dλ``, in the intensity units of the capture. So a
spectrum of one gives the band's mean of flat field × transmittance, and light of power P in a line at λ₀ (s = P·B·δ)
gives ``P·flat(λ₀)·transmittance(λ₀)``, which is what `FabryPerotResponse.monochromatic` lists.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.errors import InputError
from hsitools.sensor.polynomial import Band
from hsitools.sensor.quadrature import covered, hat_weights, panels
from hsitools.sensor.transmittance import SampledModel, TransmittanceModel

Array = NDArray[np.float64]
#: What an interferogram is, for files and tables.
UNITS = "mean over the calibrated band of flat field x transmittance x spectrum, intensity units of the capture"
#: Samples that end this share of the calibrated band before its end stand for the rest of it.
REACH = 0.02
#: Harmonics of a fringe that are resolved: those above this share of its mean.
HARMONIC = 0.001
#: Values of a response at a time.
CHUNK = 2**14


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

    @property
    def band_nm(self) -> tuple[float, float]:
        """Ends of the calibrated band, nm."""
        return 1000 / self.band.high, 1000 / self.band.low

    def coverage(self, wavelength_nm: Array) -> Array:
        """Share of the calibrated band that lies between the wavelengths."""
        low, high = self.band_nm
        ends = covered(np.sort(np.asarray(wavelength_nm, dtype=float)), self.band_nm, REACH * (high - low))
        return np.full(self.n_bands, (ends[1] - ends[0]) / (high - low))

    def sampled(self, wavelength_nm: Array) -> SampledModel:
        """The model on given wavelengths (nm).

        Raises
        ------
        InputError
            When a wavelength lies outside the calibrated band.
        """
        wavelength = np.atleast_1d(np.asarray(wavelength_nm, dtype=float))
        low, high = self.band_nm
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
        return np.asarray(self.model.opd_um(self.theta, self.band))

    def off_axis(self, cos_theta: float) -> FabryPerotResponse:
        """The same interferometers under an angle inside the cavity: the OPD becomes OPD·cos θ."""
        return dataclasses.replace(self, theta=self.model.off_axis(self.theta, self.band, cos_theta))

    def rows(self, chosen: Any) -> FabryPerotResponse:
        """Some of the interferometers."""
        return dataclasses.replace(
            self, theta=self.theta[chosen], gain_scale=self.gain_scale[chosen], flat=self.flat[chosen]
        )  # fmt: skip

    def harmonics(self, share: float) -> Array:
        """Highest harmonic of each interferometer's fringes above this share of their mean, not rounded."""
        sampled = SampledModel(self.model, self.band, np.linspace(self.band.low, self.band.high, 65))
        r = np.maximum(sampled.reflectivity(self.theta).max(axis=1), 1e-3)
        return np.asarray(np.minimum(np.log(share) / np.log(r), self.model.waves - 1))

    def transmittance(self, wavelength_nm: Array) -> Array:
        """Transmittance relative to the flat field, shape ``(interferometer, wavelength)``."""
        sampled = self.sampled(wavelength_nm)
        ones = np.broadcast_to(self._interpolate(self.curve, sampled), (len(self.theta), len(sampled.wavenumber)))
        return self.gain_scale[:, None] * sampled.values(self.theta, ones)

    def monochromatic(self, wavelength_nm: Array) -> Array:
        """Intensity ``(interferometer, line)`` under lines of unit power: flat field × transmittance."""
        sampled = self.sampled(wavelength_nm)
        return self.flat_at(sampled.wavenumber) * self.transmittance(wavelength_nm)

    def matrix(self, wavelength_nm: Array) -> Array:
        """Weights ``(interferometer, wavelength)`` that turn a sampled spectrum into an interferogram.

        Flat field × transmittance, integrated over what each sample stands for (`hsitools.sensor.quadrature`), over the
        width of the calibrated band; units as the module says. Light outside the samples is none, but samples that end
        within 2 % of the band from its end stand for the rest of it.

        Parameters
        ----------
        wavelength_nm : array, shape (wavelength,)
            In any order and spacing, inside the calibrated band; one more sample beyond each end is taken, for the
            spectrum up to there.

        Raises
        ------
        InputError
            When there are less than two wavelengths, or more of them lie outside the calibrated band.
        """
        low, high = self.band_nm
        wavelength = np.unique(np.asarray(wavelength_nm, dtype=float))
        slack = 1e-6 * (high - low)
        if max(np.count_nonzero(wavelength < low - slack), np.count_nonzero(wavelength > high + slack)) > 1:
            raise InputError(
                f"wavelength_nm: found {wavelength[0]:g} to {wavelength[-1]:g}, "
                f"expected inside the calibrated band {low:.2f} to {high:.2f} nm"
            )
        return hat_weights(self.moments, wavelength_nm, self.band_nm, REACH * (high - low)) / (high - low)

    def moments(self, edges_nm: Array) -> tuple[Array, Array]:
        """∫ flat field × transmittance dλ between edges, and the first moment; see `hsitools.sensor.quadrature`."""
        edges = np.asarray(edges_nm, dtype=float)
        area = np.empty((self.n_bands, len(edges) - 1))
        first = np.empty_like(area)
        turns = self._turns()
        # rows of like fringes share their points
        octave = np.ceil(np.log2(turns)).astype(int)
        for level in np.unique(octave):
            rows = np.flatnonzero(octave == level)
            # in wavenumber, where fringes are even: σ descends as λ ascends, and dλ = −1000/σ² dσ
            sigma, weight, start = panels(-1000 / edges, -self.wavenumber[::-1], turns[rows].max())
            sigma = -sigma
            sampled = SampledModel(self.model, self.band, sigma)
            beyond = 1000 / sigma - np.repeat(edges[:-1], np.diff(np.append(start, len(sigma))))
            light = self._interpolate(self.curve, sampled) * weight * 1000 / sigma**2
            for part in np.array_split(rows, min(len(rows), -(-len(rows) * len(sigma) // CHUNK))):
                values = sampled.values(self.theta[part], light) * self.flat_at(sigma, part)
                area[part] = np.add.reduceat(values, start, axis=1)
                first[part] = np.add.reduceat(values * beyond, start, axis=1)
        scale = self.gain_scale[:, None]
        return scale * area, scale * first

    def _turns(self) -> Array:
        """How often (µm) each interferometer's finest harmonic that counts turns over a unit of wavenumber."""
        sigma = np.linspace(self.band.low, self.band.high, 65)
        sampled = SampledModel(self.model, self.band, sigma)
        path = np.abs(np.diff(sampled.series(self.theta, "phase"), axis=1)).max(axis=1) / np.diff(sigma)[0] / 2 / np.pi
        # half a turn of the plain fringe to a panel at most, and a parasitic etalon on top
        turns = path * np.maximum(self.harmonics(HARMONIC), 2) + 2 * max(self.model.etalons_um, default=0.0)
        # parameters that could not be fitted give no response, but must not stop those that could
        return np.nan_to_num(np.maximum(turns, 1.0), nan=1.0)

    def flat_at(self, wavenumber: Array, rows: Any = slice(None)) -> Array:
        """Flat field ``(interferometer, …)`` at any wavenumbers; straight across lines that were left out (zero)."""
        return np.stack(
            [
                np.interp(wavenumber, self.wavenumber[row > 0], row[row > 0]) if (row > 0).any() else 0 * wavenumber
                for row in self.flat[rows]
            ]
        )

    def forward(self, spectrum: Array, wavelength_nm: Array) -> Array:
        """Interferogram ``(…, interferometer)`` of spectra ``(…, wavelength)``; units as the module says."""
        return np.asarray(spectrum) @ self.matrix(wavelength_nm).T

    def adjoint(self, interferogram: Array, wavelength_nm: Array) -> Array:
        """Transposed `forward`: ``(…, interferometer)`` to ``(…, wavelength)``."""
        return np.asarray(interferogram) @ self.matrix(wavelength_nm)

    def _interpolate(self, values: Array, sampled: SampledModel) -> Array:
        return np.interp(sampled.wavenumber, self.wavenumber, values)

    def write(self, group: Any) -> None:
        """Write into an open HDF5 group."""
        group.attrs["model"] = json.dumps(self.model.to_dict())
        group.attrs["band_per_um"] = [self.band.low, self.band.high]
        group.attrs["interferogram"] = UNITS
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
