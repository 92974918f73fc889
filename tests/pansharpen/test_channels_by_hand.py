"""What `physics` makes of its sharp channels, of pixels held out and of PAN's MTF, by values worked out by hand."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter

from hsitools.scenes import scene
from hsitools.sensor import preset
from hsitools.sensor.interpolation import interpolate
from hsitools.sensor.spatial import mtf_decimate
from pansharpen.case import FusionCase
from pansharpen.guide import Guide
from pansharpen.methods import physics
from pansharpen.optics import Optics
from pansharpen.pair.wald import simulated_case
from pansharpen.physics import channels as learned
from pansharpen.physics import guide_bands, held_out, own_mtf, posterior, relation
from pansharpen.physics.changed_scene import AsPan, ChangedScene
from pansharpen.physics.channels import EDGE, HIDDEN, HIDDEN_EDGE, HIDDEN_TOLD, Channel, Channels, learn_channels
from pansharpen.physics.error_scale import BOUNDS, EXPECTED, _amplitudes
from pansharpen.physics.hidden_details import hidden_power
from pansharpen.physics.one_place import Place
from pansharpen.physics.pan_error import PanError
from pansharpen.physics.registration import Registration
from pansharpen.physics.subspace import MAX_PRECISION, subspace


@pytest.fixture(scope="module")
def case() -> FusionCase:
    """Five bands at ratio 4, PAN, and guides of other units: two channels on the fine grid, one of pixels of two."""
    made = simulated_case(scene((48, 40), seed=4), preset("prisma").select([0, 9, 18, 27, 60]), ratio=4, seed=1)
    truth = made.reference
    wider = mtf_decimate((48, 40), 0.3, 2)(truth[:, 3:4])
    told = Guide(image=torch.cat([30 * truth[:, 1:2] + 2, truth[:, 2:3]], 1), noise_variance=np.array([4e-3, 1e-6]))
    return made.replace(reference=None, guides=(told, Guide(image=wider, ratio=2, mtf=0.3)))


def parts_of(case):
    """What is learned of a case's channels."""
    with torch.no_grad():
        space = subspace(case, lambda tile: tile.wide_coarse)
        return learn_channels(case, lambda tile: space.components(tile.wide_coarse), space)


@pytest.fixture(scope="module")
def found(case):
    return parts_of(case)


def test_channels_are_pan_s_and_then_the_guides_(case, found):
    _, pair, parts = found
    assert [(part.guide, part.number) for part in parts] == [(None, 0), (0, 0), (0, 1), (1, 0)]
    images = [case.pan, case.guides[0].image[:, :1], case.guides[0].image[:, 1:], case.guides[1].on_grid((48, 40))]
    told = [case.optics.pan_variance, 4e-3, 1e-6, 0.0]
    for part, image, noise in zip(parts, images, told, strict=True):
        variance = float(image.double().var(correction=0))
        assert part.error.pan_variance == pytest.approx(variance, rel=1e-5)
        assert part.error.noise == pytest.approx(noise)
        assert part.edge == pytest.approx(EDGE**2 * variance + 2 * noise, rel=1e-5)
        # a channel of pixels of two counts for a fourth of that of the cube's, which are of four
        known = MAX_PRECISION * (0.25 if part.guide == 1 else 1)
        power = float(part.pair.response.square().sum())
        assert part.error.least == pytest.approx(power / known, rel=1e-5)
        assert part.error.hidden == (1 if part.guide == 1 else HIDDEN_TOLD)
        assert part.clarity == pytest.approx(power / part.pair.unexplained)
    # gain and offset of a channel are its own
    assert parts[1].pair.constant == pytest.approx(30 * float(case.coarse[:, 1].mean()) + 2, rel=0.02)
    # all lie where PAN does, and blur as those of the fine grid say, the more the clearer they are
    weight = np.array([part.clarity for part in parts[:3]])
    assert pair.blur == pytest.approx(np.exp(weight @ np.log([part.pair.blur for part in parts[:3]]) / weight.sum()))
    assert all(part.pair.shift == parts[0].place.shift == pair.shift for part in parts)
    best = parts[int(weight.argmax())]
    assert torch.equal(pair.response, best.pair.response)
    assert pair.unexplained == best.pair.unexplained


