"""Bands of a cube that lie beside one another: found where they are, fused there, and left alone where they are not."""

import dataclasses
import functools

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, shift

from hsitools.cube import Cube
from hsitools.estimation.finest_details import LAPLACIAN
from hsitools.scenes import scene
from hsitools.sensor import preset
from hsitools.sensor.spatial import mtf_decimate
from pansharpen.case import FusionCase
from pansharpen.comparison.judging import judge
from pansharpen.in_memory import fuse_case
from pansharpen.methods import physics
from pansharpen.methods.physics import learn
from pansharpen.optics import Optics
from pansharpen.pair.wald import simulated_case
from pansharpen.physics import band_places
from pansharpen.physics.band_places import moved
from pansharpen.registry import METHODS
from pansharpen.tiled import LargeScene

#: Fine pixels (y, x) from the first band to the last.
APART = (0.6, -1.6)


@functools.cache
def case(apart=APART, *, ratio=4, noise=False, side=(120, 96)) -> FusionCase:
    """Every fourth band of a PRISMA-like pair up to 900 nm, of a scene whose bands lie apart in proportion to it."""
    whole = scene(side, seed=3)
    view = whole.select(bands=np.flatnonzero(np.asarray(whole.wavelength_nm) < 920))
    along = np.linspace(-0.5, 0.5, view.n_bands)
    moved = [
        shift(band, np.multiply(apart, place), order=3, mode="nearest")
        for band, place in zip(view.read().astype(float), along, strict=True)
    ]
    displaced = Cube(data=np.array(moved, dtype=np.float32), wavelength_nm=view.wavelength_nm)
    sensor = preset("prisma")
    few = sensor.select(np.flatnonzero(np.asarray(sensor.response.wavelength_nm) < 900)[::2])
    return simulated_case(displaced, few, ratio=ratio, noise=noise, seed=1)


def ergas(pair):
    return judge(pair, fuse_case("physics", pair), metrics=("ERGAS",))["ERGAS"].value


@pytest.mark.parametrize("noise", [False, True])
def test_details_go_where_each_band_lies(noise, monkeypatch):
    pair = case(noise=noise)
    found = learn(pair).pair
    # samples lie where the picture came from
    expected = np.linspace(0.5, -0.5, pair.n_bands)[:, None] * APART
    assert np.abs(found.shift + found.places - expected).mean() < 0.25
    assert 0.5 < found.said(0.0)["bands_pixels"] < 1.5
    moved = ergas(pair)
    monkeypatch.setattr(physics, "band_places", lambda *_: None)
    assert moved < 0.85 * ergas(pair)


@functools.cache
def lines(*, ratio=3) -> tuple[FusionCase, np.ndarray]:
    """Bands that are lines of PAN, each moved by a parabola of its number, and where their samples lie."""
    pan = scene((132, 120), seed=4).read()[30].astype(float)
    number = np.linspace(-1, 1, 12)
    moved = np.stack([0.3 * number - 0.2 * number**2, 0.8 * number + 0.1], 1)
    gain = np.linspace(0.4, 1.5, 12)
    truth = np.stack([g * shift(pan, by, order=5, mode="nearest") + 0.1 for g, by in zip(gain, moved, strict=True)])
    optics = Optics(ratio=ratio)
    down = mtf_decimate(pan.shape, optics.mtf, ratio)
    noise = 1e-3 * torch.randn(12, 44, 40, generator=torch.Generator().manual_seed(0))
    coarse = down(torch.as_tensor(truth)).float() + noise
    made = FusionCase(
        coarse=coarse, pan=torch.as_tensor(pan).float()[None], optics=optics, reference=torch.as_tensor(truth).float()
    )
    return made, -moved


def test_places_are_those_of_bands_that_follow_pan():
    made, places = lines()
    found = learn(made).pair
    np.testing.assert_allclose(found.shift + found.places, places, rtol=0, atol=0.05)


@pytest.mark.parametrize("noise", [False, True])
def test_bands_on_one_another_are_left_there(noise):
    found = learn(case((0.0, 0.0), noise=noise)).pair
    assert found.places is None
    assert "bands_pixels" not in found.said(0.0)


def test_bands_that_follow_no_pan_are_left_where_they_are():
    pair = case()
    other = torch.as_tensor(scene((120, 96), seed=50).read()[20]).float()[None, None]
    assert (
        learn(pair.replace(pan=other, optics=dataclasses.replace(pair.optics, pan_response=None))).pair.places is None
    )
    flat = pair.replace(pan=torch.full_like(pair.pan, 0.3))
    assert learn(flat).pair.places is None


