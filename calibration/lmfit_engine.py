"""One `lmfit.Model` per interferometer: the slow, well-known reference for the batched engine.

It minimises the same cost from the same start (prior included), with MINPACK and finite differences, and gives what
lmfit users expect: named parameters with bounds, ``fit_report`` and profile-likelihood confidence intervals.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import lmfit
import numpy as np
from numpy.typing import NDArray

from calibration.fit import Fit
from calibration.problem import Problem
from hsitools.sensor.fabry_perot import R_MAX, R_MIN
from hsitools.sensor.transmittance import SampledModel, TransmittanceModel

Array = NDArray[np.float64]
log = logging.getLogger(__name__)

#: A restart from the batched solution is worth it when lmfit's own start ended this much higher (another minimum).
WORSE = 1.001


def parameter_names(model: TransmittanceModel) -> list[str]:
    """Lmfit names of the parameters in order: ``gain_0 … reflectivity_0 … phase_0, opd_um, phase_2 …``."""
    names = [f"{group}_{j}" for group, part in model.slices.items() for j in range(part.stop - part.start)]
    names[model.slices["phase"].start + 1] = "opd_um"
    return names


class TransmittanceLmfit(lmfit.Model):
    """`lmfit.Model` of one interferometer's intensity along the lines, the population prior as extra residuals.

    Parameters
    ----------
    sampled : SampledModel
    flat : array, shape (line,)
    mean, root : array, optional
        Prior mean ``(parameter,)`` and a square root of its precision ``(parameter, parameter)``.
    """

    def __init__(
        self, sampled: SampledModel, flat: Array, mean: Array | None = None, root: Array | None = None
    ) -> None:
        self.sampled, self.flat, self.mean, self.root = sampled, flat, mean, root
        self.names = parameter_names(sampled.model)
        # φ's degree-1 coefficient in units of the OPD
        self.scale = np.ones(len(self.names))
        self.scale[sampled.model.slices["phase"].start + 1] = 2 * np.pi * sampled.band.half_width

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
        if model.degree_reflectivity == 0:
            out["reflectivity_0"].set(min=R_MIN, max=R_MAX)
        return out

    def theta(self, parameters: lmfit.Parameters) -> Array:
        """Inverse of `start`."""
        return np.array([parameters[name].value for name in self.names]) * self.scale

    def _residual(self, params: lmfit.Parameters, data: Any, weights: Any, **kwargs: Any) -> Array:
        values = np.array([params[name].value for name in self.names])
        residual = (self.evaluate(values) - data) * weights
        if self.root is None or self.mean is None:
            return residual
        return np.concatenate([residual, self.root @ (values * self.scale - self.mean)])


def row_model(problem: Problem, fit: Fit, row: int) -> TransmittanceLmfit:
    """The lmfit model of one row, under the prior and shared curve of a batched fit."""
    flat = problem.flat[row] * fit.curve
    if fit.prior is None:
        return TransmittanceLmfit(fit.sampled, flat)
    eigenvalues, vectors = np.linalg.eigh(fit.prior.precision[row])
    root = np.sqrt(np.maximum(eigenvalues, 0))[:, None] * vectors.T
    return TransmittanceLmfit(fit.sampled, flat, fit.prior.mean[row], root)


def fit_row(problem: Problem, fit: Fit, row: int, theta: Array) -> lmfit.model.ModelResult:
    """Fit one row with lmfit from ``theta``; the result has ``fit_report()`` and ``conf_interval()``."""
    model = row_model(problem, fit, row)
    return model.fit(
        problem.intensity[row],
        model.start(theta),
        wavenumber=problem.wavenumber,
        weights=np.sqrt(problem.weight[row]),
        scale_covar=True,
    )


def fit_rows(problem: Problem, fit: Fit, theta: Array) -> Fit:
    """Refine every row with lmfit.

    Parameters
    ----------
    problem : Problem
    fit : Fit
        The batched fit, for its prior, its shared curve, and as a second start where lmfit ends in another minimum.
    theta : array, shape (row, parameter)
        Start.
    """
    out, covariance, converged = fit.theta.copy(), fit.covariance.copy(), fit.converged.copy()
    for row in np.flatnonzero(problem.usable).tolist():
        result = fit_row(problem, fit, row, theta[row])
        model = result.model
        best = float(
            (
                model._residual(model.start(fit.theta[row]), problem.intensity[row], np.sqrt(problem.weight[row])) ** 2
            ).sum()
        )
        if result.chisqr > best * WORSE:
            result = fit_row(problem, fit, row, fit.theta[row])
        log.debug("interferometer %d\n%s", problem.index[row], result.fit_report())
        out[row] = model.theta(result.params)
        converged[row] = bool(result.success)
        if result.covar is not None:
            free = [model.names.index(name) for name in result.var_names]
            scale = model.scale[free]
            covariance[row] = 0
            covariance[row][np.ix_(free, free)] = result.covar * scale[:, None] * scale
    return replace(fit, theta=out, covariance=covariance, converged=converged)