def test_channels_whose_noise_is_not_told_are_believed_less(case, found):
    silent = case.replace(
        guides=(dataclasses.replace(case.guides[0], noise_variance=None),), pan_made=True,
        optics=dataclasses.replace(case.optics, shift=(0.1, -0.2)),
    )  # fmt: skip
    _, pair, parts = parts_of(silent)
    assert [part.error.hidden for part in parts] == [HIDDEN, HIDDEN]
    variance = float(case.guides[0].image[0, 1].double().var(correction=0))
    assert parts[1].edge == pytest.approx(HIDDEN_EDGE * EDGE**2 * variance, rel=1e-5)
    # without PAN the cube stays where its own maps say
    assert pair.shift == (0.1, -0.2)
    alone = parts_of(case.replace(guides=()))[2]
    assert alone[0].error.hidden == 1
    more = found[2][0].error.visible - alone[0].error.visible
    assert more == pytest.approx(hidden_power(case), rel=1e-3)
    assert more > 0


def test_a_channel_without_contrast_is_known_as_far_as_it_is_rounded(case):
    """To a millionth of its level."""
    optics = dataclasses.replace(case.optics, pan_variance=None)
    flat = case.replace(pan=torch.full_like(case.pan, 50.0), optics=optics, guides=())
    _, _, (part,) = parts_of(flat)
    assert part.edge == pytest.approx((1e-6 * 50) ** 2, rel=1e-3)
    assert part.error.least == pytest.approx((1e-6 * 50) ** 2, rel=1e-3)
    assert part.pair.constant == pytest.approx(50, rel=1e-6)


def made_channels():
    def channel(guide, number, response, constant, visible):
        pair = Registration(
            response=torch.tensor(response, dtype=torch.float64), constant=constant, unexplained=0.02,
            shift=(0.2, -0.1), blur=1.0,
        )  # fmt: skip
        error = PanError(visible=visible, noise=0.0, least=0.0, pan_variance=1e9, ratio=4, another_date=visible)
        place = Place(shift=(0.2, -0.1))
        own = {"error": error, "unaided": error, "edge": number + 4.0}
        return Channel(guide=guide, number=number, pair=pair, place=place, **own)

    return Channels(parts=(
        channel(None, 0, [1.0, 2.0], 0.5, 0.1), channel(0, 0, [0.0, 1.0], 3.0, 0.2),
        channel(0, 1, [-10.0, 0.0], 0.0, 0.3), channel(1, 0, [1.0, 0.0], 1.0, 0.4),
    ))  # fmt: skip


