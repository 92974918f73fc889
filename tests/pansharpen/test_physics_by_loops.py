"""Parts of `physics` by plain loops, closed forms and other routes: fields, registration, links, moved guides."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from hsitools.estimation.chance import EVIDENCE, SIZES, believed
from hsitools.estimation.edge_aware import NEIGHBOURS, step_weights
from hsitools.sensor.spatial import mtf_blur, mtf_decimate
from pansharpen.case import FusionCase
from pansharpen.guide import Guide
from pansharpen.optics import Optics
from pansharpen.physics import relation
from pansharpen.physics.displacement import FARTHEST, Displaced, Field, places, terms
from pansharpen.physics.guide_bands import unexplained
from pansharpen.physics.one_place import NODES, Place, in_one_place, move
from pansharpen.physics.pan_error import PanError
from pansharpen.physics.registration import Registration, counted, register
from pansharpen.physics.relation import LEAST, PART, STRENGTH, UNLIKE, related
from pansharpen.physics.subspace import neighbour_noise, subspace
from pansharpen.tile import Tile

EXACT = {"rtol": 1e-9, "atol": 1e-12}


def smooth(height, width, seed=0, count=1):
    """Images ``(1, count, y, x)`` that any optics sees well: waves of some pixels' length."""
    rng = np.random.default_rng(seed)
    y, x = np.arange(height)[:, None], np.arange(width)
    out = np.zeros((1, count, height, width))
    for image in out[0]:
        for _ in range(12):
            frequency, phase = rng.uniform(-0.25, 0.25, 2), rng.uniform(0, 6)
            image += np.cos(frequency[0] * y + frequency[1] * x + phase) / 3
    return torch.as_tensor(out)


def tile_at(corner=(0, 0), size=(6, 8), margin=(0, 0, 0, 0), ratio=2, **optics):
    coarse = torch.zeros(1, 1, *size, dtype=torch.float64)
    fine = torch.zeros(1, 1, ratio * size[0], ratio * size[1], dtype=torch.float64)
    return Tile(coarse, fine, Optics(ratio=ratio, **optics), margin=margin, corner=corner)


# ---- fields of displacement --------------------------------------------------------------------------------------


def test_a_field_is_polynomials_from_the_middle_to_the_edge():
    """Of an image of 21×41 pixels, whose middle is 10, 20; a tile knows where it lies in it."""
    sums = places(tile_at(size=(21, 41)))
    field = Field.none(sums)
    np.testing.assert_allclose(field.centre, [10, 20])
    np.testing.assert_allclose(field.reach, np.sqrt([(21**2 - 1) / 4, (41**2 - 1) / 4]))
    coefficients = np.zeros((2, len(terms())))
    coefficients[0, terms().index((0, 0))], coefficients[0, terms().index((1, 0))] = 0.3, 0.2
    coefficients[1, terms().index((1, 1))], coefficients[1, terms().index((0, 2))] = 0.5, -0.4
    field = dataclasses.replace(field, coefficients=coefficients)
    assert terms()[0] == (0, 0)
    assert len(terms()) == 10
    found = field.at(tile_at(corner=(8, 30), size=(5, 9)))
    y, x = np.meshgrid(np.arange(8, 13), np.arange(30, 39), indexing="ij")
    y, x = (y - 10) / field.reach[0], (x - 20) / field.reach[1]
    np.testing.assert_allclose(found[0], 0.3 + 0.2 * y, atol=1e-12)
    np.testing.assert_allclose(found[1], 0.5 * y * x - 0.4 * (3 * x**2 - 1) / 2, atol=1e-12)
    # beyond the image it stays near what it is at the edge, and never takes a pixel farther than is believed
    far = field.at(tile_at(corner=(60, 20), size=(2, 2)))
    np.testing.assert_allclose(far[0], 0.3 + 0.2 * 1.2)
    wild = dataclasses.replace(field, coefficients=20 * coefficients)
    assert wild.at(tile_at(size=(21, 41))).abs().max() == FARTHEST
    assert wild.is_cut()
    assert not field.is_cut()
    assert wild.largest() == pytest.approx(FARTHEST * np.sqrt(2))
    # the corner at y = 1, x = ±1: (.5, ±.5 − .4)
    assert field.largest() == pytest.approx(np.hypot(0.5, 0.9))
    assert field.mean() == (0.3, 0.0)
    assert field.centred().mean() == (0.0, 0.0)
    np.testing.assert_array_equal(field.centred().coefficients[:, 1:], coefficients[:, 1:])


