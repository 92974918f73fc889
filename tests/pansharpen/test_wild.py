"""Wild samples of a pair, from both sides: they spoil nothing else, and what is light of the scene stays."""

import numpy as np
import pytest
import torch

from hsitools import preset, scene
from hsitools.cube import Cube
from hsitools.scale.sending import pack, unpack
from hsitools.sensor.multispectral import band_table
from pansharpen import fuse
from pansharpen.in_memory import fuse_case, prepared
from pansharpen.methods.gsa import gsa
from pansharpen.pair.alignment import paired
from pansharpen.pair.guide_files import placed, with_pan
from pansharpen.pair.guides import simulated_guides
from pansharpen.registry import METHODS
from pansharpen.tiled import LargeScene

RATIO, SIDE = 4, 18
SENSOR = preset("prisma").select(range(0, 230, 14)).replace(ratio=RATIO)
#: A voxel and a pixel of PAN, in the corners of tiles of 9 coarse pixels; too far apart to bear each other witness.
VOXEL, PIXEL = (3, 8, 8), (63, 35)


@pytest.fixture(scope="module")
def fine() -> Cube:
    return scene((RATIO * SIDE, RATIO * SIDE), seed=41, wavelength_nm=np.arange(395.0, 2430.0, 10.0))


@pytest.fixture(scope="module")
def pair(fine) -> Cube:
    return SENSOR.observe(fine, np.random.default_rng(2)).load()


@pytest.fixture(scope="module")
def alone(pair) -> dict:
    """Both methods' results of the pair as it is."""
    return {name: np.asarray(fuse(pair, method=name, sensor=SENSOR).read()) for name in ("GSA", "physics")}


def spoiled(pair, times, *, voxel=True, pixel=True) -> Cube:
    """The pair with a voxel of so many times its band's mean, and a pixel so many times PAN's maximum."""
    cube, pan = np.array(pair.read()), np.array(pair.pan.read())
    if voxel:
        cube[VOXEL] = times * cube[VOXEL[0]].mean()
    if pixel:
        pan[0][PIXEL] = times * pan.max()
    return pair.replace(data=cube, pan=pair.pan.replace(data=pan))


@pytest.mark.parametrize(("method", "times"), [("GSA", 10), ("GSA", 50), ("GSA", 1e30), ("physics", 50)])
def test_wild_samples_spoil_no_others(pair, alone, method, times, caplog):
    fused = fuse(spoiled(pair, times), method=method, sensor=SENSOR)
    assert fused.meta["wild_samples"] == {"cube_voxels": 1, "pan_pixels": 1}
    assert "1 cube voxels and 1 pan pixels" in caplog.text
    values = np.asarray(fused.read())
    lost = np.zeros(values.shape, dtype=bool)
    lost[VOXEL[0], 32:36, 32:36] = lost[(slice(None), *PIXEL)] = True
    np.testing.assert_array_equal(np.isnan(values), lost)
    change = np.where(lost, 0, values - alone[method])
    details = np.std(alone[method] - np.asarray(fuse(pair, method="EXP").read()))
    assert np.sqrt(np.mean(change**2)) < 0.05 * details


def test_either_is_told_by_itself(pair):
    for kind, count in (("voxel", "cube_voxels"), ("pixel", "pan_pixels")):
        image = spoiled(pair, 10, **{"voxel": False, "pixel": False, kind: True})
        assert LargeScene(image, SENSOR, halo=0).wild.said == {count: 1}


def both_cases(image):
    scenes = LargeScene(image, SENSOR, halo=0, side=max(image.shape[1:]))
    return scenes.case(), scenes.case(as_measured=True).replace(findings={})


