"""Where PAN lies on its cube: maps, partial overlap, sub-pixel places, other coordinate systems."""

import numpy as np
import pytest

from hsitools.cube import Cube
from hsitools.cube.geometry import same_crs
from hsitools.errors import InputError
from hsitools.io import open_cube, save_cube
from hsitools.scenes import scene
from hsitools.sensor import preset
from pansharpen import fuse
from pansharpen.pair.alignment import paired, placement, windowed
from pansharpen.pair.case_files import read_case
from pansharpen.pair.wald import cube_optics, real_case
from pansharpen.tiled import fuse_cube

#: Of the scene's pixels, which are PAN's; the cube's are six times as large.
MAP = (5.0, 0.0, 500000.0, 0.0, -5.0, 4600000.0)


@pytest.fixture(scope="module")
def pair() -> Cube:
    """A PRISMA-like pair of 14×12 coarse pixels in a few bands, with a map."""
    view = scene((84, 72), seed=3).replace(crs="EPSG:32633", transform=MAP)
    seen = preset("prisma").observe(view, noise=False)
    return seen.select(bands=list(range(0, seen.n_bands, 20)))


def moved(pair, transform=None, **changes):
    return pair.replace(pan=pair.pan.replace(transform=transform or pair.pan.transform, **changes))


def test_maps_that_agree_change_nothing(pair):
    assert paired(pair) is pair
    assert placement(pair) == (6, (0, 0), (0.0, 0.0))
    bare = pair.replace(transform=None, pan=pair.pan.replace(transform=None, crs=None))
    assert paired(bare) is bare
    np.testing.assert_array_equal(fuse_cube(bare, "GSA").read(), fuse_cube(pair, "GSA").read())


@pytest.mark.parametrize("mapped", [True, False])
def test_a_pan_of_the_cubes_own_pixels_is_refused(pair, mapped, tmp_path):
    """It was fused without a word, as if its blur were the optics'."""
    pan = pair.pan.replace(data=pair.read()[:1], transform=pair.transform if mapped else None)
    same = pair.replace(pan=pan)
    said = "pan: found pixels no smaller than the cube's, expected two or more along each side of one"
    for door in (lambda: fuse_cube(same, "GSA"), lambda: fuse(same, method="EXP"), lambda: paired(same)):
        with pytest.raises(InputError, match=said):
            door()
    np.savez(tmp_path / "case.npz", ms_lr=pair.read(), pan=pan.read(), ratio=1)
    with pytest.raises(InputError, match=f"case.npz: {said}"):
        read_case(tmp_path / "case.npz")


@pytest.mark.parametrize("flip", [1, -1])
def test_partial_overlap_is_cropped_on_both_sides(pair, flip):
    # as well for images whose rows go north
    turned = pair.replace(
        transform=(30.0, 0.0, 500000.0, 0.0, flip * -30.0, 0.0),
        pan=pair.pan.replace(transform=(5.0, 0.0, 500000.0, 0.0, flip * -5.0, 0.0)),
    )
    part = turned.replace(pan=turned.pan.select(window=(8, 80, 3, 70)))
    whole = fuse_cube(turned, "EXP")
    fused = fuse_cube(part, "EXP")
    # coarse rows 2 … 12 and columns 1 … 10 are covered as a whole
    assert fused.shape == (pair.n_bands, 66, 60)
    assert fused.transform == pytest.approx((5.0, 0.0, 500030.0, 0.0, flip * -5.0, flip * -60.0))
    inner = (slice(None), slice(24, -24), slice(24, -24))
    cut = whole.read()[:, 12:78, 6:66]
    assert np.abs(fused.read()[inner] - cut[inner]).max() < 0.02 * np.abs(cut).max()
    shared = paired(part)
    np.testing.assert_array_equal(shared.read(), pair.read()[:, 2:13, 1:11])
    np.testing.assert_array_equal(shared.pan.read(), pair.pan.read()[:, 12:78, 6:66])
    assert paired(shared) is shared


def test_pan_larger_than_the_cube(pair):
    inner = pair.select(window=(3, 9, 2, 10)).replace(pan=pair.pan)
    np.testing.assert_array_equal(paired(inner).pan.read(), pair.pan.read()[:, 18:54, 12:60])
    assert real_case(inner).coarse.shape[-2:] == (6, 8)


@pytest.mark.parametrize("metres", [2.0, -1.5, 7.0])
def test_parts_of_a_pixel_go_to_the_registration(pair, metres):
    a, b, c, d, e, f = MAP
    there = moved(pair, (a, b, c + metres, d, e, f - 1.0))
    optics, cube = cube_optics(there, None)
    assert cube.shape == pair.shape
    np.testing.assert_allclose(optics.shift, (-0.2, -metres / 5), atol=1e-9)
    assert fuse_cube(there, "GSA").meta["pan_shift_pixels"] == pytest.approx([-0.2, -metres / 5])