def test_places_of_a_tile_are_its_own():
    sums = places(tile_at(corner=(4, 7), size=(6, 8), margin=(1, 2, 3, 1)))
    y, x = np.meshgrid([5, 6, 7], [10, 11, 12, 13], indexing="ij")
    expected = [12, y.sum(), x.sum(), (y**2).sum(), (x**2).sum()]
    np.testing.assert_allclose([float(part) for part in sums], expected)


def test_samples_that_lie_elsewhere_are_seen_there():
    """Each by itself: with the same step for all, it is blur and sampling under that shift."""
    image = smooth(48, 60, count=2)

    def decimate(step):
        return mtf_decimate((48, 60), 0.3, 3, shift=(0.1 + step, -0.2 + step))

    step = torch.tensor([0.4, -0.7], dtype=torch.float64)[:, None, None].expand(2, 16, 20)
    found = Displaced.by(decimate, step)(image)[..., 2:-2, 2:-2]
    expected = mtf_decimate((48, 60), 0.3, 3, shift=(0.5, -0.9))(image)[..., 2:-2, 2:-2]
    plain = decimate(0.0)(image)[..., 2:-2, 2:-2]
    assert (found - expected).abs().max() < 0.02 * (plain - expected).abs().max()
    varied = step.clone()
    varied[:, 5, 7] = torch.tensor([1.0, -1.0], dtype=torch.float64)
    there = mtf_decimate((48, 60), 0.3, 3, shift=(1.1, -1.2))(image)[..., 5, 7]
    torch.testing.assert_close(Displaced.by(decimate, varied)(image)[..., 5, 7], there, **EXACT)


@pytest.mark.parametrize("size", [0.02, 0.3])
def test_a_field_is_believed_by_its_evidence(size):
    rng = np.random.default_rng(1)
    n, orders = len(terms()), [i + j for i, j in terms()]
    own = np.array([1.0, *[1 / (i + j) ** 2 for i, j in terms()[1:]]] * 2)
    root = rng.standard_normal((2 * n, 2 * n)) * 0.01
    covariance = root @ root.T + 1e-3 * np.eye(2 * n)
    estimate = size * rng.standard_normal(2 * n) * own

    def evidence(prior):
        return multivariate_normal(np.zeros(2 * n), covariance + prior).logpdf(estimate)

    best = max(SIZES, key=lambda one: evidence(np.diag((one * own**0.5) ** 2)))
    prior = np.diag(best**2 * own)
    expected = np.zeros(2 * n)
    if evidence(prior) > evidence(0) + EVIDENCE:
        expected = (
            np.linalg.inv(np.linalg.inv(covariance) + np.linalg.inv(prior)) @ np.linalg.inv(covariance) @ estimate
        )
    assert expected.any() == (size > 0.1)
    np.testing.assert_allclose(believed(estimate.reshape(2, -1), covariance, orders).ravel(), expected, atol=1e-9)