def test_what_channels_say_on_both_grids(case):
    """Images less their constants; believed by their errors, not where they hold no measurement."""
    lost = torch.ones(1, 1, 48, 40, dtype=torch.bool)
    lost[..., 20, 30] = False
    guides = (dataclasses.replace(case.guides[0], valid=lost), case.guides[1])
    case, own = case.replace(guides=guides), made_channels()
    tile = case.tile
    components = torch.zeros(1, 2, 12, 10, dtype=torch.float64)
    # what every channel shows is what its constant says: no other date
    flat = [0.5, 3.0, 0.0]
    pan, image = torch.full_like(tile.pan, flat[0]), torch.cat([torch.full_like(tile.pan, x) for x in flat[1:]], 1)
    even = case.replace(pan=pan, guides=(dataclasses.replace(guides[0], image=image), guides[1]))
    terms = own.terms(even.tile, components)
    assert [term.response.tolist() for term in terms] == [[[1.0, 2.0]], [[0.0, 1.0], [-10.0, 0.0]], [[1.0, 0.0]]]
    for term in terms[:2]:
        torch.testing.assert_close(term.image, torch.zeros_like(term.image))
    torch.testing.assert_close(terms[2].image, guides[1].image - 1.0)
    precision = terms[1].precision.expand(1, 2, 48, 40)
    np.testing.assert_allclose(precision[0, :, 3, 4], [5, 1 / 0.3], rtol=1e-5)
    assert precision[0, :, 20, 30].tolist() == [0, 0]
    np.testing.assert_allclose(torch.as_tensor(terms[0].precision).flatten(), [10], rtol=1e-5)
    np.testing.assert_allclose(torch.as_tensor(terms[2].precision).flatten(), [2.5], rtol=1e-5)
    assert (terms[0].down, terms[1].down) == (None, None)
    assert terms[2].down(tile.pan).shape[-2:] == (24, 20)
    # at the cube's scale all are seen through its optics; of .02, or a 3000th of the response's square
    pair = own.parts[0].pair
    sharp, believed = own.seen(tile, pair, components)
    down = mtf_decimate((48, 40), case.optics.mean_gains(), 4, shift=(0.2, -0.1))
    torch.testing.assert_close(sharp.image[:, :1], down(tile.pan) - 0.5)
    torch.testing.assert_close(sharp.image[0, 1, 0, 0], (down(guides[0].image[:, :1]) - 3.0)[0, 0, 0, 0])
    excess = torch.cat([1 / part.excess(tile, components) for part in own.parts], 1)
    assert float(excess.min()) < 0.9
    torch.testing.assert_close(believed.double(), excess.mean(1, keepdim=True), rtol=1e-5, atol=1e-6)
    error = torch.tensor([0.02, 0.02, 100 / MAX_PRECISION, 0.02]).double()
    torch.testing.assert_close(sharp.precision.double(), excess / error[:, None, None], rtol=1e-5, atol=1e-6)
    # edges, in units of the step that halves a weight
    edges = own.edges(tile)
    expected = torch.cat([tile.pan / 2, guides[0].image / torch.tensor([2.0, 5**0.5])[:, None, None]], 1)
    expected[0, 1:, 20, 30] = torch.nan
    torch.testing.assert_close(edges, expected, equal_nan=True)
    steps = torch.tensor([2.0, 2.0, 5**0.5, 2.0])[:, None, None]
    torch.testing.assert_close(own.seen_edges(sharp), sharp.image / steps.to(sharp.image))
    assert own.said(["fine", "wide"]) == [
        {"guide": name, "channel": number, "shift_pixels": [0.2, -0.1], "bend_pixels": 0.0}
        for name, number in (("fine", 1), ("fine", 2), ("wide", 1))
    ]


def test_a_response_is_brought_to_the_channel_s_units(case):
    """What it makes of the cube is a third of the channel; of one that runs against it nothing is known."""
    prior = torch.tensor([1.0, 0.5, 0, 0, 0], dtype=torch.float64)
    own = lambda tile: tile.wide_coarse.double()  # noqa: E731
    pan = case.tile.up()(torch.einsum("b,byx->yx", prior, case.coarse[0].double())[None, None])
    seen = case.replace(pan=pan)
    gain = float(learned._in_units(seen, own, prior)[0])
    for factor in (3.0, 0.01):
        found = learned._in_units(case.replace(pan=factor * pan + 7), own, prior)
        torch.testing.assert_close(found, factor * gain * prior, rtol=1e-5, atol=1e-9)
    # interpolation and optics leave most of it
    assert 0.7 < gain < 1.05
    assert learned._in_units(case.replace(pan=-pan), own, prior) is None


