"""The width of the monochromator's line, from how the fringes' contrast falls with the OPD over the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from calibration.refine import NormalPlan, refine
from calibration.uncertainty import inverse, posterior
from hsitools.sensor.line_shape import FWHM_SIGMA, LineShape
from hsitools.sensor.transmittance import SampledModel

if TYPE_CHECKING:
    from calibration.problem import Options, Problem

Array = NDArray[np.float64]

#: Rows that are needed, and fringes over the band that make a row one of them.
MIN_ROWS, MIN_FRINGES = 12, 4.0
#: Exponent of the first guess: what the line does to the contrast of the row of median OPD at mid-band.
FIRST_EXPONENT = 0.1
ROUNDS, ITERATIONS = 6, 8


@dataclass(frozen=True, kw_only=True)
class LineWidth:
    """Estimated width: its square and the standard error of that, nm² (full width at half maximum)."""

    square: float
    stderr_square: float

    @property
    def nm(self) -> float:
        """Width, nm; zero when the contrast does not fall."""
        return float(np.sqrt(max(self.square, 0.0)))


def estimate_line_width(
    sampled: SampledModel, problem: Problem, theta: Array, options: Options, shape: str
) -> tuple[LineWidth | None, Array]:
    """Width of the line, the same over the band in nm, and the rows' parameters under it.

    One coating serves all interferometers: their reflectivities are draws from one population, which does not know the
    OPD. Each row is fitted by itself at a first width; how its reflectivity polynomial would change with the width
    follows from its normal matrix. The width is the one under which the reflectivities do not depend on that change
    (generalised least squares over the rows, each with its own covariance and the population's), and the rows are
    fitted again under it.

    Returns
    -------
    LineWidth or None
        None with too few rows of several fringes.
    theta : array, shape (row, parameter)
    """
    band, part = problem.band, sampled.model.slices["reflectivity"]
    column = sampled.model.slices["phase"].start + 1
    opd = np.abs(theta[:, column]) / (2 * np.pi * band.half_width)
    rows = np.flatnonzero(problem.usable & (opd * band.width > MIN_FRINGES) & np.isfinite(theta).all(axis=1))
    if len(rows) < MIN_ROWS:
        return None, theta
    exponent = (np.pi * np.median(opd[rows]) * band.centre**2 / 1000 / FWHM_SIGMA) ** 2 * 2
    square = FIRST_EXPONENT / float(exponent)
    start, width = theta[rows], None
    y, flat, weight = problem.intensity[rows], problem.flat[rows], problem.weight[rows]
    for _ in range(ROUNDS):
        line = LineShape.of_wavelength(np.sqrt(square), problem.wavenumber, shape)
        broadened = SampledModel(sampled.model, band, sampled.wavenumber, line=line)
        found = refine(broadened, start, y, flat, weight, loss=options.loss, max_iterations=ITERATIONS, tolerance=1e-5)
        residual = y - broadened.values(found.theta, flat)
        _, covariance = posterior(found, residual, weight, None, sampled.model.free, options.loss)
        plan = NormalPlan.of(broadened)
        _, fields = broadened.fields(found.theta, flat)
        moved = plan.gradient(fields, weight * broadened.by_line_width(found.theta, flat))
        # a wider line asks for more reflectivity: minus what the width explains, per nm² (d log w = dw² / 2w²)
        slope = -np.einsum("bij,bj->bi", inverse(found.normal)[:, part], moved) / (2 * square)
        good = np.isfinite(found.theta).all(axis=1) & np.isfinite(slope).all(axis=1)
        change, stderr = _common_slope(found.theta[good][:, part], slope[good], covariance[good][:, part, part])
        width = LineWidth(square=square + change, stderr_square=stderr)
        start = found.theta
        if abs(change) < 0.1 * stderr or (change < 0 and width.square <= 0 and square < stderr):
            break
        # a first guess far off is approached by factors, since the contrast is no straight line in the width
        square = float(np.clip(square + change, square / 8, square * 8))
    theta = theta.copy()
    theta[rows] = start
    return width, theta


def _common_slope(values: Array, slope: Array, covariance: Array) -> tuple[float, float]:
    """The change Δ under which ``values + slope·Δ`` are draws from one population, and its standard error.

    ``values``, ``slope`` ``(row, k)``, ``covariance`` ``(row, k, k)`` of the values. The population's mean and
    covariance are estimated beside Δ; rows that are no members of it are left out.
    """
    n, size = values.shape
    keep = np.ones(n, dtype=bool)
    mean, change = np.median(values, axis=0), 0.0
    middle = np.median(np.abs(values - mean), axis=0)
    population = np.diag((1.4826 * middle) ** 2 + 1e-12)
    left = np.inf
    for _ in range(12):
        precision = np.linalg.inv(population + covariance)
        design = np.concatenate([np.broadcast_to(np.eye(size), (n, size, size)), -slope[:, :, None]], axis=2)
        weighted = np.swapaxes(design, 1, 2) @ precision
        normal = (weighted @ design)[keep].sum(axis=0)
        right = (weighted @ values[:, :, None])[keep].sum(axis=0)[:, 0]
        solution = np.linalg.solve(normal + 1e-12 * np.diag(np.diag(normal)), right)
        mean, change = solution[:size], float(solution[size])
        left = float(np.sqrt(np.linalg.inv(normal + 1e-12 * np.diag(np.diag(normal)))[size, size]))
        away = values + slope * change - mean
        distance = np.einsum("bi,bij,bj->b", away, precision, away)
        keep = distance < max(4.0 * size, 9.0)
        if keep.sum() < MIN_ROWS:
            keep = distance <= np.quantile(distance, 0.9)
        # expectation-maximisation: what a row tells of its own place in the population
        share = population @ precision
        own = (share @ away[:, :, None])[:, :, 0]
        rest = population - share @ population
        population = (own[:, :, None] * own[:, None, :] + rest)[keep].mean(axis=0) + 1e-12 * np.eye(size)
    return change, left
