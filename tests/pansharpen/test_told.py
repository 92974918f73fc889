"""What a fusion is told of its pair, and tells of it: noise, MTFs and responses of sensors, errors, levels, tiles."""

import numpy as np
import pytest
import torch

from hsitools.cube import Cube
from hsitools.errors import InputError
from hsitools.io import save_cube
from hsitools.scenes import scene
from hsitools.sensor import preset
from hsitools.sensor.multispectral import band_table
from hsitools.sensor.spatial import mtf_decimate
from pansharpen.case import FusionCase
from pansharpen.comparison.benchmark import Benchmark
from pansharpen.comparison.fusion_task import FUSION
from pansharpen.comparison.judging import band_snr
from pansharpen.cubes import fuse
from pansharpen.guide import Guide, own_size
from pansharpen.in_memory import fuse_case
from pansharpen.optics import Optics
from pansharpen.pair.from_sensor import averaged_noise, mean_level, pan_weights, with_errors, with_sensor
from pansharpen.pair.guide_files import with_pan
from pansharpen.pair.guides import noise_of, response_rows, simulated_guides
from pansharpen.pair.holes import _along_bands
from pansharpen.pair.wald import degraded, simulated_case
from pansharpen.products import FusionOrder, fuse_file, fuse_files, std_of_bands
from pansharpen.tile import Tile
from pansharpen.tiled import LargeScene, fuse_cube

# ---- guides ------------------------------------------------------------------------------------------------------


def test_what_a_sensor_tells_of_its_pan_is_not_told_of_guides():
    """Brovey took the mean of two channels for PRISMA's PAN."""
    sensor = preset("prisma").select(range(0, 60, 6))
    view = scene((96, 96), seed=1)
    seen = sensor.observe(view, 2)
    guide = preset("landsat-8").select([1, 2]).replace(ratio=1).observe(view, 3).replace(pan=None)
    cube, bare = seen.replace(pan=None), sensor.replace(pan=None, pan_noise=None)
    by_sensor, without = (fuse(cube, guide=guide, method="Brovey", sensor=one).read() for one in (sensor, bare))
    np.testing.assert_allclose(by_sensor, without, rtol=1e-6)
    made = with_pan(cube, [guide], None)
    told = [LargeScene(made, sensor, halo=0, pan_made=flag).optics for flag in (True, False)]
    assert [one.pan_response is None for one in told] == [True, False]
    assert [one.pan_variance is None for one in told] == [True, False]


@pytest.mark.parametrize("method", ["GSA", "physics"])
def test_a_fused_cube_is_of_the_images_that_were_given(method):
    """Buffers that are filled anew before it is read: statistics of one image met the values of another."""
    sensor = preset("prisma").select(range(0, 60, 20))
    seen = sensor.observe(scene((48, 48), seed=1), 2)
    cube, pan, guide = (np.array(one.read()) for one in (seen, seen.pan, seen.pan))
    pair = seen.replace(data=cube, pan=seen.pan.replace(data=pan))
    beside = {"guide": [Cube(data=guide)]} if method == "physics" else {}
    expected = fuse(pair, method=method, **beside).read()
    fused = fuse(pair, method=method, **beside)
    for buffer in (cube, pan, guide):
        buffer[:] = buffer[:, ::-1] + 1
    np.testing.assert_array_equal(fused.read(), expected)


def test_what_a_method_cannot_do_is_told_before_noise_is_taken_off(monkeypatch, tmp_path):
    """It was refused after all of the denoiser's work."""
    sensor = preset("prisma").select(range(0, 60, 20))
    seen = sensor.observe(scene((48, 48), seed=1), 2)
    save_cube(seen, tmp_path / "a.h5")
    for name in ("pansharpen.cubes", "pansharpen.products"):
        monkeypatch.setattr(f"{name}.cube_without_noise", lambda *_, **__: pytest.fail("the noise is taken off"))
    order = FusionOrder(method="GSA", noise="blind", std=True)
    doors = (
        lambda: fuse(seen, method="GSA", noise="blind", std=True),
        lambda: fuse_file(order, tmp_path / "a.h5", tmp_path / "b.h5"),
        lambda: fuse_files(order, [tmp_path / "a.h5"], tmp_path / "out"),
    )
    for door in doors:
        with pytest.raises(InputError, match="GSA: std: the method has no error bars, expected one of: physics"):
            door()
    with pytest.raises(InputError, match="GSA: weights: found a"):
        fuse(seen, method="GSA", noise="blind", weights="a.pt")


