"""Single numbers of `physics` by hand: subspace, PAN's error, registration, trust, error bars."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.linalg import eigh
from scipy.signal import convolve2d

from hsitools.estimation.edge_aware import NEIGHBOURS, SMOOTHNESS
from hsitools.estimation.finest_details import LAPLACIAN, finest_details
from hsitools.scenes import scene
from hsitools.sensor import preset
from hsitools.sensor.spatial import mtf_blur, mtf_decimate
from pansharpen.case import FusionCase
from pansharpen.families.statistics import band_sums, moments, per_band
from pansharpen.guide import Guide
from pansharpen.methods.physics import _fuse, _noise_between, learn, lopsided, seen_cube, solved
from pansharpen.optics import Optics
from pansharpen.pair.wald import simulated_case
from pansharpen.physics import error_scale as error_scales
from pansharpen.physics.error_scale import ErrorScale, _amplitudes, error_scale
from pansharpen.physics.few_pixels import FEW, few_pixels, level_sums
from pansharpen.physics.grain import _lagged, grain_gain
from pansharpen.physics.held_out import held_out
from pansharpen.physics.hidden_details import blurred_off, hidden_gain
from pansharpen.physics.one_place import Place
from pansharpen.physics.pan_error import STRUCTURE, PanError, _noise_gain, pan_error
from pansharpen.physics.registration import Registration, together
from pansharpen.physics.sharp_pan import gaussian
from pansharpen.physics.subspace import subspace

EXACT = {"rtol": 1e-9, "atol": 1e-12}


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.fixture(scope="module")
def case() -> FusionCase:
    """Five bands of a PRISMA-like pair at ratio 3, coarse pixels of 10×8."""
    sensor = preset("prisma").select([0, 9, 18, 27, 60])
    sensor = sensor.replace(mtf=np.linspace(0.22, 0.38, 5)[:, None].repeat(2, 1))
    return simulated_case(scene((30, 24), seed=4), sensor, ratio=3, seed=1)


@pytest.fixture(scope="module")
def model(case):
    """What `physics` learns of it."""
    with torch.no_grad():
        return learn(case)


# ---- subspace ----------------------------------------------------------------------------------------------------


def test_components_have_details_that_are_alike_and_noise_of_their_own():
    """By another way: SciPy's generalised axes and convolution; values as far as chance lets them tell, one by one."""
    draw = torch.Generator().manual_seed(2)
    shapes = torch.randn(2, 5, generator=draw, dtype=torch.float64)
    noise = tensor(0.04, 0.01, 0.09, 0.02, 0.05)
    pixels = torch.randn(2, 32 * 32, generator=draw, dtype=torch.float64)
    cube = shapes.T @ pixels + noise.sqrt()[:, None] * torch.randn(5, 32 * 32, generator=draw, dtype=torch.float64)
    # one band has something of its own besides
    cube[3] += 0.3 * torch.randn(32 * 32, generator=draw, dtype=torch.float64)
    cube = cube.reshape(1, 5, 32, 32) + 7
    told = Optics(ratio=1, noise_variance=noise.numpy())
    space = subspace(FusionCase(coarse=cube, pan=cube[:, :1], optics=told), lambda tile: tile.wide_coarse)
    covariance, k = torch.cov(cube[0].flatten(1), correction=0), len(space.signal)
    projection, basis = space.projection[0], space.basis[0]
    torch.testing.assert_close(space.mean[0], cube.mean((0, 2, 3)))
    torch.testing.assert_close(projection @ basis, torch.eye(k).double())
    # signal and noise of the components
    torch.testing.assert_close(projection @ torch.diag(noise) @ projection.T, torch.diag(1 / space.signal))
    snr, axes = eigh(covariance.numpy(), np.diag(noise.numpy()))
    unit = axes[:, -k:] / np.sqrt(snr[-k:] - 1)
    laplacian = np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]]) / 20**0.5
    fine = np.stack([convolve2d(band, laplacian, "valid").ravel() for band in cube[0].numpy()])
    details = unit.T @ (np.cov(fine, bias=True) - np.diag(noise.numpy())) @ unit
    power = (np.diag(noise.numpy()) @ axes[:, -k:] * np.sqrt(snr[-k:] - 1)) ** 2
    shares = (power / power.sum(1, keepdims=True)).mean(0)
    strength, whole = shares @ details.diagonal(), unit.T @ np.cov(fine, bias=True) @ unit
    # a covariance of so many pixels, of which a fourth are independent
    n, believed = 30 * 30 / 4, np.zeros((k, k))
    doubt = sum(2 / n * shares[i] * shares[j] * whole[i, j] ** 2 for i in range(k) for j in range(k))
    for i in range(k):
        for j in range(k):
            chance = (whole[i, i] * whole[j, j] + whole[i, j] ** 2) / n
            told = (strength**2 - doubt) / (strength**2 - doubt + chance)
            believed[i, j] = told * details[i, j] / strength + (1 - told) * (i == j)
    assert np.linalg.eigvalsh(believed).min() > 0.05
    found = torch.as_tensor(np.linalg.inv(unit.T @ basis.numpy()) @ believed)
    found = found @ torch.as_tensor(np.linalg.inv(unit.T @ basis.numpy()).T)
    torch.testing.assert_close(found, torch.eye(k).double())
    outside = torch.eye(5).double() - basis @ projection
    spread = (outside @ covariance).diagonal()
    torch.testing.assert_close(space.rest[0], (1 - noise / spread).clamp(0, 1))
    response = torch.arange(1.0, k + 1).double()
    assert space.noise_of(response) == pytest.approx(float(response @ (response / space.signal)), rel=1e-9)
    assert float(space.contrast.square().sum()) == pytest.approx(1, rel=1e-9)
    share = (basis[:, 0] ** 2 / (basis**2).sum(1)).mean()
    assert float(space.contrast[0]) ** 2 == pytest.approx(float(share), rel=1e-9)
    own = space.components(cube)
    torch.testing.assert_close(own.mean((0, 2, 3)), torch.zeros(k).double(), rtol=0, atol=1e-9)
    inside = torch.einsum("bk,kyx->byx", basis, own[0]) + space.mean[0][:, None, None]
    torch.testing.assert_close(space.cube(own)[0], inside, **EXACT)


