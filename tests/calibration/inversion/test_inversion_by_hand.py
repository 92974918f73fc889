"""The inversion beside dense formulas, loops and what no choice of unit or order may change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import gamma, kv

from calibration.inversion import registry
from calibration.inversion.calibration_error import allow
from calibration.inversion.filters import choose
from calibration.inversion.halves import widened
from calibration.inversion.population import learn
from calibration.inversion.prior import (
    SCALES,
    Prior,
    _library_spectra,
    best_prior,
    candidates,
    library_covariance,
    likeliest_sum,
    matern,
    mean_posterior,
    priors_of,
    smooth_kernels,
)
from calibration.inversion.problem import Interferograms, Spectra, noise_size, pixel_noise_size

N, P = 40, 25
GRID = np.linspace(450.0, 900.0, P) + 4 * np.sin(np.arange(P))
OPD = 1.2 + 0.2 * np.arange(N)
MATRIX = (1 + 0.5 * np.cos(2 * np.pi * 1000 / GRID * OPD[:, None])) * (1 + 0.1 * np.cos(np.arange(N)))[:, None]
#: Of each interferometer its own.
NOISE = 0.05 * (1 + 0.5 * np.sin(np.arange(N)))
LIGHT = 1 + 0.3 * np.cos(GRID / 70)


def drawn(side: int = 3, length: float = 80.0, **more: Any) -> tuple[Interferograms, np.ndarray]:
    """A smooth scene under a known light, and its spectra ``(wavelength, pixel)``."""
    rng = np.random.default_rng(5)
    root = np.linalg.cholesky(matern(GRID, length) + 1e-9 * np.eye(P))
    truth = LIGHT[:, None] * (root @ rng.standard_normal((P, side**2)))
    values = MATRIX @ truth + NOISE[:, None] * rng.standard_normal((N, side**2))
    values = values.reshape(N, side, side)
    return Interferograms(
        matrix=MATRIX, values=values, noise_std=NOISE, wavelength_nm=GRID, illumination=LIGHT, opd_um=OPD, **more
    ), truth  # fmt: skip


def sizes(case: Interferograms) -> np.ndarray:
    """Variance of each pixel's noise over what is said of it: the residual of the best spectrum of all."""
    if case.noise_known:
        return np.ones(case.pixels.shape[1])
    _, squares, *_ = np.linalg.lstsq(case.matrix / case.noise_std[:, None], case.pixels, rcond=None)
    return squares / (N - P)


