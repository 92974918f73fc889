"""What the residual holds beyond noise: rare spectra, objects, what few bands share."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from denoise.latent.certainty import missed, shared
from denoise.latent.evidence import WhitenedResidual
from denoise.latent.posterior import NOISE_WRONG, noise_scale
from denoise.restore import restore
from denoise.separation.objects import told_apart
from denoise.separation.recurring import recurring
from denoise.separation.scan import FALSE, noise_of_pixels, threshold
from tests.denoise.mixture import mixture


def absorption(scene: np.ndarray, where: np.ndarray, width: float) -> np.ndarray:
    """An absorption ``(band, y, x)`` of unit norm in some pixels."""
    line = np.exp(-0.5 * ((np.arange(len(scene)) - 50) / width) ** 2)
    return -line[:, None, None] / np.linalg.norm(line) * where


def plume_and_pixels(side: int) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[:side, :side]
    plume = (y - 25) ** 2 + (x - 33) ** 2 < 18
    single = np.zeros_like(plume)
    single[[5, 50, 44], [7, 9, 52]] = True
    return plume, single


@pytest.mark.parametrize(("kind", "times"), [("plume", 2.5), ("plume", 5), ("pixels", 10)])
def test_rare_spectra_are_kept_and_named(kind: str, times: float) -> None:
    """A plume of 53 pixels, and single pixels that no subspace holds."""
    scene, sigma = mixture(80, 60), 0.05
    where = plume_and_pixels(60)[kind == "pixels"]
    noise = sigma * np.random.default_rng(12).standard_normal(scene.shape)
    target = absorption(scene, where, 1.5)
    noisy = (scene + times * sigma * target + noise).astype(np.float32)
    found = restore(noisy, "lowrank")
    at = target[:, where][:, 0]
    kept = at @ (found.estimate - scene)[:, where] / (times * sigma)
    assert kept.mean() > 0.8
    # what was put back has its place; a plume's edge may be off by a pixel, and the subspace may hold a strong one
    structure = np.zeros_like(where) if found.structure is None else found.structure
    assert times == 5 or structure[where].mean() > 0.8
    assert (structure & ~where).sum() < 30
    # a matched filter of the noisy cube sees it better than before
    weights = np.linalg.solve(np.cov(noisy[:, ~where]), at)
    snr = [
        ((scores := np.tensordot(weights, cube, 1))[where].mean() - scores[~where].mean()) / scores[~where].std()
        for cube in (noisy, found.estimate)
    ]
    assert snr[1] > 1.2 * snr[0]


def test_what_was_put_back_has_its_noise_in_the_doubt() -> None:
    scene, sigma = mixture(80, 60), 0.05
    where = plume_and_pixels(60)[1]
    noise = sigma * np.random.default_rng(12).standard_normal(scene.shape)
    target = absorption(scene, where, 1.5)
    found = restore((scene + 10 * sigma * target + noise).astype(np.float32), "diffusion", samples=2)
    assert found.std is not None
    # an amplitude of one pixel is no surer than its noise, which the direction spreads over the line's bands
    of_line = np.sqrt((found.std[48:53][:, where] ** 2).sum(0))
    assert (of_line > 0.7 * sigma).all()
    assert (of_line > 2 * np.sqrt((found.std[48:53][:, ~where] ** 2).sum(0)).mean()).all()


def test_noise_is_not_named() -> None:
    scene = mixture(80, 60)
    noisy = scene + 0.05 * np.random.default_rng(12).standard_normal(scene.shape)
    found = restore(noisy.astype(np.float32), "lowrank")
    assert found.provenance["rare_pixels"] < 8


def test_a_spectrum_of_some_pixels_is_looked_for_in_all() -> None:
    """Ten pixels of one spectrum, of which only the strongest stand out of hundreds of features."""
    rng = np.random.default_rng(18)
    bands, side = 80, 60
    rest = rng.standard_normal((bands, side, side)).astype(np.float32)
    line = absorption(rest, np.ones((side, side), bool), 1.5)[:, 0, 0]
    where = np.zeros((side, side), dtype=bool)
    where.ravel()[rng.choice(side * side, 10, replace=False)] = True
    rest[:, where] += line[:, None] * np.linspace(4.5, 8, 10)
    strongest = np.zeros_like(where)
    strongest[tuple(np.argwhere(where)[-1])] = True
    spread = np.ones((side, side))

    def direction_of(mean: np.ndarray) -> np.ndarray:
        kept = np.where(np.abs(mean) > 3, mean, 0)
        return kept / max(np.linalg.norm(kept), 1e-9)

    ((spectrum, pixels),) = recurring(rest, spread, [strongest], direction_of)
    assert spectrum @ line > 0.9
    assert (pixels & where).sum() >= 8
    assert (pixels & ~where).sum() <= 2
    # noise has nothing that recurs
    assert not recurring(rest - line[:, None, None] * where * 8, spread, [~where & strongest[::-1]], direction_of)


def test_chance_is_named_no_more_often_where_tails_are_heavy() -> None:
    """The threshold is read off the image itself: residuals of heavy tails name as few pixels as normal ones."""
    rng = np.random.default_rng(19)
    normal = np.abs(rng.standard_normal((40, 200, 200))).max(0)
    heavy = np.abs(rng.laplace(size=(40, 200, 200))).max(0)
    for strengths in (normal, heavy):
        assert (strengths > threshold(strengths, 0)).mean() < 2 * FALSE
    assert (heavy > threshold(normal, 0)).mean() > 10 * FALSE
    assert threshold(normal, 9.0) == 9.0


def test_noisier_pixels_are_no_targets() -> None:
    rng = np.random.default_rng(20)
    rest = rng.standard_normal((100, 20, 20))
    rest[:, 3, 4] *= 5
    rest[40:50, 7, 7] += 9
    spread = noise_of_pixels(rest, np.ones((20, 20)))
    assert spread[3, 4] == pytest.approx(5, rel=0.3)
    assert spread[7, 7] < 1.3
    assert np.median(spread) == 1


@pytest.mark.parametrize("kind", ["plume", "pixels"])
def test_what_was_not_noticed_is_detected_as_before(kind: str) -> None:
    """A matched filter trained on the restored cube, beyond the scene's subspace."""
    scene, sigma = mixture(80, 60), 0.05
    where = plume_and_pixels(60)[kind == "pixels"]
    target = absorption(scene, where, 1.5) * (0.8 if kind == "plume" else 2.0)
    noisy = scene + sigma * (target + np.random.default_rng(21).standard_normal(scene.shape))
    restored = restore(noisy.astype(np.float32), "lowrank")
    assert restored.structure is None or not (restored.structure & where).any()
    snr = []
    for cube in (noisy, restored.estimate.astype(float)):
        at = target[:, where][:, 0]
        scores = np.tensordot(np.linalg.solve(np.cov(cube[:, ~where]), at), cube, 1)
        snr.append((scores[where].mean() - scores[~where].mean()) / scores[~where].std())
    assert snr[1] > (1.2 if kind == "plume" else 0.93) * snr[0]