def test_a_known_shift_is_undone(pair):
    """A cube whose map says where it really lies fuses as well as one that lies where it should."""
    view = scene((84, 72), seed=3).replace(crs="EPSG:32633", transform=MAP)
    sensor = preset("prisma")
    there = sensor.replace(offset=4.0).observe(view, noise=False).select(bands=list(range(0, 234, 20)))
    truth = np.stack(
        [band for band in sensor.replace(ratio=1, mtf=None, pan=None).observe(view, noise=False).data[::20]]
    )
    error = {}
    for name in ("GSA", "MTF-GLP-FS", "physics"):
        for label, cube in (("centred", pair), ("moved", there), ("untold", there.replace(transform=None))):
            difference = fuse_cube(cube, name).read() - truth
            error[name, label] = np.sqrt(np.mean(difference[:, 12:-12, 12:-12] ** 2))
        assert error[name, "moved"] < 1.03 * error[name, "centred"]
    # the sensor alone does not tell; physics finds it anyway
    assert error["GSA", "moved"] < 0.95 * error["GSA", "untold"]
    assert cube_optics(there, sensor.replace(offset=4.0))[0].offset == 2.5


def test_other_coordinate_systems_are_refused_or_reprojected(pair):
    rasterio = pytest.importorskip("rasterio")
    from rasterio.warp import Resampling, reproject, transform

    (x,), (y,) = transform("EPSG:32633", "EPSG:32632", [500000 - 60], [4600000 + 60])
    there = (5.0, 0.0, x, 0.0, -5.0, y)
    turned = np.full((120, 100), np.nan, dtype=np.float32)
    reproject(
        pair.pan.read()[0], turned, src_transform=rasterio.Affine(*MAP), src_crs="EPSG:32633",
        dst_transform=rasterio.Affine(*there), dst_crs="EPSG:32632", dst_nodata=np.nan, resampling=Resampling.cubic,
    )  # fmt: skip
    other = pair.replace(pan=pair.pan.replace(data=turned[None], crs="EPSG:32632", transform=there))
    with pytest.raises(InputError, match="crs: found EPSG:32632, expected EPSG:32633 as the cube has; --reproject"):
        fuse_cube(other, "GSA")
    back = paired(other, reproject=True)
    assert back.pan.crs == "EPSG:32633"
    assert placement(back) == (6, (0, 0), (0.0, 0.0))
    known = np.isfinite(back.pan.read()[0, :84, :72])
    assert known.mean() > 0.9
    found, given = back.pan.read()[0][known], pair.pan.read()[0][known]
    assert np.corrcoef(found, given)[0, 1] > 0.995
    with pytest.raises(InputError, match=r"found it at x .* in EPSG:32719, expected it to cover some of the cube"):
        paired(moved(pair, (5.0, 0.0, 200000.0, 0.0, -5.0, 7000000.0), crs="EPSG:32719"), reproject=True)
    assert same_crs("EPSG:32633", rasterio.crs.CRS.from_epsg(32633).to_wkt())


@pytest.mark.parametrize(
    ("transform", "error"),
    [
        (
            (5.0, 0.0, 700000.0, 0.0, -5.0, 4600000.0),
            r"found it at x 700000 to 700360, y .*, expected it to cover some",
        ),
        ((4.9, 0.0, 500000.0, 0.0, -4.9, 4600000.0), "found 6.12245×6.12245 of its pixels"),
        ((5.0, 0.0, 500000.0, 0.0, -10.0, 4600000.0), "found 3×6 of its pixels"),
        ((5.0, 0.0, 500000.0, 0.0, 5.0, 4599580.0), "turned or mirrored"),
        ((4.9, 1.0, 500000.0, 1.0, -4.9, 4600000.0), "turned or mirrored"),
    ],
)
def test_grids_that_do_not_fit(pair, transform, error):
    with pytest.raises(InputError, match=error):
        fuse_cube(moved(pair, transform), "GSA")


def test_a_window_is_in_the_cubes_own_pixels(pair):
    part = pair.replace(pan=pair.pan.select(window=(8, 80, 3, 70)))
    window = (4, 10, 3, 9)
    both = paired(windowed(part, window))
    np.testing.assert_array_equal(both.read(), pair.read()[:, 4:10, 3:9])
    np.testing.assert_array_equal(both.pan.read(), pair.pan.read()[:, 24:60, 18:54])


def test_files(pair, tmp_path):
    from click.testing import CliRunner

    from pansharpen.commands.pansharpen import pansharpen as command

    save_cube(pair.replace(pan=None), tmp_path / "cube.h5")
    save_cube(pair.pan.select(window=(8, 80, 3, 70)), tmp_path / "pan.tif")
    save_cube(pair.pan.replace(crs="EPSG:32719"), tmp_path / "elsewhere.tif")

    def run(pan):
        arguments = ["run", "GSA", tmp_path / "cube.h5", "--pan", tmp_path / pan, "-o", tmp_path / "fused.h5"]
        return CliRunner().invoke(command, [str(argument) for argument in arguments])

    wrong = run("elsewhere.tif")
    assert isinstance(wrong.exception, InputError)
    assert "found EPSG:32719, expected EPSG:32633" in str(wrong.exception)
    assert not (tmp_path / "fused.h5").exists()
    assert run("pan.tif").exit_code == 0
    fused = open_cube(tmp_path / "fused.h5")
    assert fused.transform == pytest.approx((5.0, 0.0, 500030.0, 0.0, -5.0, 4599940.0))
    assert fused.shape == (pair.n_bands, 66, 60)
