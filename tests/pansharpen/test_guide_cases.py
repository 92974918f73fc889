"""Guides of cases of their own: simulated for a benchmark, as PAN, with holes."""

import dataclasses

import numpy as np
import pytest
import torch

from hsitools.cube import Cube
from hsitools.errors import InputError
from hsitools.io import save_cube
from hsitools.scenes import scene
from hsitools.sensor import preset
from pansharpen.case import guided
from pansharpen.comparison.benchmark import Benchmark
from pansharpen.comparison.fusion_task import FUSION, read_pair, write_pair
from pansharpen.cubes import fuse
from pansharpen.guide import Guide
from pansharpen.in_memory import fuse_case
from pansharpen.optics import Optics
from pansharpen.pair.guide_files import with_pan
from pansharpen.pair.wald import simulated_case


def test_pan_of_guides_is_their_mean_by_bands():
    """Two bands of the cube lie nearest to the first channel, one to the second."""
    response = np.array([[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    image = torch.stack([torch.full((6, 6), 1.0), torch.full((6, 6), 5.0)])
    fine = Guide(image=image, response=response)
    made = guided(torch.ones(1, 4, 2, 2), [fine], Optics(ratio=3))
    torch.testing.assert_close(made.pan, torch.full((1, 1, 6, 6), (2 * 1 + 2 * 5) / 4))
    unknown = guided(torch.ones(1, 4, 2, 2), [dataclasses.replace(fine, response=None)], Optics(ratio=3))
    torch.testing.assert_close(unknown.pan, torch.full((1, 1, 6, 6), 3.0))


def test_a_benchmark_with_a_guide(tmp_path):
    save_cube(scene((36, 36), seed=1), tmp_path / "scene.h5")
    made = Benchmark.create(
        tmp_path / "results", scenes=[tmp_path / "scene.h5"], ratios=(3,), methods=["EXP", "FUSE"],
        guide="sentinel-2", snr_db=35.0,
    )  # fmt: skip
    pair = FUSION.load(made.settings.cells()[0].case, made.folder)
    case = pair.case
    assert case.pan_made
    assert [(guide.ratio, guide.n_channels) for guide in case.guides] == [(1, 4), (2, 6)]
    error = case.coarse - simulated_case(
        scene((36, 36), seed=1), preset("prisma"), ratio=3, noise=False, guide="sentinel-2"
    ).coarse  # fmt: skip
    level = 10 * torch.log10(case.coarse.square().mean() / error.square().mean())
    assert float(level) == pytest.approx(35, abs=0.3)
    # methods are handed all of it but the reference
    write_pair(tmp_path / "pair.npz", case)
    again = read_pair(tmp_path / "pair.npz")
    assert again.reference is None
    torch.testing.assert_close(fuse_case("GLP-HS", again), fuse_case("GLP-HS", case))
    with pytest.raises(InputError, match="sentinel-2"):
        Benchmark.create(tmp_path / "other", scenes=[tmp_path / "scene.h5"], guide="sentinel-9")


def test_a_guide_of_another_size_than_pan_is_told_both_sizes():
    rng = np.random.default_rng(0)
    cube = Cube(data=rng.random((4, 8, 8)), pan=Cube(data=rng.random((1, 24, 24))))
    with pytest.raises(InputError, match=r"guide: found 18×24 pixels, expected 24×24 as PAN, or these over a whole"):
        fuse(cube, guide=Cube(data=rng.random((3, 18, 24))), method="GSA")


@pytest.mark.parametrize("snr_db", [None, 35.0])
def test_an_imager_sees_what_a_scene_with_holes_holds(snr_db):
    """A blur spread the holes over all of the guides."""
    whole = scene((48, 48), seed=4)
    values = whole.read().astype(np.float32)
    values[:, :12, :12] = np.nan
    holed = Cube(data=values, wavelength_nm=whole.wavelength_nm, units=whole.units)
    sensor = preset("prisma").select(range(0, 60, 10))
    full, made = (simulated_case(cube, sensor, ratio=4, guide="sentinel-2", snr_db=snr_db) for cube in (whole, holed))
    for guide, other in zip(made.guides, full.guides, strict=True):
        known = torch.isfinite(guide.image)[0].all(0)
        n = 12 // guide.ratio
        assert not known[: n - 1, : n - 1].any()
        assert known[n + 1 :].all()
        assert known[:, n + 1 :].all()
        # beside noise of its own draw, what it is without holes
        np.testing.assert_allclose(guide.image[0, :, n + 3 :], other.image[0, :, n + 3 :], atol=0.05)
    fused = fuse_case("GSA", made)
    assert torch.isfinite(fused[..., 20:, 20:]).all()


@pytest.mark.parametrize("lacking", ["guide", "cube", "neither"])
def test_a_guide_of_which_nothing_tells_what_it_sees_is_said_to_be(lacking, caplog):
    rng = np.random.default_rng(1)
    wavelength = np.linspace(450.0, 800.0, 6)
    values = rng.random((6, 6, 6)).cumsum(0)
    cube = Cube(data=values, wavelength_nm=None if lacking == "cube" else wavelength)
    fine = np.kron(values[::2], np.ones((2, 2))) + 0.1 * rng.random((3, 12, 12))
    guide = Cube(data=fine, wavelength_nm=None if lacking == "guide" else wavelength[::2], name="drone")
    said = fuse(cube, guide=guide, method="GLP-HS").meta["guides"]
    if lacking == "neither":
        assert said == ["drone: 3 bands"]
        assert "wavelengths" not in caplog.text
    else:
        assert said == ["drone: 3 bands, of responses by the pair alone"]
        assert "drone: guide: found no wavelengths of its bands and the cube's" in caplog.text


def test_pan_made_of_channels_is_measured_where_all_of_them_are():
    """A mean of the others was of another level, as leaves are that lack their near infrared."""
    rng = np.random.default_rng(2)
    coarse = 0.05 + 0.02 * rng.random((4, 8, 8))
    coarse[3] += 0.4
    fine = np.kron(coarse, np.ones((2, 2)))
    holed = fine.copy()
    holed[3, :3, :5] = np.nan
    cube, guide = Cube(data=coarse), Cube(data=holed)
    made = with_pan(cube, [guide], None).pan.read()[0]
    np.testing.assert_allclose(made[3:], fine.mean(0)[3:], rtol=1e-6)
    np.testing.assert_array_equal(np.isnan(made), np.isnan(holed[3]))
    np.testing.assert_array_equal(np.isnan(fuse(cube, guide=guide, method="GSA").read()[0]), np.isnan(holed[3]))
    in_memory = guided(torch.as_tensor(coarse), [Guide(image=torch.as_tensor(holed))], Optics(ratio=2))
    np.testing.assert_array_equal(torch.isnan(in_memory.pan[0, 0]), np.isnan(holed[3]))
    # a channel that counts for nothing takes nothing
    rows = np.array([[1.0, 1, 1, 1], [1, 1, 1, 1]])
    alike = Guide(image=torch.as_tensor(holed[[0, 3]]), response=rows)
    assert torch.isfinite(guided(torch.as_tensor(coarse), [alike], Optics(ratio=2)).pan).all()