# ---- holes -------------------------------------------------------------------------------------------------------


def test_between_bands_lies_a_straight_line():
    """Measured in bands 1 and 4: thirds between them, level beyond; zero where nothing was measured."""
    values, valid = torch.zeros(1, 6, 1, 2), torch.zeros(1, 6, 1, 2, dtype=torch.bool)
    values[0, 1, 0, 0], values[0, 4, 0, 0] = 10, 40
    valid[0, [1, 4], 0, 0] = True
    found = _along_bands(values, valid)
    torch.testing.assert_close(found[0, :, 0, 0], torch.tensor([10.0, 10, 20, 30, 40, 40]))
    assert (found[..., 1] == 0).all()


# ---- noise and levels --------------------------------------------------------------------------------------------


def bright_and_dark():
    """A scene whose bands differ tenfold in level, and a sensor whose bands differ in all that can be told."""
    view = scene((24, 24), seed=1).load()
    slope = np.linspace(0.1, 1, view.n_bands)[:, None, None]
    sensor = preset("prisma").select(range(0, 60, 8))
    mtf = np.stack([np.linspace(0.2, 0.4, sensor.n_bands), np.linspace(0.35, 0.25, sensor.n_bands)], 1)
    return view.replace(data=view.data * slope), sensor.replace(mtf=mtf)


def test_noise_is_told_at_each_images_own_level():
    view, sensor = bright_and_dark()
    case = simulated_case(view, sensor, seed=1)
    level = case.coarse[0].double().mean((1, 2)).numpy()
    expected = sensor.noise.variance(level[:, None, None]).ravel()
    np.testing.assert_allclose(case.optics.noise_variance, expected, rtol=1e-5)
    assert expected.max() > 1.5 * expected.min()
    of_pan = float(sensor.pan_noise.variance(np.array([[[float(case.pan.mean())]]])).ravel()[0])
    assert case.optics.pan_variance == pytest.approx(of_pan, rel=1e-5)
    np.testing.assert_array_equal(case.optics.mtf, sensor.mtf)
    assert case.optics.pan_mtf == sensor.pan_mtf


def test_a_cube_of_some_bands_in_any_order_is_told_its_own():
    view, sensor = bright_and_dark()
    observed = sensor.observe(view, noise=False)
    chosen = np.array([5, 1, 6])
    cube = observed.select(bands=chosen)
    optics = Optics(ratio=6, wavelength_nm=sensor.response.wavelength_nm[chosen])
    told = with_sensor(optics, sensor, 3, "cube", cube)
    level = np.asarray(observed.read(), dtype=float).mean((1, 2))
    expected = sensor.noise.variance(level[:, None, None]).ravel()[chosen]
    np.testing.assert_allclose(told.noise_variance, expected, rtol=1e-5)
    pan_level = float(observed.pan.read().mean())
    assert told.pan_variance == pytest.approx(float(sensor.pan_noise.variance(np.full((1, 1, 1), pan_level))[0, 0, 0]))
    assert told.pan_mtf == sensor.pan_mtf
    np.testing.assert_array_equal(told.mtf, sensor.mtf[chosen])
    np.testing.assert_allclose(told.pan_response, pan_weights(sensor, sensor.response.wavelength_nm[chosen]))
    assert told.ratio == 6


def test_level_is_the_mean_of_what_was_measured():
    values = np.arange(12.0).reshape(3, 2, 2)
    values[1, 0, 0] = np.nan
    values[2] = np.nan
    np.testing.assert_allclose(mean_level(Cube(data=10 * values, scale_factor=0.1)), [1.5, 6, 0])


def test_errors_of_a_denoised_cube_are_squared_and_of_its_bands():
    cube = Cube(data=np.ones((4, 2, 2)))
    optics = Optics(ratio=2, noise_variance=np.ones(2))
    told = with_errors(optics, np.array([1.0, 2, 3, 4]), np.array([3, 1]), cube)
    np.testing.assert_array_equal(told.error_variance, [16, 4])
    assert told.noise_variance is None
    np.testing.assert_array_equal(
        with_errors(optics, np.arange(4.0), np.array([3, 1]), cube, as_noise=True).noise_variance, [9, 1]
    )
    assert with_errors(optics, None, np.array([3, 1]), cube) is optics


def test_errors_of_pixels_are_told_as_their_root_mean_square():
    std = np.array([[[1.0, 7.0]], [[3.0, np.nan]], [[np.nan, np.nan]]])
    np.testing.assert_allclose(std_of_bands(Cube(data=2 * std, scale_factor=0.5)), [5, 3, 0])


