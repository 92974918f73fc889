"""What is put back of objects and plumes: how much, where, and with what variance, of amplitudes that are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from denoise.case import NoiseModel
from denoise.separation.estimate import Separation
from denoise.separation.rare import TRACE, find_rare
from denoise.separation.recurring import of_unit_noise
from denoise.separation.smooth import Smoothed

BANDS, SIDE, LEVEL = 40, 60, 30.0
SIGMA = np.linspace(0.5, 3, BANDS)
BASIS = np.linalg.qr(np.random.default_rng(0).standard_normal((BANDS, 3)))[0]
LINE = np.exp(-0.5 * ((np.arange(BANDS) - 21) / 1.5) ** 2)
LINE = LINE - BASIS @ (BASIS.T @ LINE)
LINE /= np.linalg.norm(LINE)
BOX = np.zeros((SIDE, SIDE), bool)
BOX[20:26, 30:37] = True


def seen(height, line, where, slope=0.0):
    """A box that smoothing has blurred, and a line that the subspace has not, in unit noise."""
    rng = np.random.default_rng(1)
    field = gaussian_filter(rng.standard_normal((SIDE, SIDE)), 4)
    true = np.stack([field, height * BOX, 0 * field])
    smooth = np.stack([field, gaussian_filter(height * BOX.astype(float), 0.8), 0 * field])
    noise = rng.standard_normal((BANDS, SIDE, SIDE))
    whitened = LEVEL + np.tensordot(BASIS, true, 1) + noise + line * LINE[:, None, None] * where
    column = np.ones((BANDS, SIDE), np.float32)
    model = NoiseModel(
        sigma=SIGMA.astype(np.float32), slope=(slope * SIGMA).astype(np.float32), gain=column, offset=0 * column,
        offset_std=0 * column, dead=column < 0, outlier=np.zeros(noise.shape, bool),
    )  # fmt: skip
    scene = SIGMA[:, None, None] * (LEVEL + np.tensordot(BASIS, smooth, 1))
    images = smooth + np.tensordot(BASIS.T, np.full((BANDS, 1, 1), LEVEL), 1)
    return Separation(
        noise=model, scene=scene.astype(np.float32), whitened=whitened.astype(np.float32),
        directions=BASIS.astype(np.float32), scores=Smoothed(images, images, images),
    ), true  # fmt: skip


def put_back(found):
    rare = find_rare(found, found.scene, found.directions)
    return rare, rare.added / SIGMA[:, None, None], rare.variance / SIGMA[:, None, None] ** 2


def test_an_object_is_sharp_again_and_has_what_the_subspace_has_not() -> None:
    """Its edges in the subspace, and a line of two deviations that all its pixels have."""
    found, true = seen(25.0, 2.0, BOX)
    rare, added, variance = put_back(found)
    scores = (
        np.tensordot(BASIS.T, found.scene / SIGMA[:, None, None] + added, 1)[1] - (BASIS.T @ np.full(BANDS, 30.0))[1]
    )
    before = np.abs(gaussian_filter(true[1], 0.8) - true[1]).max()
    near = np.zeros_like(BOX)
    near[19:27, 29:38] = True
    assert np.abs(scores - true[1])[near].max() < 0.35 * before
    kept = np.tensordot(LINE, added, 1)
    assert kept[BOX].mean() == pytest.approx(2, abs=0.5)
    assert kept[~near].mean() == pytest.approx(0, abs=0.05)
    assert rare.pixels[BOX].all()
    assert (rare.pixels & ~near).mean() < 0.01
    # what stays of the noise in the line's bands is in the variance there
    of_line = np.tensordot(LINE**2, variance, 1)
    far = ~rare.pixels
    assert of_line[far].max() == pytest.approx(TRACE * rare.error, rel=0.01)
    error = np.tensordot(LINE, added, 1)[BOX] - 2
    assert 0.2 < of_line[BOX].mean() / np.mean(error**2) < 5
    assert of_line[BOX].min() > 3 * of_line[far].max()


def test_in_an_object_little_is_enough() -> None:
    """A line of less than one deviation stands out of the noise of all its pixels, which are known."""
    found, _ = seen(25.0, 0.8, BOX)
    _, added, _ = put_back(found)
    assert np.tensordot(LINE, added, 1)[BOX].mean() == pytest.approx(0.8, abs=0.25)
    unknown, _ = seen(0.0, 0.8, BOX)
    assert np.tensordot(LINE, put_back(unknown)[1], 1)[BOX].mean() < 0.3


@pytest.mark.parametrize("amplitude", [3.0, -3.0])
def test_a_plume_is_put_back_once_with_its_amplitude(amplitude: float) -> None:
    y, x = np.mgrid[:SIDE, :SIDE]
    plume = (y - 20) ** 2 + (x - 20) ** 2 < 36
    found, _ = seen(0.0, amplitude, plume)
    rare, added, variance = put_back(found)
    kept = np.tensordot(LINE, added, 1)
    assert kept[plume].mean() == pytest.approx(amplitude, rel=0.15)
    assert np.abs(kept[~plume]).mean() < 0.1
    assert 1 <= rare.groups <= 3
    assert rare.pixels[plume].mean() > 0.9
    assert (rare.pixels & ~plume).mean() < 0.02
    error = np.mean((kept - amplitude)[plume] ** 2)
    told = np.tensordot(LINE**2, variance, 1)[plume].mean()
    assert 0.1 < told / error < 10


def test_brighter_pixels_of_photon_noise_are_no_targets() -> None:
    """Noise that grows with the signal, as the model says: no more is named than of white noise."""
    rng = np.random.default_rng(2)
    found, _ = seen(0.0, 0.0, BOX)
    right = np.arange(SIDE) >= 40
    bright = np.where(right, 60.0, 0)
    scene = found.scene + SIGMA[:, None, None] * bright
    # by the slope and the distance from the mean, a variance of 1 + .25 · 40
    noise = np.where(right, 11**0.5, 1) * rng.standard_normal((BANDS, SIDE, SIDE))
    whitened = scene / SIGMA[:, None, None] + noise
    slope = (0.25 * SIGMA).astype(np.float32)
    model = NoiseModel(**{**vars(found.noise), "slope": slope})
    told = Separation(
        noise=model, scene=scene.astype(np.float32), whitened=whitened.astype(np.float32),
        directions=found.directions, scores=found.scores,
    )  # fmt: skip
    assert find_rare(told, told.scene, told.directions).pixels.mean() < 0.01


@pytest.mark.parametrize("line", [0.0, 6.0])
def test_bright_object_has_what_stands_out_of_its_own_noise(line: float) -> None:
    """An object of 3.3 times the noise of what is around it: of chance alone nothing is put back, a line that all its
    pixels have is as the mean of them shows it, and the variance told is that of its errors.
    """
    rng = np.random.default_rng(1)
    white, bright = np.ones(BANDS) / BANDS**0.5, 40.0
    true = LEVEL + bright * BOX + np.zeros((BANDS, 1, 1))
    smooth = gaussian_filter(np.where(BOX, bright, 0), 0.8)
    noise = np.sqrt(1 + 0.25 * bright * BOX) * rng.standard_normal(true.shape)
    narrow = np.exp(-0.5 * ((np.arange(BANDS) - 21) / 1.5) ** 2)
    narrow -= narrow.mean()
    narrow /= np.linalg.norm(narrow)
    unit = SIGMA[:, None, None]
    images = (smooth * BANDS**0.5)[None]
    plain, _ = seen(0.0, 0.0, BOX)
    found = Separation(
        noise=NoiseModel(**{**vars(plain.noise), "slope": (0.25 * SIGMA).astype(np.float32)}),
        scene=(unit * (LEVEL + smooth)).astype(np.float32),
        whitened=(true + noise + line * narrow[:, None, None] * BOX).astype(np.float32),
        directions=white[:, None].astype(np.float32), scores=Smoothed(images, images, images),
    )  # fmt: skip
    rare, added, variance = put_back(found)
    # the object itself: its mean, of which the noise of a pixel is no part
    level = white @ (found.scene / unit + added)[:, BOX] - (LEVEL + bright) * BANDS**0.5
    assert np.sqrt(np.mean(level**2)) < 1.5
    added = (added - added.mean(0))[:, BOX]
    assert rare.pixels[BOX].mean() == (line > 0)
    assert (rare.pixels & ~BOX).mean() < 0.01
    shown = (narrow @ noise[:, BOX]).mean() + line
    assert (narrow @ added).mean() == pytest.approx(shown if line else 0, abs=1)
    if line:
        error = np.square(added - line * narrow[:, None]).sum(0).mean()
        assert 0.25 < variance.sum(0)[BOX].mean() / error < 2
    else:
        assert np.square(added).sum(0).mean() < 0.02


def test_a_sum_is_of_unit_noise_whatever_that_of_its_pixels() -> None:
    rng = np.random.default_rng(4)
    spread = rng.uniform(0.5, 6, (9, 11))
    where = rng.random(spread.shape) < 0.4
    noise = spread * rng.standard_normal((5000, *spread.shape))
    assert of_unit_noise(noise, spread, where).std() == pytest.approx(1, abs=0.04)
    np.testing.assert_allclose(of_unit_noise(7 * noise, 7 * spread, where), of_unit_noise(noise, spread, where))


def test_small_images_and_few_bands_have_a_trace_only() -> None:
    found, _ = seen(0.0, 30.0, BOX)
    part = slice(18, 32)
    small = Separation(
        noise=NoiseModel(**{
            name: value if not isinstance(value, np.ndarray) or value.ndim == 1 else value[:, part] if value.ndim == 2
            else value[:, part, part] for name, value in vars(found.noise).items()
        }),
        scene=found.scene[:, part, part], whitened=found.whitened[:, part, part], directions=found.directions,
        scores=Smoothed(*(item[:, part, part] for item in found.scores)),
    )  # fmt: skip
    rare = find_rare(small, small.scene, small.directions)
    assert not rare.pixels.any()
    assert rare.groups == 0
    np.testing.assert_allclose(rare.variance / SIGMA[:, None, None] ** 2, TRACE * rare.error, rtol=1e-4)


def test_a_weighted_sum_of_noise_has_the_deviation_one():
    """Whatever the weights, as those of a blurred pixel, and however the noise differs from pixel to pixel."""
    rng = np.random.default_rng(0)
    weight, spread = rng.random((12, 12)) * (rng.random((12, 12)) < 0.7), 0.5 + rng.random((12, 12))
    sums = of_unit_noise(spread * rng.standard_normal((4000, 12, 12)), spread, weight)
    assert sums.shape == (4000,)
    assert sums.std() == pytest.approx(1, abs=0.05)
