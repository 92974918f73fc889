"""The width of the monochromator's line, from how the fringes' contrast falls with the OPD over the device."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.fitting.options import Options
from calibration.fitting.posterior import inverse, posterior
from calibration.fitting.refine import NormalPlan, refine
from calibration.fitting.scaled_rows import MIN_ROWS, ScaledRows
from hsitools.estimation.spread import robust_sigma
from hsitools.sensor.line_shape import FWHM_SIGMA, LineShape
from hsitools.sensor.transmittance import SampledModel

Array = NDArray[np.float64]

#: Fringes over the band that a row must have for its contrast to tell the line from the reflectivity.
MIN_FRINGES = 4.0
#: Rows that are enough, spread over the OPDs: the time grows with them.
ENOUGH_ROWS = 192
#: Rows that are enough to contradict a width: a tenth of the time of a fit.
FEW_ROWS = 48
#: The first guess takes the share 1 − e^−0.1 of the contrast of the row of median OPD at mid-band; where it is wrong
#: the search approaches the right width by factors.
FIRST_EXPONENT = 0.1
#: Most changes of the width, and iterations of the rows' fit at the first and at each later one.
ROUNDS, ITERATIONS = 8, (8, 3)
#: Standard errors by which there must be a width, and its change with wavenumber, for that change to be used.
SURE = 3.0


@dataclass(frozen=True, kw_only=True)
class LineWidth:
    """Estimated line: full width at half maximum ``√square · (σ / centre)^−exponent``, nm.

    An exponent of 0 is a line of constant width in wavelength, 2 in wavenumber. ``covariance`` ``(2, 2)`` is that of
    square (nm²) and exponent.
    """

    square: float
    exponent: float
    centre: float
    covariance: Array
    shape: str

    @property
    def stderr_square(self) -> float:
        """Standard error of the square, nm²."""
        return float(np.sqrt(self.covariance[0, 0]))

    @property
    def nm(self) -> float:
        """Width at the band's centre, nm; zero when the contrast does not fall."""
        return float(np.sqrt(max(self.square, 0.0)))

    def to_dict(self) -> dict[str, Any]:
        """Plain data: width and standard error at the band's centre, nm."""
        stderr = self.stderr_square / (2 * self.nm) if self.nm > 0 else np.sqrt(self.stderr_square)
        return {
            "nm": self.nm, "stderr_nm": float(stderr), "centre_per_um": self.centre, "exponent": self.exponent,
            "exponent_stderr": float(np.sqrt(self.covariance[1, 1])), "shape": self.shape,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> LineWidth:
        """The line that `to_dict` tells of, correlation left out."""
        nm, stderr = data["nm"], data["stderr_nm"]
        return cls(
            square=nm**2, exponent=data["exponent"], centre=data["centre_per_um"], shape=data["shape"],
            covariance=np.diag([(2 * nm * stderr if nm > 0 else stderr**2) ** 2, data["exponent_stderr"] ** 2]),
        )  # fmt: skip

    def width_nm(self, wavenumber: Array) -> Array:
        """Full width at half maximum at each wavenumber (µm⁻¹), nm; zero when the contrast does not fall."""
        return np.asarray(self.nm * (np.asarray(wavenumber) / self.centre) ** -self.exponent)

    def line(self, wavenumber: Array) -> LineShape | None:
        """The line at each wavenumber; None when its width is zero."""
        if self.square <= 0:
            return None
        return LineShape.of_wavelength(self.width_nm(wavenumber), wavenumber, self.shape)


def estimate_line_width(sampled: SampledModel, data: ScaledRows, theta: Array, options: Options) -> LineWidth | None:
    """Width of the line from rows fitted each by itself, starting from ``theta`` ``(row, parameter)``.

    One coating serves all interferometers: their reflectivities are draws from one population, which does not know the
    OPD. How a row's reflectivity polynomial changes with the assumed width follows from its normal matrix. The width is
    the one under which the reflectivities do not depend on that change (generalised least squares over the rows, each
    with its own covariance and the population's); the rows are fitted again under it until it stays. The width is
    constant in nm unless the reflectivities say clearly that it is not.

    Returns
    -------
    LineWidth or None
        None with too few rows of several fringes.
    """
    rows = _rows_that_tell(sampled, data, theta, ENOUGH_ROWS)
    if rows is None:
        return None
    search = _Search(sampled, data, rows, theta[rows], options)
    constant = search.solve(_first_guess(data, sampled, theta[rows]), 1)
    if constant.square < SURE * constant.stderr_square:
        return constant
    varying = search.solve(constant, 2)
    sure = abs(varying.exponent) > SURE * np.sqrt(varying.covariance[1, 1]) and varying.square > 0
    return varying if sure else constant


def contradicts_width(
    sampled: SampledModel, data: ScaledRows, theta: Array, options: Options, declared_nm: float
) -> bool:
    """Whether the fringes' contrast says, by more than `SURE` standard errors, that the line has another width.

    One step of `estimate_line_width` on few rows, from fitted parameters ``theta`` and the width that the fit assumed:
    enough to tell that it is wrong, not what is right. False with too few rows.
    """
    rows = _rows_that_tell(sampled, data, theta, FEW_ROWS)
    if rows is None:
        return False
    assumed = _first_guess(data, sampled, theta[rows])
    # at no width at all nothing depends on it: a hundredth of what would show stands for none
    assumed = replace(assumed, square=declared_nm**2 if declared_nm > 0 else assumed.square / 100)
    change, covariance = _Search(sampled, data, rows, theta[rows], options).step(assumed, 1)
    return bool(abs(assumed.square + change[0] - declared_nm**2) > SURE * np.sqrt(covariance[0, 0]))


def _rows_that_tell(sampled: SampledModel, data: ScaledRows, theta: Array, most: int) -> NDArray[np.intp] | None:
    """Rows of several fringes, spread over the device; None when there are too few."""
    opd = np.abs(sampled.model.opd_um(theta, data.band))
    rows = np.flatnonzero(data.usable & (opd * data.band.width > MIN_FRINGES) & np.isfinite(theta).all(axis=1))
    if len(rows) < MIN_ROWS:
        return None
    return rows[np.unique(np.linspace(0, len(rows) - 1, most).round().astype(int))]


def _first_guess(data: ScaledRows, sampled: SampledModel, theta: Array) -> LineWidth:
    """A line that takes a little of the contrast (`FIRST_EXPONENT`)."""
    opd = np.median(np.abs(sampled.model.opd_um(theta, data.band)))
    exponent = 2 * (np.pi * opd * data.band.centre**2 / 1000 / FWHM_SIGMA) ** 2
    return LineWidth(
        square=FIRST_EXPONENT / float(exponent), exponent=0.0, centre=data.band.centre, covariance=np.zeros((2, 2)),
        shape=data.line_shape,
    )  # fmt: skip


class _Search:
    """Rows fitted again and again under a changing line."""

    def __init__(
        self, sampled: SampledModel, data: ScaledRows, rows: NDArray[np.intp], theta: Array, options: Options
    ) -> None:
        self.model, self.band, self.wavenumber = sampled.model, sampled.band, sampled.wavenumber
        self.loss, self.theta, self.iterations = options.loss, theta, ITERATIONS[0]
        self.y, self.flat, self.weight = data.intensity[rows], data.flat[rows], data.weight[rows]

    def solve(self, guess: LineWidth, unknowns: int) -> LineWidth:
        """The line's square alone (1), or square and exponent (2), from a first guess."""
        square, exponent = guess.square, guess.exponent
        for _ in range(ROUNDS):
            assumed = LineWidth(
                square=square, exponent=exponent, centre=guess.centre, covariance=guess.covariance, shape=guess.shape
            )
            change, covariance = self.step(assumed, unknowns)
            solved = np.array([square, exponent])
            solved[:unknowns] += change
            full = np.zeros((2, 2))
            full[:unknowns, :unknowns] = covariance
            out = LineWidth(
                square=float(solved[0]), exponent=float(solved[1]), centre=guess.centre, covariance=full,
                shape=guess.shape,
            )  # fmt: skip
            small = np.abs(change) < 0.2 * np.sqrt(np.diag(covariance))
            if small.all() or (change[0] < 0 and solved[0] <= 0 and square < out.stderr_square):
                break
            # a first guess far off is approached by factors, since the contrast is no straight line in the width
            square = float(np.clip(solved[0], square / 8, square * 8))
            exponent = float(np.clip(solved[1], exponent - 2, exponent + 2))
        return out

    def step(self, assumed: LineWidth, unknowns: int) -> tuple[Array, Array]:
        """Change of square and exponent that the rows ask for under an assumed line, and its covariance."""
        line = assumed.line(self.wavenumber)
        broadened = SampledModel(self.model, self.band, self.wavenumber, line=line)
        refined = refine(
            broadened, self.theta, self.y, self.flat, self.weight, loss=self.loss, max_iterations=self.iterations,
            tolerance=1e-5,
        )  # fmt: skip
        self.theta, self.iterations = refined.theta, ITERATIONS[1]
        residual = self.y - broadened.values(refined.theta, self.flat)
        variance, _ = posterior(refined, residual, self.weight, None, self.model.free, self.loss)
        # at the population's reflectivity: a row's own is noisy, and would take what it depends on along
        part = self.model.slices["reflectivity"]
        middle = refined.theta.copy()
        middle[:, part] = np.median(refined.theta[:, part], axis=0)
        plan = NormalPlan.of(broadened)
        _, fields = broadened.fields(middle, self.flat)
        inverted = inverse(plan.assemble(plan.moments(fields, self.weight)))
        # a wider line asks for more reflectivity, minus what the width explains; d log w = dw² / 2w² − log(σ/σ_c) dp
        moved = self.weight * broadened.by_line_width(middle, self.flat)
        growths = (0.5 / assumed.square, -np.log(self.wavenumber / assumed.centre))[:unknowns]
        slopes = np.stack([plan.gradient(fields, moved * growth) for growth in growths], axis=2)
        slopes = -inverted[:, part] @ slopes
        good = np.isfinite(refined.theta).all(axis=1) & np.isfinite(slopes).all(axis=(1, 2))
        covariance = (inverted * variance[:, None, None])[:, part, part]
        return _common_slope(refined.theta[good][:, part], slopes[good], covariance[good])


def _common_slope(values: Array, slopes: Array, covariance: Array) -> tuple[Array, Array]:
    """The changes Δ under which ``values + slopes·Δ`` are draws from one population, and their covariance.

    ``values`` ``(row, k)``, ``slopes`` ``(row, k, unknown)``, ``covariance`` ``(row, k, k)`` of the values. The
    population's mean and covariance are estimated beside Δ; rows that are no members of it are left out.
    """
    n, size = values.shape
    keep = np.ones(n, dtype=bool)
    population = np.diag(robust_sigma(values - np.median(values, axis=0), axis=0) ** 2 + 1e-12)
    design = np.concatenate([np.broadcast_to(np.eye(size), (n, size, size)), -slopes], axis=2)
    for _ in range(12):
        precision = np.linalg.inv(population + covariance)
        weighted = np.swapaxes(design, 1, 2) @ precision
        normal = (weighted @ design)[keep].sum(axis=0)
        right = (weighted @ values[:, :, None])[keep].sum(axis=0)[:, 0]
        inverted = inverse(normal[None])[0]
        solution = inverted @ right
        away = values - (design @ solution)
        distance = np.einsum("bi,bij,bj->b", away, precision, away)
        keep = distance < max(4.0 * size, 9.0)
        if keep.sum() < MIN_ROWS:
            keep = distance <= np.quantile(distance, 0.9)
        # expectation-maximisation: what a row tells of its own place in the population
        share = population @ precision
        own = (share @ away[:, :, None])[:, :, 0]
        rest = population - share @ population
        population = (own[:, :, None] * own[:, None, :] + rest)[keep].mean(axis=0) + 1e-12 * np.eye(size)
    return solution[size:], inverted[size:, size:]
