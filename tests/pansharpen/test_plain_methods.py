"""Methods that no plain script of the benchmarks repeats, and what all share, written out in NumPy and SciPy."""

import numpy as np
import pytest
import torch
from scipy.linalg import qr
from scipy.ndimage import grey_dilation, grey_erosion, uniform_filter
from scipy.optimize import nnls

from benchmarks.pansharpen_speed import shrunk_gain
from hsitools.sensor.interpolation import interpolate
from pansharpen.case import FusionCase, guided
from pansharpen.families import statistics, variational
from pansharpen.families.hypersharpening import synthesis
from pansharpen.families.interpolated import interpolated_mix, interpolated_sums, with_details
from pansharpen.families.statistics import band_sums, moments, ratio_of, regression, solve
from pansharpen.guide import Guide
from pansharpen.in_memory import fuse_case
from pansharpen.methods import awlp as awlp_module
from pansharpen.methods import brovey as brovey_module
from pansharpen.methods import bt_h as bt_h_module
from pansharpen.methods import gsa as gsa_module
from pansharpen.methods import pracs as pracs_module
from pansharpen.methods.bt_h import bin_edges, dark_level, histogram
from pansharpen.methods.cnmf import _abundances, _extreme_spectra
from pansharpen.methods.sfim_hs import _local_mean
from pansharpen.optics import Optics
from pansharpen.registry import METHODS
from pansharpen.tile import Tile

RATIO = 3


def made(own_interpolation=False, **optics):
    """Five bands of two patterns and some noise, PAN of three of them, two other sharp channels."""
    rng = np.random.default_rng(2)
    patterns = rng.uniform(0.2, 1, (3, 10, 12)).repeat(RATIO, 1).repeat(RATIO, 2) + 0.3 * rng.uniform(size=(3, 30, 36))
    # light and shade, so that errors of a line grow with the level, and haze
    light = np.exp(rng.standard_normal((5, 6))).repeat(6, 0).repeat(6, 1)
    truth = light * np.einsum("bk,kyx->byx", rng.uniform(0.2, 1, (5, 3)), patterns) + 0.4
    case = FusionCase(
        coarse=torch.zeros(5, 10, 12, dtype=torch.float64), pan=torch.as_tensor(truth[:3].mean(0))[None],
        optics=Optics(ratio=RATIO, **{"mtf": np.array([[0.3, 0.2]]), "shift": (0.25, -0.4)} | optics),
    )  # fmt: skip
    coarse = case.tile.down()(torch.as_tensor(truth)[None])
    case = case.replace(coarse=coarse + 0.02 * torch.as_tensor(rng.standard_normal(coarse.shape)))
    if own_interpolation:
        case = case.replace(expanded=case.tile.up("bicubic")(case.coarse))
    return case


def arrays(case):
    """Interpolated and coarse bands, PAN, and PAN as the cube's optics see it."""
    tile = case.tile
    return (image[0].numpy() for image in (tile.expanded, tile.coarse, tile.pan, tile.pan_coarse))


def fitted(bands, target):
    """Weights and constant of a regression on bands."""
    design = np.stack([*(band.ravel() for band in bands), np.ones(target.size)], 1)
    found = np.linalg.lstsq(design, target.ravel(), rcond=None)[0]
    return found[:-1], found[-1]


def of_sharp(case):
    """Of each band: the image that regression makes of all sharp channels, and its constant."""
    seen, sharp = case.tile.wide_sharp_coarse[0].numpy(), case.tile.sharp[0].numpy()
    fits = [fitted(seen, band) for band in case.coarse[0].numpy()]
    return [(np.tensordot(weights, sharp, 1), np.tensordot(weights, case.tile.sharp_low[0].numpy(), 1), constant)
            for weights, constant in fits]  # fmt: skip


