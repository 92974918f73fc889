"""What workers import before their first task: once for all of a machine, and nothing that they do not need."""

from __future__ import annotations

import pytest

from calibration.commands.invert import invert
from denoise.commands.denoise import denoise


class Asked(Exception):
    pass


@pytest.mark.parametrize(
    ("command", "words", "nets"),
    [
        (invert, ["run", "a.h5", "--instrument", "b.h5", "--method", "joint"], True),
        (invert, ["run", "a.h5", "--instrument", "b.h5", "--method", "gp"], False),
        (denoise, ["run", "a.h5", "--method", "diffusion"], True),
        (denoise, ["run", "a.h5", "--method", "lowrank"], False),
    ],
)
def test_torch_is_loaded_for_those_who_use_it(monkeypatch, tmp_path, command, words, nets):
    def cluster(workers, scheduler, *, files, modules):
        raise Asked(workers, "torch" in modules)

    monkeypatch.setattr("hsitools.scale.cluster.cluster", cluster)
    with pytest.raises(Asked) as asked:
        command.main([*words, "-o", str(tmp_path / "out.h5"), "--workers", "2"], standalone_mode=False)
    assert asked.value.args == (2, nets)
