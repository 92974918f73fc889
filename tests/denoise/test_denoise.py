"""The classical path: every method of the registry, the noise model, odd cubes, strips, the command line."""

import json

import h5py
import numpy as np
import pytest

from denoise.case import Known, Observation
from denoise.comparison.benchmark import benchmark
from denoise.registry import METHODS, get
from denoise.restore import denoise, restore
from denoise.separation.estimate import separate
from hsitools.cube import Cube
from hsitools.errors import FormatError, InputError
from hsitools.io import open_cube, save_cube
from hsitools.sensor import DetectorNoise, GaussianResponse, Sensor

BANDS, HEIGHT, WIDTH = 24, 48, 56


def psnr(estimate, reference):
    error = np.mean((estimate - reference) ** 2, axis=(1, 2))
    return float(np.mean(10 * np.log10(reference.max() ** 2 / error)))


@pytest.fixture(scope="module")
def golden(shared):
    """Half of the real scene: all of its rows, which tell a column's gains."""
    with h5py.File(shared / "golden" / "denoise_pavia_centre.h5") as file:
        return {name: file[name][..., :64] for name in ("clean", "c", "e", "g")}


@pytest.fixture(scope="module")
def scene():
    """Four materials in smooth patches, (band, y, x), about .2 to .8."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:HEIGHT, :WIDTH] / 8
    shares = np.stack([np.sin(y + k) * np.cos(x * (1 + k / 3)) for k in range(4)])
    spectra = np.cumsum(rng.standard_normal((BANDS, 4)), axis=0)
    cube = np.tensordot(spectra, shares, 1)
    return (0.5 + 0.1 * cube / cube.std()).astype(np.float32)


@pytest.fixture(scope="module")
def noisy(scene):
    return scene + 0.03 * np.random.default_rng(6).standard_normal(scene.shape, dtype=np.float32)


@pytest.fixture(scope="module")
def restored(noisy):
    """By the default method."""
    return restore(noisy)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_keeps_shape_and_does_no_harm(method, scene, noisy):
    found = restore(noisy, method)
    assert found.estimate.shape == scene.shape
    assert found.estimate.dtype == np.float32
    assert found.provenance["method"] == method
    assert psnr(found.estimate, scene) > psnr(noisy, scene) - 0.5  # column medians are noisy themselves
    assert METHODS[method].paper
    assert METHODS[method].summary.endswith(".")


@pytest.fixture(scope="module")
def restored_e(golden):
    """The case of impulses and dead lines."""
    return restore(golden["e"], "lowrank")


@pytest.mark.parametrize(("case", "least"), [("c", 37.57), ("g", 46.15)])
def test_real_scene(case, least, golden):
    assert psnr(restore(golden[case], "lowrank").estimate, golden["clean"]) > least


def test_real_scene_with_outliers(golden, restored_e):
    assert psnr(restored_e.estimate, golden["clean"]) > 37.39


@pytest.mark.parametrize(("case", "least"), [("clean", 62), ("a", 38.05)])
def test_part_of_real_scene(case, least, shared):
    """A third of the pixels: 62.4 and 38.17 dB."""
    with h5py.File(shared / "golden" / "denoise_pavia_centre.h5") as file:
        observed, clean = (file[name][:, 24:88, 16:80] for name in (case, "clean"))
    assert psnr(restore(observed, "lowrank").estimate, clean) > least


def test_known_calibration(golden, shared):
    with h5py.File(shared / "golden" / "denoise_pavia_centre.h5") as file:
        known = Known(**{name: file["g_truth"][name][:, :64] for name in ("gain", "offset", "dead")})
    found = restore(golden["g"], "lowrank", known=known)
    assert psnr(found.estimate, golden["clean"]) > 48.5  # 46.5 blind
    assert (found.mask | ~known.dead[:, None]).all()


def test_exact_values_count_though_offsets_are_known(golden):
    """A stuck element or impulse reads 0 or 1 before the offset is taken away, anything after it."""
    offset = np.random.default_rng(0).uniform(-0.05, 0.05, (len(golden["e"]), golden["e"].shape[2]))
    impulse = (golden["e"] == 0) | (golden["e"] == 1)
    values = np.where(impulse, golden["e"], golden["e"] + offset[:, None])
    found = restore(values, "lowrank", known=Known(offset=offset))
    assert (found.mask & impulse).sum() > 0.99 * impulse.sum()
    assert psnr(found.estimate, golden["clean"]) > 37.39


def test_outliers_are_found(golden, restored_e):
    impulse = (golden["e"] == 0) | (golden["e"] == 1)
    mask = restored_e.mask
    assert (mask & impulse).sum() > 0.99 * impulse.sum()
    assert (mask & ~impulse).mean() < 0.001


@pytest.mark.parametrize("unit", [1e-4, 1.0, 1e4])
def test_result_scales_with_the_values(unit, noisy, restored):
    np.testing.assert_allclose(restore(noisy * unit).estimate / unit, restored.estimate, atol=2e-3)


def test_noise_model(scene, noisy):
    rng = np.random.default_rng(7)
    offset = 0.05 * rng.standard_normal((BANDS, WIDTH)).astype(np.float32)
    values = noisy + offset[:, None]
    values[3, :, 10] = 0.4 + 0.01 * rng.standard_normal(HEIGHT)
    noise = separate(Observation(values=values, valid=np.ones(values.shape, dtype=bool))).noise
    assert noise.dead[3, 10]
    assert noise.dead.sum() <= 3
    level = noise.offset + (noise.gain - 1) * scene.mean(1)
    error = (level - offset)[~noise.dead]
    assert error.std() < 0.016  # 0.05 to begin with
    np.testing.assert_allclose(noise.sigma, 0.03, rtol=0.25)


def test_without_stripes_nothing_is_corrected(noisy):
    noise = separate(Observation(values=noisy, valid=np.ones(noisy.shape, dtype=bool))).noise
    assert np.abs(noise.offset).max() < 0.02
    assert not noise.dead.any()
    assert noise.outlier.mean() < 0.001


def test_bands_without_signal_come_back_as_they_are(noisy):
    values = noisy.copy()
    values[2], values[5] = np.nan, 0
    found = restore(values)
    assert np.isnan(found.estimate[2]).all()
    assert (found.estimate[5] == 0).all()
    assert found.mask[2].all()
    rest = np.delete(np.arange(BANDS), [2, 5])
    assert np.isfinite(found.estimate[rest]).all()
    assert found.noise.gain.shape == (BANDS, WIDTH)


def test_missing_voxels_are_predicted_and_missing_pixels_stay(scene, noisy):
    values = noisy.copy()
    values[4, 10:13, 10:13] = np.nan
    values[:, 0, 0] = np.nan
    found = restore(values)
    assert np.abs(found.estimate[4, 10:13, 10:13] - scene[4, 10:13, 10:13]).max() < 0.1
    assert np.isnan(found.estimate[:, 0, 0]).all()
    assert found.mask[4, 10:13, 10:13].all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(1, 40, 40), (3, 1, 100), (3, 100, 1), (5, 1, 2), (40, 9, 9)])
def test_odd_shapes(method, shape):
    values = 1 + 0.1 * np.random.default_rng(8).standard_normal(shape)
    estimate = restore(values, method).estimate
    assert estimate.shape == shape
    assert np.isfinite(estimate).all()


def test_constant_cube_stays():
    found = restore(np.full((4, 20, 20), 3.0))
    np.testing.assert_array_equal(found.estimate, 3)
    assert found.provenance["path"] == "unchanged"


def test_errors_say_what_was_found(noisy):
    with pytest.raises(InputError, match="no band with signal"):
        restore(np.zeros((3, 10, 10)))
    with pytest.raises(InputError, match="expected \\(band, y, x\\)"):
        restore(np.zeros((10, 10)))
    with pytest.raises(InputError, match="gain: found shape \\(2, 3\\), expected \\(24, 56\\)"):
        restore(noisy, known=Known(gain=np.ones((2, 3))))
    with pytest.raises(InputError, match="lowrank: samples: found some"):
        restore(noisy, "lowrank", samples=2)
    with pytest.raises(InputError, match="did you mean 'lowrank'"):
        get("lowrnk")


def sensor(bands=BANDS, first=400.0):
    centre = first + 10.0 * np.arange(bands)
    response = GaussianResponse(centre_nm=centre, width_nm=np.full(bands, 10.0))
    return Sensor(response=response, noise=DetectorNoise(electrons_per_unit=500.0), name="tester")


def test_sensor_replaces_the_estimate(noisy):
    cube = Cube(data=noisy, wavelength_nm=400 + 10.0 * np.arange(BANDS), units="1", name="scene", nodata=-1.0)
    clean = denoise(cube, sensor=sensor())
    assert clean.meta["denoise_sensor"] == "tester"
    np.testing.assert_array_equal(clean.wavelength_nm, cube.wavelength_nm)
    assert clean.units == "1"
    with pytest.raises(InputError, match="found 3 bands, expected 24"):
        denoise(cube, sensor=sensor(3))
    with pytest.raises(InputError, match=r"one at 400.0 nm, expected the 24 of tester .*nearest is at 900.0 nm"):
        denoise(cube, sensor=sensor(first=900.0))


def test_strips_agree_with_the_whole(scene, tmp_path):
    truth = np.tile(scene, (1, 1, 4))
    # noise that repeats along rows would be offsets of these
    noise = 0.03 * np.random.default_rng(6).standard_normal(truth.shape, dtype=np.float32)
    cube = Cube(data=truth + noise, name="long")
    steps = []
    size = BANDS * 4 * HEIGHT * 112
    source = denoise(cube, "lowrank", strip_bytes=size, progress=lambda done, total: steps.append(total))
    assert source.meta["strips"] == 3
    save_cube(source, tmp_path / "out.h5")
    stored = open_cube(tmp_path / "out.h5").read()
    assert steps == [3, 3, 3]
    assert abs(psnr(stored, truth) - psnr(denoise(cube, "lowrank").read(), truth)) < 0.5
    np.testing.assert_array_equal(source.read(bands=[3], rows=slice(5, 9), columns=slice(78, 84))[0],
                                  stored[3, 5:9, 78:84])  # fmt: skip


def test_benchmark_needs_its_layout(tmp_path):
    with pytest.raises(FormatError, match="found no HDF5 file"):
        next(benchmark(tmp_path / "none.h5", "lowrank"))
    with h5py.File(tmp_path / "cases.h5", "w") as file:
        file["a"] = np.ones((2, 12, 12))
    with pytest.raises(FormatError, match="clean: missing"):
        next(benchmark(tmp_path / "cases.h5", "lowrank"))


def test_command_line(scene, noisy, tmp_path, hsi):
    save_cube(Cube(data=noisy, wavelength_nm=400 + 10.0 * np.arange(BANDS), name="scene"), tmp_path / "noisy.h5")
    said = json.loads(hsi("denoise", "run", tmp_path / "noisy.h5", "-o", tmp_path / "clean.h5", "--json").stdout)
    assert said["method"] == "diffusion"
    assert said["shape"] == [BANDS, HEIGHT, WIDTH]
    assert psnr(open_cube(tmp_path / "clean.h5").read(), scene) > psnr(noisy, scene) + 6
    assert {row["name"] for row in json.loads(hsi("denoise", "list", "--json").stdout)} == set(METHODS)
    with h5py.File(tmp_path / "cases.h5", "w") as file:
        file["clean"], file["a"] = scene, noisy
    asked = ("--cases", tmp_path / "cases.h5", "--method", "column-median")
    rows = json.loads(hsi("denoise", "benchmark", *asked, "--json").stdout)
    assert [row["case"] for row in rows] == ["a"]
    assert {"mpsnr", "mssim", "sam_deg", "seconds", "peak_mib", "path"} <= set(rows[0])
    wrong = hsi("denoise", "run", tmp_path / "noisy.h5", "-o", tmp_path / "x.h5", "--method", "low", code=2)
    assert "method: found 'low'" in wrong.stderr