def test_details_that_noise_hides_do_not_tell_components_apart():
    """A smooth scene under noise: what chance leaves of two noise variances' difference is a strength of nothing."""
    draw = torch.Generator().manual_seed(0)
    y, x = (torch.linspace(-1, 1, 24).double()[shape] for shape in ((slice(None), None), (None, slice(None))))
    maps = torch.stack([y + 0 * x, x + 0 * y, x * y]).flatten(1)
    noise = np.full(6, 0.04)
    spectra = torch.randn(6, 3, generator=draw, dtype=torch.float64) @ torch.diag(tensor(4.0, 2.0, 1.0))
    told = Optics(ratio=1, noise_variance=noise)
    for _ in range(8):
        cube = (spectra @ maps + 0.2 * torch.randn(6, 24 * 24, generator=draw, dtype=torch.float64)).reshape(
            1, 6, 24, 24
        )
        space = subspace(FusionCase(coarse=cube, pan=cube[:, :1], optics=told), lambda tile: tile.wide_coarse)
        spread = space.components(cube)[0].flatten(1).var(1, correction=0) - 1 / space.signal
        # of unit variance each, or nearly so
        assert spread.max() < 2 * spread.min()


def test_details_are_whole_where_all_neighbours_were_measured():
    cube = torch.rand(1, 2, 5, 6, generator=torch.Generator().manual_seed(3))
    valid = torch.ones(1, 1, 5, 6, dtype=torch.bool)
    valid[..., 1, 1] = False
    details, whole = finest_details(cube, valid, LAPLACIAN)
    kernel = np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]])
    by_hand = convolve2d(cube[0, 1].double().numpy(), kernel, "valid") / 20**0.5
    np.testing.assert_allclose(details[0, 1, 1:-1, 1:-1], by_hand, atol=1e-12)
    spoiled = convolve2d(~valid[0, 0].numpy(), np.abs(kernel), "valid") > 0
    np.testing.assert_array_equal(whole[0, 0, 1:-1, 1:-1], ~spoiled)
    assert int(whole.sum()) == int((~spoiled).sum())
    assert not finest_details(cube[..., :2, :1], None, LAPLACIAN)[1].any()


