"""`physics` where sensor or pair is not ideal: MTFs by band and axis, PAN that is not understood, dark bands."""

import dataclasses
import functools

import h5py
import numpy as np
import pytest
import torch
from scipy.ndimage import rotate

import pansharpen.in_memory
from hsitools.errors import InputError
from hsitools.scenes import scene
from hsitools.sensor import preset
from hsitools.sensor.spatial import mtf_decimate
from pansharpen.case import FusionCase, guided
from pansharpen.comparison.judging import judge
from pansharpen.families.statistics import per_band
from pansharpen.guide import Guide
from pansharpen.in_memory import fuse_case
from pansharpen.methods import physics
from pansharpen.methods.physics import learn
from pansharpen.optics import Optics
from pansharpen.pair import same_scene
from pansharpen.pair.case_files import convention, read_case
from pansharpen.pair.wald import degraded, simulated_case
from pansharpen.physics.registration import Registration
from pansharpen.physics.subspace import one_blur
from pansharpen.tiled import LargeScene


def observed(mtf, *, ratio=4, noise=False, seed=7, side=24):
    """Every ninth band of a PRISMA-like pair of 24×24 coarse pixels, seen with this MTF."""
    sensor = preset("prisma")
    sensor = sensor.replace(mtf=np.broadcast_to(mtf, (sensor.n_bands, np.shape(mtf)[-1])).copy())
    few = sensor.select(range(0, sensor.n_bands, 9))
    return simulated_case(scene((side * ratio, side * ratio), seed=seed), few, ratio=ratio, noise=noise, seed=1)


@functools.cache
def equal_mtfs():
    """The same MTF for all: the case of most tests, none of which changes it."""
    return observed((0.3, 0.3))


@functools.cache
def mixed_mtfs():
    """An MTF for each band, falling along the spectrum."""
    return observed(MIXED)


def ergas(case, name):
    return judge(case, fuse_case(name, case), metrics=("ERGAS",))["ERGAS"].value


MIXED = np.stack([np.linspace(0.45, 0.15, 234)] * 2, axis=1)
CROSSED = np.stack([np.linspace(0.45, 0.15, 234), np.linspace(0.15, 0.45, 234)], axis=1)


@pytest.fixture(scope="module")
def equal():
    return ergas(equal_mtfs(), "physics"), ergas(observed((0.35, 0.35)), "physics")


@pytest.mark.parametrize(
    ("mtf", "same", "margin"), [(MIXED, 0, 1.03), (CROSSED, 0, 1.03), ((0.1, 0.6), 1, 1.1), ((0.6, 0.1), 1, 1.1)]
)
def test_any_mtf_is_as_good_as_one_for_all(mtf, same, margin, equal):
    case = mixed_mtfs() if mtf is MIXED else observed(mtf)
    found = ergas(case, "physics")
    # what one axis loses the other does not always bring back
    assert found < margin * equal[same]
    assert found < min(ergas(case, name) for name in ("MTF-GLP-FS", "TV"))


@pytest.mark.parametrize("name", ["MTF-GLP-FS", "MTF-GLP-HPM", "MTF-GLP-HPM-R"])
def test_pyramids_go_by_each_bands_mtf(name):
    case = mixed_mtfs()
    whole = fuse_case(name, case)
    # a band alone has one MTF: nothing to take the mean of
    for band in (0, 12, 25):
        one = pansharpen.in_memory.select_bands(case, torch.tensor([band]))
        torch.testing.assert_close(fuse_case(name, one), whole[:, band : band + 1], rtol=1e-4, atol=1e-5)


def test_one_blur_levels_the_bands():
    case, same = mixed_mtfs(), equal_mtfs()
    levelled = one_blur(case)(case.tile)
    inner = (..., slice(3, -3), slice(3, -3))
    before, after = ((image - same.coarse)[inner].square().mean().sqrt() for image in (case.coarse, levelled))
    assert after < 0.5 * before
    assert one_blur(same)(same.tile) is same.tile.wide_coarse


def with_odd_details(case, share):
    """PAN with a share of its variance, at a coarse pixel, that no band sees: another scene's structure."""
    other = torch.as_tensor(scene((96, 96), seed=99).read()[40:41][None]).double()
    down = case.tile.down(0.3)
    power = down(case.pan.double()).var() / down(other).var()
    return case.replace(pan=(case.pan.double() + (share * power).sqrt() * (other - other.mean())).float())


