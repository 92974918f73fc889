"""What PAN tells of its own optics, by plain loops: powers at two scales, Wiener's filter, Lee's."""

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter

from hsitools.sensor.spatial import mtf_blur
from pansharpen.case import FusionCase
from pansharpen.optics import Optics
from pansharpen.physics.hidden_details import blur_powers, hidden_power
from pansharpen.physics.own_mtf import powers, sharpness, twice
from pansharpen.physics.sharp_pan import REACH, SharpScene, _convolved, _differences, filtered, gaussian, sharpening
from pansharpen.tile import Tile


def waves(height, width, seed):
    """An image of some pixels' wavelengths."""
    rng = np.random.default_rng(seed)
    y, x = np.arange(height)[:, None], np.arange(width)
    draws = [(rng.uniform(-0.25, 0.25, 2), rng.uniform(0, 6)) for _ in range(12)]
    parts = [np.cos(along * y + across * x + phase) / 3 for (along, across), phase in draws]
    return torch.as_tensor(np.sum(parts, 0))[None, None]


def test_powers_of_differences_by_loops():
    """Around each pixel: mean squares of differences to the right and below, and of the differences of these."""
    image = np.random.default_rng(5).standard_normal((30, 34))
    for step in (1, 2):
        one, both = powers(torch.as_tensor(image)[None, None], step)
        padded = np.pad(image, ((0, step), (0, step)), mode="edge")
        across = padded[:-step, step:] - image
        down = padded[step:, :-step] - image
        mixed = padded[step:, step:] - padded[step:, :-step] - padded[:-step, step:] + padded[:-step, :-step]
        side = 2 * (7 * step // 2) + 1
        for found, power in ((one, (across**2 + down**2) / 2), (both, mixed**2)):
            inner = slice(side // 2, -(side // 2))
            expected = uniform_filter(power, side)[inner, inner]
            np.testing.assert_allclose(found[0, 0, inner, inner], expected, rtol=1e-9)
            assert float(found[0, 0, 0, 0]) == pytest.approx(power[: side // 2 + 1, : side // 2 + 1].mean())
    mean = twice(torch.as_tensor(image)[None, None])[0, 0]
    assert mean.shape == image.shape
    assert float(mean[3, 4]) == pytest.approx(image[3:5, 4:6].mean())
    assert float(mean[-1, -1]) == pytest.approx(image[-1, -1])


def test_what_noise_adds_to_the_ratio_is_gone_back_from():
    """Moments of none, one and two more of the noise lie on a parabola; the slopes are those where there is none."""
    n = 10000.0

    def moments(slope, spread):
        # of powers of mean 2 and 3
        return [n, 2 * n, 3 * n, n * (spread + 4), n * (slope * spread + 6)]

    def sums(fine, coarse):
        return torch.tensor([[moments(f, 1 + 0.1 * k), moments(c, 1 + 0.1 * k)] for k, (f, c) in
                             enumerate(zip(fine, coarse, strict=True), 1)], dtype=torch.float64)  # fmt: skip

    assert sharpness(sums([0.3] * 3, [0.2] * 3)) == pytest.approx(0.3 * 0.3 / 0.2)
    # spread · slope is s0 + s1 k + s2 k²
    spreads = np.array([1.1, 1.2, 1.3])
    fine = (0.3 + 0.05 * np.arange(1, 4) + 0.01 * np.arange(1, 4) ** 2) / spreads
    assert sharpness(sums(fine, [0.2] * 3)) == pytest.approx(0.3**2 / 0.2)
    # a ratio that no image without blur has is noise, as is nothing left of it
    assert sharpness(sums([0.9] * 3, [0.2] * 3)) == 0
    assert sharpness(sums([0.3, 0.7, 1.2], [0.2] * 3)) == 0
    few = sums([0.3] * 3, [0.2] * 3) * 0.3
    assert sharpness(few) == 0


def test_differences_of_pan_count_where_both_were_measured():
    rng = np.random.default_rng(6)
    pan = rng.standard_normal((12, 16))
    valid = torch.ones(1, 1, 12, 16, dtype=torch.bool)
    valid[..., 5, 7] = False
    margin, image = (1, 0, 1, 1), torch.as_tensor(pan)[None, None]
    tile = Tile(torch.zeros(1, 1, 6, 8), image, Optics(ratio=2), margin=margin, pan_valid=valid)
    along = both = n = 0.0
    padded = np.pad(pan, ((0, 1), (0, 1)), mode="edge")
    for y in range(2, 12):
        for x in range(2, 14):
            if (y, x) != (5, 7):
                right, below = padded[y, x + 1] - padded[y, x], padded[y + 1, x] - padded[y, x]
                along += (right**2 + below**2) / 2
                both += (padded[y + 1, x + 1] - padded[y + 1, x] - right) ** 2
                n += 1
    np.testing.assert_allclose(_differences(tile), [along, both, n], rtol=1e-9)


def test_the_filter_of_a_spectrum_is_wieners():
    """The mean squared error of a scene of 1/f² behind its optics, with noise: any other filter has more."""
    size, mtf = 64, 0.3
    y, x = np.meshgrid(np.fft.fftfreq(size) * 2, np.fft.fftfreq(size) * 2, indexing="ij")
    square = y**2 + x**2
    spectrum, gain = 1 / np.where(square > 0, square, np.inf), mtf**square
    step_y, step_x = (4 * np.sin(np.pi * axis / 2) ** 2 for axis in (y, x))
    noise = 0.2
    power = 3 * gain**2 * spectrum + noise
    kernel = sharpening(mtf, (power * (step_y + step_x) / 2).mean(), (power * step_y * step_x).mean())
    assert kernel.shape == (2 * REACH + 1,) * 2
    assert kernel.sum() == pytest.approx(1)

    def error(filter_):
        wide = np.zeros((size, size))
        wide[: len(filter_), : len(filter_)] = filter_
        response = np.fft.fft2(np.roll(wide, (-REACH, -REACH), (0, 1))).real
        return ((1 - gain * response) ** 2 * 3 * spectrum + response**2 * noise).mean()

    centre = np.zeros_like(kernel)
    centre[REACH, REACH] = 1
    for other in (centre, gaussian(0.3), gaussian(0.8)):
        for share in (0.02, -0.02):
            assert error(kernel) < error(kernel + share * (other - kernel)) + 2e-5 * error(kernel)
    assert error(kernel) < 0.9 * error(centre)
    # noise that is told lowers it as much
    clear = [(3 * gain**2 * spectrum * step).mean() for step in ((step_y + step_x) / 2, step_y * step_x)]
    np.testing.assert_allclose(sharpening(mtf, *clear, least=noise), kernel, atol=1e-9)


def test_what_is_left_of_a_blur_is_both_filters_in_turn():
    kernel = sharpening(0.3, 1.0, 0.3)
    point = torch.zeros(1, 1, 51, 51, dtype=torch.float64)
    point[..., 25, 25] = 1
    both = filtered(filtered(point, kernel), gaussian(0.3))[0, 0]
    middle = both[25 - REACH : 26 + REACH, 25 - REACH : 26 + REACH].numpy()
    np.testing.assert_allclose(_convolved(kernel, 0.3), middle / middle.sum(), atol=2e-4)


def test_finest_details_stand_out_of_their_noise_or_fall():
    """Lee: of details of power p, of which noise makes q, a share 1 − q/p stays; in both steps."""
    kernel = sharpening(0.3, 1.0, 0.3)
    pan = waves(40, 40, 9) + torch.randn(1, 1, 40, 40, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    optics = Optics(ratio=4, pan_mtf=0.3, pan_variance=0.4)
    scene = SharpScene(FusionCase(coarse=torch.zeros(1, 1, 10, 10), pan=pan, optics=optics), kernel, 0.3)
    deviation = np.exp(-0.5 * np.arange(-REACH, REACH + 1) ** 2)
    blur = np.outer(deviation, deviation) / deviation.sum() ** 2
    centre = np.zeros_like(blur)
    centre[REACH, REACH] = 1
    level = pan.mean()
    expected = filtered(pan - level, blur)[0, 0].numpy() + float(level)
    for part in (centre - blur, kernel - centre):
        details = filtered(pan - level, part)[0, 0].numpy()
        noise = 0.4 * (part**2).sum()
        for y, x in np.ndindex(40, 40):
            near = details[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3]
            expected[y, x] += details[y, x] * max(1 - noise / (near**2).mean(), 0)
    np.testing.assert_allclose(scene.sharpened(pan)[0, 0], expected, atol=1e-9)
    untold = FusionCase(coarse=torch.zeros(1, 1, 10, 10), pan=pan, optics=Optics(ratio=4, pan_mtf=0.3))
    torch.testing.assert_close(SharpScene(untold, kernel, 0.3).sharpened(pan), filtered(pan, kernel))


def test_powers_of_what_a_blur_takes():
    pan, blur = waves(30, 40, 2), gaussian(0.3)
    once = pan - filtered(pan, blur)
    again = once - filtered(once, blur)
    own = (..., slice(3, -4), slice(5, None))
    found = blur_powers(pan, blur, lambda image: image[own])
    expected = [float(once[own].square().sum()), float(again[own].square().sum()), 23 * 35]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    # a scene of 1/f² behind a blur of .3 has lost as much as its spectrum says
    size = 128
    noise = torch.fft.rfft2(torch.randn(1, 1, size, size, generator=torch.Generator().manual_seed(3)).double())
    y, x = torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)
    image = torch.fft.irfft2(noise / torch.hypot(y, x).clamp(min=1 / 256))
    seen = mtf_blur((size, size), 0.3, 1)(image)
    case = FusionCase(coarse=torch.zeros(1, 1, 32, 32), pan=seen, optics=Optics(ratio=4, pan_mtf=0.3))
    assert hidden_power(case) == pytest.approx(float((image - seen)[..., 8:-8, 8:-8].square().mean()), rel=0.15)
    assert hidden_power(case.replace(pan_made=True)) == 0
