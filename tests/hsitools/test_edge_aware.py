"""The edge-aware problem against its energy (by autograd), its matrices as dense ones, its solver in closed form."""

from __future__ import annotations

import dataclasses
import functools
import itertools

import numpy as np
import pytest
import torch
from scipy.special import eval_chebyt

from hsitools.estimation import edge_aware
from hsitools.estimation.chebyshev import CACHED_BYTES, STEPS, cached, chebyshev
from hsitools.estimation.edge_aware import (
    LINK,
    NEIGHBOURS,
    SMOOTHNESS,
    DataTerms,
    Links,
    Pixels,
    Sharp,
    degree,
    edge_weights,
    laplacian,
    step_weights,
)
from hsitools.estimation.nonnegative import nonnegative
from hsitools.sensor.separable import AxisMatrix, Separable, from_dense, replicate, symmetric, window_mean

K, HEIGHT, WIDTH = 3, 8, 7
FAR = ((2, 1), (1, -3), (0, 4))


def drawn(*shape, seed=0):
    return torch.as_tensor(np.random.default_rng(seed).standard_normal(shape))


def coarse(ratio=2):
    """Means of rows and columns that overlap, of every second pixel."""
    axes = []
    for n in (HEIGHT, WIDTH):
        matrix = np.zeros(((n + 1) // ratio, n))
        for row in range(len(matrix)):
            for move, weight in ((-1, 0.25), (0, 0.5), (1, 0.25)):
                matrix[row, min(max(ratio * row + move, 0), n - 1)] += weight
        axes.append(from_dense(matrix))
    return Separable(*axes)


def pair_weights(offsets, seed):
    """Weights of all pairs at some offsets, some of them nearly zero."""
    rng = np.random.default_rng(seed)
    return [torch.as_tensor(rng.uniform(0, 1, (1, 1, HEIGHT - dy, WIDTH - abs(dx))) ** 2) for dy, dx in offsets]


def pairs(offsets):
    """Each pair of pixels at the offsets, and the place of its weight."""
    for number, (dy, dx) in enumerate(offsets):
        for y, x in itertools.product(range(HEIGHT - dy), range(WIDTH)):
            if 0 <= x + dx < WIDTH:
                yield number, (y, x), (y + dy, x + dx), (y, x - max(0, -dx))


def roughness(z, weights, offsets):
    """½ Σ w (z_i − z_j)² over the list of pairs."""
    number, one, other, place = (np.array(item).T for item in zip(*pairs(offsets), strict=True))
    linked = torch.stack([weights[item][0, 0, row, column] for item, row, column in zip(number, *place, strict=True)])
    return (linked * (z[..., one[0], one[1]] - z[..., other[0], other[1]]).square()).sum() / 2


def gradient(energy, z):
    z = z.clone().requires_grad_(True)
    return torch.autograd.grad(energy(z), z)[0]


def problem(kind):
    """Data terms, weights, links, coarse data, and the energy of components of which they are the quadratic problem."""
    down = coarse()
    sharp = [Sharp(image=drawn(1, 1, HEIGHT, WIDTH, seed=1), response=drawn(1, K, seed=2), precision=3.0)]
    if kind != "pan":
        precision = torch.as_tensor(np.random.default_rng(3).uniform(0, 4, (1, 2, HEIGHT, WIDTH)))
        precision[..., 0, :] = 0
        sharp.append(Sharp(image=drawn(1, 2, HEIGHT, WIDTH, seed=4), response=drawn(2, K, seed=5), precision=precision))
    if kind == "guides":
        own = window_mean((HEIGHT, WIDTH), (1.0, 2.0, 1.0))
        sharp.append(
            Sharp(image=drawn(1, 1, HEIGHT - 2, WIDTH - 2, seed=6), response=drawn(1, K, seed=7), precision=2.0,
                  down=own)
        )  # fmt: skip
    precision = torch.tensor([5.0, 0.0, 2.0], dtype=torch.float64)[:, None, None]
    weights, links = pair_weights(NEIGHBOURS, 8), None
    if kind != "pan":
        links = Links(weights=pair_weights(FAR, 9), offsets=FAR, leading=2)
    data = drawn(1, K, *(axis.n_out for axis in (down.y, down.x)), seed=10)

    def energy(z):
        total = (precision * (down(z) - data).square()).sum() / 2 + SMOOTHNESS * roughness(z, weights, NEIGHBOURS)
        for part in sharp:
            seen = torch.einsum("mk,bkyx->bmyx", part.response, z)
            seen = seen if part.down is None else part.down(seen)
            total = total + (part.precision * (seen - part.image).square()).sum() / 2
        if links is not None:
            total = total + SMOOTHNESS * roughness(z[:, : links.leading], links.weights, FAR)
        return total

    return DataTerms(down=down, precision=precision, sharp=sharp), weights, links, data, energy


@pytest.fixture(params=[2**20, 8 * WIDTH * K * 3])
def _cache(request, monkeypatch):
    """All rows at once, and a few at a time."""
    monkeypatch.setattr("hsitools.estimation.chebyshev.CACHED_BYTES", request.param)


@pytest.mark.usefixtures("_cache")
@pytest.mark.parametrize("kind", ["pan", "several", "guides"])
def test_the_system_is_the_gradient_of_its_energy(kind):
    terms, weights, links, data, energy = problem(kind)
    z, step = drawn(1, K, HEIGHT, WIDTH, seed=11), drawn(1, K, HEIGHT, WIDTH, seed=12)
    system = terms.system(weights, z, links)
    torch.testing.assert_close(system.residual(data, z), -gradient(energy, z))
    torch.testing.assert_close(system.apply(step), gradient(energy, z + step) - gradient(energy, z))


def dense(apply):
    """The matrix of a linear function of components."""
    n = K * HEIGHT * WIDTH
    return apply(torch.eye(n).double().reshape(n, K, HEIGHT, WIDTH)).flatten(1).T


@pytest.mark.usefixtures("_cache")
@pytest.mark.parametrize("kind", ["pan", "several", "guides"])
def test_the_preconditioned_system_is_positive_and_below_one(kind):
    """The preconditioner is one symmetric bound of the matrix, the same apart from the sharp channels and with them."""
    terms, weights, links, data, _ = problem(kind)
    z = drawn(1, K, HEIGHT, WIDTH, seed=13)
    system = terms.system(weights, z, links)
    matrix, inverse = dense(system.apply), dense(lambda step: system.precondition(step.clone()))
    torch.testing.assert_close(inverse, inverse.T)
    both = -dense(system.preconditioned)
    torch.testing.assert_close(both, inverse @ matrix)
    values = torch.linalg.eigvals(both).real
    assert float(values.min()) > 0
    assert float(values.max()) <= 1 + 1e-9
    # a bound of the data terms and twice the diagonal of the prior, and not much more
    assert float(values.max()) > 0.3
    expected = inverse @ system.residual(data, z).flatten()
    torch.testing.assert_close(system.start(data, z).flatten(), expected)


@pytest.mark.parametrize("kind", ["pan", "several", "guides"])
def test_the_solver_goes_to_the_least_energy(kind):
    terms, weights, links, data, energy = problem(kind)
    start = torch.zeros(1, K, HEIGHT, WIDTH, dtype=torch.float64)
    system = terms.system(weights, start, links)
    exact = torch.linalg.solve(dense(system.apply), system.residual(data, start).flatten()).reshape(start.shape)
    assert float(gradient(energy, exact).abs().max()) < 1e-8
    solved = terms.solve(data, weights, start, links)
    assert float((solved - exact).square().mean().sqrt()) < 0.1 * float(exact.square().mean().sqrt())
    # from there nothing changes
    torch.testing.assert_close(terms.solve(data, weights, exact, links), exact)


@pytest.mark.parametrize("kind", ["pan", "several", "guides"])
@pytest.mark.parametrize("part", [slice(0, 2), slice(2, None)])
def test_some_components_see_what_the_others_leave(kind, part):
    """Their residual, the others being what they are, is theirs of all."""
    terms, weights, links, data, _ = problem(kind)
    z = drawn(1, K, HEIGHT, WIDTH, seed=34)
    links = links if part.start == 0 else None
    whole = terms.system(weights, z, links).residual(data, z)
    few = terms.of(part, z)
    found = few.system(weights, z[:, part], links).residual(data[:, part], z[:, part])
    torch.testing.assert_close(found, whole[:, part])
    # as many steps as are asked for
    system, left = few.system(weights, z[:, part], links), []
    for steps in (2, 60):
        solved = dataclasses.replace(few, steps=steps).solve(data[:, part], weights, z[:, part], links)
        left.append(system.residual(data[:, part], solved).norm())
    assert left[1] < 0.01 * left[0]


def test_an_image_s_roughness_has_its_laplacian_and_degree():
    for offsets in (NEIGHBOURS, FAR):
        weights, z = pair_weights(offsets, 14), drawn(2, K, HEIGHT, WIDTH, seed=15)
        expected_gradient = gradient(functools.partial(roughness, weights=weights, offsets=offsets), z)
        torch.testing.assert_close(laplacian(z, weights, offsets), expected_gradient)
        found = degree(weights, z[:, :1], offsets)
        expected = torch.zeros(HEIGHT, WIDTH, dtype=torch.float64)
        for number, one, other, place in pairs(offsets):
            expected[one] += weights[number][0, 0, *place]
            expected[other] += weights[number][0, 0, *place]
        torch.testing.assert_close(found, expected.expand_as(found))


def test_weights_of_pairs_are_those_of_their_steps():
    """An edge's weight goes with the squared step, a diagonal one by its distance; a step's by its length per pixel."""
    guide, z = drawn(1, 2, HEIGHT, WIDTH, seed=16), drawn(1, K, HEIGHT, WIDTH, seed=17)
    edges, steps = edge_weights(guide, 0.3), step_weights(z, 0.7)
    for number, (y, x), (v, u), (row, column) in pairs(NEIGHBOURS):
        distance = np.hypot(v - y, u - x)
        square = float((guide[0, :, v, u] - guide[0, :, y, x]).square().sum())
        assert float(edges[number][0, 0, row, column]) == pytest.approx((LINK + 0.3 / (0.3 + square)) / distance)
        slope = float((z[0, :, v, u] - z[0, :, y, x]).norm()) / distance
        assert float(steps[number][0, 0, row, column]) == pytest.approx(0.7 / np.hypot(0.7, slope))


def test_pixels_measured_by_themselves_are_solved():
    """Components of unit variance beforehand, as smooth as they are said to be; dense normal equations."""
    precision = torch.as_tensor(np.random.default_rng(18).uniform(0.5, 3, (1, K, HEIGHT, WIDTH)))
    precision[..., 2, 3] = 0
    smoothness = torch.tensor([0.5, 2.0, 8.0], dtype=torch.float64)[:, None, None]
    weights, data = pair_weights(NEIGHBOURS, 19), drawn(1, K, HEIGHT, WIDTH, seed=20)

    def energy(z):
        prior = (z.square() / (1 + smoothness)).sum() / 2
        smooth = sum(
            float(kappa) * roughness(z[:, i : i + 1], weights, NEIGHBOURS) for i, kappa in enumerate(smoothness)
        )
        return (precision * (z - data).square()).sum() / 2 + prior + smooth

    zero = torch.zeros_like(data)
    matrix = torch.autograd.functional.hessian(energy, zero).reshape(data.numel(), -1)
    exact = torch.linalg.solve(matrix, -gradient(energy, zero).flatten()).reshape(data.shape)
    solved = Pixels(precision=precision, smoothness=smoothness).solve(data, weights, zero)
    torch.testing.assert_close(solved, exact, atol=2e-3, rtol=0)
    torch.testing.assert_close(
        Pixels(precision=precision, smoothness=smoothness).solve(data, weights, drawn(*data.shape, seed=21)), exact,
        atol=5e-3, rtol=0,
    )  # fmt: skip


@pytest.mark.parametrize("room", [2**20, 64])
def test_chebyshev_s_error_is_his_polynomial(room, monkeypatch):
    """Of an eigenvalue λ: T_n at its place in the interval over T_n at zero's."""
    monkeypatch.setattr("hsitools.estimation.chebyshev.CACHED_BYTES", room)
    condition = 40.0
    values = torch.linspace(0.001, 1, 60, dtype=torch.float64)
    exact, start = drawn(60, seed=22), drawn(60, seed=23)
    solved = chebyshev(values * (exact - start), lambda step: -values * step, start.clone(), condition)
    low = 1 / condition
    centre, half = (1 + low) / 2, (1 - low) / 2
    expected = eval_chebyt(STEPS, (centre - values.numpy()) / half) / eval_chebyt(STEPS, centre / half)
    np.testing.assert_allclose(((solved - exact) / (start - exact)).numpy(), expected, atol=1e-9)


def test_parts_that_stay_in_cache_are_all_of_an_axis():
    like = torch.zeros(4, dtype=torch.float64)
    for size, each in ((10**6, 1), (10**6, 7), (3, 10**9), (5, 1)):
        parts = list(cached(size, like, each))
        assert [part.start for part in parts] == [0, *(part.stop for part in parts[:-1])]
        assert parts[-1].stop == size
        step, room = parts[0].stop, CACHED_BYTES * torch.get_num_threads()
        assert step in (1, size) or room / 2 < step * each * 8 <= room


@pytest.mark.parametrize("m", [1, 3])
def test_the_share_of_channels_is_an_inverse_of_each_pixel(m, monkeypatch):
    """``(T⁻¹ + V D⁻¹ Vᵀ)⁻¹``, and zero where a channel says nothing; of few matrices at a time as of all."""
    monkeypatch.setattr(edge_aware, "PIXELS_AT_ONCE", 10)
    response, inverse, trust = (
        drawn(m, K, seed=24),
        drawn(1, K, 5, 6, seed=25).square(),
        drawn(1, m, 5, 6, seed=26).abs(),
    )
    found = edge_aware._share(response, inverse, trust)
    for y, x in itertools.product(range(5), range(6)):
        inner = torch.diag(1 / trust[0, :, y, x]) + response @ torch.diag(inverse[0, :, y, x]) @ response.T
        torch.testing.assert_close(found[0, :, :, y, x], torch.linalg.inv(inner))
    trust[:, 0] = 0
    assert not edge_aware._share(response, inverse, trust)[:, 0].any()


def test_least_squares_without_negative_weights_is_the_best_of_all_supports():
    """Each set of regressors that may be positive, by plain least squares: the best of those that are."""
    rng = np.random.default_rng(27)
    for scale in (1.0, 1e4):
        design = rng.standard_normal((30, 4)) * np.array([1, scale, 1, 0.1])
        targets = design @ rng.standard_normal((4, 6)) + rng.standard_normal((30, 6))
        found = nonnegative(torch.as_tensor(design.T @ design)[None], torch.as_tensor(design.T @ targets)[None])
        for column, target in enumerate(targets.T):
            best, weights = np.sum(target**2), np.zeros(4)
            for size in range(1, 5):
                for support in itertools.combinations(range(4), size):
                    fit = np.linalg.lstsq(design[:, support], target, rcond=None)[0]
                    loss = np.sum((target - design[:, support] @ fit) ** 2)
                    if (fit >= 0).all() and loss < best:
                        best, weights = loss, np.zeros(4)
                        weights[list(support)] = fit
            np.testing.assert_allclose(found[0, :, column].numpy(), weights, rtol=1e-6, atol=1e-9 / scale)


# ---- matrices along axes ---------------------------------------------------------------------------------------


def as_dense(axis):
    """The matrices ``(kind, out, in)``."""
    out = np.zeros((axis.kinds, axis.n_out, axis.n_in))
    for rows, columns, block in axis.blocks:
        out[:, rows, columns] = block
    return out


@pytest.mark.parametrize("step", [1, 3, 6])
@pytest.mark.parametrize("fold", [replicate, symmetric])
def test_a_banded_matrix_is_its_rows(step, fold):
    """Row by row from the weights, places beyond the border folded back; products, transposes and windows of it."""
    rng = np.random.default_rng(28)
    n_in, width, kinds = 150, 5, 2
    start = np.arange(-3, n_in, step)
    weights = rng.standard_normal((kinds, len(start), width))
    axis = AxisMatrix(weights, start, n_in, fold(n_in))
    expected = np.zeros((kinds, len(start), n_in))
    for row, first in enumerate(start):
        for tap in range(width):
            place = first + tap
            if fold is replicate:
                place = min(max(place, 0), n_in - 1)
            else:
                place = -1 - place if place < 0 else place if place < n_in else 2 * n_in - 1 - place
            expected[:, row, place] += weights[:, row, tap]
    np.testing.assert_allclose(as_dense(axis), expected, atol=1e-12)
    np.testing.assert_allclose(as_dense(axis.transposed), expected.transpose(0, 2, 1), atol=1e-12)
    image = drawn(3, kinds, n_in, 4, seed=29)
    torch.testing.assert_close(axis.along_y(image), torch.as_tensor(expected) @ image)
    torch.testing.assert_close(axis.along_x(image.mT), image.mT @ torch.as_tensor(expected).mT)
    part = slice(len(start) // 4, len(start) // 2 + 2)
    np.testing.assert_allclose(as_dense(axis.outputs(part)), expected[:, part], atol=1e-12)
    assert axis.outputs(part).n_out == part.stop - part.start
    np.testing.assert_allclose(as_dense(from_dense(expected[0])), expected[:1], atol=1e-12)


def test_a_separable_operator_is_one_matrix_for_rows_and_one_for_columns():
    rng = np.random.default_rng(30)
    image = drawn(2, 1, 9, 12, seed=31)
    for shape in ((3, 11), (8, 2)):
        y, x = rng.standard_normal((shape[0], 9)), rng.standard_normal((shape[1], 12))
        whole = Separable(from_dense(y), from_dense(x))
        expected = torch.as_tensor(y) @ image @ torch.as_tensor(x).mT
        torch.testing.assert_close(whole(image), expected)
        part = whole.outputs(slice(1, 3), slice(0, 2))
        torch.testing.assert_close(part(image), expected[..., 1:3, 0:2])
        back = drawn(2, 1, *shape, seed=32)
        torch.testing.assert_close(whole.adjoint(back), torch.as_tensor(y).mT @ back @ torch.as_tensor(x))
    mean = window_mean((5, 6), (1.0, 3.0))
    image = drawn(1, 5, 6, seed=33)
    for row, column in itertools.product(range(4), range(5)):
        window = image[0, row : row + 2, column : column + 2]
        expected = (window * torch.tensor([[1, 3], [3, 9]])).sum() / 16
        torch.testing.assert_close(mean(image)[0, row, column], expected)