def test_scenes_that_are_changed_before_a_method_sees_them(case):
    calls = []

    def brighter(tile):
        calls.append(tile)
        return tile.with_pan(tile.wide_pan + 1, tile.optics)

    changed = ChangedScene(case, brighter)
    assert float(changed.sum(lambda tile: tile.pan.mean())) == pytest.approx(float(case.pan.mean()) + 1, rel=1e-5)
    torch.testing.assert_close(changed.map(lambda tile: tile.pan), case.pan + 1)
    assert len(calls) == 1
    assert (changed.optics, changed.n_bands, changed.guides) == (case.optics, 5, case.guides)
    assert changed.findings is case.findings
    assert changed.pan_made is False
    alone = AsPan(case, 0, 1, Optics(ratio=4, mtf=0.25))
    torch.testing.assert_close(alone.map(lambda tile: tile.pan), case.guides[0].image[:, 1:])
    assert (alone.guides, alone.pan_made, alone.optics.mtf) == ((), False, 0.25)
    alone.findings["pan_mtf"] = 1
    assert "pan_mtf" not in case.findings


# ---- bands that a guide is said to have --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shares", "response", "doubted"),
    [
        # the band that is most like it, twice and five times as much as what it is said to be
        ([0.5, 0.02, 0.3, 0.05], [1, 1, 1], None), ([0.5, 0.02, 0.3, 0.1], [1, 1, 1], 1),
        # what is all alike tells nothing
        ([0.5, 0.001, 0.3, 0.009], [1, 1, 1], None),
        # of one band, or two, any that has a fifth of the largest one's part may be the channel
        ([0.5, 0.02, 0.06, 0.3], [0, 0.3, 1], None), ([0.06, 0.5, 0.02, 0.3], [0.1, 1, 0], 2),
        ([0.06, 0.5, 0.02, 0.3], [0.3, 1, 0], None),
    ],
)  # fmt: skip
def test_channels_that_are_like_another_band(monkeypatch, shares, response, doubted):
    channel = SimpleNamespace(guide=0, number=0)
    scene_ = SimpleNamespace(guides=[Guide(image=torch.zeros(1, 1, 4, 4), response=np.array([response], dtype=float))])
    monkeypatch.setattr(guide_bands, "unexplained", lambda *_: torch.tensor([shares]))
    others = SimpleNamespace(guide=None, number=0)
    found = guide_bands.doubted_bands(scene_, [others, channel], None)
    assert found == ([] if doubted is None else [(channel, doubted)])
    assert guide_bands.doubted_bands(scene_, [others], None) == []


# ---- held-out pixels ---------------------------------------------------------------------------------------------


def test_details_are_trusted_as_far_as_they_are_the_true_ones(monkeypatch):
    """Regression and squared correlation, the larger, and three standard errors; four pixels tell as one."""
    rng = np.random.default_rng(0)
    smooth, true = rng.standard_normal((6, 16, 20)), rng.standard_normal((6, 16, 20))
    noise = 2 * rng.standard_normal((6, 16, 20))
    details = np.stack([true[0], 0.4 * true[1], 3 * true[2], noise[3], 0.5 * true[4] + noise[4], 0 * true[5]])
    measured = torch.as_tensor(rng.random((1, 6, 16, 20)) < 0.9)
    cube = FusionCase(
        coarse=torch.as_tensor(smooth + true), pan=torch.zeros(1, 32, 40).double(), optics=Optics(ratio=2),
        valid=measured,
    )  # fmt: skip
    z, plain = torch.as_tensor(smooth + details)[None], torch.as_tensor(smooth)[None]
    monkeypatch.setattr(held_out, "held_out", lambda *_: held_out.HeldOut(None, None, z, plain, None))
    same = SimpleNamespace(components=lambda image: image, cube=lambda image: image)
    seen = SimpleNamespace(seen=lambda *_: (None, torch.ones(1, 1, 16, 20)))
    found = held_out.detail_trust(cube, lambda tile: tile.wide_coarse, same, None, seen)[0].numpy()
    expected = []
    for d, q, keep in zip(details, true, measured[0].numpy(), strict=True):
        d, q = d[keep], q[keep]
        if not d.any():
            expected.append(1.0)
            continue
        slope, likeness = (d @ q) / (d @ d), (d @ q) ** 2 / (d @ d) / (q @ q)
        spread = np.sqrt(((q - slope * d) ** 2).sum() / (d @ d) / (d.size / 4))
        expected.append(np.clip(max(slope, likeness) + 3 * spread, 0, 1))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found[:3].tolist() == pytest.approx([1, 1, 1])
    assert 0 < found[3] < 0.5
    # too small to hold anything out
    small = cube.replace(coarse=cube.coarse[..., :7, :], pan=cube.pan[..., :14, :], valid=None)
    assert (held_out.detail_trust(small, lambda tile: tile.wide_coarse, same, None, seen) == 1).all()


