"""From a fit to a characterization: physical parameters with standard errors, quality of the fit, flags, OPD law."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration.captures.capture import MonochromaticCapture
from calibration.captures.sampling import sampling_limit
from calibration.characterization import FLAG_MEANING, Characterization
from calibration.fitting.fit_state import Fit
from calibration.fitting.initialize import weighted_gain
from calibration.fitting.line_width import contradicts_width
from calibration.fitting.noise import ROUNDED
from calibration.fitting.opd_law import OpdLaw, fit_law
from calibration.fitting.options import Options
from calibration.fitting.pedestal import pedestal
from calibration.fitting.posterior import influence
from calibration.fitting.scaled_rows import ScaledRows
from calibration.fitting.starting_opd import alias_distance
from calibration.fitting.turns import turn_distance
from calibration.fitting.uncertainty import parameter_covariance
from calibration.fitting.wild_samples import WildSamples
from calibration.transmittance_errors import LineErrors
from hsitools.sensor.fabry_perot import contrast, finesse
from hsitools.sensor.spectral import FabryPerotResponse
from hsitools.sensor.transmittance import TransmittanceModel

Array = NDArray[np.float64]

#: Standard errors on either side that hold 95 % of a normal distribution.
SIDE_95 = 1.96
#: Share of rows of pure noise of which a model may be said to explain something: a fringe is looked for at many OPDs.
BY_CHANCE = 1e-6
#: Times the usual interferometer's relative residual from which on one is fitted poorly, and times that of the best
#: quarter where peaks are narrower than the lines lie apart, or are wide: such fits have many minima, and many rows may
#: have taken a wrong one.
POOR, POOR_OF_NARROW = 3.0, 2.0


def characterization_of(
    capture: MonochromaticCapture,
    data: ScaledRows,
    fit: Fit,
    *,
    options: Options,
    rmse_cv: Array | None = None,
    selection: list[dict[str, Any]] | None = None,
    seconds: float = 0.0,
    model_spread: Array | None = None,
    wild: WildSamples | None = None,
) -> Characterization:
    """Characterization of a capture whose scaled rows were fitted.

    Parameters
    ----------
    rmse_cv : array, shape (interferometer,), optional
        Held-out RMSE.
    selection : list of dict, optional
        Models tried, a row each.
    model_spread : array, shape (line,), optional
        Standard deviation between models that the data cannot tell apart (`calibration.model_choice.Selection`).
    wild : WildSamples, optional
        What of the capture was set aside.
    """
    model, slices = fit.sampled.model, fit.sampled.model.slices
    theta, covariance = _with_positive_opd(fit.theta, parameter_covariance(fit, data, options), slices["phase"])
    # minima that are as likely differ in the parameters, hardly in the transmittance at the lines
    uncertain = covariance if fit.between is None else covariance + fit.between
    variances = np.maximum(np.einsum("bii->bi", uncertain), 0)
    opd_and_phase = _opd_and_phase(data, theta, uncertain, variances, model)
    reflectivity, reflectivity_stderr = fit.sampled.reflectivity(theta), _mean_stderr(fit, uncertain)
    gain = slices["gain"].start
    rmse, r2 = _quality(data, fit, data.weight > 0)
    opd, opd_stderr = opd_and_phase["opd_um"], opd_and_phase["opd_stderr_um"]
    alias = np.maximum(alias_distance(data, opd), turn_distance(fit, data))
    low_contrast = data.usable & ((reflectivity.mean(axis=1) < 3 * reflectivity_stderr) | _chance(data, fit, opd))
    # what has no fringes has no OPD either
    shown = data.usable & ~low_contrast
    law = fit_law(opd, data.index, shown if shown.any() else data.usable, 1 / data.band.width, data.opd_step_um)
    columns = {
        **opd_and_phase,
        "reflectivity": reflectivity.mean(axis=1),
        "reflectivity_stderr": reflectivity_stderr,
        "gain": theta[:, gain] * data.scale,
        "gain_stderr": np.sqrt(variances[:, gain]) * data.scale,
        "finesse": finesse(reflectivity).mean(axis=1),
        "contrast": contrast(reflectivity, model.waves).mean(axis=1),
        "fringes": opd * data.band.width,
        "rmse": rmse,
        "r2": r2,
    }
    if rmse_cv is not None:
        columns["rmse_cv"] = rmse_cv
    # a fringe that may be its alias: the OPD may be that far off, and the phase anything
    columns["opd_stderr_um"] = np.hypot(opd_stderr, alias)
    columns["phase_stderr_rad"] = np.where(alias > 0, np.pi / np.sqrt(3), columns["phase_stderr_rad"])
    fitted: dict[str, Any] = {name: np.where(data.usable, values, np.nan) for name, values in columns.items()}
    flags = _flags(capture, data, fit, law)
    flags["low_contrast"] = low_contrast
    flags["undersampled"] = alias > 0
    flags["wild"] = np.zeros_like(data.usable) if wild is None else wild.rows
    flags["poor_fit"] = _poor(rmse, shown, _narrow(data, fit, opd, reflectivity.mean(axis=1)))
    flags["unidentified"] = _unidentified(data, fit, options, opd_stderr)
    return Characterization(
        name=capture.name,
        source=capture.provenance,
        response=FabryPerotResponse(
            model=model, band=data.band, theta=np.where(data.usable[:, None], theta, np.nan), gain_scale=data.scale,
            wavenumber=data.wavenumber,
            flat=np.where(capture.mask, capture.flat, 0) if model.gain_reference == "flat" else np.ones_like(data.flat),
            curve=fit.curve,
        ),
        covariance=covariance,
        index=data.index,
        **{"rmse_cv": None, **fitted},
        flags={name: flags[name] for name in FLAG_MEANING},
        law=law,
        layout=capture.layout,
        lines=LineErrors.of(fit, data, model_spread),
        selection=selection or [],
        settings={**options.to_dict(), **_line_settings(capture, data, fit, options),
                  "opd_limit_um": sampling_limit(data.wavenumber), "pedestal": pedestal(fit, data),
                  "wild": None if wild is None else wild.summary(capture)},
        seconds=seconds,
    )  # fmt: skip


def set_aside_text(settings: dict[str, Any]) -> str:
    """What of a capture was set aside as wild, in words, from a characterization's settings; empty when nothing was."""
    wild = settings.get("wild")
    if not wild or not wild["samples"]:
        return ""
    text = f"{wild['samples']} of {wild['of']} samples set aside, far off what the fringes say"
    lines = wild["lines_nm"]
    if lines:
        text += f"; among them all of the line{'s' if len(lines) > 1 else ''} at "
        text += ", ".join(f"{value:.1f}" for value in lines) + " nm"
    return text


