"""What a characterization's errors do to spectra, where the truth is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from calibration.captures.capture import MonochromaticCapture
from calibration.characterization import Characterization
from calibration.inversion import calibration_error, registry
from calibration.inversion.calibration_error import (
    allow,
    interferogram_errors,
    like_spectra,
    likeliest,
    other_directions,
    own_covariance,
    shared_errors,
)  # fmt: skip
from calibration.inversion.prior import matern
from calibration.inversion.problem import Interferograms
from calibration.pipeline import characterize

N = 60
GRID = np.linspace(450.0, 900.0, 46)
MATRIX = 1 + 0.5 * np.cos(2 * np.pi * 1000 / GRID * (0.2 * np.arange(N)[:, None]))


def case_of(values: np.ndarray, sigma: float, **more: np.ndarray) -> Interferograms:
    return Interferograms(matrix=MATRIX, values=values, wavelength_nm=GRID, noise_std=np.full(N, sigma), **more)


def test_interferograms_err_by_what_is_told_of_a_characterization(instrument: Characterization) -> None:
    """Lines simulated with the instrument's own noise: no more and no less than one error in 20 beyond two sigma."""
    response, lines = instrument.response, instrument.lines
    assert lines is not None
    grid = 1000 / response.wavenumber[::-1]
    spectrum = 1 + 0.5 * np.sin(grid / 70)
    clean, noise = response.monochromatic(1000 / response.wavenumber), lines.row_noise[:, None] * lines.line_noise
    z = []
    for seed in range(3):
        drawn = clean + noise * np.random.default_rng(seed).standard_normal(clean.shape)
        capture = MonochromaticCapture(
            intensity=drawn, flat=response.flat, wavenumber=response.wavenumber, index=instrument.index
        )
        other = characterize(capture, instrument.model)
        told = interferogram_errors(other, grid, spectrum, spectrum)
        z.append((other.response.matrix(grid) - response.matrix(grid)) @ spectrum / told.std)
    ratio = np.concatenate(z)
    assert 0.7 < float(np.sqrt((ratio**2).mean())) < 1.3
    assert 0.88 < float((np.abs(ratio) < 1.96).mean()) < 0.995


def test_interferometers_that_err_together_are_told_by_their_residuals() -> None:
    """Correlated as drawn where they are, hardly at all where they are not, and each of the size told."""
    rng = np.random.default_rng(0)
    std = np.linspace(0.5, 2, N)
    one = case_of(np.ones((N, 1, 1)), 1.0, calibration_std=std)
    assert_allclose(own_covariance(one), np.diag(std**2))
    alone = rng.standard_normal((N, 300))
    shared = np.where(np.arange(N) < 20, 1.0, 0.0)[:, None] * rng.standard_normal(300)
    # lines that the fit left out say nothing
    together = np.pad(alone + shared, ((0, 0), (0, 99)))
    for errors, expected in ((7 * alone, 0.0), (7 * together, 0.5)):
        covariance = own_covariance(replace(one, own_errors=errors))
        assert_allclose(np.sqrt(np.diag(covariance)), std)
        correlation = covariance / np.outer(std, std)
        assert np.linalg.eigvalsh(correlation).min() > 0
        assert correlation[:20, :20][~np.eye(20, dtype=bool)].mean() == pytest.approx(expected, abs=0.08)
        assert np.abs(correlation[20:, :20]).mean() < 0.05


def test_evidence_of_a_nearly_singular_covariance_is_no_rounding() -> None:
    """Bright spectra, hardly any noise, errors between them: an explicit inverse makes likely what is not."""
    rng = np.random.default_rng(1)
    signal = MATRIX @ matern(GRID, 200.0) @ MATRIX.T
    for _ in range(4):
        values = np.linalg.cholesky(signal + 1e-8 * np.eye(N)) @ rng.standard_normal(N) + 1e-3 * rng.standard_normal(N)
        starts = [(1.0, first**2) for first in (0.03, 0.3, 3.0, 30.0)]
        found = likeliest([signal, 1e-4 * np.eye(N)], np.full(N, 1e-15), values, starts)
        assert np.sqrt(found[1]) == pytest.approx(0.1, rel=0.5)


