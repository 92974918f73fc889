"""Fusion of a pair beyond whose edge the cube's file holds a spectrum instead of nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hsitools import Cube, preset, scene
from pansharpen import fuse
from pansharpen.in_memory import fuse_case
from pansharpen.pair.wald import real_case, simulated_case

SENSOR = preset("prisma").select(range(0, 60, 6))


def beyond(shape: tuple[int, int]) -> np.ndarray:
    """A turned scene's corner."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.asarray(y + x < min(shape) * 0.7)


@pytest.fixture(scope="module")
def pair() -> Cube:
    """A cube with PAN, as the sensor sees it."""
    return SENSOR.replace(ratio=3, offset=None).observe(scene((96, 96), seed=5), 2)


def filled(pair: Cube, fill: float) -> Cube:
    """The pair with a spectrum, or NaN, beyond its edge."""
    values = pair.read().copy()
    corner = beyond(values.shape[1:])
    values[:, corner] = (fill * (1 + np.arange(len(values))))[:, None]
    return pair.replace(data=values)


@pytest.mark.parametrize("method", ["physics", "GSA", "MTF-GLP-FS"])
@pytest.mark.parametrize("fill", [0.0, -0.02])
def test_it_is_fused_as_if_nothing_had_been_there(pair: Cube, method: str, fill: float) -> None:
    expected = fuse(filled(pair, np.nan), method=method).read()
    seen = fuse(filled(pair, fill), method=method).read()
    assert np.isnan(seen).any()
    np.testing.assert_array_equal(np.isnan(seen), np.isnan(expected))
    np.testing.assert_allclose(seen, expected, rtol=1e-5, atol=1e-6)


def test_a_case_in_memory_is_no_other(pair: Cube) -> None:
    case = real_case(pair, SENSOR.replace(ratio=3, offset=None))
    corner = torch.as_tensor(beyond(tuple(case.coarse.shape[-2:])))
    zeros, holes = case.coarse.clone(), case.coarse.clone()
    zeros[:, :, corner], holes[:, :, corner] = 0, torch.nan
    seen, expected = (fuse_case("GSA", case.replace(coarse=coarse)) for coarse in (zeros, holes))
    np.testing.assert_allclose(seen, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("reduced", [False, True])
def test_a_comparison_does_not_judge_it(pair: Cube, reduced: bool) -> None:
    case = real_case(filled(pair, -0.02), SENSOR.replace(ratio=3, offset=None), reduced=reduced)
    assert torch.isnan(case.reference if case.reference is not None else case.coarse)[0, :, 0, 0].all()
    whole = scene((72, 72), seed=1)
    values = whole.read().copy()
    values[:, beyond((72, 72))] = -0.1
    simulated = simulated_case(whole.replace(data=values), SENSOR, seed=0)
    assert simulated.reference is not None
    missing = torch.isnan(simulated.reference[0]).all(0).numpy()
    np.testing.assert_array_equal(missing, beyond((72, 72)))


def sharp_filled(pair: Cube, fill: float) -> Cube:
    """The pair whose PAN has a value, or NaN, beyond its edge and along its last columns."""
    assert pair.pan is not None
    values = pair.pan.read().copy()
    values[:, beyond(values.shape[1:])], values[..., -4:] = fill, fill
    return pair.replace(pan=pair.pan.replace(data=values))


@pytest.mark.parametrize("method", ["physics", "GSA"])
def test_so_is_a_pan_beyond_whose_edge_its_file_holds_a_value(pair: Cube, method: str) -> None:
    expected = fuse(sharp_filled(pair, np.nan), method=method).read()
    seen = fuse(sharp_filled(pair, 0.0), method=method).read()
    assert np.isnan(seen[:, 0, 0]).all()
    assert np.isnan(seen[..., -4:]).all()
    np.testing.assert_allclose(seen, expected, rtol=1e-5, atol=1e-6)


def test_so_is_a_guide(pair: Cube) -> None:
    assert pair.pan is not None
    rng = np.random.default_rng(0)
    values = pair.pan.read() * np.array([0.8, 1.0, 1.3])[:, None, None] + 0.001 * rng.standard_normal((3, 96, 96))
    corner = beyond((96, 96))
    holes, zeros = (np.where(corner, fill, values).astype("f4") for fill in (np.nan, 0))
    alone = pair.replace(pan=None)
    expected, seen = (fuse(alone, guide=Cube(data=image), method="GSA").read() for image in (holes, zeros))
    assert np.isnan(seen[:, 0, 0]).all()
    np.testing.assert_allclose(seen, expected, rtol=1e-5, atol=1e-6)


def test_so_are_a_case_s_sharp_images(pair: Cube) -> None:
    case = real_case(pair, SENSOR.replace(ratio=3, offset=None))
    zeros, holes = case.pan.clone(), case.pan.clone()
    zeros[..., :20, :30], holes[..., :20, :30] = 0, torch.nan
    seen, expected = (fuse_case("GSA", case.replace(pan=pan)) for pan in (zeros, holes))
    np.testing.assert_allclose(seen, expected, rtol=1e-5, atol=1e-6)