def test_tiles_are_the_whole(pair):
    image = spoiled(pair, 50)
    tiles, (case, as_measured) = LargeScene(image, SENSOR, halo=METHODS["GSA"].halo, side=9), both_cases(image)
    assert len(tiles.windows) == 4
    whole = fuse_case("GSA", as_measured)
    parts = torch.as_tensor(np.array(gsa(tiles).read(np.arange(case.n_bands), slice(0, 72), slice(0, 72))))[None]
    torch.testing.assert_close(fuse_case("GSA", case), whole, equal_nan=True)
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-5, equal_nan=True)
    # what workers are sent holds them
    sent = unpack(pack(tiles))
    assert "seen" in vars(sent)
    assert torch.isnan(sent.wild.from_cube(case.coarse.nan_to_num())).sum() == 1


def lit(fine, places, level=1.0):
    """The scene, so bright, with lights: each of a kind and height in one fine pixel, flares in a coarse one."""
    values, wavelength = level * np.array(fine.read()), fine.wavelength_nm
    spectra = {
        "roof": np.ones(len(wavelength)),
        "flare": 1.0 * (wavelength > 1600),
        "line": np.exp(-((wavelength - 589) ** 2) / 50),
        "lamp": np.exp(-((wavelength - 650) ** 2) / 2e4),
    }
    for (y, x), (kind, height) in places.items():
        size = RATIO if kind == "flare" else 1
        values[:, y : y + size, x : x + size] += height * spectra[kind][:, None, None]
    return fine.replace(data=values)


@pytest.mark.parametrize("height", [1, 30])
@pytest.mark.parametrize(("level", "kinds"), [(1.0, ["roof", "flare", "line"]), (1e-3, ["lamp", "line", "line"])])
def test_light_of_the_scene_is_kept(fine, level, kinds, height):
    lights = [(kind, height) for kind in kinds]
    image = lit(fine, dict(zip([(9, 14), (40, 41), (60, 20)], lights, strict=True)), level)
    observed = SENSOR.observe(image, np.random.default_rng(2))
    assert not LargeScene(observed, SENSOR, halo=0).wild.said


def test_pan_beyond_the_bands_of_the_cube_is_believed():
    """There the cube is no witness against it."""
    rng = np.random.default_rng(3)
    cube, pan = (rng.normal(1, 0.1, shape).astype(np.float32) for shape in ((5, 16, 16), (1, 64, 64)))
    pan[0, 30, 30] = 3
    image = Cube(data=cube, wavelength_nm=np.linspace(1500, 1900, 5), pan=Cube(data=pan))
    assert not LargeScene(image, halo=0).wild.said


def test_a_noise_model_is_given_them(pair):
    fused = fuse(spoiled(pair, 50, pixel=False), method="GSA", sensor=SENSOR, noise="blind")
    assert np.isfinite(np.asarray(fused.read())).all()