def test_details_of_pan_survive_what_is_not_understood_of_it():
    case = equal_mtfs()
    optics = dataclasses.replace(case.optics, pan_response=None)
    odd = with_odd_details(case, 0.02).replace(optics=optics)
    model = learn(odd)
    fused = fuse_case("physics", odd)
    fitted = model.pair.response.float() @ (
        model.space.projection[0].float() @ (fused - per_band(model.space.mean, fused))[0].flatten(1)
    )
    blur = case.tile.blur(0.3)

    def details(image):
        return (image - blur(image)).flatten()

    found = torch.corrcoef(torch.stack([details(fitted.reshape(1, 1, 96, 96)), details(odd.pan)]))[0, 1]
    assert found > 0.95
    # what the cube shows of the error bounds it from below, PAN's details from above
    details_power = float((odd.pan - odd.tile.pan_low).square().mean())
    assert 0.5 * model.pair.unexplained < float(model.channels.parts[0].error.variance())
    assert float(model.channels.parts[0].error.variance()) < model.pair.unexplained + details_power


def test_pan_of_another_scene_leaves_no_band_worse_than_interpolation():
    case = with_odd_details(equal_mtfs(), 0.5)
    pair = learn(case).pair
    assert max(map(abs, pair.shift)) < 0.3
    # blur would make PAN's own details smaller, and must not be taken for the optics'
    assert pair.blur < 1.2
    fused, plain = (
        (fuse_case(name, case) - case.reference)[..., 4:-4, 4:-4].square().mean((0, 2, 3)).sqrt()
        for name in ("physics", "EXP")
    )
    assert (fused < 1.01 * plain).all()


@pytest.mark.parametrize("ratio", [6, 4])
def test_components_of_little_contrast_may_wait(ratio, shared, monkeypatch):
    """To solve for all of sixteen together, twice and with all steps, changes next to nothing."""
    case = read_case(shared / "golden" / f"jasper159_r{ratio}.npz", convention("toolbox"))
    assert learn(case).space.basis.shape[2] == 16
    found = ergas(case, "physics")
    monkeypatch.setattr(physics, "LEADING", 16)
    assert found == pytest.approx(ergas(case, "physics"), rel=1e-3)


def test_details_that_are_not_confirmed_are_lowered(shared, monkeypatch):
    """Near infrared bands of a real pair whose PAN is a blue band."""
    with h5py.File(shared / "data" / "scenes" / "sanfrancisco_hyperion_ali.h5") as file:
        cube, sharp = (torch.as_tensor(file[name][:, 60:180, :120].astype(np.float32)) for name in ("cube", "ms"))
    truth = cube[None, ::4]
    coarse = mtf_decimate((120, 120), 0.25, 3)(truth)
    case = FusionCase(coarse=coarse, pan=sharp[None, :1], optics=Optics(ratio=3, mtf=0.25), reference=truth)
    trust = learn(case).trust[0]
    assert (trust[:4] > 0.9).all()
    assert trust[-4:].mean() < 0.95
    plain = fuse_case("EXP", case)
    lowered = fuse_case("physics", case)
    monkeypatch.setattr(physics, "detail_trust", lambda *_: torch.ones(1, truth.shape[1], dtype=torch.float64))
    as_found = fuse_case("physics", case)
    before, after, worst = (
        (image - truth)[..., 3:-3, 3:-3].square().mean((0, 2, 3)).sqrt() for image in (as_found, lowered, plain)
    )
    assert (after < worst).all()
    assert (after[-4:] < before[-4:]).all()
    assert after.mean() < before.mean()


def test_details_against_those_of_pan_are_not_trusted(monkeypatch):
    """The last bands follow PAN in the large and are its negative in the fine: so they are at the coarse scale."""
    case = equal_mtfs()
    truth = case.reference.clone()
    low = case.tile.up()(case.tile.down()(truth[:, -4:]))
    truth[:, -4:] = 2 * low - truth[:, -4:]
    odd = case.replace(coarse=case.tile.down()(truth), reference=truth)
    trust = learn(odd).trust[0]
    assert (trust[:-4] > 0.8).all()
    assert (trust[-4:] < 0.85).all()
    lowered = fuse_case("physics", odd)
    monkeypatch.setattr(physics, "detail_trust", lambda *_: torch.ones(1, truth.shape[1], dtype=torch.float64))
    error, as_if_sure = (
        (image - truth)[:, -4:].square().mean((0, 2, 3)) for image in (lowered, fuse_case("physics", odd))
    )
    assert (error < as_if_sure).all()


