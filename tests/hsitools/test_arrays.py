"""What users hold as arrays: masked, labelled, of other kinds; and cubes that are no match for one another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from calibration import MonochromaticCapture
from denoise.restore import restore
from hsitools import Cube, InputError, evaluate, evaluate_alone, evaluate_fusion, save_cube
from hsitools.arrays import real_array
from hsitools.cube.agreement import require_same_bands
from hsitools.cube.tensors import real_tensor
from hsitools.cube.units import powers
from hsitools.sensor.photon.frames import level_statistics
from pansharpen import FusionCase, Optics
from pansharpen.guide import Guide

SHAPE = (3, 24, 20)
TRUTH = np.random.default_rng(0).uniform(0.2, 0.8, SHAPE)
ERROR = 0.01 * np.random.default_rng(1).standard_normal(SHAPE)
HOLE = np.zeros(SHAPE, bool)
HOLE[:, 3:6, 4:9] = True
#: As readers with masks give it: what lies beneath is any number.
MASKED = np.ma.array(np.where(HOLE, -9999.0, TRUTH + ERROR), mask=HOLE)
RIGHT = float(np.sqrt((ERROR[~HOLE] ** 2).mean()))


def rmse(estimate: Any, reference: Any) -> float:
    return evaluate(estimate, reference, metrics=["RMSE"])["RMSE"].value


def labelled(values: Any) -> Any:
    """An image of xarray with its bands last."""
    xarray = pytest.importorskip("xarray")
    return xarray.DataArray(np.moveaxis(values, 0, -1), dims=("y", "x", "band"))


@pytest.mark.parametrize(
    "estimate",
    [MASKED, Cube(data=MASKED), Cube(data=MASKED.data, nodata=-9999.0), torch.tensor(MASKED.filled(np.nan))],
    ids=["masked", "cube of it", "nodata", "tensor"],
)  # fmt: skip
def test_no_index_sees_what_is_masked(estimate: Any) -> None:
    assert rmse(estimate, TRUTH) == pytest.approx(RIGHT, rel=1e-6)
    assert rmse(estimate, Cube(data=TRUTH)) == pytest.approx(RIGHT, rel=1e-6)
    assert np.isfinite(evaluate_alone(estimate)["noise"].value)


def test_integers_under_a_mask_become_nan_and_others_stay_what_they_are() -> None:
    codes = np.ma.array([[7, -99]], mask=[[False, True]])
    assert np.array_equal(real_array(codes, "codes"), [[7.0, np.nan]], equal_nan=True)
    assert real_array(np.ma.array([7], mask=[False]), "codes").dtype == codes.dtype
    assert real_array(np.ma.array(np.ones(2, np.float32), mask=[True, False]), "codes").dtype == np.float32
    assert Cube(data=MASKED).statistics()["n_valid"].tolist() == [int((~HOLE[0]).sum())] * 3


def test_named_dimensions_say_which_are_bands() -> None:
    # the same angle as of (band, y, x), and not that of columns taken for bands
    value = evaluate(labelled(TRUTH + ERROR), labelled(TRUTH), metrics=["SAM"])["SAM"].value
    assert value == pytest.approx(evaluate(TRUTH + ERROR, TRUTH, metrics=["SAM"])["SAM"].value, rel=1e-9)
    case = FusionCase(coarse=labelled(TRUTH), pan=np.ones((1, 48, 40)), optics=Optics(ratio=2))
    assert tuple(case.coarse.shape) == (1, *SHAPE)
    with pytest.raises(InputError, match=r"data: found an xarray object, expected an array \(Cube.from_xarray"):
        Cube(data=labelled(TRUTH))


def test_masked_pixels_are_holes_for_fusion_denoising_and_calibration() -> None:
    case = FusionCase(coarse=MASKED, pan=np.ma.array(np.ones((1, 48, 40)), mask=False), optics=Optics(ratio=2))
    assert torch.isnan(case.coarse[0]).numpy().tolist() == HOLE.tolist()
    assert torch.isnan(Guide(image=MASKED).image[0]).numpy().tolist() == HOLE.tolist()
    restored = restore(MASKED, "lowrank")
    assert np.nanmax(np.abs(restored.estimate)) < 2
    capture = MonochromaticCapture(
        wavenumber=np.linspace(1, 2, 20), intensity=np.ma.array(TRUTH[0][:, :20], mask=HOLE[0][:, :20]),
        flat=np.ma.array(np.ones((24, 20)), mask=HOLE[1]),
    )  # fmt: skip
    assert np.array_equal(capture.mask, ~HOLE[0])


@pytest.mark.parametrize(
    "values", [TRUTH.astype(complex), TRUTH.astype(object), TRUTH.astype(str)], ids=["c", "O", "U"]
)
@pytest.mark.parametrize(
    "door",
    [
        lambda values: rmse(values, TRUTH),
        lambda values: rmse(TRUTH, values),
        evaluate_alone,
        lambda values: evaluate_fusion(values, TRUTH[:, ::2, ::2], TRUTH[:1]),
        lambda values: Cube(data=values),
        lambda values: restore(values, "lowrank"),
        lambda values: FusionCase(coarse=values, pan=np.ones((1, 48, 40)), optics=Optics(ratio=2)),
        lambda values: Guide(image=values),
        lambda values: MonochromaticCapture(wavenumber=np.linspace(1, 2, 20), intensity=values[0], flat=TRUTH[0]),
        lambda values: level_statistics(iter(values), "frames"),
    ],
    ids=["estimate", "reference", "alone", "fused", "cube", "denoise", "case", "guide", "capture", "frames"],
)  # fmt: skip
def test_what_is_no_real_number_is_refused_at_every_door(door: Callable[[Any], Any], values: Any) -> None:
    with pytest.raises(InputError, match=r"found .*, expected real numbers"):
        door(values)


def test_tensors_and_lists_hold_numbers_too() -> None:
    half = torch.tensor([[[1.0, 2.5]]], dtype=torch.bfloat16, requires_grad=True)
    assert Cube(data=half).read().tolist() == [[[1.0, 2.5]]]
    assert Cube(data=torch.tensor(TRUTH)).read().tolist() == TRUTH.tolist()
    assert Cube(data=TRUTH.tolist()).shape == SHAPE
    # what no format holds
    assert Cube(data=TRUTH.astype(np.longdouble)).dtype == np.float64
    with pytest.raises(InputError, match="found rows of different lengths"):
        real_array([[1.0, 2.0], [3.0]], "table")
    with pytest.raises(InputError, match="complex64"):
        real_tensor(torch.zeros(1, 2, 2, dtype=torch.complex64), "image")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("W m-2 sr-1 um-1", "W/(m^2 sr µm)", True),
        ("W m**-2 sr**-1 µm**-1", "W/m2/sr/um", True),
        ("W·m⁻²·sr⁻¹·μm⁻¹", "W/m^2 sr um", True),
        ("Reflectance", "1", True),
        ("uW cm-2 nm-1 sr-1", "W m-2 um-1 sr-1", False),
        ("W m-2", "W m2", False),
        ("%", "1", False),
        ("DN", "1", False),
        ("reflectance × 10⁴", "reflectance", False),
        ("a (b", "a b", True),
        ("MW m-2", "mW m-2", False),
    ],
)  # fmt: skip
def test_units_are_the_same_however_they_are_spelled(one: str, other: str, same: bool) -> None:
    assert (powers(one) == powers(other)) is same


def test_cubes_of_other_units_or_bands_are_not_compared(tmp_path: Path, hsi: Any) -> None:
    wavelength = np.array([500.0, 600.0, 700.0])
    truth = Cube(data=TRUTH, units="1", wavelength_nm=wavelength, name="truth")
    radiance = truth.replace(data=50 * TRUTH, units="W m-2 sr-1 um-1", name="radiance")
    moved = truth.replace(wavelength_nm=wavelength + 90, name="moved")
    for wrong, found in (
        (radiance, "units: found 'W m-2 sr-1 um-1', expected '1' as in"),
        (moved, "wavelength_nm: band 0: found 590.00, expected 500.00 as in"),
    ):
        said = rf"{wrong.name} \((estimate|fused)\): {found}"
        with pytest.raises(InputError, match=said):
            evaluate(wrong, truth)
        with pytest.raises(InputError, match=said):
            evaluate_fusion(wrong, truth.replace(data=TRUTH[:, ::2, ::2]), None)
    # what is not told is not in the way, nor is another spelling or a band's own drift
    require_same_bands(radiance.replace(units=""), truth)
    require_same_bands(truth.replace(units="reflectance", wavelength_nm=wavelength + 9), truth)
    with pytest.raises(InputError, match=r"band 0: found 500.00, expected 1500.00"):
        require_same_bands(truth.select(bands=[0]), truth.select(bands=[0]).replace(wavelength_nm=np.array([1500.0])))
    save_cube(truth, tmp_path / "truth.h5")
    save_cube(radiance, tmp_path / "radiance.h5")
    said = hsi("metrics", tmp_path / "radiance.h5", tmp_path / "truth.h5", code=2).stderr
    assert "radiance.h5: units: found 'W m-2 sr-1 um-1', expected '1' as in" in said


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ([660, 860], [560, 860], False),  # red and green of two multispectral cameras
        ([665, 865], [660, 860], True),
        ([500.0, 502.0, 504.0], [500.4, 502.4, 504.4], True),
        ([500.0, 502.0, 504.0], [501.5, 503.5, 505.5], False),
        ([860, 560, 660], [862, 561, 663], True),
        ([900, 950, 950], [900, 950, 953], True),  # where two detectors overlap
        ([500], [509], True),
        ([500], [515], False),
    ],
)  # fmt: skip
def test_bands_are_the_same_within_their_distance(one: list[float], other: list[float], same: bool) -> None:
    first, second = (Cube(data=np.ones((len(nm), 2, 2)), wavelength_nm=nm) for nm in (one, other))
    if same:
        require_same_bands(first, second)
        require_same_bands(second, first)
        return
    with pytest.raises(InputError, match="wavelength_nm: band"):
        require_same_bands(first, second)


MAP = (10.0, 0.0, 5e5, 0.0, -10.0, 5e6)
UTM, ELSEWHERE = "EPSG:32633", "EPSG:32719"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"crs": ELSEWHERE}, "crs: found EPSG:32719, expected EPSG:32633 as in"),
        ({"transform": (10.0, 0.0, 5e5 + 10, 0.0, -10.0, 5e6)}, "transform: found a place 1 pixels off"),
        ({"transform": (10.0, 0.0, 5e5, 0.0, -11.0, 5e6)}, "transform: found a place 2.4 pixels off"),
        ({"transform": (10.0, 0.0, 5e5 + 5, 0.0, -10.0, 5e6 - 5)}, None),
        ({"crs": None, "transform": None}, None),
        ({"crs": None}, None),
    ],
    ids=["system", "shift", "pixels", "centres", "no map", "no system"],
)  # fmt: skip
def test_images_of_another_place_are_not_compared(
    changes: dict[str, Any], said: str | None, hsi: Any, tmp_path: Path
) -> None:
    here = Cube(data=TRUTH, crs=UTM, transform=MAP, name="here")
    there = here.replace(name="there", **changes)
    coarse = here.replace(data=TRUTH[:, ::2, ::2], transform=(20.0, 0.0, 5e5, 0.0, -20.0, 5e6))
    pan = there.select(bands=[0])
    save_cube(here, tmp_path / "here.h5")
    save_cube(there, tmp_path / "there.h5")
    save_cube(coarse, tmp_path / "coarse.h5")
    save_cube(pan, tmp_path / "pan.h5")
    code, against = (
        0 if said is None else 2,
        ("--metric", "D_s", "--coarse", tmp_path / "coarse.h5", "--pan", tmp_path / "pan.h5"),
    )
    compared = hsi("metrics", tmp_path / "there.h5", tmp_path / "here.h5", "--metric", "RMSE", code=code).stderr
    sharpened = hsi("metrics", tmp_path / "here.h5", *against, "--metric", "D_s", code=code).stderr
    if said is None:
        assert rmse(there, here) == 0
        return
    assert said in compared
    assert said in sharpened
    with pytest.raises(InputError, match=said):
        evaluate(there, here)
    with pytest.raises(InputError, match=said):
        evaluate_fusion(here, coarse, pan)


def test_a_coarse_cube_of_another_system_is_no_match() -> None:
    here = Cube(data=TRUTH, crs=UTM, transform=MAP, name="here")
    coarse = Cube(data=TRUTH[:, ::2, ::2], crs=ELSEWHERE, name="coarse")
    with pytest.raises(InputError, match="crs: found EPSG:32633, expected EPSG:32719 as in"):
        evaluate_fusion(here, coarse, None)