def gsa(case):
    expanded, coarse, pan, seen = arrays(case)
    weights, constant = fitted(coarse, seen)
    intensity = np.tensordot(weights, expanded, 1) + constant
    gains = [np.cov(band.ravel(), intensity.ravel())[0, 1] / intensity.var(ddof=1) for band in expanded]
    return np.stack([band + gain * (pan[0] - intensity) for band, gain in zip(expanded, gains, strict=True)])


def brovey(case):
    expanded, coarse, pan, seen = arrays(case)
    if case.optics.pan_response is None:
        weights = nnls(coarse.reshape(len(coarse), -1).T, seen.ravel())[0]
    else:
        weights = case.optics.pan_response / case.optics.pan_response.sum()
    made_of, scale = np.tensordot(weights, expanded, 1), np.tensordot(weights, coarse, 1).mean() / seen.mean()
    error = np.mean((np.tensordot(weights, coarse, 1) - scale * seen[0]) ** 2)
    return expanded * (1 + made_of * (scale * pan[0] - made_of) / (made_of**2 + error))


def bt_h(case):
    expanded, coarse, pan, seen = arrays(case)
    weights, constant = fitted(coarse, seen)
    intensity = np.tensordot(weights, expanded, 1) + constant

    def dark(image):
        edges = image.mean() + image.std() * np.linspace(-4, 4, 1025)
        counts = np.histogram(image.clip(edges[0], edges[-1]), edges)[0].cumsum()
        return edges[(counts < 0.01 * image.size).sum()]

    level, detail, out = intensity - dark(seen), pan[0] - intensity, []
    for band, low in zip(expanded, coarse, strict=True):
        gain = np.cov(band.ravel(), intensity.ravel())[0, 1] / intensity.var(ddof=1)
        rest = band - dark(low) - gain * level
        growth = max(np.cov(rest.ravel() ** 2, level.ravel() ** 2)[0, 1] / (level**2).var(ddof=1), 0)
        error = max((rest**2).mean() - growth * (level**2).mean(), growth * (detail**2).mean())
        out.append(band + (gain + growth * level * rest / (growth * level**2 + error)) * detail)
    return np.stack(out)


def glp_hs(case):
    made_of = of_sharp(case)
    return np.stack([band + image - low for band, (image, low, _) in zip(next(arrays(case)), made_of, strict=True)])


def sfim_hs(case):
    out = []
    for band, (image, _, constant) in zip(next(arrays(case)), of_sharp(case), strict=True):
        level = uniform_filter(image, RATIO, mode="nearest")
        out.append(band + shrunk_gain(band, level + constant, image - level, False) * (image - level))
    return np.stack(out)


def mf(case):
    expanded, _, pan, _ = arrays(case)
    cross = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], bool)
    middle = (grey_dilation(pan[0], footprint=cross) + grey_erosion(pan[0], footprint=cross)) / 2
    small = middle.reshape(10, RATIO, 12, RATIO).mean((1, 3))
    low = interpolate((10, 12), RATIO)(torch.as_tensor(small)[None, None])[0, 0].numpy()
    return np.stack([band + shrunk_gain(band, low, pan[0] - low, False) * (pan[0] - low) for band in expanded])


PLAIN = {"GSA": gsa, "Brovey": brovey, "BT-H": bt_h, "GLP-HS": glp_hs, "SFIM-HS": sfim_hs, "MF": mf}


@pytest.mark.parametrize("own_interpolation", [False, True])
@pytest.mark.parametrize("name", PLAIN)
def test_a_method_is_its_plain_version(name, own_interpolation):
    case = made(own_interpolation)
    expected = PLAIN[name](case)
    details = np.std(expected - case.tile.expanded[0].numpy())
    assert details > 0.005
    np.testing.assert_allclose(fuse_case(name, case)[0], expected, rtol=0, atol=1e-6 * details)


