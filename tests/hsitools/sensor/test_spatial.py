"""Blur, decimation, interpolation: gains, positions, adjoints."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hsitools.errors import InputError
from hsitools.sensor import interpolation, separable, spatial

SHAPES = ((37, 52), (48, 48), (50, 33))


def check_adjoint(operator, shape, bands=3, tolerance=1e-10):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, bands, *shape, dtype=torch.float64, generator=generator)
    y = operator.forward(x)
    z = torch.randn(y.shape, dtype=torch.float64, generator=generator)
    assert abs(float((y * z).sum() - (x * operator.adjoint(z)).sum())) <= tolerance * float(y.norm() * z.norm())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("ratio", range(1, 9))
def test_adjoints(ratio, shape):
    gains = np.linspace(0.15, 0.45, 3)
    both = np.stack([gains, gains[::-1]], axis=1)
    check_adjoint(spatial.mtf_blur(shape, gains, ratio), shape)
    for offset in {None, 0, ratio - 1, min(0.25, ratio - 1)}:
        check_adjoint(spatial.mtf_decimate(shape, gains, ratio, offset), shape)
        check_adjoint(spatial.mtf_decimate(shape, both, ratio, offset), shape)
    check_adjoint(spatial.decimate(shape, ratio, ratio // 2), shape)
    check_adjoint(interpolation.interpolate(shape, ratio), shape)
    check_adjoint(interpolation.interpolate((12, 15), ratio, method="ideal"), (12, 15))
    check_adjoint(interpolation.interpolate(shape, ratio, method="polynomial"), shape)
    if ratio in (2, 4, 8):
        check_adjoint(interpolation.interpolate(shape, ratio, ratio // 2, method="23tap"), shape)
    check_adjoint(separable.window_mean(shape, (1.0, 2.0, 1.0)), shape)


@pytest.mark.parametrize("ratio", range(1, 9))
@pytest.mark.parametrize("gain", [0.05, 0.3, 0.7, 0.95])
def test_gain_at_dc_and_nyquist(ratio, gain):
    """A sinusoid at the coarse Nyquist frequency comes out with the declared gain, a constant unchanged."""
    n = 40 * ratio
    operator = spatial.mtf_blur((1, n), gain, ratio)
    ones = torch.ones(1, 1, n, dtype=torch.float64)
    assert float((operator(ones) - 1).abs().max()) < 1e-12
    wave = torch.as_tensor(np.cos(np.pi * np.arange(n) / ratio))[None, None]
    inside = slice(10 * ratio, 30 * ratio)
    np.testing.assert_allclose(operator(wave)[..., inside], gain * wave[..., inside], atol=1e-9)


@pytest.mark.parametrize("ratio", [2, 3, 5, 6])
def test_decimation_is_blur_then_sampling(ratio):
    x = torch.randn(4, 61, 47, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for offset in range(ratio):
        both = spatial.decimate((61, 47), ratio, offset)(spatial.mtf_blur((61, 47), 0.3, ratio)(x))
        once = spatial.mtf_decimate((61, 47), 0.3, ratio, offset)(x)
        np.testing.assert_allclose(once, both, atol=1e-12)
        np.testing.assert_array_equal(spatial.decimate((61, 47), ratio, offset)(x), x[:, offset::ratio, offset::ratio])


def test_bands_have_their_own_gain():
    x = torch.randn(3, 40, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gains = np.array([0.2, 0.3, 0.4])
    together = spatial.mtf_blur((40, 40), gains, 4)(x)
    for band, gain in enumerate(gains):
        # alone, its filter is cut a little later: e^(−18) of the peak
        alone = spatial.mtf_blur((40, 40), gain, 4)(x[band : band + 1])[0]
        np.testing.assert_allclose(together[band], alone, atol=1e-7)


def test_gains_of_two_axes_are_those_along_y_and_x():
    wave = torch.as_tensor(np.cos(np.pi * np.arange(80) / 4))
    along_y, along_x = wave[:, None].expand(80, 80), wave[None].expand(80, 80)
    seen = spatial.mtf_blur((80, 80), np.array([[0.2, 0.6]]), 4)(torch.stack([along_y, along_x]))[:, 20:60, 20:60]
    np.testing.assert_allclose(seen[0], 0.2 * along_y[20:60, 20:60], atol=1e-9)
    np.testing.assert_allclose(seen[1], 0.6 * along_x[20:60, 20:60], atol=1e-9)


@pytest.mark.parametrize("method", ["bicubic", "ideal", "polynomial", "23tap"])
@pytest.mark.parametrize("ratio", range(2, 9))
def test_constants_and_samples_are_kept(ratio, method):
    if method == "23tap" and ratio not in (2, 4, 8):
        with pytest.raises(InputError, match="23tap: found ratio"):
            interpolation.interpolate((9, 9), ratio, ratio // 2, method=method)
        return
    for offset in (0, ratio // 2, ratio - 1):
        operator = interpolation.interpolate((13, 16), ratio, offset, method=method)
        x = torch.randn(2, 13, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        assert float((operator(torch.ones_like(x)) - 1).abs().max()) < 1e-12
        # every coarse pixel is found again where it lies on the fine grid
        np.testing.assert_allclose(operator(x)[:, offset::ratio, offset::ratio], x, atol=1e-12)


@pytest.mark.parametrize("size", [24, 25])
@pytest.mark.parametrize("ratio", range(2, 9))
def test_sinusoids(ratio, size):
    """Ideal is exact on periodic waves, at any offset; the others within a few per cent on slow ones."""
    for offset in (0, ratio / 2, (ratio - 1) / 2):
        fine = (np.arange(size * ratio) - offset) / ratio
        wave = lambda at: np.cos(2 * np.pi * 3 * at / size + 0.3)  # noqa: E731
        coarse = torch.as_tensor(np.outer(wave(np.arange(size)), wave(np.arange(size))))[None]
        expected = np.outer(wave(fine), wave(fine))
        ideal = interpolation.interpolate((size, size), ratio, offset, method="ideal")
        np.testing.assert_allclose(ideal(coarse)[0], expected, atol=1e-9)
        cubic = interpolation.interpolate((size, size), ratio, offset)(coarse)[0].numpy()
        inside = slice(3 * ratio, -3 * ratio)
        np.testing.assert_allclose(cubic[inside, inside], expected[inside, inside], atol=0.05)
        polynomial = interpolation.interpolate((size, size), ratio, offset, method="polynomial")(coarse)[0].numpy()
        inside = slice(6 * ratio, -6 * ratio)
        np.testing.assert_allclose(polynomial[inside, inside], expected[inside, inside], atol=1e-3)


@pytest.mark.parametrize("ratio", [2, 3, 4, 6])
def test_bicubic_is_imresize(ratio):
    """Pillow's bicubic has the same kernel (a = −1/2) and geometry; only its border is another."""
    x = np.random.default_rng(0).random((12, 14)).astype(np.float32)
    expected = np.asarray(Image.fromarray(x).resize((14 * ratio, 12 * ratio), Image.Resampling.BICUBIC))
    found = interpolation.interpolate((12, 14), ratio)(torch.as_tensor(x)[None])[0].numpy()
    inside = slice(2 * ratio, -2 * ratio)
    np.testing.assert_allclose(found[inside, inside], expected[inside, inside], atol=1e-5)