def dense(case: Interferograms, kernels: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Logarithm of the evidence ``(kernel, scale, pixel)``, and what the scales multiply each kernel by."""
    seen_by = case.matrix / case.noise_std[:, None]
    logs, units = [], []
    for kernel in kernels.values():
        seen = seen_by @ kernel @ seen_by.T
        units.append(SCALES / np.linalg.eigvalsh(seen)[-1])
        whole = units[-1][:, None, None] * seen + np.eye(N)
        misfit = (case.pixels * np.linalg.solve(whole, case.pixels)).sum(axis=1) / sizes(case)
        logs.append(-0.5 * misfit - 0.5 * np.linalg.slogdet(whole)[1][:, None])
    return np.array(logs), np.array(units)


def test_a_known_light_does_no_harm_to_what_is_dark_where_it_is_strong() -> None:
    """Water under a halogen lamp: the lamp's red end, times the library, said that its blue end was sure to be dim."""
    grid, opd = np.linspace(400.0, 1000.0, 80), 1 + 0.15 * np.arange(100)
    matrix = 1 + 0.5 * np.cos(2 * np.pi * 1000 / grid * opd[:, None])
    lamp = 1 / grid**5 / np.expm1(1.4388e7 / 2900 / grid)
    truth = lamp * (np.exp((400 - grid) / 100) + 0.002)
    truth = np.repeat(truth[:, None, None] / truth.mean(), 20, axis=2)
    clean = np.tensordot(matrix, truth, axes=1)
    noise = clean.mean() / 100
    values = clean + noise * np.random.default_rng(0).standard_normal(clean.shape)
    case = Interferograms(matrix=matrix, values=values, noise_std=np.full(100, noise), wavelength_nm=grid)
    blind, lit = (registry.get("gp")(replace(case, illumination=light)) for light in (None, lamp / lamp.mean()))
    error, known_error = (np.sqrt(((made.estimate - truth) ** 2).mean()) for made in (blind, lit))
    # with the light on all kernels the error was 2.7 times that without it, and .57 covered
    assert known_error < 1.15 * error
    assert (np.abs(lit.estimate - truth) <= 1.96 * lit.std).mean() > 0.88


def test_surfaces_that_all_are_dark_somewhere_are_told_best_there() -> None:
    """Leaves under the sun: a variance alike at all wavelengths, times the light, is widest where they are darkest."""
    grid, opd = np.linspace(450.0, 1000.0, 80), 1 + 0.15 * np.arange(100)
    matrix = 1 + 0.5 * np.cos(2 * np.pi * 1000 / grid * opd[:, None])
    sun = 1 / grid**5 / np.expm1(1.4388e7 / 5800 / grid)
    leaves = 0.03 + 0.5 / (1 + np.exp((710 - grid) / 12))
    rng = np.random.default_rng(0)
    truth = (sun * leaves)[:, None, None] * rng.uniform(0.8, 1.2, (1, 6, 6))
    truth /= truth.mean()
    clean = np.tensordot(matrix, truth, axes=1)
    noise = clean.mean() / 100
    values = clean + noise * rng.standard_normal(clean.shape)
    case = Interferograms(matrix=matrix, values=values, noise_std=np.full(100, noise), wavelength_nm=grid)
    for light in (None, sun / sun.mean()):
        whole, few = (registry.get("gp")(replace(case, illumination=light, values=v)) for v in (values, values[:, :2]))
        error, alone = (
            np.sqrt(((made.estimate - made_of) ** 2).mean()) for made, made_of in ((whole, truth), (few, truth[:, :2]))
        )
        # of few pixels the mean is not taken for what they vary by
        assert error < 0.8 * alone
        assert whole.std is not None
        assert (np.abs(whole.estimate - truth) <= 1.96 * whole.std).mean() > 0.9


def test_kernels_are_those_of_the_books() -> None:
    distance = np.abs(GRID[:, None] - GRID) + 1e-9
    scaled = np.sqrt(3) * distance / 80
    book = 2**-0.5 / gamma(1.5) * scaled**1.5 * kv(1.5, scaled)
    assert_allclose(matern(GRID, 80.0), book, rtol=1e-6)
    case, _ = drawn()
    kernels = {prior.name: prior.covariance for prior in candidates(case)}
    light = np.outer(LIGHT, LIGHT)
    # a white process has in each sample one over the wavelengths that the sample stands for
    reach = [GRID[1] - GRID[0], *(GRID[2:] - GRID[:-2]) / 2, GRID[-1] - GRID[-2]]
    assert_allclose(np.diag(kernels["white"]), LIGHT**2 / reach, rtol=0.05)
    assert np.count_nonzero(kernels["white"]) == P
    assert_allclose(kernels["Matern 160 nm"], light * matern(GRID, 160.0), rtol=1e-12)
    known, scenes = _library_spectra()
    spectra = np.array([np.interp(GRID, known, pixel) for scene in scenes for pixel in scene.T])
    spectra /= spectra.mean()
    moments = np.einsum("np,nq->pq", spectra, spectra) / len(spectra)
    library = library_covariance(GRID)
    assert library is not None
    assert_allclose(library, moments, rtol=1e-9)
    unlike = 0.1 * np.diag(moments).mean() * (matern(GRID, 320.0) + 0.01 * matern(GRID, 20.0))
    assert_allclose(kernels["library, Matern 320 nm, 0.01 of 20 nm"], light * (moments + unlike), rtol=1e-9)
    # what varies in proportion to the mean, where pixels are many enough for it not to be a pixel's own
    assert not [name for name in kernels if name.startswith("mean")]
    case, _ = drawn(side=4)
    mean, unsure = mean_posterior(case, priors_of(case, smooth_kernels(case)))
    varying = (np.outer(mean, mean) + 4 * unsure) * (matern(GRID, 320.0) + 0.03 * matern(GRID, 20.0))
    [found] = [prior.covariance for prior in candidates(case) if prior.name == "mean, Matern 320 nm"]
    assert_allclose(found, varying, rtol=1e-12)
    # below their first band the scenes' spectra stay as they are there, for a while; above the last they are not known
    first, last = known[0], known[-1]
    below = library_covariance(np.array([first - 50, first, 700.0]))
    assert below is not None
    assert_allclose(below[0], below[1], rtol=1e-12)
    assert library_covariance(np.array([first - 61, 700.0])) is None
    assert library_covariance(np.array([700.0, last + 1])) is None


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("length", [30.0, 300.0])
def test_priors_are_those_of_largest_evidence(length: float, known: bool) -> None:
    case, _ = drawn(length=length, noise_known=known)
    kernels = smooth_kernels(case)
    logs, _ = dense(case, kernels)
    names = list(kernels)
    alone = logs.max(axis=1).sum(axis=1)
    assert best_prior(priors_of(case, kernels)).name == names[int(alone.argmax())]


def evidence(case: Interferograms, covariance: np.ndarray) -> float:
    """Its logarithm, of all pixels, by the dense formula."""
    seen_by = case.matrix / case.noise_std[:, None]
    whole = seen_by @ covariance @ seen_by.T + np.eye(N)
    misfit = float((case.pixels * np.linalg.solve(whole, case.pixels)).sum())
    return -0.5 * misfit - 0.5 * case.pixels.shape[1] * float(np.linalg.slogdet(whole)[1])


def varying() -> Interferograms:
    """An image whose spectra vary by a fifth of a mean that falls to a twentieth of itself."""
    rng = np.random.default_rng(3)
    mean = np.exp(-3 * (GRID - GRID[0]) / (GRID[-1] - GRID[0]))
    root = np.linalg.cholesky(matern(GRID, 80.0) + 1e-9 * np.eye(P))
    truth = mean[:, None] * (1 + 0.2 * root @ rng.standard_normal((P, 400)))
    values = MATRIX @ truth + NOISE[:, None] * rng.standard_normal((N, 400))
    case, _ = drawn()
    return replace(case, values=values.reshape(N, 20, 20), illumination=None)


def summed(case: Interferograms) -> Prior:
    return likeliest_sum(case, mean_posterior(case, priors_of(case, smooth_kernels(case)))[0])


def test_a_sum_of_kernels_is_likelier_than_any_of_them_alone() -> None:
    case = varying()
    best = evidence(case, summed(case).covariance)
    for kernel in smooth_kernels(case).values():
        logs = [evidence(case, size * kernel) for size in np.logspace(-4, 1, 26)]
        assert best > max(logs)
    # and its size is right
    for factor in (0.8, 1.25):
        assert best > evidence(case, factor * summed(case).covariance)


def test_dark_parts_of_spectra_are_taken_to_vary_little() -> None:
    """One process of one size would take the dark parts for as uncertain as the bright ones."""
    deviation = np.sqrt(np.diag(summed(varying()).covariance))
    assert deviation[-3:].mean() < 0.15 * deviation[:3].mean()


@pytest.mark.parametrize("known", [True, False])
def test_the_mean_is_as_unsure_as_the_dense_posterior_says(known: bool) -> None:
    case, _ = drawn(side=4, noise_known=known)
    mean = case.values.mean(axis=(1, 2))
    one = replace(case, values=mean[:, None, None], noise_std=NOISE / 4)
    kernels = smooth_kernels(one)
    logs, units = dense(one, kernels)
    best = np.unravel_index(logs[:, :, 0].argmax(), logs.shape[:2])
    prior = units[best] * list(kernels.values())[best[0]]
    gain = np.linalg.solve(MATRIX @ prior @ MATRIX.T + np.diag(NOISE**2 / 16), MATRIX @ prior).T
    spectrum, covariance = mean_posterior(case, priors_of(case, smooth_kernels(case)))
    assert_allclose(covariance, sizes(one)[0] * (prior - gain @ MATRIX @ prior), rtol=0, atol=1e-6 * covariance.max())
    level = np.sqrt(((gain @ mean) ** 2).mean())
    assert_allclose(spectrum, np.maximum(gain @ mean, 0.05 * level), rtol=1e-6)


@pytest.mark.parametrize("known", [True, False])
def test_gp_is_the_mixture_of_dense_posteriors(known: bool) -> None:
    """Each kernel at the likeliest scale of the pixel; kernels count by the third root of their evidence."""
    case, truth = drawn(side=4, noise_known=known)
    kernels = {prior.name: prior.covariance for prior in candidates(case)}
    logs, units = dense(case, kernels)
    best = logs.argmax(axis=1)
    highest = logs.max(axis=1)
    shares = np.exp((highest - highest.max(axis=0)) / 3)
    shares /= shares.sum(axis=0)
    # those that hardly count in the image are left out
    shares[shares.mean(axis=1) < 0.02] = 0
    shares /= shares.sum(axis=0)
    result = registry.get("gp")(case)
    assert result.std is not None
    assert result.noise_std is not None
    size = sizes(case)
    for pixel in range(16):
        means, within, shaken = [], [], []
        for number, kernel in enumerate(kernels.values()):
            prior = units[number, best[number, pixel]] * kernel
            whitened = case.matrix / case.noise_std[:, None]
            gain = prior @ whitened.T @ np.linalg.inv(whitened @ prior @ whitened.T + np.eye(N))
            means.append(gain @ case.pixels[:, pixel])
            within.append(size[pixel] * np.diag(prior - gain @ whitened @ prior))
            shaken.append(size[pixel] * (gain**2).sum(axis=1))
        share = shares[:, pixel]
        mean = share @ np.array(means)
        variance = share @ (np.array(within) + (np.array(means) - mean) ** 2)
        place = divmod(pixel, 4)
        assert_allclose(result.estimate[:, *place], mean, rtol=0, atol=1e-4 * np.abs(mean).max())
        assert_allclose(result.std[:, *place], np.sqrt(variance), rtol=1e-2)
        assert_allclose(result.noise_std[:, *place], np.sqrt(share @ np.array(shaken)), rtol=1e-2)
    assert np.sqrt(np.mean((result.estimate.reshape(P, -1) - truth) ** 2)) < 0.1 * np.std(truth)


def test_noise_is_the_residual_of_the_best_spectrum() -> None:
    case, _ = drawn(side=6, noise_known=False)
    values = case.values.copy()
    values[3, 2, 2] = np.nan
    case = replace(case, values=values)
    assert list(np.flatnonzero(~case.measured)) == [14]
    assert_allclose(case.scatter**2, sizes(case), rtol=1e-9)
    assert_allclose(case.noise_variance(), sizes(case), rtol=1e-9)
    assert noise_size(case) == pytest.approx(np.sqrt(sizes(case).mean()), rel=1e-9)
    assert (replace(case, noise_known=True).noise_variance() == 1).all()
    # with more wavelengths than interferometers: by the weakest quarter of the directions
    rng = np.random.default_rng(0)
    few = replace(case.of(np.arange(20)), matrix=rng.standard_normal((20, P)))
    left, _, _ = np.linalg.svd(few.matrix / few.noise_std[:, None])
    weakest = left[:, 15:].T @ few.pixels
    assert_allclose(few.scatter**2, (weakest**2).mean(axis=0), rtol=1e-9)
    # of noise alone, and where the mean interferogram is added in any brightness
    noise = NOISE[:, None, None] * rng.standard_normal((N, 20, 20))
    bright = MATRIX.sum(axis=1)[:, None, None] * (1 + rng.random((20, 20)))
    assert pixel_noise_size(case.with_values(2 * noise + bright)) == pytest.approx(2, rel=0.03)


@pytest.mark.parametrize("known", [True, False])
def test_discrepancy_takes_the_strongest_filter_whose_residual_is_noise(known: bool) -> None:
    case, _ = drawn(noise_known=known)
    whitened = MATRIX / NOISE[:, None]
    largest = np.linalg.norm(whitened, 2) ** 2
    strengths = np.logspace(-8, 1, 91) * largest
    hats = [whitened @ np.linalg.solve(whitened.T @ whitened + s * np.eye(P), whitened.T) for s in strengths]
    residuals = np.array([((case.pixels - hat @ case.pixels) ** 2).sum(axis=0) for hat in hats])
    squared = case.svd[1] ** 2
    picked, squares = choose(case, squared / (squared + strengths[:, None]), "discrepancy")
    assert_allclose(squares, residuals, rtol=1e-6)
    # the noise's size, where it is not known, is what the weakest filter leaves to each degree of freedom
    size = 1 if known else residuals[0] / (N - np.trace(hats[0]))
    for pixel, number in enumerate(picked):
        fits = np.flatnonzero(residuals[:, pixel] <= N * np.broadcast_to(size, 9)[pixel])
        assert number == (fits[-1] if len(fits) else 0)
    result = registry.get("ridge-discrepancy")(case)
    assert result.std is not None
    for pixel, number in enumerate(picked):
        turn = np.linalg.solve(whitened.T @ whitened + strengths[number] * np.eye(P), whitened.T)
        place = divmod(pixel, 3)
        assert_allclose(result.estimate[:, *place], turn @ case.pixels[:, pixel], rtol=1e-6, atol=1e-8)
        noise = 1 if known else residuals[number, pixel] / (N - np.trace(hats[number]))
        assert_allclose(result.std[:, *place], np.sqrt(noise * (turn**2).sum(axis=1)), rtol=1e-6)
    assert result.parameters["strength_median"] == pytest.approx(np.median(strengths[picked] / largest), rel=1e-9)


def test_truncated_svd_is_least_squares_on_the_strongest_directions() -> None:
    case, _ = drawn()
    whitened = MATRIX / NOISE[:, None]
    left, values, right = np.linalg.svd(whitened, full_matrices=False)
    result = registry.get("truncated-svd")(case)
    kept = []
    for pixel in range(9):
        y = case.pixels[:, pixel]
        fits = [left[:, :k] @ (left[:, :k].T @ y) for k in range(1, P + 1)]
        scores = [((y - fit) ** 2).sum() / (N - k) ** 2 for k, fit in enumerate(fits, start=1)]
        k = int(np.argmin(scores)) + 1
        kept.append(k)
        expected = right[:k].T @ ((left[:, :k].T @ y) / values[:k])
        assert_allclose(result.estimate.reshape(P, -1)[:, pixel], expected, rtol=1e-7, atol=1e-9)
    assert result.parameters["strength_median"] == np.median(kept)


@pytest.mark.parametrize("name", registry.names())
@pytest.mark.parametrize("known", [True, False])
def test_neither_units_nor_order_change_spectra(name: str, known: bool) -> None:
    """Brighter light, interferometers that see more of it, in another order; noise told three times too large."""
    case, _ = drawn(side=4, noise_known=known)
    rng = np.random.default_rng(0)
    if name == "sparse":
        lines = np.zeros((P, 16))
        lines[rng.integers(0, P, 16), np.arange(16)] = 5
        case = case.with_values((MATRIX @ lines + NOISE[:, None] * rng.standard_normal((N, 16))).reshape(N, 4, 4))
    each = np.exp(0.3 * np.sin(3 * np.arange(N)))
    other = replace(
        case, matrix=each[:, None] * MATRIX, values=7 * each[:, None, None] * case.values,
        noise_std=7 * each * NOISE * (1 if known else 3),
    ).of(rng.permutation(N))  # fmt: skip
    plain, result = registry.get(name)(case), registry.get(name)(other)
    # the order decides on the sign of components, and on how random probes meet them: .001 to .025 over 24 orders
    close = 3e-2 if name == "joint" else 2e-3
    assert_allclose(result.estimate / 7, plain.estimate, rtol=0, atol=close * np.abs(plain.estimate).max())
    if plain.std is not None:
        assert result.std is not None
        assert_allclose(result.std / 7, plain.std, rtol=0.5 if name == "joint" else 0.02)


@pytest.mark.parametrize("name", [name for name in registry.names() if not registry.get(name).image])
def test_a_part_is_that_of_the_whole(name: str) -> None:
    case, _ = drawn(side=4)
    part = slice(1, 3), slice(0, 3)
    learned = registry.get(name).learned(case)
    whole, inside = learned(case), learned(case, part)
    close = 2e-3 * np.abs(whole.estimate).max()
    assert_allclose(inside.estimate, whole.estimate[:, *part], rtol=0, atol=close)
    if whole.std is not None:
        assert inside.std is not None
        assert_allclose(inside.std, whole.std[:, *part], rtol=1e-3)


@pytest.mark.parametrize("name", ["loris-verhoeven-dct", "loris-verhoeven-tv"])
def test_sparse_transforms_meet_the_conditions_of_optimality(name: str) -> None:
    """The residual's transform is λ where the spectrum's is not zero, and at most λ elsewhere."""
    rng = np.random.default_rng(1)
    # directions that are seen about as well as each other, or the iterations end before
    whitened = rng.standard_normal((N, P))
    order = np.arange(P)
    truth = np.where(order < 9, 2.0, -1.0) if name.endswith("tv") else np.cos(np.pi * 3 * (order + 0.5) / P)
    case = Interferograms(
        matrix=whitened, values=(whitened @ truth + rng.standard_normal(N))[:, None, None], noise_std=np.ones(N),
        wavelength_nm=GRID,
    )  # fmt: skip
    result = registry.get(name)(case)
    x = result.estimate[:, 0, 0]
    target = whitened.T @ case.pixels[:, 0]
    residual = target - whitened.T @ (whitened @ x)
    if name.endswith("dct"):
        basis = np.cos(np.pi * order[:, None] * (order + 0.5) / P) * np.sqrt(np.where(order, 2, 1) / P)[:, None]
        transformed, dual, largest = basis @ x, basis @ residual, np.abs(basis @ target).max()
    else:
        # the dual of steps: Dᵀu = residual
        transformed, dual, largest = np.diff(x), -np.cumsum(residual)[:-1], np.abs(np.diff(target)).max()
        assert abs(residual.sum()) < 0.03 * largest
    bound = result.parameters["strength_median"] * largest
    assert np.abs(dual).max() <= 1.2 * bound
    active = np.abs(transformed) > 0.03 * np.abs(transformed).max()
    assert active.any()
    assert_allclose(dual[active], bound * np.sign(transformed[active]), rtol=0, atol=0.2 * bound)


@pytest.mark.parametrize("known", [True, False])
def test_a_single_line_has_the_variance_of_largest_evidence(known: bool) -> None:
    """Of one line all is in closed form (Tipping and Faul 2003, equations 18 to 20)."""
    rng = np.random.default_rng(8)
    case, _ = drawn(side=1, noise_known=known)
    values = 0.7 * MATRIX[:, 11] + NOISE * rng.standard_normal(N)
    case = replace(case, values=values[:, None, None], noise_std=NOISE * (1 if known else 2))
    result = registry.get("sparse")(case)
    assert result.std is not None
    whitened, y = case.matrix / case.noise_std[:, None], case.pixels[:, 0]
    assert list(np.flatnonzero(result.estimate)) == [11]
    column, variance = whitened[:, 11], 1.0
    for _ in range(1 if known else 30):
        s, q = column @ column / variance, column @ y / variance
        alpha = s**2 / (q**2 - s)
        mean, spread = q / (alpha + s), 1 / (alpha + s)
        if not known:
            variance = ((y - mean * column) ** 2).sum() / (N - (1 - alpha * spread))
    assert result.estimate[11, 0, 0] == pytest.approx(mean, rel=1e-3)
    whole = variance * np.eye(N) + np.outer(column, column) / alpha
    expected = 1 / np.sqrt((whitened * np.linalg.solve(whole, whitened)).sum(axis=0))
    expected[11] = np.sqrt(spread)
    assert_allclose(result.std[:, 0, 0], expected, rtol=0.02)


def test_a_population_like_its_first_prior_is_the_dense_posterior(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where pixels are draws of the prior there is nothing to learn but their mean."""
    case, _ = drawn()
    rng = np.random.default_rng(1)
    kernel = smooth_kernels(case)["Matern 80 nm"]
    size = SCALES[30] * Prior(name="", covariance=kernel, case=case).unit
    root = np.linalg.cholesky(size * kernel + 1e-12 * np.eye(P))
    truth = root @ (rng.standard_normal((P, 576)) + 0.3 * rng.standard_normal((P, 1)))
    case = case.with_values((MATRIX @ truth + NOISE[:, None] * rng.standard_normal((N, 576))).reshape(N, 24, 24))
    covariance = size * kernel
    monkeypatch.setattr(
        "calibration.inversion.population.likeliest_sum",
        lambda case, mean: Prior(name="drawn from", covariance=covariance, case=case),
    )
    population = learn(allow(case))
    assert (population.rounds, population.prior) == (1, "drawn from")
    count = case.projected.shape[1]
    whitened = MATRIX / NOISE[:, None]
    across = covariance @ whitened.T
    signal = whitened @ across
    mean_gain = across @ np.linalg.inv(signal + (signal + np.eye(N)) / count)
    mean = mean_gain @ case.pixels.mean(axis=1)
    # directions that the mean of all pixels hardly shows are left out
    assert_allclose(population.mean, mean, rtol=0, atol=3e-2 * np.abs(mean).max())
    gain = across @ np.linalg.inv(signal + np.eye(N))
    expected = mean[:, None] + gain @ (case.pixels - (whitened @ mean)[:, None])
    z = population.components(case.projected) * (population.signal / (1 + population.signal))[:, None]
    assert_allclose(population.mean[:, None] + population.columns @ z, expected, rtol=0, atol=3e-2 * expected.std())
    told = (population.columns**2) @ (1 / (1 + population.signal)) + population.rest
    assert_allclose(told, np.diag(covariance - gain @ whitened @ covariance), rtol=0.02)
    # what pixels differ by does not say how unsure their mean is
    _, unsure = mean_posterior(case, priors_of(case, smooth_kernels(case)))
    assert_allclose(population.mean_variance, np.diag(unsure), rtol=1e-9)


@pytest.mark.parametrize("wrong", [False, True])
def test_components_of_a_population_are_white(wrong: bool) -> None:
    """Learned from two materials: of unit variance, uncorrelated, in noise of one over their signal."""
    rng = np.random.default_rng(2)
    materials = np.stack([2 + np.sin(GRID / 60), 2 + np.cos(GRID / 45), 1 + 0.5 * np.sin(GRID / 100)])
    truth = materials.T @ rng.dirichlet([1, 1, 1], 900).T
    values = MATRIX @ truth + NOISE[:, None] * rng.standard_normal((N, 900))
    case, _ = drawn()
    case = replace(case, values=values.reshape(N, 30, 30), illumination=None)
    if wrong:
        error = 0.1 * rng.standard_normal(N)
        case = replace(
            case, values=case.values + (error[:, None] * truth.mean(axis=0) / truth.mean()).reshape(N, 30, 30),
            calibration_std=np.full(N, 0.1),
        )  # fmt: skip
    allowed = allow(case, apart=True)
    assert (allowed.scale > 0) == wrong
    population = learn(allowed)
    projected = allowed.case.projected
    noise = population.analysis @ population.analysis.T
    assert_allclose(noise, np.diag(1 / population.signal), rtol=0, atol=1e-6 * noise.max())
    components = population.components(projected)
    assert_allclose(components.mean(axis=1), 0, atol=0.05 * components.std(axis=1).max())
    strong = population.signal > 10
    assert 2 <= strong.sum() <= 4
    share = components[strong].var(axis=1) / (1 + 1 / population.signal[strong])
    assert_allclose(share, 1, rtol=0.2)
    level = population.brightness(projected)
    if wrong:
        # a share of the mean interferogram
        assert_allclose(level, truth.sum(axis=0) / truth.sum(axis=0).mean(), rtol=0.1)
        assert level.mean() == pytest.approx(1, rel=1e-9)
    else:
        assert (level == 1).all()
        assert_allclose(population.mean, truth.mean(axis=1), rtol=0.03)
        spread = (population.columns[:, strong] ** 2).sum(axis=1)
        assert_allclose(np.sqrt(spread), truth.std(axis=1), rtol=0, atol=0.15 * truth.std(axis=1).max())


def test_halves_are_every_second_path_difference() -> None:
    """A quarter of their squared difference over the error bars, wavelength by wavelength; never below one."""
    case, _ = drawn(side=4)
    case = case.of(np.random.default_rng(0).permutation(N))
    seen = []

    def half(part: Interferograms) -> Spectra:
        assert part.opd_um is not None
        seen.append(np.sort(part.opd_um))
        level = part.values.mean(axis=0) * np.arange(1.0, P + 1)[:, None, None] / P
        return part.spectra(level.reshape(P, -1), np.full((P, 16), 0.05))

    method = registry.Method(name="mean", paper="", function=half, std=True)
    result = widened(method, case, method.learned(case))(case)
    assert_allclose(seen[0], OPD[::2])
    assert_allclose(seen[1], OPD[1::2])
    order = np.argsort(case.opd_um)
    apart = case.values[order[::2]].mean(axis=0) - case.values[order[1::2]].mean(axis=0)
    factor = np.maximum(np.sqrt((apart**2).mean() / 4) * np.arange(1.0, P + 1) / P / 0.05, 1)
    assert factor[-1] > factor[0] == 1
    assert result.std is not None
    assert_allclose(result.std, 0.05 * np.broadcast_to(factor[:, None, None], (P, 4, 4)))
    assert result.parameters["std_factor_median"] == pytest.approx(np.median(factor))
    # twelve interferometers at least
    few = case.of(np.arange(11))
    assert widened(method, few, method.learned(few)) == method.learned(few)
