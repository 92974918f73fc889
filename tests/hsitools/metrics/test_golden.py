"""Values of a published toolbox and of other libraries, on deterministic arrays."""

import json

import numpy as np
import pytest
import torch

from hsitools.metrics import evaluate
from hsitools.metrics.full_resolution import Fusion, d_sr

SIZES = ("1x64x64", "4x64x64", "8x64x64", "31x64x64", "103x64x64", "8x50x50", "8x50x70")


pytestmark = pytest.mark.portable


@pytest.fixture(scope="session")
def golden(root):
    return json.loads((root / "tests" / "golden" / "metrics.json").read_text(encoding="utf-8"))


def test_values_are_those_of_the_reference_data(golden, shared):
    """What is committed was moved, not measured."""

    def compare(own, theirs, where):
        if not isinstance(own, dict):
            assert own == theirs or own != own, where
            return
        for name, value in own.items():
            compare(value, theirs[name], f"{where}/{name}")

    theirs = json.loads((shared / "golden" / "metrics.json").read_text(encoding="utf-8"))
    for part in ("golden_metrics", "cross_implementations", "recipe"):
        compare(golden[part], theirs[part], part)


def arrays(key):
    shape = tuple(int(part) for part in key.split("x"))
    rng = np.random.RandomState(0)
    reference = rng.randint(0, 4096, shape)
    noise = rng.randint(-200, 201, shape)
    return np.clip(np.rint(0.9 * reference + 100) + noise, 0, 4095).astype(float), reference.astype(float)


@pytest.mark.parametrize("key", SIZES)
def test_published_toolbox(golden, key):
    expected = golden["golden_metrics"][key]
    estimate, reference = arrays(key)
    assert (estimate.sum(), reference.sum()) == (expected["sum_dis"], expected["sum_ref"])
    assert reference.ravel()[:5].tolist() == expected["ref_first5"]
    assert estimate.ravel()[:5].tolist() == expected["dis_first5"]
    four = evaluate(estimate, reference, ratio=4, metrics=["ERGAS", "SAM", "Q2n"])
    six = evaluate(estimate, reference, ratio=6, metrics=["ERGAS"])
    assert four["ERGAS"].value == pytest.approx(expected["ERGAS_ratio4"], rel=1e-9)
    assert six["ERGAS"].value == pytest.approx(expected["ERGAS_ratio6"], rel=1e-9)
    assert four["SAM"].value == pytest.approx(expected["SAM_deg"], rel=1e-9)
    if key == "8x50x70":
        # the toolbox pads rows and columns swapped where they differ: its value is not that of its paper
        assert four["Q2n"].value != pytest.approx(expected["Q2n"], rel=1e-5)
    else:
        assert four["Q2n"].value == pytest.approx(expected["Q2n"], rel=1e-6)
        assert 1 - four["Q2n"].value == pytest.approx(expected["D_lambda_khan_lr_inputs"], rel=1e-5)


@pytest.mark.parametrize("key", [key for key in SIZES if key != "8x50x70"])
def test_published_border(golden, key):
    expected = golden["golden_metrics"][key]["evaluation_rr_ratio6_cut11"]
    estimate, reference = (image[:, 10:-11, 10:-11] for image in arrays(key))
    found = evaluate(estimate, reference, ratio=6, metrics=["ERGAS", "SAM", "Q2n"])
    assert found["ERGAS"].value == pytest.approx(expected["ERGAS"], rel=1e-9)
    assert found["SAM"].value == pytest.approx(expected["SAM"], rel=1e-9)
    assert found["Q2n"].value == pytest.approx(expected["Q2n"], rel=1e-6)


@pytest.mark.parametrize("key", SIZES)
def test_published_regression_index(golden, key):
    estimate, reference = arrays(key)
    expected = golden["golden_metrics"][key]
    rng = np.random.RandomState(1)
    random = rng.randint(0, 4096, (1, *reference.shape[1:])).astype(float)
    for pan, name in (
        (np.rint(reference.mean(0))[None], "D_sR_dis_vs_meanref"),
        (random, "D_sR_dis_vs_RandomState1_pan"),
    ):
        fusion = Fusion(
            fused=torch.as_tensor(estimate)[None], coarse=torch.zeros(1), pan=torch.as_tensor(pan)[None], ratio=1
        )
        assert float(d_sr(fusion).value) == pytest.approx(expected[name], rel=1e-9)


@pytest.mark.parametrize("key", ["4x64x64", "8x64x64", "31x64x64", "103x64x64"])
def test_other_libraries(golden, key):
    expected = golden["cross_implementations"][key]
    estimate, reference = arrays(key)
    found = {name: e.value for name, e in evaluate(estimate, reference, ratio=4, data_range=4095).items()}
    own, skimage = expected["own"], expected["skimage"]
    assert found["PSNR"] == pytest.approx(own["PSNR_mean_band_4095"], rel=1e-9)
    assert found["PSNR_global"] == pytest.approx(skimage["PSNR_dr4095"], rel=1e-9)
    assert np.deg2rad(found["SAM"]) == pytest.approx(expected["torchmetrics"]["SAM_rad"], rel=1e-9)
    assert np.deg2rad(found["SAM"]) == pytest.approx(expected["sewar"]["sam"], rel=1e-9)
    assert found["SSIM"] == pytest.approx(skimage["SSIM_gauss_sigma1.5_popcov"], rel=1e-9)
    assert found["RMSE"] == pytest.approx(expected["sewar"]["rmse"], rel=1e-9)
    assert found["ERGAS"] == pytest.approx(expected["torchmetrics"]["ERGAS_ratio4"], rel=1e-9)
    # sewar forgets that ratio is a ratio of sizes
    assert found["ERGAS"] * 16 == pytest.approx(expected["sewar"]["ergas_r4"], rel=1e-9)


def test_fused_scene_row(shared):
    """The interpolation row of the published benchmark, on a real scene."""
    for ratio, ergas, sam, q2n in ((6, 5.6519, 10.6527, 0.71996), (4, 6.9549, 7.9652, 0.81644)):
        given = np.load(shared / "golden" / f"jasper159_r{ratio}.npz")
        fused, truth = (np.clip(given[name][:, 10:-11, 10:-11].astype(float), 0, 65536) for name in ("ms", "gt"))
        found = evaluate(fused, truth, ratio=ratio, metrics=["ERGAS", "SAM", "Q2n"])
        assert found["ERGAS"].value == pytest.approx(ergas, abs=1e-4)
        assert found["SAM"].value == pytest.approx(sam, abs=1e-4)
        assert found["Q2n"].value == pytest.approx(q2n, abs=1e-4)


def test_zero_spectra_are_left_out(golden):
    """The toolbox counts the angle of a zero spectrum as zero; here it counts as nothing, and is said."""
    estimate, reference = arrays("8x64x64")
    published = golden["golden_metrics"]["zero_norm"]["SAM_with_16_zero_pixels"]
    reference[:, :4, :4] = 0
    found = evaluate(estimate, reference, metrics=["SAM"])["SAM"]
    assert found.excluded == {"pixels": 16}
    assert found.value * (64 * 64 - 16) / 64**2 == pytest.approx(published, rel=2e-3)
