"""What is made of a pair before it is fused, and how the result is judged, by values worked out by hand."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy import ndimage

from hsitools.cube import Cube
from hsitools.errors import InputError
from hsitools.estimation.heights import Levels
from hsitools.metrics import evaluate, evaluate_fusion
from hsitools.scenes import scene
from hsitools.sensor import preset
from pansharpen.comparison.judging import FULL, judge, judge_classes
from pansharpen.figures import error_bars
from pansharpen.guide import Guide, shares, synthetic_pan
from pansharpen.optics import Optics
from pansharpen.pair.alignment import paired, pixels_to_one, placement
from pansharpen.pair.case_files import CONVENTIONS
from pansharpen.pair.from_sensor import noise_said, tells_noise
from pansharpen.pair.guide_files import PlacedGuide, with_pan
from pansharpen.pair.holes import bands_where, fill_nearest, fill_voxels
from pansharpen.pair.same_scene import Survey, require_same_order
from pansharpen.pair.wald import simulated_case
from pansharpen.pair.wild import (
    FAR,
    Pair,
    WildSamples,
    _beside,
    _beyond,
    _grey,
    _lone_voxels,
    _of_the_part,
    count_wild,
    levels_of,
)
from pansharpen.products import _packed_std

# ---- wild samples ------------------------------------------------------------------------------------------------


def test_what_lies_far_from_all_of_its_band():
    """Ten deviations to either side; a band of one value goes by the widest; NaN is no sample."""
    image = np.full((3, 3, 4), 5.0)
    image[0, 0, 0], image[0, 1, 1], image[0, 2, 2] = 5 + 0.1 * FAR * 1.01, 5 - 0.1 * FAR * 1.01, np.nan
    image[0, 0, 1], image[1, 0, 1] = 5 + 0.1 * FAR * 0.99, 5 + 0.4 * FAR * 1.01
    image[1, 2, 3] = 5 - 0.4 * FAR * 0.99
    found = _beyond(image, Levels(np.full(3, 5.0), np.array([0.1, 0.0, 0.4])))
    assert np.argwhere(found).tolist() == [[0, 0, 0], [0, 1, 1], [1, 0, 1]]
    assert not _beyond(image, Levels(np.full(3, 5.0), np.zeros(3))).any()


def test_neighbours_on_a_samples_own_side():
    height = np.zeros((4, 5))
    height[1, 1], height[0, 2], height[2, 1] = 20, 3, -9
    height[3, 4], height[3, 3], height[2, 4] = -15, 8, -2
    assert _beside(height, np.array([[1, 1], [3, 4]])).tolist() == [3, 2]
    assert _beside(height, np.zeros((0, 2), int)).shape == (0,)


@pytest.mark.parametrize(
    ("witness", "lone"),
    [
        (None, True), ({"cube": (1, 2, 3, 3.0)}, False), ({"cube": (1, 2, 3, 2.0)}, True),
        ({"cube": (1, 3, 3, -9.0)}, True), ({"cube": (2, 2, 2, 3.0)}, False), ({"cube": (0, 2, 2, 3.0)}, False),
        ({"cube": (1, 4, 2, 9.0)}, True), ({"cube": (2, 3, 3, 9.0)}, True), ({"pan": (5, 5, 4.1)}, False),
        ({"pan": (5, 5, 3.9)}, True), ({"pan": (3, 6, 4.1)}, False), ({"pan": (8, 4, 4.1)}, True),
        ({"pan": (4, 5, -9.0)}, True), ({"unmeasured": (0, 2)}, False), ({"unmeasured": (0,)}, True),
    ],
)  # fmt: skip
def test_who_sees_a_voxel(witness, lone):
    """Of a height of 20: an eighth of it beside, in either next band, or in PAN by 4 within a coarse pixel."""
    height, pan, measured = np.zeros((3, 5, 5)), np.zeros((10, 10)), np.ones((3, 5, 5), bool)
    height[1, 2, 2] = 20
    for what, told in (witness or {}).items():
        if what == "cube":
            height[told[:3]] = told[3]
        elif what == "pan":
            pan[told[:2]] = told[2]
        else:
            measured[list(told), 2, 2] = False
    assert _lone_voxels(np.array([[1, 2, 2]]), height, measured, pan, 2).tolist() == [lone]
    # dark ones by dark witnesses
    assert _lone_voxels(np.array([[1, 2, 2]]), -height, measured, -pan, 2).tolist() == [lone]


def test_a_bright_lamp_needs_a_thirtieth_in_pan():
    height, pan = np.zeros((3, 5, 5)), np.zeros((10, 10))
    height[1, 2, 2] = 300
    for seen, lone in ((9.0, True), (11.0, False)):
        pan[5, 4] = seen
        assert _lone_voxels(np.array([[1, 2, 2]]), height, np.ones(height.shape, bool), pan, 2).tolist() == [lone]


def test_what_light_of_all_bands_is_in_each():
    """PAN of 8 with a deviation of 2: a height of one is a fourth; of a band of 5 ± .5 that is 2.5 deviations."""
    cube = Levels(np.array([5.0, 3.0]), np.array([0.5, 0.0]))
    np.testing.assert_allclose(_grey(cube, Levels(np.array([8.0]), np.array([2.0]))), [2.5, 1.5])
    assert _grey(cube, Levels(np.array([0.1]), np.array([2.0]))) is None
    assert _grey(cube, Levels(np.array([-8.0]), np.array([2.0]))) is None
    assert _grey(Levels(np.ones(2), np.zeros(2)), Levels(np.array([8.0]), np.array([2.0]))) is None


def test_wild_samples_in_parts():
    wild = WildSamples(voxels=np.array([[1, 4, 7], [0, 9, 3]]), pixels=np.array([[8, 15]]))
    cube = wild.from_cube(torch.zeros(1, 2, 6, 8), (3, 2))
    assert torch.nonzero(cube.isnan()).tolist() == [[0, 1, 1, 5]]
    pan = wild.from_pan(torch.zeros(1, 1, 12, 16), (6, 4))
    assert torch.nonzero(pan.isnan()).tolist() == [[0, 0, 2, 11]]
    image = torch.zeros(1, 2, 3, 3)
    assert wild.from_cube(image) is image
    findings = {"wild_samples": {"cube_voxels": 1}}
    count_wild(wild, findings)
    assert findings == {"wild_samples": {"cube_voxels": 3, "pan_pixels": 1}}
    places = np.array([[0, 2, 3], [1, 1, 3], [0, 4, 5], [0, 5, 5], [0, 2, 6]])
    assert _of_the_part(places, [2, 3], [3, 3]).tolist() == [[0, 2, 3], [0, 4, 5]]


def test_levels_of_a_large_image_are_those_of_strips_all_over_it():
    """Half of the image, from top to bottom and left to right, is twice as bright: no strip may miss it."""
    rng = np.random.default_rng(0)
    cube = 3 + 0.2 * rng.standard_normal((2, 200, 600))
    cube[1] += np.linspace(0, 10, 200)[:, None] + np.linspace(0, 4, 600)
    pan = 50 + rng.standard_normal((1, 400, 1200))
    asked = []

    def read(image):
        def values(rows, columns):
            asked.append(rows.stop - rows.start)
            return image[:, rows, columns]

        return values

    pair = Pair(shape=(200, 600), optics=Optics(ratio=2), coarse=read(cube), pan=read(pan))
    of_cube, of_pan = levels_of(pair)
    np.testing.assert_allclose(of_cube.centre, [3, 10], rtol=0.02)
    np.testing.assert_allclose(of_pan.centre, [50], rtol=0.02)
    np.testing.assert_allclose([of_cube.deviation[0], of_pan.deviation[0]], [0.2, 1], rtol=0.1)
    assert sum(asked) < 200


# ---- holes -------------------------------------------------------------------------------------------------------


def test_holes_take_the_nearest_value_of_their_channel():
    rng = np.random.default_rng(1)
    image, valid = torch.as_tensor(rng.random((2, 3, 6, 7))), torch.as_tensor(rng.random((2, 3, 6, 7)) < 0.3)
    valid[1, 2] = False
    for mask in (valid, valid[:, :1]):
        found = fill_nearest(image, mask)
        for number, channel, y, x in np.ndindex(found.shape):
            keep = mask[number, channel % mask.shape[1]]
            places = torch.nonzero(keep)
            if not len(places):
                assert float(found[number, channel, y, x]) == 0
                continue
            away = (places - torch.tensor([y, x])).square().sum(1)
            nearest = [float(image[number, channel, a, b]) for a, b in places[away == away.min()].tolist()]
            assert float(found[number, channel, y, x]) in nearest


def test_a_hole_is_its_neighbours_and_what_the_other_bands_differ_from_theirs():
    """Bands that are flat but for a step of one pixel that all share; and an area where nothing is near."""
    cube = torch.linspace(1, 3, 5)[:, None, None].expand(5, 24, 24).clone()[None]
    cube[:, :, 12, 12] += 0.5
    valid = torch.ones_like(cube, dtype=torch.bool)
    valid[0, 2, 12, 12] = valid[0, 0, 5, 5] = False
    holed = torch.where(valid, cube, 99.0)
    found = fill_voxels(holed, valid)
    assert float(found[0, 2, 12, 12]) == pytest.approx(2.5, abs=0.1)
    assert float(found[0, 0, 5, 5]) == pytest.approx(1, abs=1e-5)
    wide = torch.ones_like(valid)
    wide[0, 1, :, :20] = False
    far = fill_voxels(torch.where(wide, cube, 99.0), wide)
    torch.testing.assert_close(far[0, 1, 3], torch.full((24,), 1.5), rtol=1e-4, atol=1e-4)


def test_bands_are_read_until_it_is_told_of_all_that_are_wanted():
    values = np.zeros((3, 1000, 10))
    values[0, 0, 0] = values[1, 999, 9] = 1
    test = lambda window: (window > 0).any((1, 2))  # noqa: E731
    assert bands_where(Cube(data=values), test).tolist() == [True, True, False]
    assert bands_where(Cube(data=values), test, wanted=np.array([True, False, False]))[0]


# ---- guides ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("origin", [(0.0, 0.0), (-5.0, 3.5), (2.25, -7.0)])
def test_a_window_of_a_guide_lies_where_the_whole_does(origin):
    """Pixels of two: each is read with its place, and what lies beyond the image is not valid."""
    rows, columns = np.indices((12, 15))
    cube = Cube(data=np.stack([rows, columns]).astype(np.float32))
    template = Guide(image=torch.zeros(1, 2, 0, 0), ratio=2)
    guide = PlacedGuide(cube=cube, template=template, origin=origin).read(slice(4, 12), slice(6, 16))
    assert guide.image.shape == (1, 2, 4, 5)
    inside = torch.ones(4, 5, dtype=torch.bool) if guide.valid is None else guide.valid[0, 0]
    for y, x in np.ndindex(4, 5):
        # row and column of the guide that begin there
        own = (4 + guide.offset[0] + 2 * y - origin[0]) / 2, (6 + guide.offset[1] + 2 * x - origin[1]) / 2
        assert own == (round(own[0]), round(own[1]))
        assert bool(inside[y, x]) == (0 <= own[0] < 12 and 0 <= own[1] < 15)
        if inside[y, x]:
            assert guide.image[0, :, y, x].tolist() == list(own)
    assert max(map(abs, guide.offset)) <= 1


def test_pan_of_guides_is_of_the_finest():
    map_of = lambda size: (size, 0.0, 100.0, 0.0, -size, 900.0)  # noqa: E731
    cube = Cube(data=np.ones((3, 6, 6)), transform=map_of(12.0), wavelength_nm=np.array([500.0, 600, 700]))
    rng = np.random.default_rng(2)
    fine = Cube(data=rng.random((2, 24, 24)), transform=map_of(3.0), scale_factor=2.0)
    coarse = Cube(data=rng.random((2, 12, 12)), transform=map_of(6.0))
    made = with_pan(cube, [coarse, fine], None).pan
    np.testing.assert_allclose(made.read(), 2 * fine.data.mean(0, keepdims=True), rtol=1e-6)
    assert (pixels_to_one(cube, fine), pixels_to_one(cube, coarse)) == (4, 2)
    assert pixels_to_one(cube.replace(transform=None), coarse) == 2
    assert with_pan(cube.replace(pan=fine.select(bands=[0])), [coarse], None).pan.shape == (1, 24, 24)


def test_channels_of_a_guide():
    rows = np.array([[1.0, 1, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 0, 2.0]])
    # bands 0 and 1 go with the first, 2 and 3 the second, 5 the last; 4 lies as near to it as to nothing else
    np.testing.assert_allclose(shares((rows,), 3), np.array([2, 2, 2]) / 6)
    np.testing.assert_allclose(shares((rows[:2], rows[2:]), 3), np.array([2, 2, 2]) / 6)
    np.testing.assert_allclose(shares((rows[:1],), 1), [1])
    np.testing.assert_allclose(shares((rows[:2], None), 5), np.full(5, 0.2))
    np.testing.assert_allclose(shares((np.where(rows > 1, np.nan, rows),), 3), np.full(3, 1 / 3))
    image = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    coarse = Guide(image=image, ratio=2)
    made = synthetic_pan([coarse, Guide(image=image, response=rows[[0, 0, 2]])])
    # of two that are alike the first takes all that is nearest
    torch.testing.assert_close(made[0, 0], (3 * image[0, 0] + 3 * image[0, 2]) / 6, rtol=1e-6, atol=0)
    holed = image.clone()
    holed[0, 1, 2, 3] = torch.nan
    filled = Guide(image=holed).filled()
    assert torch.nonzero(~filled.valid).tolist() == [[0, 1, 2, 3]]
    assert torch.isfinite(filled.image).all()
    batch = Guide(image=torch.cat([image, 2 * image]), valid=torch.ones(2, 1, 4, 4, dtype=torch.bool)).single(1)
    assert torch.equal(batch.image, 2 * image)
    assert batch.valid.shape == (1, 1, 4, 4)
    told = Guide(image=image, mtf=np.array([0.2, 0.3, 0.4]), noise_variance=np.array([1.0, 2, 3]), response=rows)
    np.testing.assert_array_equal(told.gains(1), [0.3, 0.3])
    np.testing.assert_array_equal(Guide(image=image).gains(1), [0.3, 0.3])
    np.testing.assert_array_equal(Guide(image=image, mtf=np.array([[0.1, 0.2]] * 3)).gains(2), [0.1, 0.2])
    assert (told.variance(2), Guide(image=image).variance(2)) == (3.0, None)
    np.testing.assert_array_equal(told.row(1), rows[1])


def test_one_mtf_for_all():
    for mtf, gains, same in (
        (0.3, [0.3, 0.3], True), (np.array([0.2, 0.4]), [0.3, 0.3], False),
        (np.array([[0.2, 0.5], [0.4, 0.7]]), [0.3, 0.6], False), (np.array([[0.2, 0.5]] * 2), [0.2, 0.5], True),
    ):  # fmt: skip
        optics = Optics(ratio=4, mtf=mtf, noise_variance=np.array([1.0, 2]), pan_response=np.array([3.0, 4]))
        np.testing.assert_allclose(optics.mean_gains(), [gains])
        assert optics.mean_mtf() == pytest.approx(np.mean(mtf))
        assert optics.same_mtf == same
        one = optics.select(np.array([1]))
        np.testing.assert_array_equal(one.mtf, mtf if np.ndim(mtf) == 0 else mtf[[1]])
        assert (one.noise_variance.tolist(), one.pan_response.tolist()) == ([2.0], [4.0])


# ---- sensors and maps --------------------------------------------------------------------------------------------


def test_rounded_pixel_sizes_count_in_the_middle_of_the_image():
    """Pixels of 4.999 m to 30 m of the cube: what drifts apart is nothing in the middle."""
    cube = Cube(data=np.ones((1, 20, 30)), transform=(30.0, 0.0, 0.0, 0.0, -30.0, 0.0), crs="EPSG:32633")
    step = 4.999
    # the middle of both lies at 450, −300, but for 1.5 m and −1 m
    left, top = 450 + 1.5 - 90 * step, -300 - 1.0 + 60 * step
    pan = Cube(data=np.ones((1, 120, 180)), transform=(step, 0.0, left, 0.0, -step, top), crs="EPSG:32633")
    found = placement(cube.replace(pan=pan))
    assert (found.ratio, found.origin) == (6, (0, 0))
    np.testing.assert_allclose(found.shift, (-1.0 / step, -1.5 / step), atol=0.01)
    # beyond half a coarse pixel whole pixels go: 20 m are four of PAN's
    far = pan.replace(transform=(step, 0.0, left - 20, 0.0, -step, top))
    found = placement(cube.replace(pan=far))
    assert found.origin == (0, 4)
    np.testing.assert_allclose(found.shift, (-1.0 / step, 18.5 / step - 4), atol=0.01)
    both = paired(cube.replace(pan=far))
    assert both.shape == (1, 20, 29)
    assert both.pan.shape == (1, 120, 174)


def test_noise_of_a_sensor_holds_in_its_units_only():
    sensor = preset("prisma").select([0, 30])
    cube = Cube(data=np.ones((2, 3, 3)), units=sensor.units)
    assert tells_noise(sensor, cube)
    assert noise_said(sensor, cube) == "the sensor's"
    for other in (cube.replace(units=""), cube.replace(units="W m-2 sr-1 um-1")):
        if other.units != sensor.units:
            assert not tells_noise(sensor, other)
            assert "estimated" in noise_said(sensor, other)
    silent = sensor.replace(noise=None, pan_noise=None)
    assert not tells_noise(silent, cube)
    assert noise_said(silent, cube) == "estimated: the sensor tells none"


def test_a_simulated_pair_has_the_noise_that_is_asked_for():
    view, sensor = scene((26, 32), seed=3), preset("prisma").select(range(0, 60, 20))
    clean, noisy, real = (
        simulated_case(view, sensor, seed=1, **told) for told in ({"noise": False}, {"snr_db": 20.0}, {})
    )
    # cut to whole coarse pixels
    assert clean.coarse.shape[-2:] == (4, 5)
    assert clean.pan.shape[-2:] == (24, 30)
    assert (clean.optics.noise_variance, clean.optics.pan_variance) == (None, None)
    # noise takes nothing else from the pair
    assert torch.equal(noisy.reference, clean.reference)
    for image, told in (("coarse", "noise_variance"), ("pan", "pan_variance")):
        power = getattr(clean, image)[0].double().square().mean((1, 2))
        np.testing.assert_allclose(np.ravel(getattr(noisy.optics, told)), power / 100, rtol=1e-5)
        for case in (noisy, real):
            error = (getattr(case, image) - getattr(clean, image))[0].double().square().mean((1, 2))
            np.testing.assert_allclose(error, np.ravel(getattr(case.optics, told)), rtol=0.9)
    finer = simulated_case(view, sensor, ratio=3, noise=False)
    assert (finer.optics.ratio, finer.optics.offset) == (3, 1.0)
    np.testing.assert_array_equal(finer.optics.mtf, clean.optics.mtf)


# ---- judging and products ----------------------------------------------------------------------------------------


def test_results_are_judged_by_what_the_case_knows():
    view, sensor = scene((36, 42), seed=3), preset("prisma").select(range(0, 60, 12))
    case = simulated_case(view, sensor, seed=1)
    generator = torch.Generator().manual_seed(0)
    fused = case.reference + 0.02 * torch.randn(case.reference.shape, generator=generator)
    inner = (0, slice(None), slice(6, -6), slice(6, -6))
    expected = evaluate(fused[inner], case.reference[inner], ratio=6, metrics=["ERGAS", "PSNR"])
    found = judge(case, fused)
    assert list(found) == ["ERGAS", "SAM", "Q2n", "PSNR"]
    for name, one in expected.items():
        assert found[name].value == pytest.approx(one.value, rel=1e-6)
    rules = dataclasses.replace(CONVENTIONS["hsitools"], border=(3, 8), clip=(0.1, 0.2))
    inner = (0, slice(None), slice(3, -8), slice(3, -8))
    expected = evaluate(fused.clamp(0.1, 0.2)[inner], case.reference[inner], ratio=6, metrics=["ERGAS"])
    assert judge(case, fused, rules, ["ERGAS"])["ERGAS"].value == pytest.approx(expected["ERGAS"].value, rel=1e-6)
    blind = case.replace(reference=None, optics=dataclasses.replace(case.optics, offset=1.0))
    optics = blind.optics
    told = {
        "ratio": 6, "mtf": optics.mtf, "pan_mtf": optics.mean_mtf(), "offset": 1.0, "border": 6, "registered": True,
        "pan_own_mtf": optics.pan_mtf, "noise_variance": optics.noise_variance, "metrics": FULL,
    }  # fmt: skip
    found, expected = judge(blind, fused), evaluate_fusion(fused[0], case.coarse[0], case.pan[0], **told)
    for name in FULL:
        assert found[name].value == pytest.approx(expected[name].value, rel=1e-6)
    # of bands of much signal all classes are the whole
    clear = case.replace(optics=dataclasses.replace(case.optics, noise_variance=np.full(5, 1e-12)))
    record = judge_classes(clear, fused, CONVENTIONS["hsitools"])
    assert record["values"]["SAM_snr20"] == record["values"]["SAM"] == judge(case, fused)["SAM"].value
    assert record["snr"]["bands"] == {"3": 5, "10": 5, "20": 5}
    level = case.coarse[0].double().mean((1, 2)).numpy()
    assert record["snr"]["median"] == pytest.approx(np.median(level) / 1e-6, rel=1e-5)
    assert record["excluded"] == {}


def test_error_bars_as_integers_stay_within_the_cubes_range():
    rng = np.random.default_rng(4)
    cube = Cube(data=(100 + 50 * rng.random((2, 8, 8))).astype(np.float32))
    std = Cube(data=(20 * rng.random((2, 16, 16))).astype(np.float32))
    values = _packed_std(std, cube).physical().read()
    np.testing.assert_allclose(values, std.data, atol=50 / 1e4)
    assert values.min() >= 0


def test_pan_is_drawn_in_its_units():
    """Not as the file stores it; what is no data is no value."""
    stored = np.arange(400, 416, dtype=np.int16).reshape(1, 4, 4)
    stored[0, 0, 0] = -1
    pan = Cube(data=stored, scale_factor=0.5, nodata=-1.0, units="W")
    cube = Cube(data=np.ones((3, 2, 2)))
    figure, _ = error_bars(cube, pan, Cube(data=np.ones((3, 4, 4))))
    shown = np.ma.filled(figure.axes[1].images[0].get_array(), np.nan)
    np.testing.assert_array_equal(shown, pan.physical().read()[0])
    assert np.isnan(shown[0, 0])
    assert np.nanmax(shown) == 207.5


# ---- the same scene ----------------------------------------------------------------------------------------------


def test_a_survey_in_parts_is_that_of_the_whole():
    """Blocks of 3 coarse pixels, of which the last row and column are no whole ones, against a loop."""
    rng = np.random.default_rng(5)
    cube, pan = rng.random((3, 101, 193)).astype(np.float32), rng.random((1, 202, 386)).astype(np.float32)
    cube[1, 40:60, 7], pan[0, 3] = np.nan, np.nan
    parts = [
        Survey.of((101, 193), (y, x), cube[:, y : y + 64, x : x + 64], pan[:, 2 * y : 2 * y + 128, 2 * x : 2 * x + 128])
        for y in range(0, 101, 64)
        for x in range(0, 193, 64)
    ]
    found = Survey.together((101, 193), parts)
    assert found.pan.shape == (33, 64)
    for y, x in ((0, 0), (13, 2), (21, 21), (32, 63)):
        coarse, fine = cube[:, 3 * y : 3 * y + 3, 3 * x : 3 * x + 3], pan[0, 6 * y : 6 * y + 6, 6 * x : 6 * x + 6]
        np.testing.assert_allclose(found.cube[:, y, x], np.nansum(coarse, (1, 2)), rtol=1e-5)
        np.testing.assert_array_equal(found.cube_count[:, y, x], np.isfinite(coarse).sum((1, 2)))
        np.testing.assert_allclose(found.pan[y, x], np.nansum(fine), rtol=1e-5)
        assert found.pan_count[y, x] == np.isfinite(fine).sum()


@pytest.mark.parametrize(("mixed", "said"), [(0.2, ""), (1.0, "nothing that the cube shows")])
def test_a_pan_of_another_scene_is_said(mixed, said, caplog):
    rng = np.random.default_rng(6)
    smooth = ndimage.gaussian_filter(rng.standard_normal((4, 40, 50)), (0, 2, 2)).astype(np.float32)
    cube, other = smooth[:3], smooth[3]
    pan = np.kron((1 - mixed) * cube.sum(0) + mixed * other, np.ones((2, 2), np.float32))[None]
    survey = Survey.together((40, 50), [Survey.of((40, 50), (0, 0), cube, pan)])
    require_same_order(survey, "scene", "PAN")
    assert said in caplog.text
    assert bool(caplog.records) == bool(said)
    turned = Survey.together((40, 50), [Survey.of((40, 50), (0, 0), cube, pan[:, :, ::-1])])
    if not said:
        with pytest.raises(InputError, match="scene: PAN: found that it looks mirrored left to right"):
            require_same_order(turned, "scene", "PAN")
    # a flat image tells nothing of its order
    caplog.clear()
    flat = Survey.of((40, 50), (0, 0), cube, np.ones_like(pan))
    require_same_order(Survey.together((40, 50), [flat]), "scene", "PAN")
    assert [record.getMessage().partition(";")[0] for record in caplog.records] == ["scene: found no contrast in PAN"]


def test_a_dozen_pixels_tell_no_order() -> None:
    """Of so few some other order explains half of PAN by chance: pairs were refused, one in thirty."""
    rng, shape = np.random.default_rng(0), (3, 4)
    for _ in range(60):
        require_same_order(Survey.of(shape, (0, 0), rng.random((2, *shape)), rng.random((1, 6, 8))), "case", "PAN")