@pytest.mark.parametrize("ratio", [3, 4])
def test_noise_through_the_optics_is_what_their_weights_leave(ratio):
    """A row's sum of squares, of each band and along both axes: the diagonal of D·Dᵀ."""
    mtf = np.array([[0.3, 0.2], [0.15, 0.4]])
    told = averaged_noise(Optics(ratio=ratio, mtf=mtf, noise_variance=np.array([2.0, 5.0]), pan_variance=3.0))
    down = mtf_decimate((9 * ratio, 9 * ratio), mtf, ratio)
    middle = torch.zeros(1, 2, 9, 9, dtype=torch.float64)
    middle[..., 4, 4] = 1
    power = down.adjoint(middle).square().sum((0, 2, 3)).numpy()
    np.testing.assert_allclose(told["noise_variance"], np.array([2, 5]) * power, rtol=0.01)
    of_pan = mtf_decimate((9 * ratio, 9 * ratio), mtf.mean(0, keepdims=True), ratio).adjoint(middle[:, :1])
    assert told["pan_variance"] == pytest.approx(3 * float(of_pan.square().sum()), rel=0.01)


def test_a_degraded_pair_lies_and_blurs_by_its_optics():
    """A ramp shows where samples lie: the cube's at their offset, PAN's beside it by the maps' shift."""
    y, x = torch.meshgrid(torch.arange(36.0), torch.arange(36.0), indexing="ij")
    coarse = torch.stack([y, x])[None, :, :12, :12]
    optics = Optics(ratio=3, offset=0.5, shift=(0.25, -0.5), mtf=0.3, pan_mtf=0.2, pan_response=np.array([1.0, 0]))
    small = degraded(FusionCase(coarse=coarse, pan=(10 * y + x)[None, None], optics=optics))
    torch.testing.assert_close(small.coarse[0, :, 2, 1], torch.tensor([2 * 3 + 0.5, 3 + 0.5]), rtol=0, atol=1e-2)
    at = 10 * (5 * 3 + 0.5 + 0.25) + 6 * 3 + 0.5 - 0.5
    assert float(small.pan[0, 0, 5, 6]) == pytest.approx(at, abs=0.05)
    assert (small.optics.offset, small.optics.shift, small.optics.pan_mtf) == (0.5, (0.0, 0.0), None)
    assert torch.equal(small.reference, coarse)


def test_signal_to_noise_is_level_over_deviation():
    coarse = torch.tensor([2.0, 4.0, -6.0])[:, None, None].expand(3, 4, 4).clone()
    coarse[0, 0, 0] = torch.nan
    optics = Optics(ratio=1, noise_variance=np.array([4.0, 0.0, 9.0]))
    np.testing.assert_allclose(band_snr(FusionCase(coarse=coarse, pan=coarse[:1], optics=optics))[0], [1, np.inf, 2])


# ---- guides ------------------------------------------------------------------------------------------------------


def test_noise_of_a_decibel_ratio():
    image = np.array([[[3.0, 4.0]], [[np.nan, 10.0]]])
    np.testing.assert_allclose(noise_of(image, 20.0), [12.5 / 100, 1.0])


def test_rows_of_a_response_follow_the_order_of_the_bands():
    sensor = band_table("sentinel-2").sensor()
    wavelength = np.linspace(430, 1000, 40)
    order = np.random.default_rng(0).permutation(40)
    rows = response_rows(sensor, wavelength)
    np.testing.assert_array_equal(response_rows(sensor, wavelength[order]), rows[:, order])
    inside = np.isfinite(rows).all(1)
    assert inside.any()
    assert not inside.all()
    np.testing.assert_allclose(rows[inside].sum(1), 1)
    # each is centred where its band is
    centre = np.asarray(sensor.response.wavelength_nm)[inside]
    np.testing.assert_allclose(rows[inside] @ wavelength, centre, atol=12)


