"""Where tensors are computed: names, what is not there, and that results do not depend on it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from click.testing import CliRunner

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


@pytest.mark.parametrize("command", [["metrics", "a.h5", "b.h5"], ["pansharpen", "run", "GSA", "a.h5", "-o", "o.h5"]])
def test_commands_say_what_is_not_there(command: list[str], tmp_path, monkeypatch) -> None:
    """One line, before any file is read... and nothing is written."""
    from hsitools import save_cube

    monkeypatch.chdir(tmp_path)
    seen = preset("prisma").select(range(0, 60, 12)).observe(scene((48, 48), seed=1), np.random.default_rng(0))
    for name in ("a.h5", "b.h5"):
        save_cube(seen, name)
    done = CliRunner().invoke(hsi, [*command, "--device", "cuda:99"])
    assert isinstance(done.exception, InputError)
    assert str(done.exception).startswith("device: found 'cuda:99'")
    assert not (tmp_path / "o.h5").exists()


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