def _with_positive_opd(theta: Array, covariance: Array, phase: slice) -> tuple[Array, Array]:
    """The phases φ and −φ give the same fringe: of the two the one whose OPD is positive."""
    theta = theta.copy()
    negative = theta[:, phase.start + 1] < 0
    theta[negative, phase] *= -1
    covariance[negative, phase, :] *= -1
    covariance[negative, :, phase] *= -1
    return theta, covariance


def _opd_and_phase(
    data: ScaledRows, theta: Array, covariance: Array, variances: Array, model: TransmittanceModel
) -> dict[str, Array]:
    """OPD (µm) and constant phase (rad) with standard errors, from the phase's coefficients of degree 1 and 0."""
    first, opd = model.opd_column - 1, model.opd_um(theta, data.band)
    # phase = 2π·σ_c·OPD − φ_0: the two are strongly correlated
    ratio = data.band.centre / data.band.half_width
    phase_variance = (
        variances[:, first] + ratio**2 * variances[:, first + 1] - 2 * ratio * covariance[:, first, first + 1]
    )
    phase = 2 * np.pi * data.band.centre * opd - theta[:, first]
    return {
        "opd_um": opd,
        "opd_stderr_um": np.sqrt(variances[:, first + 1]) * data.band.opd_per_radian,
        "phase_rad": (phase + np.pi) % (2 * np.pi) - np.pi,
        "phase_stderr_rad": np.sqrt(np.maximum(phase_variance, 0)),
    }


def _mean_stderr(fit: Fit, covariance: Array) -> Array:
    """Standard error of the mean over the lines of the reflectivity's polynomial.

    Not of the reflectivity itself: where that is held above zero it is no surer for it.
    """
    part = fit.sampled.model.slices["reflectivity"]
    by_coefficient = fit.sampled.basis[:, : part.stop - part.start].mean(axis=0)
    variance = np.einsum("i,bij,j->b", by_coefficient, covariance[:, part, part], by_coefficient)
    return np.asarray(np.sqrt(np.maximum(variance, 0)))


def _quality(data: ScaledRows, fit: Fit, valid: NDArray[np.bool_]) -> tuple[Array, Array]:
    """RMSE in units of the row's mean intensity, and R², of the samples that are ``valid``."""
    count = np.maximum(valid.sum(axis=1), 1)
    residual = (data.intensity - fit.values(data)) * valid
    mean = (data.intensity * valid).sum(axis=1) / count
    variance = (((data.intensity - mean[:, None]) * valid) ** 2).sum(axis=1) / count
    square = (residual**2).sum(axis=1) / count
    return np.sqrt(square), 1 - square / np.where(variance > 0, variance, 1)


def _flags(capture: MonochromaticCapture, data: ScaledRows, fit: Fit, law: OpdLaw) -> dict[str, NDArray[np.bool_]]:
    """Flags that need no standard error."""
    signal = (capture.intensity * capture.mask).sum(axis=1) > 0
    none = np.zeros(len(signal), dtype=bool)
    return {
        "dark": ~signal,
        "few_samples": signal & ~data.usable,
        "saturated": none if capture.saturated is None else capture.saturated.any(axis=1),
        "not_converged": data.usable & ~fit.converged,
        "off_law": law.outliers,
    }


