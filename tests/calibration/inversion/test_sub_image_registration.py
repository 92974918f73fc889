"""Sub-images of a frame: displacements are found, hot pixels told from the others, nothing moves for nothing."""

import h5py
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.ndimage import gaussian_filter

from calibration import simulated_bench as bench
from calibration import simulated_scene
from calibration.inversion import sub_image_registration as registration
from hsitools.scenes import scene

COUNT, OVERSAMPLING = 60, 4
WAVELENGTH = np.linspace(351.0, 999.0, 131)


@pytest.fixture(scope="module")
def device():
    return bench.simulate_instrument(COUNT, rng=np.random.default_rng(0), rows=6, pitch=32)


def cut(path, device):
    """Light of the sub-images and their hot pixels."""
    with h5py.File(path) as file:
        frames, dark = file["frames"][()].astype(float), file["dark"][()].astype(float)
    light, hot = frames.mean(axis=0) - dark.mean(axis=0), np.median(dark, axis=0) > 900
    size = simulated_scene.sub_image_size(device)
    corners = np.rint(device.layout.centres()[:COUNT] - (size - 1) / 2).astype(int)
    places = [(slice(y, y + size), slice(x, x + size)) for y, x in corners]
    return np.stack([light[place] for place in places]), np.stack([hot[place] for place in places])


def take(tmp_path, device, **settings):
    """Frames of a scene with what was asked for."""
    view = scene((44 * OVERSAMPLING,) * 2, wavelength_nm=WAVELENGTH, seed=settings.pop("seed"))
    view = view.with_data(4 * view.read())
    simulated_scene.write_scene(
        tmp_path / "scene.h5", device, view, rng=np.random.default_rng(5), oversampling=OVERSAMPLING, **settings
    )
    return cut(tmp_path / "scene.h5", device), view


@pytest.mark.parametrize("seed", [1, 2])
def test_displacements_and_magnifications_are_those_of_the_simulation(tmp_path, device, seed):
    rng = np.random.default_rng(seed)
    shift, magnification = rng.normal(0, 0.8, (COUNT, 2)), 1 + rng.normal(0, 0.01, COUNT)
    (images, hot), _ = take(tmp_path, device, seed=seed, shift=shift, magnification=magnification)
    matrix = simulated_scene.interferogram_matrix(device, WAVELENGTH, 5000.0)
    found = registration.register(images, ~hot, registration.brightness_projection(matrix, WAVELENGTH))
    error = found.shift - (shift - np.median(shift, axis=0))
    assert np.abs(error - np.median(error, axis=0)).max() < 0.1
    at_the_edge = (found.magnification - magnification / np.median(magnification)) * images.shape[1] / 2
    assert np.abs(at_the_edge).max() < 0.15
    assert np.sqrt((at_the_edge**2).mean()) < 0.05


def test_aligned_they_are_what_undisplaced_ones_are(tmp_path, device):
    rng = np.random.default_rng(1)
    shift = rng.normal(0, 0.8, (COUNT, 2))
    matrix = simulated_scene.interferogram_matrix(device, WAVELENGTH, 5000.0)
    (images, hot), view = take(tmp_path, device, seed=1, shift=shift)
    projection = registration.brightness_projection(matrix, WAVELENGTH)
    told = registration.precision(matrix, WAVELENGTH, np.full(COUNT, 0.01))
    found = registration.register(images, ~hot, projection)
    aligned, factor = registration.aligned_images(images, hot, found, told)
    size = images.shape[1]
    whole = tuple(np.median(found.shift - shift, axis=0))
    truth = simulated_scene.truth_of(view, size, OVERSAMPLING, whole).read().astype(float)
    expected = np.tensordot(matrix, truth, axes=1)
    common = np.isfinite(aligned).all(axis=0)
    assert 0.5 < common.mean() < 1

    def error(values):
        return np.sqrt(((values - expected)[:, common] ** 2).mean()) / expected.mean()

    assert error(aligned) < 0.03
    assert error(np.where(hot, expected, images)) > 4 * error(aligned)
    assert ((factor > 0.5) & (factor < 1)).all()


