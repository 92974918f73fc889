"""Where tensors are computed: names, what is not there, and that results do not depend on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from hsitools import Cube, save_cube
from hsitools.commands.root import hsi
from hsitools.devices import device_named
from hsitools.errors import InputError
from hsitools.metrics import evaluate
from hsitools.scenes import scene
from hsitools.sensor import preset
from pansharpen import fuse

GPU = pytest.mark.gpu


def test_names() -> None:
    assert device_named("cpu") == torch.device("cpu")
    assert device_named("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for wrong in ("cuda:99", "tpu", ""):
        with pytest.raises(InputError, match=f"device: found {wrong!r}, expected auto, cpu or a GPU"):
            device_named(wrong)


COMMANDS = {
    "metrics": ["metrics", "a.h5", "b.h5"],
    "pansharpen run": ["pansharpen", "run", "GSA", "a.h5", "-o", "o.h5"],
    "pansharpen benchmark": ["pansharpen", "benchmark", "--scenes", "a.h5", "--methods", "EXP", "-o", "o.h5"],
    "denoise run": ["denoise", "run", "a.h5", "-o", "o.h5"],
    "denoise run, without nets": ["denoise", "run", "a.h5", "--method", "lowrank", "-o", "o.h5"],
    "denoise benchmark": ["denoise", "benchmark", "--scenes", "a.h5", "--methods", "lowrank", "-o", "o.h5"],
    "simulate": ["simulate", "--sensor", "s.h5", "-o", "o.h5"],
    "calibrate --per-pixel": ["calibrate", "stack.h5", "--per-pixel", "--out", "o.h5"],
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    """Two cubes with PAN, and a sensor."""
    folder = tmp_path_factory.mktemp("inputs")
    sensor = preset("prisma").select(range(0, 60, 12))
    seen = sensor.observe(scene((48, 48), seed=1), np.random.default_rng(0))
    for name in ("a.h5", "b.h5"):
        save_cube(seen, folder / name)
    sensor.save(folder / "s.h5")
    return folder


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_commands_say_what_is_not_there(command: list[str], inputs: Path, monkeypatch) -> None:
    """One line, and nothing is written."""
    monkeypatch.chdir(inputs)
    done = CliRunner().invoke(hsi, [*command, "--device", "cuda:99"])
    assert isinstance(done.exception, InputError)
    assert str(done.exception).startswith("device: found 'cuda:99'")
    assert sorted(path.name for path in inputs.iterdir()) == ["a.h5", "b.h5", "s.h5"]


def test_a_benchmark_keeps_what_auto_was(tmp_path) -> None:
    from denoise.comparison.benchmark import Benchmark

    save_cube(Cube(data=torch.rand(3, 8, 8).numpy()), tmp_path / "a.h5")
    made = Benchmark.create(tmp_path / "out", scenes=[tmp_path / "a.h5"], methods=["lowrank"], device="auto")
    assert made.settings.device == ("cuda" if torch.cuda.is_available() else "cpu")


def noisy_cube(side: int, step: int) -> np.ndarray:
    """Stripes, impulses and noise on a small scene."""
    rng = np.random.default_rng(0)
    values = scene((side, side), seed=3).read()[::step].astype(np.float32)
    values = values + 0.02 * rng.standard_normal(values.shape) + 0.02 * rng.standard_normal((len(values), 1, side))
    return np.where(rng.random(values.shape) < 0.01, 1.5, values).astype(np.float32)


def test_nets_of_the_denoiser_go_where_they_are_told(monkeypatch) -> None:
    """To a device that computes nothing: it says so when numbers are asked back, of the one net and of the other."""
    from denoise.learning import outlier_net
    from denoise.restore import restore
    from denoise.separation import estimate

    values = noisy_cube(24, 60)
    with pytest.raises(NotImplementedError, match="meta"):
        restore(values, "diffusion", device="meta")
    assert outlier_net._load(None, "meta").leave.weight.device.type == "meta"
    told = []

    def no_net(*arrays, device):
        told.append(device)
        return arrays[-1].astype(np.float32)

    monkeypatch.setattr(estimate, "outlier_probability", no_net)
    with pytest.raises(NotImplementedError, match="meta"):
        restore(values, "diffusion", device="meta")
    assert told == ["meta"]


@GPU
@pytest.mark.parametrize("method", ["GSA", "MTF-GLP-FS", "TV", "HySURE", "physics"])
def test_fusion_agrees(method: str) -> None:
    sensor = preset("prisma").select(range(0, 60, 6))
    seen = sensor.observe(scene((192, 192), seed=1), np.random.default_rng(2))
    there, here = (fuse(seen, method=method, sensor=sensor, device=place).read() for place in ("cuda", "cpu"))
    assert np.abs(there - here).max() < 2e-5 * np.ptp(here)


@GPU
def test_indices_agree() -> None:
    truth = torch.rand(20, 96, 96, generator=torch.Generator().manual_seed(0))
    estimate = truth + 0.01 * torch.rand(truth.shape, generator=torch.Generator().manual_seed(1))
    there = evaluate(estimate.cuda(), truth.cuda(), ratio=4)
    for name, index in evaluate(estimate, truth, ratio=4).items():
        assert there[name].value == pytest.approx(index.value, rel=1e-4), name


@GPU
def test_denoising_agrees() -> None:
    """Nets in single precision; a voxel more or less may be taken for an outlier."""
    from denoise.restore import restore

    noisy = noisy_cube(40, 20)
    there, here = (restore(noisy, "diffusion", samples=2, device=place) for place in ("cuda", "cpu"))
    assert there.mask is not None
    assert here.mask is not None
    assert (there.mask != here.mask).mean() < 1e-4
    assert there.std is not None
    assert here.std is not None
    for name in ("estimate", "std"):
        one, two = (np.quantile(np.abs(getattr(part, name)), 0.999) for part in (there, here))
        assert one == pytest.approx(two, rel=1e-3)
    difference = np.abs(there.estimate - here.estimate)
    assert np.quantile(difference, 0.999) < 1e-2 * 0.02


@GPU
def test_simulation_agrees(tmp_path) -> None:
    from hsitools.io import open_cube
    from hsitools.sensor.simulate import simulate

    sensor = preset("prisma").select(range(0, 60, 6))
    for place in ("cuda", "cpu"):
        simulate(scene((96, 96), seed=1), sensor, tmp_path / f"{place}.h5", seed=2, device=place)
    there, here = (open_cube(tmp_path / f"{place}.h5").read() for place in ("cuda", "cpu"))
    assert np.abs(there - here).max() < 2e-5 * np.ptp(here)
