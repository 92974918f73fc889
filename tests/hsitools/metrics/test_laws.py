"""Laws of what an index is told: masks are crops, bands make the value, each setting has its effect."""

import functools

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d

from hsitools.errors import InputError
from hsitools.metrics import Fusion, Pair, Registration, evaluate, evaluate_alone, evaluate_fusion, get, names
from hsitools.scenes import scene
from hsitools.sensor.interpolation import interpolate
from hsitools.sensor.spatial import mtf_blur, mtf_decimate

FULL, FUSED, ALONE = names("full reference"), names("full resolution"), names("no reference")


def pair(shape=(5, 64, 32)):
    rng = np.random.default_rng(0)
    reference = rng.uniform(0.2, 1.2, shape) * np.linspace(0.5, 2, shape[0])[:, None, None]
    return reference + 0.1 * rng.standard_normal(shape), reference


@functools.cache
def fused(size=48, gain=0.3, shift=(0.0, 0.0), bands=6):
    """A scene, its cube, and its PAN."""
    truth = torch.as_tensor(scene((size, size), seed=2).read()[:: 200 // bands][:bands].copy()).double()
    pan = mtf_blur((size, size), 0.2, 1)(truth[:2].mean(0, keepdim=True))
    return truth, mtf_decimate((size, size), gain, 4, shift=shift)(truth), pan


# ---- masks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FULL)
def test_what_is_masked_is_as_cut_off(name):
    estimate, reference = pair((5, 96, 32))
    told = {"ratio": 4, "data_range": 3.0, "metrics": [name]}
    mask = np.zeros((1, 96, 32), bool)
    mask[:, :32] = True
    estimate[:, 32:], reference[:, 32:] = -3, 7
    masked = evaluate(estimate, reference, mask=mask, **told)[name]
    cut = evaluate(estimate[:, :32], reference[:, :32], **told)[name]
    assert masked.value == pytest.approx(cut.value, rel=1e-9)
    if cut.per_band is not None:
        np.testing.assert_allclose(masked.per_band, cut.per_band, rtol=1e-9)


@pytest.mark.parametrize("name", ALONE)
def test_columns_without_values_are_as_cut_off(name):
    cube = pair((4, 40, 48))[0]
    holed = cube.copy()
    holed[:, :, :8] = np.nan
    found, cut = (evaluate_alone(image, metrics=[name])[name] for image in (holed, cube[:, :, 8:]))
    assert found.value == pytest.approx(cut.value, rel=1e-9)
    np.testing.assert_allclose(found.per_band, cut.per_band, rtol=1e-9)


@pytest.mark.parametrize("name", ["D_lambda", "D_lambda_classic", "D_s", "D_sR", "QNR", "HQNR", "RQNR"])
def test_a_half_without_values_is_as_cut_off(name):
    """At both scales: images of one scale, whose filters are taken as done."""
    truth, reference = (torch.as_tensor(image) for image in pair())
    pan = truth.mean(0, keepdim=True) ** 2
    values = []
    for hole in (True, False):
        images = [image.clone() if hole else image[:, :32].clone() for image in (truth, reference, pan)]
        if hole:
            images[0][:, 32:] = torch.nan
            images[1][:, 32:], images[2][:, 32:] = -5, 9
        fusion = Fusion.of(*images, ratio=1)
        fusion.__dict__.update(degraded=fusion.fused, pan_coarse=fusion.pan.sqrt())
        values.append(float(get(name).function(fusion).value[0]))
    assert values[0] == pytest.approx(values[1], rel=1e-9)


@pytest.mark.parametrize("name", FUSED)
def test_what_lies_under_a_hole_says_nothing(name):
    truth, coarse, pan = fused()
    holed, other = truth.clone(), coarse.clone()
    holed[:, :, :16] = torch.nan
    other[:, :, :4] *= 1.4
    told = {"metrics": [name], "registration": Registration(), "noise_variance": np.full(6, 1e-12)}
    plain, odd = (evaluate_fusion(1.1 * holed, image, pan, **told)[name] for image in (coarse, other))
    assert odd.value == pytest.approx(plain.value, rel=0.02)


def test_coarse_pixels_count_where_all_their_fine_ones_do():
    truth, coarse, pan = fused()
    holed = truth.clone()
    holed[2, 13, 30] = torch.nan
    valid = Fusion.of(holed, coarse, pan).coarse_valid
    assert torch.nonzero(~valid).tolist() == [[0, 3, 7]]


def test_a_band_is_dead_by_what_is_valid_of_it():
    """Equal in both cubes and constant but for what is masked: its PSNR would be infinite."""
    estimate, reference = pair((3, 16, 16))
    mask = np.ones(reference.shape, bool)
    mask[1, 4, 5] = False
    estimate[1], reference[1] = 5, 5
    found = evaluate(estimate, reference, mask=mask, data_range=1, metrics=["PSNR"])["PSNR"]
    assert found.excluded == {"invalid_voxels": 1, "bands": 1}
    assert found.value == pytest.approx(np.mean(found.per_band[[0, 2]]), rel=1e-9)


def test_windows_without_contrast_are_no_windows():
    """As counted one by one; what rounding leaves of a flat window's variance is no contrast."""
    estimate, reference = (image[:1] for image in pair((1, 12, 30)))
    estimate[..., :16], reference[..., :16] = 0.1, 0.3
    scores = []
    for y, x in np.ndindex(5, 23):
        a, b = (image[0, y : y + 8, x : x + 8] for image in (estimate, reference))
        if x + 8 > 16:
            cross = np.mean((a - a.mean()) * (b - b.mean()))
            scores.append(4 * cross * a.mean() * b.mean() / ((a.var() + b.var()) * (a.mean() ** 2 + b.mean() ** 2)))
    found = evaluate(estimate, reference, metrics=["UQI"])["UQI"]
    assert found.value == pytest.approx(np.mean(scores), rel=1e-9)
    assert found.excluded == {"flat_windows": 5 * 23 - len(scores)}


# ---- bands and batches -----------------------------------------------------------------------------------------

#: How the value is made of the bands', where bands have as many pixels.
OF_BANDS = {"RMSE": lambda x: np.sqrt(np.mean(x**2)), "ERGAS": lambda x: np.sqrt(np.mean(x**2)),
            "ERGAS_est": lambda x: np.sqrt(np.mean(x**2)), "stripes": np.median}  # fmt: skip


@pytest.mark.parametrize("name", [*FULL, *FUSED, *ALONE])
def test_values_of_bands_make_that_of_the_cube(name):
    if name in FUSED:
        truth, coarse, pan = fused()
        truth = truth * torch.linspace(1, 1.2, len(truth), dtype=truth.dtype)[:, None, None]
        found = evaluate_fusion(truth, coarse, pan, metrics=[name], registration=Registration())[name]
    elif name in FULL:
        found = evaluate(*pair(), ratio=4, metrics=[name])[name]
    else:
        found = evaluate_alone(pair()[0], metrics=[name])[name]
    if found.per_band is None:
        assert name not in OF_BANDS
        return
    assert np.ptp(found.per_band) > 0
    assert found.value == pytest.approx(OF_BANDS.get(name, np.mean)(found.per_band), rel=1e-9)


@pytest.mark.parametrize("name", ["PSNR", "PSNR_global", "SSIM"])
def test_each_cube_of_a_batch_has_its_own_range(name):
    estimate, reference = pair((3, 16, 16))
    both = Pair.of(np.stack([estimate, 2 * estimate]), np.stack([reference, 2 * reference]))
    first, second = get(name).function(both).value
    assert float(second) == pytest.approx(float(first), rel=1e-9)


@pytest.mark.parametrize(
    ("name", "spectral", "spatial"),
    [("QNR", "D_lambda_classic", "D_s"), ("HQNR", "D_lambda", "D_s"), ("RQNR", "D_lambda", "D_sR")],
)
def test_quality_is_what_both_distortions_leave(name, spectral, spatial):
    truth, coarse, pan = fused()
    found = evaluate_fusion(truth.roll(1, 1), coarse, pan, metrics=[name, spectral, spatial])
    first, second = found[spectral].value, found[spatial].value
    assert min(first, second) > 0
    assert found[name].value == pytest.approx((1 - first) * (1 - second), rel=1e-9)


@pytest.mark.parametrize("name", FUSED)
def test_fused_cubes_of_a_batch_are_judged_one_by_one(name):
    truth, coarse, pan = fused()
    noisy = truth + 0.02 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0), dtype=truth.dtype)
    told = {"ratio": 4, "registration": Registration(), "noise_variance": np.full(6, 1e-6)}
    singles = [float(get(name).function(Fusion.of(cube, coarse, pan, **told)).value) for cube in (noisy, truth)]
    batch = Fusion.of(torch.stack([noisy, truth]), torch.stack([coarse] * 2), torch.stack([pan] * 2), **told)
    np.testing.assert_allclose(get(name).function(batch).value, singles, rtol=1e-6, atol=1e-12)


