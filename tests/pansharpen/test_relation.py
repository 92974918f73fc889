"""What `physics` learns of the scene itself: links between pixels that look alike, and PAN without its own blur."""

import dataclasses

import numpy as np
import pytest
import torch

from hsitools.scenes import scene
from hsitools.sensor import preset
from hsitools.sensor.spatial import mtf_blur, mtf_decimate
from pansharpen.case import FusionCase
from pansharpen.in_memory import fuse_case
from pansharpen.methods.physics import physics
from pansharpen.optics import Optics
from pansharpen.pair.wald import simulated_case
from pansharpen.physics import relation, sharp_pan, subspace
from pansharpen.physics.own_mtf import own_mtf
from pansharpen.physics.relation import STRENGTH, offsets, related
from pansharpen.physics.sharp_pan import sharpening, with_sharp_pan


def field(seed, width, size=72):
    """Smoothed noise between zero and one, every value as frequent."""
    draw = torch.randn((1, 1, size, size), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    values = mtf_blur((size, size), 0.05, width)(draw).flatten()
    return (values.argsort().argsort() / len(values)).view(1, 1, size, size)


def pair_of_bands(visible, beyond):
    """Six bands that PAN sees and six that it does not, at ratio 4."""
    levels = torch.linspace(0.5, 1.5, 6, dtype=torch.float64)[:, None, None]
    truth = torch.cat([0.1 + levels * visible, 0.1 + levels * beyond], 1)
    noise = 1e-4 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    coarse = mtf_decimate((72, 72), 0.3, 4)(truth + noise)
    return FusionCase(coarse=coarse.float(), pan=visible.float(), optics=Optics(ratio=4), reference=truth.float())


def error_beyond(case, method="physics"):
    return float((fuse_case(method, case) - case.reference)[:, 6:, 4:-4, 4:-4].square().mean().sqrt())


def without_links(monkeypatch):
    monkeypatch.setattr(relation, "STRENGTH", 1e-9)


def test_a_function_of_pan_that_is_no_line_is_learnt(monkeypatch):
    """A parabola, which no correlation with PAN shows."""
    visible = (field(0, 3) * 5).floor() / 4
    case = pair_of_bands(visible, 4 * visible * (1 - visible))
    with_links = error_beyond(case)
    without_links(monkeypatch)
    assert with_links < 0.8 * error_beyond(case)


def test_what_has_nothing_to_do_with_pan_takes_no_harm(monkeypatch):
    case = pair_of_bands((field(0, 3) * 5).floor() / 4, (field(1, 3) * 5).floor() / 4)
    with_links, plain = error_beyond(case), error_beyond(case, "EXP")
    without_links(monkeypatch)
    assert with_links < 1.02 * error_beyond(case)
    assert with_links < 1.01 * plain


def test_details_follow_pan_as_details_do_and_not_as_levels_do(monkeypatch):
    """Over the scene, what PAN does not see falls where PAN rises; within a few pixels both rise, as with shadows."""
    coarse, fine = field(0, 40), field(1, 3)
    case = pair_of_bands(coarse + 0.3 * fine, 1.5 - coarse + 0.3 * fine)
    own = error_beyond(case)
    assert own < 0.8 * error_beyond(case, "EXP")
    monkeypatch.setattr(subspace, "_even", lambda *found: found[:3])
    assert own < 0.9 * error_beyond(case)


def test_links_go_evenly_to_half_a_disc():
    steps = np.array(offsets(14, 18.0))
    assert 44 <= len(steps) <= 56
    both = {tuple(step) for step in np.concatenate([steps, -steps])}
    assert len(both) == 2 * len(steps)
    # of an image that is flipped or turned the same
    assert both == {(-y, x) for y, x in both} == {(x, y) for y, x in both}
    distance = np.hypot(*steps.T)
    assert distance.min() > np.sqrt(2)
    assert 15 < distance.max() < 19.5
    # the mean distance of a disc
    assert distance.mean() == pytest.approx(12, abs=1.5)


def test_what_is_flipped_or_turned_comes_back_so():
    """Sampled beside the middle of its pixels, the cube of a flipped scene is sampled on the other side."""
    case = pair_of_bands(field(1, 4), field(2, 6))
    optics = dataclasses.replace(case.optics, mtf=0.3, offset=2.0)
    coarse = mtf_decimate((72, 72), 0.3, 4, 2.0)(case.reference)
    noise = 1e-3 * torch.randn(coarse.shape, generator=torch.Generator().manual_seed(6))
    case = case.replace(coarse=coarse + noise, optics=optics)
    fused = fuse_case("physics", case)
    details = (fused - case.tile.up()(case.coarse)).square().mean().sqrt()
    behind = dataclasses.replace(optics, offset=1.0)
    for turned, turn in ((behind, lambda image: image.flip(-1, -2)), (optics, lambda image: image.mT)):
        again = fuse_case(
            "physics", case.replace(coarse=turn(case.coarse), pan=turn(case.pan), reference=None, optics=turned)
        )
        assert (again - turn(fused)).square().mean().sqrt() < 1e-4 * details


def test_links_join_what_is_alike():
    """Two kinds of columns in turns: links within a kind, hardly any across."""
    kinds = (torch.arange(30) % 2).float().expand(1, 1, 24, 30)
    z = torch.cat([kinds, torch.zeros(1, 3, 24, 30)], 1)
    near = [torch.ones(1, 1, 24, 29)], [torch.ones(1, 1, 23, 30)], [torch.ones(1, 1, 23, 29)] * 2
    contrast = torch.tensor([1.0, 0, 0, 0])
    _, links = related([*near[0], *near[1], *near[2]], z, z, kinds, contrast, 3)
    total = torch.zeros(24, 30)
    for weight, (dy, dx) in zip(links.weights, links.offsets, strict=True):
        same = dx % 2 == 0
        assert (weight > 0.02 * STRENGTH / len(links.offsets)).all() if same else (weight < 1e-3).all()
        total[: 24 - dy, max(0, -dx) : 30 - max(0, dx)] += weight[0, 0]
        total[dy:, max(0, dx) : 30 + min(0, dx)] += weight[0, 0]
    assert 0.5 * STRENGTH < total[10:14, 12:18].mean() < 1.2 * STRENGTH
    # nothing resembles a pixel of its own kind: its links stay weak
    lone = z.clone()
    lone[0, 0, 12, 15] = 9
    _, links = related([*near[0], *near[1], *near[2]], lone, lone, kinds, contrast, 3)
    away = [
        float(weight[0, 0, 12, 15]) for weight, (_, dx) in zip(links.weights, links.offsets, strict=True) if dx >= 0
    ]
    assert max(away) < 1e-3


def seen_by_prisma(pan_mtf, size=72):
    """Every twelfth band of a pair like PRISMA's, without noise."""
    sensor = preset("prisma").select(range(0, 234, 12)).replace(pan_mtf=pan_mtf)
    return simulated_case(scene((size, size), seed=7), sensor, ratio=3, noise=False)


@pytest.fixture(scope="module")
def pair() -> FusionCase:
    return seen_by_prisma(0.2)


@pytest.fixture(scope="module")
def sharp_pair() -> FusionCase:
    return seen_by_prisma(0.97)


def declared(case, mtf, **others):
    return case.replace(optics=dataclasses.replace(case.optics, pan_mtf=mtf, **others), findings={})


def test_pan_is_sharpened_towards_the_scene(pair, sharp_pair):
    full = sharp_pair.pan
    told = pair.replace(optics=dataclasses.replace(pair.optics, pan_variance=1e-8))
    sharp = with_sharp_pan(told)
    assert sharp.optics.pan_mtf is None
    assert sharp.optics.pan_variance > 1e-8
    made = sharp.sum(lambda tile: tile.pan)
    before, after = ((image - full).square().mean().sqrt() for image in (pair.pan, made))
    assert after < 0.7 * before
    assert float(made.mean()) == pytest.approx(float(pair.pan.mean()), rel=1e-3)


def test_pan_that_tells_no_mtf_stays_as_it_is(pair):
    untold = pair.replace(optics=dataclasses.replace(pair.optics, pan_mtf=None))
    assert with_sharp_pan(untold) is untold


def test_noise_is_not_sharpened():
    # differences of white noise: 2 and 4 times its variance
    assert sharpening(0.2, 2.0, 4.0) is None
    clear, noisy = (sharpening(0.2, along, both) for along, both in ((1.0, 0.3), (1.0, 1.2)))
    assert (noisy**2).sum() < (clear**2).sum()
    assert clear.sum() == pytest.approx(1)
    told = sharpening(0.2, 1.0, 0.3, least=0.2)
    assert (told**2).sum() < (clear**2).sum()


def test_the_cube_is_sharper_than_pan(pair):
    untold = pair.replace(optics=dataclasses.replace(pair.optics, pan_mtf=None))
    told, blurred = (float((physics(case) - pair.reference).square().mean()) for case in (pair, untold))
    assert told < 0.8 * blurred


def test_noise_on_water_is_not_sharpened(pair):
    """One half is a flat lake: there noise stays below what PAN had, on land details still grow."""
    rng, deviation = torch.Generator().manual_seed(2), 0.02 * float(pair.pan.std())
    lake = pair.pan.clone()
    lake[..., 36:] = pair.pan.mean()
    noise = deviation * torch.randn(lake.shape, generator=rng)
    told = declared(pair.replace(pan=lake + noise), 0.2, pan_variance=deviation**2)
    sharp = with_sharp_pan(told)
    made = sharp.sum(lambda tile: tile.pan)
    assert (made - lake)[..., 46:].std() < 0.7 * deviation
    untold = with_sharp_pan(declared(told, 0.2, pan_variance=None)).sum(lambda tile: tile.pan)
    assert (untold - lake)[..., 46:].std() > deviation

    def details(image):
        return image[..., :26].diff(dim=-1).square().mean()

    assert details(made) > 1.5 * details(lake)


def test_an_mtf_that_pan_can_have_is_believed(pair, caplog):
    noise = pair.pan.std() * torch.randn(pair.pan.shape, generator=torch.Generator().manual_seed(3))
    strong = pair.replace(pan=pair.pan + 0.5 * noise)
    told = declared(strong, 0.2, pan_variance=float(0.5 * noise.std()) ** 2)
    for case in (pair, pair.replace(pan=pair.pan + 0.02 * noise), strong, told):
        case = case if case is told else declared(case, 0.2)
        assert own_mtf(case) == 0.2
        assert not case.findings
    assert not caplog.records
    assert own_mtf(declared(pair, None)) is None


def test_an_mtf_that_pan_contradicts_is_not_believed(caplog, monkeypatch):
    sharp_pair = seen_by_prisma(0.97, 120)
    wrong = declared(sharp_pair, 0.2)
    error = float((physics(wrong) - wrong.reference).square().mean())
    assert wrong.findings["pan_mtf"]["declared"] == 0.2
    assert wrong.findings["pan_mtf"]["taken"] > 0.6
    assert "PAN's MTF" in caplog.text
    right = float((physics(declared(sharp_pair, 0.97)) - wrong.reference).square().mean())
    monkeypatch.setattr(sharp_pan, "own_mtf", lambda scene: 0.2)
    believed = float((physics(wrong) - wrong.reference).square().mean())
    assert error < right + 0.3 * (believed - right)
    # too few pixels tell nothing
    corner = sharp_pair.replace(
        coarse=sharp_pair.coarse[..., :16, :16], pan=sharp_pair.pan[..., :48, :48], reference=None
    )
    assert own_mtf(declared(corner, 0.2)) == 0.2


def test_a_channel_that_shows_nothing_in_one_place_changes_no_links_elsewhere():
    generator = torch.Generator().manual_seed(7)
    z, smooth, sharp = (torch.rand(1, 3, 40, 40, generator=generator, dtype=torch.float64) * 0.1 for _ in range(3))
    ones = [torch.ones(1, 1, *shape, dtype=torch.float64) for shape in ((40, 39), (39, 40), (39, 39), (39, 39))]
    holes = sharp.clone()
    holes[0, 1, 0, 0] = torch.nan
    contrast = torch.full((3,), 3**-0.5, dtype=torch.float64)
    (_, whole), (_, links) = (related(ones, z, smooth, image, contrast, 1.0) for image in (sharp, holes))
    assert links.offsets == whole.offsets
    reach = 2 * max(max(y, abs(x)) for y, x in links.offsets)
    for weight, other in zip(links.weights, whole.weights, strict=True):
        assert torch.isfinite(weight).all()
        torch.testing.assert_close(weight[..., reach:, reach:], other[..., reach:, reach:])
        assert weight[..., reach:, reach:].numel()
