"""Values of any size: photons in SI units, counts by the billion, each image in units of its own."""

import dataclasses

import numpy as np
import pytest
import torch

from hsitools.cube import Cube
from hsitools.scenes import scene
from hsitools.sensor import preset
from pansharpen.case import FusionCase, guided
from pansharpen.cubes import fuse
from pansharpen.guide import Guide
from pansharpen.in_memory import fuse_case, posterior_of
from pansharpen.noisy import cube_without_noise
from pansharpen.pair.wald import simulated_case
from pansharpen.registry import METHODS, names

PLAIN = [name for name in names() if not METHODS[name].trained and "net" not in METHODS[name].family]


@pytest.fixture(scope="module")
def case() -> FusionCase:
    """Six bands with noise that is told, coarse pixels of 12×10."""
    sensor = preset("prisma")
    made = simulated_case(scene((36, 30), seed=4), sensor.select(range(0, sensor.n_bands, 40)), ratio=3, seed=1)
    return made.replace(reference=None)


def in_units(case: FusionCase, cube: float, pan: float) -> FusionCase:
    """The case with other units of its cube and PAN, and of what is told of both."""
    of = case.optics
    optics = dataclasses.replace(
        of, noise_variance=of.noise_variance * cube**2, pan_variance=of.pan_variance * pan**2,
        pan_response=of.pan_response * pan / cube,
    )  # fmt: skip
    return case.replace(coarse=case.coarse * cube, pan=case.pan * pan, optics=optics, findings={})


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize(("cube", "pan"), [(1e-20, 1e-20), (1e-30, 1e18)])
def test_results_are_the_same_in_units_of_any_size(name, cube, pan, case):
    """Some failed, SR-D was wrong by .3 of a deviation, Brovey by three, `physics` by .01."""
    expected = fuse_case(name, case)
    found = fuse_case(name, in_units(case, cube, pan))
    difference = found.double() / cube - expected
    assert difference.abs().max() < 2e-3 * expected.std()


def test_error_bars_and_guides_in_units_of_any_size(case):
    response = np.eye(2, 6)
    case = case.replace(coarse=case.coarse[..., :7, :6], pan=case.pan[..., :21, :18])
    image = torch.rand((1, 2, 21, 18), generator=torch.Generator().manual_seed(1)) + case.pan

    def at(cube: float, pan: float, guide: float) -> FusionCase:
        one = Guide(
            image=image * guide, noise_variance=np.full(2, 1e-4) * guide**2, response=response * guide / cube
        )  # fmt: skip
        return in_units(case, cube, pan).replace(guides=(one,))

    expected, found = posterior_of("physics", at(1, 1, 1)), posterior_of("physics", at(1e-20, 1.0, 1e15))
    for right, layer in zip(expected, found, strict=True):
        assert (layer.double() / 1e-20 - right).abs().max() < 5e-3 * right.abs().mean()
    alone = guided(case.coarse, [Guide(image=image)], case.optics)
    tiny = guided(case.coarse, [Guide(image=image * 1e-20)], case.optics)
    right = fuse_case("GSA", alone)
    assert (fuse_case("GSA", tiny) - right).abs().max() < 2e-3 * right.std()


def test_cubes_are_fused_in_units_of_any_size(case):
    """By tiles and as a whole, a band without signal beside, error bars and what noise models make of them."""
    case = case.replace(coarse=case.coarse[..., :8, :7], pan=case.pan[..., :24, :21])
    values = np.concatenate([case.coarse[0].numpy(), case.coarse[0, :1].numpy()])

    def at(factor: float, pan: float) -> Cube:
        return Cube(data=factor * values, good=np.arange(7) < 6, pan=Cube(data=pan * case.pan[0].numpy()))

    for method in ("GSA", "TV"):
        right, found = (fuse(cube, method=method).read() for cube in (at(1, 1), at(1e-20, 1e18)))
        assert np.abs(found.astype(float) / 1e-20 - right).max() < 2e-3 * right.std()
    right, found = (fuse(cube, std=True) for cube in (at(1, 1), at(1e-20, 1e-20)))
    for one, other in zip(right, found, strict=True):
        np.testing.assert_allclose(other.read()[:6].astype(float) / 1e-20, one.read()[:6], rtol=1e-2)
    (clean, std), (small, small_std) = (cube_without_noise(cube, "blind") for cube in (at(1, 1), at(1e-20, 1)))
    np.testing.assert_allclose(small_std / 1e-20, std, rtol=1e-2)
    np.testing.assert_allclose(small.read().astype(float) / 1e-20, clean.read(), atol=1e-3 * values.std())
