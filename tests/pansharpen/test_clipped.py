"""Samples at full scale are lower bounds: what stands for them is nearer to the scene, and its error bars know."""

import numpy as np
import pytest
import torch

from hsitools import preset, scene
from hsitools.cube import Cube
from pansharpen import fuse
from pansharpen.case import FusionCase
from pansharpen.guide import Guide
from pansharpen.in_memory import fuse_case, posterior_of
from pansharpen.methods.gsa import gsa
from pansharpen.optics import Optics
from pansharpen.pair.clipped import EXPECTED, Limits, Tops, find_limits, learn_clipped
from pansharpen.pair.wald import simulated_case
from pansharpen.registry import METHODS
from pansharpen.tiled import LargeScene, fuse_pair

RATIO, SIDE = 4, 28
SENSOR = preset("prisma").select(range(0, 230, 14)).replace(ratio=RATIO)
#: Bands that clip, and what share of their voxels.
BANDS, SHARE = slice(4, 10), 0.05


@pytest.fixture(scope="module")
def case():
    fine = scene((RATIO * SIDE, RATIO * SIDE), seed=41, wavelength_nm=np.arange(395.0, 2430.0, 10.0))
    return simulated_case(fine, SENSOR, noise=True, seed=2)


def cut(case, *, cube=True, pan=False):
    """The case with some of its bands, and PAN, cut off, and which voxels and pixels are."""
    limit = torch.quantile(case.coarse[0, BANDS].flatten(), 1 - SHARE)
    coarse, sharp = case.coarse.clone(), case.pan
    if cube:
        coarse[0, BANDS] = coarse[0, BANDS].clamp(max=float(limit))
    if pan:
        sharp = sharp.clamp(max=float(torch.quantile(sharp.flatten(), 1 - SHARE)))
    clipped = torch.zeros_like(coarse, dtype=torch.bool)
    clipped[0, BANDS] = case.coarse[0, BANDS] >= limit
    return case.replace(coarse=coarse, pan=sharp, findings={}), clipped


def rms(image):
    return float(image.double().square().mean().sqrt())


@pytest.mark.parametrize("method", ["GSA", "physics"])
def test_clipped_voxels_come_back_brighter(case, method, caplog):
    seen, clipped = cut(case)
    fine = clipped.repeat_interleave(RATIO, -2).repeat_interleave(RATIO, -1)
    fused, whole = fuse_case(method, seen), fuse_case(method, case.replace(findings={}))
    assert seen.findings["clipped_samples"] == {"cube_voxels": int(clipped.sum())}
    assert "taken as lower bounds" in caplog.text
    down = case.tile.down()
    left = (down(fused.float()) - down(whole.float()))[clipped]
    # of what is cut off a fourth stays at most
    assert rms(left) < 0.25 * rms((seen.coarse - case.coarse)[clipped])
    assert rms((fused - case.reference)[~fine]) < 1.01 * rms((whole - case.reference)[~fine])


def test_error_bars_hold_what_was_cut_off(case):
    seen, clipped = cut(case)
    fine = clipped.repeat_interleave(RATIO, -2).repeat_interleave(RATIO, -1)
    estimate, std = posterior_of("physics", seen)
    error = estimate - case.reference
    assert float((error.abs() < 1.96 * std)[fine].double().mean()) > 0.9


def test_doubt_of_a_voxel_comes_to_its_error_bars(case):
    doubt = torch.zeros_like(case.coarse)
    doubt[0, 2, 3, 5] = 0.04
    plain, doubted = (posterior_of("physics", case.replace(doubt=each, findings={})).std for each in (None, doubt))
    added = (doubted.square() - plain.square())[0]
    np.testing.assert_allclose(added[2, 12:16, 20:24], 0.04, rtol=1e-3)
    added[2, 12:16, 20:24] = 0
    assert float(added.abs().max()) < 1e-7


def test_clipped_pixels_of_pan_get_what_the_cube_shows_beyond(case):
    from pansharpen.in_memory import prepared

    seen, _ = cut(case, cube=False, pan=True)
    clipped = seen.pan == seen.pan.max()
    ready = prepared(seen)
    assert seen.findings["clipped_samples"] == {"pan_pixels": int(clipped.sum())}
    assert rms((ready.pan - case.pan)[clipped]) < 0.6 * rms((seen.pan - case.pan)[clipped])
    assert torch.equal(ready.pan[~clipped], seen.pan[~clipped])
    assert (ready.pan >= seen.pan).all()
    assert not ready.pan_doubt[~clipped].any()
    assert ready.doubt is None


def test_tiles_are_the_whole_where_samples_clip(case):
    seen, _ = cut(case, pan=True)
    whole = fuse_case("GSA", seen)
    cube = Cube(
        data=seen.coarse[0].numpy(), wavelength_nm=case.optics.wavelength_nm, pan=Cube(data=seen.pan[0].numpy())
    )
    large = LargeScene(cube, optics=case.optics, halo=METHODS["GSA"].halo, side=12)
    fused = gsa(large)
    found = fused.read(np.arange(cube.n_bands), *(slice(0, RATIO * SIDE),) * 2)
    np.testing.assert_allclose(found, whole[0].numpy(), atol=1e-5 * float(whole.std()))
    assert large.findings["clipped_samples"] == seen.findings["clipped_samples"]


def test_nothing_is_said_of_what_is_whole(case, caplog):
    own = case.replace(findings={})
    fuse_case("GSA", own)
    assert "clipped_samples" not in own.findings
    assert not caplog.records


