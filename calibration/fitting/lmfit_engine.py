"""One `lmfit.Model` per interferometer: the slow, well-known reference for the batched engine.

It minimises the same cost from the same start (prior included), with MINPACK and finite differences, and gives what
lmfit users expect: named parameters with bounds, ``fit_report`` and profile-likelihood confidence intervals.
"""

from __future__ import annotations

import logging
from typing import Any

import lmfit
import numpy as np
from numpy.typing import NDArray

from calibration.fitting.cut_off import CutOff
from calibration.fitting.refine import Cost, Prior, Refinement
from hsitools.sensor.transmittance import SampledModel, TransmittanceModel

Array = NDArray[np.float64]
log = logging.getLogger(__name__)


def parameter_names(model: TransmittanceModel) -> list[str]:
    """Lmfit names of the parameters in order: ``gain_0 … reflectivity_0 … phase_0, opd_um, phase_2 …``."""
    names = [f"{group}_{j}" for group, part in model.slices.items() for j in range(part.stop - part.start)]
    names[model.opd_column] = "opd_um"
    return names


class TransmittanceLmfit(lmfit.Model):
    """`lmfit.Model` of one interferometer's intensity along the lines, the population prior as extra residuals.

    Parameters
    ----------
    sampled : SampledModel
    flat : array, shape (line,)
    mean, root : array, optional
        Prior mean ``(parameter,)`` and a square root of its precision ``(parameter, parameter)``.
    cut_off : CutOff, optional
        Of this row: residuals whose squares are the cost of its samples at the ceiling.
    """

    def __init__(
        self, sampled: SampledModel, flat: Array, mean: Array | None = None, root: Array | None = None,
        cut_off: CutOff | None = None,
    ) -> None:  # fmt: skip
        self.cut_off = cut_off
        self.sampled, self.flat, self.mean, self.root = sampled, flat, mean, root
        self.names = parameter_names(sampled.model)
        # φ's degree-1 coefficient in units of the OPD
        self.scale = np.ones(len(self.names))
        self.scale[sampled.model.opd_column] = 1 / sampled.band.opd_per_radian

        def intensity(wavenumber: Array, **values: float) -> Array:
            return self.evaluate(np.array([values[name] for name in self.names]))

        super().__init__(intensity, independent_vars=["wavenumber"], param_names=None)

    def _parse_params(self) -> None:
        # lmfit reads names off the signature; this model's depend on its degrees
        self._param_names = list(self.names)
        self._func_allargs = ["wavenumber", *self.names]
        self._func_haskeywords = False
        self.independent_vars = ["wavenumber"]
        self.def_vals: dict[str, float] = {}

    def evaluate(self, values: Array) -> Array:
        """Intensity for a vector of lmfit parameter values."""
        return self.sampled.values((values * self.scale)[None], self.flat[None])[0]

    def start(self, theta: Array) -> lmfit.Parameters:
        """Named, bounded parameters from a parameter vector."""
        model = self.sampled.model
        out = lmfit.Parameters()
        for name, value, free in zip(self.names, theta / self.scale, model.free, strict=True):
            out.add(name, value=value, vary=bool(free))
        out["opd_um"].min = 0
        return out

    def values_of(self, parameters: lmfit.Parameters) -> Array:
        """Values of named parameters, in order."""
        return np.array([parameters[name].value for name in self.names])

    def theta(self, parameters: lmfit.Parameters) -> Array:
        """Inverse of `start`."""
        return self.values_of(parameters) * self.scale

    def _residual(self, params: lmfit.Parameters, data: Any, weights: Any, **kwargs: Any) -> Array:
        residual = super()._residual(params, data, weights, **kwargs)
        if self.cut_off is not None:
            below = np.asarray(data) - self.evaluate(self.values_of(params))
            cost = self.cut_off.terms(below[None])[0][self.cut_off.samples]
            residual = np.concatenate([residual, np.sqrt(np.maximum(cost, 0))])
        if self.root is None or self.mean is None:
            return np.asarray(residual)
        return np.concatenate([residual, self.root @ (self.theta(params) - self.mean)])


def fit_row(
    sampled: SampledModel, theta: Array, intensity: Array, flat: Array, weight: Array, prior: Prior | None = None,
    cut_off: CutOff | None = None,
) -> lmfit.model.ModelResult:  # fmt: skip
    """Fit one interferometer with lmfit; the result has ``fit_report()`` and ``conf_interval()``.

    Parameters
    ----------
    theta : array, shape (parameter,)
        Start.
    intensity, flat, weight : array, shape (line,)
    prior : Prior, optional
        Of this row alone (``prior.take([row])``).
    cut_off : CutOff, optional
        Of this row alone.
    """
    model = TransmittanceLmfit(sampled, flat, cut_off=cut_off)
    if prior is not None:
        eigenvalues, vectors = np.linalg.eigh(prior.precision[0])
        model.mean, model.root = prior.mean[0], np.sqrt(np.maximum(eigenvalues, 0))[:, None] * vectors.T
    return model.fit(intensity, model.start(theta), wavenumber=sampled.wavenumber, weights=np.sqrt(weight))


def refine_rows(
    sampled: SampledModel, theta: Array, intensity: Array, flat: Array, weight: Array, *, prior: Prior | None = None,
    cut_off: CutOff | None = None,
) -> Refinement:  # fmt: skip
    """As `refine.refine`, one lmfit fit after another (linear loss only); rows without samples stay."""
    out, converged = theta.copy(), np.zeros(len(theta), dtype=bool)
    for row in np.flatnonzero(weight.any(axis=1)).tolist():
        own = None if prior is None else prior.take([row])
        ceiling = None if cut_off is None else cut_off.take([row])
        result = fit_row(sampled, theta[row], intensity[row], flat[row], weight[row], own, ceiling)
        if log.isEnabledFor(logging.DEBUG):
            log.debug("row %d\n%s", row, result.fit_report())
        out[row], converged[row] = result.model.theta(result.params), bool(result.success)
    evaluate = Cost(sampled, intensity, flat, weight, prior, None, cut_off)
    cost, normal, _ = evaluate(out, np.arange(len(out)))
    return Refinement(theta=out, cost=cost, normal=normal, converged=converged, iterations=0)
