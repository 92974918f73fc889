"""Noisy, striped cubes and PAN jointly: less error than as it is, told by the error bars."""

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from denoise.separation.spikes import spikes
from hsitools.cube import Cube
from hsitools.errors import InputError
from hsitools.estimation.observed import Observed
from hsitools.io import open_cube, save_cube
from hsitools.scenes import scene
from hsitools.sensor import preset
from pansharpen import fuse
from pansharpen.commands.pansharpen import pansharpen
from pansharpen.in_memory import fuse_case, posterior_of
from pansharpen.noisy import cube_without_noise, without_noise
from pansharpen.pair.wald import simulated_case

SCENE = scene((96, 96), seed=4)
SENSOR = preset("prisma").select(range(0, 60, 6)).replace(ratio=4, offset=None)


@pytest.fixture(scope="module")
def striped():
    """A cube of 20 dB with stripes and a few impulses, and where these are."""
    case = simulated_case(SCENE, SENSOR, noise=False)
    clean, random = case.coarse[0].numpy(), np.random.default_rng(1)
    sigma = 0.1 * np.sqrt((clean**2).mean((1, 2), keepdims=True))
    offset = 2 * sigma * random.standard_normal((len(clean), 1, 24)) * (random.random(24) < 0.3)
    impulse = random.random(clean.shape) < 0.003
    values = clean + offset + sigma * random.standard_normal(clean.shape)
    values = np.where(impulse, 1.5 * clean.max((1, 2), keepdims=True), values).astype(np.float32)
    return case.replace(coarse=torch.as_tensor(values)[None]), impulse


def error(fused, case):
    return float((fused - case.reference)[..., 4:-4, 4:-4].square().mean().sqrt())


def test_jointly_is_better_than_as_it_is_and_its_error_bars_hold(striped):
    case, _ = striped
    plain = error(fuse_case("physics", case), case)
    joint = without_noise(case, "blind")
    estimate, std = posterior_of("physics", joint)
    # .83; a cube denoised first is 7 % better than as it is, and one that is taken as exact 3 % worse
    assert error(estimate, case) < 0.9 * plain
    share = float(((estimate - case.reference).abs() < 1.96 * std).float().mean())
    assert 0.88 < share < 0.995
    # what is left in the cube is in the error bars: of bands in which it is all, nothing else is
    told = torch.as_tensor(joint.optics.error_variance).float()
    assert bool((std.square().mean((0, 2, 3)) > told).all())


def test_impulses_are_found_and_what_only_one_band_sees_is_none(striped):
    case, impulse = striped
    values = case.coarse[0].numpy().copy()
    # a roof that one band sees
    values[3, 10:12, 10:12] += 3 * values[3].max()
    impulse = impulse.copy()
    impulse[3, 9:13, 9:13] = False
    hit = spikes(values, np.ones(values.shape, bool))
    assert hit[impulse].mean() > 0.7
    assert not hit[~impulse].any()


def test_pixels_without_a_measurement_stay_and_names_are_checked(striped):
    case, _ = striped
    coarse = case.coarse.clone()
    coarse[:, :, 3, 5] = torch.nan
    coarse[:, 2, 8, 8] = torch.nan
    coarse[:, 7] = 0
    clean = without_noise(case.replace(coarse=coarse), "blind")
    assert torch.equal(torch.isfinite(clean.coarse), torch.isfinite(coarse))
    assert not clean.coarse[:, 7].nan_to_num().any()
    assert clean.optics.error_variance[7] == 0 < clean.optics.error_variance[2]
    with pytest.raises(InputError, match="noise: found 'blnd'; did you mean 'blind'"):
        without_noise(case, "blnd")


def test_errors_that_are_left_are_told_as_deviations(monkeypatch):
    def seen(values, sharp):
        return Observed(values=values, variance=np.full(len(values), 0.04), mask=np.zeros(values.shape, bool))

    monkeypatch.setattr("pansharpen.noisy.observer", lambda name: seen)
    rng = np.random.default_rng(0)
    pan = Cube(data=rng.random((1, 24, 24)).astype(np.float32))
    cube = Cube(data=rng.random((5, 6, 6)).astype(np.float32), pan=pan)
    np.testing.assert_allclose(cube_without_noise(cube, "blind")[1], 0.2, rtol=1e-9)


def test_run_takes_a_noise_model_or_the_errors_of_a_denoised_cube(striped, tmp_path):
    case, _ = striped
    cube = SENSOR.observe(SCENE, np.random.default_rng(0))
    cube = cube.replace(data=case.coarse[0].numpy())
    save_cube(cube, tmp_path / "noisy.h5")
    run, out = ["run", "physics", str(tmp_path / "noisy.h5"), "-o", str(tmp_path / "fused.h5")], tmp_path / "fused.h5"

    def done(*more):
        result = CliRunner().invoke(pansharpen, [*run, *more])
        assert result.exit_code == 0, result.output + str(result.exception)
        return result.output

    done("--noise", "blind")
    joint = open_cube(out).read()
    assert open_cube(out).meta["noise"] == "blind"
    np.testing.assert_allclose(fuse(cube, noise="blind").read(), joint, rtol=1e-5, atol=1e-6)
    assert not np.allclose(fuse(cube).read(), joint, rtol=1e-2)
    # what is told of the cube's errors comes to the error bars, and changes nothing else
    save_cube(cube.replace(data=np.full(cube.shape, 0.5, np.float32), pan=None), tmp_path / "std.h5")
    shape = cube.shape
    for wrong, words in (
        ((shape[0], shape[1] * 2, shape[2]), f"found {shape[0]}×{2 * shape[1]}×{shape[2]}, expected {shape[0]}×"),
        (shape, "found a place 3 pixels off"),
    ):
        moved = None if wrong != shape else (0.5, 0, 9.0, 0, -0.5, 1.5)
        save_cube(cube.replace(transform=(0.5, 0, 9.0, 0, -0.5, 3.0)), tmp_path / "noisy.h5")
        save_cube(Cube(data=np.ones(wrong, np.float32), transform=moved), tmp_path / "wrong.h5")
        result = CliRunner().invoke(pansharpen, [*run, "--std", "--cube-std", str(tmp_path / "wrong.h5")])
        assert words in str(result.exception)
    save_cube(cube, tmp_path / "noisy.h5")
    said = done("--std", "--cube-std", str(tmp_path / "std.h5"))
    assert "times the cube's own values in the median band, expected standard deviations" in said
    told = open_cube(tmp_path / "fused_std.h5").read()
    assert told.min() >= 0.5
    for more in (["--noise", "blind"], []):
        result = CliRunner().invoke(pansharpen, [*run, *more, "--cube-std", str(tmp_path / "std.h5")])
        assert isinstance(result.exception, InputError)
        assert "--cube-std" in str(result.exception)
