"""A Fabry-Perot interferometer whose parameters are polynomials in wavenumber.

``TransmittanceModel`` says *which* model (number of waves, degrees, what scales the gain); ``SampledModel`` binds it to
wavenumbers and evaluates it, with derivative fields, for a whole batch of interferometers at once.

The intensity of interferometer *i* at wavenumber σ is ::

    flat_i(σ) · gain_i(σ) · fringe(φ_i(σ), R_i(σ)) · Π_e (1 + a_ie(σ)·cos 2πσD_e + b_ie(σ)·sin 2πσD_e)

with gain, R, φ, a and b Legendre series on the band. The degree-1 coefficient of φ is the OPD; its degree 0 is the
phase, its degrees of 2 and more are dispersion. The optional last factor is a parasitic etalon (a cover glass, a
filter) of path difference D_e common to all interferometers.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.errors import InputError
from hsitools.sensor.fabry_perot import AIRY, R_MAX, R_MIN, array_module, check_waves, fringe, fringe_derivatives
from hsitools.sensor.polynomial import Band

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class TransmittanceModel:
    """Which transmittance model: its waves and the degrees of its polynomials.

    Parameters
    ----------
    waves : float
        Interfering waves: ``inf`` (Airy), or a whole number of at least 2.
    degree_gain, degree_reflectivity : int
        Degrees of the gain and reflectivity polynomials in wavenumber.
    degree_phase : int
        0 for a constant phase; 2 or more for a dispersive one (degree 1 is the OPD itself).
    gain_reference : str
        ``"flat"``: the gain multiplies the measured flat field; ``"none"``: the gain is absolute.
    refine_gain : bool
        False keeps the gain at its starting value.
    etalons_um : tuple of float
        OPDs of parasitic etalons shared by all interferometers, µm.
    degree_etalon : int
        Degree of the amplitudes of each parasitic etalon.
    """

    waves: float = AIRY
    degree_gain: int = 5
    degree_reflectivity: int = 5
    degree_phase: int = 0
    gain_reference: str = "flat"
    refine_gain: bool = True
    etalons_um: tuple[float, ...] = ()
    degree_etalon: int = 3

    def __post_init__(self) -> None:
        check_waves(self.waves)
        for field in ("degree_gain", "degree_reflectivity", "degree_phase", "degree_etalon"):
            if not 0 <= getattr(self, field) <= 40:
                raise InputError(f"model: {field}: found {getattr(self, field)}, expected 0 to 40")
        if self.gain_reference not in ("flat", "none"):
            raise InputError(f"model: gain_reference: found {self.gain_reference!r}, expected 'flat' or 'none'")

    @property
    def name(self) -> str:
        """``airy``, ``two-wave`` or ``N-wave``."""
        return {AIRY: "airy", 2: "two-wave"}.get(self.waves, f"{int(min(self.waves, 1e9))}-wave")

    @property
    def label(self) -> str:
        """One line for tables: model, degrees, what is added."""
        parts = [self.name, f"gain {self.degree_gain}" if self.refine_gain else "gain fixed"]
        if self.gain_reference == "none":
            parts[-1] += " (absolute)"
        parts += [f"reflectivity {self.degree_reflectivity}", f"phase {self.degree_phase}"]
        parts += [f"etalon {opd:.2f} µm" for opd in self.etalons_um]
        return ", ".join(parts)

    @cached_property
    def slices(self) -> dict[str, slice]:
        """Place of each group of coefficients in a parameter vector, in order."""
        sizes = {
            "gain": self.degree_gain + 1,
            "reflectivity": self.degree_reflectivity + 1,
            "phase": max(self.degree_phase, 1) + 1,
        }
        for number in range(len(self.etalons_um)):
            sizes[f"etalon{number}_cos"] = sizes[f"etalon{number}_sin"] = self.degree_etalon + 1
        ends = np.cumsum(list(sizes.values()))
        return {name: slice(int(end) - size, int(end)) for (name, size), end in zip(sizes.items(), ends, strict=True)}

    @property
    def n_parameters(self) -> int:
        """Length of a parameter vector."""
        return list(self.slices.values())[-1].stop

    @property
    def degree(self) -> int:
        """Largest degree of any of its polynomials."""
        return max(s.stop - s.start for s in self.slices.values()) - 1

    @cached_property
    def free(self) -> NDArray[np.bool_]:
        """Which parameters a fit may move, shape ``(n_parameters,)``."""
        free = np.ones(self.n_parameters, dtype=bool)
        if not self.refine_gain:
            free[self.slices["gain"]] = False
        return free

    def to_dict(self) -> dict[str, Any]:
        """Plain data (``waves`` infinite is the string ``"inf"``)."""
        data = asdict(self)
        data["waves"] = "inf" if self.waves == AIRY else int(self.waves)
        data["etalons_um"] = list(self.etalons_um)
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> TransmittanceModel:
        """Inverse of `to_dict`."""
        return cls(**{**data, "waves": float(data["waves"]), "etalons_um": tuple(data["etalons_um"])})


class SampledModel:
    """A `TransmittanceModel` on given wavenumbers, for batches of parameter vectors.

    Parameters
    ----------
    model : TransmittanceModel
    band : Band
        The band on which the Legendre series are defined.
    wavenumber : array, shape (line,)
        Samples in µm⁻¹.
    device : optional
        A torch device: then all arrays are float64 tensors there. Default: NumPy.
    """

    def __init__(self, model: TransmittanceModel, band: Band, wavenumber: Array, device: Any = None) -> None:
        self.model, self.band = model, band
        self.wavenumber = np.asarray(wavenumber, dtype=float)
        basis = band.vander(self.wavenumber, 2 * model.degree)
        angles = 2 * math.pi * self.wavenumber * np.array(model.etalons_um)[:, None]
        self.basis: Any = basis
        self.waves_e: Any = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        if device is not None:
            import torch

            self.basis = torch.as_tensor(basis, device=device)
            self.waves_e = torch.as_tensor(self.waves_e, device=device)
        self._slices = model.slices

    def series(self, theta: Any, name: str) -> Any:
        """One parameter's polynomial along the lines, shape ``(batch, line)``."""
        part = self._slices[name]
        return theta[:, part] @ self.basis[:, : part.stop - part.start].T

    def reflectivity(self, theta: Any) -> Any:
        """R along the lines, held inside the open unit interval."""
        raw = self.series(theta, "reflectivity")
        return array_module(raw).clip(raw, R_MIN, R_MAX)

    def _etalon(self, theta: Any, number: int) -> Any:
        cos, sin = self.waves_e[number]
        return 1 + self.series(theta, f"etalon{number}_cos") * cos + self.series(theta, f"etalon{number}_sin") * sin

    def values(self, theta: Any, flat: Any) -> Any:
        """Intensity, shape ``(batch, line)``, for ``theta`` ``(batch, parameter)`` and ``flat`` ``(batch, line)``."""
        phase = self.series(theta, "phase")
        out = flat * self.series(theta, "gain") * fringe(phase, self.reflectivity(theta), self.model.waves)
        for number in range(len(self.model.etalons_um)):
            out = out * self._etalon(theta, number)
        return out

    def fields(self, theta: Any, flat: Any) -> tuple[Any, list[Any]]:
        """Intensity and, for each group of `TransmittanceModel.slices` in order, its derivative field.

        The derivative of the intensity with respect to coefficient *j* of a group is ``field · P_j``.
        """
        raw = self.series(theta, "reflectivity")
        xp = array_module(raw)
        shape, by_phase, by_r = fringe_derivatives(
            self.series(theta, "phase"), xp.clip(raw, R_MIN, R_MAX), self.model.waves
        )
        etalons = [self._etalon(theta, number) for number in range(len(self.model.etalons_um))]
        scale = flat
        for factor in etalons:
            scale = scale * factor
        gained = scale * self.series(theta, "gain")
        value = gained * shape
        # Where R sits on its bound, moving the polynomial further changes nothing.
        inside = (raw > R_MIN) & (raw < R_MAX)
        fields = [scale * shape, gained * by_r * inside, gained * by_phase]
        for number, factor in enumerate(etalons):
            rest = value / xp.where(abs(factor) > 1e-9, factor, 1e-9)
            fields += [rest * self.waves_e[number, 0], rest * self.waves_e[number, 1]]
        return value, fields
