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
