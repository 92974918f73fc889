"""Indices without a reference, by plain loops over blocks and pieces; and the registration that they rest on."""

import numpy as np
import pytest
import torch
from scipy.optimize import nnls

from hsitools.metrics import Fusion, Registration, evaluate_alone, evaluate_fusion, get
from hsitools.metrics.full_resolution import PAN_GAINS
from hsitools.metrics.registration import _derivatives, register
from hsitools.scenes import scene
from hsitools.sensor.interpolation import interpolate
from hsitools.sensor.spatial import mtf_blur, mtf_decimate


def images(height=40, width=44, bands=4, ratio=4, seed=0):
    """A noisy fused cube, its coarse cube and PAN of no whole number of blocks, as tensors ``(band, y, x)``."""
    rng = np.random.default_rng(seed)
    base = rng.uniform(0.5, 1.5, (3, height // ratio, width // ratio)).repeat(ratio, 1).repeat(ratio, 2)
    truth = np.einsum("bk,kyx->byx", rng.uniform(0.2, 1, (bands, 3)), base + 0.3 * rng.uniform(size=(3, height, width)))
    truth, fused = torch.as_tensor(truth), torch.as_tensor(truth + 0.05 * rng.standard_normal(truth.shape))
    coarse = mtf_decimate((height, width), 0.3, ratio)(truth)
    return fused, coarse + 0.01 * torch.as_tensor(rng.standard_normal(coarse.shape)), truth[:2].mean(0, keepdim=True)


def in_blocks(image, side):
    """Blocks ``(side, side)`` of an image that is mirrored to a whole number of them."""
    image = np.pad(image, [(0, -size % side) for size in image.shape], mode="symmetric")
    return [
        image[y : y + side, x : x + side] for y in range(0, len(image), side) for x in range(0, image.shape[1], side)
    ]


def quality(first, second, side, valid=None):
    """Universal image quality index, mean over the blocks that have contrast."""
    valid = np.ones(first.shape, bool) if valid is None else valid
    scores = []
    for a, b, keep in zip(*(in_blocks(image, side) for image in (first, second, valid)), strict=True):
        a, b = a[keep], b[keep]
        if len(a) >= 2 and (a.var() + b.var()) * (a.mean() ** 2 + b.mean() ** 2) > 0:
            covariance = ((a - a.mean()) * (b - b.mean())).sum() / (len(a) - 1)
            below = (a.var(ddof=1) + b.var(ddof=1)) * (a.mean() ** 2 + b.mean() ** 2)
            scores.append(4 * covariance * a.mean() * b.mean() / below)
    return np.mean(scores)


@pytest.mark.parametrize("hole", [False, True])
def test_classical_distortions(hole):
    """Blocks of 32 fine pixels, which are of 8 coarse ones at ratio 4."""
    fused, coarse, pan = images()
    valid, low_valid = np.ones(fused.shape[1:], bool), np.ones(coarse.shape[1:], bool)
    if hole:
        fused[1, 33:37, 4:17] = torch.nan
        valid[33:37, 4:17], low_valid[8:10, 1:5] = False, False
    given = fused.numpy(), coarse.numpy(), pan[0].numpy(), mtf_decimate((40, 44), 0.25, 4)(pan)[0].numpy()
    n = range(len(fused))
    pairs = [
        abs(quality(given[0][i], given[0][j], 32, valid) - quality(given[1][i], given[1][j], 8, low_valid))
        for i in n for j in n if i < j
    ]  # fmt: skip
    spatial = [abs(quality(given[0][i], given[2], 32, valid) - quality(given[1][i], given[3], 8, low_valid)) for i in n]
    found = evaluate_fusion(fused, coarse, pan, pan_mtf=0.25, metrics=["D_lambda_classic", "D_s", "D_sR"])
    assert found["D_lambda_classic"].value == pytest.approx(np.mean(pairs), rel=1e-9)
    if not hole:
        # of PAN blurred over a hole less is known
        np.testing.assert_allclose(found["D_s"].per_band, spatial, rtol=1e-9)
        assert found["D_s"].value == pytest.approx(np.mean(spatial), rel=1e-9)
    design, target = given[0][:, valid].T, given[2][valid]
    rest = target - design @ np.linalg.lstsq(design, target, rcond=None)[0]
    assert found["D_sR"].value == pytest.approx(rest.var() / target.var(), rel=1e-9)


@pytest.mark.parametrize("told", [{"pan_own_mtf": 0.45}, {}, {"border": 5, "mtf": [0.2, 0.3, 0.3, 0.4]}])
def test_share_of_pan_s_detail_that_a_response_leaves(told):
    """The response is learnt of the coarse pair; the blur is PAN's, or that of those tried which suits best."""
    fused, coarse, pan = images()
    pan = mtf_blur((40, 44), 0.45, 1)(pan)
    down, up = mtf_decimate((40, 44), 0.3, 4), interpolate((10, 11), 4, method="bicubic")
    bands, target = coarse.flatten(1).numpy(), down(pan).flatten().numpy()
    weights = nnls((bands - bands.mean(1, keepdims=True)).T, target - target.mean())[0]
    made = (torch.as_tensor(weights)[:, None, None] * fused).sum(0, keepdim=True)
    inside = slice(told.get("border", 0), -told.get("border", 0) or None)

    def detail(image):
        return (image - up(down(image)))[0, inside, inside].numpy()

    tried = [told["pan_own_mtf"]] if "pan_own_mtf" in told else PAN_GAINS
    shares = [(detail(pan) - detail(mtf_blur((40, 44), gain, 1)(made))).var() / detail(pan).var() for gain in tried]
    found = evaluate_fusion(fused, coarse, pan, metrics=["D_pan"], **told)["D_pan"].value
    assert found == pytest.approx(min(shares), rel=1e-3)
    # what has nothing of PAN explains nothing of it
    other = 5 * torch.as_tensor(np.random.default_rng(3).standard_normal(fused.shape))
    assert evaluate_fusion(other, coarse, pan, metrics=["D_pan"], **told)["D_pan"].value == 1


@pytest.mark.parametrize("height", [8, 21, 64, 67])
def test_stripes_by_loops(height):
    rng = np.random.default_rng(1)
    cube = rng.standard_normal((3, height, 24)) + np.array([0.0, 0.5, 2.0])[:, None, None] * rng.standard_normal(24)
    pieces = min(8, height // 4)
    rows = height // pieces
    ratios = []
    for band in cube:
        steps = np.diff(band, axis=1)
        # the lower of two middle values
        medians = np.array([np.sort(steps[k * rows : (k + 1) * rows], 0)[(rows - 1) // 2] for k in range(pieces)])
        within = np.mean([np.var(column, ddof=1) for column in medians.T]) / pieces
        ratios.append(np.var(medians.mean(0)) / within)
    found = evaluate_alone(cube, metrics=["stripes"])["stripes"]
    np.testing.assert_allclose(found.per_band, ratios, rtol=1e-9)
    assert found.value == pytest.approx(np.median(ratios), rel=1e-9)


# ---- expected error --------------------------------------------------------------------------------------------


def parts_of_error(fused, coarse, pan, **told):
    return evaluate_fusion(
        fused, coarse, pan, metrics=["ERGAS_est"], registration=Registration(), pan_own_mtf=0.97,
        noise_variance=np.full(len(fused), 1e-14), **told,
    )["ERGAS_est"].per_band  # fmt: skip


def lines_of_pan():
    """Bands that are lines of a PAN without blur: interpolation and PAN's details are all that there is."""
    pan = torch.as_tensor(scene((64, 72), seed=4).read()[30:31]).double()
    slope = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)[:, None, None]
    return slope * pan + 0.3, mtf_decimate((64, 72), 0.3, 4)(slope * pan + 0.3), pan, slope


def test_a_wrong_gain_on_pan_s_details_is_an_error_of_its_square():
    """Details × 1.4, of bands that PAN tells: .4² of the power of each band's details, over its mean squared."""
    truth, coarse, pan, slope = lines_of_pan()
    down, up = mtf_decimate((64, 72), 0.3, 4), interpolate((16, 18), 4, method="polynomial", out_shape=(64, 72))
    details = pan - up(down(pan))
    # so that the sensor sees nothing of it
    details = details - up(down(details))
    power = details[:, 4:-4, 4:-4].square().mean()
    expected = 100 / 4 * 0.4 * slope[:, 0, 0] * power.sqrt() / coarse.mean((1, 2))
    found = parts_of_error(truth + 0.4 * slope * details, coarse, pan)
    np.testing.assert_allclose(found, expected, rtol=0.1)
    assert (parts_of_error(truth, coarse, pan) < 0.25 * found).all()


def test_what_the_sensor_sees_is_an_error_as_it_is_beyond_the_noise():
    """A constant on one band: its square over the band's mean squared, and no detail is doubted for it."""
    truth, coarse, pan, _ = lines_of_pan()
    off = truth.clone()
    off[1] += 0.2
    plain, found = parts_of_error(truth, coarse, pan), parts_of_error(off, coarse, pan)
    expected = (100 / 4 * 0.2 / float(coarse[1].mean())) ** 2
    assert found[1] ** 2 - plain[1] ** 2 == pytest.approx(expected, rel=1e-3)
    np.testing.assert_allclose(found[[0, 2]], plain[[0, 2]], rtol=1e-9)
    noisy = evaluate_fusion(
        off, coarse, pan, metrics=["ERGAS_est"], registration=Registration(), pan_own_mtf=0.97,
        noise_variance=np.array([1e-14, 0.03, 1e-14]),
    )["ERGAS_est"].per_band  # fmt: skip
    assert noisy[1] ** 2 < plain[1] ** 2 + 0.3 * expected


# ---- registration ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shifted():
    """A cube that lies beside PAN by other parts of a pixel along y and x, and is softer than .3."""
    truth = torch.as_tensor(scene((60, 84), seed=2).read()[::40].copy()).double()
    coarse = mtf_decimate((60, 84), 0.25, 3, shift=(0.5, -0.3))(truth)
    return coarse, truth[:2].mean(0, keepdim=True)


def test_registration_is_that_of_the_pair_turned(shifted):
    coarse, pan = shifted
    told = {"mtf": 0.3, "ratio": 3, "offset": 1.0, "pan_gain": 1.0}
    found = register(coarse, pan, **told)
    np.testing.assert_allclose(found.shift, (0.5, -0.3), atol=0.08)
    assert float(np.mean(found.gains(0.3))) == pytest.approx(0.25, abs=0.03)
    turned = register(coarse.mT.flip(1), pan.mT.flip(1), **told)
    np.testing.assert_allclose(turned.shift, (-found.shift[1], found.shift[0]), atol=1e-6)
    assert turned.power == pytest.approx(found.power, rel=1e-6)
    # neither units nor order of the bands mean anything, nor what lies under a mask
    valid = torch.ones(coarse.shape[1:], dtype=torch.bool)
    valid[5:8, 6:9] = False
    odd = torch.where(valid, coarse, 50.0)
    units = torch.logspace(-3, 3, len(odd), dtype=torch.float64)[:, None, None]
    other = register(odd.flip(0) * units, pan / 7 + 5, **told, valid=valid)
    plain = register(coarse, pan, **told, valid=valid)
    np.testing.assert_allclose(other.shift, plain.shift, atol=1e-3)
    assert other.power == pytest.approx(plain.power, rel=1e-3)
    np.testing.assert_allclose(plain.shift, found.shift, atol=0.05)
    assert register(coarse[:, :5, :5], pan[:, :15, :15], **told) == Registration()


def test_a_fused_cube_is_registered_by_what_it_holds(shifted):
    coarse, pan = shifted
    fused = interpolate(coarse.shape[1:], 3, out_shape=(60, 84))(coarse)
    fused[:, 15:24, 18:27] = torch.nan
    odd = coarse.clone()
    odd[:, 5:8, 6:9] = 50
    (plain,), (found,) = (
        Fusion.of(fused, image, pan, mtf=0.3, pan_own_mtf=0.97).registered().registration for image in (coarse, odd)
    )
    np.testing.assert_allclose(found.shift, plain.shift, atol=1e-6)
    np.testing.assert_allclose(found.shift, (0.5, -0.3), atol=0.1)


def test_gains_that_are_found():
    found = Registration(power=2.0)
    np.testing.assert_allclose(found.gains([0.3, 0.5]), [0.09, 0.25])
    np.testing.assert_allclose(Registration(power=6.0).gains([0.2, 0.999]), [0.01, 0.97])
    # as they are declared, a gain of one included
    assert Registration().gains(1.0) == 1.0


def test_what_changes_a_coarse_image():
    rows, columns = torch.meshgrid(torch.arange(5.0), torch.arange(6.0), indexing="ij")
    y, x, wider = _derivatives(3 * rows**2 + 5 * columns + columns * rows)
    inside = slice(1, -1)
    torch.testing.assert_close(y[inside, inside], (12 * rows + 2 * columns)[inside, inside])
    torch.testing.assert_close(x[inside, inside], (10 + 2 * rows)[inside, inside])
    torch.testing.assert_close(wider[inside, inside], torch.full((3, 4), 6.0))
    # the border repeats itself
    assert float(y[0, 0]) == 3.0


def test_bands_and_pixels_that_are_compared():
    """A band of one value, and one that is mostly lost, are set aside; a pixel that one other band lacks is for all."""
    fused, coarse, pan = images()
    fused[0, :30], coarse[2] = torch.nan, 0.7
    fused[1, 13, 22] = torch.nan
    fusion = Fusion.of(fused, coarse, pan, mtf=np.array([0.1, 0.2, 0.3, 0.4]))
    assert fusion.live.tolist() == [False, True, False, True]
    np.testing.assert_array_equal(fusion.mtf, [0.2, 0.4])
    assert torch.nonzero(~fusion.valid[0]).tolist() == [[13, 22]]
    assert fusion.excluded() == {"pixels": 1, "bands": 2}
    assert fusion.offset == 1.5
    # what stands in for it is the median of the band
    values = fused[1][torch.isfinite(fused[1])]
    assert float(fusion.fused[0, 0, 13, 22]) == float(values.median())
    told = fusion.all_bands(torch.tensor([[5.0, 6.0]]))[0]
    np.testing.assert_array_equal(told, [np.nan, 5, np.nan, 6])
    assert float(get("D_lambda").function(fusion).value) < 0.5