def test_published_interpolation(shared):
    """Away from the border (theirs is periodic) the toolbox's 23-tap image of a real scene comes out."""
    given = np.load(shared / "golden" / "jasper159_r4.npz")
    found = interpolation.interpolate((24, 24), 4, 2, method="23tap")(torch.as_tensor(given["ms_lr"]).double()).numpy()
    inside = slice(40, -40)
    np.testing.assert_allclose(found[:, inside, inside], given["ms"][:, inside, inside], atol=0.5)


@pytest.mark.parametrize("offset", [0, 1])
def test_polynomial_is_23tap_at_ratio_2(offset):
    x = torch.randn(2, 20, 31, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found, expected = (interpolation.interpolate((20, 31), 2, offset, method=m)(x) for m in ("polynomial", "23tap"))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_blocks_do_not_show():
    """More rows than one block of the matrix, and an image much larger than the filter."""
    x = torch.randn(1, 300, 130, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    whole = spatial.mtf_decimate((300, 130), 0.3, 3, 1)(x)
    part = spatial.mtf_decimate((150, 130), 0.3, 3, 1)(x[:, :150])
    np.testing.assert_allclose(whole[:, :40], part[:, :40], atol=1e-12)


@given(st.integers(2, 40), st.integers(2, 40), st.integers(1, 8), st.floats(0.05, 0.95))
def test_any_size(height, width, ratio, gain):
    operator = spatial.mtf_decimate((height, width), gain, ratio, 0)
    out = operator(torch.ones(2, height, width, dtype=torch.float64))
    assert out.shape == (2, -(-height // ratio), -(-width // ratio))
    assert float((out - 1).abs().max()) < 1e-12


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: spatial.mtf_blur((9, 9), 1.2, 2), "mtf: found gains 1.2"),
        (lambda: spatial.mtf_blur((9, 9), 0.3, 2.5), "ratio: found 2.5"),
        (lambda: spatial.mtf_blur((9, 9), np.ones((3, 3)) / 2, 2), r"mtf: found shape \(3, 3\)"),
        (lambda: spatial.mtf_decimate((9, 9), 0.3, 2, 2), "offset: found 2, expected 0 to 1 at ratio 2"),
        # beyond the last fine pixel of the first coarse one the last sample would lie outside the image
        (lambda: spatial.mtf_decimate((9, 9), 0.3, 2, 1.5), "offset: found 1.5, expected 0 to 1 at ratio 2"),
        (lambda: interpolation.interpolate((9, 9), 2, 1.5), "offset: found 1.5, expected 0 to 1 at ratio 2"),
        (lambda: spatial.decimate((9, 9), 2, 0.5), "offset: found 0.5"),
        (lambda: interpolation.interpolate((9, 9), 2, method="cubic"), "method: found 'cubic'"),
        (lambda: spatial.mtf_blur((9, 9), 0.3, 2)(torch.ones(1, 9, 8)), "image: found shape"),
        (lambda: spatial.mtf_blur((9, 9), [0.3, 0.4], 2)(torch.ones(3, 9, 9)), "image: found shape"),
    ],
)
def test_errors_say_what(call, message):
    with pytest.raises(InputError, match=message):
        call()
