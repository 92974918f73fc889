"""Sharp bands of another sensor in place of PAN, or beside it."""

import dataclasses
import json

import numpy as np
import pytest
import torch

import pansharpen.in_memory
from hsitools.errors import InputError
from hsitools.io import open_cube, save_cube
from hsitools.scenes import scene
from hsitools.sensor import preset
from hsitools.sensor.spatial import mtf_blur, mtf_decimate
from pansharpen.case import FusionCase, guided
from pansharpen.comparison.judging import judge
from pansharpen.cubes import fuse
from pansharpen.guide import Guide
from pansharpen.in_memory import fuse_case
from pansharpen.methods.physics import learn
from pansharpen.pair.alignment import paired
from pansharpen.pair.guide_files import placed, with_pan
from pansharpen.pair.wald import simulated_case
from pansharpen.physics.guide_bands import doubted_bands
from pansharpen.physics.one_place import move
from pansharpen.registry import METHODS, names
from pansharpen.tiled import LargeScene


@pytest.fixture(scope="module")
def wide() -> FusionCase:
    """Every twelfth band of a PRISMA-like pair of 16×16 coarse pixels at ratio 3."""
    made = simulated_case(scene((48, 48), seed=7), preset("prisma"), ratio=3, noise=False)
    few = pansharpen.in_memory.select_bands(made, torch.arange(0, made.n_bands, 12))
    # PAN is made up of the bands that are left, and sharp
    response = few.optics.pan_response / few.optics.pan_response.sum()
    pan = (torch.as_tensor(response).float() @ few.reference[0].flatten(1)).view_as(few.pan)
    return few.replace(pan=pan, optics=dataclasses.replace(few.optics, pan_response=response, pan_mtf=None))


def bells(case, centres, width=60.0):
    """Responses ``(channel, band)`` of bell-shaped bands, nm."""
    weights = np.exp(-0.5 * ((case.optics.wavelength_nm - np.array(centres)[:, None]) / width) ** 2)
    return weights / weights.sum(axis=1, keepdims=True)


def seen(case, responses, **changes):
    """What bands of these responses see of a case's truth."""
    image = (torch.as_tensor(responses).float() @ case.reference[0].flatten(1)).unflatten(-1, case.pan.shape[-2:])
    return Guide(image=image[None], response=responses, **changes)


def with_guides(case, *guides):
    return guided(case.coarse, guides, dataclasses.replace(case.optics, pan_response=None), reference=case.reference)


def ergas(case, fused=None):
    return judge(case, fuse_case("physics", case) if fused is None else fused, metrics=("ERGAS",))["ERGAS"].value


CENTRES = (480, 560, 660, 850, 1600, 2200)


@pytest.fixture(scope="module")
def case(wide) -> FusionCase:
    return with_guides(wide, seen(wide, bells(wide, CENTRES)))


@pytest.fixture(scope="module")
def fused(case) -> torch.Tensor:
    """What `physics` makes of it."""
    return fuse_case("physics", case)


def test_one_channel_is_pan(wide):
    response = wide.optics.pan_response
    guide = Guide(image=wide.pan, response=response[None])
    alone = with_guides(wide, guide)
    torch.testing.assert_close(alone.pan, wide.pan)
    unknown = wide.replace(optics=dataclasses.replace(wide.optics, pan_response=None))
    nothing = with_guides(unknown, dataclasses.replace(guide, response=None))
    # where PAN is, or where the cube is: the same within some hundredths of a pixel
    difference = fuse_case("physics", nothing) - fuse_case("physics", unknown)
    assert difference.square().mean() < 1e-4 * (wide.reference - fuse_case("EXP", wide)).square().mean()
    # a known response does so too, whatever its scale
    assert ergas(alone) == pytest.approx(ergas(wide), rel=0.02)


def test_more_bands_recover_more(wide, case, fused):
    with_pan, with_bands = ergas(wide), ergas(case, fused)
    both = case.replace(pan=wide.pan, pan_made=False, optics=wide.optics)
    assert with_bands < 0.6 * with_pan
    assert ergas(both) < 1.1 * with_bands
    # what its optics have taken off PAN is no contradiction to bands that are sharp
    soft = mtf_blur(tuple(wide.pan.shape[-2:]), 0.2, 1)(wide.pan)
    assert ergas(both.replace(pan=soft, optics=dataclasses.replace(wide.optics, pan_mtf=0.2))) < 1.05 * with_bands