def test_what_pan_explains_is_trusted():
    assert (learn(equal_mtfs()).trust > 0.8).all()


def test_the_shift_that_was_found_is_along_its_axes():
    """A ramp along y and x shows where samples lie: its values there."""
    case = equal_mtfs()
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    pair = Registration(response=torch.ones(1), constant=0.0, unexplained=0.0, shift=(0.5, -0.25), blur=1.0)
    seen = pair.down(case.tile, case.optics.mean_gains())(torch.stack([y, x])[None])[0, :, 5:-5, 5:-5]
    torch.testing.assert_close(seen[0, 0, 0].item(), 4 * 5 + 1.5 + 0.5, rtol=0, atol=1e-3)
    torch.testing.assert_close(seen[1, 0, 0].item(), 4 * 5 + 1.5 - 0.25, rtol=0, atol=1e-3)


def test_noise_that_is_told_counts():
    case = equal_mtfs()
    loud, pan = 0.01 * case.coarse[0].double().flatten(1).var(1).numpy(), 0.01 * float(case.pan.var())
    models = [
        learn(case.replace(optics=dataclasses.replace(case.optics, noise_variance=noise, pan_variance=of_pan)))
        for noise, of_pan in ((loud, None), (4 * loud, None), (loud, pan))
    ]
    quiet, noisy, grainy = models
    for model, noise in ((quiet, loud), (noisy, 4 * loud)):
        projection = model.space.projection[0]
        told = projection @ torch.diag(torch.as_tensor(noise)) @ projection.T
        torch.testing.assert_close(told, torch.diag(1 / model.space.signal))
    error, without = (model.channels.parts[0].error for model in (grainy, quiet))
    assert error.noise - without.noise == pytest.approx(pan, rel=1e-3)
    assert pan <= float(error.variance()) <= pan + float(without.variance())
    assert grainy.channels.parts[0].edge - quiet.channels.parts[0].edge == pytest.approx(2 * pan, rel=1e-3)


def test_bands_that_are_nowhere_negative_stay_so():
    case = equal_mtfs()
    truth = case.reference.clone()
    truth[..., 30:60, 30:60] *= 0.002
    dark = case.replace(coarse=case.tile.down()(truth), pan=case.pan, reference=truth)
    fused = fuse_case("physics", dark)
    assert (fused >= 0).all()
    # where one band goes below zero, none is cut: dark pixels of all bands may be negative
    one = dark.replace(coarse=dark.coarse.clone())
    one.coarse[0, 3, 2, 2] = -0.01
    assert (fuse_case("physics", one)[:, 4:] < 0).any()
    # data that go below zero are not cut
    offset = case.replace(coarse=case.coarse - 1, reference=None)
    uncut = fuse_case("physics", offset) + 1
    assert (uncut < 0).any()
    torch.testing.assert_close(uncut.clamp(min=0), fuse_case("physics", case), atol=2e-3, rtol=0)


def test_wald_degrades_pan_through_its_optics():
    y, x = torch.meshgrid(torch.arange(72), torch.arange(72), indexing="ij")
    stripes = (x % 2).float()[None, None]
    case = FusionCase(
        coarse=torch.rand(1, 3, 24, 24), pan=stripes, optics=Optics(ratio=3, mtf=np.array([[0.3, 0.2]] * 3))
    )
    small = degraded(case)
    # details finer than PAN's coarser pixel are gone, what is coarser has the gain of the optics
    assert (small.pan - 0.5).abs()[..., 2:-2].max() < 1e-3
    wave = torch.cos(torch.pi * (y - 1.0) / 3)[None, None]
    seen = degraded(case.replace(pan=wave)).pan[0, 0, 3:-3, 3:-3]
    torch.testing.assert_close(seen.abs(), torch.full_like(seen, 0.3), atol=2e-3, rtol=0)


def test_wald_lowers_the_noise_that_is_told():
    rng = torch.Generator().manual_seed(0)
    noise = torch.randn((1, 2, 96, 96), generator=rng)
    optics = Optics(ratio=4, mtf=np.array([0.3, 0.2]), noise_variance=np.ones(2), pan_variance=1.0)
    case = FusionCase(coarse=noise, pan=torch.randn((1, 1, 384, 384), generator=rng), optics=optics)
    small = degraded(case)
    for band in range(2):
        inner = small.coarse[0, band, 2:-2, 2:-2]
        assert float(inner.var()) == pytest.approx(small.optics.noise_variance[band], rel=0.25)
    assert float(small.pan.var()) == pytest.approx(small.optics.pan_variance, rel=0.1)