@pytest.mark.parametrize("name", ["GLP-HS", "SFIM-HS", "Brovey"])
def test_of_several_sharp_channels_or_a_response_that_is_told(name):
    case = made(pan_response=np.array([1.0, 1, 2, 0, 0]))
    if name != "Brovey":
        rng = np.random.default_rng(3)
        channels = torch.cat([case.pan**2, case.pan.roll(1, 2) + 0.1 * torch.as_tensor(rng.random(case.pan.shape))], 1)
        case = guided(case.coarse, [Guide(image=channels)], case.optics)
    expected = PLAIN[name](case)
    np.testing.assert_allclose(fuse_case(name, case)[0], expected, rtol=0, atol=1e-6 * np.std(expected))


@pytest.mark.parametrize(("ratio", "side"), [(2, 3), (3, 3), (4, 5), (5, 5)])
def test_a_local_mean_has_a_centre(ratio, side):
    image = np.random.default_rng(1).random((9, 11))
    found = _local_mean(torch.as_tensor(image)[None, None], ratio)[0, 0]
    np.testing.assert_allclose(found, uniform_filter(image, side, mode="nearest"), rtol=1e-9)


def test_statistics_count_measured_pixels_only():
    """Haze of bands and of PAN, and the weights that make PAN of them: by the valid half of a scene alone."""
    case = made(mtf=0.3, shift=(0.0, 0.0))
    valid = torch.ones(1, 5, 10, 12, dtype=torch.bool)
    valid[..., 6:] = False
    spoiled = case.replace(coarse=torch.where(valid, case.coarse, 7 * case.coarse.flip(-1)), valid=valid)
    half = case.replace(coarse=case.coarse[..., :6], pan=case.pan[..., :18])
    together = torch.cat([half.coarse, case.tile.pan_coarse[..., :6]], 1)
    edges = bin_edges(moments(together))
    expected = dark_level(histogram(together, *edges), *edges)
    sums = moments(torch.cat([spoiled.coarse, spoiled.tile.pan_coarse], 1), valid=spoiled.tile.coarse_valid)
    torch.testing.assert_close(regression(sums)[0], regression(moments(together))[0])
    seen = {}
    for name, module in (("BT-H", bt_h_module), ("GSA", gsa_module), ("Brovey", brovey_module), ("PRACS", pracs_module),
                         ("AWLP", awlp_module)):  # fmt: skip
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "interpolated_mix", lambda tile, weights, name=name: seen.update({name: weights}) or (
                tile.pan * 0))  # fmt: skip
            if name == "BT-H":
                patch.setattr(module, "modulated", lambda scene, view, haze: view(scene.tile) and haze)
                level = METHODS[name].function(spoiled)
                torch.testing.assert_close(torch.cat(level, 1), expected)
            else:
                METHODS[name].function(spoiled)
    for name, weights in seen.items():
        if name != "Brovey":
            torch.testing.assert_close(weights, regression(moments(together))[0])
    bands = together[:, :5].flatten(2)[0].numpy()
    plain = nnls(bands.T, together[0, 5].flatten().numpy())[0]
    np.testing.assert_allclose(seen["Brovey"][0], plain, atol=1e-6)


# ---- what they share ---------------------------------------------------------------------------------------------


def test_weighted_moments_are_numpys():
    rng = np.random.default_rng(4)
    x, y, weight = rng.random((2, 3, 5, 6)), rng.random((2, 2, 5, 6)) + 3, rng.random((2, 1, 5, 6))
    for valid in (None, torch.as_tensor(weight)):
        sums = moments(torch.as_tensor(x), torch.as_tensor(y), valid)
        for number in range(2):
            aweights = None if valid is None else weight[number].ravel()
            both = np.concatenate([x[number], y[number]]).reshape(5, -1)
            np.testing.assert_allclose(sums.mean_x[number], np.average(both[:3], 1, aweights))
            np.testing.assert_allclose(sums.mean_y[number], np.average(both[3:], 1, aweights))
            np.testing.assert_allclose(sums.covariance[number], np.cov(both, aweights=aweights, ddof=0)[:3, 3:])
        own = moments(torch.as_tensor(x), valid=valid)
        weights, constant = regression(own)
        for number in range(2):
            root = np.ones(30) if valid is None else np.sqrt(weight[number].ravel())
            design = np.stack([*x[number, :2].reshape(2, -1), np.ones(30)], 1)
            expected = np.linalg.lstsq(design * root[:, None], x[number, 2].ravel() * root, rcond=None)[0]
            np.testing.assert_allclose([*weights[number], *constant[number]], expected, rtol=1e-6)