def _poor(rmse: Array, shown: NDArray[np.bool_], narrow: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Rows that are fitted far worse than the usual one that shows fringes, or of ``narrow`` peaks than the best."""
    if not shown.any():
        return shown
    usual, best = np.maximum(np.quantile(rmse[shown], (0.5, 0.25)), ROUNDED)
    return np.asarray(shown & ((rmse > POOR * usual) | (narrow & (rmse > POOR_OF_NARROW * best))))


def _narrow(data: ScaledRows, fit: Fit, opd_um: Array, reflectivity: Array) -> NDArray[np.bool_]:
    """Rows whose fringes' peaks, of full width (1 − R) / (π √R OPD) at half maximum, the lines do not resolve."""
    if np.isfinite(fit.sampled.model.waves):
        return np.zeros(len(opd_um), dtype=bool)
    apart = float(np.median(np.diff(data.wavenumber)))
    if fit.sampled.line is not None:
        apart = max(apart, float(np.median(fit.sampled.line.width)))
    return np.asarray(1 - reflectivity < np.pi * np.sqrt(np.maximum(reflectivity, 0)) * np.abs(opd_um) * apart)


def _chance(data: ScaledRows, fit: Fit, opd_um: Array) -> NDArray[np.bool_]:
    """Rows of which the fringes explain no more than they would of noise: Fisher's F of all parameters but the gain's.

    Of fringes so slow that the gain's polynomial takes them up, F of all parameters but the mean.
    Parameters count as far as the data, not the prior, determine them: as the residual variance was estimated. Of the
    samples that the loss lets count. Paulson's normal deviate of F^⅓ (Annals of Mathematical Statistics 13,
    1942) spares the import of SciPy.
    """
    residual = data.intensity - fit.values(data)
    psi, slope = influence(residual, data.weight, fit.loss)
    counted = (data.weight > 0) & ((psi != 0) | (residual == 0))
    model = fit.sampled.model
    few = opd_um * data.band.width < 0.5 * model.degree_gain + 1
    alone = np.where(few, 1, model.degree_gain + 1)
    left = np.where(few, _left_by_gain(data, fit, counted, 0), _left_by_gain(data, fit, counted, model.degree_gain))
    explained = np.clip(1 - ((residual * counted) ** 2).sum(axis=1) / np.where(left > 0, left, np.inf), 0, 1 - 1e-12)
    share = slope.sum(axis=1) / np.maximum(data.weight.sum(axis=1), 1e-300)
    degrees = (psi * psi).sum(axis=1) / np.maximum(fit.variance * share, 1e-300)
    free = np.clip((data.weight > 0).sum(axis=1) - degrees - alone, 2, fit.theta.shape[1] - alone)
    others = np.maximum(counted.sum(axis=1) - free - alone, 1)
    root = np.cbrt(explained / free / ((1 - explained) / others))
    low, high = 2 / (9 * free), 2 / (9 * others)
    deviate = ((1 - high) * root - (1 - low)) / np.sqrt(high * root**2 + low)
    return np.asarray(deviate < NormalDist().inv_cdf(1 - BY_CHANCE))


def _left_by_gain(data: ScaledRows, fit: Fit, counted: NDArray[np.bool_], degree: int) -> Array:
    """Squared residuals of each row's ``counted`` samples beside a gain polynomial alone, of degree 0 their mean."""
    flat = data.flat * fit.curve if degree else np.ones_like(data.flat)
    basis = data.band.vander(data.wavenumber, degree)
    away = data.intensity - flat * (weighted_gain(basis, data.intensity, flat, counted.astype(float)) @ basis.T)
    return np.asarray((away**2 * counted).sum(axis=1))


def _unidentified(data: ScaledRows, fit: Fit, options: Options, opd_stderr: Array) -> NDArray[np.bool_]:
    """Rows whose fringe could be counted wrong: OPD uncertain by more than half a fringe over the band.

    By the row's own errors. An error of the wavelength scale moves all OPDs by one share, and makes no row's fringe
    doubtful; without the errors that rows share the covariance takes its time, and few devices need it.
    """
    half_fringe = 0.5 / data.band.width
    doubtful = data.usable & (SIDE_95 * opd_stderr > half_fringe)
    if doubtful.any():
        column = fit.sampled.model.opd_column
        own = parameter_covariance(fit, data, options, common=False)[:, column, column]
        if fit.between is not None:
            own = own + fit.between[:, column, column]
        doubtful &= SIDE_95 * np.sqrt(np.maximum(own, 0)) * data.band.opd_per_radian > half_fringe
    return doubtful


def _line_settings(capture: MonochromaticCapture, data: ScaledRows, fit: Fit, options: Options) -> dict[str, Any]:
    """The monochromator's line that the fit assumed or estimated, for the record: it is no part of the instrument."""
    width = fit.line_width
    if width is None:
        declared = capture.linewidth_nm
        median = None if declared is None else float(np.median(declared))
        # what is left of captures without noise is not of a line
        noisy = float(np.median(fit.variance[data.usable])) > ROUNDED**2
        wrong = noisy and contradicts_width(fit.sampled, data, fit.theta, options, median or 0.0)
        return {"linewidth_nm": median, "line_shape": capture.line_shape, "linewidth_contradicted": wrong}
    estimate = width.to_dict()
    return {"linewidth_nm": estimate["nm"], "line_shape": width.shape, "linewidth_estimate": estimate}