# ---- settings --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("D_pan", {"border": 6}), ("D_s", {"pan_mtf": 0.6}), ("D_lambda", {"mtf": 0.5}), ("D_lambda", {"offset": 0.0}),
        ("D_pan", {"pan_own_mtf": 0.7}), ("ERGAS_est", {"noise_variance": np.full(6, 1e-3)}),
        ("ERGAS_est", {"pan_own_mtf": 0.7}), ("D_lambda", {"registration": Registration(shift=(1.0, 0.0))}),
        ("D_lambda", {"registration": Registration(power=2.0)}),
    ],
)  # fmt: skip
def test_what_is_told_of_a_pair_reaches_the_index(name, setting):
    truth, coarse, pan = fused()
    cube = 0.9 * truth + 0.1 * truth.roll(1, 2)
    found = evaluate_fusion(cube, coarse, pan, metrics=[name], **setting)[name].value
    assert found == pytest.approx(float(get(name).function(Fusion.of(cube, coarse, pan, **setting)).value), rel=1e-9)
    assert found != pytest.approx(evaluate_fusion(cube, coarse, pan, metrics=[name])[name].value, rel=1e-3)


@pytest.mark.parametrize("gain", [0.08, 0.6])
def test_what_an_interpolated_cube_lacks_is_told_whatever_pan_s_optics(gain):
    """PAN's own blur hides details, which count as missing all the same."""
    truth, coarse, _ = fused()
    pan = mtf_blur((48, 48), gain, 1)(truth[:2].mean(0, keepdim=True))
    plain = interpolate((12, 12), 4, 1.5)(coarse)
    told = {"registration": Registration(), "noise_variance": np.full(6, 1e-12), "pan_own_mtf": gain}
    expected = evaluate_fusion(plain, coarse, pan, metrics=["ERGAS_est"], **told)["ERGAS_est"].value
    assert expected == pytest.approx(evaluate(plain, truth, ratio=4, metrics=["ERGAS"])["ERGAS"].value, rel=0.15)