# ---- registration ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [2, 3])
def test_registration_of_a_pair_that_is_made(ratio):
    """PAN of two components that are seen at another place, through another MTF, than is declared."""
    size = (24 * ratio, 30 * ratio)
    made = smooth(*size, count=2, seed=3) + 0.4 * mtf_blur(size, 0.3, 1)(
        torch.randn(1, 2, *size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    )
    seen = mtf_decimate(size, np.array([[0.25, 0.25]]), ratio, shift=(0.3, -0.2))(made)
    seen = (seen - seen.mean((2, 3), keepdim=True)) / seen.std((2, 3), keepdim=True)
    response = torch.tensor([2.0, -1.0], dtype=torch.float64)
    spread = mtf_decimate(size, np.array([[0.25, 0.25]]), ratio, shift=(0.3, -0.2))(made)
    scale = spread.std((2, 3), keepdim=True)
    fine = (made - spread.mean((2, 3), keepdim=True)) / scale
    pan = (response[:, None, None] * fine).sum(1, keepdim=True) + 5
    case = FusionCase(coarse=seen, pan=pan, optics=Optics(ratio=ratio, mtf=0.3))
    found = register(case, lambda tile: tile.wide_coarse, 2, None)
    np.testing.assert_allclose(found.shift, (0.3, -0.2), atol=0.03)
    assert float(found.gains(0.3)) == pytest.approx(0.25, abs=0.015)
    torch.testing.assert_close(found.response, response, rtol=0.02, atol=0.02)
    assert found.constant == pytest.approx(5, abs=0.02)
    assert found.unexplained < 1e-3 * found.contrast
    # noise in the cube's place is what is left, times what the fit has eaten of it
    noise = 0.5 * torch.randn(seen[:, :1].shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    noisy = register(case, lambda tile: tile.wide_coarse + torch.cat([0 * noise, noise], 1), 2, None)
    # pixels whose residual is usual count all alike
    assert noisy.contrast == pytest.approx(float((response[:, None, None] * seen).sum(1).var()), rel=0.03)
    assert noisy.unexplained == pytest.approx(0.5**2, rel=0.35)
    # the declared response counts as much as what the scene says, but for its gain
    alike = register(case, lambda tile: tile.wide_coarse, 2, 0.1 * response)
    torch.testing.assert_close(alike.response, found.response, rtol=0.02, atol=0.02)
    other = register(case, lambda tile: tile.wide_coarse, 2, torch.tensor([1.0, 1.0], dtype=torch.float64))
    own = torch.cov(seen.flatten(2)[0], correction=0)
    gain = float((own @ response).sum() / own.sum())
    half = torch.linalg.solve(own + torch.eye(2), own @ response + gain * torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(other.response, half, rtol=0.1, atol=0.2)


def test_pixels_count_by_their_residual():
    pair = Registration(
        response=torch.tensor([1.0], dtype=torch.float64), constant=0.0, unexplained=0.01, shift=(0.0, 0.0), blur=1.0
    )
    valid = torch.ones(1, 1, 6, 8, dtype=torch.bool)
    valid[..., 2, 3] = False
    tile = tile_at()
    masked = Tile(tile.wide_coarse, tile.wide_pan, tile.optics, valid=valid)
    assert counted(tile, None, tile.wide_coarse, tile.wide_coarse) is None
    assert torch.equal(counted(masked, None, tile.wide_coarse, tile.wide_coarse), valid)
    pan = torch.zeros(1, 1, 6, 8, dtype=torch.float64)
    pan[..., 4, 5] = 0.8
    weight = counted(masked, pair, torch.zeros_like(pan), pan)[0, 0]
    # .64 over .01 is 64: a fourth of it at the pixel, an eighth beside; half of what is beyond 4 comes to one
    excess = 1 + 0.5 * (16 - 4)
    assert float(weight[4, 5]) == pytest.approx(1 / excess)
    assert float(weight[3, 5]) == pytest.approx(1 / (1 + 0.5 * (8 - 4)))
    assert float(counted(masked, pair, torch.zeros_like(pan), pan, 2)[0, 0, 4, 5]) == pytest.approx(1 / excess**2)
    assert float(weight[3, 4]) == pytest.approx(1)
    assert float(weight[2, 3]) == 0


# ---- error of PAN ------------------------------------------------------------------------------------------------


def test_pan_is_believed_less_where_it_shows_another_date():
    """At the fine pixels of that coarse one, wherever it lies; elsewhere as usual, and nowhere more."""
    error = PanError(visible=0.5, noise=0.1, least=0.0, pan_variance=50.0, ratio=3, another_date=0.5)
    optics = {"ratio": 3, "offset": 0.0, "shift": (1.0, 2.0)}
    tile, usual = tile_at(size=(9, 11), **optics), 1 / float(error.variance())
    excess = torch.ones(1, 1, 9, 11, dtype=torch.float64)
    torch.testing.assert_close(error.precision(tile, excess), torch.full((1, 1, 1, 1), usual, dtype=torch.float64))
    excess[..., 4, 5] = 6.0
    found = error.precision(tile, excess)[0, 0]
    assert found.shape == (27, 33)
    # the pixel lies at 3·4 + 1, 3·5 + 2
    assert np.unravel_index(int(found.argmin()), found.shape) == (13, 17)
    assert float(found[13, 17]) == pytest.approx(1 / float(error.variance(6.0)), rel=1e-3)
    assert float(found[13, 2]) == pytest.approx(usual)
    assert float(found.max()) <= usual
    everywhere = error.precision(tile, torch.full_like(excess, 6.0))
    torch.testing.assert_close(everywhere, torch.full_like(everywhere, 1 / float(error.variance(6.0))))


# ---- subspace ----------------------------------------------------------------------------------------------------


def test_noise_is_what_a_band_keeps_to_itself_beside_its_neighbours():
    """Two bands on either side, more on one at the ends; of seven bands it is a ten-thousandth of the variance."""
    root = np.random.default_rng(4).standard_normal((9, 9))
    covariance = root @ root.T
    found = neighbour_noise(torch.as_tensor(covariance))
    for band in range(9):
        first = min(max(band - 2, 0), 4)
        near = [other for other in range(first, first + 5) if other != band]
        explained = covariance[band, near] @ np.linalg.solve(covariance[np.ix_(near, near)], covariance[near, band])
        assert float(found[band]) == pytest.approx(covariance[band, band] - explained, rel=1e-6)
    few = neighbour_noise(torch.as_tensor(covariance[:7, :7]))
    np.testing.assert_allclose(few, 1e-4 * np.diag(covariance)[:7])


@pytest.mark.parametrize("texture", [0.0, 1.0])
def test_what_one_band_sees_of_the_scene_is_no_noise(texture):
    """Fields of one band each, that no other band explains, but smooth: noise is in the finest details too."""
    rng, bands, size = np.random.default_rng(3), 24, 40
    shared = smooth(size, size, 1, 2)[0].numpy()
    cube = np.einsum("bk,kyx->byx", rng.uniform(0.5, 1.5, (bands, 2)), 6 * shared)
    cube += texture * smooth(size, size, 2, bands)[0].numpy() + 0.2 * rng.standard_normal((bands, size, size))
    coarse = torch.as_tensor(cube)[None]
    case = FusionCase(
        coarse=coarse, pan=torch.zeros(1, 1, 2 * size, 2 * size, dtype=torch.float64), optics=Optics(ratio=2)
    )
    found = subspace(case, lambda tile: tile.wide_coarse).noise[0].numpy()
    np.testing.assert_allclose(np.sqrt(np.median(found)), 0.2, rtol=0.12)
    if texture:
        assert np.median(neighbour_noise(torch.as_tensor(np.cov(cube.reshape(bands, -1))))) > 4 * 0.2**2


# ---- links -------------------------------------------------------------------------------------------------------


def test_links_by_loops():
    """1/(1 + d²)² of what is compared, over the root of both ends' sums; neighbours by the steps of the solution."""
    generator = torch.Generator().manual_seed(6)
    z, smoothed = (0.3 * torch.randn(1, 5, 9, 12, generator=generator, dtype=torch.float64) for _ in range(2))
    sharp = 0.2 * torch.randn(1, 2, 9, 12, generator=generator, dtype=torch.float64)
    contrast = torch.tensor([0.8, 0.5, 0.3, 0.1, 0.05], dtype=torch.float64)
    weights = [torch.rand(step.shape, generator=generator, dtype=torch.float64) for step in step_weights(z)]
    near, links = related(weights, z, smoothed, sharp, contrast, 2.0)
    for found, before, (dy, dx) in zip(near, weights, NEIGHBOURS, strict=True):
        step = contrast * (z[0, :, 3 + dy, 4 + dx] - z[0, :, 3, 4])
        lowered = 1 / np.sqrt(1 + float(step.square().sum()) / (dy**2 + dx**2) / relation.STEP**2)
        # the first pixel of each pair is the upper one, or the left one
        at = (0, 0, 3, 4 - max(0, -dx))
        assert float(found[at]) == pytest.approx(float(before[at]) * lowered, rel=1e-9)
    parts = [PART * contrast[:4, None, None] * image[0, :4] for image in (z, smoothed)]
    compared = torch.cat([*parts, sharp[0] / np.sqrt(2)]).numpy() / UNLIKE
    inside = [(dy, dx) for dy, dx in relation.offsets(relation.PLACES, 2 * relation.REACH) if dy < 9 and abs(dx) < 12]
    assert links.offsets == tuple(inside)
    assert links.leading == 4
    alike, total = {}, np.zeros((9, 12))
    for dy, dx in inside:
        for y, x in np.ndindex(9, 12):
            if y + dy < 9 and 0 <= x + dx < 12:
                square = ((compared[:, y + dy, x + dx] - compared[:, y, x]) ** 2).sum()
                alike[y, x, dy, dx] = 1 / (1 + square) ** 2
                total[y, x] += alike[y, x, dy, dx]
                total[y + dy, x + dx] += alike[y, x, dy, dx]
    share = np.sqrt(STRENGTH / np.maximum(total, LEAST))
    for weight, (dy, dx) in zip(links.weights, inside, strict=True):
        for (y, x), value in np.ndenumerate(weight[0, 0].numpy()):
            at = y, x + max(0, -dx)
            expected = alike[*at, dy, dx] * share[at] * share[at[0] + dy, at[1] + dx]
            assert value == pytest.approx(expected, rel=1e-9)


# ---- guides in one place -----------------------------------------------------------------------------------------


def test_a_moved_image_shows_what_lies_at_each_place():
    image = smooth(40, 48, count=2, seed=5)
    y, x = np.meshgrid(np.arange(40.0), np.arange(48.0), indexing="ij")
    step = np.stack([0.4 + 0.02 * y, -1.3 + 0.03 * x])
    found = move(image, torch.as_tensor(step))
    # Lagrange's polynomial of twelve nodes, along x and then y, written out
    for row, column in ((20, 24), (13, 30)):
        at = [row + step[0, row, column], column + step[1, row, column]]
        nodes = [int(np.floor(place)) + np.array(NODES) for place in at]

        def weights(place, own):
            return [np.prod([(place - b) / (a - b) for b in own if b != a]) for a in own]

        rows = []
        for other in nodes[0]:
            place = column + step[1, other, column]
            own = int(np.floor(place)) + np.array(NODES)
            rows.append(image[0, :, other, own].numpy() @ weights(place, own))
        expected = np.stack(rows, 1) @ weights(at[0], nodes[0])
        np.testing.assert_allclose(found[0, :, row, column], expected, rtol=1e-9)
    torch.testing.assert_close(move(image, torch.zeros(2, 40, 48)), image, **EXACT)
    torch.testing.assert_close(move(image, torch.full((2, 40, 48), 3.0))[..., :-3, :-3], image[..., 3:, 3:], **EXACT)


def test_guides_are_moved_to_where_the_cube_lies_on_pan():
    """A channel on which the cube lies .5 lower than on PAN shows at each place what it has .5 lower."""
    ramp = torch.arange(32.0).expand(1, 1, 32, 32)
    valid = torch.ones(1, 1, 32, 32, dtype=torch.bool)
    valid[..., 10, 20] = False
    fine = Guide(image=torch.cat([ramp.mT, ramp], 1), valid=valid)
    coarse = Guide(image=torch.zeros(1, 2, 16, 16), ratio=2, offset=(0.25, -0.5))
    case = FusionCase(
        coarse=torch.zeros(1, 1, 8, 8), pan=torch.zeros(1, 1, 32, 32), optics=Optics(ratio=4), guides=(fine, coarse)
    )
    own = {
        0: [Place(shift=(0.7, 0.0)), Place(shift=(0.0, -0.6))],
        1: [Place(shift=(0.5, 0.1)), Place(shift=(0.1, 0.3))],
    }
    found = in_one_place(case, own, Place(shift=(0.2, -0.1))).map(lambda tile: tile.guides)
    assert float(found[0].image[0, 0, 15, 15]) == pytest.approx(15.5, abs=1e-4)
    assert float(found[0].image[0, 1, 15, 15]) == pytest.approx(14.5, abs=1e-4)
    # what comes of a pixel without a measurement is none, along the axis of each channel's own step
    along_y, along_x = (torch.nonzero(~channel).tolist() for channel in found[0].valid[0])
    assert [9, 20] in along_y
    assert [10, 20] in along_y
    assert [10, 20] in along_x
    assert [10, 21] in along_x
    assert [10, 21] not in along_y
    # a coarser one keeps its values, and lies elsewhere: less the mean of its places, and with PAN's
    assert found[1].image is coarse.image
    np.testing.assert_allclose(found[1].offset, [0.25 + 0.2 - 0.3, -0.5 - 0.1 - 0.2])
    assert in_one_place(case, {}, Place(shift=(0.2, -0.1))) is case


# ---- channels and bands ------------------------------------------------------------------------------------------


def test_what_bands_leave_unexplained_of_a_channel():
    """One less the squared correlation of bands, and of what the response makes; one of what runs against it."""
    generator = torch.Generator().manual_seed(8)
    base = torch.randn(1, 3, 12, 12, generator=generator, dtype=torch.float64)
    coarse = torch.cat([base[:, :2] + 5, 3 - base[:, :1]], 1)
    fine = torch.randn(1, 1, 24, 24, generator=generator, dtype=torch.float64)
    fine = fine + (coarse[:, :1] + 0.5 * coarse[:, 1:2]).repeat_interleave(2, 2).repeat_interleave(2, 3)
    case = FusionCase(coarse=coarse, pan=fine, optics=Optics(ratio=2, mtf=0.4))
    case = case.replace(guides=(Guide(image=7 * fine),))
    pair = Registration(response=torch.zeros(1), constant=0.0, unexplained=0.0, shift=(0.3, 0.1), blur=1.0)

    class Channel:
        @staticmethod
        def alone(tile):
            return tile.with_pan_of(0, 0)

    seen = mtf_decimate((24, 24), 0.4, 2, shift=(0.3, 0.1))(fine).flatten()
    response = torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64)
    made = torch.einsum("b,byx->yx", response, coarse[0]).flatten()
    correlation = [float(torch.corrcoef(torch.stack([x.flatten(), seen]))[0, 1]) for x in (*coarse[0], made)]
    assert correlation[2] < 0 < min(correlation[:2])
    found = unexplained(case, [(Channel, response)], pair)[0]
    np.testing.assert_allclose(found, [1 - max(value, 0) ** 2 for value in correlation], rtol=1e-6)