def test_an_imager_is_told_the_noise_that_it_has():
    view, table = scene((48, 48), seed=3), band_table("sentinel-2")
    wavelength = np.linspace(430, 1000, 20)
    clean, noisy = (
        simulated_guides(view, table, 6, wavelength, rng=np.random.default_rng(0), snr_db=snr, noise=False)
        for snr in (None, 20.0)
    )
    assert [guide.ratio for guide in noisy] == [1, 2]
    for guide, plain in zip(noisy, clean, strict=True):
        assert plain.noise_variance is None
        error = (guide.image - plain.image)[0].double()
        power = plain.image[0].double().square().mean((1, 2)).numpy()
        np.testing.assert_allclose(guide.noise_variance, power / 100, rtol=1e-5)
        np.testing.assert_allclose(error.square().mean((1, 2)), guide.noise_variance, rtol=0.2)
    (own, *_) = simulated_guides(view, table, 6, wavelength, rng=np.random.default_rng(0))
    error = (own.image - clean[0].image)[0].double().square().mean((1, 2))
    np.testing.assert_allclose(error, own.noise_variance, rtol=0.2)


def test_a_guides_pixels_lie_on_the_fine_grid():
    """Pixels of two whose first begins a fine row above and half a column beside the grid."""
    y, x = torch.meshgrid(torch.arange(6.0), torch.arange(5.0), indexing="ij")
    valid = torch.ones(1, 1, 6, 5, dtype=torch.bool)
    valid[0, 0, 3, 1] = False
    guide = Guide(image=torch.stack([y, x]), ratio=2, offset=(-1.0, 0.5), valid=valid)
    fine = guide.on_grid((12, 10))
    # centre of coarse pixel n: fine pixel 2n + 1/2 and the offset
    assert float(fine[0, 0, 6, 5]) == pytest.approx((6 + 1 - 0.5) / 2, abs=0.03)
    assert float(fine[0, 1, 6, 5]) == pytest.approx((5 - 0.5 - 0.5) / 2, abs=0.03)
    lost = (~guide.valid_on_grid((12, 10)))[0, 0].nonzero().tolist()
    assert lost == [[5, 3], [5, 4], [6, 3], [6, 4]]
    ramp = torch.arange(12.0)[:, None].expand(12, 10)[None, None]
    assert float(guide.down((12, 10))(ramp)[0, 0, 3, 2]) == pytest.approx(2 * 3 + 0.5 - 1, abs=0.02)
    assert [own_size(n, 2) for n in (10, 11, 12)] == [5, 5, 6]


# ---- tiles -------------------------------------------------------------------------------------------------------


def test_optics_of_a_tile_by_ramps():
    """Ramps show where samples lie: the coarse pixel (3, 2) at 3·3 + ½ + ¼ and 2·3 + ½ − 0.4 on the fine grid."""
    y, x = torch.meshgrid(torch.arange(24.0), torch.arange(21.0), indexing="ij")
    optics = Optics(ratio=3, offset=0.5, shift=(0.25, -0.4), mtf=np.array([[0.3, 0.2]] * 2))
    coarse = torch.stack([y, x])[None, :, :8, :7]
    tile = FusionCase(coarse=coarse, pan=(y + x)[None], optics=optics).tile
    at = torch.tensor([3 * 3 + 0.5 + 0.25, 2 * 3 + 0.5 - 0.4])
    torch.testing.assert_close(tile.down()(torch.stack([y, x])[None])[0, :, 3, 2], at, rtol=0, atol=0.02)
    assert float(tile.pan_coarse[0, 0, 3, 2]) == pytest.approx(float(at.sum()), abs=0.02)
    fine = torch.tensor([(10 - 0.5 - 0.25) / 3, (9 - 0.5 + 0.4) / 3])
    torch.testing.assert_close(tile.expanded[0, :, 10, 9], fine, rtol=0, atol=0.02)
    torch.testing.assert_close(fuse_case("EXP", FusionCase(coarse=coarse, pan=tile.pan, optics=optics)), tile.expanded)
    # waves along y at the coarse Nyquist frequency keep .3, along x .2
    for gain, wave in ((0.3, y), (0.2, x)):
        seen = tile.blur()(torch.cos(torch.pi * (wave - 9) / 3).expand(1, 2, 24, 21))
        assert float(seen[0, 0, 9, 9]) == pytest.approx(gain, abs=0.01)