@pytest.mark.parametrize("seed", [3, 7])
def test_pan_beside_bands_does_no_harm(seed):
    """Of a PRISMA-like pair, both with the optics and noise of their sensors."""
    view, sensor = scene((48, 48), seed=seed), preset("prisma").select(range(0, 230, 12))
    with_pan = simulated_case(view, sensor, ratio=3)
    bands = simulated_case(view, sensor, ratio=3, guide="sentinel-2").replace(coarse=with_pan.coarse)
    both = bands.replace(pan=with_pan.pan, pan_made=False, optics=with_pan.optics)
    # PAN sees little that the bands do not, and its place is less sure: .922 against .909 in one of them
    assert ergas(both) <= 1.02 * min(ergas(with_pan), ergas(bands))
    # one in twelve bands does not tell what a channel between them is like
    assert bands.findings["guide_bands"] == []


def test_gain_and_offset_of_a_channel_do_not_matter(wide, case, fused):
    guide = case.guides[0]
    gain, offset = torch.tensor([0.2, 3.0, 1.0, 40.0, 1.0, 7.0]), torch.tensor([5.0, -1.0, 0.0, 2.0, 0.3, 0.0])
    other = dataclasses.replace(guide, image=guide.image * gain[:, None, None] + offset[:, None, None])
    again = fuse_case("physics", with_guides(wide, other))
    spread = case.reference.std()
    assert (fused - again).abs().max() < 5e-3 * spread


def test_guides_come_to_the_cube(wide, case):
    """Channels that lie apart from one another and elsewhere than the cube, by up to half a pixel, and bent."""
    guide, (height, width) = case.guides[0], case.pan.shape[-2:]
    bend = 0.3 * torch.linspace(-1, 1, width, dtype=torch.float64).expand(height, width)
    steps = [torch.stack([bend + y, bend.flip(1) * 0 + x]) for y, x in ((0.5, 0), (0.2, -0.3), (0.0, 0.4)) * 2]
    elsewhere = torch.cat([move(guide.image[:, k : k + 1], step) for k, step in enumerate(steps)], 1)
    displaced = with_guides(wide, dataclasses.replace(guide, image=elsewhere))
    made = learn(displaced)
    again = made.scene.map(lambda tile: tile.guides[0].image)
    inside = (..., slice(6, -6), slice(6, -6))
    wrong, remaining = (((image - guide.image) / guide.image.std())[inside].std() for image in (elsewhere, again))
    assert remaining < 0.4 * wrong
    # each channel's place is told, though all are in one afterwards
    said = made.channels.said(["bells"])
    assert [part["channel"] for part in said] == [1, 2, 3, 4, 5, 6]
    assert said[1]["guide"] == "bells"
    shifts = np.array([part["shift_pixels"] for part in said])
    np.testing.assert_allclose(shifts[:3] - shifts[1], [[-0.3, -0.3], [0, 0], [0.2, -0.7]], atol=0.15)


def test_channels_that_are_other_bands_than_said_are_named(wide, case, caplog):
    (guide,) = case.guides
    right, turned = (made.replace() for made in (case, with_guides(
        wide, dataclasses.replace(guide, response=guide.response[::-1].copy(), name="ten.tif")
    )))  # fmt: skip
    learned = [learn(made) for made in (right, turned)]
    doubted = [doubted_bands(model.scene, model.channels.parts, model.pair) for model in learned]
    assert doubted[0] == []
    # neither the first channel, said to be short-wave infrared, nor the last, said to be blue
    assert {channel.number for channel, _ in doubted[1]} >= {0, 5}
    nearest = {channel.number: case.optics.wavelength_nm[band] for channel, band in doubted[1]}
    assert nearest[0] < 800 < nearest[5]
    fuse_case("physics", turned)
    assert "ten.tif: found channel 1 to be like the cube's band" in caplog.text


def test_bands_of_a_coarser_grid_count(wide):
    """10 m bands that see no shortwave infrared, and 20 m bands that do; 30 m pixels are no multiple of 20 m."""
    fine = seen(wide, bells(wide, (480, 560, 660, 850)))
    wider = seen(wide, bells(wide, (1600, 2200)))
    size = tuple(wide.pan.shape[-2:])
    coarser = dataclasses.replace(wider, image=mtf_decimate(size, 0.3, 2)(wider.image), ratio=2, mtf=0.3)
    without, both, sharper = (ergas(with_guides(wide, fine, *more)) for more in ((), (coarser,), (wider,)))
    assert sharper < both < 0.95 * without


@pytest.mark.parametrize("name", [name for name in names() if not METHODS[name].trained
                                  and METHODS[name].family != "zero-shot net"])  # fmt: skip
