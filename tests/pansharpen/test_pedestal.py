"""Levels so far beyond the contrast that float32 rounds it."""

import numpy as np
import pytest

from hsitools.cube import Cube
from pansharpen.tiled import fuse_pair

DRAW = np.random.default_rng(0)
SCENE = DRAW.normal(size=(5, 8, 8)).repeat(3, 1).repeat(3, 2) + 0.3 * DRAW.normal(size=(1, 24, 24))


@pytest.mark.parametrize(
    ("level", "told"), [(1e3, None), (1e5, {"cube_bands": 2, "pan": 1}), (1e9, {"cube_bands": 2, "pan": 1})]
)  # fmt: skip
def test_a_level_that_rounds_the_contrast_away_is_said(level, told, caplog):
    """At 10⁹ no float32 holds any contrast, nor would it tell that there was some."""
    levels = level * np.array([1.0, 0, 1, 0, 0])[:, None, None]
    coarse = SCENE.reshape(5, 8, 3, 8, 3).mean((2, 4))
    pair = Cube(data=coarse + levels, pan=Cube(data=SCENE.mean(0)[None] + level))
    fused = fuse_pair(pair, "EXP").estimate
    assert fused.meta.get("rounded_contrast") == told
    assert ("in 2 bands of the cube and PAN, which float32 rounds" in caplog.text) == (told is not None)


def test_bands_without_any_contrast_are_no_matter():
    flat = Cube(data=np.full((4, 8, 8), 7.0), pan=Cube(data=SCENE.mean(0)[None]))
    assert "rounded_contrast" not in fuse_pair(flat, "EXP").estimate.meta
