"""Laws that every method of the registry keeps; a new method is tested the moment it is registered."""

import dataclasses
import functools

import numpy as np
import pytest
import torch

from hsitools.cube import Cube
from hsitools.errors import InputError
from hsitools.scenes import scene
from hsitools.sensor import preset
from pansharpen.case import FusionCase
from pansharpen.in_memory import fuse_case
from pansharpen.optics import Optics
from pansharpen.pair.wald import simulated_case
from pansharpen.registry import METHODS, names
from pansharpen.tiled import LargeScene, fuse_cube

UNTRAINED = [name for name in names() if not METHODS[name].trained]
#: Zero-shot nets learn on each case: their laws are tested with few steps in test_zero_shot.py.
LAWFUL = [name for name in UNTRAINED if METHODS[name].family != "zero-shot net"]
TILED = [name for name in LAWFUL if METHODS[name].tiled]


@pytest.fixture(scope="module")
def case() -> FusionCase:
    """Twelve bands of a PRISMA-like pair at ratio 3, coarse pixels of 20×16."""
    sensor = preset("prisma")
    return simulated_case(scene((60, 48), seed=4), sensor.select(range(0, sensor.n_bands, 20)), ratio=3, seed=1)


@pytest.fixture(scope="module")
def plain(case):
    """The case fused by a method of a name, once for all laws."""
    return functools.cache(lambda name: fuse_case(name, case))


@pytest.mark.portable
@pytest.mark.parametrize("name", LAWFUL)
def test_shape_determinism_and_input_unchanged(name, case, plain):
    before = case.coarse.clone(), case.pan.clone()
    first, second = plain(name), fuse_case(name, case)
    assert first.shape == case.reference.shape
    assert first.dtype == torch.float32
    # single precision, sums over the image: what threads may change
    assert (first - second).abs().max() <= 1e-4 * first.abs().max()
    assert torch.equal(case.coarse, before[0])
    assert torch.equal(case.pan, before[1])


@pytest.mark.parametrize("name", LAWFUL)
def test_batch_is_loop(name, case, plain):
    other = case.replace(coarse=case.coarse.flip(-1), pan=case.pan.flip(-1) * 1.1, reference=None)
    both = case.replace(
        coarse=torch.cat([case.coarse, other.coarse]), pan=torch.cat([case.pan, other.pan]), reference=None
    )
    together = fuse_case(name, both)
    for number, alone in enumerate((plain(name), fuse_case(name, other))):
        assert (together[number] - alone[0]).abs().max() < 2e-4 * together.abs().max()


@pytest.mark.parametrize("name", LAWFUL)
@pytest.mark.parametrize("level", [0.25, 4000.0])
def test_constant_stays_constant(name, level):
    bands = torch.linspace(0.5, 1.5, 9)[None, :, None, None] * level
    flat = FusionCase(
        coarse=bands.expand(1, 9, 12, 10).contiguous(), pan=torch.full((1, 1, 24, 20), level), optics=Optics(ratio=2)
    )
    out = fuse_case(name, flat)
    assert (out / bands - 1).abs().max() < 1e-3


@pytest.mark.parametrize("name", [name for name in LAWFUL if "net" not in METHODS[name].family])
def test_a_pan_of_one_value_says_nothing_whichever_it_is(name, case, plain):
    """One that float32 holds exactly, and those of which filters leave a contrast of rounding."""
    right = fuse_case(name, case.replace(pan=torch.full_like(case.pan, 0.25), findings={}))
    contrast = case.coarse.std((-2, -1), keepdim=True)
    for level in (0.3, 0.01234, 123.456):
        found = fuse_case(name, case.replace(pan=torch.full_like(case.pan, level), findings={}))
        assert ((found - right) / contrast).abs().max() < 2e-3
    # Brovey brought 1 / intensity: twice the error of interpolation, five times beside zeros
    black = fuse_case(name, case.replace(pan=torch.zeros_like(case.pan), findings={}))
    interpolated, *errors = ((image - case.reference).square().mean() for image in (plain("EXP"), right, black))
    assert max(errors) < 1.001 * interpolated


# Brovey matches nothing: it stands for what users do
@pytest.mark.parametrize("name", [name for name in LAWFUL if name != "Brovey"])
def test_better_than_interpolation(name, case, plain):
    error = [(plain(which) - case.reference)[..., 3:-3, 3:-3].square().mean() for which in (name, "EXP")]
    assert error[0] <= error[1]


@pytest.mark.parametrize("name", LAWFUL)
def test_any_unit_will_do(name, case, plain):
    factor = 2.0**-20
    optics = dataclasses.replace(
        case.optics, noise_variance=case.optics.noise_variance * factor**2,
        pan_variance=case.optics.pan_variance * factor**2,
    )  # fmt: skip
    small = case.replace(coarse=case.coarse * factor, pan=case.pan * factor, optics=optics, reference=None)
    small = small if case.expanded is None else small.replace(expanded=case.expanded * factor)
    whole = plain(name)
    assert (fuse_case(name, small) / factor - whole).abs().max() <= 1e-3 * whole.std()


@pytest.mark.parametrize("name", [name for name in LAWFUL if METHODS[name].consistent])
def test_consistent(name, case, plain):
    out = plain(name)
    seen = case.tile.down()(out)[..., 2:-2, 2:-2]
    given = case.coarse[..., 2:-2, 2:-2]
    spread = given.std((-2, -1), keepdim=True)
    smooth = case.tile.down()(plain("EXP"))[..., 2:-2, 2:-2]
    assert ((seen - given) / spread).square().mean().sqrt() < 0.1
    assert (seen - given).square().mean() < (smooth - given).square().mean()