@pytest.mark.parametrize("shared", [False, True])
def test_sums_of_bands_are_numpys_in_blocks_too(shared, monkeypatch):
    rng = np.random.default_rng(5)
    x, y, valid = rng.random((1, 5, 6, 7)), rng.random((1, 1 if shared else 5, 6, 7)), rng.random((1, 5, 6, 7)) < 0.7
    for size in (2**22, 2 * 6 * 7 * 8):
        monkeypatch.setattr(statistics, "BLOCK_BYTES", size)
        for mask in (None, valid[:, :1], valid):
            sums = band_sums(*(None if image is None else torch.as_tensor(image) for image in (x, y, mask)))
            for band in range(5):
                keep = np.ones((6, 7), bool) if mask is None else mask[0, band % mask.shape[1]]
                a, b = x[0, band][keep], y[0, band % y.shape[1]][keep]
                covariance = np.cov(a, b, ddof=0)
                found = [float(part[0, band]) for part in (
                    sums.n, sums.mean_x, sums.mean_y, sums.covariance, sums.variance_y, sums.slope)]  # fmt: skip
                expected = [a.size, a.mean(), b.mean(), covariance[0, 1], covariance[1, 1],
                            covariance[0, 1] / covariance[1, 1]]  # fmt: skip
                np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_channels_that_repeat_share_their_weight():
    rng = np.random.default_rng(6)
    design, target = rng.standard_normal((20, 4)), rng.standard_normal((20, 2))
    design[:, 3] = design[:, 1]
    found = solve(*(torch.as_tensor(product)[None] for product in (design.T @ design, design.T @ target)))
    np.testing.assert_allclose(found[0], np.linalg.pinv(design) @ target, atol=1e-9)
    ratios = ratio_of(torch.tensor([[2.0, 3.0, -4.0]]).double(), torch.tensor([[4.0, 1e-18, -2.0]]).double())
    assert ratios.tolist() == [[0.5, 0.0, 2.0]]
    # a band that says nothing at all
    assert ratio_of(torch.ones(1, 2), torch.zeros(1, 2)).tolist() == [[0.0, 0.0]]


def part(holes):
    """A tile with other surroundings on each side, without holes, with those of all bands, or of each."""
    rng = np.random.default_rng(7)
    valid, pan_valid = None, None
    if holes:
        valid = torch.as_tensor(rng.random((1, 4, 12, 13)) < 0.9)
        pan_valid = torch.as_tensor(rng.random((1, 1, 36, 39)) < 0.95)
        valid = valid if holes == "bands" else None
    coarse, pan = (torch.as_tensor(rng.random(shape)) for shape in ((1, 4, 12, 13), (1, 1, 36, 39)))
    optics = Optics(ratio=3, shift=(0.3, -0.2), offset=0.5)
    return Tile(coarse, pan, optics, margin=(1, 2, 3, 2), valid=valid, pan_valid=pan_valid)


