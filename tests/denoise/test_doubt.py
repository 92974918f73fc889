"""How sure the restorer is, part by part: units, hand values, and what each part of the variance is made of."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

import denoise.latent.certainty as certainty
import denoise.latent.posterior as posterior
from denoise.case import Observation
from denoise.latent.certainty import missed, noise_level, pattern, shared, spikes, spread_of, turned
from denoise.latent.flow import Condition
from denoise.latent.posterior import LEAST_SPREAD, pooled, refine
from denoise.learning.residual_examples import Example
from denoise.restore import restore
from denoise.separation.estimate import Separation, separate
from hsitools.scenes import scene
from hsitools.sensor import preset

BANDS, HEIGHT, WIDTH = 10, 16, 22
WAVELENGTH = np.linspace(430, 860, BANDS)


@pytest.fixture(scope="module")
def found() -> Separation:
    clean = scene((HEIGHT, WIDTH), wavelength_nm=WAVELENGTH, seed=7).read()
    rng = np.random.default_rng(0)
    noisy = clean + 0.04 * rng.standard_normal(clean.shape, dtype=np.float32)
    noisy *= (1 + 0.05 * rng.standard_normal((BANDS, 1, WIDTH))).astype(np.float32)
    valid = np.ones(noisy.shape, bool)
    valid[4:7, :, 11] = False
    separation = separate(Observation(values=noisy.astype(np.float32), valid=valid))
    noise = dataclasses.replace(
        separation.noise, slope=np.full(BANDS, 1e-3, np.float32),
        offset_std=np.full((BANDS, WIDTH), 0.01, np.float32),
    )  # fmt: skip
    return dataclasses.replace(separation, noise=noise)


def in_units(separation: Separation, unit: float) -> Separation:
    """The same of a cube that is so many times as large: what is whitened stays."""
    s = np.float32(unit)
    noise = separation.noise
    noise = dataclasses.replace(
        noise, sigma=noise.sigma * s, slope=noise.slope * s, offset=noise.offset * s, offset_std=noise.offset_std * s
    )
    return dataclasses.replace(separation, scene=separation.scene * s, noise=noise)


def test_scene_and_doubt_are_in_the_units_of_the_cube(found: Separation) -> None:
    plain, other = (refine(item, WAVELENGTH, samples=1) for item in (found, in_units(found, 250.0)))
    np.testing.assert_allclose(other.scene, 250 * plain.scene, rtol=1e-3, atol=0.05)
    assert plain.std is not None
    np.testing.assert_allclose(other.std, 250 * plain.std, rtol=5e-3)
    assert other.gain == pytest.approx(plain.gain, rel=1e-2, abs=1e-4)


def test_what_the_gate_held_back_is_as_uncertain_as_it_is_large(
    found: Separation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A share of the correction goes into the scene, the square of the rest into the variance."""

    def nothing(images: Any, *_: Any) -> Any:
        return np.zeros(len(images), np.float32)

    def refined(share: float) -> posterior.Refined:
        def gate(*given: Any) -> tuple[torch.Tensor, ...]:
            zero = torch.zeros(len(given[4]))
            return zero + share, zero, zero, zero

        monkeypatch.setattr(posterior, "_gate", gate)
        return refine(found, WAVELENGTH, samples=1)

    monkeypatch.setattr(posterior, "missed", nothing)
    monkeypatch.setattr(posterior, "shared", nothing)
    monkeypatch.setattr(posterior, "doubt_of_nearest", lambda values, gone: np.zeros(gone.shape, np.float32))
    monkeypatch.setattr(posterior, "pattern", lambda separation, scene: np.zeros_like(scene))
    part, passed = (refined(share) for share in (0.25, 1.0))
    unit = found.noise.sigma[:, None, None]
    correction = np.tensordot(part.basis, part.correction, 1)
    for share, item in ((0.25, part), (1.0, passed)):
        np.testing.assert_allclose(item.scene, found.scene + share * unit * correction, atol=1e-4)
    assert passed.std is not None
    assert part.std is not None
    more = (part.std**2 - passed.std**2) / unit**2
    held = LEAST_SPREAD * 0.75**2 * np.tensordot(part.basis**2, part.correction**2, 1)
    held /= np.where(found.noise.outlier, 1 - np.square(found.directions).sum(1)[:, None, None], 1)
    np.testing.assert_allclose(more, held, rtol=0.01, atol=1e-4)