def test_every_method_takes_a_guide(name, case, fused):
    result = fused if name == "physics" else fuse_case(name, case)
    assert result.shape == case.reference.shape
    assert torch.isfinite(result).all()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ratio": 2}, "found ratios 2, expected at least one guide on the fine grid"),
        ({"image": torch.ones(1, 6, 9, 9)}, "found shape (1, 6, 9, 9), expected (1, 6, 48, 48)"),
        ({"response": np.ones((6, 3))}, "response: found 3 bands, expected 20"),
        ({"response": np.ones((5, 3))}, "response: found 5 rows, expected 6"),
        ({"image": torch.ones(6)}, "found shape (6,)"),
        ({"mtf": [0.3, 0.4]}, "mtf: found 2 rows, expected 6, one a channel"),
        ({"mtf": 1.5}, "mtf: found 1.5 to 1.5, expected gains"),
        ({"noise_variance": np.full(6, np.nan)}, "noise_variance: found a value that is not finite"),
        ({"response": np.full((6, 20), np.inf)}, "response: found a weight that is infinite"),
        ({"offset": (np.nan, 0.0)}, "offset: found (nan, 0.0), expected two numbers"),
        ({"valid": torch.ones(1, 2, 48, 48, dtype=torch.bool)}, "valid: found torch.bool of shape (1, 2, 48, 48)"),
        ({"valid": torch.ones(1, 1, 48, 48)}, "valid: found torch.float32 of shape"),
    ],
)
def test_errors_name_what_is_wrong(case, changes, said):
    with pytest.raises(InputError, match=said.replace("(", r"\(").replace(")", r"\)")):
        with_guides(case, dataclasses.replace(case.guides[0], **changes))


def test_a_guide_with_pixels_of_the_cubes_is_none(case):
    coarse = Guide(image=torch.ones(1, 2, 16, 16), ratio=3, name="same")
    with pytest.raises(InputError, match="same: found pixels as large as the cube's, expected finer ones"):
        case.replace(guides=(*case.guides, coarse))


