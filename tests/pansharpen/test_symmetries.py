"""Laws of every method: order of the bands and directions of the axes mean nothing; bands that PAN tells come back."""

import dataclasses
import functools

import cloudpickle
import numpy as np
import pytest
import torch

from hsitools.cube import Cube
from hsitools.scenes import scene
from hsitools.sensor import Sensor, preset
from pansharpen.case import FusionCase
from pansharpen.cubes import fuse
from pansharpen.in_memory import fuse_case, select_bands
from pansharpen.optics import Optics
from pansharpen.pair.wald import simulated_case
from pansharpen.registry import METHODS, names
from pansharpen.tiled import fuse_pair

#: See test_laws.
LAWFUL = [name for name in names() if not METHODS[name].trained and METHODS[name].family != "zero-shot net"]


@pytest.fixture(scope="module")
def case() -> FusionCase:
    """Six bands of which no two are alike to the optics, along no two axes, and a cube that lies beside PAN's grid."""
    sensor = preset("prisma")
    sensor = sensor.select([0, 9, 18, 27, 60, 150])
    mtf = np.stack([np.linspace(0.25, 0.4, sensor.n_bands), np.linspace(0.35, 0.2, sensor.n_bands)], 1)
    made = simulated_case(scene((48, 36), seed=4), sensor.replace(mtf=mtf), ratio=3, seed=1)
    optics = dataclasses.replace(made.optics, shift=(0.25, -0.4))
    aside = made.replace(optics=optics).tile.down()(made.reference)
    coarse, pan = made.coarse - made.tile.down()(made.reference) + aside, made.pan.clone()
    # holes of one band, of all, and of PAN
    coarse[0, 2, 3, 7] = coarse[0, :, 10, 2] = pan[0, 0, 30:32, 20] = torch.nan
    return made.replace(coarse=coarse, pan=pan, optics=optics, reference=None)


@pytest.fixture(scope="module")
def plain(case):
    """The case fused by a method of a name, once for all laws."""
    return functools.cache(lambda name: fuse_case(name, case))


def assert_alike(found, expected):
    assert torch.equal(torch.isnan(found), torch.isnan(expected))
    found, expected = (torch.nan_to_num(image).double() for image in (found, expected))
    spread = expected.flatten(2).std(2)[..., None, None]
    error = ((found - expected) / spread).abs()
    # an atom or an edge may tip the other way by rounding
    assert error.mean() < 2e-4
    assert error.max() < 0.03


@pytest.mark.parametrize("name", LAWFUL)
def test_bands_in_the_other_order_of_which_no_wavelength_tells(name, case, plain):
    """The same neighbours, whatever end they are counted from."""
    bare = case.replace(optics=dataclasses.replace(case.optics, wavelength_nm=None), findings={})
    back = np.arange(case.n_bands)[::-1].copy()
    assert_alike(fuse_case(name, select_bands(bare, back)), fuse_case(name, bare)[:, back])


#: As a file of two detectors has them, one after the other.
MIXED = np.array([3, 5, 0, 4, 1, 2])


@pytest.mark.parametrize("name", LAWFUL)
def test_bands_in_any_order_with_their_wavelengths(name, case, plain):
    assert_alike(fuse_case(name, select_bands(case, MIXED).replace(findings={})), plain(name)[:, MIXED])


@pytest.fixture(scope="module")
def pair() -> tuple[Cube, Sensor]:
    """A cube of 24 bands, one of them bad and one without signal, with PAN; and its sensor, of one MTF a band."""
    sensor = preset("prisma")
    sensor = sensor.select(range(0, 72, 3))
    sensor = sensor.replace(mtf=np.stack([np.linspace(0.25, 0.4, 24), np.linspace(0.35, 0.2, 24)], 1))
    made = sensor.observe(scene((84, 72), seed=4), np.random.default_rng(2))
    values, good = made.read().copy(), np.arange(24) != 7
    values[11], values[2, 3, 7] = 0, np.nan
    return made.replace(data=values, good=good), sensor


