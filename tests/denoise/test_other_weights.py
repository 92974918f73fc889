"""The benchmark knows which denoisers have weights: their records are of these, and nets run with those given."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from denoise.case import Observation, Restoration
from denoise.comparison.benchmark import Benchmark
from denoise.comparison.denoising_task import DENOISING
from denoise.registry import METHODS, Method
from hsitools.cube import Cube
from hsitools.io import save_cube


def measured_elsewhere(jobs: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for job in jobs:
        told = {name: job[name] for name in ("method", "key")}
        yield {**job["case"], **job["labels"], **told, "values": {}, "status": "ok"}


@pytest.mark.parametrize("stated", [False, True])
def test_records_of_other_weights_are_measured_anew(
    stated: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether weights are stated or those of the package."""
    save_cube(Cube(data=np.random.default_rng(0).uniform(0.1, 1, (3, 12, 12))), tmp_path / "scene.h5")
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "flow.json").write_text("1")
    if not stated:
        monkeypatch.setattr(Benchmark, "pretrained", weights)
    settings = {"weights": str(weights)} if stated else {}
    made = Benchmark.create(
        tmp_path / "out", scenes=[tmp_path / "scene.h5"], methods=["lowrank", "diffusion"], cases=["a"], **settings
    )
    made.run(executor=measured_elsewhere)
    assert made.unfinished() == []
    (weights / "flow.json").write_text("2")
    assert [cell.method for cell in made.unfinished()] == ["diffusion"]


def test_weights_that_are_stated_are_those_of_the_nets(tmp_path: Path) -> None:
    taken = []

    def with_nets(seen: Observation, samples: int = 0, seed: int = 0, weights: Any = None) -> Restoration:
        taken.append(weights)
        return Restoration(estimate=seen.values)

    entries = (Method(name="nets", paper="", function=with_nets, samples=True), METHODS["column-median"])
    observed = np.random.default_rng(0).uniform(1, 2, (3, 12, 12)).astype(np.float32)
    for entry in entries:
        for weights in (str(tmp_path), None):
            DENOISING.apply(entry, observed, {"device": "cpu", "weights": weights})
    assert taken == [str(tmp_path), None]