def test_objects_are_told_apart_from_what_is_around_them() -> None:
    """A smoother's half-way values at an object's edge go where the pixels' own values say."""
    rng = np.random.default_rng(16)
    side = 40
    inside = np.zeros((side, side), dtype=bool)
    inside[15:22, 10:16] = True
    basis = np.linalg.qr(rng.standard_normal((30, 2)))[0]
    true = np.stack([gaussian_filter(rng.standard_normal((side, side)), 3) * 40, 6.0 * inside])
    smoothed = np.stack([true[0], gaussian_filter(true[1], 1.0)])
    seen = true + rng.standard_normal(true.shape)
    change = np.zeros((30, side, side))
    unit = np.ones((30, side, side))
    for thing in told_apart(np.tensordot(basis, smoothed, 1), np.tensordot(basis, seen, 1), basis, unit):
        change += thing.spectrum[:, None, None] * thing.change * thing.near
        assert (thing.inside & ~thing.near).sum() == 0
        assert (thing.inside == inside).mean() > 0.98
    after = smoothed + np.tensordot(basis.T, change, 1)
    near = gaussian_filter(inside.astype(float), 1) > 0.02
    before, now = (np.sqrt(np.mean((item - true)[:, near] ** 2)) for item in (smoothed, after))
    assert now < 0.6 * before
    # of a scene that is full of such objects nothing is changed
    many = np.kron(rng.random((8, 8)) < 0.4, np.ones((5, 5)))
    assert not told_apart(*2 * (np.tensordot(basis, np.stack([true[0], 6 * many]), 1),), basis, unit)


def test_what_was_missed_is_what_neighbours_share() -> None:
    rng = np.random.default_rng(13)
    noise = rng.standard_normal((20, 60, 60))
    keep = np.ones(noise.shape, bool)
    assert missed(noise, keep).max() < 0.03
    wide = gaussian_filter(rng.standard_normal((60, 60)), 3)
    noise[4] += 0.7 * wide / wide.std()
    assert missed(noise, keep)[4] == pytest.approx(0.47, abs=0.1)


def test_what_few_bands_share_is_told_from_noise() -> None:
    """A direction of five bands of sixty, too weak for the subspace of all."""
    rng = np.random.default_rng(22)
    noise = rng.standard_normal((60, 70, 70)).astype(np.float32)
    assert shared(noise).max() < 0.01
    line = np.zeros(60)
    line[20:25] = np.sqrt([0.02, 0.03, 0.04, 0.03, 0.02])
    seen = shared(noise + line[:, None, None].astype(np.float32) * rng.standard_normal((70, 70)).astype(np.float32))
    np.testing.assert_allclose(seen[20:25], line[20:25] ** 2, atol=0.02)
    assert seen[:10].max() < 0.01
    # of one direction among few bands the noise's own level does not matter
    np.testing.assert_allclose(shared(3 * noise + 0), 9 * shared(noise), atol=1e-6)


@pytest.mark.parametrize("wrong", [0.98, 1.0, 1.03])
def test_the_noise_is_measured_beyond_the_components(wrong: float) -> None:
    rng = np.random.default_rng(23)
    bands, side = 40, 60
    basis = np.linalg.qr(rng.standard_normal((bands, 5)))[0]
    residual = np.sqrt(wrong) * rng.standard_normal((bands, side, side))
    # what is within the components does not count: there the residual is what smoothing left
    residual -= np.tensordot(basis, np.tensordot(basis.T, residual, 1), 1)
    images = np.zeros((5, side, side))
    given = WhitenedResidual(
        residual=residual, variance=np.ones(residual.shape), directions=basis, best=images, single=images,
        joint=images, sigma=np.ones(bands), wavelength_nm=np.arange(bands),
    )  # fmt: skip
    assert noise_scale(given, torch.as_tensor(basis)) == pytest.approx(wrong, abs=0.01)
    assert noise_scale(given, torch.as_tensor(basis)) <= NOISE_WRONG