@pytest.mark.parametrize("name", [name for name in LAWFUL if METHODS[name].tiled])
def test_bands_of_a_file_in_any_order_come_back_in_it(name, pair):
    """What is read tile by tile, by another process too, of some bands, and with error bars where there are any."""
    cube, sensor = pair
    order = np.random.default_rng(1).permutation(cube.n_bands)
    std = METHODS[name].has_std
    first, second = (
        fuse_pair(seen, name, sensor, std=std, cube_std=0.01 * np.arange(1.0, 25.0)[bands] if std else None)
        for seen, bands in ((cube, np.arange(24)), (cube.select(bands=order), order))
    )
    for expected, found in zip(first, second, strict=True):
        if expected is None:
            continue
        assert np.array_equal(found.good, expected.good[order])
        np.testing.assert_allclose(found.wavelength_nm, expected.wavelength_nm[order])
        right = expected.read()[order]
        sent = found.replace(data=cloudpickle.loads(cloudpickle.dumps(found.data)))  # as workers have it
        np.testing.assert_allclose(sent.read(), right, rtol=1e-5, atol=1e-6 * np.nanmax(right))
        some = np.array([20, 3, 17])
        part = found.read(bands=some, rows=slice(5, 40))
        # float32 sums of values up to the largest, in parts of other sizes
        np.testing.assert_allclose(part, right[some, 5:40], rtol=1e-5, atol=1e-6 * np.nanmax(right))


@pytest.mark.parametrize("name", ["GSA", "physics"])
def test_a_cube_without_noise_has_its_bands_where_they_were(name, pair):
    cube, _ = pair
    order = np.random.default_rng(1).permutation(cube.n_bands)
    right, found = (fuse(seen, method=name, noise="blind").read() for seen in (cube, cube.select(bands=order)))
    np.testing.assert_allclose(found, right[order], rtol=1e-5)


@pytest.mark.parametrize("name", LAWFUL)
def test_a_scene_on_its_side(name, case, plain):
    # steps to the next pixel, as of the papers' total variation, are others seen from the end
    mirrored = [] if name in ("HySURE", "TV") else [-1]
    images = {which: getattr(case, which).mT.flip(mirrored) for which in ("coarse", "pan")}
    y, x = case.optics.shift
    optics = dataclasses.replace(case.optics, shift=(x, -y if mirrored else y), mtf=case.optics.mtf[:, ::-1])
    assert_alike(fuse_case(name, case.replace(optics=optics, **images)), plain(name).mT.flip(mirrored))


#: Of the details that interpolation lacks, what a method may lack where every band is a line of PAN. The first four
#: take other filters than the optics for PAN's details; Brovey matches no levels.
MAY_LACK = {"PRACS": 0.1, "AWLP": 0.1, "MF": 0.35, "SFIM-HS": 0.65, "CNMF": 0.65}


@pytest.fixture(scope="module")
def lines() -> tuple[FusionCase, torch.Tensor]:
    """Bands with a gain and an offset each to PAN, of other units, without noise; and the details beyond EXP."""
    pan = 7 * torch.as_tensor(scene((48, 36), seed=4).read()[30:31])[None].double() + 0.5
    gain, offset = torch.tensor([[0.07, 0.3, 0.15, 0.45], [1.0, 0.3, 0.0, -0.02]]).double()[..., None, None]
    optics = Optics(ratio=3, mtf=np.array([[0.3, 0.2]]), offset=0.5, shift=(0.25, -0.4))
    truth = gain * pan + offset
    made = FusionCase(coarse=torch.zeros(1, 4, 16, 12), pan=pan, optics=optics)
    made = made.replace(coarse=made.tile.down()(truth).float(), pan=pan.float(), reference=truth)
    return made, lacking(made, "EXP")


def lacking(case, name):
    return (fuse_case(name, case) - case.reference)[..., 6:-6, 6:-6].square().mean((0, 2, 3)).sqrt()


@pytest.mark.parametrize("name", [name for name in LAWFUL if name not in ("EXP", "Brovey")])
def test_bands_that_are_lines_of_pan_come_back(name, lines):
    case, details = lines
    share = lacking(case, name) / details
    assert (share <= MAY_LACK.get(name, 0.005)).all()
    # what another filter leaves is the same share of every band's details, whatever their size and level
    if name != "CNMF":
        assert share.max() <= 1.03 * share.min() + 0.005
