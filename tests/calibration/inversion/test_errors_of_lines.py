"""What a wrong calibration makes of interferograms: the lines' errors through the fits, doubt about the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.testing import assert_allclose

from calibration.characterization import Characterization
from calibration.inversion.calibration_error import interferogram_errors
from hsitools.sensor.spectral import FabryPerotResponse


def test_calibration_errors_are_what_lines_make_through_least_squares(instrument: Characterization) -> None:
    """Against derivatives by differences: own errors from each line's noise, whatever interferometers share."""
    response = instrument.response
    grid = np.linspace(*response.band_nm, 80)
    spectrum, smooth = 1 + np.exp(-0.5 * ((grid - 600) / 20) ** 2), np.linspace(0.5, 1.5, 80)
    at_lines, by_spectrum, by_smooth = (
        derivative(response, of)
        for of in (
            lambda moved: moved.monochromatic(1000 / response.wavenumber),
            lambda moved: moved.forward(spectrum, grid),
            lambda moved: moved.forward(smooth, grid),
        )
    )
    refit = np.linalg.pinv(at_lines)
    toward, toward_smooth = (np.einsum("rp,rpl->rl", side, refit) for side in (by_spectrum, by_smooth))
    errors = instrument.lines
    assert errors is not None
    unsure = replace(errors, row_noise=errors.row_noise * np.where(np.arange(60) == 7, 5, 1))
    noise = unsure.row_noise[:, None] * unsure.line_noise
    own = np.sqrt(((toward * noise) ** 2).sum(axis=1))
    # a lamp that drifts: half a per cent of the gain, in all interferometers alike
    drift = np.zeros_like(response.theta)
    drift[:, response.model.slices["gain"]] = 0.005 * response.theta[:, response.model.slices["gain"]]
    covariance = instrument.covariance + drift[:, :, None] * drift[:, None, :]
    told = interferogram_errors(replace(instrument, lines=unsure, covariance=covariance), grid, spectrum, smooth)
    assert_allclose(told.std, own, rtol=0.02)
    assert_allclose(told.line_errors, toward_smooth * response.monochromatic(1000 / response.wavenumber),
                    rtol=0, atol=0.01 * np.abs(told.line_errors).max())  # fmt: skip
    assert errors.residual is not None
    assert told.own is not None
    assert_allclose(told.own, toward * errors.residual, rtol=0, atol=0.02 * np.abs(told.own).max())
    # a file that knows no noise at its lines has the covariance alone
    told = interferogram_errors(replace(instrument, lines=None, covariance=covariance), grid, spectrum, smooth)
    assert told.own is None
    assert_allclose(told.std, np.sqrt(np.einsum("rp,rpq,rq->r", by_spectrum, covariance, by_spectrum)), rtol=0.02)


def derivative(response: FabryPerotResponse, of: Callable[[FabryPerotResponse], np.ndarray]) -> np.ndarray:
    """By each interferometer's parameters, by differences: ``(interferometer, …, parameter)``."""
    columns = []
    for step in 1e-6 * np.eye(response.theta.shape[1]):
        above, below = (of(replace(response, theta=response.theta + sign * step)) for sign in (1, -1))
        columns.append((above - below) / 2e-6)
    return np.stack(columns, axis=-1)


def test_doubt_about_the_model_averages_over_lines(instrument: Characterization) -> None:
    """Under even light: each line's error counts by its share of the band, whatever the quadrature."""
    response, errors = instrument.response, instrument.lines
    assert errors is not None
    grid = np.linspace(*response.band_nm, 400)
    doubtful = replace(errors, row_noise=0 * errors.row_noise, model_spread=np.full(151, 0.3))
    told = interferogram_errors(replace(instrument, lines=doubtful), grid, np.ones(400), np.ones(400)).std
    edges = 1000 / np.concatenate([
        response.wavenumber[:1], (response.wavenumber[1:] + response.wavenumber[:-1]) / 2, response.wavenumber[-1:]
    ])  # fmt: skip
    share = -np.diff(edges) / (edges[0] - edges[-1])
    seen = response.flat * response.gain_scale[:, None] * share
    assert_allclose(told, 0.3 * np.sqrt((seen**2).sum(axis=1)), rtol=0.02)