@pytest.mark.parametrize("holes", [None, "pan", "bands"])
def test_sums_of_interpolated_bands_are_those_of_the_fine_grid(holes):
    tile = part(holes)
    other = tile.wide_coarse.flip(-1) ** 2
    for coarse, bands in ((None, tile.expanded), (other, tile.crop(tile.up()(other)))):
        found, expected = interpolated_sums(tile, tile.pan, coarse), band_sums(bands, tile.pan, tile.measured)
        for one, two in zip(found, expected, strict=True):
            torch.testing.assert_close(one, two)
    weights = torch.tensor([[0.5, -1.0, 2.0, 0.1]]).double()
    mixed = interpolated_mix(tile, weights)
    torch.testing.assert_close(mixed[0, 0], torch.einsum("b,byx->yx", weights[0], tile.expanded[0]))
    for coarse, bands in ((None, tile.expanded), (other, tile.crop(tile.up()(other)))):
        details = with_details(tile, weights, tile.pan, coarse)
        torch.testing.assert_close(details, bands + weights[..., None, None] * tile.pan)


@pytest.mark.parametrize("holes", [None, "pan"])
def test_pan_is_seen_over_what_it_holds(holes):
    """Through the optics, rows of a matrix: the mean over measured pixels where these weigh half or more."""
    tile = part(holes)
    down = tile.down(0.3)
    columns = down(torch.eye(36 * 39, dtype=torch.float64).reshape(-1, 1, 36, 39)).reshape(36 * 39, -1).T.numpy()
    pan = tile.wide_pan.flatten().numpy()
    measured = np.ones(pan.size) if holes is None else tile.wide_pan_valid.flatten().double().numpy()
    weight = columns @ measured
    expected = np.where(weight >= 0.5, columns @ (pan * measured) / weight, columns @ pan)
    np.testing.assert_allclose(tile.see_pan(down).flatten(), expected, rtol=1e-9)
    several = tile.see_pan(tile.down(np.array([[0.3, 0.3], [0.2, 0.2]])), 2)
    np.testing.assert_allclose(several[0, 0].flatten(), expected, rtol=1e-9)
    np.testing.assert_allclose(several[0, 1], tile.see_pan(tile.down(0.2))[0, 0], rtol=1e-9)


def test_details_of_a_band_s_own_sharp_image():
    case = made()
    weights, constant = synthesis(case)
    slope = np.polyfit(case.tile.pan_coarse.flatten(), case.coarse[0, 1].flatten(), 1)
    np.testing.assert_allclose([float(weights[0, 1, 0]), float(constant[0, 1])], slope, rtol=1e-6)


# ---- model-based -------------------------------------------------------------------------------------------------


def test_endmembers_are_each_the_farthest_from_those_before():
    """As the pivots of a QR factorisation are."""
    pixels = np.random.default_rng(8).uniform(size=(6, 50))
    expected = pixels[:, qr(pixels, pivoting=True)[2][:4]]
    np.testing.assert_allclose(_extreme_spectra(torch.as_tensor(pixels), 4), expected, atol=1e-9)


def test_abundances_come_to_nonnegative_least_squares():
    """That they sum to one weighs as one more band of the pixels' mean level."""
    rng = np.random.default_rng(9)
    spectra, pixels = rng.uniform(0.2, 1, (6, 3)), rng.uniform(0.2, 1, (6, 8))
    shares = torch.full((3, 8), 1 / 3, dtype=torch.float64)
    for _ in range(1500):
        shares = _abundances(torch.as_tensor(spectra), torch.as_tensor(pixels), shares)
    level = pixels.mean()
    expected = [nnls(np.vstack([spectra, np.full(3, level)]), [*pixel, level])[0] for pixel in pixels.T]
    np.testing.assert_allclose(shares.T, expected, atol=0.02)