def test_a_strip_keeps_its_components():
    """Too few pixels for a detail: nothing says that components differ."""
    told = Optics(ratio=1, noise_variance=np.full(3, 1.0))
    cube = tensor(1.0, 2.0, 3.0)[None, :, None, None] + 5 * torch.arange(6.0)[:, None].double().expand(1, 3, 6, 1)
    space = subspace(FusionCase(coarse=cube, pan=cube[:, :1], optics=told), lambda tile: tile.wide_coarse)
    # all three are 5 t, whose variance is 25·35/12, less the mean's noise
    signal = 25 * 35 / 12 - 1 / 3
    assert len(space.signal) == 1
    torch.testing.assert_close(space.basis[0].abs(), torch.full((3, 1), signal**0.5).double())
    torch.testing.assert_close(space.signal, tensor(3 * signal))


# ---- PAN's error and registration --------------------------------------------------------------------------------


def test_the_error_of_pan_by_hand():
    """A quarter of PAN is not understood: .5·(1 + .25·3·2²) and the noise, twice; another date's 2·.5 make it 3/4."""
    error = PanError(visible=0.5, noise=0.1, least=0.2, pan_variance=2.0, ratio=2, another_date=0.5, hidden=2.0)
    assert float(error.variance()) == pytest.approx(2 * (0.5 * (1 + 0.25 * STRUCTURE * 4) + 0.1), rel=1e-9)
    assert float(error.variance(3.0)) == pytest.approx(2 * (1.5 * (1 + 0.75 * STRUCTURE * 4) + 0.1), rel=1e-9)
    # never more than all of PAN, nor less than what it is at least
    assert float(error.variance(8.0)) == pytest.approx(2 * (4 * (1 + STRUCTURE * 4) + 0.1), rel=1e-9)
    assert float(dataclasses.replace(error, visible=0.0, noise=0.0).variance()) == 0.2