def test_a_second_direction_of_spectra_has_a_calibration_error_of_its_own() -> None:
    """What no smooth spectrum can make of it is taken off; of an exact one nothing, and none is made of noise."""
    rng = np.random.default_rng(3)
    mean, other = MATRIX @ (2 + np.sin(GRID / 60)), MATRIX @ (0.5 * np.cos(GRID / 45))
    signal = 4 * MATRIX @ matern(GRID, 80.0) @ MATRIX.T
    wrong = np.eye(N)
    error = 0.25 * rng.standard_normal(N)
    part, noise = rng.standard_normal(900), 0.02 * rng.standard_normal((N, 900))
    for pixels, of, left in (
        (np.outer(other + error, part) + noise, other + error, 0.55),
        (np.outer(other, part) + noise, other, 0.05),
    ):
        taken_off, rest, (doubt,) = other_directions(case_of(pixels[:, None], 0.02), pixels, wrong, signal, mean)
        missed = of - taken_off @ of - other
        assert np.linalg.norm(missed) < left * np.linalg.norm(error)
        assert rest < 0.1
        # of one share of the direction what is left is as large as is told
        toward, covariance = doubt
        share = (toward @ pixels) / part
        assert_allclose(np.median(np.abs(share)), 1, rtol=0.1)
        assert 0.3 * missed @ missed < np.trace(covariance) < 3 * missed @ missed + 0.05 * left
    taken_off, _, nothing = other_directions(case_of(noise[:, None], 0.02), noise, wrong, signal, mean)
    assert not taken_off.any()
    assert not nothing


def test_errors_that_look_like_spectra_are_those_that_an_estimate_takes_for_them() -> None:
    """Of errors that are drawn, what the posterior mean under independent noise makes of them."""
    std = np.linspace(1.0, 3.0, N)
    signal = MATRIX @ matern(GRID, 200.0) @ MATRIX.T
    drawn = np.random.default_rng(5).standard_normal((N, 500))
    taken = signal @ np.linalg.solve(signal + np.diag(std**2), drawn)
    assert_allclose(like_spectra(drawn @ drawn.T, signal, std), taken @ taken.T, atol=1e-7)


def test_files_keep_residuals_and_those_of_before_are_read(instrument: Characterization, tmp_path: Path) -> None:
    instrument.save(tmp_path / "device.h5")
    read = Characterization.load(tmp_path / "device.h5")
    assert instrument.lines is not None
    assert read.lines is not None
    assert instrument.lines.residual is not None
    assert_array_equal(read.lines.residual, instrument.lines.residual)
    rms = np.sqrt((instrument.lines.residual**2).mean(axis=1))
    # a fit of few parameters leaves nearly all of the noise
    assert_allclose(rms / instrument.lines.row_noise, 1, atol=0.15)
    with h5py.File(tmp_path / "device.h5", "a") as file:
        del file["lines/residual"]
    before = Characterization.load(tmp_path / "device.h5")
    assert before.lines is not None
    assert before.lines.residual is None
    spectrum = np.ones(151)
    grid = 1000 / before.response.wavenumber[::-1]
    assert interferogram_errors(before, grid, spectrum, spectrum).own is None


def test_no_pixel_is_told_better_than_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean's variance by a posterior in the form of information; error bars of pixels by their brightness."""
    rng = np.random.default_rng(1)
    spectra = (2 + np.sin(GRID / 60))[:, None, None] * rng.uniform(0.5, 2, (1, 3, 6))
    error = rng.normal(0, 0.3, (N, 1, 1))
    values = np.tensordot(MATRIX, spectra, axes=1) + error * spectra.mean(axis=0) / spectra.mean()
    case = case_of(values + rng.normal(0, 0.01, values.shape), 0.01, calibration_std=np.full(N, 0.3))
    # own errors as told, shared ones of half that deviation
    monkeypatch.setattr(calibration_error, "likeliest", lambda *_: np.array([1.0, 1.0, 0.25]))
    allowed = allow(case)
    assert allowed.covariance is not None
    assert allowed.least is not None
    mean, noise = case.values.mean(axis=(1, 2)), np.full(N, 1e-4 / 18)
    wrong = 0.09 * np.eye(N) + 0.25 * shared_errors(case, mean, noise)
    known = np.linalg.inv(allowed.covariance) + MATRIX.T @ np.linalg.solve(wrong + np.diag(noise), MATRIX)
    assert_allclose(allowed.least, np.diag(np.linalg.inv(known)), rtol=1e-4)
    result = registry.get("gp")(case)
    assert result.std is not None
    brightness = np.tensordot(mean, case.values, axes=1) / (mean @ mean)
    assert (result.std >= (1 - 1e-9) * np.sqrt(allowed.least)[:, None, None] * brightness).all()