@pytest.mark.parametrize("seed", [2, 3])
def test_few_pixels_are_fused_too(seed):
    case = observed((0.3, 0.3), ratio=6, seed=seed, side=4)
    # 16 pixels tell neither sixteen components' shares of PAN nor how the images are bent
    assert ergas(case, "physics") < 1.1 * min(ergas(case, name) for name in ("EXP", "GSA", "HySURE"))


def test_a_pair_that_is_turned_is_doubted(caplog):
    """By four degrees: more than a field of displacements holds; by none, nothing is said."""
    case = equal_mtfs().replace(findings={})
    fuse_case("physics", case)
    assert "doubt" not in case.findings["registration"]
    assert not caplog.records
    pan = rotate(case.pan[0, 0].double().numpy(), 4, reshape=False, order=3, mode="mirror")
    turned = case.replace(pan=torch.as_tensor(pan[None, None]).float(), findings={})
    fuse_case("physics", turned)
    assert "turned" in turned.findings["registration"]["doubt"]
    assert "PAN and the cube" in caplog.text
    # without PAN the same is said of the guide
    caplog.clear()
    beside = guided(case.coarse, [Guide(image=turned.pan[0])], case.optics)
    fuse_case("physics", beside)
    assert "the guide and the cube" in caplog.text
    assert "of what the guide shows" in caplog.text
    assert "PAN" not in caplog.text


@pytest.mark.parametrize(("axes", "said"), [((-1,), "mirrored left to right"), ((-2,), "upside down"),
                                            ((-1, -2), "180 degrees"), (None, "transposed")])  # fmt: skip
@pytest.mark.parametrize("method", ["physics", "GSA"])
def test_a_pan_in_another_order_is_refused(axes, said, method):
    """Fused all the same, details of other places were in every band."""
    case = equal_mtfs()
    pan = case.pan.mT.contiguous() if axes is None else case.pan.flip(axes)
    mirrored = case.replace(pan=pan, findings={})
    with pytest.raises(InputError, match=f"PAN: found that it looks (turned )?(by )?{said}") as caught:
        fuse_case(method, mirrored)
    assert "\n" not in str(caught.value)


def test_the_order_is_told_by_tiles_too(monkeypatch, caplog):
    """Of a scene that is gone through in tiles with surroundings, not square, coarse pixels taken together."""
    monkeypatch.setattr(same_scene, "SIDE", 20)
    cube = scene((96, 126), wavelength_nm=np.linspace(400, 950, 12), seed=3)
    sensor = preset("prisma").select([2, 12, 22, 32, 42]).replace(ratio=3, offset=None)
    seen = sensor.observe(cube, 1)
    caplog.clear()  # of bands between the scene's few
    for flipped, expected in ((False, None), (True, "mirrored left to right")):
        pan = seen.pan.replace(data=seen.pan.read()[..., ::-1].copy()) if flipped else seen.pan
        large = LargeScene(seen.replace(pan=pan), sensor, halo=4, side=16)
        if expected is None:
            large.sum(lambda tile: tile.coarse.sum())
            assert not caplog.records
            continue
        with pytest.raises(InputError, match=expected):
            large.sum(lambda tile: tile.coarse.sum())


def test_few_bands_are_not_asked_for_all_of_pan(caplog):
    """Of three bands two see what PAN sees no more than each other."""
    rng = np.random.default_rng(0)
    images = np.stack([rng.standard_normal((40, 40)) for _ in range(2)])
    for _ in range(2):
        images = (images + np.roll(images, 1, 1) + np.roll(images, 1, 2)) / 2
    common, own = images
    cube = np.stack([common, common + 0.6 * own, common - 0.3 * own + 0.5 * np.roll(own, 20, 1)]) + 9
    pan = np.kron(cube.mean(0) + 0.2 * np.roll(own, 9, 0), np.ones((3, 3)))
    case = FusionCase(coarse=torch.as_tensor(cube[None]).float(), pan=torch.as_tensor(pan[None, None]).float(),
                      optics=Optics(ratio=3))  # fmt: skip
    fuse_case("physics", case)
    assert "doubt" not in case.findings["registration"]
