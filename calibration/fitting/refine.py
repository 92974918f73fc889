"""Batched Levenberg-Marquardt over all interferometers at once.

Every derivative is ``field(σ) · P_j(σ)`` with P_j a Legendre polynomial (times a known wave for etalons; its slope
where a line of finite width sees the phase's), and products
of Legendre polynomials are sums of Legendre polynomials. So each block of the normal matrix follows from a few moments
of the product of two fields: matrix products over the lines for the whole batch, and no Jacobian in memory. Works on
NumPy arrays and, for per-pixel maps, on torch tensors of any device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.fitting.cut_off import CutOff
from hsitools.errors import InputError
from hsitools.estimation.spread import SIGMA_PER_MEDIAN
from hsitools.sensor.fabry_perot import array_module
from hsitools.sensor.polynomial import derivative_matrix, product_tensor
from hsitools.sensor.transmittance import Block, SampledModel, TransmittanceModel

Array = NDArray[np.float64]

#: Samples fitted together. Temporaries of 64 KiB stay in the cache and on the allocator's free list; larger ones are
#: given back to the system and faulted in again at every operation, which measures three times slower.
CHUNK_SAMPLES = 8192
#: The same on an accelerator, where memory is the only limit.
DEVICE_CHUNK_SAMPLES = 1 << 22


@dataclass(frozen=True, kw_only=True)
class Prior:
    """Gaussian prior on the parameters, as ``(θ − mean)ᵀ · precision · (θ − mean)`` added to the cost.

    ``mean`` is ``(batch, parameter)``, ``precision`` ``(batch, parameter, parameter)`` in units of the residual
    variance (already multiplied by it), so that the cost stays a sum of squared residuals. ``force`` is the covariance
    of the pull ``precision · (truth − mean)`` over the population, in units of its square: None where it is the
    precision itself, as for a Gaussian prior. ``common`` ``(batch, parameter, k)`` is what k standard deviations of the
    population's mean add to the pull of all rows at once. ``population`` are mean and precision of what the rows share,
    as `calibration.fitting.population` has them.
    """

    mean: Any
    precision: Any
    force: Any = None
    common: Any = None
    population: tuple[Array, Array] | None = None

    def take(self, rows: Any) -> Prior:
        """The prior of some rows."""
        force, common = (None if part is None else part[rows] for part in (self.force, self.common))
        return Prior(mean=self.mean[rows], precision=self.precision[rows], force=force, common=common)


@dataclass(frozen=True, kw_only=True)
class Refinement:
    """What `refine` found.

    ``theta`` ``(batch, parameter)``; ``cost`` ``(batch,)`` weighted squared residuals plus prior; ``normal``
    ``(batch, parameter, parameter)`` the Gauss-Newton matrix at the solution, prior included; ``converged``
    ``(batch,)``; ``iterations`` done.
    """

    theta: Any
    cost: Any
    normal: Any
    converged: Any
    iterations: int


@dataclass(frozen=True, kw_only=True)
class NormalPlan:
    """How to build normal matrices of one sampled model from the fewest matrix products (see the module).

    ``gradients`` has, for each derivative field, the columns of its blocks and their parameters; ``pairs`` has, for
    each pair of fields ``(a, b)``, the columns whose moments its block pairs need, and for each of those ``(slice a,
    slice b, same block, columns, expansion)`` with ``expansion`` ``(moment, size a · size b)``.
    """

    model: TransmittanceModel
    gradients: list[tuple[Any, list[slice]]]
    pairs: list[tuple[int, int, Any, list[tuple[slice, slice, bool, slice, Any]]]]

    @classmethod
    def of(cls, sampled: SampledModel) -> NormalPlan:
        """Plan for a sampled model, on its device."""
        blocks, xp = sampled.blocks, array_module(sampled.basis)
        tensor = product_tensor(sampled.model.degree)
        n_fields = max(block.field for block in blocks) + 1

        def there(array: Any) -> Any:
            return array if xp is np else xp.as_tensor(array, device=sampled.basis.device)

        def expansion(a: Block, b: Block, count: int) -> Any:
            product = tensor[: a.degree + 1, : b.degree + 1, :count]
            if a.slope:
                product = np.einsum("ac,cbk->abk", derivative_matrix(a.degree), product)
            if b.slope:
                product = np.einsum("bc,ack->abk", derivative_matrix(b.degree), product)
            return there(np.ascontiguousarray(product.reshape(-1, count).T))

        gradients = []
        for field in range(n_fields):
            own = [block for block in blocks if block.field == field]
            gradients.append((xp.concatenate([sampled.columns(b) for b in own], 1), [b.part for b in own]))
        pairs = []
        for first in range(n_fields):
            for second in range(first, n_fields):
                columns, uses, start = [], [], 0
                for i, a in enumerate(blocks):
                    for j, b in enumerate(blocks):
                        if (a.field, b.field) != (first, second) or j < i:
                            continue
                        count = a.degree + b.degree + 1
                        column = sampled.modulated(a.wave, count - 1)
                        columns.append(column if b.wave is None else sampled.waves[b.wave][:, None] * column)
                        place = slice(start, start + count)
                        uses.append((a.part, b.part, i == j, place, expansion(a, b, count)))
                        start += count
                pairs.append((first, second, xp.concatenate(columns, 1), uses))
        return cls(model=sampled.model, gradients=gradients, pairs=pairs)

    def gradient(self, fields: list[Any], values: Any) -> Any:
        """Derivatives of Σ values · intensity with respect to the parameters, ``(batch, parameter)``."""
        out = self._zeros(values, self.model.n_parameters)
        for field, (columns, parts) in zip(fields, self.gradients, strict=True):
            moments, start = (field * values) @ columns, 0
            for part in parts:
                size = part.stop - part.start
                out[:, part] += moments[:, start : start + size]
                start += size
        return out

    def jacobian(self, fields: list[Any]) -> Any:
        """Derivatives of the intensity, ``(batch, line, parameter)``: for a look at samples, not for fitting."""
        out = self._zeros(fields[0], fields[0].shape[1], self.model.n_parameters)
        for field, (columns, parts) in zip(fields, self.gradients, strict=True):
            start = 0
            for part in parts:
                size = part.stop - part.start
                out[:, :, part] += field[:, :, None] * columns[:, start : start + size]
                start += size
        return out

    @staticmethod
    def _zeros(like: Any, *shape: int) -> Any:
        full = (len(like), *shape)
        return np.zeros(full) if isinstance(like, np.ndarray) else like.new_zeros(full)

    def moments(self, fields: list[Any], weight: Any) -> list[Any]:
        """Moments of every pair of fields under ``weight``, from which `assemble` makes Jᵀ·weight·J."""
        weighted = [field * weight for field in fields]
        return [(weighted[a] * fields[b]) @ columns for a, b, columns, _ in self.pairs]

    def assemble(self, products: list[Any]) -> Any:
        """Gauss-Newton matrix ``(batch, parameter, parameter)`` from the moments."""
        xp = array_module(products[0])
        matrix = self._zeros(products[0], self.model.n_parameters, self.model.n_parameters)
        for moments, (_, _, _, uses) in zip(products, self.pairs, strict=True):
            for part_a, part_b, same, place, expansion in uses:
                rows, columns = part_a.stop - part_a.start, part_b.stop - part_b.start
                block = (moments[:, place] @ expansion).reshape(len(moments), rows, columns)
                matrix[:, part_a, part_b] += block
                if not same:
                    matrix[:, part_b, part_a] += xp.swapaxes(block, 1, 2)
        return matrix


#: Where residuals begin to count linearly and where they count no more, in robust standard deviations of their row:
#: normal noise passes 2.5 once in 80 samples, which costs less than 1 % in precision, and 6 never.
HUBER, WILD = 2.5, 6.0


def huber_scale(residual: Any, weight: Any) -> Any:
    """Huber threshold of each row: `HUBER` robust standard deviations of its valid residuals, shape ``(batch, 1)``."""
    xp = array_module(residual)
    magnitude = xp.where(weight > 0, abs(residual), xp.nan)
    middle = np.nanmedian(magnitude, axis=1) if xp is np else magnitude.nanmedian(dim=1).values
    return HUBER * SIGMA_PER_MEDIAN * middle[:, None] + 1e-300


class Cost:
    """Cost, Gauss-Newton matrix and gradient of any rows, in chunks that bound memory and stay in the cache."""

    def __init__(
        self, sampled: SampledModel, intensity: Any, flat: Any, weight: Any, prior: Prior | None, threshold: Any,
        cut_off: CutOff | None = None,
    ) -> None:  # fmt: skip
        self.cut_off = cut_off
        self.sampled, self.intensity, self.flat, self.weight = sampled, intensity, flat, weight
        self.prior, self.threshold = prior, threshold
        self.plan = NormalPlan.of(sampled)
        self.fixed = np.flatnonzero(~sampled.model.free)
        self.chunk = max(1, CHUNK_SAMPLES // intensity.shape[1])
        if array_module(intensity) is not np:
            self.chunk = max(1, DEVICE_CHUNK_SAMPLES // intensity.shape[1])

    def __call__(self, theta: Any, rows: Any) -> tuple[Any, Any, Any]:
        """Cost ``(row,)``, matrix ``(row, p, p)`` and gradient ``(row, p)`` of ``theta`` for the given rows."""
        xp = array_module(theta)
        starts = range(0, len(rows), self.chunk)
        parts = [self._chunk(theta[k : k + self.chunk], rows[k : k + self.chunk]) for k in starts]
        cost, gradient = (xp.concatenate([part[k] for part in parts]) for k in (0, 1))
        columns = zip(*(part[2] for part in parts), strict=True)
        matrix = self.plan.assemble([xp.concatenate(column) for column in columns])
        if self.prior is not None:
            delta = theta - self.prior.mean[rows]
            pull = (self.prior.precision[rows] @ delta[:, :, None])[:, :, 0]
            cost = cost + (pull * delta).sum(1)
            matrix += self.prior.precision[rows]
            gradient -= pull
        if len(self.fixed):
            matrix[:, self.fixed, :] = 0
            matrix[:, :, self.fixed] = 0
            matrix[:, self.fixed, self.fixed] = 1
            gradient[:, self.fixed] = 0
        return cost, matrix, gradient

    def _chunk(self, theta: Any, rows: Any) -> tuple[Any, Any, list[Any]]:
        value, fields = self.sampled.fields(theta, self.flat[rows])
        residual, weight = self.intensity[rows] - value, self.weight[rows]
        if self.threshold is None:
            cost = (weight * residual * residual).sum(1)
        else:
            xp, limit = array_module(residual), self.threshold[rows]
            magnitude = abs(residual)
            inner = xp.minimum(magnitude, limit)
            # wild samples are bright rather than dark: however little each pulls, together they would shift the row
            outer = xp.minimum(magnitude, limit * (WILD / HUBER))
            cost = (weight * inner * (2 * outer - inner)).sum(1)
            weight = weight * inner / xp.maximum(magnitude, limit * 1e-12) * (magnitude <= outer)
        pull = weight * residual
        if self.cut_off is not None:
            limits = None if self.threshold is None else (limit, limit * (WILD / HUBER))
            above, pull_above, curvature = self.cut_off.take(rows).terms(residual, limits)
            cost, pull, weight = cost + above.sum(1), pull + pull_above, weight + curvature
        return cost, self.plan.gradient(fields, pull), self.plan.moments(fields, weight)


def refine(
    sampled: SampledModel,
    theta: Any,
    intensity: Any,
    flat: Any,
    weight: Any,
    *,
    prior: Prior | None = None,
    loss: str = "linear",
    cut_off: CutOff | None = None,
    max_iterations: int = 60,
    tolerance: float = 1e-8,
) -> Refinement:
    """Fit all rows by Levenberg-Marquardt (Picone et al. 2023, step 3), analytic derivatives, bounds 0 < R < 1.

    Parameters
    ----------
    sampled : SampledModel
    theta : array, shape (batch, parameter)
        Start.
    intensity, flat, weight : array, shape (batch, line)
        Measured intensity, what the gain multiplies, and sample weights (0 leaves a sample out).
    prior : Prior, optional
    loss : str
        ``"linear"`` (least squares) or ``"huber"`` (residuals beyond 2.5 robust standard deviations of the row, as it
        starts, count linearly, and beyond 6 no more).
    cut_off : CutOff, optional
        Samples of weight 0 whose light is at least their intensity (NumPy arrays only).
    max_iterations : int
    tolerance : float
        A row stops when a step lowers its cost by less than this share.

    Raises
    ------
    InputError
        On an unknown loss.
    """
    if loss not in ("linear", "huber"):
        raise InputError(f"loss: found {loss!r}, expected 'linear' or 'huber'")
    xp = array_module(theta)
    rows = np.arange(len(theta)) if xp is np else xp.arange(len(theta), device=theta.device)
    theta = theta + 0
    threshold = None
    if loss == "huber":
        threshold = huber_scale(intensity - sampled.values(theta, flat), weight)
    evaluate = Cost(sampled, intensity, flat, weight, prior, threshold, cut_off)
    cost, normal, gradient = evaluate(theta, rows)
    damping = 0 * cost + 1e-2
    converged = cost < 0
    diagonal = np.arange(sampled.model.n_parameters)
    active, iteration = rows, 0
    while iteration < max_iterations and len(active):
        iteration += 1
        matrix = normal[active] + 0
        curvature = matrix[:, diagonal, diagonal]
        # the floor keeps a parameter that the data do not touch from making the matrix singular
        floor = 1e-12 * curvature.sum(1)[:, None] + 1e-300
        matrix[:, diagonal, diagonal] = curvature + damping[active][:, None] * curvature + floor
        trial = theta[active] + xp.linalg.solve(matrix, gradient[active][:, :, None])[:, :, 0]
        new_cost, new_normal, new_gradient = evaluate(trial, active)
        drop = cost[active] - new_cost
        better = drop > 0
        accepted = active[better]
        theta[accepted], cost[accepted] = trial[better], new_cost[better]
        normal[accepted], gradient[accepted] = new_normal[better], new_gradient[better]
        finished = xp.where(better, drop <= tolerance * cost[active], damping[active] > 1e8)
        damping[active] = xp.where(better, damping[active] * 0.1, damping[active] * 8)
        converged[active[finished]] = True
        active = active[~finished]
    return Refinement(theta=theta, cost=cost, normal=normal, converged=converged, iterations=iteration)
