"""Fringes through a line of finite width: the series is the average over the line, whatever the waves and the width."""

import numpy as np
import pytest

from hsitools.errors import InputError
from hsitools.sensor.fabry_perot import AIRY, fringe, fringe_derivatives
from hsitools.sensor.line_shape import LineShape, broadened_derivatives

SIGMA = np.linspace(1.1, 2.7, 23)


def averaged(opd, r, width, shape, waves):
    """The fringe averaged over the line's shape, by a fine quadrature in wavenumber."""
    t = np.linspace(-4, 4, 8001) if shape == "gaussian" else np.linspace(-1, 1, 8001)
    density = np.exp(-4 * np.log(2) * t**2) if shape == "gaussian" else 1 - np.abs(t)
    at = SIGMA[:, None] + width[:, None] * t
    return (fringe(2 * np.pi * at * opd - 0.4, r, waves) * density).sum(axis=1) / density.sum()


@pytest.mark.parametrize("shape", ["gaussian", "triangular"])
@pytest.mark.parametrize("waves", [AIRY, 2, 3, 6])
def test_series_is_the_average_over_the_line(waves, shape):
    width = 2e-3 * SIGMA**2
    opd, r = np.array([0.3, 4.0, 30.0, 120.0])[:, None], np.array([0.9, 0.6, 0.3, 0.5])[:, None]
    path = opd + 0 * SIGMA
    value = broadened_derivatives(
        2 * np.pi * SIGMA * opd - 0.4, r + 0 * path, path, LineShape(width=width, shape=shape), waves
    )[0]
    expected = [averaged(o, x, width, shape, waves) for o, x in zip(opd[:, 0], r[:, 0], strict=True)]
    np.testing.assert_allclose(value, expected, atol=2e-6)


@pytest.mark.parametrize("waves", [AIRY, 3])
def test_a_row_that_was_never_determined_ends(waves):
    """Of a dark interferometer parameters are NaN: its series had no end, and a report of it was never written."""
    r, path = np.array([[0.5], [np.nan], [0.6]]) + 0 * SIGMA, np.array([[3.0], [np.nan], [4.0]]) + 0 * SIGMA
    line = LineShape(width=2e-3 * SIGMA**2, shape="gaussian")
    value = broadened_derivatives(2 * np.pi * SIGMA * path, r, path, line, waves)[0]
    assert np.isnan(value[1]).all()
    known = [0, 2]
    alone = broadened_derivatives(2 * np.pi * SIGMA * path[known], r[known], path[known], line, waves)[0]
    np.testing.assert_array_equal(value[known], alone)


@pytest.mark.parametrize("shape", ["gaussian", "triangular"])
@pytest.mark.parametrize("waves", [AIRY, 2, 5])
def test_derivatives(waves, shape):
    rng = np.random.default_rng(0)
    line = LineShape(width=2e-3 * SIGMA**2, shape=shape)
    x = [rng.uniform(0, 7, (6, 23)), rng.uniform(0.05, 0.9, (6, 23)), rng.uniform(0.5, 60, (6, 23))]
    ours = broadened_derivatives(*x, line, waves)[1:]
    for number, h in enumerate((1e-4, 1e-5, 1e-3)):
        up, down = list(x), list(x)
        up[number], down[number] = x[number] + h, x[number] - h
        rise = broadened_derivatives(*up, line, waves)[0] - broadened_derivatives(*down, line, waves)[0]
        np.testing.assert_allclose(ours[number], rise / (2 * h), atol=3e-4 * np.abs(ours[number]).max())


@pytest.mark.parametrize("waves", [AIRY, 2, 4])
def test_no_width_is_monochromatic(waves):
    phase, r = np.linspace(0, 9, 40).reshape(2, 20), np.full((2, 20), 0.7)
    plain = fringe_derivatives(phase, r, waves)
    for shape in ("gaussian", "triangular"):
        ours = broadened_derivatives(phase, r, 20 + 0 * phase, LineShape(width=np.full(20, 1e-9), shape=shape), waves)
        for one, other in zip(plain, ours, strict=False):
            np.testing.assert_allclose(one, other, atol=1e-4)


def test_width_in_wavelength_is_the_same_at_half_maximum():
    line = LineShape.of_wavelength(2.0, SIGMA)
    edges = 1000 / SIGMA + np.array([[-1.0], [1.0]])
    np.testing.assert_allclose(line.width, -np.diff(1000 / edges, axis=0)[0], rtol=1e-4)


def test_torch_is_numpy():
    import torch

    rng = np.random.default_rng(1)
    x = [rng.uniform(0, 7, (40, 23)), rng.uniform(0.01, 0.95, (40, 23)), rng.uniform(0.5, 60, (40, 23))]
    line = LineShape(width=2e-3 * SIGMA**2)
    theirs = broadened_derivatives(*(torch.as_tensor(part) for part in x), line.on("cpu"))
    for one, other in zip(broadened_derivatives(*x, line), theirs, strict=True):
        np.testing.assert_allclose(one, other.numpy(), atol=1e-12)


def test_unknown_shape():
    with pytest.raises(InputError, match="line shape: found 'box'"):
        LineShape(width=SIGMA, shape="box")
