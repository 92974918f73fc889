"""What every index must do, swept over the registry."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from skimage.metrics import structural_similarity

from benchmarks.indices import plain_q2n, product
from hsitools.errors import InputError
from hsitools.metrics import INDICES, Pair, evaluate, evaluate_alone, evaluate_fusion, get, names
from hsitools.metrics.q2n import sign_table
from hsitools.sensor.interpolation import interpolate
from hsitools.sensor.spatial import mtf_decimate

FULL, FUSED, ALONE = names("full reference"), names("full resolution"), names("no reference")


def pair(shape=(6, 40, 44), seed=0, noise=0.05):
    rng = np.random.default_rng(seed)
    coarse = rng.random((shape[0], -(-shape[1] // 4), -(-shape[2] // 4)))
    reference = 0.2 + coarse.repeat(4, 1).repeat(4, 2)[:, : shape[1], : shape[2]] + 0.1 * rng.random(shape)
    return reference + noise * rng.standard_normal(shape), reference


@pytest.mark.parametrize("name", INDICES)
def test_entry_is_complete(name):
    entry = INDICES[name]
    assert entry.summary.endswith(".")
    assert len(entry.paper) > 20
    assert entry.low < entry.high
    assert entry.low <= entry.best <= entry.high


@pytest.mark.parametrize("name", FULL)
def test_identical_is_best(name):
    _, reference = pair()
    found = evaluate(reference, reference, ratio=4, metrics=[name])[name]
    assert found.value == pytest.approx(INDICES[name].best, abs=1e-9)


@pytest.mark.parametrize("name", FULL)
def test_more_noise_is_worse(name):
    values = [evaluate(*pair(noise=sigma), ratio=4, metrics=[name])[name].value for sigma in (0.01, 0.03, 0.1)]
    ordered = sorted(values, reverse=INDICES[name].higher_is_better)
    assert values == ordered
    assert all(INDICES[name].low <= value <= INDICES[name].high for value in values)


@pytest.mark.parametrize("name", FULL)
def test_batch_equals_one_by_one(name):
    pairs = [pair(seed=seed, noise=0.02 * (seed + 1)) for seed in range(3)]
    batch = Pair.of(np.stack([p[0] for p in pairs]), np.stack([p[1] for p in pairs]), ratio=4)
    together = INDICES[name].function(batch).value
    alone = [evaluate(*p, ratio=4, metrics=[name])[name].value for p in pairs]
    np.testing.assert_allclose(together.numpy(), alone, rtol=1e-12)


@pytest.mark.parametrize("name", FULL)
def test_float32_is_close(name):
    estimate, reference = pair()
    double = evaluate(estimate, reference, ratio=4, metrics=[name])[name].value
    single = evaluate(estimate.astype(np.float32), reference.astype(np.float32), ratio=4, metrics=[name])[name].value
    assert single == pytest.approx(double, rel=2e-4)


@pytest.mark.parametrize("name", FULL)
def test_nan_and_dead_bands_never_poison(name):
    estimate, reference = pair((8, 64, 64))
    clean = evaluate(estimate, reference, ratio=4, metrics=[name])[name].value
    estimate, reference = estimate.copy(), reference.copy()
    estimate[:, 3:6, 10:14] = np.nan
    reference[:, 20:22, 30] = np.nan
    estimate = np.concatenate([estimate, np.zeros((1, 64, 64))])
    reference = np.concatenate([reference, np.zeros((1, 64, 64))])
    found = evaluate(estimate, reference, ratio=4, metrics=[name])[name]
    assert np.isfinite(found.value)
    # a zero band is no error: RMSE and MAE of nine bands are those of eight, a ninth less
    tolerance = 0.15 if name in ("RMSE", "MAE", "PSNR_global", "SSIM") else 0.05
    assert found.value == pytest.approx(clean, rel=tolerance)
    assert found.excluded["invalid_voxels"] > 0


@pytest.mark.parametrize("name", ["ERGAS", "CC", "SCC", "UQI", "Q2n", "PSNR"])
def test_dead_band_is_reported(name):
    estimate, reference = pair((4, 40, 40))
    estimate[2] = reference[2] = 0
    found = evaluate(estimate, reference, ratio=4, metrics=[name])[name]
    assert found.excluded["bands"] == 1
    without = evaluate(estimate[[0, 1, 3]], reference[[0, 1, 3]], ratio=4, metrics=[name])[name]
    assert found.value == pytest.approx(without.value, rel=2e-2 if name == "Q2n" else 1e-9)


@pytest.mark.parametrize("name", FULL)
def test_one_band_without_data_spoils_no_pixel(name):
    """A band of two valid voxels leaves the spectra of the others to be compared."""
    estimate, reference = pair((8, 64, 64))
    clean = evaluate(estimate, reference, ratio=4, metrics=[name])[name].value
    holed = estimate.copy()
    holed[3] = np.nan
    holed[3, 5, 5:7] = reference[3, 5, 5:7]
    found = evaluate(holed, reference, ratio=4, metrics=[name])[name]
    assert found.excluded["invalid_voxels"] == 64 * 64 - 2
    if name == "PSNR":
        # two voxels without error are a band of infinite PSNR
        assert found.value == np.inf
    else:
        assert found.value == pytest.approx(clean, rel=0.25)


def test_mask_equals_nan():
    estimate, reference = pair()
    mask = np.random.default_rng(1).random((1, 40, 44)) > 0.05
    holed = np.where(mask, estimate, np.nan)
    masked = evaluate(estimate, reference, ratio=4, mask=mask)
    for name, found in evaluate(holed, reference, ratio=4).items():
        np.testing.assert_allclose(found.value, masked[name].value, rtol=1e-12)


def test_border_is_a_crop():
    estimate, reference = pair()
    cropped = evaluate(estimate[:, 3:-3, 3:-3], reference[:, 3:-3, 3:-3], ratio=4, data_range=1.0)
    for name, found in evaluate(estimate, reference, ratio=4, border=3, data_range=1.0).items():
        assert found.value == pytest.approx(cropped[name].value, rel=1e-12)


@pytest.mark.parametrize("bands", [1, 2, 3, 4, 5, 8, 17, 33])
def test_q2n_equals_the_recursion(bands):
    estimate, reference = pair((bands, 50, 71), seed=bands)
    assert evaluate(estimate, reference, metrics=["Q2n"])["Q2n"].value == pytest.approx(
        plain_q2n(estimate, reference), rel=1e-10
    )


@pytest.mark.parametrize(("bands", "height", "width"), [(3, 32, 31), (5, 20, 19)])
def test_q2n_of_a_block_with_holes_is_that_of_its_valid_pixels(bands, height, width):
    """Means, deviations and hypercomplex product over what was measured, mirrored pixels included."""
    estimate, reference = pair((bands, height, width), seed=bands)
    keep = np.random.default_rng(0).random((height, width)) > 0.2
    found = evaluate(estimate, np.where(keep, reference, np.nan), metrics=["Q2n"])["Q2n"].value
    pad = ((0, 32 - height), (0, 32 - width))
    there = np.pad(keep, pad, mode="symmetric")
    y, x = (np.stack([np.pad(band, pad, mode="symmetric")[there] for band in np.asarray(image, float)])
            for image in (reference, estimate))  # fmt: skip
    middle, spread, n = y.mean(1, keepdims=True), y.std(1, ddof=1, keepdims=True), y.shape[1]
    # padding to the next power of two is one in both
    ones = np.ones(((1 << (bands - 1).bit_length()) - bands, n))
    y, x = (np.concatenate([(v - middle) / spread + 1, ones]) for v in (y, x))
    turned = np.concatenate([x[:1], -x[1:]])
    means = product(y.mean(1), turned.mean(1))
    covariance = (product(y, turned).mean(1) - means) * n / (n - 1)
    power = [(v.mean(1) ** 2).sum() for v in (y, x)]
    contrast = 2 * np.linalg.norm(covariance) / sum(v.var(1, ddof=1).sum() for v in (y, x))
    assert found == pytest.approx(contrast * 2 * np.sqrt(power[0] * power[1]) / sum(power), rel=1e-10)


@pytest.mark.parametrize("size", [1, 2, 4, 8, 16, 64])
def test_sign_table_is_the_product(size):
    a, b = np.random.default_rng(size).standard_normal((2, size))
    place = np.arange(size)
    table = np.zeros(size)
    np.add.at(table, place[:, None] ^ place, sign_table(size).numpy() * np.outer(a, b))
    np.testing.assert_allclose(table, product(a[:, None], b[:, None])[:, 0], atol=1e-12)
    if size <= 8:
        # real, complex numbers, quaternions and octonions have norms that multiply
        assert np.linalg.norm(table) == pytest.approx(np.linalg.norm(a) * np.linalg.norm(b))


@given(st.integers(0, 1000), st.floats(0.1, 100), st.integers(1, 12))
def test_scale_invariance(seed, factor, bands):
    estimate, reference = pair((bands, 33, 35), seed=seed)
    plain = evaluate(estimate, reference, ratio=4)
    scaled = evaluate(factor * estimate, factor * reference, ratio=4)
    for name in ("SAM", "SID", "ERGAS", "CC", "SCC", "UQI", "Q2n", "PSNR", "SSIM"):
        assert scaled[name].value == pytest.approx(plain[name].value, rel=1e-6, abs=1e-9)
    for name in ("RMSE", "MAE"):
        assert scaled[name].value == pytest.approx(factor * plain[name].value, rel=1e-9)


@given(st.integers(0, 1000))
def test_against_plain_numpy(seed):
    estimate, reference = pair((5, 21, 23), seed=seed)
    found = {name: e.value for name, e in evaluate(estimate, reference, ratio=4, data_range=1.5).items()}
    cosine = (estimate * reference).sum(0) / np.linalg.norm(estimate, axis=0) / np.linalg.norm(reference, axis=0)
    assert found["SAM"] == pytest.approx(np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean(), rel=1e-7)
    ssim = [
        structural_similarity(e, r, data_range=1.5, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
        for e, r in zip(estimate, reference, strict=True)
    ]
    assert found["SSIM"] == pytest.approx(np.mean(ssim), rel=1e-7)
    cc = [np.corrcoef(e.ravel(), r.ravel())[0, 1] for e, r in zip(estimate, reference, strict=True)]
    assert found["CC"] == pytest.approx(np.mean(cc), rel=1e-9)
    p, q = np.maximum(estimate, 0), reference
    keep = (p > 0) & (q > 0)
    p, q = np.where(keep, p, 0), np.where(keep, q, 0)
    p, q = p / p.sum(0), q / q.sum(0)
    log = np.log(np.where(keep, p, 1) / np.where(keep, q, 1))
    assert found["SID"] == pytest.approx(((p - q) * log).sum(0).mean(), rel=1e-9)


def test_small_angles_are_exact():
    reference = np.full((4, 3, 3), 1.0)
    estimate = reference.copy()
    estimate[0] += 1e-9
    angle = evaluate(estimate, reference, metrics=["SAM"])["SAM"].value
    assert angle == pytest.approx(np.degrees(1e-9 * np.sqrt(3) / 4), rel=1e-5)
    scaled = (1.1 * reference).astype(np.float32)
    assert evaluate(scaled, reference.astype(np.float32), metrics=["SAM"])["SAM"].value < 1e-5


def fusion_case(seed=0, bands=12, ratio=4):
    rng = np.random.default_rng(seed)
    fine = rng.random((3, 96, 96)).cumsum(1).cumsum(2)
    fine = fine - fine.mean((1, 2), keepdims=True)
    fine = fine / fine.std((1, 2), keepdims=True) + 0.4 * rng.standard_normal((3, 96, 96))
    mix = np.abs(rng.random((bands, 3)))
    truth = torch.as_tensor(np.einsum("bk,kyx->byx", mix, fine) + 12)
    pan = truth[: bands // 2].mean(0, keepdim=True)
    coarse = mtf_decimate((96, 96), 0.3, ratio, ratio // 2)(truth)
    return truth, coarse, pan, ratio


@pytest.mark.parametrize("name", FUSED)
def test_truth_beats_interpolation_or_is_near(name):
    truth, coarse, pan, ratio = fusion_case()
    blurred = interpolate((24, 24), ratio, ratio // 2)(coarse)
    good = evaluate_fusion(truth, coarse, pan, offset=ratio // 2, border=4, metrics=[name])[name]
    poor = evaluate_fusion(blurred, coarse, pan, offset=ratio // 2, border=4, metrics=[name])[name]
    entry = INDICES[name]
    assert entry.low <= good.value <= entry.high + 1e-9
    if name in ("D_lambda", "D_sR", "D_pan", "RQNR"):
        assert abs(good.value - entry.best) < 0.02
        assert abs(good.value - entry.best) < abs(poor.value - entry.best)


def test_offset_matters():
    """The coarse pixels lie where they were sampled, not always at 3::ratio."""
    truth, coarse, pan, _ = fusion_case()
    right = evaluate_fusion(truth, coarse, pan, offset=2, metrics=["D_lambda"])["D_lambda"].value
    wrong = evaluate_fusion(truth, coarse, pan, offset=3, metrics=["D_lambda"])["D_lambda"].value
    assert right < 1e-9 < 1e-4 < wrong


def test_spatial_index_discriminates_with_many_bands(shared):
    """With 159 bands D_sR forgives a cube whose details are wrong by half; D_pan does not."""
    given = np.load(shared / "golden" / "jasper159_r6.npz")
    truth, pan, coarse = (torch.as_tensor(given[name]).double() for name in ("gt", "pan", "ms_lr"))
    blurred = interpolate((16, 16), 6, 3)(coarse)
    half = (truth + blurred) / 2
    values = {}
    for name, cube in (("truth", truth), ("half", half), ("blurred", blurred)):
        found = evaluate_fusion(cube, coarse, pan, offset=3, border=6, metrics=["D_sR", "D_pan"])
        values[name] = (found["D_sR"].value, found["D_pan"].value)
    assert values["truth"][1] < 0.01 < 0.15 < values["half"][1] < values["blurred"][1]
    assert values["half"][0] < 0.25 * values["half"][1]


def test_nodata_in_fusion_is_left_out():
    truth, coarse, pan, _ = fusion_case()
    holed = truth.clone()
    holed[:, :8, :8] = torch.nan
    plain = evaluate_fusion(truth, coarse, pan, offset=2)
    for name, found in evaluate_fusion(holed, coarse, pan, offset=2).items():
        assert found.excluded["pixels"] == 64
        assert found.value == pytest.approx(plain[name].value, abs=0.03)


@pytest.mark.parametrize("case", ["a", "b", "c", "d"])
def test_noise_is_measured(shared, case):
    import h5py

    with h5py.File(shared / "golden" / "denoise_pavia_centre.h5") as file:
        clean, noisy = file["clean"][()], file[case][()]
    found = evaluate_alone(noisy, metrics=["noise"])["noise"]
    true = (noisy - clean).std((1, 2))
    assert found.value == pytest.approx(true.mean(), rel=0.03)
    if case in "ab":
        assert np.median(np.abs(found.per_band / true - 1)) < 0.05


def test_stripes_are_measured(shared):
    import h5py

    rng = np.random.default_rng(0)
    noise = rng.standard_normal((3, 200, 150))
    striped = noise + np.array([0, 0.3, 1.0])[:, None, None] * rng.standard_normal((3, 1, 150))
    found = evaluate_alone(striped, metrics=["stripes"])["stripes"].per_band
    median_noise = np.pi / 2 / 200
    np.testing.assert_allclose(found, 1 + np.array([0, 0.09, 1.0]) / median_noise, rtol=0.35)
    with h5py.File(shared / "data" / "scenes" / "abu_urban_3.h5") as file:
        real = evaluate_alone(file["cube"][()], metrics=["stripes"])["stripes"].per_band
    # the band that INDEX.md names for its real vertical stripes
    assert int(np.argmax(real)) == 103


@pytest.mark.parametrize("name", ALONE)
def test_alone_copes_with_holes(name):
    values = np.random.default_rng(0).standard_normal((6, 64, 64)).astype(np.float32)
    values[:, :5, :5] = np.nan
    values[3] = 0
    found = evaluate_alone(values, metrics=[name])[name]
    assert np.isfinite(found.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: evaluate(np.zeros((2, 9, 9)), np.zeros((3, 9, 9))), r"estimate: found shape \(2, 9, 9\), expected"),
        (lambda: evaluate(np.zeros((9, 9)), np.zeros((9, 9))), r"estimate: found shape \(9, 9\)"),
        (lambda: evaluate(np.ones((2, 9, 9)), np.ones((2, 9, 9)), border=5), "border: found 5, expected 0 to 4"),
        (lambda: evaluate(np.full((2, 9, 9), np.nan), np.ones((2, 9, 9))), "no valid voxel"),
        (lambda: evaluate(np.ones((2, 9, 9)), np.ones((2, 9, 9)), metrics=["ERGAS"]), "ERGAS: ratio: missing"),
        (
            lambda: evaluate(np.ones((2, 9, 9)), np.ones((2, 9, 9)), metrics=["QNR"]),
            "found .QNR. .full resolution., expected full reference",
        ),
        (lambda: evaluate(np.ones((2, 9, 9)), np.ones((2, 9, 9)), data_range=0), "data_range: found 0"),
        (lambda: evaluate(np.ones((2, 9, 9)), np.ones((2, 9, 9)), ratio=0), "ratio: found 0, expected a positive"),
        (lambda: evaluate(np.ones((2, 5, 5)), np.ones((2, 5, 5)), metrics=["SSIM"]), "SSIM: found 5×5"),
        (lambda: evaluate_fusion(np.ones((2, 9, 9)), np.ones((2, 3, 4)), np.ones((1, 9, 9))), "coarse: found shape"),
        (lambda: evaluate_fusion(np.ones((2, 9, 9)), np.ones((2, 3, 3)), np.ones((1, 8, 9))), "pan: found shape"),
        (lambda: evaluate_alone(np.ones((2, 9, 9))), "noise: found 2×9×9"),
        (lambda: get("Q2m"), "did you mean 'Q2n'"),
    ],
)
def test_errors_say_what(call, message):
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize("factor", [1e-6, 1e4])
def test_noise_is_in_the_units_of_the_cube(factor):
    values = torch.rand(6, 32, 32, generator=torch.Generator().manual_seed(0)).cumsum(0).double()
    one, other = (evaluate_alone(values * scale, metrics=["noise"])["noise"].value for scale in (1, factor))
    assert other == pytest.approx(factor * one, rel=1e-6)


def test_noise_is_that_of_a_band_and_not_of_its_neighbours():
    """Bands alike but for noise: the regression on two neighbours brings theirs in, which is taken off again."""
    rng = np.random.default_rng(3)
    scene = np.cumsum(np.cumsum(rng.standard_normal((1, 96, 96)), 1), 2) / 20
    noisy = scene + 0.05 * rng.standard_normal((9, 96, 96))
    assert evaluate_alone(noisy, metrics=["noise"])["noise"].value == pytest.approx(0.05, rel=0.05)


@pytest.mark.parametrize("size", [1e-20, 1e-7, 1e9, 1e20])
def test_sizes_whose_squares_float32_does_not_hold_are_compared_as_any(size):
    draw = np.random.default_rng(4)
    reference = draw.random((4, 40, 40)).astype(np.float32) + 1
    estimate = reference + 0.1 * draw.random((4, 40, 40)).astype(np.float32)
    names = ["ERGAS", "SAM", "PSNR", "CC", "SCC", "SSIM", "UQI"]
    usual = evaluate(estimate, reference, ratio=4, metrics=names)
    scaled = evaluate(estimate * np.float32(size), reference * np.float32(size), ratio=4, metrics=names)
    for name, score in usual.items():
        assert scaled[name].value == pytest.approx(score.value, rel=1e-5), name


def test_a_cube_without_a_valid_voxel_is_refused():
    with pytest.raises(InputError, match="cube: found no valid voxel"):
        evaluate_alone(np.full((3, 40, 40), np.nan, np.float32))
