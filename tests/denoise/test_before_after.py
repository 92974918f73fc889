"""A real cube before and after: structure in the residual, worst bands, figures."""

import json
from pathlib import Path

import numpy as np
import pytest

from denoise.comparison.before_after import compare, residual_structure, worst_bands
from hsitools.cube import Cube
from hsitools.errors import InputError
from hsitools.io import open_cube, save_cube
from tests.denoise.typed_commands import BANDS, WIDTH, here, three_materials

pytestmark = pytest.mark.usefixtures("rough_pictures")


@pytest.fixture(scope="module")
def clean():
    return three_materials()


def test_structure_tells_scene_from_noise(clean):
    rng = np.random.default_rng(1)
    noise = 0.02 * rng.standard_normal(clean.shape)
    use = np.ones(BANDS, dtype=bool)
    before = clean + noise
    alone = residual_structure(before, clean, use)
    blurred = clean - 0.1 * (clean - clean.mean((1, 2), keepdims=True))  # a tenth of the scene is taken away as well
    taken = residual_structure(before, blurred, use)
    for band in range(BANDS):
        assert abs(alone[band].edges) < 0.12
        assert abs(alone[band].explained) < 0.06
        assert 0.6 < alone[band].smooth < 1.6
    assert np.median([item.explained for item in taken.values()]) > 0.1
    assert np.median([item.smooth for item in taken.values()]) > 2
    assert residual_structure(clean, clean, use)[0].smooth == 1


def test_worst_bands_are_the_noisy_and_the_striped(clean):
    noise, stripes = np.full(BANDS, 0.01), np.full(BANDS, 2.0)
    noise[3], stripes[11] = 0.5, 3.0
    found = worst_bands(clean, {"noise": (noise, noise), "stripes": (stripes, stripes)}, np.arange(BANDS) != 5)
    assert {3, 11} <= set(found)
    assert 5 not in found


def test_figures_of_a_cube(clean, tmp_path):
    noisy = clean.copy()
    noisy += 0.02 * np.random.default_rng(2).standard_normal(clean.shape, dtype=np.float32)
    noisy[7] += 0.1 * np.random.default_rng(3).standard_normal(WIDTH, dtype=np.float32)
    noisy[4] = 0
    save_cube(Cube(data=noisy, wavelength_nm=400 + 10.0 * np.arange(BANDS), name="Patches"), tmp_path / "patches.h5")
    said = json.loads(
        here("figures", tmp_path / "patches.h5", "-o", tmp_path / "out", "--bands", "7:9", "--json").stdout
    )
    assert [row["band"] for row in said["bands"]] == [7, 8]
    before, after = said["bands"][0]["stripes"]
    assert before > 2 * after
    assert {Path(path).name for path in said["files"]} == {
        f"patches_diffusion_{name}" for name in ("images.png", "spectra.png", "indices.png", "numbers.json")
    }
    assert all(Path(path).stat().st_size > 1000 for path in said["files"][:3])
    with pytest.raises(InputError, match="bands: found 4"):
        compare(open_cube(tmp_path / "patches.h5"), "column-median", [4])
    assert (
        "expected FIRST:END" in here("figures", tmp_path / "patches.h5", "-o", tmp_path, "--bands", "7", code=2).output
    )
