"""Conventions that a number hangs on: ranges, ratios, masks by voxel, low-pass, offsets."""

import functools

import numpy as np
import pytest
import torch

from hsitools.cube import Cube
from hsitools.errors import InputError
from hsitools.metrics import Fusion, Registration, evaluate, evaluate_fusion, get
from hsitools.metrics.expected_error import _Pair
from hsitools.metrics.registration import register
from hsitools.scenes import scene
from hsitools.sensor import preset
from hsitools.sensor.interpolation import interpolate
from hsitools.sensor.spatial import mtf_blur, mtf_decimate


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    reference = rng.uniform(0.2, 1.2, (6, 30, 32))
    return reference + 0.02 * rng.standard_normal(reference.shape), reference


# ---- ranges ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["PSNR", "PSNR_global"])
@pytest.mark.parametrize("data_range", [None, 1.0])
def test_a_constant_on_both_images_changes_no_psnr(pair, name, data_range):
    estimate, reference = pair
    values = [
        evaluate(estimate - c, reference - c, data_range=data_range, metrics=[name])[name].value
        for c in (0, 0.5, 0.9, 5.0)
    ]
    np.testing.assert_allclose(values, values[0], atol=1e-6)
    assert values[0] == pytest.approx(20 * np.log10(1 / 0.02), abs=0.3)


@pytest.mark.parametrize("name", ["PSNR", "PSNR_global", "SSIM"])
def test_the_range_is_stated(pair, name):
    estimate, reference = pair
    guessed = evaluate(estimate, reference, metrics=[name])[name].to_dict()
    span = reference.max() - reference.min()
    assert guessed["data_range"] == pytest.approx(span)
    assert guessed["data_range_guessed"] is True
    told = evaluate(estimate, reference, data_range=2.0, metrics=[name])[name].to_dict()
    assert (told["data_range"], told["data_range_guessed"]) == (2.0, False)
    assert "data_range" not in evaluate(estimate, reference, metrics=["RMSE"])["RMSE"].to_dict()


def test_masked_and_dead_values_are_no_part_of_the_range(pair):
    estimate, reference = pair
    holed = np.concatenate([reference, np.zeros((1, 30, 32))])
    holed[0, 0, 0] = -9999
    mask = np.ones(holed.shape, bool)
    mask[0, 0, 0] = False
    found = evaluate(np.concatenate([estimate, np.zeros((1, 30, 32))]), holed, mask=mask, metrics=["PSNR"])["PSNR"]
    assert found.facts["data_range"] == pytest.approx(reference.max() - reference.min(), rel=1e-3)


# ---- ratios ----------------------------------------------------------------------------------------------------


def test_ergas_is_a_hundred_over_the_ratio(pair):
    estimate, reference = pair
    relative = np.sqrt((((estimate - reference) ** 2).mean((1, 2)) / reference.mean((1, 2)) ** 2).mean())
    for ratio in (1, 4, 6):
        assert evaluate(estimate, reference, ratio=ratio, metrics=["ERGAS"])["ERGAS"].value == pytest.approx(
            100 / ratio * relative, rel=1e-9
        )


# ---- masks -----------------------------------------------------------------------------------------------------


def test_a_spectrum_with_one_invalid_band_is_no_spectrum(pair):
    """Its other bands are far off: counting it with a zero in the hole would show."""
    _, reference = pair
    estimate = reference.copy()
    estimate[:3, 5, 7] *= 4
    estimate[0, 5, 7] = np.nan
    found = evaluate(estimate, reference, metrics=["SAM", "SID", "Q2n", "RMSE"])
    for name in ("SAM", "SID"):
        assert found[name].value < 1e-6
        assert found[name].excluded == {"invalid_voxels": 1, "pixels": 1}
    assert found["Q2n"].value == pytest.approx(1, abs=1e-9)
    # by voxel: the other bands of the pixel still count where no spectrum is asked for
    error = np.sqrt(np.nanmean((estimate - reference)[1] ** 2))
    assert error > 0
    assert found["RMSE"].per_band[1] == pytest.approx(error, rel=1e-9)
    assert found["RMSE"].per_band[0] == 0


