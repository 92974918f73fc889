"""Noise that nobody told has the proportions that pixels speak for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from calibration.inversion.prior import matern
from calibration.inversion.problem import Interferograms
from calibration.inversion.untold_noise import likeliest_noise


@pytest.mark.parametrize("like_the_capture", [True, False])
def test_proportions_of_untold_noise(like_the_capture: bool) -> None:
    rng = np.random.default_rng(2)
    grid = np.linspace(400, 900, 41)
    matrix = 1 + np.cos(2 * np.pi * np.outer(np.linspace(0.5, 12, 30), 1000 / grid))
    spectra = 3 + np.linalg.cholesky(matern(grid, 80.0) + 1e-9 * np.eye(41)) @ rng.standard_normal((41, 144))
    capture = np.geomspace(0.15, 1.5, 30)
    noise = capture if like_the_capture else np.ones(30)
    values = matrix @ spectra + noise[:, None] * rng.standard_normal((30, 144))
    case = Interferograms(
        matrix=matrix, values=values.reshape(30, 12, 12), noise_std=capture, wavelength_nm=grid, noise_known=False
    )
    told = likeliest_noise(case).noise_std
    assert_allclose(told / told[0], noise / noise[0])
    few = replace(case, values=case.values[:, :2, :2])
    assert_allclose(likeliest_noise(few).noise_std, capture)


def test_each_interferometer_may_have_its_own_noise() -> None:
    rng = np.random.default_rng(3)
    grid = np.linspace(400, 900, 21)
    matrix = 1 + np.cos(2 * np.pi * np.outer(np.linspace(0.5, 12, 40), 1000 / grid))
    noise = np.where(np.arange(40) % 2, 0.1, 3.0)
    spectra = 3 + np.linalg.cholesky(matern(grid, 160.0)) @ rng.standard_normal((21, 400))
    values = matrix @ spectra + noise[:, None] * rng.standard_normal((40, 400))
    case = Interferograms(
        matrix=matrix, values=values.reshape(40, 20, 20), noise_std=np.geomspace(0.15, 1.5, 40), wavelength_nm=grid,
        noise_known=False,
    )  # fmt: skip
    told = likeliest_noise(case).noise_std
    assert 10 < told[0::2].mean() / told[1::2].mean() < 40
