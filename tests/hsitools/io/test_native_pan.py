"""A panchromatic image that stands beside the cube as a bare array, and what ``hsi info`` says of both."""

import h5py
import numpy as np
import pytest

from hsitools.cube import Cube
from hsitools.io import describe, open_cube, save_cube
from hsitools.io.quality import quality


@pytest.mark.parametrize("shape", [(12, 12), (1, 12, 12)])
def test_an_array_beside_the_cube_is_its_pan(tmp_path, shape):
    pan = np.arange(144, dtype=np.float32).reshape(shape)
    with h5py.File(tmp_path / "pair.h5", "w") as file:
        file["cube"], file["pan"] = np.ones((8, 6, 6), np.float32), pan
    cube = open_cube(tmp_path / "pair.h5")
    assert cube.shape == (8, 6, 6)
    np.testing.assert_array_equal(cube.pan.read(), pan.reshape(1, 12, 12))
    assert describe(tmp_path / "pair.h5")["pan"] == {"shape": [1, 12, 12], "ratio": 2}


def test_quality_is_signal_over_noise_and_what_is_missing():
    rng = np.random.default_rng(0)
    clean = 5 + rng.normal(size=(1, 60, 60)) * np.linspace(1, 2, 12)[:, None, None]
    data = clean + rng.normal(scale=0.1, size=clean.shape)
    data[0, :6] = np.nan
    told = quality(Cube(data=data))
    assert told["missing"] == pytest.approx(0.1 / 12)
    assert told["snr"] == pytest.approx(50, rel=0.05)
    assert quality(Cube(data=data[:3]))["snr"] is None
    assert quality(Cube(data=data[:3]))["snr_note"] == "not told: 3 good bands with values, 8 needed"
    assert (
        "16 pixels with a value in all 11 good bands, 4 a band (44) needed"
        in quality(Cube(data=data[:, :4, :4]))["snr_note"]
    )
    assert "no noise" in quality(Cube(data=np.ones((12, 9, 9))))["snr_note"]


@pytest.mark.filterwarnings("error")
def test_an_infinite_voxel_is_a_missing_one():
    data = np.random.default_rng(0).normal(100, 1, (12, 20, 20))
    holed = data.copy()
    data[3, 4, 5], holed[3, 4, 5] = np.inf, np.nan
    assert quality(Cube(data=data)) == quality(Cube(data=holed))
    assert quality(Cube(data=data))["missing"] == pytest.approx(1 / 4800)


@pytest.mark.parametrize("suffix", [".h5", ".nc"])
def test_a_scale_makes_no_units(tmp_path, suffix):
    """As little as in the other formats: not stated is not "1"."""
    counts = Cube(data=np.ones((2, 3, 3), np.int16), scale_factor=1e-4)
    save_cube(counts, tmp_path / f"cube{suffix}")
    assert open_cube(tmp_path / f"cube{suffix}").units == ""
    save_cube(counts.replace(units="1"), tmp_path / f"cube{suffix}")
    assert open_cube(tmp_path / f"cube{suffix}").units == "1"


def test_quality_tells_a_smoothed_cube_from_a_good_one():
    rng = np.random.default_rng(1)
    clean = 5 + rng.normal(size=(1, 60, 60)) * np.linspace(1, 2, 12)[:, None, None]
    data = clean + rng.normal(scale=0.1, size=(12, 60, 60))
    assert "snr_note" not in quality(Cube(data=data))
    # stripes are alike along their columns only
    assert "snr_note" not in quality(Cube(data=data + rng.normal(scale=0.1, size=(12, 1, 60))))
    smooth = (data + np.roll(data, 1, 1) + np.roll(data, 1, 2) + np.roll(data, (1, 1), (1, 2))) / 4
    assert "smoothed" in quality(Cube(data=smooth))["snr_note"]
