"""A Fabry-Perot interferometer whose parameters are polynomials in wavenumber.

``TransmittanceModel`` says *which* model (number of waves, degrees, what scales the gain); ``SampledModel`` binds it to
wavenumbers and evaluates it, with derivative fields, for a whole batch of interferometers at once.

The intensity of interferometer *i* at wavenumber σ is ::

    flat_i(σ) · gain_i(σ) · fringe(φ_i(σ), R_i(σ)) · (1 + Σ_e a_ie(σ)·cos 2πσD_e + b_ie(σ)·sin 2πσD_e)

with gain, R, φ, a and b Legendre series on the band. The degree-1 coefficient of φ is the OPD; its degree 0 is the
phase, its degrees of 2 and more are dispersion. The optional last factor holds parasitic etalons (a cover
glass, a filter) of path differences D_e common to all interferometers.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsitools.errors import InputError
from hsitools.sensor.fabry_perot import (
    AIRY,
    array_module,
    bounded_reflectivity,
    check_waves,
    fringe,
    fringe_derivatives,
)  # fmt: skip
from hsitools.sensor.line_shape import LineShape, broadened_derivatives
from hsitools.sensor.polynomial import Band, derivative_matrix

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Block:
    """One Legendre series of a model: its coefficients, which derivative field it moves, which etalon wave it scales.

    ``wave`` counts cosine and sine of the etalons in turn; None is no wave (gain, reflectivity, phase). With ``slope``
    it is the series' derivative with respect to x, the scaled wavenumber, that moves the field.
    """

    part: slice
    field: int
    wave: int | None
    slope: bool = False

    @property
    def degree(self) -> int:
        """Degree of the series."""
        return int(self.part.stop - self.part.start - 1)


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
        if self.etalons_um:
            sizes["etalon"] = 2 * len(self.etalons_um) * (self.degree_etalon + 1)
        ends = np.cumsum(list(sizes.values()))
        return {name: slice(int(end) - size, int(end)) for (name, size), end in zip(sizes.items(), ends, strict=True)}

    @property
    def opd_column(self) -> int:
        """Place of the phase's mean slope over the band: the optical path difference (`opd_um`)."""
        return self.slices["phase"].start + 1

    def opd_um(self, theta: Any, band: Band) -> Any:
        """Optical path difference of parameter vectors ``(…, n_parameters)``, µm, with its sign."""
        return theta[..., self.opd_column] * band.opd_per_radian

    def off_axis(self, theta: Any, band: Band, cos_theta: float) -> Any:
        """Parameter vectors ``(…, n_parameters)`` under an angle inside the cavity: the OPD becomes OPD·cos θ."""
        theta, slope = theta + 0, theta[..., self.opd_column]
        # δ = 2πσ·OPD − φ with σ = centre + half_width·x: the loss of OPD moves degrees 0 and 1
        theta[..., self.opd_column - 1] -= (1 - cos_theta) * slope * (band.centre / band.half_width)
        theta[..., self.opd_column] = cos_theta * slope
        return theta

    @property
    def n_parameters(self) -> int:
        """Length of a parameter vector."""
        return list(self.slices.values())[-1].stop

    @cached_property
    def blocks(self) -> list[Block]:
        """Its polynomials one by one, in the order of their coefficients."""
        blocks = []
        for field, (name, part) in enumerate(self.slices.items()):
            size = self.degree_etalon + 1 if name == "etalon" else part.stop - part.start
            for number, start in enumerate(range(part.start, part.stop, size)):
                wave = number if name == "etalon" else None
                blocks.append(Block(part=slice(start, start + size), field=field, wave=wave))
        return blocks

    @property
    def degree(self) -> int:
        """Largest degree of any of its polynomials."""
        return max(block.degree for block in self.blocks)

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
    line : LineShape, optional
        The light's line at each wavenumber; None is monochromatic light. It belongs to the bench, not to the model.
    """

    def __init__(
        self, model: TransmittanceModel, band: Band, wavenumber: Array, device: Any = None, *,
        line: LineShape | None = None,
    ) -> None:  # fmt: skip
        self.model, self.band, self.line = model, band, line
        self.wavenumber = np.asarray(wavenumber, dtype=float)
        # products of two series need twice the degree
        basis = band.vander(self.wavenumber, 2 * model.degree)
        angles = 2 * math.pi * self.wavenumber * np.array(model.etalons_um)[:, None]
        waves = np.stack([np.cos(angles), np.sin(angles)], axis=1).reshape(-1, len(self.wavenumber))
        scaled = [waves[b.wave][:, None] * basis[:, : b.degree + 1] for b in model.blocks if b.wave is not None]
        etalon = np.concatenate(scaled, axis=1) if scaled else np.zeros((len(self.wavenumber), 0))
        self.basis: Any = basis
        self.waves: Any = waves
        self._etalon_basis: Any = etalon
        if line is not None and device is not None:
            self.line = line.on(device)
        if device is not None:
            import torch

            self.basis, self.waves, self._etalon_basis = (
                torch.as_tensor(array, device=device) for array in (basis, waves, etalon)
            )
        self._slices = model.slices

    @cached_property
    def blocks(self) -> list[Block]:
        """Blocks of the model; with a line of finite width the phase also moves the fringe by its group path."""
        blocks = self.model.blocks
        if self.line is None:
            return blocks
        phase = blocks[2]
        return [*blocks, Block(part=phase.part, field=blocks[-1].field + 1, wave=None, slope=True)]

    def columns(self, block: Block) -> Any:
        """What multiplies the block's field in the derivatives by its coefficients, ``(line, coefficient)``."""
        columns = self.modulated(block.wave, block.degree)
        return columns @ self._slope_matrix(block.degree).T if block.slope else columns

    def _slope_matrix(self, degree: int) -> Any:
        matrix = derivative_matrix(degree)
        xp = array_module(self.basis)
        return matrix if xp is np else xp.as_tensor(matrix, device=self.basis.device)

    def group_path(self, theta: Any) -> Any:
        """Group path ``dφ/dσ / 2π`` along the lines, µm: the OPD and what dispersion adds to it."""
        part = self._slices["phase"]
        degree = part.stop - part.start - 1
        slope = self.basis[:, : degree + 1] @ self._slope_matrix(degree).T
        return theta[:, part] @ slope.T / (2 * math.pi * self.band.half_width)

    def modulated(self, wave: int | None, degree: int) -> Any:
        """Legendre basis up to ``degree``, times an etalon wave, shape ``(line, degree + 1)``."""
        plain = self.basis[:, : degree + 1]
        return plain if wave is None else self.waves[wave][:, None] * plain

    def series(self, theta: Any, name: str) -> Any:
        """One parameter's polynomial along the lines, shape ``(batch, line)``."""
        part = self._slices[name]
        return theta[:, part] @ self.basis[:, : part.stop - part.start].T

    def reflectivity(self, theta: Any) -> Any:
        """R along the lines, held inside the open unit interval."""
        return bounded_reflectivity(self.series(theta, "reflectivity"))[0]

    def _etalon(self, theta: Any) -> Any:
        """Factor of the parasitic etalons; the number one when there are none."""
        if not self.model.etalons_um:
            return 1.0
        return 1 + theta[:, self._slices["etalon"]] @ self._etalon_basis.T

    def values(self, theta: Any, flat: Any) -> Any:
        """Intensity, shape ``(batch, line)``, for ``theta`` ``(batch, parameter)`` and ``flat`` ``(batch, line)``."""
        phase, r = self.series(theta, "phase"), self.reflectivity(theta)
        if self.line is None:
            shape = fringe(phase, r, self.model.waves)
        else:
            shape = broadened_derivatives(phase, r, self.group_path(theta), self.line, self.model.waves)[0]
        return flat * self.series(theta, "gain") * shape * self._etalon(theta)

    def fields(self, theta: Any, flat: Any) -> tuple[Any, list[Any]]:
        """Intensity and the derivative fields of `blocks`, by number.

        The derivative of the intensity with respect to coefficient *j* of a `Block` is ``field · wave · P_j`` (of P_j's
        derivative where the block says so), summed over the blocks that hold the coefficient.
        """
        r, r_slope = bounded_reflectivity(self.series(theta, "reflectivity"))
        phase = self.series(theta, "phase")
        by_path = None
        if self.line is None:
            shape, by_phase, by_r = fringe_derivatives(phase, r, self.model.waves)
        else:
            shape, by_phase, by_r, by_path = broadened_derivatives(
                phase, r, self.group_path(theta), self.line, self.model.waves
            )
        scale = flat * self._etalon(theta)
        gain = self.series(theta, "gain")
        gained = scale * gain
        fields = [scale * shape, gained * by_r * r_slope, gained * by_phase]
        if self.model.etalons_um:
            fields.append(flat * gain * shape)
        if by_path is not None:
            fields.append(gained * by_path / (2 * math.pi * self.band.half_width))
        return gained * shape, fields

    def by_wavenumber(self, theta: Any, flat: Any) -> Any:
        """Derivative of the intensity with respect to a shift of the lines' wavenumbers (µm⁻¹), through the phase."""
        fields = self.fields(theta, flat)[1]
        return fields[2] * self.group_path(theta) * (2 * math.pi)

    def by_line_width(self, theta: Any, flat: Any) -> Any:
        """Derivative of the intensity with respect to the logarithm of the lines' width."""
        fields = self.fields(theta, flat)[1]
        return fields[-1] * self.group_path(theta) * (2 * math.pi * self.band.half_width)
