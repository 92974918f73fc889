"""Pairs that do not fit: bent against one another, of two dates, in other units than stated."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from hsitools.cube import Cube
from hsitools.estimation.chance import SIZES, believed
from hsitools.scenes import scene
from hsitools.sensor import preset
from pansharpen.cubes import fuse
from pansharpen.in_memory import fuse_case
from pansharpen.methods.physics import learn
from pansharpen.pair.wald import simulated_case
from pansharpen.physics.displacement import Field, places, terms
from pansharpen.registry import METHODS
from pansharpen.tiled import LargeScene


@pytest.fixture(scope="module")
def straight():
    """Every 25th band of a PRISMA-like pair of 32×24 coarse pixels at ratio 4, as declared."""
    sensor = preset("prisma")
    return simulated_case(scene((128, 96), seed=3), sensor.select(range(0, sensor.n_bands, 25)), ratio=4, seed=1)


def turned(case, angle):
    """PAN and truth turned about the middle: places differ by up to ``angle`` times the distance."""
    y, x = np.indices(case.pan.shape[-2:], dtype=float)
    place = np.stack([y + angle * (x - x.mean()), x - angle * (y - y.mean())])

    def moved(image):
        bands = [map_coordinates(band, place, order=3, mode="nearest") for band in image[0].double().numpy()]
        return torch.as_tensor(np.stack(bands)[None], dtype=image.dtype)

    return case.replace(pan=moved(case.pan), reference=moved(case.reference))


def error(case, fused):
    return float((fused - case.reference)[..., 4:-4, 4:-4].square().mean().sqrt())


@pytest.fixture(scope="module")
def bent(straight):
    return turned(straight, 0.02)


def test_a_bent_pair_is_straightened(bent, monkeypatch):
    model = learn(bent)
    assert model.pair.field is not None
    # a coarse sample at p of the cube's grid lies at p − angle·(x, −y) of PAN's
    rows, columns = np.indices((32, 24)) * 4 + 1.5
    expected = np.stack([-0.02 * (columns - 47.5), 0.02 * (rows - 63.5)])
    measured = model.pair.field.at(bent.tile).numpy() + np.array(model.pair.shift)[:, None, None]
    assert np.abs(measured - expected)[:, 3:-3, 3:-3].mean() < 0.15
    assert np.abs(expected).mean() > 0.4
    straightened = error(bent, fuse_case("physics", bent))
    monkeypatch.setattr("pansharpen.physics.registration._bent", lambda *_: None)
    assert straightened < 0.97 * error(bent, fuse_case("physics", bent))


def test_a_pair_that_fits_is_left_as_it_is(straight):
    assert learn(straight).pair.field is None


def test_tiles_of_a_bent_pair_are_those_of_the_whole(bent):
    cube = Cube(
        data=bent.coarse[0].numpy(), wavelength_nm=bent.optics.wavelength_nm, pan=Cube(data=bent.pan[0].numpy())
    )
    whole = fuse_case("physics", bent)[0].numpy()
    tiles = LargeScene(cube, halo=METHODS["physics"].halo_at(bent.optics.ratio), optics=bent.optics, side=16)
    assert len(tiles.windows) == 4
    parts = METHODS["physics"].function(tiles).read(np.arange(cube.n_bands), slice(0, 128), slice(0, 96))
    assert np.abs(parts - whole).max() <= 1e-5 * np.abs(whole).max()


def test_a_field_is_believed_beyond_chance_only():
    n, orders = len(terms()), [i + j for i, j in terms()]
    uncertainty = 0.05**2 * np.eye(2 * n)
    chance = np.random.default_rng(0).normal(scale=0.05, size=(2, n))
    assert not believed(chance, uncertainty, orders).any()
    true = np.zeros((2, n))
    true[0, 1], true[1, 2] = 0.5, -0.4
    kept = believed(true + chance, uncertainty, orders)
    assert np.abs(kept - true).mean() < np.abs(chance).mean()
    assert np.abs(kept).max() < np.abs(true + chance).max()
    assert max(SIZES) < 2


def test_places_add_up_over_tiles(bent):
    cube = Cube(data=bent.coarse[0].numpy(), pan=Cube(data=bent.pan[0].numpy()))
    tiles = LargeScene(cube, halo=2, optics=bent.optics, side=16)
    field, whole = Field.none(tiles.sum(places)), Field.none(bent.sum(places))
    np.testing.assert_allclose(field.centre, [15.5, 11.5], rtol=1e-12)
    np.testing.assert_allclose(field.reach, [16, 12], rtol=0.01)
    np.testing.assert_allclose(field.reach, whole.reach, rtol=1e-12)


def test_pan_of_another_date_is_believed_less_where_it_changed(straight):
    """A patch of PAN shows another place: elsewhere nothing is lost, and there not much more than without PAN."""
    pan = straight.pan.clone()
    pan[..., 40:72, 30:62] = pan[..., 40:72, 30:62].flip(-1, -2) + 2 * pan.std()
    changed = straight.replace(pan=pan)
    fused, before, plain = (fuse_case(n, c) for n, c in (("physics", changed), ("physics", straight), ("EXP", changed)))
    inside, outside = torch.zeros(128, 96, dtype=torch.bool), torch.ones(128, 96, dtype=torch.bool)
    inside[40:72, 30:62], outside[32:80, 22:70] = True, False

    def rmse(image, where):
        return float((image - straight.reference)[..., where].square().mean().sqrt())

    assert rmse(fused, outside) < 1.05 * rmse(before, outside)
    assert rmse(fused, inside) < min(1.2 * rmse(plain, inside), 0.9 * rmse(fuse_case("MTF-GLP-FS", changed), inside))
    model = learn(changed)
    (sharp,) = model.channels.terms(changed.tile, model.space.components(model.coarse(changed.tile)))
    assert sharp.precision[..., inside].mean() < 0.1 * sharp.precision[..., outside].mean()


def test_what_another_date_leaves_is_not_what_pan_leaves_elsewhere(straight):
    """Four patches, a tenth of PAN: the rest tells how well PAN follows, as if they were not there."""
    pan = straight.pan.clone()
    for y, x in ((8, 8), (20, 64), (70, 20), (96, 60)):
        patch = pan[..., y : y + 18, x : x + 18]
        pan[..., y : y + 18, x : x + 18] = patch.flip(-1) + pan.std()
    before, after = (learn(case).pair for case in (straight, straight.replace(pan=pan)))
    assert after.unexplained < 3 * before.unexplained
    np.testing.assert_allclose(after.shift, before.shift, atol=0.02)


def test_units_of_pan_do_not_matter(straight):
    """Gain and offset, as haze makes them, although the sensor tells PAN's response."""
    optics = dataclasses.replace(straight.optics, pan_variance=None)
    plain = straight.replace(optics=optics)
    hazy = plain.replace(pan=0.7 * plain.pan + 0.3)
    before, after = fuse_case("physics", plain), fuse_case("physics", hazy)
    assert float((after - before).abs().max()) < 2e-3 * float(before.abs().max())


@pytest.mark.parametrize("level", [0.2, 1e6])
def test_a_sharp_image_without_contrast_is_said_to_have_none(level, caplog):
    """All of one value, or of a contrast that float32 does not hold: the result was interpolated without a word."""
    rng = np.random.default_rng(5)
    values = rng.random((4, 9, 9)).cumsum(0)
    faint = level + (0.1 * rng.random((1, 18, 18)) if level > 1 else np.zeros((1, 18, 18)))
    cube = Cube(data=values, pan=Cube(data=faint))
    fused = fuse(cube, method="GSA").read()
    assert "cube: found no contrast in PAN; the result is hardly more than the cube interpolated" in caplog.text
    assert np.abs(fused - fuse(cube, method="EXP").read()).max() < 0.2 * values.std()
    caplog.clear()
    told = cube.replace(pan=Cube(data=1 + np.kron(values.mean(0), np.ones((1, 2, 2)))))
    fuse(told, method="GSA")
    assert "no contrast" not in caplog.text