def test_full_scale_as_declared_holds_unless_values_go_beyond():
    rng = np.random.default_rng(3)
    band, other = rng.uniform(0, 10, (2, 20, 20))
    images = np.stack([np.minimum(band, 9.5), other])
    tops = Tops.of(images), Tops.of(images[:1])
    optics = Optics(ratio=2, full_scale=np.array([9.4, 5.0]), pan_full_scale=9.4)
    limits = find_limits(tops, 20, optics, images.__getitem__, lambda: images[0])
    assert limits.cube.tolist() == [9.4, np.inf]
    assert limits.pan == 9.4
    # as found, where nothing is declared and few values are beside the pile
    bare = find_limits(tops, 20, Optics(ratio=2), images.__getitem__, None)
    assert not np.isfinite(bare.cube).any()
    assert bare.none


def test_tops_of_parts_are_those_of_the_whole():
    image = np.random.default_rng(4).integers(0, 9, (3, 20, 30)).astype(float)
    image[1, :10], image[2] = np.nan, np.nan
    whole, parts = Tops.of(image), [Tops.of(image[:, rows]) for rows in (slice(0, 10), slice(10, 20))]
    joined = parts[0].joined(parts[1])
    np.testing.assert_array_equal(joined.value, whole.value)
    np.testing.assert_array_equal(joined.number[:2], whole.number[:2])
    assert whole.number[0] == (image[0] == 8).sum()


def test_a_sensor_tells_where_pan_and_cube_are_full(case):
    """By `fuse`, whose cube is in the sensor's units: a fifth of the well less than the brightest voxels have."""
    noise = SENSOR.noise
    assert np.all(np.asarray(noise.full_from) < np.asarray(noise.saturation))
    cube = Cube(data=case.coarse[0].numpy(), wavelength_nm=case.optics.wavelength_nm, units="1",
                pan=Cube(data=case.pan[0].numpy()))  # fmt: skip
    large = LargeScene(cube, SENSOR, halo=12)
    np.testing.assert_allclose(large.optics.full_scale, np.broadcast_to(noise.full_from, SENSOR.n_bands)[large.bands])
    assert "clipped_samples" not in fuse(cube, method="GSA", sensor=SENSOR).meta


def test_bright_voxels_are_doubted_by_as_much_as_bright_ones_differ():
    """One material; from half of the way to full scale on, a band has six times the grain that it has below."""
    rng = np.random.default_rng(8)
    side, quiet, loud, limit = 40, 0.01, 0.06, 0.9
    level = rng.uniform(0, 1, (side, side))
    gains = np.linspace(0.8, 1.2, 6)[:, None, None]
    truth = gains * level + 1e-3 * rng.standard_normal((6, side, side))
    bright = level > 0.5 * (np.mean(level[level < limit]) + limit)
    truth[3] = level + np.where(bright, loud, quiet) * rng.standard_normal((side, side))
    coarse = truth.copy()
    coarse[3] = np.minimum(coarse[3], limit)
    optics = Optics(ratio=2, mtf=0.3)
    case = FusionCase(
        coarse=torch.as_tensor(coarse), pan=torch.as_tensor(np.kron(level, np.ones((1, 2, 2)))), optics=optics
    )
    limits = Limits(cube=np.where(np.arange(6) == 3, limit, np.inf), hot=np.zeros((6, side), bool), pan=np.inf)
    clipped, counts = learn_clipped(limits, case.sum)
    cut_off = coarse[3] >= limit
    assert counts == {"cube_voxels": int(cut_off.sum())}
    # what is foretold is the mean of both, by how many of the whole voxels are of either kind
    share = bright[~cut_off].mean()
    told = loud**2 / (share * loud**2 + (1 - share) * quiet**2)
    n = bright[~cut_off].sum()
    assert clipped.spread[3] == pytest.approx((n * told + EXPECTED) / (n + EXPECTED), rel=0.2)
    np.testing.assert_array_equal(clipped.spread[np.arange(7) != 3], 1)
    tile = clipped.tile(case.tile)
    error = (tile.wide_coarse[0, 3].numpy() - truth[3])[cut_off]
    z = error / np.sqrt(tile.wide_doubt[0, 3].numpy()[cut_off])
    # by as much as whole ones in the mean they would be doubted half as much
    assert 0.8 < np.sqrt(np.mean(z**2)) < 1.5


def test_clipped_pixels_of_a_guide_are_said(case, caplog):
    """Per channel, by tiles and in memory alike; a guide that is not cut off is not."""
    image = case.reference[:, [3, 9, 14]].clone()
    image[:, 1] = image[:, 1].clamp(max=float(torch.quantile(image[:, 1].flatten(), 0.93)))
    top = int((image[:, 1] == image[:, 1].max()).sum())
    pair = Cube(data=case.coarse[0].numpy(), pan=Cube(data=case.pan[0].numpy()))
    for pixels, count in ((image, top), (case.reference[:, [3, 9, 14]], 0)):
        told = {"cut": count} if count else None
        seen = case.replace(guides=(Guide(image=pixels, name="cut"),), findings={})
        fuse_case("GSA", seen)
        assert seen.findings.get("clipped_guides") == told
        guide = Cube(data=pixels[0].numpy(), source="cut")
        assert fuse_pair(pair, "GSA", SENSOR, guides=[guide]).estimate.meta.get("clipped_guides") == told
    assert f"cut: found {top} pixels of its channels cut off at full scale; taken as measured" in caplog.text