def test_what_the_optics_see_of_the_result_is_the_cube():
    """As closely as of a pair whose bands lie on one another."""

    def off(pair):
        seen = pair.tile.down()(fuse_case("physics", pair))
        inner = (..., slice(2, -2), slice(2, -2))
        spread = pair.coarse.std((2, 3), keepdim=True)
        return float((((seen - pair.coarse) / spread)[inner]).square().mean().sqrt())

    assert off(case()) < 1.5 * off(case((0.0, 0.0))) + 0.01


def test_a_scene_on_its_side():
    pair = case()
    turned = pair.replace(**{name: getattr(pair, name).mT.flip(-1) for name in ("coarse", "pan", "reference")})
    expected = fuse_case("physics", pair).mT.flip(-1)
    found = fuse_case("physics", turned)
    assert float((found - expected).abs().max()) < 1e-3 * float(expected.max())


def test_tiles_are_the_whole():
    pair = case(side=(144, 72), ratio=3)
    assert learn(pair).pair.places is not None
    expected = fuse_case("physics", pair)[0].numpy()
    optics = pair.optics
    cube = Cube(data=pair.coarse[0].numpy(), wavelength_nm=optics.wavelength_nm, pan=Cube(data=pair.pan[0].numpy()))
    tiles = LargeScene(cube, halo=METHODS["physics"].halo_at(optics.ratio), optics=optics, side=32)
    assert len(tiles.windows) > 1
    found = METHODS["physics"].function(tiles).read(np.arange(cube.n_bands), slice(0, 144), slice(0, 72))
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_error_bars_hold():
    pair = case(noise=True)
    fused, std = METHODS["physics"].function(pair, std=True)
    inside = ((fused - pair.reference).abs() < 1.96 * std).float().mean()
    assert 0.88 < float(inside) < 1


def test_moved_by_hand():
    """Parabolas of the place are moved without error, away from the border."""
    y, x = np.mgrid[:30, :27].astype(float)
    places = np.array([[0.4, -1.3], [0.0, 0.0], [-1.9, 0.75]])
    image = lambda y, x: 0.02 * y**2 - 0.01 * x * y + 0.3 * x  # noqa: E731
    pair = FusionCase(coarse=torch.zeros(1, 3, 10, 9), pan=torch.zeros(1, 1, 30, 27), optics=Optics(ratio=3))
    found = moved(pair.tile, places)(torch.as_tensor(np.stack([image(y, x)] * 3))[None].double())[0].numpy()
    for band, (dy, dx) in enumerate(places):
        inner = (slice(8, -8), slice(8, -8))
        np.testing.assert_allclose(found[band][inner], image(y + dy, x + dx)[inner], rtol=0, atol=1e-9)


def test_optics_sample_each_band_at_its_own_place():
    image = torch.randn(1, 3, 24, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    places, gains = np.array([[0.4, -1.3], [0.0, 0.2], [-1.9, 0.75]]), np.array([0.2, 0.3, 0.4])
    found = mtf_decimate((24, 20), gains, 4, shift=places)
    for band in range(3):
        alone = mtf_decimate((24, 20), gains[band], 4, shift=tuple(places[band]))(image[:, band : band + 1])
        torch.testing.assert_close(found(image)[:, band : band + 1], alone, rtol=0, atol=1e-7)
    other = torch.randn(1, 3, 6, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    both = [float((found(image) * other).sum()), float((image * found.adjoint(other)).sum())]
    assert both[0] == pytest.approx(both[1], rel=1e-9)


def of_two_scales(fine: float, broad: float) -> FusionCase:
    """Bands whose fine and broad details lie up to so many pixels along y beside PAN's."""
    rng = np.random.default_rng(0)
    small, large = (
        image / image.std() for image in (gaussian_filter(rng.standard_normal((160, 160)), size) for size in (1, 4))
    )
    bands = [
        10 + shift(small, (fine * place, 0), order=3, mode="nearest")
        + 2 * shift(large, (broad * place, 0), order=3, mode="nearest")
        for place in np.linspace(-1, 1, 10)
    ]  # fmt: skip
    optics = Optics(ratio=4)
    noise = 1e-3 * torch.randn(10, 40, 40, generator=torch.Generator().manual_seed(0))
    coarse = mtf_decimate((160, 160), optics.mtf, 4)(torch.as_tensor(np.array(bands))).float() + noise
    return FusionCase(coarse=coarse, pan=torch.as_tensor(10 + small + 2 * large).float()[None], optics=optics)


def test_places_are_those_of_details_of_either_size(monkeypatch):
    """Sunlit slopes look as if they lay aside, the farther the broader they are: fine details would be moved by it."""
    found = learn(of_two_scales(2.0, 2.0)).pair.places
    assert np.abs(found - np.outer(np.linspace(2, -2, 10), (1, 0))).max() < 0.5
    slopes = of_two_scales(0.0, 2.0)
    assert learn(slopes).pair.places is None
    monkeypatch.setattr(band_places, "DOUBLED", LAPLACIAN)
    assert np.abs(learn(slopes).pair.places).max() > 0.5
