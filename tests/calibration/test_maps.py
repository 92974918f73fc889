"""Per-pixel maps: OPD·cos θ over the sub-image, bad pixels, resuming after a kill."""

import h5py
import numpy as np
import pytest

from calibration import simulated_bench as bench
from calibration.captures.pixel_stack import PixelStack
from calibration.fitting.options import Options
from calibration.fitting.pixels import MAPS, fit_pixels
from calibration.fitting.refine import Prior
from calibration.fitting.wild_samples import fit_without_wild
from calibration.pixel_maps import characterize_pixels, describe
from hsitools.errors import FormatError, InputError
from hsitools.sensor.transmittance import SampledModel, TransmittanceModel

SIZE, MODEL = 12, TransmittanceModel(degree_gain=2, degree_reflectivity=2, degree_phase=3)


@pytest.fixture(scope="module")
def device():
    return bench.simulate_instrument(16, rng=np.random.default_rng(1), opd_offset_um=6.0, opd_step_um=1.0)


@pytest.fixture(scope="module")
def stack_path(device, tmp_path_factory):
    path = tmp_path_factory.mktemp("maps") / "stack.h5"
    wavenumber = bench.lines(90)
    pixels = bench.pixel_stack(device, wavenumber, size=SIZE, rng=np.random.default_rng(2), noise=0.04)
    pixels[2, :, 0, 0] = 0
    pixels[3, 5:9, 1, 1] = np.nan
    # among those that the interferometer is characterized from first
    pixels[5, :, SIZE // 2, SIZE // 2 - 1] = np.nan
    with h5py.File(path, "w") as file:
        file["pixels"], file["wavenumber"] = pixels, wavenumber
        file.attrs["opd_step_um"] = 1.0
    return path


@pytest.fixture(scope="module")
def maps(stack_path, tmp_path_factory):
    path = tmp_path_factory.mktemp("maps") / "maps.h5"
    calls = []
    result = characterize_pixels(PixelStack(stack_path), path, MODEL, progress=lambda *a: calls.append(a))
    assert calls[-1] == (16 * SIZE**2, 16 * SIZE**2)
    with h5py.File(path) as file:
        return result, {name: file[name][()] for name in MAPS}, path


def cosine():
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE // 2
    return np.cos(np.arctan(np.hypot(y, x) / (SIZE / 2 * np.sqrt(2)) * np.tan(np.radians(8.0))))


def test_maps_are_the_truth(maps, device):
    _, arrays, _ = maps
    truth = device.opd_um[:, None, None] * cosine()
    error = arrays["opd_um"] - truth
    good = np.isfinite(error)
    assert np.mean(np.abs(error[good]) < 0.17) > 0.995
    assert 0.9 < np.mean(np.abs(error[good]) <= 1.96 * arrays["opd_stderr_um"][good]) <= 1
    assert np.nanmedian(arrays["rmse"]) == pytest.approx(0.04 / 0.8, rel=0.15)


def test_a_stack_from_blue_to_red(stack_path, tmp_path):
    """Lines told in descending wavenumbers are those of the stack the other way round."""
    path = tmp_path / "reversed.h5"
    with h5py.File(stack_path) as file, h5py.File(path, "w") as other:
        other["pixels"], other["wavenumber"] = file["pixels"][()][:, ::-1], file["wavenumber"][()][::-1]
        other["flat"] = np.linspace(1, 2, 90)[None, ::-1] * np.ones((16, 1))
    one, two = PixelStack(stack_path), PixelStack(path)
    np.testing.assert_array_equal(one.wavenumber, two.wavenumber)
    np.testing.assert_array_equal(one.centre().intensity, two.centre().intensity)
    np.testing.assert_allclose(two.centre().flat[1], np.linspace(1, 2, 90))
    for (_, seen, _), (_, theirs, lamp) in zip(one.blocks(3), two.blocks(3), strict=True):
        np.testing.assert_array_equal(seen, theirs)
        np.testing.assert_allclose(lamp[5], np.linspace(1, 2, 90))


def test_bad_pixels(maps):
    result, arrays, _ = maps
    assert np.isnan(arrays["opd_um"][2, 0, 0])
    assert np.isfinite(arrays["opd_um"][3, 1, 1])
    assert np.flatnonzero(np.isnan(arrays["opd_um"][5])).tolist() == [SIZE // 2 * SIZE + SIZE // 2 - 1]
    assert result["n_invalid"] == int(np.isnan(arrays["opd_um"]).sum()) == 2


def test_the_centre_is_of_pixels_that_have_a_value(tmp_path):
    """Of a flat field too, and of the same pixels: their ratio is what counts."""
    rng = np.random.default_rng(0)
    pixels, lamp = rng.uniform(1, 2, (2, 2, 7, 9, 8))
    known = np.ones(pixels.shape, dtype=bool)
    known[0, :, 4, 3], known[1, 3, 5, 4], known[1, 2] = False, False, False
    pixels[0, :, 4, 3], lamp[1, 3, 5, 4], pixels[1, 2] = np.nan, np.nan, np.nan
    with h5py.File(tmp_path / "stack.h5", "w") as file:
        file["pixels"], file["flat"], file["wavenumber"] = pixels, lamp, bench.lines(7)
    seen = PixelStack(tmp_path / "stack.h5").centre()
    inside = slice(2, 7), slice(2, 7)
    for row, line in np.ndindex(2, 7):
        own = known[row, line][inside]
        if not own.any():
            assert not seen.mask[row, line]
            continue
        assert seen.intensity[row, line] == pytest.approx(pixels[row, line][inside][own].mean())
        assert seen.flat[row, line] == pytest.approx(lamp[row, line][inside][own].mean())


def test_pixels_that_are_cut_off(device, stack_path, maps, tmp_path):
    """Two fifths of the samples at full scale counted as measured: gains of .84, and nothing said so."""
    path, rows, inner = tmp_path / "cut.h5", slice(0, 12), (..., slice(4, 9), slice(4, 9))
    with h5py.File(stack_path) as file, h5py.File(path, "w") as cut:
        limit = np.nanquantile(file["pixels"][()], 0.6)
        cut["pixels"], cut["wavenumber"] = np.minimum(file["pixels"][rows][inner], limit), file["wavenumber"][()]
    stack = PixelStack(path)
    assert stack.limit == pytest.approx(limit)
    assert PixelStack(stack_path).limit == np.inf
    centre, clean = stack.centre(), PixelStack(stack_path).centre()
    assert centre.saturated.mean() == pytest.approx(0.4, abs=0.05)
    # medians of a part and means of the others differ by noise
    assert np.abs(centre.intensity - np.minimum(clean.intensity[rows], limit))[~clean.dark[rows]].max() < 0.05
    characterize_pixels(stack, tmp_path / "maps.h5", MODEL)
    with h5py.File(tmp_path / "maps.h5") as file:
        gain, opd, stderr = (file[name][()] for name in ("gain", "opd_um", "opd_stderr_um"))
    assert np.nanmedian(gain / maps[1]["gain"][rows][inner]) == pytest.approx(1, abs=0.02)
    error = (opd - device.opd_um[rows, None, None] * cosine()[inner])[np.isfinite(opd)]
    assert 0.85 < np.mean(np.abs(error) <= 1.96 * stderr[np.isfinite(opd)]) <= 1


def test_lines_that_a_pixel_misses_are_as_if_they_were_not_there():
    """With most of them missing the prior weighed nothing: the noise was told by a median of zeros."""
    rng = np.random.default_rng(3)
    device = bench.simulate_instrument(20, rng=rng, rows=4)
    lines = bench.lines(120)
    capture = bench.capture(device, lines, rng=rng, noise=0.03, linewidth_nm=0)
    _, fit, _ = fit_without_wild(capture, MODEL, Options())
    prior = Prior(mean=fit.prior.mean[4:5], precision=fit.prior.precision[4:5] / fit.variance[4])
    one = capture.intensity[4] * (1 + 0.03 * rng.standard_normal((40, 120)))
    there = np.sort(rng.permutation(120)[:48])
    missing = np.full_like(one, np.nan)
    missing[:, there] = one[:, there]
    flat = np.broadcast_to(capture.flat[4] * fit.curve, one.shape)
    few = SampledModel(fit.sampled.model, fit.sampled.band, lines[there])
    args = fit.theta[4], prior
    seen = fit_pixels(fit.sampled, missing, flat, lines, *args, set_aside=False)
    alone = fit_pixels(few, one[:, there], flat[:, there], lines[there], *args, set_aside=False)
    # the reflectivity is a mean over the lines
    for name in MAPS.keys() - {"reflectivity"}:
        np.testing.assert_allclose(seen[name], alone[name], rtol=2e-3, atol=1e-4)


def test_wavenumbers_are_read_in_the_unit_that_the_file_tells(stack_path, tmp_path):
    path = tmp_path / "stack.h5"
    path.write_bytes(stack_path.read_bytes())
    with h5py.File(path, "r+") as file:
        file["wavenumber"][...] *= 1e4
        file["wavenumber"].attrs["units"] = "cm-1"
    np.testing.assert_allclose(PixelStack(path).wavenumber, PixelStack(stack_path).wavenumber)


def test_wild_samples_are_set_aside(device, stack_path, maps, tmp_path):
    """Cosmic rays in single pixels: errors and error bars hardly change."""
    path, rng = tmp_path / "wild.h5", np.random.default_rng(5)
    path.write_bytes(stack_path.read_bytes())
    with h5py.File(path, "r+") as file:
        pixels = file["pixels"][:]
        hit = rng.random(pixels.shape) < 0.01
        file["pixels"][...] = np.where(hit, pixels * rng.uniform(3, 20, pixels.shape), pixels)
    characterize_pixels(PixelStack(path), tmp_path / "maps.h5", MODEL)
    truth, (_, clean, _) = device.opd_um[:, None, None] * cosine(), maps
    with h5py.File(tmp_path / "maps.h5") as file:
        opd, stderr = file["opd_um"][()], file["opd_stderr_um"][()]
    good = np.isfinite(opd) & np.isfinite(clean["opd_um"])
    assert good.sum() == np.isfinite(clean["opd_um"]).sum()
    rms, before = (np.sqrt(np.mean((one - truth)[good] ** 2)) for one in (opd, clean["opd_um"]))
    # left in they make it fourteen times as large
    assert rms < 1.6 * before
    assert np.median(stderr[good]) < 1.2 * np.median(clean["opd_stderr_um"][good])


def test_a_killed_run_goes_on(stack_path, maps, tmp_path):
    """Stopped after the fifth interferometer, started again: the same bytes, five of them not done twice."""
    path = tmp_path / "maps.h5"

    class Killed(Exception):
        pass

    def kill(done, total):
        if done >= 5 * SIZE**2:
            raise Killed

    with pytest.raises(Killed):
        characterize_pixels(PixelStack(stack_path), path, MODEL, progress=kill)
    assert not path.exists()
    result = characterize_pixels(PixelStack(stack_path), path, MODEL)
    assert result["n_resumed"] == 5
    with h5py.File(path) as file:
        assert "done" not in file
        for name, values in maps[1].items():
            # single precision on disk, and an iteration that ends at 1e-6
            np.testing.assert_allclose(file[name][()], values, rtol=1e-4, atol=1e-5)
    assert not list(tmp_path.glob("*.partial"))


def test_another_model_starts_anew(stack_path, tmp_path):
    path = tmp_path / "maps.h5"
    (tmp_path / "maps.h5.partial").write_bytes(b"no HDF5")
    model = TransmittanceModel(degree_gain=1, degree_reflectivity=0)
    result = characterize_pixels(PixelStack(stack_path), path, model, options=Options(prior=False))
    assert result["n_resumed"] == 0
    # as of `hsi pansharpen run -o maps.h5 --workers`
    (tmp_path / "maps.h5.partial").mkdir()
    with pytest.raises(InputError, match=r"maps\.h5\.partial: output: found a folder, expected a new name"):
        characterize_pixels(PixelStack(stack_path), path, model, options=Options(prior=False))


def test_torch_device_agrees(stack_path, maps, tmp_path):
    characterize_pixels(PixelStack(stack_path), tmp_path / "t.h5", MODEL, device="cpu")
    with h5py.File(tmp_path / "t.h5") as file:
        np.testing.assert_allclose(file["opd_um"][()], maps[1]["opd_um"], atol=2e-3)


def test_describe(stack_path, maps, tmp_path):
    assert describe(stack_path)["kind"] == "pixel stack"
    assert describe(maps[2])["kind"] == "per-pixel maps"
    assert describe(tmp_path) is None


def test_errors(tmp_path):
    with pytest.raises(FormatError, match="found no HDF5 file"):
        PixelStack(tmp_path / "none.h5")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["pixels"] = np.ones((2, 5, 4, 4))
    with pytest.raises(FormatError, match="wavenumber: missing"):
        PixelStack(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["wavenumber"] = np.linspace(1, 2, 6)
    with pytest.raises(InputError, match=r"pixels: found shape \(2, 5, 4, 4\)"):
        PixelStack(tmp_path / "a.h5")


@pytest.mark.parametrize("band", [(350.0, 1000.0), (900.0, 1700.0)])
def test_maps_of_few_fringes(tmp_path, band):
    """Pixels of .4 to 3 fringes keep their interferometer's, and their errors hold what the centre does not know."""
    width, rng, size = 1000 / band[0] - 1000 / band[1], np.random.default_rng(4), 6
    device = bench.simulate_instrument(
        20, rng=rng, rows=8, band_nm=band, opd_offset_um=0.4 / width, opd_step_um=2.6 / width / 20
    )
    lines, path = bench.lines(121, band), tmp_path / "stack.h5"
    with h5py.File(path, "w") as file:
        file["pixels"] = bench.pixel_stack(device, lines, size=size, rng=rng, noise=0.04)
        file["wavenumber"] = lines
        file.attrs["opd_step_um"] = device.opd_step_um
    model = TransmittanceModel(degree_gain=3, degree_reflectivity=3, degree_phase=3)
    characterize_pixels(PixelStack(path), tmp_path / "maps.h5", model)
    with h5py.File(tmp_path / "maps.h5") as file:
        opd, stderr = file["opd_um"][()], file["opd_stderr_um"][()]
    y, x = np.mgrid[:size, :size] - size // 2
    away = opd - device.opd_um[:, None, None] * np.cos(
        np.arctan(np.hypot(y, x) / (size / 2 * np.sqrt(2)) * np.tan(np.radians(8.0)))
    )
    assert np.abs(away).max() * width < 0.5
    assert (np.abs(away) < 1.96 * stderr).mean() > 0.9
    assert np.median(np.abs(away) / stderr) > 0.35


def test_what_the_centre_does_not_know_is_in_all_of_its_pixels(tmp_path):
    """As far as pixels move with the centre that they are drawn to: by fitting them anew with another one."""
    rng = np.random.default_rng(4)
    band = (900.0, 1700.0)
    width = 1000 / band[0] - 1000 / band[1]
    device = bench.simulate_instrument(
        20, rng=rng, rows=8, band_nm=band, opd_offset_um=0.8 / width, opd_step_um=2.0 / width / 20
    )
    lines, path = bench.lines(81, band), tmp_path / "stack.h5"
    with h5py.File(path, "w") as file:
        file["pixels"] = bench.pixel_stack(device, lines, size=5, rng=rng, noise=0.04)
        file["wavenumber"] = lines
    stack = PixelStack(path)
    _, fit, _ = fit_without_wild(stack.centre(), MODEL, Options())
    _, intensity, flat = next(stack.blocks(10))
    prior = Prior(mean=fit.prior.mean[10:11], precision=fit.prior.precision[10:11] / fit.variance[10])
    args = fit.sampled, intensity, flat * fit.curve, stack.wavenumber

    def opd(centre, doubt=None):
        maps = fit_pixels(*args, centre, prior, doubt=doubt, set_aside=False)
        return maps["opd_um"], maps["opd_stderr_um"]

    centre = fit.theta[10]
    moved = np.zeros_like(centre)
    moved[MODEL.slices["phase"].start + 2] = 0.05
    (before, sure), (after, _) = opd(centre), opd(centre + moved)
    _, doubted = opd(centre, np.outer(moved, moved))
    added = np.sqrt(doubted**2 - sure**2)
    assert np.median(np.abs(after - before)) > 0.1 * np.median(sure)
    np.testing.assert_allclose(added, np.abs(after - before), rtol=0.2, atol=0.05 * np.median(sure))