def test_what_is_left_of_noise_among_details_is_measured():
    noise = torch.randn(1, 1, 200, 200, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    left = float((noise - mtf_blur((200, 200), 0.3, 2)(noise)).var())
    assert _noise_gain() == pytest.approx(left, rel=0.03)


def test_noise_of_the_cube_is_no_error_of_pan(case, model):
    """Of the error at the coarse scale its variance is taken off, and of details there what details keep of it."""
    pair = dataclasses.replace(model.pair, unexplained=10.0)

    def visible(noise):
        components = lambda tile: model.space.components(model.coarse(tile))  # noqa: E731
        with torch.no_grad():
            return pan_error(case, components, pair, noise=noise, pan_variance=1.0, least=0.0).visible

    tile = case.tile
    seen = tile.see_pan(pair.sight(tile)).double()
    own = (seen - mtf_blur((10, 8), 0.3, 2)(seen)).square().mean()
    fine = (tile.pan - tile.pan_low).double().square().mean()
    rest = pair.rest(model.space.components(model.coarse(tile)), seen)
    noise = 0.2 * float((rest - mtf_blur((10, 8), 0.3, 2)(rest)).square().mean())
    expected = noise * (1 + _noise_gain() * float(fine / own))
    assert visible(0.0) - visible(noise) == pytest.approx(expected, rel=1e-3)


def test_noise_of_pan_is_taken_off_what_its_blur_takes():
    """White noise leaves the sum of squares of the filter's taps, once, and of the filter applied twice."""
    blur = gaussian(0.3)
    taken = -blur
    taken[8, 8] += 1
    once, twice = (taken**2).sum(), (convolve2d(taken, taken) ** 2).sum()
    clear = hidden_gain(blur, 1.0, 0.3)
    assert hidden_gain(blur, 1 + 0.4 * once, 0.3 + 0.4 * twice, noise=0.4) == pytest.approx(clear, rel=1e-2)
    assert hidden_gain(blur, 1.0, 0.2) < 0.9 * clear


def test_what_a_band_keeps_to_itself_passes_its_noise_on(case, model):
    with torch.no_grad():
        floor = [
            error_scale(
                case, model.coarse, dataclasses.replace(model.space, rest=tensor(*[share] * 5)[None]), model.pair,
                model.channels,
            ).floor[0]
            for share in (0.0, 0.5)
        ]  # fmt: skip
    torch.testing.assert_close(floor[1] - floor[0], 0.5 * model.space.noise[0].double(), rtol=1e-6, atol=1e-15)


def test_registration_by_hand():
    pair = Registration(
        response=tensor(2, -1), constant=0.5, unexplained=0.01, shift=(0.25, -0.5), blur=2.0, contrast=2.0
    )
    own, pan = torch.ones(1, 2, 3, 3).double() * tensor(3, 4)[:, None, None], torch.full((1, 1, 3, 3), 9.0).double()
    torch.testing.assert_close(pair.rest(own, pan), torch.full_like(pan, 9 - 0.5 - (2 * 3 - 4)), **EXACT)
    # twice the squared width is the square of the gain at Nyquist
    np.testing.assert_allclose(pair.gains(np.array([[0.3, 0.5]])), [[0.09, 0.25]])
    # one pixel of .6: its square over .01 is 36, of which a fourth is at it, an eighth and a 16th beside
    rest = torch.zeros(1, 1, 5, 5).double()
    rest[0, 0, 2, 2] = 0.6
    torch.testing.assert_close(
        together(rest)[0, 0, 1:4, 1:4], 0.6 / 16 * (tensor(1, 2, 1)[:, None] * tensor(1, 2, 1)), **EXACT
    )
    excess = pair.excess(rest)[0, 0]
    assert float(excess[2, 2]) == pytest.approx(1 + 0.5 * (36 / 4 - 4), rel=1e-9)
    assert float(excess[1, 2]) == pytest.approx(1 + 0.5 * (36 / 8 - 4), rel=1e-9)
    changed = dataclasses.replace(pair, left=1.0).excess(rest)[0, 0]
    assert float(changed[2, 2]) == pytest.approx(1 + 0.5 * (36 * 0.64 - 4), rel=1e-9)
    assert float(changed[1, 2]) == 1
    # of what need not be known better than to a percent of the contrast, .01 is half of that
    assert float(pair.same(rest)[0, 0, 2, 2]) == pytest.approx(1 / (1 + 0.5 * (36 / 4 - 4) / 2), rel=1e-9)
    assert pair.said(0.0) == {"shift_pixels": [0.25, -0.5], "bend_pixels": 0.0}
    # .5 % of the variance is unexplained; of 6 %, a noise of 2 % may leave half as much again, and 3 % are beyond
    doubtful = dataclasses.replace(pair, left=0.06)
    assert "found 6 % of what PAN shows" in doubtful.doubt(0.0)
    assert "found 3 % of what PAN shows" in doubtful.doubt(0.04)
    assert doubtful.doubt(0.08) is None


def test_bands_see_components_as_they_see_the_whole_cube(case, model):
    """Some of them at a time, and alike ones all at once."""
    space, tile = model.space, case.tile
    k = space.basis.shape[-1]
    assert k < case.n_bands
    z = torch.randn(1, k, 30, 24, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    own = model.pair.down_bands(tile)
    for down in (own, tile.down(0.3)):
        torch.testing.assert_close(seen_cube(down, space, z), down(space.cube(z)), **EXACT)
    cube = space.cube(z)
    torch.testing.assert_close(own.of_bands(slice(1, 4))(cube[:, 1:4]), own(cube)[:, 1:4], **EXACT)


def test_noise_between_the_images_is_what_optics_leave_of_it(case, model):
    left, _ = grain_gain(model.pair.gains(case.optics.mean_gains()), 3)
    by_hand = float((model.pair.response**2 / model.space.signal).sum()) + left * case.optics.pan_variance
    assert _noise_between(model) == pytest.approx(by_hand, rel=1e-9)
    assert lopsided(np.array([[0.2, 0.5]])) == pytest.approx(2.5)
    # of white noise, the pair's own blur and sampling leave as much
    noise = torch.randn(1, 1, 180, 180, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    seen = mtf_decimate((180, 180), np.array([[0.3, 0.4]]), 3)(noise)[..., 2:-2, 2:-2]
    gain, alike = grain_gain(np.array([0.3, 0.4]), 3)
    assert gain == pytest.approx(float(seen.var()), rel=0.08)
    beside = ((seen[..., 1:] * seen[..., :-1]).mean() + (seen[..., 1:, :] * seen[..., :-1, :]).mean()) / 2
    assert alike == pytest.approx(float(beside / seen.square().mean()), abs=0.04)


def test_places_lie_apart_by_their_difference(case):
    step = Place(shift=(0.5, -0.25)).beyond(Place(shift=(0.2, 0.5)), case.tile)
    assert step.shape == (2, 30, 24)
    torch.testing.assert_close(step, tensor(0.3, -0.75)[:, None, None].expand(2, 30, 24), rtol=0, atol=1e-12)
    assert Place(shift=(0.123456, -2.0)).said() == {"shift_pixels": [0.1235, -2.0], "bend_pixels": 0.0}


def test_gains_of_a_coarser_channel_are_what_it_lacks():
    """Gaussians of the same frequency: the channel's Nyquist is half the cube's scale, its gain there to the fourth."""
    guide = Guide(
        image=torch.ones(2, 8, 8), ratio=2, mtf=np.array([[0.5, 0.4], [0.6, 0.2]]),
        response=np.array([[1.0, 0, 0], [0, 0.4, 0.4]]), noise_variance=np.array([0.1, 0.2]),
    )  # fmt: skip
    beside = guide.optics(1, Optics(ratio=4, mtf=np.array([[0.3, 0.2]] * 3), pan_mtf=0.2, pan_variance=9.0))
    np.testing.assert_allclose(beside.mtf, [[0.3 / 0.6**0.25, 0.2 / 0.2**0.25]] * 3, rtol=1e-9)
    assert beside.pan_mtf is None
    assert beside.pan_variance == 0.2
    np.testing.assert_array_equal(beside.pan_response, [0, 0.4, 0.4])
    fine = dataclasses.replace(guide, ratio=1).optics(1, Optics(ratio=4, mtf=0.3))
    assert float(fine.mtf) == 0.3
    assert fine.pan_mtf == pytest.approx(0.4)
    part = guide.select(np.array([1]))
    np.testing.assert_allclose(part.response[1], [0.8])  # the sum that it had
    assert part.row(0) is None  # its bands are all gone


# ---- the solution ------------------------------------------------------------------------------------------------


def test_the_solution_is_the_least_of_what_the_method_says(case, model):
    """The sum of squares of its description, written out, by conjugate gradients."""
    tile, space, pair = case.tile, model.space, model.pair
    with torch.no_grad():
        found = solved(tile, model)
    assert pair.field is None
    down, links = pair.down(tile, case.optics.mean_gains()), found.links
    (channel,) = model.channels.parts
    precision = channel.error.precision(tile, channel.excess(tile, found.data)).double()
    cube = space.cube(found.z)
    seen = tile.wide_coarse - pair.down(tile, case.optics.mtf)(cube) + down(cube)
    data = space.components(seen).double()

    def total(z):
        coarse = (space.precision[:, None, None] * (down(z) - data) ** 2).sum()
        pan = torch.einsum("k,kyx->yx", pair.response, z[0]) + pair.constant - case.pan[0, 0].double()
        likeness = 0.0
        for weights, offsets, images in (
            (found.weights, NEIGHBOURS, z), (links.weights, links.offsets, z[:, : links.leading])
        ):  # fmt: skip
            for weight, (dy, dx) in zip(weights, offsets, strict=True):
                height, width = images.shape[-2:]
                rows, left, right = slice(0, height - dy), max(0, -dx), width - max(0, dx)
                first = images[..., rows, left:right]
                second = images[..., dy:, left + dx : right + dx]
                likeness = likeness + (weight.double() * (first - second) ** 2).sum()
        return (coarse + (precision[0, 0] * pan**2).sum() + SMOOTHNESS * likeness) / 2

    def gradient(z):
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            return torch.autograd.grad(total(z), z)[0]

    z = found.z.double()
    residual = -gradient(z)
    direction, constant = residual, gradient(torch.zeros_like(z))
    for _ in range(60):
        along = gradient(direction) - constant
        size = residual.square().sum() / (direction * along).sum()
        z, before = z + size * direction, residual.square().sum()
        residual = residual - size * along
        direction = residual + residual.square().sum() / before * direction
    assert (z - found.z).square().mean().sqrt() < 0.02 * z.std()


def test_what_components_leave_and_details_that_are_doubted_by_band(case, model):
    """Of what the subspace leaves a band keeps its share, and of details that the cube does not show its trust."""
    rest, trust = tensor(0, 1, 0.5, 0.25, 1)[None], tensor(1, 0.5, 0, 0.25, 1)[None]
    other = dataclasses.replace(model, space=dataclasses.replace(model.space, rest=rest), trust=trust, bounded=False)
    tile, space = case.tile, model.space
    with torch.no_grad():
        found = solved(tile, other)
        fused = _fuse(tile, other, found).whole()
        up, down = tile.up(), model.pair.down(tile, case.optics.mean_gains())
        details = found.z - up(found.data)
        details = space.cube(details - up(down(details))) - space.mean[0][:, None, None].float()
        left = up(found.coarse - space.cube(found.data))
        expected = space.cube(found.z) + rest[0][:, None, None] * left - (1 - trust[0])[:, None, None] * details
    assert left.std() > 1e-4
    assert details.std() > 1e-4
    torch.testing.assert_close(fused.double(), expected.double(), rtol=0, atol=2e-5)


# ---- error bars --------------------------------------------------------------------------------------------------


def test_few_pixels_by_hand():
    """Four coarse pixels: variances grow by 12/4; the band's variance is 9 times PAN's, which lacks .75 of details."""
    coarse = 3 * tensor(1, -1, 1, -1).reshape(1, 1, 2, 2) + 10
    seen = coarse / 3
    pan = 2 + torch.cat([tensor(1.0, -1.0) * 2, tensor(0.0, 0.0)]).reshape(1, 1, 2, 2).repeat(1, 1, 2, 2)
    tile = SimpleNamespace(coarse=coarse, coarse_valid=None, pan=pan, valid=None)
    found = few_pixels(band_sums(coarse, seen), level_sums(tile))
    assert float(found.factor) == pytest.approx(1 + FEW / 4)
    details = float(pan.var(correction=0)) - 1
    assert details == pytest.approx(1)
    assert float(found.added) == pytest.approx(9 * details * (1 + 1 / 4) / 4, rel=1e-9)
    # one pixel alone: by its level, 100 over PAN's 4, of all of PAN's variance, twice
    one = SimpleNamespace(coarse=coarse[..., :1, :1] - 3, coarse_valid=None, pan=pan, valid=None)
    found = few_pixels(band_sums(one.coarse, seen[..., :1, :1]), level_sums(one))
    assert float(found.factor) == pytest.approx(1 + FEW)
    assert float(found.added) == pytest.approx(100 / 4 * 2 * 2, rel=1e-9)


def test_the_standard_deviation_is_of_three_parts():
    scale = ErrorScale(posterior=tensor(4, 1)[None], hidden=tensor(2, 3)[None], floor=tensor(0.25, 1)[None], blur=None)
    variance = torch.full((1, 2, 6, 6), 0.5).double()
    pan = torch.randn(1, 1, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    std = scale.std(variance, blurred_off(pan, None))[0, :, 0, 0]
    torch.testing.assert_close(std, tensor(4 * 0.5 + 0.25, 0.5 + 1).sqrt(), **EXACT)
    # a filter that lets nothing through hides all of PAN's square, in the mean of 5×5 pixels
    dark = dataclasses.replace(scale, blur=np.zeros((17, 17)))
    middle = dark.std(variance, blurred_off(pan, dark.blur))[0, :, 2, 2]
    hidden = float(pan[0, 0, :5, :5].square().mean())
    torch.testing.assert_close(middle, tensor(2.25 + 2 * hidden, 1.5 + 3 * hidden).sqrt(), **EXACT)


def test_products_with_neighbours():
    image = torch.arange(9.0).reshape(1, 3, 3)
    torch.testing.assert_close(_lagged(image, 0), 2 * image**2)
    torch.testing.assert_close(_lagged(image, 1)[0, 1], torch.tensor([3.0 * (6 + 4), 4 * (7 + 5), 5 * 8]))
    torch.testing.assert_close(_lagged(image, 2)[0, 0], torch.tensor([0.0, 1 * 7, 2 * 8]))


def test_error_bars_in_other_units_and_of_a_denoised_cube(case, model, monkeypatch):
    """A cube × 4, PAN / 32: what hides in PAN counts for (4 · 32)² times as much; errors left in the cube come besides.

    Noise of the fused cube goes with the cube's.
    """
    optics, left = case.optics, np.array([0.3, 0.0, 0.2, 0.1, 0.4])
    other = case.replace(
        coarse=4 * case.coarse, pan=case.pan / 32,
        optics=dataclasses.replace(
            optics, noise_variance=16 * optics.noise_variance, pan_variance=optics.pan_variance / 32**2,
            error_variance=left,
        ),
    )  # fmt: skip
    # draws have a test of their own
    monkeypatch.setattr(error_scales, "draws", lambda *terms: terms[2])
    monkeypatch.setattr(error_scales, "variance_of", lambda z, basis: per_band((basis**2).sum(2), z))
    with torch.no_grad():
        plain, scaled = (
            error_scale(pair, made.coarse, made.space, made.pair, made.channels)
            for pair, made in ((case, model), (other, learn(other)))
        )
    torch.testing.assert_close(scaled.posterior, plain.posterior, rtol=0.01, atol=0)
    torch.testing.assert_close(scaled.hidden, 128**2 * plain.hidden, rtol=0.01, atol=0)
    torch.testing.assert_close(scaled.floor - torch.as_tensor(left), 16 * plain.floor, rtol=0.01, atol=1e-6)
    assert (plain.floor > 0).all()


def test_errors_of_held_out_pixels_go_on_to_the_fine_scale(case, model, monkeypatch):
    """Of each band their mean square, less the coarse cube's noise, comes besides: `SHARE` of it for each octave.

    What may be chance goes on whole: of 80 pixels, as many of which tell as much as one.
    """
    solved = {}

    def kept(cube, space, *others):
        solution = held_out(cube, space, *others)
        solved["square"] = (space.cube(solution[2]) - cube).square()[0].double().mean((1, 2))
        return solution

    monkeypatch.setattr(error_scales, "held_out", kept)
    monkeypatch.setattr(error_scales, "counted", lambda tile, _: torch.ones(tile.coarse.shape[2:]).double())
    floors = []
    for share, dependent in ((0.0, 4), (0.5, 4), (0.0, 16)):
        monkeypatch.setattr(error_scales, "SHARE", share)
        monkeypatch.setattr(error_scales, "DEPENDENT", dependent)
        with torch.no_grad():
            scale = error_scale(case, model.coarse, model.space, model.pair, model.channels)
        floors.append(scale.floor[0])
    noise = model.space.noise[0].double()
    real = (solved["square"] - noise).clamp(min=0)
    assert (real > 0).any()
    torch.testing.assert_close(floors[1] - floors[0], 0.5 * (1 + np.log2(3)) * real, rtol=1e-5, atol=1e-12)
    doubt = noise * (np.sqrt(2 * 16 / 80) - np.sqrt(2 * 4 / 80))
    torch.testing.assert_close(floors[2] - floors[0], (1 + np.log2(3)) * doubt, rtol=1e-5, atol=1e-12)


def test_held_out_pixels_do_not_lower_errors_where_a_guide_is_coarser_than_others(monkeypatch):
    """Where every other pixel is held out, all guides are as sharp: too small an error is no news."""
    pair = simulated_case(
        scene((48, 48), seed=3), preset("prisma").select(range(0, 60, 20)), ratio=4, seed=1, guide="sentinel-2"
    )
    assert {guide.ratio for guide in pair.guides} == {1, 2}
    monkeypatch.setattr(error_scales, "LARGEST", 1.0)
    with torch.no_grad():
        made, found = learn(pair), []
        for alpha in (0.5, 1.0, 2.0):
            monkeypatch.setattr(error_scales, "_amplitudes", lambda *_, alpha=alpha: (alpha, 1.0))
            scale = error_scale(made.scene, made.coarse, made.space, made.pair, made.channels)
            found.append(scale.posterior)
    torch.testing.assert_close(found[0], found[1], **EXACT)
    torch.testing.assert_close(found[2], 4 * found[1], **EXACT)


def test_amplitudes_are_squared_in_variances(case, model, monkeypatch):
    """Errors of twice the posterior's deviation, and more octaves of them at the fine scale; 80 pixels are few."""
    monkeypatch.setattr(error_scales, "draws", lambda *terms: terms[2])
    monkeypatch.setattr(error_scales, "variance_of", lambda z, _: z.new_ones(1, 5, *z.shape[2:]))
    monkeypatch.setattr(error_scales, "_amplitudes", lambda *_: (2.0, 1.0))
    monkeypatch.setattr(error_scales, "LARGEST", 1.0)
    with torch.no_grad():
        scale = error_scale(case, model.coarse, model.space, model.pair, model.channels)
    expected = (error_scales.LEVEL * 2) ** 2 * (1 + np.log2(3)) * (1 + FEW / 80)
    torch.testing.assert_close(scale.posterior, torch.full_like(scale.posterior, expected), **EXACT)
    # all errors are four times what is expected in the mean of the bands
    variance, hidden = torch.linspace(0.5, 2, 20).double(), torch.zeros(20).double()
    alpha, _ = _amplitudes(4 * variance, torch.zeros(20).double(), variance, hidden)
    # drawn to what is expected, one, by a fiftieth of the bands' weight
    assert 1.7 < alpha < 2


def test_moments_of_channels_weigh_pixels_once():
    x, weight = torch.arange(4.0).reshape(1, 1, 2, 2), tensor(0.5, 1, 0, 0.25).reshape(1, 1, 2, 2)
    sums = moments(x, valid=weight)
    assert float(sums.n) == 1.75
    assert float(sums.x) == 1.75
    assert float(sums.xy) == 1 + 9 / 4