# ---- files, tiles, the command -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A PRISMA-like cube without PAN of 30 m and Sentinel-2's bands of 10 m and of 20 m, with maps, in three files.

    The 20 m pixels begin one fine pixel before the cube.
    """
    folder = tmp_path_factory.mktemp("guide")
    view = scene((72, 66), seed=3).replace(crs="EPSG:32633", transform=(10.0, 0.0, 5e5, 0.0, -10.0, 4.6e6))
    sensor = preset("prisma").replace(pan=None, pan_noise=None, ratio=3)
    cube = sensor.observe(view, np.random.default_rng(0)).select(bands=list(range(0, 230, 32)))
    imager = preset("sentinel-2")
    ten, twenty = ([1, 2, 3, 7], [4, 5, 6, 8, 11, 12])
    fine = imager.select(ten).observe(view, np.random.default_rng(1))
    wide = scene((74, 68), seed=3).replace(crs="EPSG:32633", transform=(10.0, 0.0, 5e5 - 10, 0.0, -10.0, 4.6e6 + 10))
    shifted = wide.replace(data=np.pad(view.read(), ((0, 0), (1, 1), (1, 1)), mode="edge"))
    coarse = imager.select(twenty).replace(ratio=2, offset=None).observe(shifted, np.random.default_rng(2))
    save_cube(cube, folder / "cube.h5")
    for name, image in (("ten", fine), ("twenty", coarse)):
        save_cube(image.replace(wavelength_nm=None, fwhm_nm=None), folder / f"{name}.tif")
    return folder


def test_files_of_two_pixel_sizes(files):
    cube = open_cube(files / "cube.h5")
    guides = [open_cube(files / f"{name}.tif") for name in ("ten", "twenty")]
    ready = paired(with_pan(cube, guides, "sentinel-2"))
    fine, wider = placed(ready, guides, "sentinel-2")
    assert (fine.template.ratio, fine.origin) == (1, (0.0, 0.0))
    assert (wider.template.ratio, wider.origin) == (2, (-1.0, -1.0))
    # a coarser guide, blurred and sampled from the fine grid, is where its window says
    whole = wider.read(slice(0, 72), slice(0, 66))
    part = wider.read(slice(24, 60), slice(9, 54))
    sharp = part.on_grid((36, 45)) - whole.on_grid((72, 66))[..., 24:60, 9:54]
    assert sharp[..., 12:-12, 12:-12].abs().max() < 1e-3 * whole.image.abs().max()
    np.testing.assert_allclose(fine.template.response.sum(axis=1), 1, rtol=1e-9)


def test_tiles_are_the_whole(files):
    # a tile's surroundings are as wide as this cube: two tiles along it; tiles are read hundreds of times
    cube = open_cube(files / "cube.h5").select(window=(0, 24, 0, 8)).load()
    guides = [open_cube(files / f"{name}.tif").load() for name in ("ten", "twenty")]
    ready = paired(with_pan(cube, guides, "sentinel-2"))
    parts = placed(ready, guides, "sentinel-2")
    sensor = preset("prisma").replace(pan=None, pan_noise=None)
    for name in ("physics", "GLP-HS"):
        entry = METHODS[name]
        halo = entry.halo_at(3)
        tiled, whole = (
            LargeScene(ready, sensor, halo=halo, side=side, guides=parts, pan_made=True) for side in (12, 24)
        )  # fmt: skip
        assert (len(tiled.windows), len(whole.windows)) == (2, 1)
        with torch.no_grad():
            one, other = (
                entry.function(made).read(np.arange(cube.n_bands), slice(0, 72), slice(0, 24))
                for made in (tiled, whole)
            )
        assert np.abs(one - other).max() < 1e-5 * np.abs(other).max()


def test_command_as_typed(files, hsi, monkeypatch):
    monkeypatch.chdir(files)
    command = ["pansharpen", "run", "physics", "cube.h5", "--guide", "ten.tif", "--guide", "twenty.tif",
               "--guide-sensor", "sentinel-2", "--window", "0:24,0:12", "-o", "fused.h5", "--json"]  # fmt: skip
    said = json.loads(hsi(*command).stdout)
    assert said["shape"] == [8, 72, 36]
    assert said["guides"] == ["ten.tif: 4 bands", "twenty.tif: 6 bands"]
    fused = open_cube(files / "fused.h5")
    assert fused.transform == pytest.approx((10.0, 0.0, 5e5, 0.0, -10.0, 4.6e6))
    # the door of Python users says the same
    guides = [open_cube(files / f"{name}.tif").load() for name in ("ten", "twenty")]
    cube = open_cube(files / "cube.h5").select(window=(0, 24, 0, 12))
    again = fuse(cube, guide=guides, guide_sensor="sentinel-2")
    np.testing.assert_allclose(again.read(), fused.read(), rtol=1e-4, atol=1e-5)


def test_guides_that_do_not_fit(files):
    cube = open_cube(files / "cube.h5")
    guide = open_cube(files / "ten.tif")
    told = guide.replace(wavelength_nm=[492.4, 559.8, 664.6, 832.8])
    far = guide.replace(transform=(10.0, 0.0, 7e5, 0.0, -10.0, 4.6e6))
    coarse = guide.replace(transform=(60.0, 0.0, 5e5, 0.0, -60.0, 4.6e6))
    red = cube.select(wavelength=(1200, 2100))
    for image, seen, sensor, said in (
        (far, cube, "sentinel-2", "expected it to cover some of the cube"),
        (coarse, cube, "sentinel-2", "guide: found 0.5 of its pixels to one of the cube, expected finer ones"),
        (guide, red, "sentinel-2", "found no band inside the cube's range of"),
        (guide.select(bands=[0, 1]), cube, "sentinel-2", "found 2 bands without wavelengths, expected 13"),
        (guide, cube, "sentinel-3", "did you mean 'sentinel-2'"),
        (told, cube, "landsat-8", "found a channel at 832.8 nm, expected the bands of Landsat 8, each once"),
        (told, cube, preset("planetscope").select([1, 3, 5, 7]), "expected the bands of PlanetScope"),
    ):
        with pytest.raises(InputError, match=said):
            fuse(seen, guide=image, guide_sensor=sensor)


def test_an_imagers_mtf_is_that_of_its_own_pixels(files):
    """Of a guide that was brought to other pixels, or does not tell its own, the MTF is not known."""
    cube, guide = open_cube(files / "cube.h5"), open_cube(files / "ten.tif")
    (own,) = placed(paired(with_pan(cube, [guide], "sentinel-2")), [guide], "sentinel-2")
    assert own.template.mtf == pytest.approx(np.full(4, 0.22))
    small = guide.replace(transform=(5.0, 0.0, 5e5, 0.0, -5.0, 4.6e6))
    (other,) = placed(paired(with_pan(cube, [small], "sentinel-2")), [small], "sentinel-2")
    assert other.template.mtf is None
    assert other.template.response is not None


def test_a_hole_in_one_channel_takes_nothing_from_the_others(wide):
    """As far as there is PAN: the channel's own pixels are filled, and count for nothing."""
    whole = seen(wide, bells(wide, (480, 560, 660, 830)))
    image = whole.image.clone()
    image[:, 1, :24, :24] = torch.nan
    error = []
    for given in (whole.image, image):
        fused = fuse_case("physics", wide.replace(guides=(dataclasses.replace(whole, image=given),), findings={}))
        error.append(float((fused - wide.reference)[..., 4:20, 4:20].square().mean().sqrt()))
    assert error[1] < 1.1 * error[0]
    filled = dataclasses.replace(whole, image=image).filled()
    assert filled.valid[0].all((1, 2)).tolist() == [True, False, True, True]
    assert not filled.valid_on_grid((48, 48))[0, 1, 12, 12]