@pytest.mark.parametrize(("ratio", "bands", "counts"), [(2, 30, 20), (4, 8, 1000), (6, 30, 1000), (4, 30, 5)])
def test_a_ship_on_even_water_is_kept_where_the_cube_counts_photons(ratio, bands, counts):
    """No contrast of the ground tells what PAN is in the bands; and of few photons they could not tell at all."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        side = 32 * ratio
        fine = np.ones((side, side))
        fine[tuple(rng.integers(4 * ratio, side - 4 * ratio, 2))] = 4
        mean = np.ones((bands, 1, 1)) * fine.reshape(32, ratio, 32, ratio).mean((1, 3))
        pan = (fine + 0.003 * rng.standard_normal(fine.shape)).astype(np.float32)[None]
        ship = Cube(data=rng.poisson(counts * mean).astype(np.float32), pan=Cube(data=pan))
        assert LargeScene(ship, None, halo=24).wild.said == {}


def test_a_wild_pixel_of_pan_on_even_water_goes():
    """The same water with light enough for the cube to see a ship: there is none."""
    rng = np.random.default_rng(0)
    pan = 1 + 0.003 * rng.standard_normal((1, 128, 128))
    pan[0, 60, 61] = 8
    water = Cube(data=1 + 0.002 * rng.standard_normal((8, 32, 32)), pan=Cube(data=pan))
    assert LargeScene(water, None, halo=24).wild.pixels.tolist() == [[60, 61]]


@pytest.fixture(scope="module")
def guides(fine, pair) -> list[Cube]:
    """What Sentinel-2 sees of the scene: pixels of the fine grid, and twice as large."""
    seen = simulated_guides(fine, band_table("sentinel-2"), RATIO, pair.wavelength_nm, rng=np.random.default_rng(0))
    return [Cube(data=guide.image[0].numpy(), wavelength_nm=guide.wavelength_nm) for guide in seen]


#: Channel, row and column of a pixel of each guide, in the corners of tiles.
WILD_OF_GUIDES = ((1, 36, 35), (4, 17, 18))


def with_wild(guides, times) -> list[Cube]:
    out = []
    for guide, place in zip(guides, WILD_OF_GUIDES, strict=True):
        values = np.array(guide.read())
        values[place] = times * values[place[0]].max()
        out.append(guide.replace(data=values))
    return out


@pytest.mark.parametrize("made", [True, False])
@pytest.mark.parametrize("times", [50, -20])
def test_pixels_of_guides_are_judged_by_the_cube(pair, guides, times, made):
    cube, images = pair.replace(pan=None) if made else pair, with_wild(guides, times)
    ready = paired(with_pan(cube, images, "sentinel-2"))
    places = placed(ready, images, "sentinel-2")
    whole, tiles = (LargeScene(ready, SENSOR, halo=4, side=n, guides=places, pan_made=made) for n in (SIDE, 9))
    for one in (whole, tiles):
        assert [tuple(map(tuple, found.tolist())) for found in one.wild.guides] == [(at,) for at in WILD_OF_GUIDES]
        assert one.wild.said == {"guide_pixels": 2}
    case = whole.case(as_measured=True)
    ready = prepared(case.replace(findings={}))
    for guide, of_scene, place in zip(ready.guides, whole.case().guides, WILD_OF_GUIDES, strict=True):
        assert torch.argwhere(~guide.valid[0]).tolist() == [list(place)]
        torch.testing.assert_close(guide.image, of_scene.image)
    # PAN that is made of them has none there; one of its own does
    assert (~torch.isfinite(whole.case().pan[0, 0])).sum() == made
    if made:
        assert torch.argwhere(~ready.pan_valid[0, 0]).tolist() == [list(WILD_OF_GUIDES[0][1:])]


def test_a_wild_pixel_of_a_guide_spoils_no_others(pair, guides):
    alone = pair.replace(pan=None)
    clean, spoilt = (
        np.asarray(fuse(alone, method="GSA", sensor=SENSOR, guide=images, guide_sensor="sentinel-2").read())
        for images in (guides, with_wild(guides, 50))
    )
    lost = np.isnan(spoilt)
    assert np.array_equal(np.argwhere(lost.all(0)), [WILD_OF_GUIDES[0][1:]])
    assert lost.sum() == len(spoilt)
    details = np.std(clean - np.asarray(fuse(pair, method="EXP").read()))
    assert np.sqrt(np.mean((spoilt - clean)[~lost] ** 2)) < 0.05 * details


def test_lights_in_guides_are_kept(fine):
    image = lit(fine, {(9, 14): ("roof", 30), (40, 41): ("flare", 30), (60, 20): ("line", 30)})
    observed = SENSOR.observe(image, np.random.default_rng(2)).load().replace(pan=None)
    seen = simulated_guides(
        image, band_table("sentinel-2"), RATIO, observed.wavelength_nm, rng=np.random.default_rng(0)
    )
    images = [Cube(data=guide.image[0].numpy(), wavelength_nm=guide.wavelength_nm) for guide in seen]
    ready = paired(with_pan(observed, images, "sentinel-2"))
    assert not LargeScene(ready, SENSOR, halo=0, guides=placed(ready, images, "sentinel-2"), pan_made=True).wild.said