def test_what_was_not_measured_has_no_leverage(found: Separation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Least squares with a band left out: its prediction errs by h / (1 − h) of the noise where its fit errs by h."""
    rng = np.random.default_rng(4)
    directions = np.linalg.qr(rng.standard_normal((BANDS, 3)))[0]
    for band in range(BANDS):
        others = np.delete(directions, band, axis=0)
        left_out = directions[band] @ np.linalg.inv(others.T @ others) @ directions[band]
        share = np.square(directions[band]).sum()
        assert left_out == pytest.approx(share / (1 - share))

    def flat(images: Any, *_: Any) -> Any:
        return np.zeros(len(images), np.float32)

    def gate(*given: Any) -> tuple[torch.Tensor, ...]:
        zero = torch.zeros(len(given[4]))
        return zero + 1, zero, zero, zero

    monkeypatch.setattr(posterior, "_gate", gate)
    monkeypatch.setattr(posterior, "missed", flat)
    monkeypatch.setattr(posterior, "shared", flat)
    monkeypatch.setattr(posterior, "beyond", lambda *_: 0.0)
    monkeypatch.setattr(posterior, "turned", lambda separation: np.zeros(separation.whitened.shape, np.float32))
    monkeypatch.setattr(posterior, "doubt_of_nearest", lambda values, gone: np.zeros(gone.shape, np.float32))
    monkeypatch.setattr(posterior, "doubt_of_missing", lambda *given: np.zeros(BANDS, np.float32))
    monkeypatch.setattr(posterior, "pattern", lambda separation, scene: np.zeros_like(scene))
    monkeypatch.setattr(posterior, "spread_of", lambda drawn, mean: torch.ones_like(mean))
    std = refine(found, WAVELENGTH, samples=1).std
    assert std is not None
    share = np.square(found.directions).sum(1)
    for band in (4, 5, 6):
        lost = found.noise.outlier[band]
        ratio = np.square(std[band, lost]).mean() / np.square(std[band, ~lost]).mean()
        assert ratio == pytest.approx(1 / (1 - share[band]), rel=1e-3)


def test_doubt_of_columns_is_that_of_means_over_all_elements(found: Separation) -> None:
    """Gains of variance v in every band: the mean over so many elements errs by v / width of the distance from the
    band's mean, squared; lines through columns by the noise of a column, as much as lies in the subspace.
    """
    rng = np.random.default_rng(1)
    shape = (BANDS, WIDTH)
    gain, offset = 1 + 0.1 * rng.standard_normal(shape), 0.2 * rng.standard_normal(shape)
    noise = dataclasses.replace(
        found.noise, gain=gain, offset=offset, offset_std=np.full(shape, 0.3), sigma=np.linspace(0.1, 0.2, BANDS)
    )
    direction = np.zeros((BANDS, 1))
    direction[[2, 5], 0] = 0.6, 0.8
    values = 2.0 + rng.standard_normal((BANDS, HEIGHT, WIDTH))
    values -= values.mean((1, 2), keepdims=True) - 2
    doubt = pattern(dataclasses.replace(found, noise=noise, directions=direction), values)
    square = (values - 2) ** 2
    level = (offset + 2 * (gain - 1)).var(1)[:, None, None]
    expected = 0.09 + (level + gain.var(1)[:, None, None] * square) / WIDTH
    lines = (1 + square / square.mean((1, 2), keepdims=True)) / HEIGHT
    # in the bands 2 and 5 by their shares of the one direction: .36 and .64 of each other's and of their own
    for band, share in ((2, 0.36), (5, 0.64)):
        inside = 0.36 * share * lines[2] + 0.64 * share * lines[5]
        expected[band] += noise.sigma[band] ** 2 * inside
    np.testing.assert_allclose(doubt, expected, rtol=1e-4)
    plain = dataclasses.replace(noise, gain=np.ones(shape))
    still = pattern(dataclasses.replace(found, noise=plain), values)
    # offsets alone have a mean that is not known, too
    expected = 0.09 + offset.var(1)[:, None, None] / WIDTH + np.zeros_like(values)
    np.testing.assert_allclose(still, expected, rtol=1e-6)


def test_samples_of_neighbours_tell_their_variance() -> None:
    """Two samples, 3 above and 1 below the mean, at one pixel alone: the mean of their squares, over 25 pixels."""
    drawn = torch.zeros(2, 1, 11, 13)
    drawn[0, 0, 5, 6], drawn[1, 0, 5, 6] = 3, -1
    variance = spread_of(drawn + 7, torch.full((1, 11, 13), 7.0))[0]
    inside = torch.zeros(11, 13, dtype=torch.bool)
    inside[3:8, 4:9] = True
    np.testing.assert_allclose(variance[inside], 5 / 25, rtol=1e-5)
    assert float(variance[~inside].abs().max()) < 1e-6
    # at a corner there are nine
    corner = torch.zeros(1, 1, 11, 13)
    corner[..., 0, 0] = 3
    assert float(spread_of(corner, torch.zeros(1, 11, 13))[0, 0, 0]) == pytest.approx(1)


def test_errors_of_faint_components_are_taken_together() -> None:
    limit = 3 * (2 / 200) ** 0.5
    errors = torch.tensor([5.0, 0.9 * limit, -0.3 * limit, 1.1 * limit])
    np.testing.assert_allclose(pooled(errors, 200), [5, 0.3 * limit, 0.3 * limit, 1.1 * limit], rtol=1e-5)
    np.testing.assert_allclose(pooled(torch.tensor([-0.1, -0.2]), 200), [0, 0])


def test_what_neighbours_share_is_told_where_voxels_are_masked_too() -> None:
    """A residual in squares of four pixels shares its power with neighbours on one side of two, diagonally of four."""
    rng = np.random.default_rng(2)
    rest = np.kron(2 * rng.standard_normal((16, 40, 40)), np.ones((1, 4, 4)))
    keep = rng.random(rest.shape) < 0.6
    share = (3 / 4 + 3 / 4 + 9 / 16) / 3
    np.testing.assert_allclose(missed(rest, keep), 4 * share, rtol=0.2)
    np.testing.assert_allclose(missed(rest.swapaxes(1, 2), keep.swapaxes(1, 2)), missed(rest, keep), rtol=1e-6)


def test_noise_is_stronger_in_directions_that_it_chose() -> None:
    """A planted signal of known power: what sample eigenvalues tell of it, and the noise in their eigenvectors."""
    rng = np.random.default_rng(3)
    bands, pixels = 60, 240
    power, noise = [], []
    for _ in range(12):
        white = rng.standard_normal((bands, pixels))
        white[0] += np.sqrt(2.0) * (scores := rng.standard_normal(pixels))
        values, vectors = np.linalg.eigh(white @ white.T / pixels)
        signal, chosen = spikes(values[-1:], bands / pixels)
        power.append(signal[0])
        white[0] -= np.sqrt(2.0) * scores
        noise.append((chosen[0], np.mean((vectors[:, -1] @ white) ** 2)))
    assert np.mean(power) == pytest.approx(2, rel=0.12)
    told, true = np.mean(noise, axis=0)
    assert told == pytest.approx(true, rel=0.06)
    assert true > 1.1


def test_noise_of_pixels_is_told_next_to_what_is_assumed() -> None:
    """Voxels that were not measured count in neither; what is assumed larger explains as much more."""
    rng = np.random.default_rng(4)
    basis = torch.as_tensor(np.linalg.qr(rng.standard_normal((30, 3)))[0], dtype=torch.float32)
    variance = torch.ones(30, 40, 40)
    variance[..., :20] = 9
    variance[:12, 20:] = 0
    rest = variance.sqrt() * torch.as_tensor(rng.standard_normal((30, 40, 40)), dtype=torch.float32)
    level = noise_level(rest, variance, basis)
    assert float((level - 1).abs().max()) < 0.15


def test_noise_of_pixels_is_that_of_directions_beyond_the_components() -> None:
    """Half the image has three times the noise of the other half; bands that lie in the components tell nothing."""
    generator = torch.Generator().manual_seed(5)
    variance = 0.5 + torch.rand(30, 24, 40, generator=generator)
    basis = torch.zeros(30, 3)
    basis[0, 0] = basis[1, 1] = 1
    basis[2:6, 2] = 0.5
    variance[:2, :12] *= 1000
    true = torch.ones(40)
    true[20:] = 3
    rest = (variance * true * (1 - basis.square().sum(1))[:, None, None]).sqrt()
    level = noise_level(rest, variance, basis)
    np.testing.assert_allclose(level[:, :18], 0.5, atol=0.03)
    np.testing.assert_allclose(level[:, 22:], 1.5, atol=0.03)
    assert float(level.mean()) == pytest.approx(1, abs=1e-4)


def test_what_bands_share_is_in_the_units_of_each() -> None:
    """Twelve bands share images of twice the noise's power; of each band as large as its own noise makes it."""
    rng = np.random.default_rng(6)
    rest = rng.standard_normal((40, 60, 60))
    rest[20:32] += np.sqrt(2) * rng.standard_normal((60, 60))
    level = np.linspace(0.2, 3, 40)
    told = shared((level[:, None, None] * rest).astype(np.float32))
    np.testing.assert_allclose(told[20:32], 2 * level[20:32] ** 2, rtol=0.15)
    assert (told / level**2)[[*range(20), *range(32, 40)]].max() < 0.05


def test_factors_of_the_spread_are_those_that_errors_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """A flow whose mean is zero and whose samples have a fifth of the errors' variance is told a factor of five; the
    error of components that it is not asked for is not counted.
    """
    rng = np.random.default_rng(7)
    bands, side, rank = 16, 20, certainty.COMPONENTS + 2
    examples, bases = [], []
    for _ in range(3):
        basis = np.linalg.qr(rng.standard_normal((bands, rank)))[0].astype(np.float32)
        size = np.linspace(3, 0.3, certainty.COMPONENTS)[:, None, None]
        scores = np.concatenate([size * rng.standard_normal((certainty.COMPONENTS, side, side)),
                                 40 * rng.standard_normal((2, side, side))])  # fmt: skip
        examples.append(Example(whitened=None, truth=np.tensordot(basis, scores, 1).astype(np.float32)))
        bases.append(torch.as_tensor(basis))
    size = torch.as_tensor(np.linspace(3, 0.3, certainty.COMPONENTS), dtype=torch.float32)[:, None, None, None]
    zero = torch.zeros(rank, 4, side // 2, side // 2)
    waiting = iter(bases)
    monkeypatch.setattr(certainty, "evidence", lambda whitened, coder: (None, next(waiting)))
    monkeypatch.setattr(certainty, "channels_of", lambda components: Condition(*[zero] * len(Condition._fields)))
    monkeypatch.setattr(certainty, "posterior_mean", lambda net, condition: torch.zeros_like(condition.observed))
    monkeypatch.setattr(
        certainty, "sample",
        lambda net, condition, steps, generator: (
            size / 5**0.5 * torch.randn(condition.observed.shape, generator=generator)
        ),
    )  # fmt: skip
    told = certainty.calibrate(None, None, examples, seed=0)
    assert told["spread"] == pytest.approx(5, rel=0.1)
    assert told["beyond"] * certainty.beyond(rank, side**2) < 0.1
    assert (told["within_68"], told["within_95"]) == pytest.approx((0.6827, 0.95), abs=0.01)


def test_what_is_too_faint_to_be_found() -> None:
    """Of 100 bands and 2500 pixels a direction of a fifth of the noise's variance hides, a hundredth a voxel."""
    assert certainty.beyond(100, 2500) == pytest.approx(0.2 / 100)


def test_noise_that_an_estimate_has_taken_is_nothing_that_bands_share() -> None:
    """Of white noise without eight of its thirty directions nothing is left beyond noise; what hides there is told."""
    rng = np.random.default_rng(8)
    rest = rng.standard_normal((30, 64 * 64))
    basis = np.linalg.qr(rng.standard_normal((30, 8)))[0]
    rest -= basis @ (basis.T @ rest)
    white = rest.reshape(30, 64, 64)
    assert shared(white.astype(np.float32), np.ones(30)).max() < 0.005
    assert shared(white.astype(np.float32)).max() > 0.02
    hidden = white + np.sqrt(2) * rng.standard_normal((64, 64)) * (np.arange(30) > 17)[:, None, None]
    np.testing.assert_allclose(shared(hidden.astype(np.float32), np.ones(30))[18:].mean(), 2, rtol=0.2)


def test_directions_that_noise_helped_to_choose_miss_as_much_of_the_scene(found: Separation) -> None:
    """Of scenes of three components in unit noise, by draws: what lies beyond the sample's principal directions."""
    rng = np.random.default_rng(5)
    bands, side, draws = 60, 12, 200
    spectra = np.linalg.qr(rng.standard_normal((bands, 3)))[0]
    images = rng.standard_normal((3, side * side)) * np.array([[30.0], [12.0], [6.0]])
    # one pixel has the last component to itself
    images[2] *= 0.02
    images[2, 7] = 40
    scene_of = spectra @ images
    lost, told = np.zeros(scene_of.shape), np.zeros(scene_of.shape)
    for _ in range(draws):
        seen = scene_of + rng.standard_normal(scene_of.shape)
        directions = np.linalg.svd(seen, full_matrices=False)[0][:, :3]
        lost += np.square(scene_of - directions @ (directions.T @ scene_of)) / draws
        best = (directions.T @ seen).reshape(3, side, side)
        turn = turned(dataclasses.replace(found, directions=directions, scores=found.scores._replace(best=best)))
        told += turn.reshape(scene_of.shape) / draws
    # the closed form of the whole: the rank by the number of pixels, of what lies beyond
    np.testing.assert_allclose(told.sum(), 3 * (bands - 3), rtol=0.02)
    np.testing.assert_allclose(told.sum(), lost.sum(), rtol=0.1)
    np.testing.assert_allclose(told.sum(0)[7], lost.sum(0)[7], rtol=0.15)
    others = np.delete(np.arange(side * side), 7)
    assert np.corrcoef(told.sum(0)[others], lost.sum(0)[others])[0, 1] > 0.9
    np.testing.assert_allclose(told.sum(1).std() / told.sum(1).mean(), lost.sum(1).std() / lost.sum(1).mean(), atol=0.1)


def test_intervals_hold_errors_of_cubes_of_few_pixels() -> None:
    """PRISMA's bands of 16 × 16 pixels: as many directions' noise is in the scene as smoothing leaves."""
    sensor = preset("prisma")
    observed, clean = (sensor.observe(scene((96, 96), seed=3), 3, noise=noise).read() for noise in (True, False))
    found = restore(observed, "diffusion", samples=3)
    assert found.std is not None
    z = (found.estimate - clean) / found.std
    assert 0.9 < np.mean(np.abs(z) < 1.96) < 0.97
    assert 0.85 < np.sqrt(np.mean(z**2)) < 1.2


def test_a_thin_bright_line_is_as_sure_as_it_was_measured() -> None:
    """Five hundred deviations of the noise: the flow never learned from such, and nothing that it says there counts."""
    row, column = np.mgrid[:48, :48]
    wavelength = np.linspace(500, 1700, 24)
    grey, red, far, paint = np.ones(24), *(np.exp(-(((wavelength - c) / w) ** 2)) for c, w in (
        (900, 300), (1400, 200), (1100, 500)))  # fmt: skip
    parts = (1.2 + 0.2 * np.cos(column / 9), 0.6 + 0.4 * np.sin(row / 7), 0.5 + 0.5 * np.sin((column + row) / 11))
    truth = 30 * sum(part * spectrum[:, None, None] for part, spectrum in zip(parts, (grey, red, far), strict=True))
    truth[:, 6:40, 30] = (500 + 40 * np.sin(np.arange(34) / 5)) * (0.3 + paint)[:, None]
    noisy = truth + np.random.default_rng(3).standard_normal(truth.shape)
    found = restore(noisy.astype(np.float32), samples=2, wavelength_nm=wavelength)
    assert found.std is not None
    assert found.std.max() < 1.5
    assert np.median(found.std) < 0.3
    assert np.mean(np.abs(found.estimate - truth) < 1.96 * found.std) > 0.93