def test_errors_of_a_cube_are_those_of_its_voxels():
    """A band with few valid voxels counts as many as it has."""
    reference, mask = np.zeros((2, 10, 10)), np.ones((2, 10, 10), bool)
    estimate = reference + np.array([3.0, 1.0])[:, None, None]
    mask[1, 5:, :] = mask[1, :, 5:] = False
    errors = evaluate(estimate, reference, mask=mask, data_range=10, metrics=["RMSE", "MAE", "PSNR_global"])
    assert errors["RMSE"].value == pytest.approx(np.sqrt((100 * 9 + 25 * 1) / 125), rel=1e-9)
    assert errors["MAE"].value == pytest.approx((100 * 3 + 25 * 1) / 125, rel=1e-9)
    assert errors["PSNR_global"].value == pytest.approx(10 * np.log10(100 / 7.4), rel=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_divergence_by_loops(pair, dtype):
    """Of whole spectra, over the bands where both are positive; a hole beside is no value that is not positive."""
    estimate, reference = (values.astype(dtype) for values in pair)
    rng = np.random.default_rng(4)
    estimate[rng.random(estimate.shape) < 0.02] = np.nan
    reference[rng.random(estimate.shape) < 0.02] *= -1
    reference[:, 7, 9] = 0
    values, negative = [], 0
    for y, x in np.ndindex(reference.shape[1:]):
        a, b = estimate[:, y, x].astype(float), reference[:, y, x].astype(float)
        negative += np.count_nonzero(np.isfinite(a) & ~((a > 0) & (b > 0)))
        use = (a > 0) & (b > 0)
        if np.isnan(a).any() or not use.any():
            continue
        p, q = a[use] / a[use].sum(), b[use] / b[use].sum()
        values.append(((p - q) * np.log(p / q)).sum())
    found = evaluate(estimate, reference, metrics=["SID"])["SID"]
    assert found.value == pytest.approx(np.mean(values), rel=1e-4 if dtype is np.float32 else 1e-9)
    assert found.excluded["voxels_not_positive"] == negative
    assert found.excluded["pixels"] == reference[0].size - len(values)


def test_zero_spectra_are_counted(pair):
    estimate, reference = (values.copy() for values in pair)
    reference[:, 3, 4:6] = 0
    found = evaluate(estimate, reference, metrics=["SAM"])["SAM"]
    assert found.excluded == {"pixels": 2}
    keep = np.ones((30, 32), bool)
    keep[3, 4:6] = False
    a, b = estimate[:, keep], reference[:, keep]
    cosine = (a * b).sum(0) / np.linalg.norm(a, axis=0) / np.linalg.norm(b, axis=0)
    assert found.value == pytest.approx(np.rad2deg(np.arccos(cosine)).mean(), rel=1e-6)


# ---- full resolution -------------------------------------------------------------------------------------------


@functools.cache
def seen(ratio=4, bands=20, size=96, shift=(0.0, 0.0), pan_gain=0.2):
    """A procedural scene, its cube and its PAN, of which the optics are known."""
    view = scene((size, size), seed=2)
    truth = torch.as_tensor(view.read()[:: len(view.wavelength_nm) // bands][:bands].copy()).double()[None]
    pan = mtf_blur((size, size), pan_gain, 1)(truth[:, : bands // 3].mean(1, keepdim=True))
    return truth[0], mtf_decimate((size, size), 0.3, ratio, shift=shift)(truth)[0], pan[0]


def test_one_invalid_voxel_costs_one_pixel_and_a_dead_band_only_itself():
    truth, coarse, pan = seen()
    holed = truth.clone()
    holed[3, 50, 50] = torch.nan
    found = evaluate_fusion(holed, coarse, pan, metrics=["D_lambda"])["D_lambda"]
    assert found.excluded["pixels"] == 1
    holed[5] = torch.nan
    for name, evaluation in evaluate_fusion(holed, coarse, pan, metrics=["D_lambda", "D_s", "ERGAS_est"]).items():
        assert evaluation.excluded["pixels"] == 1, name
        assert evaluation.excluded["bands"] == 1
        assert np.isfinite(evaluation.value)
    per_band = evaluate_fusion(holed, coarse, pan, metrics=["ERGAS_est"])["ERGAS_est"].per_band
    assert np.flatnonzero(np.isnan(per_band)).tolist() == [5]


def test_a_constant_band_is_none_beside_a_hole_too():
    truth, coarse, pan = (image.clone() for image in seen())
    coarse[:, 4, 5] = torch.nan
    chosen = ["D_s", "ERGAS_est"]
    alone = evaluate_fusion(truth, coarse, pan, metrics=chosen)
    flat = [torch.cat([image, torch.where(torch.isnan(image[:1]), torch.nan, 0.3)]) for image in (truth, coarse)]
    for name, found in evaluate_fusion(*flat, pan, metrics=chosen).items():
        assert found.excluded["bands"] == 1
        assert found.value == pytest.approx(alone[name].value, rel=1e-9)


def test_spatial_index_sees_pan_as_the_cube_sees_the_scene():
    """Where every band is PAN, at both scales, nothing is distorted: only if PAN is low-passed for the coarse one."""
    _, _, pan = seen()
    cube = pan.expand(3, -1, -1)
    coarse = mtf_decimate((96, 96), 0.3, 4)(cube)
    assert evaluate_fusion(cube, coarse, pan, pan_mtf=0.3, metrics=["D_s"])["D_s"].value < 1e-9
    sharper = evaluate_fusion(cube, coarse, pan, pan_mtf=0.9, metrics=["D_s"])["D_s"].value
    assert sharper > 1e-5


def test_coarse_pixels_are_centred_unless_told():
    truth, coarse, pan = seen()
    declared = evaluate_fusion(truth, coarse, pan, offset=1.5, metrics=["D_lambda"])["D_lambda"].value
    assert evaluate_fusion(truth, coarse, pan, metrics=["D_lambda"])["D_lambda"].value == declared < 1e-9


def test_details_are_told_at_the_places_of_the_coarse_pixels():
    """An interpolated cube lacks as much of PAN's, wherever the first coarse pixel lies."""
    truth, _, pan = seen()
    lacking = []
    for offset in (1.5, 0.0):
        coarse = mtf_decimate((96, 96), 0.3, 4, offset)(truth)
        plain = interpolate((24, 24), 4, offset, method="bicubic", out_shape=(96, 96))(coarse)
        told = {"offset": offset, "border": 8, "metrics": ["D_pan"]}
        lacking.append(evaluate_fusion(plain, coarse, pan, **told)["D_pan"].value)
    assert lacking[1] == pytest.approx(lacking[0], rel=0.03)


def test_indices_that_need_no_pan_do_without():
    truth, coarse, pan = seen()
    alone = evaluate_fusion(truth, coarse, None, registered=True)
    assert set(alone) == {"D_lambda", "D_lambda_classic"}
    for name, evaluation in evaluate_fusion(truth, coarse, pan, metrics=list(alone)).items():
        assert evaluation.value == pytest.approx(alone[name].value, rel=1e-9)
    with pytest.raises(InputError, match=r"pan: missing, expected one \(--pan\) for ERGAS_est"):
        evaluate_fusion(truth, coarse, None, metrics=["D_lambda", "ERGAS_est"])


def test_shift_and_mtf_are_found_from_the_pair():
    _, coarse, pan = seen(shift=(0.6, -0.4))
    found = register(coarse, pan, 0.3, 4, 1.5, pan_gain=0.2)
    np.testing.assert_allclose(found.shift, (0.6, -0.4), atol=0.12)
    # PAN's own blur is no part of the cube's
    assert found.power == pytest.approx(1, abs=0.12)
    wrong = register(coarse, pan, 0.4, 4, 1.5, pan_gain=0.2)
    assert wrong.gains(0.4) == pytest.approx(0.3, abs=0.04)


def test_what_pan_alone_sees_is_no_blur():
    """Half of PAN is another scene: plain regression on PAN's derivatives would blur that away."""
    _, coarse, pan = seen()
    other = torch.as_tensor(scene((96, 96), seed=77).read()[40:41]).to(pan)
    odd = pan + pan.std() * (other - other.mean()) / other.std()
    assert register(coarse, odd, 0.3, 4, 1.5, pan_gain=0.2).power < 1.15


@pytest.mark.parametrize("spoiled", ["sharper", "softer", "shifted", "block"])
def test_expected_error_finds_each_fault(spoiled):
    """Against the truth itself spoiled by that fault; the declared registration, so that it cannot excuse it."""
    truth, coarse, pan = seen()
    plain = interpolate((24, 24), 4, 1.5)(coarse)
    cube = truth.clone()
    if spoiled in ("sharper", "softer"):
        cube = plain + (1.5 if spoiled == "sharper" else 0.5) * (truth - plain)
    elif spoiled == "shifted":
        cube = truth.roll(1, 1)
    else:
        cube[5:12] = plain[5:12]
    given = {"registration": Registration(), "pan_own_mtf": 0.2, "noise_variance": np.full(20, 1e-12)}
    good, bad = (
        evaluate_fusion(image, coarse, pan, metrics=["ERGAS_est"], **given)["ERGAS_est"].value
        for image in (truth, cube)
    )
    assert bad > 1.1 * good


def test_a_wrong_scale_is_an_error_of_its_own_size():
    """It adds to the expected error what it is, and says nothing against the details."""
    truth, coarse, pan = seen()
    cube = truth.clone()
    cube[8] *= 1.1
    given = {"registration": Registration(), "pan_own_mtf": 0.2, "noise_variance": np.full(20, 1e-12)}
    good, bad = (
        evaluate_fusion(image, coarse, pan, metrics=["ERGAS_est"], **given)["ERGAS_est"].value
        for image in (truth, cube)
    )
    own = evaluate(cube, truth, ratio=4, metrics=["ERGAS"])["ERGAS"].value
    assert 0.7 * own**2 < bad**2 - good**2 < 1.3 * own**2


def test_blocks_of_spatial_indices_cover_the_same_ground_at_both_scales():
    """Images whose fine pixels repeat the coarse ones have the same Q's in the same blocks."""
    generator = torch.Generator().manual_seed(5)
    coarse, low = torch.rand((3, 24, 24), generator=generator), torch.rand((1, 24, 24), generator=generator)
    cube, pan = (image.repeat_interleave(4, 1).repeat_interleave(4, 2) for image in (coarse, low))
    fusion = Fusion.of(cube, coarse, pan, ratio=4)
    fusion.__dict__["pan_coarse"] = low[None]
    assert float(get("D_s").function(fusion).value) < 1e-6
    assert float(get("D_lambda_classic").function(fusion).value) < 1e-6


def test_noise_that_is_not_told_is_estimated_as_a_variance():
    truth, coarse, pan = seen()
    sigma = 0.02
    noisy = coarse + sigma * torch.randn(coarse.shape, generator=torch.Generator().manual_seed(3), dtype=coarse.dtype)
    values = [
        evaluate_fusion(1.05 * truth, noisy, pan, metrics=["ERGAS_est"], registration=Registration(), **told)[
            "ERGAS_est"
        ].value
        for told in ({}, {"noise_variance": np.full(20, sigma**2)})
    ]
    assert values[0] == pytest.approx(values[1], rel=0.15)


def test_noise_is_taken_off_the_finest_octave_by_its_share_of_it():
    """White errors beyond the noise that is told have the share of that octave which white noise has."""
    truth, coarse, pan = seen()
    noisy = coarse + 0.2 * torch.randn(coarse.shape, generator=torch.Generator().manual_seed(3), dtype=coarse.dtype)
    told = {"registration": Registration(), "noise_variance": np.full(20, 0.02), "mtf": 0.3, "pan_own_mtf": 0.2}
    made = _Pair.of(Fusion.of(truth, noisy, pan, ratio=4, **told), 0)
    whole, finest = made.visible_errors(truth)
    assert 0.2 < made.detail_noise < 0.9
    assert float(whole.mean()) == pytest.approx(0.02, rel=0.1)
    assert float(finest.mean()) == pytest.approx(0.02 * made.detail_noise, rel=0.1)


def test_wrong_number_of_bands_noise():
    truth, coarse, pan = seen()
    with pytest.raises(InputError, match="noise_variance: found 3 values, expected 20"):
        evaluate_fusion(truth, coarse, pan, noise_variance=np.ones(3))


def test_noise_of_the_cube_is_no_detail_that_the_truth_lacks():
    """Of a noisy coarse cube ERGAS_est still tells the truth from interpolation."""
    sensor = preset("prisma").select(range(0, 60, 6)).replace(noise=None, pan_noise=None)
    view = scene((96, 96), seed=1)
    clean = sensor.forward(view)
    truth = sensor.replace(ratio=1, mtf=None, pan=None).forward(view).read()
    noisy = clean.read() + 0.03 * np.random.default_rng(0).standard_normal(clean.shape)
    told = {"mtf": 0.3, "noise_variance": np.full(10, 0.03**2), "metrics": ["ERGAS_est"]}
    found, repeated = (
        evaluate_fusion(fused, noisy, clean.pan.read(), **told)["ERGAS_est"].value
        for fused in (truth, clean.read().repeat(6, 1).repeat(6, 2))
    )
    assert found < 0.7 * repeated


@pytest.mark.parametrize("seen", [lambda x: x.astype("f2"), lambda x: x.astype(">f4"), lambda x: x[:, ::-1]])
def test_any_numpy_array_is_measured(seen):
    rng = np.random.default_rng(0)
    truth = 80 + 40 * rng.random((3, 24, 24))
    other = truth + rng.standard_normal(truth.shape)
    names = ["ERGAS", "SAM", "RMSE", "SSIM", "PSNR", "UQI", "SCC"]
    right, found = (
        evaluate(view(other), view(truth), ratio=4, metrics=names) for view in (lambda x: x.astype("f4"), seen)
    )
    for name in names:
        # half precision tells a two-thousandth of a value
        assert found[name].value == pytest.approx(right[name].value, rel=5e-3), name


def test_cubes_that_do_not_fit_are_told_by_what_they_are():
    # both of one scene, as a product and its truth in memory are
    cube = Cube(data=np.ones((3, 4, 4)), source="scene.h5")
    with pytest.raises(
        InputError, match=r"scene\.h5 \(estimate\): bands: found 2, expected 3 as in scene\.h5 \(reference\)"
    ):
        evaluate(cube.select(bands=[0, 1]), cube)