def test_what_is_held_out_is_sought_from_every_other_pixel(case):
    """From the cube blurred as usual and halved, and the channels, with links as far as two pixels to one reach."""
    with torch.no_grad():
        model = physics.learn(case.replace(guides=()))
        space, tile = model.space, model.scene.tile
        cube = space.cube(space.components(tile.wide_coarse))
        sharp, _ = model.channels.seen(tile, model.pair, space.components(cube))
        held = held_out.held_out(cube, space, model.channels, sharp)
        down = mtf_decimate((12, 10), 0.3, 2)
        up = interpolate((6, 5), 2, method="polynomial", out_shape=(12, 10))
        torch.testing.assert_close(held.smooth, up(down(cube)))
        torch.testing.assert_close(held.terms.precision.flatten().double(), space.precision.double(), rtol=1e-6, atol=0)
        system = held.terms.system(held.weights, held.z, held.links)
        data = space.components(down(cube))
        start = up(data)
        assert system.residual(data, held.z).norm() < 0.02 * system.residual(data, start).norm()
        assert held.links.offsets == tuple(
            step for step in relation.offsets(relation.PLACES, 2 * relation.REACH) if step[0] < 12 and abs(step[1]) < 10
        )
    # PAN brings back some of what interpolation lacks
    error = [(image - cube).square().mean() for image in (space.cube(held.z), held.smooth)]
    assert error[0] < 0.7 * error[1]


def test_amplitudes_solve_their_own_weighted_least_squares():
    rng = np.random.default_rng(1)
    variance, hidden, doubt = rng.uniform(0.2, 1, 12), rng.uniform(0, 1, 12), rng.uniform(0, 0.1, 12)
    real = 2.0 * variance + 0.5 * hidden + 0.1 * rng.standard_normal(12)
    alpha, beta = _amplitudes(*(torch.as_tensor(part) for part in (real, doubt, variance, hidden)))
    squares, parts = np.array([alpha**2, beta**2]), np.stack([variance, hidden], 1)
    weight = 1 / (parts @ squares + doubt) ** 2
    slope = parts.T @ (weight * (parts @ squares - real)) + EXPECTED * 12 * (squares - 1)
    np.testing.assert_allclose(slope, 0, atol=1e-3)
    assert 1.2 < alpha < 1.5
    assert 0.5 < beta < 0.95
    # errors of whatever times what is expected: s of their variance, where 50 (R − s) = s² (s − 1)
    zeros, own = torch.zeros(12).double(), torch.as_tensor(variance)
    for times in (0.3, 4.0, 12.0, 30.0, 1000.0):
        (squares,) = [root.real for root in np.roots([1, -1, 50, -50 * times]) if abs(root.imag) < 1e-9]
        assert _amplitudes(times * own, zeros, own, zeros)[0] == pytest.approx(np.clip(squares**0.5, *BOUNDS), rel=1e-3)