def test_hot_pixels_are_told_from_the_other_sub_images(tmp_path, device):
    (images, hot), view = take(tmp_path, device, seed=3, hot_share=0.005)
    matrix = simulated_scene.interferogram_matrix(device, WAVELENGTH, 5000.0)
    still = registration.Registration(
        shift=np.zeros((COUNT, 2)), magnification=np.ones(COUNT), shift_stderr=np.zeros((COUNT, 2))
    )
    told = registration.precision(matrix, WAVELENGTH, np.full(COUNT, 0.01))
    aligned, factor = registration.aligned_images(images, hot, still, told)
    truth = simulated_scene.truth_of(view, images.shape[1], OVERSAMPLING).read().astype(float)
    expected = np.tensordot(matrix, truth, axes=1)
    assert hot.sum() > 100
    assert np.median(np.abs(aligned - expected)[hot] / expected[hot]) < 0.03
    # nothing was resampled
    assert_allclose(aligned[~hot], images[~hot], rtol=0, atol=0)
    assert (factor == 1).all()


def test_a_saturated_pixel_is_no_measurement_and_spreads_no_further(device):
    images = np.random.default_rng(0).uniform(1, 2, (COUNT, 31, 31))
    images[3, 10, 12] = np.nan
    still = registration.Registration(
        shift=np.zeros((COUNT, 2)), magnification=np.ones(COUNT), shift_stderr=np.zeros((COUNT, 2))
    )
    aligned, _ = registration.aligned_images(images, np.zeros(images.shape, bool), still, np.eye(COUNT))
    assert np.argwhere(~np.isfinite(aligned)).tolist() == [[3, 10, 12]]


def test_without_structure_nothing_moves(device):
    rng = np.random.default_rng(2)
    matrix = simulated_scene.interferogram_matrix(device, WAVELENGTH, 5000.0)
    flat = matrix.sum(axis=1)[:, None, None] * (1 + 0.01 * rng.standard_normal((COUNT, 31, 31)))
    projection = registration.brightness_projection(matrix, WAVELENGTH)
    found = registration.register(flat, np.ones(flat.shape, bool), projection)
    moved = np.abs(found.shift).max()
    assert moved < 0.5 * np.median(found.shift_stderr) or moved < registration.NEGLIGIBLE


def test_resampling_is_exact_for_lines_and_whole_pixels():
    y, x = np.mgrid[:21, :21].astype(float)
    plane = (2 + 0.3 * y - 0.2 * x)[None]
    values, inside, factor = registration.resample(plane, np.array([[0.4, -0.7]]), np.ones(1))
    middle = (slice(None), slice(6, -6), slice(6, -6))
    # away from the ends, where the mirrored plane has a kink (whose effect falls by .27 a pixel)
    assert_allclose(values[middle], (plane + 0.3 * 0.4 + 0.2 * 0.7)[middle], atol=2e-4)
    assert inside[0, :-1, 1:].all()
    assert not inside[0, -1].any()
    assert factor[0] < 1
    noise = np.random.default_rng(0).standard_normal((1, 21, 21))
    moved, _, factor = registration.resample(noise, np.array([[1.0, 0.0]]), np.ones(1))
    assert_allclose(moved[0, :-1], noise[0, 1:], atol=1e-10)
    assert factor[0] == pytest.approx(1, abs=0.05)


def test_a_dark_column_beyond_some_sub_images_is_no_part_of_the_field(device):
    rng = np.random.default_rng(5)
    matrix = simulated_scene.interferogram_matrix(device, WAVELENGTH, 1.0)
    spectra = 3 + gaussian_filter(rng.standard_normal((131, 16, 16)), (16, 1.5, 1.5)) * 8
    images = np.tensordot(matrix, spectra, axes=1)
    whole = images * (1 + 0.01 * rng.standard_normal(images.shape))
    told = registration.precision(matrix, WAVELENGTH, np.full(COUNT, 0.01))
    assert np.isfinite(registration.without_borders(whole, told)).all()
    whole[::3, :, -1] *= 0.4
    kept = np.isfinite(registration.without_borders(whole, told)).all(axis=0)
    assert not kept[:, -1].any()
    assert kept[:, :-1].all()
