"""The batched refinement: exact on noise-free data, the same in a batch as alone, and the same as lmfit."""

import numpy as np
import pytest

from calibration.fitting.refine import CHUNK_SAMPLES, NormalPlan, Prior, refine
from hsitools.errors import InputError
from hsitools.sensor.line_shape import LineShape
from hsitools.sensor.polynomial import Band
from hsitools.sensor.transmittance import SampledModel, TransmittanceModel

BAND = Band(low=1.0, high=2.85)
SIGMA = np.sort(np.random.default_rng(0).uniform(1.0, 2.85, 150))


def data(model, rows=12, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    sampled = SampledModel(model, BAND, SIGMA)
    truth = 0.03 * rng.standard_normal((rows, model.n_parameters))
    slices = model.slices
    truth[:, slices["gain"].start] += 1
    truth[:, slices["reflectivity"].start] += 0.35
    truth[:, slices["phase"].start + 1] = 2 * np.pi * BAND.half_width * np.linspace(4, 40, rows)
    flat = rng.uniform(0.5, 1.5, (rows, len(SIGMA)))
    y = sampled.values(truth, flat)
    y = y + noise * rng.standard_normal(y.shape)
    start = truth.copy()
    start[:, slices["reflectivity"]] = 0
    start[:, slices["reflectivity"].start] = 0.25
    start[:, slices["gain"].start] *= 1.1
    start[:, slices["phase"].start] += 0.3
    return sampled, truth, start, y, flat, np.ones_like(y)


MODELS = [
    TransmittanceModel(degree_gain=3, degree_reflectivity=3),
    TransmittanceModel(waves=2, degree_gain=2, degree_reflectivity=2, degree_phase=3),
    TransmittanceModel(waves=4, degree_gain=2, degree_reflectivity=1, etalons_um=(7.5,), degree_etalon=1),
]


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.label)
def test_noise_free_is_exact(model):
    sampled, truth, start, y, flat, w = data(model)
    refined = refine(sampled, start, y, flat, w, tolerance=1e-14)
    assert refined.converged.all()
    np.testing.assert_allclose(refined.theta, truth, atol=1e-6)


def jacobian(sampled, theta, flat, step=1e-6):
    """Derivatives of the intensity by central differences, ``(batch, line, parameter)``."""
    columns = []
    for j in range(theta.shape[1]):
        move = step * np.eye(theta.shape[1])[j]
        columns.append((sampled.values(theta + move, flat) - sampled.values(theta - move, flat)) / (2 * step))
    return np.stack(columns, axis=2)


@pytest.mark.parametrize("shape", [None, "gaussian", "triangular"])
@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.label)
def test_normal_matrix_is_the_jacobians(model, shape):
    """Also through a line of finite width, whose contrast changes with the OPD and the dispersion."""
    sampled, truth, _, y, flat, w = data(model, noise=0.05)
    if shape is not None:
        sampled = SampledModel(model, BAND, SIGMA, line=LineShape.of_wavelength(2.0, SIGMA, shape))
    w = np.random.default_rng(1).uniform(0, 1, w.shape)
    value, fields = sampled.fields(truth, flat)
    np.testing.assert_allclose(value, sampled.values(truth, flat), atol=1e-12)
    plan = NormalPlan.of(sampled)
    expected = jacobian(sampled, truth, flat)
    normal = np.einsum("bk,bki,bkj->bij", w, expected, expected)
    refined = plan.assemble(plan.moments(fields, w))
    scale = np.sqrt(np.einsum("bii->bi", normal))
    np.testing.assert_allclose(
        refined / scale[:, :, None] / scale[:, None, :], normal / scale[:, :, None] / scale[:, None, :], atol=1e-5
    )
    gradient = plan.gradient(fields, w * (y - value))
    np.testing.assert_allclose(gradient / scale, np.einsum("bk,bki,bk->bi", w, expected, y - value) / scale, atol=1e-5)


def test_batch_is_loop():
    """More rows than one chunk holds, and rows that stop at different iterations, change nothing."""
    rows = 2 * CHUNK_SAMPLES // len(SIGMA) + 3
    sampled, _, start, y, flat, w = data(MODELS[0], rows=rows, noise=0.05)
    together = refine(sampled, start, y, flat, w)
    for row in (0, rows // 2, rows - 1):
        alone = refine(sampled, *(array[row : row + 1] for array in (start, y, flat, w)))
        np.testing.assert_allclose(together.theta[row], alone.theta[0], rtol=1e-9, atol=1e-12)


def test_torch_is_numpy():
    import torch

    sampled, _, start, y, flat, w = data(MODELS[1], noise=0.05)
    ours = refine(sampled, start, y, flat, w)
    there = SampledModel(sampled.model, BAND, SIGMA, device="cpu")
    theirs = refine(there, *(torch.as_tensor(array) for array in (start, y, flat, w)))
    np.testing.assert_allclose(theirs.theta.numpy(), ours.theta, atol=1e-6)


@pytest.mark.portable
def test_masked_samples_do_not_matter():
    sampled, _, start, y, flat, w = data(MODELS[0], noise=0.05)
    w[:, ::7] = 0
    first = refine(sampled, start, y, flat, w)
    y[:, ::7] = 1e6
    np.testing.assert_allclose(refine(sampled, start, y, flat, w).theta, first.theta, rtol=1e-6, atol=1e-8)


@pytest.mark.portable
def test_huber_shrugs_off_wild_samples():
    sampled, truth, start, y, flat, w = data(MODELS[0], noise=0.02)
    y[:, 5::25] += 5
    column = sampled.model.slices["phase"].start + 1
    linear = np.abs(refine(sampled, start, y, flat, w).theta - truth)[:, column]
    huber = np.abs(refine(sampled, start, y, flat, w, loss="huber").theta - truth)[:, column]
    assert np.median(huber) < 0.3 * np.median(linear)


@pytest.mark.portable
def test_fixed_gain_stays():
    from dataclasses import replace

    model = replace(MODELS[0], refine_gain=False)
    _, truth, start, y, flat, w = data(MODELS[0])
    gain = model.slices["gain"]
    start[:, gain] = truth[:, gain]
    refined = refine(SampledModel(model, BAND, SIGMA), start, y, flat, w)
    np.testing.assert_array_equal(refined.theta[:, gain], truth[:, gain])
    np.testing.assert_allclose(refined.theta, truth, atol=1e-4)


def test_strong_prior_wins():
    sampled, truth, start, y, flat, w = data(MODELS[0], noise=0.05)
    n = sampled.model.n_parameters
    prior = Prior(mean=truth, precision=np.broadcast_to(1e9 * np.eye(n), (len(truth), n, n)))
    np.testing.assert_allclose(refine(sampled, start, y, flat, w, prior=prior).theta, truth, atol=1e-6)


def test_unknown_loss():
    with pytest.raises(InputError, match="loss: found 'l1'"):
        refine(*data(MODELS[0])[0:1], *data(MODELS[0])[2:], loss="l1")