def test_a_variance_is_the_mean_square_of_draws_around(monkeypatch):
    z = torch.randn(1, 2, 12, 14, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    basis = torch.tensor([[[1.0, 2.0], [0.0, -1.0], [3.0, 0.0]]]).double()
    monkeypatch.setattr(
        posterior, "draw", lambda system, condition, like, place, coarse_place, number: (number + 1) * like
    )
    terms = SimpleNamespace(system=lambda *_: None, condition=1.0)
    found = posterior.variance_of(posterior.draws(terms, [], z, (0, 0), (0, 0)), basis)
    square = torch.einsum("bk,kyx->byx", basis[0], z[0]).square().numpy() * np.mean(np.arange(1, 9) ** 2)
    for band in range(3):
        expected = uniform_filter(square[band], 5)[2:-2, 2:-2]
        np.testing.assert_allclose(found[0, band, 2:-2, 2:-2], expected, rtol=1e-9)
    assert float(found[0, 0, 0, 0]) == pytest.approx(square[0, :3, :3].mean())


# ---- PAN's own MTF -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declared", "ratio", "taken"),
    [
        (0.2, 0.26, 0.2), (0.2, 0.28, 0.5), (0.2, 0.9, 0.97), (0.5, 0.46, 0.5), (0.3, 0.4, None),
        (0.2, 0.2666, None), (0.05, 0.13, 0.2),
    ],
)  # fmt: skip
def test_an_mtf_is_what_pan_can_have(monkeypatch, declared, ratio, taken):
    """At most .7 g^.6 of it is believed; beyond, between .28 and .9 of a ratio lie gains of .5 to 1, by logarithms."""
    monkeypatch.setattr(own_mtf, "_ratio", lambda *_: ratio)
    monkeypatch.setattr(own_mtf, "alike", lambda scene: None)
    told = SimpleNamespace(optics=Optics(ratio=4, pan_mtf=declared), pan_made=False, findings={})
    found = own_mtf.own_mtf(told)
    if taken is None:
        share = (
            np.log(ratio / 0.28) / np.log(0.9 / 0.28) if ratio > 0.28 else np.log(ratio / 0.19) / np.log(0.28 / 0.19)
        )
        taken = 0.5 * 2**share if ratio > 0.28 else 0.35 * (0.5 / 0.35) ** share
        taken = taken if ratio > 0.7 * declared**0.6 else declared
    assert found == pytest.approx(taken)
    assert ("pan_mtf" in told.findings) == (ratio > 0.7 * declared**0.6)
    least = own_mtf.least_mtf(told)
    assert least == pytest.approx(np.clip((ratio / 0.7) ** (1 / 0.6), 0.2, 0.97))


# ---- the method itself -------------------------------------------------------------------------------------------


def test_zero_bounds_a_cube_whose_measured_values_are_not_negative():
    coarse = torch.ones(1, 2, 4, 4)
    valid = torch.ones_like(coarse, dtype=torch.bool)
    coarse[0, 1, 2, 3], valid[0, 1, 2, 3] = -1, False
    case = FusionCase(coarse=coarse, pan=torch.ones(1, 1, 8, 8), optics=Optics(ratio=2), valid=valid)
    assert physics._bounded(case)
    assert not physics._bounded(case.replace(valid=None))
    dark = coarse.clone()
    dark[0, 0, 0, 0] = -0.1
    assert not physics._bounded(case.replace(coarse=dark))


def test_a_solution_is_shared_by_estimate_and_error_bars(monkeypatch):
    calls = []
    monkeypatch.setattr(physics, "solved", lambda tile, model: calls.append(tile) or len(calls))
    once, first, second = physics.Solutions("model"), object(), object()
    assert [once.of(first), once.of(first), once.of(second), once.of(second), once.of(first)] == [1, 1, 2, 2, 3]


def test_several_channels_give_back_all_that_the_cube_holds(case):
    """Where the cube's noise is but estimated: seen through its optics again, the result is the cube."""
    untold = case.replace(optics=dataclasses.replace(case.optics, noise_variance=None), guides=case.guides[:1])
    with torch.no_grad():
        model = physics.learn(untold)
        fused = model.scene.map(lambda tile: physics._fuse(tile, model, physics.solved(tile, model)))
        seen = model.pair.down(untold.tile, untold.optics.mtf)(fused)
    left = (seen - untold.coarse)[..., 2:-2, 2:-2].std((2, 3))
    assert (left < 0.03 * untold.coarse.std((2, 3))).all()