def test_what_counts_of_a_tile():
    """Surroundings are cropped by coarse pixels; a pixel counts when half of its bands, and of PAN, are measured."""
    coarse, pan = torch.rand(1, 4, 6, 5), torch.rand(1, 1, 12, 10)
    valid, pan_valid = torch.ones(1, 4, 6, 5, dtype=torch.bool), torch.ones(1, 1, 12, 10, dtype=torch.bool)
    valid[0, :3, 2, 3] = valid[0, :2, 3, 2] = False
    pan_valid[0, 0, 7, 6] = False
    tile = Tile(coarse, pan, Optics(ratio=2), margin=(1, 2, 2, 0), valid=valid, pan_valid=pan_valid)
    assert torch.equal(tile.coarse, coarse[..., 1:4, 2:5])
    assert torch.equal(tile.pan, pan[..., 2:8, 4:10])
    assert (~tile.coarse_valid).nonzero().tolist() == [[0, 0, 1, 1]]
    assert (~tile.valid)[0, 0].nonzero().tolist() == [[2, 2], [2, 3], [3, 2], [3, 3], [5, 2]]
    lost = (~tile.measured)[0].flatten(1).sum(1).tolist()
    assert lost == [9, 9, 5, 1]
    # where the pixel does not count, no band of it does
    assert (~tile.coarse_measured)[0].flatten(1).sum(1).tolist() == [2, 2, 1, 1]


def test_layers_of_tiles_beside_one_another():
    """Error bars that come with each tile's estimate are kept by its place, along rows and columns."""
    rng = np.random.default_rng(0)
    values = rng.random((2, 20, 30)).astype(np.float32) + 1
    cube = Cube(data=values, pan=Cube(data=rng.random((1, 40, 60)).astype(np.float32) + 1))
    scene_ = LargeScene(cube, halo=1, side=10)
    assert len(scene_.windows) == 6
    estimate, other = scene_.map(lambda tile: tile.expanded), scene_.map(lambda tile: 3 * tile.expanded)
    estimate.beside = other
    for rows in (slice(0, 20), slice(20, 40)):
        for columns in (slice(0, 20), slice(20, 40), slice(40, 60)):
            estimate.read(np.arange(2), rows, columns)
    whole = estimate.read(np.arange(2), slice(0, 40), slice(0, 60))
    kept = [other.read(np.arange(2), rows, columns) for rows, columns in ((slice(0, 20), slice(20, 40)),) * 2]
    np.testing.assert_array_equal(kept[0], 3 * whole[:, :20, 20:40])
    np.testing.assert_array_equal(other.read(np.array([1]), slice(15, 35), slice(5, 47))[0], 3 * whole[1, 15:35, 5:47])


def test_what_a_fused_cube_tells():
    view, sensor = bright_and_dark()
    observed = sensor.observe(view.replace(crs="EPSG:32633", transform=(5, 0, 100, 0, -5, 900)), noise=False)
    fused = fuse_cube(observed.replace(pan=observed.pan.replace(transform=None, crs=None)), "EXP", sensor)
    assert (fused.meta["ratio"], fused.meta["sensor"], fused.meta["pansharpened_by"]) == (6, sensor.name, "EXP")
    # without a map of PAN the cube's own, of pixels a sixth as wide
    np.testing.assert_allclose(fused.transform, (5, 0, 100, 0, -5, 900))
    assert "pan_shift_pixels" not in fused.meta
    x, *others = observed.pan.transform[2], *observed.pan.transform
    moved = observed.pan.replace(transform=(*others[:2], x + 1.25, *others[3:5], others[5] + 2.0))
    told = fuse_cube(observed.replace(pan=moved), "EXP", sensor).meta["pan_shift_pixels"]
    np.testing.assert_allclose(told, [0.4, -0.25], atol=1e-6)


def test_a_scene_in_other_units_is_benchmarked_with_its_scale(tmp_path):
    stored = scene((24, 24), seed=2, wavelength_nm=np.linspace(420, 900, 8))
    codes = np.round(3000 * stored.read()).astype(np.uint16)
    save_cube(stored.replace(data=codes, units="DN"), tmp_path / "codes.h5")
    save_cube(stored.replace(data=codes / np.float32(3000)), tmp_path / "reflectance.h5")
    loaded = []
    for name, wishes in (("codes", {"scale": 1 / 3000}), ("reflectance", {})):
        made = Benchmark.create(tmp_path / name, scenes=[tmp_path / f"{name}.h5"], methods=["EXP"], **wishes)
        (cell,) = made.settings.cells()
        loaded.append(FUSION.load(cell.case, tmp_path / name))
    one, other = loaded
    assert torch.allclose(one.case.coarse, other.case.coarse, rtol=1e-5)
    # benchmarks of before keep their cells
    assert "scale" not in other.made_from
    with pytest.raises(InputError, match="scale: found -1, expected a positive number"):
        Benchmark.create(tmp_path / "wrong", scenes=[tmp_path / "codes.h5"], methods=["EXP"], scale=-1)
