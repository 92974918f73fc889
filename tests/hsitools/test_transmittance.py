"""Polynomial parameters: derivative fields, products of Legendre polynomials, band, spectral response."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.polynomial import legendre

from hsitools.errors import InputError
from hsitools.sensor.polynomial import Band, product_tensor
from hsitools.sensor.spectral import FabryPerotResponse
from hsitools.sensor.transmittance import SampledModel, TransmittanceModel

BAND = Band(low=1.0, high=2.85)
SIGMA = np.sort(np.random.default_rng(0).uniform(1.0, 2.85, 60))
MODELS = [
    TransmittanceModel(degree_gain=3, degree_reflectivity=2),
    TransmittanceModel(waves=2, degree_gain=2, degree_reflectivity=4, degree_phase=3),
    TransmittanceModel(waves=4, degree_gain=1, degree_reflectivity=1, degree_phase=5, etalons_um=(7.5,)),
    TransmittanceModel(degree_gain=2, degree_reflectivity=0, etalons_um=(7.5, 12.0), degree_etalon=1),
]


def draw(model, rows=3, seed=0):
    rng = np.random.default_rng(seed)
    theta = 0.02 * rng.standard_normal((rows, model.n_parameters))
    slices = model.slices
    theta[:, slices["gain"].start] = 1
    theta[:, slices["reflectivity"].start] = 0.4
    theta[:, slices["phase"].start + 1] = 2 * np.pi * BAND.half_width * rng.uniform(2, 40, rows)
    return theta


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.label)
def test_fields_are_derivatives(model):
    sampled, theta = SampledModel(model, BAND, SIGMA), draw(model)
    flat = np.random.default_rng(1).uniform(0.5, 2, (3, len(SIGMA)))
    value, fields = sampled.fields(theta, flat)
    np.testing.assert_allclose(value, sampled.values(theta, flat), rtol=1e-12)
    for block in model.blocks:
        columns = sampled.modulated(block.wave, block.degree)
        for degree, column in enumerate(range(block.part.start, block.part.stop)):
            step = np.zeros_like(theta)
            step[:, column] = 1e-6
            expected = (sampled.values(theta + step, flat) - sampled.values(theta - step, flat)) / 2e-6
            found = fields[block.field] * columns[:, degree]
            np.testing.assert_allclose(found, expected, atol=2e-6 * np.abs(expected).max() + 1e-9, err_msg=str(block))


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.label)
def test_torch_is_numpy(model):
    import torch

    theta, flat = draw(model), np.ones((3, len(SIGMA)))
    ours = SampledModel(model, BAND, SIGMA).fields(theta, flat)
    theirs = SampledModel(model, BAND, SIGMA, device="cpu").fields(torch.as_tensor(theta), torch.as_tensor(flat))
    np.testing.assert_allclose(ours[0], theirs[0].numpy(), rtol=1e-9)
    for one, other in zip(ours[1], theirs[1], strict=True):
        np.testing.assert_allclose(one, other.numpy(), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.label)
def test_model_round_trip(model):
    assert TransmittanceModel.from_dict(model.to_dict()) == model
    assert model.slices["phase"].stop - model.slices["phase"].start >= 2
    assert model.n_parameters == sum(s.stop - s.start for s in model.slices.values())


@given(degree=st.integers(0, 12), seed=st.integers(0, 99))
def test_product_tensor(degree, seed):
    x = np.random.default_rng(seed).uniform(-1, 1, 7)
    low, high = legendre.legvander(x, degree), legendre.legvander(x, 2 * degree)
    expected = low[:, :, None] * low[:, None, :]
    np.testing.assert_allclose(np.einsum("ijk,qk->qij", product_tensor(degree), high), expected, atol=1e-11)


def test_dispersion_has_no_mean_slope():
    """The degree-1 coefficient is the OPD whatever the higher degrees: Legendre polynomials are orthogonal."""
    x = np.linspace(-1, 1, 20001)
    for degree in range(2, 9):
        assert abs(np.trapezoid(legendre.legvander(x, degree)[:, degree] * x, x)) < 1e-6


def test_reflectivity_stays_inside():
    model = TransmittanceModel(degree_gain=0, degree_reflectivity=1)
    theta = draw(model)
    theta[:, model.slices["reflectivity"]] = [0.5, 5.0]
    r = SampledModel(model, BAND, SIGMA).reflectivity(theta)
    assert ((r > 0) & (r < 1)).all()


@pytest.mark.parametrize(("low", "high"), [(0, 1), (2, 1), (1, 1), (-1, 2), (math.nan, 2)])
def test_wrong_band(low, high):
    with pytest.raises(InputError, match="band: found"):
        Band(low=low, high=high)


def test_wrong_model():
    with pytest.raises(InputError, match="degree_gain: found 99"):
        TransmittanceModel(degree_gain=99)
    with pytest.raises(InputError, match="gain_reference: found 'lamp'"):
        TransmittanceModel(gain_reference="lamp")


@pytest.fixture
def response():
    model = MODELS[1]
    return FabryPerotResponse(
        model=model, band=BAND, theta=draw(model), gain_scale=np.array([1.0, 2.0, 0.5]), wavenumber=SIGMA,
        flat=np.random.default_rng(2).uniform(1, 2, (3, len(SIGMA))), curve=np.ones(len(SIGMA)),
    )  # fmt: skip


def test_response_adjoint(response):
    rng = np.random.default_rng(3)
    wavelength = np.linspace(355, 995, 40)
    x, y = rng.standard_normal((5, 40)), rng.standard_normal((5, 3))
    left = (response.forward(x, wavelength) * y).sum()
    assert left == pytest.approx((x * response.adjoint(y, wavelength)).sum(), rel=1e-12)


def test_response_outside_its_band(response):
    with pytest.raises(InputError, match=r"wavelength_nm: found 300 .* inside the calibrated band 350.88 to 1000"):
        response.transmittance([300.0, 500.0])
    with pytest.raises(InputError, match="wavelength_nm"):
        response.transmittance([np.nan])


@pytest.mark.portable
def test_response_file(response, tmp_path):
    import h5py

    with h5py.File(tmp_path / "r.h5", "w") as file:
        response.write(file.create_group("response"))
    with h5py.File(tmp_path / "r.h5") as file:
        again = FabryPerotResponse.read(file["response"])
    wavelength = np.linspace(355, 995, 40)
    np.testing.assert_allclose(again.matrix(wavelength), response.matrix(wavelength), rtol=1e-12)