def test_registration_is_how_the_cube_was_made():
    """Shift and MTF beside those declared: the truth, seen through both, is the coarse cube."""
    truth, coarse, pan = fused(shift=(0.6, -0.4))
    told = {"mtf": 0.5, "registration": Registration(shift=(0.6, -0.4), power=np.log(0.3) / np.log(0.5))}
    assert evaluate_fusion(truth, coarse, pan, metrics=["D_lambda"], **told)["D_lambda"].value < 1e-9


def test_each_band_keeps_its_mtf_beside_a_dead_one():
    gains = np.linspace(0.2, 0.5, 6)
    truth, _, pan = fused()
    coarse = mtf_decimate((48, 48), gains, 4)(truth)
    cube, coarse = truth.clone(), coarse.clone()
    cube[0] = torch.nan
    assert evaluate_fusion(cube, coarse, pan, mtf=gains, metrics=["D_lambda"])["D_lambda"].value < 1e-9


def test_a_border_is_a_crop_of_a_cube_alone():
    cube = pair((4, 40, 48))[0]
    inner = evaluate_alone(cube[:, 3:-3, 3:-3])
    for name, found in evaluate_alone(cube, border=3).items():
        assert found.value == pytest.approx(inner[name].value, rel=1e-9)


def test_scc_sees_no_slope():
    """The Laplacian of a plane is zero, so that haze and light that grow evenly cost nothing."""
    image = np.random.default_rng(0).uniform(size=(3, 20, 24))
    rows, columns = np.indices(image.shape[1:])
    sloped = image + 5 + 3 * columns - 2 * rows
    assert evaluate(sloped, image, metrics="SCC")["SCC"].value == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("name", ["CC", "SCC"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [0.0, 0.1, 12345.6])
def test_a_constant_estimate_has_no_correlation(name, dtype, value):
    """Not that of what rounding leaves."""
    reference = pair((3, 19, 23))[1].astype(dtype)
    estimate = np.full(reference.shape, value, dtype)
    found = evaluate(estimate, reference, metrics=name)[name]
    assert np.isnan(found.value)
    assert found.excluded == {"bands": 3}
    estimate[0] = reference[0] + 0.01
    found = evaluate(estimate, reference, metrics=name)[name]
    assert found.value == pytest.approx(1, abs=1e-5)
    assert np.isnan(found.per_band[1:]).all()


def test_scc_of_small_contrast_on_a_high_level():
    """Raw numbers of a camera, as float32: the Laplacian by SciPy in float64."""
    rng = np.random.default_rng(1)
    reference = (1e4 + rng.normal(0, 0.3, (2, 30, 30))).astype(np.float32)
    estimate = (reference + rng.normal(0, 1.0, reference.shape)).astype(np.float32)
    kernel = -np.ones((3, 3))
    kernel[1, 1] = 8
    right = [
        np.corrcoef(*(convolve2d(one[band].astype(float), kernel, "valid").ravel() for one in (estimate, reference)))
        for band in range(2)
    ]
    found = evaluate(estimate, reference, metrics="SCC")["SCC"]
    np.testing.assert_allclose(found.per_band, [matrix[0, 1] for matrix in right], rtol=1e-5)


@pytest.mark.parametrize("level", [0.25, 0.3, 123.456])
def test_a_flat_pan_tells_no_place_and_no_details(level):
    """Whether float32 holds its value or rounds it."""
    _, cube, pan = fused()
    for dtype in (torch.float32, torch.float64):
        flat = torch.full_like(pan, level, dtype=dtype)
        fusion = Fusion.of(interpolate(tuple(cube.shape[-2:]), 4)(cube), cube, flat, ratio=4)
        assert fusion.registered().registration in (Registration(), (Registration(),))
        with pytest.raises(InputError, match="pan: found no detail at the coarse scale"):
            get("ERGAS_est").function(fusion)


def test_a_cube_of_one_band_has_no_bands_to_compare():
    """What needs two is left out, and refused where it is asked for."""
    _, cube, pan = fused()
    sharp = interpolate(tuple(cube.shape[-2:]), 4)(cube)
    found = evaluate_fusion(sharp[:1], cube[:1], pan)
    assert set(FUSED) - set(found) == {"D_lambda_classic", "QNR"}
    assert all(np.isfinite(one.value) for one in found.values())
    with pytest.raises(InputError, match="found 1 band, expected at least 2"):
        evaluate_fusion(sharp[:1], cube[:1], pan, metrics="QNR")