@pytest.mark.parametrize("told", [False, True])
def test_components_and_what_is_known_of_them(told):
    """Axes of the cube (in units of its noise, where told) that give it back, and PAN of the components."""
    case = made(noise_variance=np.array([1.0, 2, 3, 4, 5]) * 1e-3 if told else None)
    terms = variational.problem(case, 3)
    cube = case.coarse[0].flatten(1).numpy()
    scale = np.sqrt(case.optics.noise_variance) if told else np.ones(5)
    centred = (cube - cube.mean(1, keepdims=True)) / scale[:, None]
    left, values, _ = np.linalg.svd(centred)
    basis = terms.basis[0].numpy() / scale[:, None]
    # the first three axes, each of some length
    length = np.linalg.norm(basis, axis=0)
    np.testing.assert_allclose(np.abs((basis / length).T @ left[:, :3]), np.eye(3), atol=1e-6)
    np.testing.assert_allclose(terms.analysis[0].numpy() @ terms.basis[0].numpy(), np.eye(3), atol=1e-9)
    np.testing.assert_allclose(
        terms.coarse[0].flatten(1), terms.analysis[0].numpy() @ (cube - cube.mean(1, keepdims=True)), atol=1e-9
    )
    # noise is what the others hold: as told, or what is left in the two last axes
    noise = max(np.mean(values[3:] ** 2) / cube.shape[1], 1.0 if told else 0.0)
    detail = []
    for image in terms.coarse[0].numpy() * length[:, None, None]:
        steps = np.diff(image, axis=0, append=image[-1:]), np.diff(image, append=image[:, -1:])
        detail.append(np.sqrt(np.mean(np.square(steps))))
    np.testing.assert_allclose(1 / terms.weight[0], (noise + (0.01 * np.array(detail)) ** 2) / length**2, rtol=1e-6)
    top = max(detail)
    np.testing.assert_allclose(length, top * (np.array(detail) / top) ** 0.75, rtol=1e-6)
    response, offset, rest = variational.pan_response(case)
    pan_of = torch.einsum("b,byx->yx", response[0], terms.cube(terms.coarse)[0]) + offset[0]
    components = torch.einsum("k,kyx->yx", terms.rows[0, 0], terms.coarse[0])
    torch.testing.assert_close(pan_of - components, (case.pan - terms.sharp)[0, 0, :10, :12])
    fine = float((case.pan - case.tile.pan_low).square().mean())
    assert float(terms.sharp_variance) == pytest.approx(float(rest) + 1e-4 * fine, rel=1e-6)
    noisy = made(pan_variance=7.0)
    assert float(variational.problem(noisy, 3).sharp_variance) == pytest.approx(7.0 + 1e-4 * fine, rel=1e-6)


def test_the_start_is_moved_by_the_least_that_agrees_with_pan():
    case = made()
    terms = variational.problem(case, 3)
    found = variational.start(case, terms)[0, :, 4, 5].numpy()
    plain = terms.analysis[0].numpy() @ (case.tile.expanded[0, :, 4, 5] - terms.mean[0]).numpy()
    weight = 1 / np.sqrt(float(terms.sharp_variance))
    rows = terms.rows[0].numpy()
    design = np.vstack([np.eye(3), weight * rows])
    expected = np.linalg.lstsq(design, [*plain, weight * float(terms.sharp[0, 0, 4, 5])], rcond=None)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("joint", [False, True])
def test_the_prior_is_as_strong_as_gradients_are_long(joint):
    case = made()
    terms = variational.problem(case, 3)
    z = torch.einsum("kb,byx->kyx", terms.analysis[0], case.tile.expanded[0] - terms.mean[0][:, None, None]).numpy()

    def squares(image):
        below = np.diff(image, axis=-2, append=image[..., -1:, :])
        return below**2 + np.diff(image, axis=-1, append=image[..., -1:]) ** 2

    length = [np.sqrt(squares(z).sum(0)).mean()] if joint else np.sqrt(squares(z)).mean((1, 2))
    pan, low = (np.sqrt(squares(image[0, 0].numpy())).mean() for image in (case.pan, case.tile.pan_low))
    assert pan > low
    strength, mean = variational.prior_weight(case, terms, joint)
    np.testing.assert_allclose(mean[0], np.array(length) * pan / low, rtol=1e-6)
    np.testing.assert_allclose(strength * mean, np.full_like(mean, 6 if joint else 2), rtol=1e-6)
