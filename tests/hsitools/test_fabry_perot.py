"""The transmittance models against closed forms, and their derivatives against differences."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hsitools.errors import InputError
from hsitools.sensor import fabry_perot as fp

WAVES = (2, 3, 4, 7, 12, math.inf)
FRINGE = np.arange(4096) * 2 * np.pi / 4096
reflectivities = st.floats(0.01, 0.9)


@pytest.mark.parametrize("waves", WAVES)
@given(r=reflectivities)
def test_mean_over_a_fringe_is_one(waves, r):
    assert fp.fringe(FRINGE, np.full_like(FRINGE, r), waves).mean() == pytest.approx(1, abs=1e-12)


def closed_form(phi, r, waves):
    """The formulas of the paper, normalised by the factors derived in the module."""
    if waves == 2:
        return (1 + r**2 + 2 * r * np.cos(phi)) / (1 + r**2)
    if waves == math.inf:
        return (1 - r**2) / ((1 - r) ** 2 + 4 * r * np.sin(phi / 2) ** 2)
    top = 1 + r ** (2 * waves) - 2 * r**waves * np.cos(waves * phi)
    return top / (1 + r**2 - 2 * r * np.cos(phi)) * (1 - r**2) / (1 - r ** (2 * waves))


@pytest.mark.parametrize("waves", WAVES)
@given(r=reflectivities, phi=st.floats(-2000, 2000))
def test_closed_form(waves, r, phi):
    found = fp.fringe(np.array([phi]), np.array([r]), waves)[0]
    assert found == pytest.approx(closed_form(phi, r, waves), rel=1e-9, abs=1e-10)


def test_n_waves_is_the_modulus_of_a_finite_sum():
    r, n = 0.7, 5
    amplitude = sum(r**k * np.exp(1j * k * FRINGE) for k in range(n))
    power = np.abs(amplitude) ** 2
    np.testing.assert_allclose(fp.fringe(FRINGE, r + 0 * FRINGE, n), power / power.mean(), rtol=1e-10)


def test_many_waves_become_airy():
    r = 0.6 + 0 * FRINGE
    np.testing.assert_allclose(fp.fringe(FRINGE, r, 80), fp.fringe(FRINGE, r), rtol=1e-12)


@pytest.mark.parametrize("waves", WAVES)
def test_derivatives(waves):
    rng = np.random.default_rng(0)
    sigma, opd = rng.uniform(1, 3, 200), rng.uniform(0.5, 60, 200)
    phase, r, gain = rng.uniform(-3, 3, 200), rng.uniform(0.05, 0.85, 200), rng.uniform(0.2, 2, 200)
    arguments = {"opd_um": opd, "phase": phase, "reflectivity": r, "gain": gain}
    value, derivatives = fp.transmittance_derivatives(sigma, **arguments, waves=waves)
    np.testing.assert_allclose(value, fp.transmittance(sigma, **arguments, waves=waves))
    for name, found in derivatives.items():
        step = 1e-6
        sides = [
            fp.transmittance(sigma, **{**arguments, name: arguments[name] + sign * step}, waves=waves)
            for sign in (1, -1)
        ]
        expected = (sides[0] - sides[1]) / (2 * step)
        np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-6 * np.abs(expected).max(), err_msg=name)


@pytest.mark.parametrize("waves", WAVES)
def test_torch_is_numpy(waves):
    rng = np.random.default_rng(1)
    phi, r = rng.uniform(-300, 300, (3, 50)), rng.uniform(0.1, 0.8, (3, 50))
    ours = fp.fringe_derivatives(phi, r, waves)
    theirs = fp.fringe_derivatives(torch.as_tensor(phi), torch.as_tensor(r), waves)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other.numpy(), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("r", [0.6, 0.8, 0.95])
def test_finesse_is_period_over_width(r):
    phi = np.linspace(-np.pi, np.pi, 200001)
    value = fp.fringe(phi, r + 0 * phi)
    width = np.ptp(phi[value > value.max() / 2])
    # the closed form is the small-angle limit of the exact width
    exact = 2 * np.pi / (4 * np.arcsin((1 - r) / (2 * np.sqrt(r))))
    assert 2 * np.pi / width == pytest.approx(exact, rel=1e-3)
    assert fp.finesse(np.array(r)) == pytest.approx(exact, rel=0.05)


@pytest.mark.parametrize("waves", WAVES)
@given(r=reflectivities)
def test_contrast(waves, r):
    value = fp.fringe(FRINGE, r + 0 * FRINGE, waves)
    expected = (value.max() - value.min()) / (value.max() + value.min())
    assert float(fp.contrast(np.array(r), waves)) == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("waves", [1, 0, -2, 2.5, math.nan])
def test_wrong_number_of_waves(waves):
    with pytest.raises(InputError, match="waves: found"):
        fp.fringe(FRINGE, FRINGE, waves)