@pytest.mark.parametrize("name", LAWFUL)
@pytest.mark.parametrize(("ratio", "offset"), [(2, 0.0), (3, None), (5, 2.0)])
def test_any_ratio_and_few_bands(name, ratio, offset):
    rng = torch.Generator().manual_seed(0)
    coarse = torch.rand((1, 3, 12, 11), generator=rng) + 1
    pan = torch.rand((1, 1, 12 * ratio, 11 * ratio), generator=rng) + 1
    for bands in (1, 3):
        out = fuse_case(name, FusionCase(coarse=coarse[:, :bands], pan=pan, optics=Optics(ratio=ratio, offset=offset)))
        assert out.shape == (1, bands, 12 * ratio, 11 * ratio)
        assert torch.isfinite(out).all()


@pytest.mark.parametrize("name", LAWFUL)
def test_dark_and_negative_values(name, case):
    """Water: bands at and below zero over part of the scene, noise around it."""
    coarse = case.coarse.clone()
    coarse[:, -3:, :, :6] = 1e-3 * torch.randn((1, 3, coarse.shape[2], 6), generator=torch.Generator().manual_seed(0))
    out = fuse_case(name, case.replace(coarse=coarse, reference=None))
    assert out.abs().max() < 5 * case.coarse.abs().max()


@pytest.mark.parametrize("name", LAWFUL)
def test_nodata_and_bad_bands_are_marked(name, case, plain):
    coarse, pan = case.coarse.clone(), case.pan.clone()
    coarse[:, 3] = 0
    coarse[:, 5] = torch.nan
    coarse[..., :4, :3] = torch.nan
    pan[..., -5:, -4:] = torch.nan
    holes = fuse_case(name, case.replace(coarse=coarse, pan=pan, reference=None))
    lost = torch.zeros(case.pan.shape[-2:], dtype=torch.bool)
    lost[:12, :9] = True
    lost[-5:, -4:] = True
    live = [band for band in range(case.n_bands) if band not in (3, 5)]
    for band in live:
        assert torch.equal(torch.isnan(holes[0, band]), lost)
    assert torch.isnan(holes[0, 5]).all()
    assert (holes[0, 3][~lost] == 0).all()
    # what is far from the holes hardly changes; statistics have fewer pixels
    whole = plain(name)
    difference = (holes - whole)[0, live][:, 30:48, 24:36].abs()
    assert difference.mean() < 0.15 * whole[0, live].std()


@pytest.fixture(scope="module")
def wide_case() -> FusionCase:
    """A few of PRISMA's bands over 64×48 coarse pixels: four tiles, of two sizes."""
    sensor = preset("prisma")
    return simulated_case(scene((192, 144), seed=2), sensor.select(range(0, sensor.n_bands, 40)), ratio=3, seed=1)


@pytest.mark.parametrize("name", TILED)
@pytest.mark.parametrize("holes", [False, True])
def test_tiled_is_whole(name, holes, wide_case):
    picked = wide_case
    if holes:
        coarse, pan = picked.coarse.clone(), picked.pan.clone()
        coarse[..., 20:24, 30:33] = torch.nan
        pan[..., 150:160, 20:31] = torch.nan
        picked = picked.replace(coarse=coarse, pan=pan)
    expected = fuse_case(name, picked)[0].numpy()
    optics = picked.optics
    cube = Cube(data=picked.coarse[0].numpy(), wavelength_nm=optics.wavelength_nm, pan=Cube(data=picked.pan[0].numpy()))
    tiles = LargeScene(cube, halo=METHODS[name].halo_at(optics.ratio), optics=optics, side=32)
    assert len(tiles.windows) == 4
    # as where there are two threads
    tiles.at_once = 2
    source = METHODS[name].function(tiles)
    found = source.read(np.arange(cube.n_bands), slice(0, 192), slice(0, 144))
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    assert np.nanmax(np.abs(found - expected)) <= 1e-5 * np.nanmax(np.abs(expected))


def test_labels_survive():
    view = scene((36, 24), seed=0)
    observed = preset("prisma").observe(view.replace(crs="EPSG:32633", transform=(5, 0, 100, 0, -5, 900)))
    observed = observed.replace(good=np.arange(observed.n_bands) != 7)
    for name in ("GSA", "physics"):
        fused = fuse_cube(observed, name)
        assert fused.shape == (observed.n_bands, 36, 24)
        np.testing.assert_array_equal(fused.wavelength_nm, observed.wavelength_nm)
        np.testing.assert_array_equal(fused.good, observed.good)
        assert fused.crs == "EPSG:32633"
        assert fused.transform == (5, 0, 100, 0, -5, 900)
        assert fused.pan is None
        assert np.isfinite(fused.read()).all()


def test_errors_name_what_is_wrong(case):
    with pytest.raises(InputError, match="method: found 'GSAA'; did you mean 'GSA'"):
        fuse_case("GSAA", case)
    with pytest.raises(InputError, match=r"pan: found shape \(1, 1, 59, 48\), expected \(1, 1, 60, 48\)"):
        dataclasses.replace(case, pan=case.pan[..., 1:, :])
    with pytest.raises(InputError, match="no band with signal"):
        fuse_case("GSA", case.replace(coarse=case.coarse * 0, reference=None))
    with pytest.raises(InputError, match="no pixel valid"):
        fuse_case("GSA", case.replace(pan=case.pan * torch.nan))
    with pytest.raises(InputError, match="pan: missing"):
        fuse_cube(scene((12, 12)), "GSA")
