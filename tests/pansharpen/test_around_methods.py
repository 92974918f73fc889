"""What is done around a method: bands that it does not see, a noise model's answer, a doubt about error bars."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hsitools.cube import Cube
from pansharpen import noisy
from pansharpen.case import FusionCase
from pansharpen.guide import Guide
from pansharpen.in_memory import fuse_case, live_bands, options_for, select_bands
from pansharpen.optics import Optics
from pansharpen.products import FusionOrder, _doubt_of_std
from pansharpen.registry import METHODS
from pansharpen.tiled import LargeScene


def images(bands=4, seed=0):
    rng = np.random.default_rng(seed)
    return torch.as_tensor(1 + rng.random((2, bands, 8, 9))), torch.as_tensor(1 + rng.random((2, 1, 24, 27)))


def test_bands_without_signal_go_around_the_method():
    coarse, pan = images()
    coarse[:, 1], coarse[1, 3] = 0, torch.nan
    case = FusionCase(coarse=coarse, pan=pan, optics=Optics(ratio=3))
    # of a batch a band must live in every cube
    assert live_bands(coarse).tolist() == [True, False, True, False]
    fused = fuse_case("GSA", case)
    torch.testing.assert_close(fused[:, [0, 2]], fuse_case("GSA", select_bands(case, np.array([0, 2]))))
    assert (fused[:, 1] == 0).all()
    torch.testing.assert_close(fused[0, 3], case.tile.up()(coarse[:1, 3:])[0, 0])
    assert options_for(METHODS["PRACS"], {"beta": 0.5, "seed": 1, "weights": None}) == {"beta": 0.5}


def test_some_bands_of_a_case_with_all_that_is_told_of_them():
    coarse, pan = images()
    optics = Optics(ratio=3, mtf=np.array([0.1, 0.2, 0.3, 0.4]), wavelength_nm=np.arange(4.0), pan_variance=5.0)
    rows = np.array([[0.25, 0.25, 0.25, 0.25], [0, 0, 1.0, 0]])
    guide = Guide(image=torch.ones(2, 2, 24, 27), response=rows)
    case = FusionCase(coarse=coarse, pan=pan, optics=optics, guides=(guide,), valid=coarse > 1.5)
    for keep in (np.array([3, 0]), torch.tensor([True, False, False, True])):
        numbers = [3, 0] if isinstance(keep, np.ndarray) else [0, 3]
        some = select_bands(case, keep)
        assert torch.equal(some.coarse, coarse[:, numbers])
        assert torch.equal(some.valid, case.valid[:, numbers])
        assert some.optics.mtf.tolist() == [[0.1, 0.2, 0.3, 0.4][number] for number in numbers]
        assert some.optics.wavelength_nm.tolist() == numbers
        assert some.optics.pan_variance == 5.0
        np.testing.assert_allclose(some.guides[0].response[0], [0.5, 0.5])
        assert np.isnan(some.guides[0].response[1]).all()
    (first, second) = case.singles()
    assert torch.equal(second.coarse, coarse[1:])
    assert torch.equal(second.valid, case.valid[1:])
    assert torch.equal(first.pan, pan[:1])


def test_a_noise_models_answer_takes_the_cubes_place(monkeypatch):
    """Of each cube of a batch by itself; lost voxels stay lost, and what errors are left is told of the mean."""
    coarse, pan = images()
    coarse[:, 1], coarse[0, 2, 3, 4] = 0, torch.nan
    asked = []

    def look(values, sharp):
        asked.append((values, sharp))
        return SimpleNamespace(values=2 * np.nan_to_num(values), variance=np.array([1.0, 4, 9]) * len(asked))

    monkeypatch.setattr(noisy, "observer", lambda name: look)
    case = FusionCase(
        coarse=coarse, pan=pan, optics=Optics(ratio=3, noise_variance=np.ones(4)), expanded=torch.zeros(2, 4, 24, 27),
        guides=(Guide(image=torch.cat([pan**2, pan.flip(-1)], 1)),),
    )  # fmt: skip
    clean = noisy.without_noise(case, "any")
    expected = 2 * coarse
    torch.testing.assert_close(clean.coarse, expected, equal_nan=True)
    np.testing.assert_allclose(clean.optics.error_variance, [1.5, 0, 6, 13.5])
    np.testing.assert_allclose(clean.optics.noise_variance, clean.optics.error_variance)
    assert clean.expanded is None
    assert [values.shape for values, _ in asked] == [(3, 8, 9)] * 2
    # PAN and each channel, as the cube's optics see them
    down = case.tile.down(0.3)
    for number, (_, sharp) in enumerate(asked):
        seen = torch.cat([down(pan), down(pan**2), down(pan.flip(-1))], 1)[number]
        np.testing.assert_allclose(sharp, seen, rtol=1e-6)


def test_a_cube_of_values_is_no_cube_of_error_bars():
    rng = np.random.default_rng(1)
    cube = Cube(data=np.stack([10 + 2 * rng.standard_normal((20, 20)), 3 + rng.standard_normal((20, 20)),
                               np.full((20, 20), np.nan)]))  # fmt: skip
    order = FusionOrder(method="physics", cube_std=Path("std.h5"))
    level = np.sqrt(np.mean(np.square(np.nan_to_num(cube.data)), (1, 2)))
    assert _doubt_of_std(order, np.array([0.45, 0.45, 1e9]) * np.where(level > 0, level, 1), cube) == {}
    doubt = _doubt_of_std(order, np.array([0.7, 0.9, 0.0]) * level, cube)["warning"]
    assert "found 0.8 times the cube's own values in the median band" in doubt
    assert _doubt_of_std(FusionOrder(method="physics"), 9 * level, cube) == {}


@pytest.mark.parametrize("side", [4, 20])
def test_sums_over_tiles_are_those_of_the_whole(side):
    coarse, pan = images(seed=2)
    cube = Cube(data=coarse[0].numpy(), pan=Cube(data=pan[0].numpy()))
    scene = LargeScene(cube, halo=8, optics=Optics(ratio=3), side=side)
    whole = LargeScene(cube, halo=0, optics=Optics(ratio=3), side=20).case()
    for function in (
        lambda tile: tile.coarse.sum((2, 3)), lambda tile: (tile.pan.sum(), tile.expanded.square().sum()),
    ):  # fmt: skip
        found, expected = scene.sum(function), whole.sum(function)
        for one, two in zip(found, expected, strict=True):
            torch.testing.assert_close(one.double(), two.double(), rtol=1e-5, atol=1e-3)
    source = scene.map(lambda tile: tile.expanded)
    expected = whole.tile.expanded[0].numpy()
    np.testing.assert_allclose(source.read(np.arange(4), slice(0, 24), slice(0, 27)), expected, rtol=1e-5)
    np.testing.assert_allclose(source.read(np.array([2, 0]), slice(5, 19), slice(11, 26)),
                               expected[[2, 0], 5:19, 11:26], rtol=1e-5)  # fmt: skip
